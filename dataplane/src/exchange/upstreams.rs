//! Endpoints of all backends as one worker sees them: which is chosen, which rest, and the connections to them.
//!
//! ```text
//!   BackendIndex ---> Group: set and policy ---> place in the set ---> Endpoint: address, requests, its connections in the pool
//! ```
//! Rules name backends by number. An exchange holds on to the group and the endpoint themselves ([`At`]): both stay as they are until nobody uses
//! them, whatever becomes of the configuration meanwhile.

use super::{
    leg::Io,
    meters::{Meter, Metered, Room, Subject, Sums},
    plan::{GroupPlan, NEW},
    report::Bookmark,
};
use crate::{
    limits::{CONNECT_FAILED_REST, REPORT_PAGE},
    link::message::EndpointState,
    port::{Rss, RssFlow},
    route::BackendIndex,
    snapshot::{HashOn, ProxyVersion},
    tcp::{Connect, ConnectError, ConnectionId, ConnectionOptions},
    time::{Duration, Instant},
    tls::ClientContext,
    upstream::{
        balance::{EndpointSet, Policy},
        pool::{EndpointIndex, Lease, MemberId, Pool},
    },
};
use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

/// Which endpoint of which group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct At {
    pub(super) group: u32,
    endpoint: u32,
}

pub(super) struct Upstreams {
    pub(super) pool: Pool,
    /// By [`BackendIndex`]: the group, or [`NEW`].
    numbers: Vec<u32>,
    groups: Vec<Option<Group>>,
    /// Places of groups that are gone.
    vacant: Vec<u32>,
    /// By [`EndpointIndex`].
    endpoints: Vec<Endpoint>,
    /// Endpoints that are gone, and perhaps still used.
    leaving: Vec<u32>,
    /// By the member's place: its leg.
    legs: Vec<u32>,
    /// Those that could not be connected to, and until when they are passed over.
    resting: VecDeque<(Instant, u32)>,
    random: fastrand::Rng,
    /// Which source ports bring replies to this worker.
    home: Home,
}

/// One backend.
struct Group {
    backend: BackendIndex,
    set: EndpointSet,
    policy: Policy,
    /// By place in the set.
    endpoints: Vec<u32>,
    connect: Duration,
    hash_on: Option<HashOn>,
    proxy: Option<ProxyVersion>,
    tls: Option<Arc<ClientContext>>,
    /// Endpoints that refer to it, those that are leaving among them.
    members: u32,
    is_retired: bool,
    /// Of endpoints that are gone, and of exchanges that came to none.
    meter: Meter,
}

struct Endpoint {
    address: SocketAddr,
    group: u32,
    /// In the group's set, or [`NEW`].
    place: u32,
    /// Exchanges that have chosen it and are not over.
    users: u32,
    /// Of these, requests that are under way there.
    active: u32,
    /// It could not be connected to.
    rests: bool,
    /// Its probes say so.
    is_ill: bool,
    meter: Meter,
}

/// How replies find this worker: its queue, and what each port says of its RSS. Empty where there is one worker.
#[derive(Clone, Default)]
pub struct Home {
    /// Our queue.
    pub queue: u16,
    /// By port.
    pub rss: Vec<Rss>,
}

impl Upstreams {
    pub(super) fn new(home: Home, seed: u64) -> Self {
        Self {
            pool: Pool::new(),
            numbers: Vec::new(),
            groups: Vec::new(),
            vacant: Vec::new(),
            endpoints: Vec::new(),
            leaving: Vec::new(),
            legs: Vec::new(),
            resting: VecDeque::new(),
            random: fastrand::Rng::with_seed(seed),
            home,
        }
    }

    fn group(&self, group: u32) -> &Group {
        self.groups[group as usize].as_ref().expect("a group that is used is kept")
    }

    /// The group of a backend that rules name; `None` for rules of an earlier snapshot, whose backend is gone.
    #[inline]
    pub(super) fn group_of(&self, backend: BackendIndex) -> Option<u32> {
        self.numbers.get(backend.0 as usize).copied().filter(|group| *group != NEW)
    }
    pub(super) fn backend(&self, at: At) -> BackendIndex {
        self.group(at.group).backend
    }
    /// What a group's choice depends on, if it hashes.
    pub(super) fn hash_on(&self, group: u32) -> Option<&HashOn> {
        self.group(group).hash_on.as_ref()
    }
    pub(super) fn address(&self, at: At) -> SocketAddr {
        self.endpoints[at.endpoint as usize].address
    }
    pub(super) fn connect_timeout(&self, group: u32) -> Duration {
        self.group(group).connect
    }
    /// Connections to such a backend begin with the client's address, so they belong to one client.
    pub(super) fn proxy(&self, group: u32) -> Option<ProxyVersion> {
        self.group(group).proxy
    }

