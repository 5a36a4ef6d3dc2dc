//! What is told of a worker's exchanges and endpoints: numbers on the worker's side, names on the planner's.

use super::{
    Found, Gateway, HealthChange, Planner,
    leg::Role,
    meters::{MeterReport, RouteKey, Subject, Sums},
    plan::ListenerKey,
    tap::{Tapped, Tapping},
};
use crate::{
    limits::{TAP_TEXT_MAX, TAPPED_MAX},
    link::message::{EndpointState, ExchangeRecord, Meter, Of, TapFilter},
    route::BackendIndex,
    tcp::ConnectionId,
};
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
};

impl Gateway {
    /// What exchanges came to: one page of it, and where the next one begins.
    pub fn meter_report(&self, from: Bookmark) -> (MeterReport, Option<Bookmark>) {
        let mut report = MeterReport::default();
        let next = match from {
            Bookmark { part: 0, .. } => {
                report.meters.extend(self.listeners.meters().map(|(key, sums)| (Subject::Listener(key), *sums)));
                report.unmetered = self.room.unmetered;
                Some(Bookmark { part: 1, place: 0, within: 0 })
            }
            Bookmark { part: 1, place, .. } => {
                let next = self.route_meters.page(place, &mut report.meters);
                Some(next.unwrap_or(Bookmark { part: 2, place: 0, within: 0 }))
            }
            from => self.upstreams.page(from, |group, endpoint| match endpoint {
                Some(endpoint) => report.meters.extend(self.upstreams.endpoint_meter(group, endpoint)),
                None => report.meters.extend(self.upstreams.group_meter(group)),
            }),
        };
        (report, next)
    }

    /// A page of all endpoints, with the numbers of their backends, and where the next one begins.
    pub fn endpoint_states(&self, from: Bookmark) -> (Vec<(u32, EndpointState)>, Option<Bookmark>) {
        let mut states = Vec::new();
        let next = self.upstreams.page(from, |group, endpoint| {
            states.extend(endpoint.map(|endpoint| self.upstreams.state(group, endpoint)));
        });
        (states, next)
    }

    /// What a connection is to us, and whether an exchange is under way on it.
    pub(crate) fn side_of(&self, id: ConnectionId) -> Option<(&'static str, bool)> {
        let leg = self.legs.get(id.index()).filter(|leg| leg.id == Some(id))?;
        let side = match leg.role {
            Role::Client | Role::Leaving => "client",
            Role::Upstream(_) => "upstream",
            Role::Probe(_) => "probe",
            Role::Vacant => return None,
        };
        Some((side, leg.exchange.is_some()))
    }
}

/// Where a page of a report begins. What is told between two turns must be little, however much there is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Bookmark {
    pub(super) part: u8,
    pub(super) place: usize,
    pub(super) within: usize,
}

impl Bookmark {
    pub(crate) fn at(place: usize) -> Self {
        Self { place, ..Self::default() }
    }
    pub(crate) fn place(self) -> usize {
        self.place
    }
}

/// Names by number.
pub struct Names<'a> {
    listeners: HashMap<ListenerKey, &'a str>,
    backends: HashMap<BackendIndex, &'a str>,
}

impl Planner {
    fn listener_names(&self) -> HashMap<ListenerKey, &str> {
        self.listeners.iter().map(|(name, it)| (it.key, name.as_str())).collect()
    }
    fn backend_names(&self) -> HashMap<BackendIndex, &str> {
        self.backends.iter().map(|(name, it)| (it.number, name.as_str())).collect()
    }

    /// The workers' reports, added up and by name. What is no longer configured is left out. And how many exchanges found no room.
    pub fn name_meters(&self, reports: &[MeterReport]) -> (Vec<Meter>, u64) {
        let (listeners, backends) = (self.listener_names(), self.backend_names());
        let mut all: BTreeMap<Of, Sums> = BTreeMap::new();
        for (subject, sums) in reports.iter().flat_map(|report| &report.meters) {
            let backend = |number| Some((*backends.get(&number)?).to_owned());
            let of = match *subject {
                Subject::Listener(key) => listeners.get(&key).map(|name| Of::Listener { listener: (*name).to_owned() }),
                Subject::Route(route) => self.routes.name(route).map(|route| Of::Route { route: route.to_owned() }),
                Subject::Backend(number) => backend(number).map(|backend| Of::Backend { backend }),
                Subject::Endpoint(number, address) => backend(number).map(|backend| {
                    all.entry(Of::Backend { backend: backend.clone() }).or_default().add(sums);
                    Of::Endpoint { backend, address }
                }),
            };
            if let Some(of) = of {
                all.entry(of).or_default().add(sums);
            }
        }
        let meter = |(of, sums): (Of, Sums)| {
            let Sums { by_class, by_duration, duration_us, request_bytes, response_bytes } = sums;
            Meter { of, by_class, by_duration, duration_us, request_bytes, response_bytes }
        };
        (all.into_iter().map(meter).collect(), reports.iter().map(|report| report.unmetered).sum())
    }

