//! The difference between two snapshots, compiled: what a plan changes, before anything is changed.

use super::{Draft, GroupPlan, Kind, ListenerKey, Listening, Member, NEW, Planner, RouteKeys, Spec, Step};
use crate::{
    exchange::{
        config::{Http, Raw, hash_endpoint},
        contexts::Terminates,
    },
    route::{BackendIndex, Numbers},
    snapshot::{Backend, BackendTls, Endpoint, HttpListener, Secrets, Snapshot, TcpListener},
    time::Duration,
    upstream::balance::{self, EndpointSet, Policy, PolicyKind},
};
use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

impl Planner {
    pub(super) fn draft(
        &self,
        from: Option<&Snapshot>,
        to: &mut Snapshot,
        routes: &mut RouteKeys,
    ) -> Result<Draft, String> {
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