    pub(super) fn random(&mut self) -> u64 {
        self.random.u64(..)
    }

    /// An endpoint for a request, which counts as begun there.
    pub(super) fn choose(&mut self, now: Instant, group: u32, hash: Option<u64>) -> Option<At> {
        self.wake(now);
        let random = self.random.u64(..);
        let it = self.groups[group as usize].as_mut().expect("a group that is used is kept");
        let place = it.policy.choose(&it.set, hash, random)?;
        it.set.begin(place);
        let endpoint = it.endpoints[place];
        self.endpoints[endpoint as usize].active += 1;
        Some(At { group, endpoint })
    }

    /// A request there is over.
    pub(super) fn end(&mut self, at: At) {
        let endpoint = &mut self.endpoints[at.endpoint as usize];
        endpoint.active -= 1;
        if endpoint.place != NEW {
            let group = self.groups[at.group as usize].as_mut().expect("a group that is used is kept");
            group.set.end(endpoint.place as usize);
        }
    }

    /// An exchange refers to it from now on, until [`Self::forget`].
    pub(super) fn remember(&mut self, at: At) {
        self.endpoints[at.endpoint as usize].users += 1;
    }
    pub(super) fn forget(&mut self, at: At) {
        self.endpoints[at.endpoint as usize].users -= 1;
    }

    /// It could not be connected to.
    pub(super) fn rest(&mut self, now: Instant, at: At) {
        let endpoint = &mut self.endpoints[at.endpoint as usize];
        let is_retired = self.groups[at.group as usize].as_ref().is_none_or(|group| group.is_retired);
        if !endpoint.rests && endpoint.place != NEW && !is_retired {
            endpoint.rests = true;
            self.tell_health(at.endpoint);
            self.resting.push_back((now + CONNECT_FAILED_REST, at.endpoint));
        }
    }

    fn wake(&mut self, now: Instant) {
        while let Some((until, endpoint)) = self.resting.front()
            && *until <= now
        {
            let endpoint = *endpoint;
            self.endpoints[endpoint as usize].rests = false;
            self.tell_health(endpoint);
            self.resting.pop_front();
        }
    }

    /// The set hears whether an endpoint may be chosen.
    fn tell_health(&mut self, endpoint: u32) {
        let it = &self.endpoints[endpoint as usize];
        if it.place != NEW {
            let group = self.groups[it.group as usize].as_mut().expect("a group with endpoints is kept");
            group.set.set_healthy(it.place as usize, !it.rests && !it.is_ill);
        }
    }

    /// What probes say of an endpoint, by its place in the backend's list.
    pub(super) fn set_ill(&mut self, backend: BackendIndex, place: u32, is_ill: bool) {
        let Some(group) = self.group_of(backend) else { return };
        let Some(&endpoint) = self.group(group).endpoints.get(place as usize) else { return };
        self.endpoints[endpoint as usize].is_ill = is_ill;
        self.tell_health(endpoint);
    }

    /// A connection for a request.
    pub(super) fn lease(&mut self, now: Instant, at: At) -> Lease {
        let jitter = self.random.u8(..);
        self.pool.lease(now, EndpointIndex(at.endpoint), jitter)
    }

    /// A fresh connection, whatever is idle.
    pub(super) fn lease_new(&mut self, now: Instant, at: At) -> Lease {
        let jitter = self.random.u8(..);
        self.pool.lease_new(now, EndpointIndex(at.endpoint), jitter)
    }

    /// Begins to open a connection.
    pub(super) fn connect(&self, io: &mut Io<'_>, remote: SocketAddr) -> Result<ConnectionId, ConnectError> {
        let connect = Connect { local: None, local_port: None, remote, options: ConnectionOptions::default() };
        if self.home.rss.is_empty() {
            return io.tcp.connect(io.now, &connect, |_| true);
        }
        let (local, port) = io.tcp.way_to(remote.ip()).ok_or(ConnectError::NoRoute)?;
        let Home { queue, rss } = &self.home;
        let rss = &rss[usize::from(port.0)];
        let comes_home = |local_port| {
            let flow = RssFlow { source: remote.ip(), destination: local, ports: Some((remote.port(), local_port)) };
            rss.queue(&flow) == *queue
        };
        io.tcp.connect(io.now, &connect, comes_home)
    }

