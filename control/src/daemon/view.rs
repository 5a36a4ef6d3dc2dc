//! What is in force, for those who look: nothing here changes anything.

use super::{
    clock,
    engine::{Engine, State, fail},
    link::LinkError,
    overlay::own_addresses,
    store::{Drained, Revision},
};
use crate::{
    admin::api::{
        BackendSummary, Backends, Code, Connection, Connections, Counter, CounterColumn, Counters, Described,
        DiscoveryStatus, EndpointLive, EndpointSummary, Endpoints, ErrorBody, ExplainRequest, Explained,
        ListenerSummary, Listeners, Meter, Meters, RouteSummary, Routes, Status,
    },
    config::Discovery,
    discovery,
    explain::{self, Question},
    stat::Statistics,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::{Arc, LazyLock},
};
use weirgate_dataplane::{
    link::message::{Answer, Ask, DURATION_BOUNDS_US, EndpointState, Of},
    snapshot::{Backend, Snapshot},
};

/// What is in force, and by which number.
pub fn in_force(state: &State) -> Result<(u64, Arc<Revision>), ErrorBody> {
    match &state.revision {
        Some(revision) => Ok((revision.head.revision, Arc::clone(revision))),
        None => {
            Err(fail(Code::NotReady, "no revision is in force", "weirgate check says what is wrong with the files"))
        }
    }
}

static STARTED: LazyLock<u64> = LazyLock::new(clock::now_ms);

/// When the daemon was started, in milliseconds of 1970.
pub fn started_ms() -> u64 {
    *STARTED
}

/// Remembers when the daemon was started.
pub fn note_start() {
    LazyLock::force(&STARTED);
}

/// How the daemon is.
pub fn status(state: &State) -> Status {
    let head = state.revision.as_ref().map(|revision| revision.head.clone());
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        started: clock::rfc3339(*STARTED),
        node: state.revision.as_ref().map(|it| it.body.snapshot.name.clone()).unwrap_or_default(),
        revision: head,
        unconfirmed: state.unconfirmed(),
        ready: state.not_ready().is_none(),
        not_ready: state.not_ready().map(Into::into),
        draining: state.draining,
        read_only: state.read_only.clone(),
        dataplane: state.dataplane.clone(),
        files: state.files.paths.iter().map(|path| path.display().to_string()).collect(),
        findings: state.files.findings.clone(),
        files_refused: state.files.refused.clone(),
    }
}

/// All listeners.
pub fn listeners(state: &State) -> Result<Listeners, ErrorBody> {
    let (revision, in_force) = in_force(state)?;
    let snapshot = &in_force.body.snapshot;
    let of = |name: &String, protocol: &str, address: Option<std::net::IpAddr>, port, routes| ListenerSummary {
        name: name.clone(),
        protocol: protocol.into(),
        address: address.map(|it| it.to_string()),
        port,
        routes,
    };
    let word = |tls: &Option<_>, plain: &'static str, secure| if tls.is_some() { secure } else { plain };
    let http = snapshot
        .http
        .iter()
        .map(|it| of(&it.name, word(&it.tls, "HTTP", "HTTPS"), it.address, it.port, it.rules.routes.len()));
    let tcp = snapshot.tcp.iter().map(|it| of(&it.name, word(&it.tls, "TCP", "TLS"), it.address, it.port, 0));
    let services = snapshot.services.iter().map(|it| of(&it.name, "TCP service", it.address, it.port, 0));
    Ok(Listeners { revision, listeners: http.chain(tcp).chain(services).collect() })
}

/// All routes, each once however many listeners have it.
pub fn routes(state: &State) -> Result<Routes, ErrorBody> {
    let (revision, in_force) = in_force(state)?;
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut routes: Vec<RouteSummary> = Vec::new();
    for listener in &in_force.body.snapshot.http {
        for route in &listener.rules.routes {
            let place = *places.entry(&route.name).or_insert(routes.len());
            if place == routes.len() {
                let backends = route.rules.iter().flat_map(|rule| &rule.backends).map(|share| share.backend.clone());
                routes.push(RouteSummary {
                    name: route.name.clone(),
                    listeners: Vec::new(),
                    hostnames: route.hostnames.clone(),
                    rules: route.rules.len(),
                    backends: backends.collect::<BTreeSet<_>>().into_iter().collect(),
                });
            }
            routes[place].listeners.push(listener.name.clone());
        }
    }
    Ok(Routes { revision, routes })
}