    /// The workers' endpoints, added up and by name, in the snapshot's order.
    pub fn name_endpoints(&self, all: Vec<(u32, EndpointState)>) -> Vec<EndpointState> {
        let names = self.backend_names();
        let mut states: BTreeMap<_, EndpointState> = BTreeMap::new();
        for (number, state) in all {
            let Some(&name) = names.get(&BackendIndex(number)) else { continue };
            match states.get_mut(&(name, state.address)) {
                Some(sum) => {
                    sum.active += state.active;
                    sum.connections += state.connections;
                    if sum.healthy && !state.healthy {
                        (sum.healthy, sum.health) = (false, state.health);
                    }
                }
                None => _ = states.insert((name, state.address), EndpointState { backend: name.to_owned(), ..state }),
            }
        }
        let configured = self.snapshot().map_or(&[][..], |snapshot| &snapshot.backends[..]);
        let ordered = configured.iter().flat_map(|it| it.endpoints.iter().map(|e| (it.name.as_str(), e.address)));
        ordered.filter_map(|key| states.remove(&key)).collect()
    }

    /// What workers tell who are asked for this.
    ///
    /// # Errors
    /// What is not configured, or too long to be told.
    pub fn plan_tap(&self, filter: &TapFilter) -> Result<Tapping, String> {
        let TapFilter { route, backend, status_min, method, host, path, per_second } = filter;
        let nothing = |kind: &str, name: &str| format!("there is no {kind} {name:?}");
        let route = route.as_ref().map(|name| self.routes.key(name).ok_or_else(|| nothing("route", name)));
        let backend = backend
            .as_ref()
            .map(|name| self.backends.get(name).map(|it| it.number).ok_or_else(|| nothing("backend", name)));
        for (kind, text) in [("method", method), ("host", host), ("path", path)] {
            if text.as_ref().is_some_and(|text| text.len() > TAP_TEXT_MAX) {
                return Err(format!("a {kind} of more than {TAP_TEXT_MAX} bytes: no more are told"));
            }
        }
        Ok(Tapping {
            route: route.transpose()?,
            backend: backend.transpose()?,
            status_min: status_min.unwrap_or(0),
            method: method.clone(),
            host: host.clone(),
            path: path.clone(),
            per_second: per_second.unwrap_or(100).min(TAPPED_MAX as u32),
        })
    }

    /// Endpoints whose health has changed, with their backends' names.
    pub fn name_health(&self, changes: &[HealthChange]) -> Vec<(String, HealthChange)> {
        if changes.is_empty() {
            return Vec::new();
        }
        let names = self.backend_names();
        changes.iter().filter_map(|change| Some(((*names.get(&change.backend)?).to_owned(), *change))).collect()
    }

    /// As if probes had found this.
    pub fn health_of(&self, backend: &str, address: SocketAddr, is_ill: bool) -> Option<HealthChange> {
        let backend = self.backends.get(backend)?.number;
        let found = if is_ill { Found::Refused } else { Found::Well };
        Some(HealthChange { backend, address, is_ill, found })
    }

    /// Names of what exchanges are told of.
    pub fn names(&self) -> Names<'_> {
        Names { listeners: self.listener_names(), backends: self.backend_names() }
    }

    /// An exchange by names; `at_us` in microseconds of 1970.
    pub fn name_tapped(&self, tapped: Tapped, at_us: u64, names: &Names<'_>) -> ExchangeRecord {
        let listener = names.listeners.get(&tapped.listener).map_or_else(String::new, |name| (*name).to_owned());
        let backend = tapped.backend.and_then(|number| names.backends.get(&number).map(|name| (*name).to_owned()));
        ExchangeRecord {
            at_us,
            client: tapped.client,
            listener,
            route: Some(tapped.route)
                .filter(|it| *it != RouteKey::NONE)
                .and_then(|it| self.routes.name(it))
                .map(Into::into),
            rule: tapped.rule,
            backend,
            endpoint: tapped.endpoint,
            method: tapped.asked.method,
            host: tapped.asked.host,
            path: tapped.asked.path,
            status: tapped.status,
            ended: tapped.ended.name().to_owned(),
            request_bytes: tapped.request_bytes,
            response_bytes: tapped.response_bytes,
            attempts: tapped.attempts,
            first_byte_us: tapped.first_byte.map(crate::time::Duration::as_us),
            total_us: tapped.total.as_us(),
        }
    }
}
