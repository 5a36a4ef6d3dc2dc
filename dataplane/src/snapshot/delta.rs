//! What differs between two snapshots, so that one changed route or endpoint among many is a short message.
//!
//! `Delta::between(a, b)` applied to `a` gives `b`, whatever they are; only the `dataplane` block cannot differ.

use super::{Authorities, Backend, Certificate, Endpoint, HttpListener, Snapshot, TcpListener};
use crate::{route::Route, services::ServiceListener};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    net::SocketAddr,
    sync::Arc,
};

/// The way from one snapshot to another.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Delta {
    /// The snapshot that it is for.
    pub base: u64,
    /// The one that it makes.
    pub revision: u64,
    /// The node's new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// All services, if any of them is different.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<ServiceListener>>,
    /// HTTP listeners that are new, different in more than a few routes, or gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<Edit<HttpListener>>,
    /// Routes of listeners that stay.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteEdit>,
    /// The same for listeners whose bytes are passed on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tcp: Vec<Edit<TcpListener>>,
    /// Backends that are new, different in more than their endpoints, or gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<Edit<Backend>>,
    /// Endpoints of backends that stay.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointsEdit>,
    /// Certificates that are new, different or gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Edit<Certificate>>,
    /// The same of authorities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<Edit<Authorities>>,
}

/// One of several that have names.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Edit<T> {
    /// Its name.
    pub name: String,
    /// What it becomes, in its old place or behind all others; `None`: it goes.
    pub to: Option<Box<T>>,
}

/// One route.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RouteEdit {
    /// The listener's name.
    pub listener: String,
    /// The route's name.
    pub route: String,
    /// What it becomes, in its old place or behind all others; `None`: it goes.
    pub to: Option<Arc<Route>>,
}

/// Some endpoints of a backend.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EndpointsEdit {
    /// The backend's name.
    pub backend: String,
    /// New ones, and others that have a new weight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<Endpoint>,
    /// Those that go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<SocketAddr>,
}

impl Delta {
    /// What leads from one to the other.
    pub fn between(from: &Snapshot, to: &Snapshot) -> Self {
        let mut delta = Self { base: from.revision, revision: to.revision, ..Self::default() };
        delta.name = (from.name != to.name).then(|| to.name.clone());
        delta.services = (from.services != to.services).then(|| to.services.clone());
        delta.tcp = edits(&from.tcp, &to.tcp, |it| &it.name, |_, _| false);
        let mut routes = Vec::new();
        delta.http = edits(&from.http, &to.http, |it| &it.name, |a, b| only_routes(a, b, &mut routes));
        delta.routes = routes;
        let mut endpoints = Vec::new();
        delta.backends =
            edits(&from.backends, &to.backends, |it| &it.name, |a, b| only_endpoints(a, b, &mut endpoints));
        delta.endpoints = endpoints;
        delta.certificates = edits(&from.certificates, &to.certificates, |it| &it.name, |_, _| false);
        delta.authorities = edits(&from.authorities, &to.authorities, |it| &it.name, |_, _| false);
        delta
    }

    /// Nothing differs but the revision.
    pub fn is_empty(&self) -> bool {
        *self == Self { base: self.base, revision: self.revision, ..Self::default() }
    }

    /// Makes the new snapshot of the old one.
    ///
    /// # Errors
    /// That it is for another snapshot; then nothing useful is left of this one.
    pub fn apply(self, snapshot: &mut Snapshot) -> Result<(), String> {
        if self.base != snapshot.revision {
            return Err(format!("a change of revision {}, and this is revision {}", self.base, snapshot.revision));
        }
        snapshot.revision = self.revision;
        if let Some(name) = self.name {
            snapshot.name = name;
        }
        if let Some(services) = self.services {
            snapshot.services = services;
        }
        let tcp = self.tcp.into_iter().map(|e| (e.name, e.to.map(|it| *it)));
        apply_all(&mut snapshot.tcp, tcp, |it| &it.name)?;
        let http = self.http.into_iter().map(|e| (e.name, e.to.map(|it| *it)));
        apply_all(&mut snapshot.http, http, |it| &it.name)?;
        let backends = self.backends.into_iter().map(|e| (e.name, e.to.map(|it| *it)));
        apply_all(&mut snapshot.backends, backends, |it| &it.name)?;
        let certificates = self.certificates.into_iter().map(|e| (e.name, e.to.map(|it| *it)));
        apply_all(&mut snapshot.certificates, certificates, |it| &it.name)?;
        let authorities = self.authorities.into_iter().map(|e| (e.name, e.to.map(|it| *it)));
        apply_all(&mut snapshot.authorities, authorities, |it| &it.name)?;
        let mut by_listener: Vec<(String, Vec<_>)> = Vec::new();
        for RouteEdit { listener, route, to } in self.routes {
            match by_listener.last_mut().filter(|(name, _)| *name == listener) {
                Some((_, edits)) => edits.push((route, to)),
                None => by_listener.push((listener, vec![(route, to)])),
            }
        }
        for (name, edits) in by_listener {
            let listener = snapshot.http.iter_mut().find(|it| it.name == name);
            let listener = listener.ok_or_else(|| format!("a route of listener {name:?}, which there is not"))?;
            apply_all(&mut listener.rules.routes, edits.into_iter(), |it| &it.name)?;
        }
        if self.endpoints.is_empty() {
            return Ok(());
        }
        let places: HashMap<_, _> = snapshot.backends.iter().map(|it| it.name.clone()).zip(0..).collect();
        for EndpointsEdit { backend, set, removed } in self.endpoints {
            let place: Option<&usize> = places.get(&backend);
            let place = *place.ok_or_else(|| format!("endpoints of backend {backend:?}, which there is not"))?;
            let edits = set.into_iter().map(|it| (it.address, Some(it)));
            let edits = edits.chain(removed.into_iter().map(|address| (address, None)));
            apply_all(&mut snapshot.backends[place].endpoints, edits, |it| &it.address)?;
        }
        Ok(())
    }
}