/// All backends.
pub async fn backends(state: &State) -> Result<Backends, ErrorBody> {
    let (revision, _) = in_force(state)?;
    let endpoints = endpoints(state, None).await?.endpoints;
    let mut by_backend: BTreeMap<&str, Vec<&EndpointSummary>> = BTreeMap::new();
    endpoints.iter().for_each(|it| by_backend.entry(&it.backend).or_default().push(it));
    let sources = state.control().map_or(&[][..], |control| &control.discoveries);
    let kinds: BTreeMap<&str, &str> = sources.iter().map(|it| (it.backend(), discovery::Status::of(it).kind)).collect();
    let of = |backend: &Backend| {
        let all = by_backend.get(backend.name.as_str()).map_or(&[][..], Vec::as_slice);
        let live: Option<Vec<bool>> = all.iter().map(|it| it.live.as_ref().map(|live| live.healthy)).collect();
        BackendSummary {
            name: backend.name.clone(),
            discovery: kinds.get(backend.name.as_str()).copied().unwrap_or("static").into(),
            policy: policy_of(backend),
            endpoints: all.len(),
            healthy: state.link.as_ref().and(live).map(|live| live.into_iter().filter(|&it| it).count()),
            draining: all.iter().filter(|it| it.draining).count(),
        }
    };
    let (_, in_force) = in_force(state)?;
    Ok(Backends { revision, backends: in_force.body.snapshot.backends.iter().map(of).collect() })
}

/// The policy's word, as it is written in a configuration.
fn policy_of(backend: &Backend) -> String {
    let policy = serde_json::to_value(backend.load_balancing).unwrap_or_default();
    policy["policy"].as_str().unwrap_or_default().to_owned()
}

/// Endpoints, of all backends or of one, with what the data plane knows of them.
pub async fn endpoints(state: &State, backend: Option<&str>) -> Result<Endpoints, ErrorBody> {
    let (revision, in_force) = in_force(state)?;
    let is_wanted = |it: &&Backend| backend.is_none_or(|wanted| wanted == it.name);
    let wanted: Vec<&Backend> = in_force.body.snapshot.backends.iter().filter(is_wanted).collect();
    if let Some(backend) = backend.filter(|_| wanted.is_empty()) {
        return Err(no_such("backend", backend));
    }
    let live = live(state).await;
    let own = own_addresses(&in_force.body.snapshot);
    let sources: BTreeMap<&str, &Discovery> =
        in_force.body.control.discoveries.iter().map(|source| (source.backend(), source)).collect();
    let mut endpoints = Vec::new();
    for backend in wanted {
        let name = &backend.name;
        let all = match sources.get(name.as_str()) {
            Some(source) => state.overlay.found(source, &own).endpoints,
            None => backend.endpoints.clone(),
        };
        for endpoint in all {
            let drained = Drained { backend: name.clone(), address: endpoint.address };
            endpoints.push(EndpointSummary {
                backend: name.clone(),
                address: endpoint.address.to_string(),
                weight: endpoint.weight,
                draining: state.overlay.drained.contains(&drained),
                live: live.get(&(name.clone(), endpoint.address)).map(|it| EndpointLive {
                    healthy: it.healthy,
                    health: it.health.clone(),
                    active: it.active,
                    connections: it.connections,
                }),
            });
        }
    }
    Ok(Endpoints { revision, endpoints })
}

/// What the data plane knows of endpoints; nothing, when it is not there.
async fn live(state: &State) -> HashMap<(String, SocketAddr), EndpointState> {
    let Some(link) = &state.link else { return HashMap::new() };
    match link.ask(Ask::Endpoints).await {
        Ok(Answer::Endpoints { endpoints }) => {
            endpoints.into_iter().map(|it| ((it.backend.clone(), it.address), it)).collect()
        }
        _ => HashMap::new(),
    }
}

/// What has been served.
pub async fn meters(state: &State) -> Result<Meters, ErrorBody> {
    match ask(state, Ask::Meters).await? {
        Answer::Meters { meters, unmetered } => Ok(Meters {
            duration_bounds_us: DURATION_BOUNDS_US.to_vec(),
            meters: meters.into_iter().map(Meter::from).collect(),
            unmetered,
        }),
        other => Err(odd(&other)),
    }
}