    /// How connections to a group's endpoints are secured.
    pub(super) fn tls(&self, group: u32) -> Option<Arc<ClientContext>> {
        self.group(group).tls.clone()
    }

    pub(super) fn set_leg(&mut self, member: MemberId, leg: u32) {
        if member.index() >= self.legs.len() {
            self.legs.resize(member.index() + 1, u32::MAX);
        }
        self.legs[member.index()] = leg;
    }
    pub(super) fn leg(&self, member: MemberId) -> u32 {
        self.legs[member.index()]
    }

    /// A backend as it is from now on. Endpoints that stay keep their connections, requests and health.
    pub(super) fn put(&mut self, plan: GroupPlan) {
        let number = plan.backend.0 as usize;
        if number >= self.numbers.len() {
            self.numbers.resize(number + 1, NEW);
        }
        let before = match self.numbers[number] {
            NEW => Vec::new(),
            group => std::mem::take(&mut self.groups[group as usize].as_mut().expect("it has a number").endpoints),
        };
        if self.numbers[number] == NEW {
            let place = self.vacant.pop().unwrap_or(self.groups.len() as u32);
            if place as usize == self.groups.len() {
                self.groups.push(None);
            }
            self.numbers[number] = place;
        }
        let group = self.numbers[number];
        for &endpoint in &before {
            self.endpoints[endpoint as usize].place = NEW;
        }
        let GroupPlan { backend, mut set, mut policy, members, pool, connect, hash_on, proxy, checks: _, tls } = plan;
        let mut endpoints = Vec::with_capacity(members.len());
        for (place, member) in (0..).zip(&members) {
            let endpoint = match member.was {
                NEW => self.add(group, member.address, pool),
                was => before[was as usize],
            };
            let it = &mut self.endpoints[endpoint as usize];
            it.place = place;
            it.is_ill = member.is_ill;
            set.carry(place as usize, it.active);
            set.set_healthy(place as usize, !it.rests && !it.is_ill);
            self.pool.set_options(EndpointIndex(endpoint), pool);
            endpoints.push(endpoint);
        }
        policy.prepare(&set, self.random.u64(..));
        let gone: Vec<_> = before.iter().filter(|it| self.endpoints[**it as usize].place == NEW).copied().collect();
        let added = members.iter().filter(|member| member.was == NEW).count() as u32;
        let (members, meter) =
            self.groups[group as usize].take().map_or((0, Meter::default()), |it| (it.members, it.meter));
        let members = members + added;
        let it =
            Group { backend, set, policy, endpoints, connect, hash_on, proxy, tls, members, is_retired: false, meter };
        self.groups[group as usize] = Some(it);
        gone.into_iter().for_each(|endpoint| self.retire(endpoint));
    }

    /// A backend that no rule names any more. What was begun there goes on.
    pub(super) fn remove(&mut self, backend: BackendIndex) {
        let group = std::mem::replace(&mut self.numbers[backend.0 as usize], NEW);
        let it = self.groups[group as usize].as_mut().expect("it has a number");
        it.is_retired = true;
        let endpoints = it.endpoints.clone();
        endpoints.into_iter().for_each(|endpoint| self.retire(endpoint));
    }

    fn add(&mut self, group: u32, address: SocketAddr, pool: crate::upstream::pool::PoolOptions) -> u32 {
        let EndpointIndex(index) = self.pool.add(pool);
        let meter = Meter::default();
        let endpoint = Endpoint { address, group, place: NEW, users: 0, active: 0, rests: false, is_ill: false, meter };
        if index as usize == self.endpoints.len() {
            self.endpoints.push(endpoint);
        } else {
            self.endpoints[index as usize] = endpoint;
        }
        index
    }

    fn retire(&mut self, endpoint: u32) {
        self.pool.retire(EndpointIndex(endpoint));
        self.resting.retain(|(_, it)| *it != endpoint);
        self.leaving.push(endpoint);
    }

