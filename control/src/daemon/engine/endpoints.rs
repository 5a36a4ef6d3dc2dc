//! Endpoints that come and go: each batch is one change of what is served, never a revision.

use super::{Changes, Engine, State};
use crate::{
    config::Discovery,
    daemon::{
        clock::monotonic,
        link::LinkError,
        overlay::{Overlay, own_addresses},
        store::{Learned, Revision},
    },
    discovery::{EndpointUpdate, Status},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::mpsc, time::sleep};
use weirgate_dataplane::snapshot::{Backend, Endpoint};

/// Updates that are taken together.
const BATCH: usize = 1_024;
/// Between tries of what was refused or could not be written: doubled each time, up to the second.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Endpoints that a line of the log names.
const NAMED: usize = 4;

/// What is left to be done of a batch.
#[derive(Default)]
pub struct Left {
    /// Refused by the data plane.
    refused: Vec<EndpointUpdate>,
    /// What was found could not be written.
    unwritten: bool,
}

impl Left {
    /// Whether it is nothing.
    pub fn is_nothing(&self) -> bool {
        self.refused.is_empty() && !self.unwritten
    }
}

impl Engine {
    /// Takes what discovery finds until nobody looks any more. What does not work is tried again, less and less often.
    pub(in crate::daemon) async fn take_endpoints(self: Arc<Self>, mut updates: mpsc::Receiver<EndpointUpdate>) {
        let (mut batch, mut left, mut pause) = (Vec::new(), Left::default(), AGAIN.0);
        loop {
            tokio::select! {
                taken = updates.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        return;
                    }
                    pause = AGAIN.0;
                }
                () = sleep(pause), if !left.is_nothing() => pause = (pause * 2).min(AGAIN.1),
            }
            // Behind them comes what is newer.
            let mut all = std::mem::take(&mut left.refused);
            all.append(&mut batch);
            let is_unwritten = left.unwritten;
            let begun = monotonic();
            left = self.endpoints(all).await;
            // Changes by others wait for this: what is refused again and again must leave them most of the time.
            pause = pause.max(begun.elapsed() * 10);
            if is_unwritten && !left.unwritten {
                left.unwritten = !self.write_endpoints().await;
            }
        }
    }

    /// Puts them over the revision that is in force.
    pub async fn endpoints(&self, updates: Vec<EndpointUpdate>) -> Left {
        let mut changes = self.changes.lock().await;
        let state = self.state();
        let Some(revision) = state.revision.clone() else { return Left::default() };
        let news = news(&state, updates);
        if news.is_empty() {
            return Left::default();
        }
        for (source, endpoints) in news.iter().filter(|(source, _)| !state.refused.contains_key(source.backend())) {
            tracing::info!(backend = source.backend(), endpoints = endpoints.len(), "endpoints have changed");
        }
        let asked: BTreeSet<String> = news.keys().map(|source| source.backend().to_owned()).collect();
        let mut overlay = state.overlay.clone();
        let refused = self.lay(&mut changes, &revision, &mut overlay, news).await;
        tell_left_out(&revision, &overlay, &asked);
        let is_other = !Arc::ptr_eq(&state.overlay.discovered, &overlay.discovered);
        self.publish(|state| {
            state.overlay = overlay;
            state.refused.retain(|backend, _| !asked.contains(backend));
            state.refused.extend(refused.iter().map(|(update, why)| (update.source.backend().to_owned(), why.clone())));
        });
        drop(changes);
        let unwritten = is_other && !self.write_endpoints().await;
        Left { refused: refused.into_iter().map(|(update, _)| update).collect(), unwritten }
    }

    /// Lays news over what is served. Of what the data plane refuses, halves are tried by themselves, so that one bad backend keeps no other
    /// from its endpoints; what is left is what is refused, and why.
    pub(super) async fn lay(
        &self,
        changes: &mut Changes,
        revision: &Revision,
        overlay: &mut Overlay,
        news: Learned,
    ) -> Vec<(EndpointUpdate, String)> {
        let (mut parts, mut refused) = (vec![news], Vec::new());
        while let Some(mut part) = parts.pop() {
            let mut all = Learned::clone(&overlay.discovered);
            all.extend(part.clone());
            let next = Overlay { discovered: Arc::new(all), ..overlay.clone() };
            if self.state().link.is_none() {
                *overlay = next;
                continue;
            }
            match self.tell_over(changes, revision, &next).await {
                Ok(_) => {
                    *overlay = next;
                    self.publish_served(changes);
                }
                Err(LinkError::Refused(_)) if part.len() > 1 => {
                    let middle = part.keys().nth(part.len() / 2).expect("it has more than one").clone();
                    parts.push(part.split_off(&middle));
                    parts.push(part);
                }
                Err(error @ LinkError::Refused(_)) => {
                    let (source, endpoints) = part.pop_first().expect("it has one");
                    let backend = source.backend();
                    if self.state.borrow().refused.get(backend) != Some(&error.to_string()) {
                        tracing::error!(%error, backend, "the data plane refuses these endpoints; they stay as they are");
                    }
                    refused.push((EndpointUpdate { source, endpoints }, error.to_string()));
                }
                // When it is connected again it gets them.
                Err(error) => {
                    tracing::warn!(%error, "endpoints have changed, and the data plane does not hear of it");
                    *overlay = next;
                }
            }
        }
        refused
    }

    /// Notes what was found, so that a start needs no answer. Says whether it could.
    pub(super) async fn write_endpoints(&self) -> bool {
        let found = Arc::clone(&self.state.borrow().overlay.discovered);
        let written = self.with_store(move |store| store.save_endpoints(&found)).await;
        if let Err(error) = &written {
            tracing::warn!(%error, "what discovery found cannot be written: a start would have to ask again");
        }
        written.is_ok()
    }

    /// How each source of what is in force is.
    pub fn discoveries(&self) -> Vec<Status> {
        let asked = self.discovery.get().map(|it| it.lock().expect("nobody panics with it").status());
        let state = self.state();
        let Some(revision) = &state.revision else { return Vec::new() };
        let own = own_addresses(&revision.body.snapshot);
        let mut asked: BTreeMap<String, Status> =
            asked.into_iter().flatten().map(|it| (it.backend.clone(), it)).collect();
        let of = |source: &Discovery| {
            let new = Status::of(source);
            // It may still be asked for something else.
            let is_its = |it: &Status| (it.kind, &it.source) == (new.kind, &new.source);
            let mut status = asked.remove(source.backend()).filter(is_its).unwrap_or(new);
            let found = state.overlay.found(source, &own);
            status.pending = found.pending;
            status.endpoints = found.endpoints.len();
            status.left_out = found.left_out.iter().map(|it| it.address).collect();
            status.refused = state.refused.get(source.backend()).cloned();
            status
        };
        revision.body.control.discoveries.iter().map(of).collect()
    }
}

