//! Data planes that come and go.

use super::{Changes, Engine, NO_DATAPLANE, State, fail};
use crate::{
    admin::api::{Code, ErrorBody},
    daemon::{
        link::{Link, LinkError},
        overlay::{CHANGES, Overlay},
        store::{Learned, Revision},
    },
};
use std::sync::Arc;
use weirgate_dataplane::{
    link::message::{Answer, Ask, Refusal},
    snapshot::Snapshot,
};

impl Engine {
    /// A data plane is connected.
    pub(in crate::daemon) fn connected(&self, link: &Link) {
        let welcome = link.welcome().clone();
        tracing::info!(pid = welcome.pid, version = welcome.version, serves = welcome.revision, "data plane connected");
        self.publish(|state| {
            state.link = Some(link.clone());
            state.answered = false;
            let it = &mut state.dataplane;
            (it.connected, it.pid, it.trouble) = (true, Some(welcome.pid), None);
            (it.version, it.workers) = (Some(welcome.version.clone()), Some(welcome.workers));
            it.serves = Some(welcome.revision);
        });
    }

    /// It gets what is in force, and makes no reset out of that.
    pub(in crate::daemon) async fn attached(self: &Arc<Self>, link: Link) {
        let mut changes = self.changes.lock().await;
        // A change that waited for this data plane has told it already.
        let is_told = changes.served.is_some() && changes.over.as_ref().is_some_and(|over| over.is(&link));
        if !is_told {
            self.resynchronize(&mut changes, &link).await;
        }
        self.publish(|state| state.answered = state.link.as_ref().is_some_and(|it| it.is(&link)));
        if let Err(error) = link.ask(Ask::WatchHealth).await {
            tracing::warn!(%error, "the data plane does not tell about health");
        }
        if let Err(error) = self.tell_drain(&link).await {
            tracing::warn!(%error, "the data plane does not say whether it drains");
            tokio::spawn(Arc::clone(self).drain_later(link));
        }
        drop(changes);
        self.reread.notify_one();
    }

    pub(super) async fn tell_over(
        &self,
        changes: &mut Changes,
        revision: &Revision,
        overlay: &Overlay,
    ) -> Result<u64, LinkError> {
        match overlay.over(&revision.body) {
            Ok(snapshot) => self.tell(changes, snapshot, revision.head.revision).await,
            Err(reason) => Err(LinkError::Refused(Refusal::Unsound { reason })),
        }
    }

    async fn resynchronize(&self, changes: &mut Changes, link: &Link) {
        let state = self.state();
        let Some(revision) = &state.revision else {
            // What it serves was never in force; its block tells whether a change of that takes a restart.
            if let Ok(Answer::Snapshot { snapshot }) = link.ask(Ask::Snapshot).await {
                changes.block = Some(snapshot.dataplane);
            }
            return;
        };
        let mut told = self.tell_over(changes, revision, &state.overlay).await;
        if matches!(told, Err(LinkError::Refused(_))) && !state.overlay.discovered.is_empty() {
            // It may be about endpoints that were found while it was away.
            let mut overlay = Overlay { discovered: Arc::default(), ..state.overlay.clone() };
            told = self.tell_over(changes, revision, &overlay).await;
            if told.is_ok() {
                let found = Learned::clone(&state.overlay.discovered);
                let refused = self.lay(changes, revision, &mut overlay, found).await;
                self.publish(|state| {
                    state.overlay = overlay;
                    state.refused =
                        refused.into_iter().map(|(it, why)| (it.source.backend().to_owned(), why)).collect();
                });
            }
        }
        let Err(error) = told else {
            self.publish_served(changes);
            return tracing::info!(revision = revision.head.revision, "resynchronized");
        };
        tracing::error!(%error, revision = revision.head.revision, "the data plane does not serve what is in force");
        self.publish(|state| state.dataplane.trouble = Some(error.to_string()));
        let is_newer = link.welcome().revision / CHANGES > revision.head.revision;
        if is_newer && self.settings.supervised && matches!(error, LinkError::Refused(Refusal::Restart)) {
            // A daemon ended after it had started it, and before that was in force.
            tracing::error!("it was started with a revision that was never in force: it is started again");
            self.publish(|state| state.boot = None);
            self.boot_last();
            self.restart.send_modify(|n| *n += 1);
            return;
        }
        // What it serves instead, so that a change knows what it starts from.
        if let (LinkError::Refused(_), Ok(Answer::Snapshot { snapshot })) = (&error, link.ask(Ask::Snapshot).await) {
            changes.served = Some(Arc::new(*snapshot));
        }
    }

