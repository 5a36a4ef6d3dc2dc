//! What metrics are made of, gathered when they are read.

use super::{
    engine::{Engine, State, Tally, key_of},
    view,
};
use crate::{
    config::{Metrics, Secret},
    metrics::{self, Bounds, DaemonState, Input, SecretState},
    stat::Statistics,
};
use axum::Router;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;
use weirgate_dataplane::link::message::{Answer, Ask};

/// For the data plane's part: when it hangs, the rest matters most, and whoever scrapes waits some ten seconds at most.
const PATIENCE: Duration = Duration::from_secs(2);

/// `GET /metrics` of this daemon.
pub fn router(engine: &Arc<Engine>) -> Router {
    let engine = Arc::clone(engine);
    metrics::router(move || {
        let engine = Arc::clone(&engine);
        async move { gather(&engine).await }
    })
}

pub(super) async fn gather(engine: &Engine) -> (Input, Metrics) {
    let state = engine.state();
    let options = state.control().map(|control| control.metrics.clone()).unwrap_or_default();
    let dir = engine.settings.run_dir.clone();
    let statistics = tokio::task::spawn_blocking(move || Statistics::read(&dir).ok().filter(Statistics::is_alive));
    let mut input = Input {
        daemon: daemon(&state),
        bounds: state.boot.as_deref().map(Bounds::of),
        statistics: statistics.await.ok().flatten(),
        secrets: secrets(&state),
        discoveries: engine.discoveries(),
        ..Input::default()
    };
    if let Some(link) = &state.link {
        let ask = |ask| timeout(PATIENCE, link.ask(ask));
        let (meters, endpoints) = tokio::join!(ask(Ask::Meters), ask(Ask::Endpoints));
        if let Ok(Ok(Answer::Meters { meters, unmetered })) = meters {
            (input.meters, input.unmetered) = (meters, unmetered);
        }
        if let Ok(Ok(Answer::Endpoints { endpoints })) = endpoints {
            input.endpoints = endpoints;
        }
    }
    (input, options)
}

fn secrets(state: &State) -> Vec<SecretState> {
    let all = state.control().map_or(&[][..], |control| &control.secrets);
    let of = |secret: &Secret| {
        let held = state.overlay.secrets.get(&key_of(secret));
        let status = state.secrets.get(&secret.name).cloned().unwrap_or_default();
        SecretState {
            name: secret.name.clone(),
            not_after: held.and_then(|it| it.facts.not_after()),
            next_update: held.and_then(|it| it.facts.next_update()),
            refused: status.refused.is_some(),
            updates: status.updates,
            refusals: status.refusals,
        }
    };
    all.iter().map(of).collect()
}

fn daemon(state: &State) -> DaemonState {
    let Tally { applies, refusals, applied_ms, refused_ms } = state.tally.clone();
    DaemonState {
        version: env!("CARGO_PKG_VERSION").into(),
        labels: state.control().map(|control| control.labels.clone()).unwrap_or_default(),
        started: Duration::from_millis(view::started_ms()),
        revision: state.number().unwrap_or(0),
        applied: applied_ms.map(Duration::from_millis),
        refused: refused_ms.map(Duration::from_millis),
        applies,
        refusals,
        dataplane_up: state.link.is_some(),
        dataplane_restarts: state.dataplane.restarts,
        draining: state.draining,
        drains: state.dataplane.drains,
        read_only: state.read_only.is_some(),
    }
}
