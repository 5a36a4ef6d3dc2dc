//! From snapshots to what workers do about them: the difference between the snapshot that is served and the next one, compiled outside of the
//! workers, once for all of them.
//!
//! ```text
//!   Snapshot ---> Planner::plan ---> Update { steps } ---> a clone for each worker ---> Gateway::update, between two turns
//! ```
//! Backends and listeners are told by their names. What is the same in both snapshots has no step: nobody notices. What a step replaces lives on in
//! the worker until the last exchange that began with it is over.

mod draft;

use super::{
    HealthChange,
    config::{Http, Raw},
    contexts::{Contexts, Terminates},
    meters::RouteKey,
};
use crate::{
    limits::{BACKENDS_MAX, UPDATE_PIECE, UPDATE_PIECES_MAX},
    link::message::Refusal,
    route::BackendIndex,
    services::Service,
    snapshot::{HashOn, HealthCheck, ProxyVersion, Snapshot},
    time::Duration,
    tls::ClientContext,
    upstream::{
        balance::{EndpointSet, Policy},
        pool::PoolOptions,
    },
};
use rustls::{KeyLog, crypto::CryptoProvider};
use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// What tells a listener from every other that there ever was.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct ListenerKey(u32);

/// The way of one worker from the last snapshot to the next. Opaque: only a [`Gateway`](super::Gateway) reads it.
#[derive(Clone)]
pub struct Update {
    /// The snapshot's.
    pub revision: u64,
    pub(super) steps: Vec<Step>,
}

impl Update {
    /// How many things it changes.
    #[allow(clippy::len_without_is_empty)] // an update without steps is one, too
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// The same in pieces, at most [`UPDATE_PIECES_MAX`], which are little for a turn each: backends, of which there may be many, apart from listeners,
    /// which change together. Whoever takes all of them over in order is in a sound state after each.
    pub fn pieces(&self) -> Vec<Self> {
        let is_backend = |step: &Step| matches!(step, Step::Backend(_) | Step::RemoveBackend(_));
        let most = UPDATE_PIECE.max(self.steps.len().div_ceil(UPDATE_PIECES_MAX - 4));
        let mut pieces = Vec::new();
        for steps in self.steps.chunk_by(|a, b| is_backend(a) == is_backend(b)) {
            let most = if is_backend(&steps[0]) { most } else { steps.len() };
            pieces.extend(steps.chunks(most).map(|steps| Self { revision: self.revision, steps: steps.to_vec() }));
        }
        if pieces.is_empty() {
            pieces.push(self.clone());
        }
        pieces
    }
}

/// In this order: backends, listeners that end, listeners that begin or change, backends that are gone.
#[derive(Clone)]
pub(super) enum Step {
    Backend(Box<GroupPlan>),
    Unlisten(ListenerKey),
    Listen {
        key: ListenerKey,
        at: (Option<IpAddr>, u16),
        serves: Spec,
        tls: Option<Terminates>,
    },
    /// Handshakes that begin from now on are made so; without, connections are plain.
    Secure {
        key: ListenerKey,
        tls: Option<Terminates>,
    },
    Replace {
        key: ListenerKey,
        serves: Spec,
    },
    RemoveBackend(BackendIndex),
    Health {
        backend: BackendIndex,
        place: u32,
        is_ill: bool,
    },
    Drain(bool),
    /// Routes that are no longer configured.
    ForgetRoutes(Vec<RouteKey>),
}

/// What a listener is for.
#[derive(Clone)]
pub(super) enum Spec {
    Service(Service),
    Http(Box<Http>),
    Raw(Box<Raw>),
}