    /// What the data plane serves now, for whoever looks and for its next start.
    pub(super) fn publish_served(&self, changes: &Changes) {
        let Some(served) = changes.served.clone() else { return };
        self.publish(|state| {
            state.dataplane.serves = Some(served.revision);
            state.boot = Some(served);
        });
    }

    /// It is gone.
    pub(in crate::daemon) fn detached(&self, link: &Link, why: &str) {
        tracing::warn!(why, "the link to the data plane is lost");
        self.publish(|state| {
            if state.link.as_ref().is_some_and(|it| it.is(link)) {
                (state.link, state.answered) = (None, false);
                let it = &mut state.dataplane;
                (it.connected, it.serves, it.drains) = (false, None, None);
                state.dataplane.trouble = Some(why.to_owned());
            }
        });
    }

    /// Stops the data plane, if there is one, and waits for the one that is started with this snapshot. If that comes to nothing, the old one is
    /// started again.
    pub(super) async fn restart_with(
        &self,
        changes: &mut Changes,
        snapshot: Snapshot,
        revision: u64,
        before: &State,
    ) -> Result<Option<u64>, ErrorBody> {
        let boot = Snapshot { revision: revision * CHANGES, ..snapshot.clone() };
        let old = before.link.clone();
        let mut result = self.start_anew(Arc::new(boot), old.as_ref()).await;
        if result.is_ok() {
            result = self.tell(changes, snapshot, revision).await.map_err(Into::into);
        }
        match result {
            Ok(took) => {
                self.publish_served(changes);
                Ok(Some(took))
            }
            Err(error) => {
                tracing::error!(error = error.error, "the data plane does not start with the new revision");
                (changes.served, changes.over) = (None, None);
                self.publish(|state| state.boot.clone_from(&before.boot));
                self.restart.send_modify(|n| *n += 1);
                Err(error)
            }
        }
    }

    async fn start_anew(&self, boot: Arc<Snapshot>, old: Option<&Link>) -> Result<u64, ErrorBody> {
        let mut failures = self.failures.subscribe();
        failures.mark_unchanged();
        self.publish(|state| state.boot = Some(boot));
        self.restart.send_modify(|n| *n += 1);
        let mut state = self.watch();
        let is_new = |state: &State| state.link.as_ref().is_some_and(|link| old.is_none_or(|old| !old.is(link)));
        let patience = self.settings.start_timeout + self.settings.drain_timeout;
        tokio::select! {
            new = state.wait_for(is_new) => new.map(|_| 0).map_err(|_| fail(Code::Internal, "the daemon ends", "")),
            _ = failures.changed() => {
                let why = self.state().dataplane.trouble.unwrap_or_default();
                let error = format!("the data plane does not start: {why}");
                Err(fail(Code::Refused, error, "its own messages say why: journalctl -u weirgate"))
            }
            () = tokio::time::sleep(patience) => {
                let error = format!("no data plane within {} s", patience.as_secs());
                Err(fail(Code::NoDataplane, error, NO_DATAPLANE))
            }
        }
    }
}

impl Engine {
    /// Whether a data plane listens already.
    pub(in crate::daemon) async fn dataplane_runs(&self) -> bool {
        let socket = self.settings.run_dir.join(weirgate_dataplane::link::SOCKET);
        tokio::net::UnixStream::connect(socket).await.is_ok()
    }

    /// A data plane that starts gets what is in force, unless something else was decided.
    pub(in crate::daemon) fn boot_last(&self) {
        self.publish(|state| {
            let Some(revision) = state.revision.as_ref().filter(|_| state.boot.is_none()) else { return };
            match state.overlay.over(&revision.body) {
                Ok(snapshot) => {
                    let number = revision.head.revision * CHANGES;
                    state.boot = Some(Arc::new(Snapshot { revision: number, ..snapshot }));
                }
                Err(error) => tracing::error!(error, "what is in force cannot be started"),
            }
        });
    }
}