/// Edits of a list whose elements have names. `smaller` may take a difference upon itself. A list that is in another order is made anew.
fn edits<T: Clone + PartialEq>(
    from: &[T],
    to: &[T],
    name: impl Fn(&T) -> &String,
    mut smaller: impl FnMut(&T, &T) -> bool,
) -> Vec<Edit<T>> {
    let put = |it: &T| Edit { name: name(it).clone(), to: Some(Box::new(it.clone())) };
    let gone = |it: &T| Edit { name: name(it).clone(), to: None };
    if !keeps_order(from, to, &name) {
        return from.iter().map(gone).chain(to.iter().map(put)).collect();
    }
    let olds: HashMap<_, _> = from.iter().map(|it| (name(it), it)).collect();
    let news: HashSet<_> = to.iter().map(&name).collect();
    let removed = from.iter().filter(|it| !news.contains(name(it))).map(gone);
    let mut edits: Vec<_> = removed.collect();
    for it in to {
        match olds.get(name(it)) {
            Some(old) if *old == it => {}
            Some(old) if smaller(old, it) => {}
            _ => edits.push(put(it)),
        }
    }
    edits
}

/// Whether what stays keeps its order, and what is new stands at the end.
fn keeps_order<T, K: Eq + Hash + ?Sized>(from: &[T], to: &[T], name: impl Fn(&T) -> &K) -> bool {
    // Mostly nothing comes or goes.
    if from.len() == to.len() && from.iter().zip(to).all(|(a, b)| name(a) == name(b)) {
        return true;
    }
    let olds: HashMap<&K, usize> = from.iter().map(&name).zip(0..).collect();
    let places: Vec<_> = to.iter().map(|it| olds.get(name(it)).copied().unwrap_or(usize::MAX)).collect();
    places.is_sorted()
}

/// Whether two listeners differ in a few routes alone, which are noted then.
fn only_routes(a: &HttpListener, b: &HttpListener, routes: &mut Vec<RouteEdit>) -> bool {
    let same_route = |(a, b): (&Arc<Route>, &Arc<Route>)| Arc::ptr_eq(a, b) || a == b;
    let (old, new) = (&a.rules.routes, &b.rules.routes);
    let mut bare = a.clone();
    bare.rules.routes.clone_from(new);
    if bare != *b || !keeps_order(old, new, |it| &it.name) {
        return false;
    }
    let edit = |name: &String, to| RouteEdit { listener: b.name.clone(), route: name.clone(), to };
    if old.len() == new.len() && old.iter().zip(new).all(|(a, b)| a.name == b.name) {
        let changed = old.iter().zip(new).filter(|&pair| !same_route(pair));
        routes.extend(changed.map(|(_, it)| edit(&it.name, Some(Arc::clone(it)))));
        return true;
    }
    let olds: HashMap<_, _> = old.iter().map(|it| (&it.name, it)).collect();
    let news: HashSet<_> = new.iter().map(|it| &it.name).collect();
    routes.extend(old.iter().filter(|it| !news.contains(&it.name)).map(|it| edit(&it.name, None)));
    let changed = new.iter().filter(|it| olds.get(&it.name).is_none_or(|&old| !same_route((old, it))));
    routes.extend(changed.map(|it| edit(&it.name, Some(Arc::clone(it)))));
    true
}

/// The same for backends and their endpoints.
fn only_endpoints(a: &Backend, b: &Backend, endpoints: &mut Vec<EndpointsEdit>) -> bool {
    let bare = Backend { endpoints: b.endpoints.clone(), ..a.clone() };
    if bare != *b || !keeps_order(&a.endpoints, &b.endpoints, |it| &it.address) {
        return false;
    }
    let olds: HashMap<_, _> = a.endpoints.iter().map(|it| (it.address, it)).collect();
    let news: HashSet<_> = b.endpoints.iter().map(|it| it.address).collect();
    let removed = a.endpoints.iter().map(|it| it.address).filter(|address| !news.contains(address));
    let set = b.endpoints.iter().filter(|it| olds.get(&it.address) != Some(it)).copied();
    endpoints.push(EndpointsEdit { backend: b.name.clone(), set: set.collect(), removed: removed.collect() });
    true
}