/// A backend as a worker wants it.
#[derive(Clone)]
pub(super) struct GroupPlan {
    pub(super) backend: BackendIndex,
    pub(super) set: EndpointSet,
    pub(super) policy: Policy,
    pub(super) members: Vec<Member>,
    pub(super) pool: PoolOptions,
    pub(super) connect: Duration,
    pub(super) hash_on: Option<HashOn>,
    pub(super) proxy: Option<ProxyVersion>,
    pub(super) checks: Arc<[HealthCheck]>,
    pub(super) tls: Option<Arc<ClientContext>>,
}

/// An endpoint of a set.
#[derive(Clone, Copy)]
pub(super) struct Member {
    pub(super) address: SocketAddr,
    /// Its place in the set before, or [`NEW`].
    pub(super) was: u32,
    pub(super) is_ill: bool,
}

/// No place.
pub(super) const NEW: u32 = u32::MAX;

/// Plans updates. Not a worker's: it compiles, and takes its time.
#[derive(Default)]
pub struct Planner {
    snapshot: Option<Snapshot>,
    pub(super) backends: HashMap<String, Known>,
    /// The next number of a backend.
    numbers: u32,
    pub(super) listeners: HashMap<String, Listening>,
    pub(super) routes: RouteKeys,
    contexts: Contexts,
    /// Something has changed since the last [`Self::tidy`].
    is_untidy: bool,
    keys: u32,
    generations: u64,
}

pub(super) struct Known {
    /// Never another backend's, and this one's again should it come back: tables that were compiled before may still say it.
    pub(super) number: BackendIndex,
    pub(super) is_gone: bool,
    /// Those whose probes fail.
    ill: HashSet<SocketAddr>,
    tls: Option<Arc<ClientContext>>,
}

pub(super) struct Listening {
    pub(super) key: ListenerKey,
    kind: Kind,
    at: (Option<IpAddr>, u16),
    /// The last edition.
    http: Option<Box<Http>>,
    tls: Option<Terminates>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Service,
    Http,
    Raw,
}

/// What a plan changes in the planner once all of it has been made.
#[derive(Default)]
struct Draft {
    steps: Vec<Step>,
    numbers: HashMap<String, BackendIndex>,
    /// The next number of a backend.
    next: u32,
    keys: u32,
    generations: u64,
    listening: Vec<(String, Listening)>,
    secured: Vec<(String, Option<Terminates>)>,
    clients: Vec<(String, Option<Arc<ClientContext>>)>,
    unlistened: Vec<String>,
    /// Backends that are not probed: whoever was ill there is not known to be.
    unprobed: Vec<String>,
    removed: Vec<String>,
}

