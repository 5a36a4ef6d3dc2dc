//! From snapshots to what workers do about them: the difference between the snapshot that is served and the next one, compiled outside of the
//! workers, once for all of them.
//!
//! ```text
//!   Snapshot ---> Planner::plan ---> Update { steps } ---> a clone for each worker ---> Gateway::update, between two turns
//! ```
//! Backends and listeners are told by their names. What is the same in both snapshots has no step: nobody notices. What a step replaces lives on in
//! the worker until the last exchange that began with it is over.

use super::{
    HealthChange,
    config::{Http, Raw, hash_endpoint},
    contexts::{Contexts, Terminates},
    meters::RouteKey,
};
use crate::{
    limits::{BACKENDS_MAX, UPDATE_PIECE, UPDATE_PIECES_MAX},
    link::message::Refusal,
    route::{BackendIndex, Numbers},
    services::Service,
    snapshot::{
        Backend, BackendTls, Endpoint, HashOn, HealthCheck, HttpListener, ProxyVersion, Secrets, Snapshot, TcpListener,
    },
    time::Duration,
    tls::ClientContext,
    upstream::{
        balance::{self, EndpointSet, Policy, PolicyKind},
        pool::PoolOptions,
    },
};
use rustls::crypto::CryptoProvider;
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
            self.contexts.rotate_tickets();
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

    fn draft(&self, from: Option<&Snapshot>, to: &mut Snapshot, routes: &mut RouteKeys) -> Result<Draft, String> {
        to.check_frame()?;
        let mut draft =
            Draft { keys: self.keys, generations: self.generations, next: self.numbers, ..Draft::default() };
        let before = from.map(Secrets::of).unwrap_or_default();
        self.draft_backends(from, to, [&before, &Secrets::of(to)], &mut draft)?;
        self.draft_listeners(from, to, &before, routes, &mut draft)?;
        let gone = draft.removed.iter().map(|name| Step::RemoveBackend(self.backends[name].number));
        let gone: Vec<_> = gone.collect();
        draft.steps.extend(gone);
        Ok(draft)
    }

    fn draft_backends(
        &self,
        from: Option<&Snapshot>,
        to: &Snapshot,
        secrets: [&Secrets<'_>; 2],
        draft: &mut Draft,
    ) -> Result<(), String> {
        let [before, secrets] = secrets;
        let olds = Named::of(from.map_or(&[], |from| &from.backends[..]), |it| &it.name);
        for (place, backend) in to.backends.iter().enumerate() {
            let known = self.backends.get(&backend.name);
            let old = olds.find(place, &backend.name);
            let context = known.and_then(|it| it.tls.as_ref());
            let is_same = |tls: &BackendTls| tls.is_same(before, secrets);
            let is_secure_same = old.is_some_and(|old| old.tls == backend.tls && backend.tls.iter().all(is_same));
            if is_secure_same && old == Some(backend) {
                continue;
            }
            backend.check()?;
            let tls = match &backend.tls {
                Some(_) if is_secure_same => context.cloned(),
                Some(tls) => {
                    Some(self.contexts.client(tls, secrets).map_err(|e| format!("backend {:?}: {e}", backend.name))?)
                }
                None => None,
            };
            let trusts_same = |tls: &BackendTls| tls.trusts_same(before, secrets);
            // Who was believed by others' word is asked anew.
            let kept = old.filter(|old| old.tls == backend.tls && backend.tls.iter().all(trusts_same));
            draft.clients.push((backend.name.clone(), tls.clone()));
            let number = known.map_or(BackendIndex(draft.next), |it| it.number);
            draft.next += u32::from(known.is_none());
            draft.numbers.insert(backend.name.clone(), number);
            if backend.health_checks.is_empty() {
                draft.unprobed.push(backend.name.clone());
            }
            draft.generations += 1;
            let plan = group_of(number, draft.generations, kept, backend, known.map(|it| &it.ill))?;
            draft.steps.push(Step::Backend(Box::new(GroupPlan { tls, ..plan })));
        }
        let news = Named::of(&to.backends, |it| &it.name);
        let is_gone = |(place, it): &(usize, &Backend)| news.find(*place, &it.name).is_none();
        let gone = olds.list.iter().enumerate().filter(is_gone).map(|(_, it)| it.name.clone());
        draft.removed = gone.collect();
        Ok(())
    }

    fn draft_listeners(
        &self,
        from: Option<&Snapshot>,
        to: &mut Snapshot,
        before: &Secrets<'_>,
        routes: &mut RouteKeys,
        draft: &mut Draft,
    ) -> Result<(), String> {
        let known = |name: &str| draft.numbers.get(name).copied().or_else(|| Some(self.backends.get(name)?.number));
        let stays: HashSet<&str> = to.backends.iter().map(|it| it.name.as_str()).collect();
        let numbers = |name: &str| stays.contains(name).then(|| known(name)).flatten();
        let olds = from.map_or(&[][..], |from| &from.http[..]);
        let olds = Named::of(olds, |it| &it.name);
        if !draft.removed.is_empty() {
            names_exist(to, &stays)?;
        }
        let mut wanted = Vec::new();
        for (place, listener) in to.http.iter_mut().enumerate() {
            let listening = self.listeners.get(&listener.name).filter(|it| it.kind == Kind::Http);
            let old = olds.find(place, &listener.name).filter(|_| listening.is_some());
            let is_same = old.is_some_and(|old| adopt(old, listener));
            let at = (listener.address, listener.port);
            let before = listening.and_then(|it| it.http.as_deref());
            let spec = if is_same {
                None
            } else {
                listener.check_options()?;
                let http = Http::compile(listener, before, &numbers, &mut |name| routes.number(name));
                Some(Spec::Http(Box::new(http.map_err(|e| format!("listener {:?}: {e}", listener.name))?)))
            };
            wanted.push((listener.name.clone(), Kind::Http, at, spec));
        }
        wanted.extend(raw_wanted(from, to, &numbers)?);
        wanted.extend(services_wanted(from, to));

        let names: HashSet<&str> = wanted.iter().map(|(name, ..)| name.as_str()).collect();
        let mut unlisten = Vec::new();
        for (name, it) in &self.listeners {
            if !names.contains(name.as_str()) {
                unlisten.push(it.key);
                draft.unlistened.push(name.clone());
            }
        }
        let mut steps = Vec::new();
        let mut secured = self.secured(from, to, [before, &Secrets::of(to)])?;
        for (name, kind, at, spec) in wanted {
            let before = self.listeners.get(&name);
            let stays = before.filter(|it| (it.kind, it.at) == (kind, at));
            let change = secured.remove(&name);
            let tls = change.clone().unwrap_or_else(|| before.and_then(|it| it.tls.clone()));
            if let (Some(stays), Some(change)) = (stays, change) {
                steps.push(Step::Secure { key: stays.key, tls: change.clone() });
                draft.secured.push((name.clone(), change));
            }
            let Some(serves) = spec else { continue };
            let http = if let Spec::Http(http) = &serves { Some(http.clone()) } else { None };
            let key = stays.map_or_else(
                || {
                    draft.keys += 1;
                    ListenerKey(draft.keys)
                },
                |it| it.key,
            );
            unlisten.extend(before.filter(|_| stays.is_none()).map(|it| it.key));
            let listen = || Step::Listen { key, at, serves: serves.clone(), tls: tls.clone() };
            steps.push(if stays.is_some() { Step::Replace { key, serves } } else { listen() });
            draft.listening.push((name, Listening { key, kind, at, http, tls }));
        }
        draft.steps.extend(unlisten.into_iter().map(Step::Unlisten));
        draft.steps.extend(steps);
        Ok(())
    }

    /// What changes of listeners' TLS.
    fn secured(
        &self,
        from: Option<&Snapshot>,
        to: &Snapshot,
        secrets: [&Secrets<'_>; 2],
    ) -> Result<HashMap<String, Option<Terminates>>, String> {
        let of = |it: &Snapshot| {
            let http = it.http.iter().map(|it| (it.name.clone(), it.tls.clone()));
            http.chain(it.tcp.iter().map(|it| (it.name.clone(), it.tls.clone()))).collect::<Vec<_>>()
        };
        let olds: HashMap<_, _> = from.map_or_else(Vec::new, of).into_iter().collect();
        let [before, now] = secrets;
        let mut changes = HashMap::new();
        for (name, tls) in of(to) {
            let old = olds.get(&name).cloned().flatten();
            if old == tls && tls.as_ref().is_none_or(|tls| tls.is_same(before, now)) {
                continue;
            }
            let fault = |e| format!("listener {name:?}: {e}");
            let change = tls.map(|tls| self.contexts.server(&tls, now)).transpose().map_err(fault)?;
            changes.insert(name, change);
        }
        Ok(changes)
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

type Wanted = (String, Kind, (Option<IpAddr>, u16), Option<Spec>);

fn raw_wanted(from: Option<&Snapshot>, to: &Snapshot, numbers: &Numbers<'_>) -> Result<Vec<Wanted>, String> {
    let olds = Named::of(from.map_or(&[][..], |from| &from.tcp[..]), |it: &TcpListener| &it.name);
    let of = |(place, listener): (usize, &TcpListener)| {
        let is_same = olds.find(place, &listener.name) == Some(listener);
        let raw = Raw::compile(listener, numbers).map_err(|e| format!("listener {:?}: {e}", listener.name))?;
        let at = (listener.address, listener.port);
        Ok((listener.name.clone(), Kind::Raw, at, (!is_same).then(|| Spec::Raw(Box::new(raw)))))
    };
    to.tcp.iter().enumerate().map(of).collect()
}

fn services_wanted(from: Option<&Snapshot>, to: &Snapshot) -> Vec<Wanted> {
    let olds = from.map_or(&[][..], |from| &from.services[..]);
    let of = |listener: &crate::services::ServiceListener| {
        let is_same = olds.contains(listener);
        let at = (listener.address, listener.port);
        (listener.name.clone(), Kind::Service, at, (!is_same).then_some(Spec::Service(listener.service)))
    };
    to.services.iter().map(of).collect()
}

/// Lists whose elements have names, most of which stand where they stood.
struct Named<'a, T> {
    list: &'a [T],
    name: fn(&T) -> &String,
    places: std::cell::OnceCell<HashMap<&'a str, usize>>,
}

impl<'a, T> Named<'a, T> {
    fn of(list: &'a [T], name: fn(&T) -> &String) -> Self {
        Self { list, name, places: std::cell::OnceCell::new() }
    }
    /// The one of this name, which may stand at this place.
    fn find(&self, place: usize, name: &str) -> Option<&'a T> {
        if let Some(it) = self.list.get(place).filter(|it| *(self.name)(it) == name) {
            return Some(it);
        }
        let places = self.places.get_or_init(|| self.list.iter().map(|it| (self.name)(it).as_str()).zip(0..).collect());
        places.get(name).map(|place| &self.list[*place])
    }
}

/// Every backend that a rule names is there: also those of routes that stay as they are, which nobody compiles.
fn names_exist(to: &Snapshot, backends: &HashSet<&str>) -> Result<(), String> {
    for listener in &to.http {
        for route in &listener.rules.routes {
            let shares = route.rules.iter().flat_map(|rule| &rule.backends);
            if let Some(share) = { shares }.find(|share| !backends.contains(share.backend.as_str())) {
                let (listener, route, backend) = (&listener.name, &route.name, &share.backend);
                return Err(format!("listener {listener:?}: route {route:?}: there is no backend {backend:?}"));
            }
        }
    }
    Ok(())
}

/// Whether a listener is as it was. Routes that are equal become the old ones, so that the next comparison is quick.
fn adopt(old: &HttpListener, new: &mut HttpListener) -> bool {
    let olds = Named::of(&old.rules.routes, |it| &it.name);
    let mut is_same = old.rules.routes.len() == new.rules.routes.len();
    for (place, route) in new.rules.routes.iter_mut().enumerate() {
        if old.rules.routes.get(place).is_some_and(|it| Arc::ptr_eq(it, route)) {
            continue;
        }
        let before = olds.find(place, &route.name).filter(|it| Arc::ptr_eq(it, route) || *it == route);
        match before {
            Some(before) => {
                is_same &= old.rules.routes.get(place).is_some_and(|it| Arc::ptr_eq(it, before));
                *route = Arc::clone(before);
            }
            None => is_same = false,
        }
    }
    // TLS is looked at apart: it changes without the rest.
    let HttpListener { name, address, port, proxy_protocol, options, rules, tls: _ } = old;
    is_same
        && (name, address, port, proxy_protocol, options, &rules.hostname)
            == (&new.name, &new.address, &new.port, &new.proxy_protocol, &new.options, &new.rules.hostname)
}

fn group_of(
    number: BackendIndex,
    generation: u64,
    old: Option<&Backend>,
    backend: &Backend,
    ill: Option<&HashSet<SocketAddr>>,
) -> Result<GroupPlan, String> {
    let endpoint = |e: &Endpoint| balance::Endpoint { key: hash_endpoint(e.address), weight: e.weight };
    let endpoints = backend.endpoints.iter().map(endpoint);
    let set = EndpointSet::new(generation, &endpoints.collect::<Vec<_>>(), backend.panic_threshold);
    let mut policy = Policy::new(backend.load_balancing).map_err(|e| format!("backend {:?}: {e}", backend.name))?;
    let hashes = matches!(backend.load_balancing, PolicyKind::RingHash { .. } | PolicyKind::Maglev { .. });
    if hashes {
        // These tables take time, and are the same for all workers.
        policy.prepare(&set, 0);
    }
    // Connections that begin with a client's address, and others, are not used for one another: then all endpoints are new.
    let old = old.filter(|old| old.proxy_protocol == backend.proxy_protocol);
    let before = old.map_or(&[][..], |old| &old.endpoints[..]);
    // Most stand where they stood.
    let places = std::cell::OnceCell::<HashMap<_, u32>>::new();
    let was = |place: usize, address: SocketAddr| match before.get(place) {
        Some(it) if it.address == address => place as u32,
        _ => {
            let places = places.get_or_init(|| before.iter().map(|it| it.address).zip(0..).collect());
            places.get(&address).copied().unwrap_or(NEW)
        }
    };
    let is_probed = !backend.health_checks.is_empty();
    let member = |(place, address): (usize, SocketAddr)| Member {
        address,
        was: was(place, address),
        is_ill: is_probed && ill.is_some_and(|ill| ill.contains(&address)),
    };
    Ok(GroupPlan {
        backend: number,
        set,
        policy,
        members: backend.endpoints.iter().map(|it| it.address).enumerate().map(member).collect(),
        pool: backend.pool.options(),
        connect: Duration::from_ms(backend.connect_ms),
        hash_on: hashes.then(|| backend.hash_on.clone()),
        proxy: backend.proxy_protocol,
        checks: backend.health_checks.clone().into(),
        tls: None,
    })
}