/// Puts, replaces and removes by name. A few edits are looked for one by one; many get a map.
fn apply_all<T, K: Eq + Hash + Clone + std::fmt::Debug>(
    list: &mut Vec<T>,
    edits: impl Iterator<Item = (K, Option<T>)>,
    name: impl Fn(&T) -> &K,
) -> Result<(), String> {
    let edits: Vec<_> = edits.collect();
    if edits.is_empty() {
        return Ok(());
    }
    let mut places: HashMap<K, usize> = HashMap::new();
    if edits.len() > 1 {
        places = list.iter().map(|it| name(it).clone()).zip(0..).collect();
    } else if let Some(place) = list.iter().position(|it| *name(it) == edits[0].0) {
        places.insert(edits[0].0.clone(), place);
    }
    let mut gone = HashSet::new();
    for (key, to) in edits {
        match (places.get(&key).copied(), to) {
            (Some(place), Some(it)) if !gone.contains(&place) => list[place] = it,
            (_, Some(it)) => {
                places.insert(key, list.len());
                list.push(it);
            }
            (Some(place), None) => _ = gone.insert(place),
            (None, None) => return Err(format!("{key:?} is to go, and is not there")),
        }
    }
    if !gone.is_empty() {
        let mut place = 0..;
        list.retain(|_| !gone.contains(&place.next().expect("without end")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*, sample::subsequence};

    fn route(n: usize, version: u8) -> Arc<Route> {
        Arc::new(Route { name: format!("r{n}"), hostnames: vec![format!("v{version}.x")], ..Route::default() })
    }

    /// Of a few names, in some order, each in one of two versions.
    fn some(shuffled: bool) -> impl Strategy<Value = Vec<(usize, u8)>> {
        let names = subsequence((0..6_usize).collect::<Vec<_>>(), 0..6);
        let names = if shuffled { names.prop_shuffle().boxed() } else { names.boxed() };
        (names, vec(0..2_u8, 6)).prop_map(|(names, versions)| names.into_iter().map(|n| (n, versions[n])).collect())
    }

    fn snapshot(
        listeners: &[(usize, u8)],
        routes: &[(usize, u8)],
        backends: &[(usize, u8)],
        endpoints: &[(usize, u8)],
    ) -> Snapshot {
        let text = r#"{"format": 1, "name": "lab", "dataplane": {"cores": [0], "ports": [
            {"name": "p0", "device": "af_packet:gw0", "addresses": ["10.77.0.10/24"]}]}}"#;
        let mut snapshot = Snapshot::from_json(text).unwrap();
        for &(n, version) in listeners {
            let mut listener = HttpListener::new(&format!("l{n}"), n as u16 + 1, crate::route::Rules::default());
            listener.options.forwarded = version == 1;
            listener.rules.routes = routes.iter().map(|&(n, version)| route(n, version)).collect();
            snapshot.http.push(listener);
        }
        for &(n, version) in backends {
            let mut backend = Backend::new(&format!("b{n}"), &[]);
            backend.connect_ms += u64::from(version);
            let address = |n: usize| SocketAddr::from(([10, 0, 0, n as u8], 80));
            backend.endpoints =
                endpoints.iter().map(|&(n, weight)| Endpoint { address: address(n), weight: weight.into() }).collect();
            snapshot.backends.push(backend);
        }
        snapshot
    }

    proptest! {
        #[test]
        fn a_delta_leads_from_one_to_the_other(
            shuffled: bool,
            (a, b, c, d) in (some(false), some(false), some(false), some(false)),
            (e, f, g, h) in (some(true), some(true), some(true), some(true)),
            sorted in (some(false), some(false), some(false), some(false)),
        ) {
            let from = snapshot(&a, &b, &c, &d);
            let (e, f, g, h) = if shuffled { (e, f, g, h) } else { sorted };
            let to = Snapshot { revision: 7, ..snapshot(&e, &f, &g, &h) };
            let delta = Delta::between(&from, &to);
            let delta: Delta = serde_json::from_str(&serde_json::to_string(&delta).unwrap()).unwrap();
            let mut made = from.clone();
            delta.apply(&mut made).map_err(TestCaseError::fail)?;
            prop_assert_eq!(&made, &to);
            let same = Delta::between(&to, &made);
            prop_assert!(same.is_empty(), "{:?}", same);
        }
    }

    #[test]
    fn one_changed_route_is_one_edit_and_one_changed_endpoint_another() {
        let all: Vec<_> = (0..6).map(|n| (n, 0)).collect();
        let from = snapshot(&[(0, 0)], &all, &[(0, 0)], &all);
        let mut to = from.clone();
        to.http[0].rules.routes[3] = route(3, 1);
        to.backends[0].endpoints[2].weight = 9;
        let delta = Delta::between(&from, &to);
        assert_eq!((delta.routes.len(), delta.endpoints[0].set.len()), (1, 1));
        assert!(delta.http.is_empty() && delta.backends.is_empty());
        let mut other = from.clone();
        other.revision = 4;
        assert!(delta.apply(&mut other).unwrap_err().contains("revision 0"));
    }
}