    /// Lets go of endpoints that are gone and that nobody uses any more, and of their groups. A group that is gone may still choose among all of its
    /// endpoints for those that began with it: they go together.
    pub(super) fn sweep(&mut self, room: &mut Room) {
        if self.leaving.is_empty() {
            return;
        }
        let Self { pool, groups, vacant, endpoints, leaving, resting, .. } = self;
        let mut is_busy = vec![false; groups.len()];
        let is_used =
            |endpoint: u32| endpoints[endpoint as usize].users > 0 || pool.counts(EndpointIndex(endpoint)).0 > 0;
        for &endpoint in leaving.iter().filter(|&&endpoint| is_used(endpoint)) {
            is_busy[endpoints[endpoint as usize].group as usize] = true;
        }
        let stays: Vec<_> = leaving
            .iter()
            .map(|&endpoint| {
                let group = endpoints[endpoint as usize].group as usize;
                let is_retired = groups[group].as_ref().is_some_and(|it| it.is_retired);
                is_used(endpoint) || is_retired && is_busy[group]
            })
            .collect();
        for (&endpoint, _) in leaving.iter().zip(&stays).filter(|(_, stays)| !**stays) {
            pool.remove(EndpointIndex(endpoint));
            resting.retain(|(_, it)| *it != endpoint);
            let it = &mut endpoints[endpoint as usize];
            it.place = NEW;
            let group = groups[it.group as usize].as_mut().expect("a group with endpoints is kept");
            group.members -= 1;
            group.meter.take(&mut it.meter, room);
        }
        let mut stays = stays.into_iter();
        leaving.retain(|_| stays.next().expect("one for each"));
        for (place, group) in (0..).zip(groups) {
            if let Some(it) = group.as_mut().filter(|it| it.is_retired && it.members == 0) {
                it.meter.clear(room);
                *group = None;
                vacant.push(place);
            }
        }
    }

    /// An exchange that has chosen it is over.
    #[inline]
    pub(super) fn count(&mut self, at: At, it: Metered, room: &mut Room) {
        self.endpoints[at.endpoint as usize].meter.count(it, room);
    }

    /// Names each group that is configured and each of its endpoints, as far as a page goes; and where the next one begins.
    pub(super) fn page(&self, from: Bookmark, mut name: impl FnMut(u32, Option<u32>)) -> Option<Bookmark> {
        let (mut within, mut looks) = (from.within, 0);
        for (place, group) in (from.place..).zip(self.groups.get(from.place..)?) {
            if looks >= REPORT_PAGE {
                return Some(Bookmark { place, within: 0, ..from });
            }
            looks += 1;
            let Some(group) = group.as_ref().filter(|it| !it.is_retired) else { continue };
            if within == 0 {
                name(place as u32, None);
            }
            let rest = group.endpoints.get(within..).unwrap_or(&[]);
            let some = &rest[..rest.len().min(REPORT_PAGE)];
            some.iter().for_each(|endpoint| name(place as u32, Some(*endpoint)));
            if some.len() < rest.len() {
                return Some(Bookmark { place, within: within + some.len(), ..from });
            }
            (within, looks) = (0, looks + some.len());
        }
        None
    }

    /// What exchanges came to that came to no endpoint, or to one that is gone.
    pub(super) fn group_meter(&self, group: u32) -> Option<(Subject, Sums)> {
        let group = self.group(group);
        Some((Subject::Backend(group.backend), *group.meter.sums()?))
    }
    /// The same of an endpoint.
    pub(super) fn endpoint_meter(&self, group: u32, endpoint: u32) -> Option<(Subject, Sums)> {
        let it = &self.endpoints[endpoint as usize];
        Some((Subject::Endpoint(self.group(group).backend, it.address), *it.meter.sums()?))
    }

    /// An endpoint, with the number of its backend.
    pub(super) fn state(&self, group: u32, endpoint: u32) -> (u32, EndpointState) {
        let (group, it) = (self.group(group), &self.endpoints[endpoint as usize]);
        let health = match (it.rests, it.is_ill) {
            (false, false) => "healthy",
            (true, _) => "connect_failed",
            (false, true) => "probe_failed",
        };
        let state = EndpointState {
            backend: String::new(),
            address: it.address,
            weight: group.set.weight(it.place as usize),
            healthy: group.set.is_healthy(it.place as usize),
            health: health.into(),
            active: it.active.into(),
            connections: self.pool.counts(EndpointIndex(endpoint)).0.into(),
        };
        (group.backend.0, state)
    }

    /// Groups and endpoints that are kept.
    pub(super) fn kept(&self) -> (usize, usize) {
        let groups = self.groups.iter().flatten();
        (groups.clone().count(), groups.map(|it| it.members as usize).sum())
    }
}
