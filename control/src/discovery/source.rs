//! What a source has found so far.

use super::{EndpointUpdate, Source, Status};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::{sync::mpsc, time::Instant};
use tracing::{info, warn};
use weirgate_dataplane::snapshot::Endpoint;

pub(super) struct Found {
    backend: String,
    source: String,
    of: Source,
    updates: mpsc::Sender<EndpointUpdate>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    endpoints: Option<Vec<Endpoint>>,
    answered: Option<Instant>,
    answers: u64,
    failures: u64,
    error: Option<String>,
    closed: bool,
}

impl Found {
    pub(super) fn new(source: &Source, updates: mpsc::Sender<EndpointUpdate>) -> Self {
        let Status { backend, source: name, .. } = Status::of(source);
        Self { backend, source: name, of: source.clone(), updates, state: Mutex::default() }
    }

    /// A good answer, but for what is said beside it. Tells it if it differs from the last; says whether anybody still listens.
    pub(super) async fn found(&self, endpoints: Vec<Endpoint>, partly: Option<String>) -> bool {
        // A place in the queue first: once the state has changed, the update must not get lost with a task that is ended.
        let Ok(place) = self.updates.reserve().await else { return false };
        let mut state = self.state();
        if state.closed {
            return false;
        }
        state.answers += 1;
        state.answered = Some(Instant::now());
        if state.endpoints.as_ref() != Some(&endpoints) {
            state.endpoints = Some(endpoints.clone());
            place.send(EndpointUpdate { source: self.of.clone(), endpoints });
        }
        match partly {
            Some(error) => self.note(&mut state, error),
            None if state.error.take().is_some() => {
                info!(backend = self.backend, source = self.source, "discovery works again");
            }
            None => {}
        }
        true
    }

    /// The last answer still holds.
    pub(super) fn confirmed(&self) {
        self.state().answered = Some(Instant::now());
    }

    /// A bad answer.
    pub(super) fn failed(&self, error: String) {
        self.note(&mut self.state(), error);
    }

    /// Said once for as long as it stays the same.
    fn note(&self, state: &mut State, error: String) {
        state.failures += 1;
        if state.error.as_ref() != Some(&error) {
            let kept = state.endpoints.as_ref().map_or(0, Vec::len);
            warn!(backend = self.backend, source = self.source, kept, "discovery: {error}");
            state.error = Some(error);
        }
    }

    /// Nothing is told from now on.
    pub(super) fn close(&self) {
        self.state().closed = true;
    }

    pub(super) fn known(&self) -> Option<EndpointUpdate> {
        let endpoints = self.state().endpoints.clone()?;
        Some(EndpointUpdate { source: self.of.clone(), endpoints })
    }

    pub(super) fn status(&self) -> Status {
        let state = self.state();
        let age = state.answered.map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX));
        Status {
            pending: state.endpoints.is_none(),
            endpoints: state.endpoints.as_ref().map_or(0, Vec::len),
            age_ms: age,
            answers: state.answers,
            failures: state.failures,
            error: state.error.clone(),
            ..Status::of(&self.of)
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
