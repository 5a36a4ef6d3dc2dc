//! Taking out, and putting back: the whole gateway, or an endpoint.

use super::{Engine, State, fail};
use crate::{
    admin::api::{Code, Done, DrainEndpointRequest, ErrorBody},
    daemon::{
        audit::Outcome,
        link::{Link, LinkError},
        store::Drained,
        who::Who,
    },
};
use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};
use weirgate_dataplane::link::message::{Answer, Ask};

/// Between tries to tell a data plane that does not answer: doubled each time, up to the second.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Endpoints that may drain at a time.
const DRAINED_MAX: usize = 10_000;
/// Connections that are looked at while the gateway drains.
const LOOKED_AT: u32 = 100_000;

fn not_connected(state: &State) -> String {
    state.dataplane.trouble.clone().unwrap_or_else(|| "no data plane is connected".into())
}

impl Engine {
    /// The gateway is to drain, or no longer. That is what is wanted: a data plane that is not reached now gets it when it is.
    ///
    /// # Errors
    /// Why it cannot be noted.
    pub async fn drain(self: &Arc<Self>, who: &Who, drain: bool) -> Result<Done, ErrorBody> {
        let engine = Arc::clone(self);
        let work = async move {
            let _changes = engine.changes.lock().await;
            let changed = engine.state().draining != drain;
            let link = engine.state().link;
            engine.save(move |current| current.draining = drain).await?;
            // Readiness first: whoever balances over several gateways should stop before clients are sent away.
            engine.publish(|state| state.draining = drain);
            let pending = match link {
                Some(link) => engine.tell_drain(&link).await.err().map(|error| {
                    // Nobody else would try again while the link stands.
                    tokio::spawn(Arc::clone(&engine).drain_later(link));
                    error.to_string()
                }),
                None => Some(not_connected(&engine.state())),
            };
            tracing::info!(drain, pending, "the gateway is to drain, or no longer");
            Ok(Done { changed, pending })
        };
        self.audited(who, if drain { "drain" } else { "undrain" }, None, |_| None, work).await
    }

    /// An endpoint drains, or no longer.
    ///
    /// # Errors
    /// That there is none, or why not.
    pub async fn drain_endpoint(self: &Arc<Self>, who: &Who, request: DrainEndpointRequest) -> Result<Done, ErrorBody> {
        let action = if request.drain { "drainEndpoint" } else { "undrainEndpoint" };
        let detail = format!("{} of {}", request.address, request.backend.as_deref().unwrap_or("every backend"));
        let engine = Arc::clone(self);
        let work = async move { engine.change_drained(&request).await };
        self.audited(who, action, Some(detail), |_| None, work).await
    }

    async fn change_drained(&self, request: &DrainEndpointRequest) -> Result<Done, ErrorBody> {
        let address: SocketAddr = request.address.parse().map_err(|_| {
            fail(
                Code::BadRequest,
                format!("{:?} is no address and port", request.address),
                "write 10.0.0.1:8080 or [fd00::1]:8080",
            )
        })?;
        let mut changes = self.changes.lock().await;
        let state = self.state();
        let Some(revision) = &state.revision else {
            return Err(fail(Code::NotReady, "no revision is in force", "weirgate apply"));
        };
        let is_asked = |backend: &str| request.backend.as_deref().is_none_or(|asked| asked == backend);
        let mut drained = BTreeSet::clone(&state.overlay.drained);
        let old = drained.clone();
        if request.drain {
            let served = state.overlay.over(&revision.body).map_err(|error| fail(Code::Internal, error, ""))?;
            let has = served.backends.iter().filter(|it| is_asked(&it.name));
            let has = has.filter(|it| it.endpoints.iter().any(|endpoint| endpoint.address == address));
            let found: Vec<_> = has.map(|it| Drained { backend: it.name.clone(), address }).collect();
            if found.is_empty() {
                return Err(fail(
                    Code::NotFound,
                    format!("no such backend has the endpoint {address}"),
                    "weirgate get endpoints",
                ));
            }
            drained.extend(found);
        } else {
            drained.retain(|it| it.address != address || !is_asked(&it.backend));
        }
        if drained.len() > DRAINED_MAX {
            return Err(fail(Code::TooMany, format!("at most {DRAINED_MAX} endpoints may drain at a time"), ""));
        }
        if drained == old {
            return Ok(Done { changed: false, pending: None });
        }
        let mut overlay = state.overlay.clone();
        overlay.drained = Arc::new(drained.clone());
        let snapshot = overlay.over(&revision.body).map_err(|error| fail(Code::Internal, error, ""))?;
        self.save(move |current| current.drained = drained).await?;
        let mut pending = None;
        if state.link.is_none() {
            pending = Some(not_connected(&state));
        } else if let Err(error) = self.tell(&mut changes, snapshot, revision.head.revision).await {
            if matches!(error, LinkError::Refused(_)) {
                self.save(move |current| current.drained = old).await?;
                return Err(error.into());
            }
            // When it is connected again it gets everything.
            pending = Some(error.to_string());
        }
        self.publish_served(&changes);
        self.publish(|state| state.overlay = overlay);
        Ok(Done { changed: true, pending })
    }

    /// Tells the data plane whether to drain.
    pub(super) async fn tell_drain(&self, link: &Link) -> Result<(), LinkError> {
        let drains = self.state().draining;
        link.ask(Ask::Drain { drains }).await?;
        self.publish(|state| {
            if state.link.as_ref().is_some_and(|it| it.is(link)) {
                state.dataplane.drains = Some(drains);
            }
        });
        Ok(())
    }

    /// The same again and again, for as long as this link stands and it is not so.
    pub(super) async fn drain_later(self: Arc<Self>, link: Link) {
        let again = async {
            let mut pause = AGAIN.0;
            loop {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(AGAIN.1);
                let _changes = self.changes.lock().await;
                let state = self.state();
                if state.dataplane.drains == Some(state.draining) || self.tell_drain(&link).await.is_ok() {
                    return;
                }
            }
        };
        tokio::select! {
            () = again => {}
            _ = link.broken() => {}
        }
    }

    /// Sends clients away, and waits until no exchange is under way, or the time is over.
    pub(in crate::daemon) async fn drain_out(&self, patience: Duration) {
        let Some(link) = self.state().link else { return };
        if patience.is_zero() || link.ask(Ask::Drain { drains: true }).await.is_err() {
            return;
        }
        let empty = async {
            loop {
                match link.ask(Ask::Connections { limit: LOOKED_AT }).await {
                    Ok(Answer::Connections { connections, .. }) if connections.iter().any(|it| it.busy) => {}
                    _ => break,
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(patience, empty).await.is_err() {
            tracing::warn!(seconds = patience.as_secs(), "exchanges are still under way, and the time is over");
        }
    }

    /// How much is logged.
    ///
    /// # Errors
    /// What is wrong with the filter, or that it cannot be noted.
    pub async fn set_log(&self, who: &Who, filter: &str) -> Result<Done, ErrorBody> {
        let changed = self.logs.filter() != filter;
        self.note(who, "log", None, Outcome::Begun, Some(&filter.chars().take(200).collect::<String>())).await?;
        let set = self.logs.set(filter).map_err(|error| fail(Code::BadRequest, error, ""));
        let outcome = if set.is_ok() { Outcome::Done } else { Outcome::Refused };
        self.note(who, "log", None, outcome, None).await?;
        set.map(|()| Done { changed, pending: None })
    }
}