/// What is new, and about a source that matters: of each the last word.
fn news(state: &State, updates: Vec<EndpointUpdate>) -> Learned {
    let sources = state.sources();
    let mut news = Learned::new();
    for EndpointUpdate { source, endpoints } in updates {
        let source = source.question();
        if !sources.contains(&source) {
            tracing::debug!(backend = source.backend(), "an answer that nobody waits for any more");
            continue;
        }
        let alone = Backend { endpoints, ..Backend::new(source.backend(), &[]) };
        match alone.check() {
            Ok(()) => _ = news.insert(source, alone.endpoints),
            Err(error) => {
                tracing::error!(error, "what discovery found cannot be served; the endpoints stay as they are");
            }
        }
    }
    news.retain(|source, endpoints| {
        state.overlay.discovered.get(source) != Some(endpoints) || state.refused.contains_key(source.backend())
    });
    news
}

/// Says which endpoints lead back to the gateway.
fn tell_left_out(revision: &Revision, overlay: &Overlay, asked: &BTreeSet<String>) {
    let own = own_addresses(&revision.body.snapshot);
    for source in revision.body.control.discoveries.iter().filter(|source| asked.contains(source.backend())) {
        let left_out = overlay.found(source, &own).left_out;
        if !left_out.is_empty() {
            let first: Vec<String> = left_out.iter().take(NAMED).map(|it: &Endpoint| it.address.to_string()).collect();
            let (backend, count, first) = (source.backend(), left_out.len(), first.join(", "));
            tracing::error!(backend, count, first, "discovery names addresses of the gateway itself: left out");
        }
    }
}

impl State {
    /// What is asked for by the revision in force, and by the one that may come back by itself.
    pub(super) fn sources(&self) -> BTreeSet<Discovery> {
        let revisions = self.revision.iter().chain(&self.back);
        revisions.flat_map(|it| &it.body.control.discoveries).map(Discovery::question).collect()
    }

    /// What was learned from sources that nobody names any more is forgotten. Says whether there was any.
    pub(super) fn forget_sources(&mut self) -> bool {
        let sources = self.sources();
        if self.overlay.discovered.keys().all(|source| sources.contains(source)) {
            return false;
        }
        let kept = self.overlay.discovered.iter().filter(|(source, _)| sources.contains(source));
        self.overlay.discovered = Arc::new(kept.map(|(source, found)| (source.clone(), found.clone())).collect());
        self.refused.retain(|backend, _| sources.iter().any(|source| source.backend() == backend));
        true
    }
}