impl Planner {
    /// One whose contexts are made with this cryptography.
    pub fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { contexts: Contexts::new(provider), ..Self::default() }
    }

    /// Secrets of all connections are told to this, for whoever must read captures of his own. To be set before the first plan.
    pub fn set_key_log(&mut self, log: Arc<dyn KeyLog>) {
        self.contexts.set_key_log(log);
    }

    /// The time of day, by which certificates are judged: to be set before the first plan, and now and then.
    pub fn set_time_of_day(&self, unix_seconds: u64) {
        self.contexts.clock().set(unix_seconds);
    }

    /// What is served.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// What workers do to serve this snapshot, the first one or the next. Each of them gets a clone, in the order in which they were made.
    ///
    /// # Errors
    /// Why it is not served. Then everything is as before.
    pub fn plan(&mut self, mut to: Snapshot) -> Result<Update, Refusal> {
        let unsound = |reason| Refusal::Unsound { reason };
        if to.http.iter().any(|it| it.tls.is_some()) || to.tcp.iter().any(|it| it.tls.is_some()) {
            self.contexts.have_tickets();
        }
        let from = self.snapshot.take();
        let mut routes = std::mem::take(&mut self.routes);
        let planned = match &from {
            Some(from) if from.dataplane != to.dataplane => Err(Refusal::Restart),
            from => self.draft(from.as_ref(), &mut to, &mut routes).map_err(unsound),
        };
        self.routes = routes;
        // Even a refused one may have numbered routes.
        self.is_untidy = true;
        match planned {
            Ok(draft) => {
                let changed: Vec<_> = draft.numbers.keys().cloned().collect();
                let update = Update { revision: to.revision, steps: self.commit(draft) };
                self.forget_ill(&to, &changed);
                self.snapshot = Some(to);
                Ok(update)
            }
            Err(refusal) => {
                self.snapshot = from;
                Err(refusal)
            }
        }
    }

    /// Addresses that are no endpoints any more are not ill.
    fn forget_ill(&mut self, to: &Snapshot, changed: &[String]) {
        let changed = changed.iter().filter(|name| self.backends.get(*name).is_some_and(|it| !it.ill.is_empty()));
        for name in changed.cloned().collect::<Vec<_>>() {
            let list = to.backends.iter().find(|it| it.name == name).map_or(&[][..], |it| &it.endpoints);
            let stays: HashSet<_> = list.iter().map(|it| it.address).collect();
            if let Some(known) = self.backends.get_mut(&name) {
                known.ill.retain(|address| stays.contains(address));
            }
        }
    }

    /// What workers do about endpoints that have become well, or are no longer. Those that are not there any more, or not probed, are passed over;
    /// `None`: nothing is new.
    pub fn plan_health(&mut self, changes: &[(String, HealthChange)]) -> Option<Update> {
        let snapshot = self.snapshot.as_ref()?;
        let mut steps = Vec::new();
        for (backend, HealthChange { address, is_ill, .. }) in changes {
            let Some(known) = self.backends.get_mut(backend) else { continue };
            let Some(configured) = snapshot.backends.iter().find(|it| it.name == *backend) else { continue };
            let place = configured.endpoints.iter().position(|it| it.address == *address);
            let Some(place) = place.filter(|_| !configured.health_checks.is_empty()) else { continue };
            let is_new = if *is_ill { known.ill.insert(*address) } else { known.ill.remove(address) };
            if is_new {
                steps.push(Step::Health { backend: known.number, place: place as u32, is_ill: *is_ill });
            }
        }
        (!steps.is_empty()).then_some(Update { revision: snapshot.revision, steps })
    }

    /// What workers do to send clients elsewhere, or to take them again.
    pub fn plan_drain(&self, drains: bool) -> Update {
        let revision = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.revision);
        Update { revision, steps: vec![Step::Drain(drains)] }
    }

    /// What can wait until nothing else is to be done: numbers of routes that are no longer configured are given back.
    pub fn tidy(&mut self) -> Option<Update> {
        let rotated = self.rotate_tickets();
        if !std::mem::take(&mut self.is_untidy) {
            let revision = self.snapshot.as_ref()?.revision;
            return (!rotated.is_empty()).then_some(Update { revision, steps: rotated });
        }
        let mut steps = rotated;
        steps.extend(self.fold());
        if self.backends.len() > 4 * BACKENDS_MAX {
            // No table is left that says their numbers.
            self.backends.retain(|_, known| !known.is_gone);
        }
        let routes = self.snapshot.iter().flat_map(|it| &it.http).flat_map(|it| &it.rules.routes);
        let gone = self.routes.retain(&routes.map(|it| it.name.as_str()).collect());
        if !gone.is_empty() {
            steps.push(Step::ForgetRoutes(gone));
        }
        let revision = self.snapshot.as_ref()?.revision;
        (!steps.is_empty()).then_some(Update { revision, steps })
    }

    /// Tickets are sealed under another key when its time has come.
    fn rotate_tickets(&mut self) -> Vec<Step> {
        if !self.listeners.values().any(|it| it.tls.is_some()) || !self.contexts.rotate_tickets() {
            return Vec::new();
        }
        let contexts = &self.contexts;
        let secured = self.listeners.values_mut().filter_map(|it| {
            let tls = it.tls.as_mut()?;
            *tls = contexts.with_tickets(tls);
            Some(Step::Secure { key: it.key, tls: Some(tls.clone()) })
        });
        secured.collect()
    }

    /// Tables of two layers become tables of one.
    fn fold(&mut self) -> Vec<Step> {
        let Some(snapshot) = &self.snapshot else { return Vec::new() };
        let numbers = |name: &str| Some(self.backends.get(name)?.number);
        let mut steps = Vec::new();
        for listener in &snapshot.http {
            let Some(listening) = self.listeners.get_mut(&listener.name) else { continue };
            if !listening.http.as_ref().is_some_and(|http| http.table.has_layers()) {
                continue;
            }
            let http = Http::compile(listener, None, &numbers, &mut |name| self.routes.number(name));
            // Layers have bounds of their own, so that this works; if it does not, what is served goes on to be served.
            debug_assert!(http.is_ok(), "what was compiled in layers compiles as one");
            let Ok(http) = http.map(Box::new) else { continue };
            steps.push(Step::Replace { key: listening.key, serves: Spec::Http(http.clone()) });
            listening.http = Some(http);
        }
        steps
    }

    fn commit(&mut self, draft: Draft) -> Vec<Step> {
        (self.keys, self.generations, self.numbers) = (draft.keys, draft.generations, draft.next);
        for (name, number) in draft.numbers {
            let known = self.backends.entry(name);
            known.or_insert_with(|| Known { number, is_gone: false, ill: HashSet::new(), tls: None }).is_gone = false;
        }
        for (name, tls) in draft.clients {
            if let Some(known) = self.backends.get_mut(&name) {
                known.tls = tls;
            }
        }
        for (name, tls) in draft.secured {
            if let Some(listening) = self.listeners.get_mut(&name) {
                listening.tls = tls;
            }
        }
        for name in draft.unprobed {
            if let Some(known) = self.backends.get_mut(&name) {
                known.ill.clear();
            }
        }
        for name in draft.removed {
            if let Some(known) = self.backends.get_mut(&name) {
                (known.is_gone, known.ill, known.tls) = (true, HashSet::new(), None);
            }
        }
        for name in draft.unlistened {
            self.listeners.remove(&name);
        }
        self.listeners.extend(draft.listening);
        draft.steps
    }
}