/// Connections that are open.
pub async fn connections(state: &State, limit: u32) -> Result<Connections, ErrorBody> {
    match ask(state, Ask::Connections { limit }).await? {
        Answer::Connections { connections, total } => {
            Ok(Connections { connections: connections.into_iter().map(Connection::from).collect(), total })
        }
        other => Err(odd(&other)),
    }
}

async fn ask(state: &State, ask: Ask) -> Result<Answer, ErrorBody> {
    let absent = || LinkError::Absent(state.dataplane.trouble.clone().unwrap_or_else(|| "it is not connected".into()));
    Ok(state.link.as_ref().ok_or_else(absent)?.ask(ask).await?)
}

fn odd(answer: &Answer) -> ErrorBody {
    fail(Code::Internal, format!("the data plane gave an answer that was not asked for: {answer:?}"), "")
}

/// The counters that the data plane publishes.
pub async fn counters(engine: &Engine) -> Result<Counters, ErrorBody> {
    let dir = engine.settings.run_dir.clone();
    let read = tokio::task::spawn_blocking({
        let dir = dir.clone();
        move || Statistics::read(&dir).map(|statistics| (statistics.is_alive(), statistics))
    });
    let read = read.await.map_err(|error| fail(Code::Internal, error.to_string(), ""))?;
    let (alive, Statistics { name, version, pid, columns }) = read.map_err(|error| {
        fail(
            Code::NoDataplane,
            format!("no counters in {}: {error}", dir.display()),
            "is the data plane running, with this --run-dir? weirgate check",
        )
    })?;
    let columns = columns.into_iter().map(|column| CounterColumn {
        scope: column.scope,
        name: column.name,
        values: column
            .values
            .into_iter()
            .map(|it| Counter { name: it.name, kind: it.kind, value: it.value, help: it.help })
            .collect(),
    });
    Ok(Counters { name, version, pid, alive, columns: columns.collect() })
}

fn no_such(what: &str, name: &str) -> ErrorBody {
    fail(Code::NotFound, format!("there is no {what} {name:?}"), &format!("weirgate get {what}s"))
}

/// What is described.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A listener.
    Listener,
    /// A route.
    Route,
    /// A backend.
    Backend,
}

/// One object, whole, with what it has to do with.
pub async fn describe(engine: &Engine, kind: Kind, name: &str) -> Result<Described, ErrorBody> {
    let state = &engine.state();
    let (revision, in_force) = in_force(state)?;
    let mut described = match kind {
        Kind::Listener => listener(&in_force.body.snapshot, name),
        Kind::Route => route(&in_force.body.snapshot, name),
        Kind::Backend => backend(&in_force.body.snapshot, name),
    }?;
    described.revision = revision;
    let mut of: BTreeSet<String> = BTreeSet::new();
    match kind {
        Kind::Listener => {}
        Kind::Route => {
            of.extend(routes(state)?.routes.into_iter().filter(|it| it.name == name).flat_map(|it| it.backends));
        }
        Kind::Backend => {
            of.insert(name.to_owned());
            let discovery = engine.discoveries().into_iter().find(|it| it.backend == name);
            described.discovery = discovery.map(DiscoveryStatus::from);
        }
    }
    if !of.is_empty() {
        let all = endpoints(state, None).await?.endpoints;
        described.endpoints = all.into_iter().filter(|it| of.contains(&it.backend)).collect();
    }
    if let Some(link) = &state.link
        && let Ok(Answer::Meters { meters, .. }) = link.ask(Ask::Meters).await
    {
        let is_its = |of: &Of| match (kind, of) {
            (Kind::Listener, Of::Listener { listener: it })
            | (Kind::Route, Of::Route { route: it })
            | (Kind::Backend, Of::Backend { backend: it } | Of::Endpoint { backend: it, .. }) => it == name,
            _ => false,
        };
        described.meters = meters.into_iter().filter(|it| is_its(&it.of)).map(Meter::from).collect();
    }
    Ok(described)
}

impl From<discovery::Status> for DiscoveryStatus {
    fn from(it: discovery::Status) -> Self {
        Self {
            kind: it.kind.into(),
            source: it.source,
            pending: it.pending,
            endpoints: it.endpoints,
            age_ms: it.age_ms,
            error: it.error,
            left_out: it.left_out.iter().map(ToString::to_string).collect(),
            refused: it.refused,
        }
    }
}

fn described(object: &impl Serialize) -> Described {
    let object = serde_json::to_value(object).expect("string keys only");
    Described {
        revision: 0,
        object,
        discovery: None,
        listeners: Vec::new(),
        routes: Vec::new(),
        endpoints: Vec::new(),
        meters: Vec::new(),
    }
}

