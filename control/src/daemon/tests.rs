//! What tests of the daemon share.

use super::store::Body;
use crate::{admin::api::SourceFile, config};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that goes with its owner.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("weirgate-{name}-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A small configuration: one listener, one route, one backend. `path` is what the route takes.
pub(crate) fn yaml(path: &str) -> String {
    format!(
        "apiVersion: weirgate/v1\nkind: GatewayConfig\nmetadata: {{name: test}}\n\
         dataplane:\n  cores: [0]\n  ports: [{{name: p0, device: \"af_packet:gw0\", addresses: [10.77.0.10/24]}}]\n\
         listeners:\n- {{name: http, port: 80, protocol: HTTP}}\n\
         routes:\n- kind: HTTPRoute\n  name: site\n  parentRefs: [{{name: http}}]\n  rules:\n\
         \x20 - matches: [{{path: {{type: PathPrefix, value: /{path}}}}}]\n    backendRefs: [{{name: web}}]\n\
         backends:\n- {{name: web, discovery: {{static: [\"10.77.0.11:8080\", \"10.77.0.12:8080\"]}}}}\n"
    )
}

pub(crate) fn files(path: &str) -> Vec<SourceFile> {
    vec![SourceFile { name: "gateway.yaml".into(), text: yaml(path) }]
}

pub(crate) fn body(path: &str) -> Body {
    let text = vec![("gateway.yaml".to_owned(), yaml(path))];
    let model = config::compile(&text, &config::Environment::default());
    let model = model.unwrap_or_else(|findings| panic!("{findings:?}"));
    Body { files: files(path), control: model.control, snapshot: model.snapshot, brought: model.brought }
}

mod applying;
mod draining;
mod finding;
mod lasting;
mod secrets;
pub(crate) mod stand_in;
mod starting;
mod supervising;
mod watching;

use super::{
    clock::TimeOfDay,
    engine::{Engine, Settings},
    logs::Logs,
    store::{Real, Store},
    supervise::{Fate, Start, Supervisor},
    who::Who,
};
use crate::admin::api::{Applied, ApplyRequest, ErrorBody};
use stand_in::StandIn;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle};

/// For what must come. Long: a slow machine is no failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A daemon without its admin API, and a data plane.
pub(crate) struct World {
    pub(crate) engine: Arc<Engine>,
    pub(crate) stand_in: StandIn,
    pub(crate) fate: watch::Sender<Fate>,
    supervisor: JoinHandle<()>,
    pub(crate) dir: Dir,
}

impl World {
    /// Attached to a data plane that serves `/a` already.
    pub(crate) async fn new(name: &str) -> Self {
        let dir = Dir::new(name);
        let stand_in = StandIn::start(dir.path(), Some(body("a").snapshot));
        let world = Self::over(dir, stand_in, None);
        world.until(|state| state.link.is_some()).await;
        world
    }

    /// Another daemon over what a former one left.
    pub(crate) fn over(dir: Dir, stand_in: StandIn, start: Option<Start>) -> Self {
        Self::with(dir, stand_in, start, |_| {})
    }

    /// The same with other settings.
    pub(crate) fn with(dir: Dir, stand_in: StandIn, start: Option<Start>, change: impl FnOnce(&mut Settings)) -> Self {
        let engine = engine_with(&dir, start.is_some(), change);
        let (fate, told) = watch::channel(Fate::Keep);
        let supervisor = tokio::spawn(Supervisor::new(Arc::clone(&engine), start, told).run());
        Self { engine, stand_in, fate, supervisor, dir }
    }

    pub(crate) async fn until(&self, condition: impl FnMut(&super::engine::State) -> bool) {
        let mut state = self.engine.watch();
        let waited = tokio::time::timeout(PATIENCE, state.wait_for(condition)).await;
        waited.expect("in time").unwrap();
    }

    pub(crate) async fn apply(&self, path: &str) -> Result<Applied, ErrorBody> {
        self.apply_with(path, |_| {}).await
    }

    pub(crate) async fn apply_with(
        &self,
        path: &str,
        change: impl FnOnce(&mut ApplyRequest),
    ) -> Result<Applied, ErrorBody> {
        let mut request = ApplyRequest { files: files(path), ..ApplyRequest::default() };
        change(&mut request);
        self.engine.apply(&Who::process(0, Some(1)), request).await
    }

    /// The path that is served.
    pub(crate) fn serves(&self) -> String {
        let snapshot = self.stand_in.inside().snapshot.expect("it serves something");
        let route = serde_json::to_string(&snapshot.http[0].rules.routes[0].rules[0].matches).unwrap();
        let start = route.find("\"/").expect("a path") + 2;
        route[start..].split('"').next().unwrap().to_owned()
    }

    /// The daemon is killed; its lock goes with it.
    pub(crate) async fn kill(self) -> (Dir, StandIn) {
        let Self { engine, stand_in, fate, supervisor, dir } = self;
        fate.send_replace(Fate::Leave);
        tokio::time::timeout(PATIENCE, supervisor).await.expect("in time").unwrap();
        let weak = Arc::downgrade(&engine);
        drop(engine);
        // What it had begun may still hold it.
        eventually(async || weak.upgrade().is_none().then_some(())).await.expect("nobody holds it");
        (dir, stand_in)
    }
}

/// Waits for what nobody tells of: looks again and again until there is something. `None`: there was not, and the time is over.
pub(crate) async fn eventually<T>(look: impl AsyncFn() -> Option<T>) -> Option<T> {
    let looked = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looked).await.ok()
}

fn engine_with(dir: &Dir, supervised: bool, change: impl FnOnce(&mut Settings)) -> Arc<Engine> {
    let (store, _) = Store::open(&dir.path().join("state"), 100, Box::new(Real)).unwrap();
    let mut settings = Settings {
        run_dir: dir.path().to_owned(),
        state_dir: dir.path().join("state"),
        supervised,
        start_timeout: PATIENCE,
        drain_timeout: Duration::ZERO,
        time: TimeOfDay::default(),
    };
    change(&mut settings);
    Arc::new(Engine::new(settings, Logs::silent(), store))
}

pub(crate) fn audit_lines(dir: &Dir) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(dir.path().join("state/audit.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