/// Numbers of routes, by name, whatever listeners they are of.
#[derive(Default)]
pub(super) struct RouteKeys {
    keys: HashMap<String, RouteKey>,
    /// By place: the name, and whose turn it is.
    names: Vec<(String, u32)>,
    vacant: Vec<u32>,
}

impl RouteKeys {
    pub(super) fn key(&self, name: &str) -> Option<RouteKey> {
        self.keys.get(name).copied()
    }
    pub(super) fn name(&self, route: RouteKey) -> Option<&str> {
        let (name, turn) = self.names.get(route.place as usize)?;
        (*turn == route.turn && !name.is_empty()).then_some(name)
    }
    /// The route's number, a new one if need be.
    fn number(&mut self, name: &str) -> RouteKey {
        if let Some(key) = self.keys.get(name) {
            return *key;
        }
        let place = self.vacant.pop().unwrap_or(self.names.len() as u32);
        if place as usize == self.names.len() {
            self.names.push((String::new(), 0));
        }
        let (at, turn) = &mut self.names[place as usize];
        name.clone_into(at);
        let key = RouteKey { place, turn: *turn };
        self.keys.insert(name.to_owned(), key);
        key
    }
    /// Gives back the numbers of all others.
    fn retain(&mut self, names: &HashSet<&str>) -> Vec<RouteKey> {
        let gone: Vec<_> = self.keys.extract_if(|name, _| !names.contains(name.as_str())).map(|(_, key)| key).collect();
        for key in &gone {
            let (name, turn) = &mut self.names[key.place as usize];
            name.clear();
            *turn = key.turn + 1;
        }
        self.vacant.extend(gone.iter().map(|key| key.place));
        gone
    }
}