fn listener(snapshot: &Snapshot, name: &str) -> Result<Described, ErrorBody> {
    if let Some(listener) = snapshot.http.iter().find(|it| it.name == name) {
        let mut bare = listener.clone();
        let routes = std::mem::take(&mut bare.rules.routes).iter().map(|it| it.name.clone()).collect();
        return Ok(Described { routes, ..described(&bare) });
    }
    let tcp = snapshot.tcp.iter().find(|it| it.name == name).map(described);
    let service = || snapshot.services.iter().find(|it| it.name == name).map(described);
    tcp.or_else(service).ok_or_else(|| no_such("listener", name))
}

fn route(snapshot: &Snapshot, name: &str) -> Result<Described, ErrorBody> {
    let has = |routes: &[Arc<weirgate_dataplane::route::Route>]| routes.iter().find(|it| it.name == name).cloned();
    let listeners: Vec<_> =
        snapshot.http.iter().filter_map(|it| Some((it.name.clone(), has(&it.rules.routes)?))).collect();
    let (_, route) = listeners.first().ok_or_else(|| no_such("route", name))?;
    Ok(Described { listeners: listeners.iter().map(|(name, _)| name.clone()).collect(), ..described(&**route) })
}

fn backend(snapshot: &Snapshot, name: &str) -> Result<Described, ErrorBody> {
    let backend = snapshot.backends.iter().find(|it| it.name == name).ok_or_else(|| no_such("backend", name))?;
    let uses = |route: &&Arc<weirgate_dataplane::route::Route>| {
        route.rules.iter().any(|rule| rule.backends.iter().any(|share| share.backend == name))
    };
    let routes = snapshot.http.iter().flat_map(|it| &it.rules.routes).filter(uses).map(|it| it.name.clone());
    let routes: BTreeSet<_> = routes.collect();
    let listeners = snapshot.tcp.iter().filter(|it| it.backends.iter().any(|share| share.backend == name));
    let listeners = listeners.map(|it| it.name.clone()).collect();
    Ok(Described { routes: routes.into_iter().collect(), listeners, ..described(backend) })
}

/// What would become of a request.
pub async fn explain(engine: &Engine, request: ExplainRequest) -> Result<Explained, ErrorBody> {
    let state = engine.state();
    let (number, revision) = match request.revision {
        Some(number) => (number, engine.revision(number).await?),
        None => in_force(&state)?,
    };
    let bad = |error: String| fail(Code::BadRequest, error, "");
    let client = request.client.as_deref().unwrap_or("192.0.2.1");
    let client = client.parse().map_err(|_| bad(format!("{client:?} is no address")))?;
    let question = Question { method: request.method, url: request.url, fields: request.headers, client };
    let snapshot = state.overlay.without_secrets(&revision.body).map_err(|error| fail(Code::Internal, error, ""))?;
    let held = state.overlay.secrets.iter();
    let names: explain::Names =
        held.filter_map(|((name, _), it)| Some((name.clone(), it.facts.certificate.as_ref()?.names.clone()))).collect();
    let explanation = tokio::task::spawn_blocking(move || {
        let explanation = explain::explain(&snapshot, &names, &question)?;
        Ok::<_, String>((serde_json::to_value(&explanation).expect("string keys only"), explanation.to_string()))
    });
    let explanation = explanation.await.map_err(|error| fail(Code::Internal, error.to_string(), ""))?;
    let (explanation, mut text) = explanation.map_err(bad)?;
    let shares = explanation["outcome"]["taken"]["backends"].as_array().cloned().unwrap_or_default();
    let names: BTreeSet<&str> = shares.iter().filter_map(|share| share["backend"].as_str()).collect();
    let mut all = Vec::new();
    if !names.is_empty() {
        let known = endpoints(&state, None).await?.endpoints;
        all = known.into_iter().filter(|it| names.contains(it.backend.as_str())).collect();
    }
    for it in &all {
        let live = it.live.as_ref().map_or("no data plane is connected".into(), |live| {
            format!("{} ({}), {} active", if live.healthy { "well" } else { "not well" }, live.health, live.active)
        });
        let drains = if it.draining { ", drains" } else { "" };
        text += &format!("endpoint  {} of {}: {live}{drains}\n", it.address, it.backend);
    }
    Ok(Explained { revision: number, explanation, endpoints: all, text })
}
