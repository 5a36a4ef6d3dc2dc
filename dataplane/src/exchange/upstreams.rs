//! Endpoints of all backends as one worker sees them: which is chosen, which rest, and the connections to them.

use super::{config, leg::Io};
use crate::{
    limits::CONNECT_FAILED_REST,
    port::{Rss, RssFlow},
    route::BackendIndex,
    snapshot::{Backend, HashOn, ProxyVersion},
    tcp::{Connect, ConnectError, ConnectionId, ConnectionOptions},
    time::{Duration, Instant},
    upstream::{
        balance::{self, EndpointSet, Policy},
        pool::{EndpointIndex, Lease, MemberId, Pool},
    },
};
use std::{collections::VecDeque, net::SocketAddr};

/// Which endpoint of which backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct At {
    pub(super) backend: BackendIndex,
    pub(super) endpoint: u32,
}

pub(super) struct Upstreams {
    pub(super) pool: Pool,
    groups: Vec<Group>,
    /// By the member's place: its leg.
    legs: Vec<u32>,
    /// Those that could not be connected to, and until when they are passed over.
    resting: VecDeque<(Instant, At)>,
    random: fastrand::Rng,
    /// Which source ports bring replies to this worker.
    home: Home,
}

/// One backend.
struct Group {
    set: EndpointSet,
    policy: Policy,
    addresses: Vec<SocketAddr>,
    /// In the pool.
    places: Vec<EndpointIndex>,
    connect: Duration,
    hash_on: Option<HashOn>,
    proxy: Option<ProxyVersion>,
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
    pub(super) fn new(backends: &[Backend], home: Home, seed: u64) -> Self {
        let mut pool = Pool::new();
        let mut random = fastrand::Rng::with_seed(seed);
        let group = |(generation, backend): (u64, &Backend)| {
            let key = |address: &SocketAddr| config::hash_bytes(address.to_string().as_bytes());
            let endpoints: Vec<_> = backend
                .endpoints
                .iter()
                .map(|e| balance::Endpoint { key: key(&e.address), weight: e.weight })
                .collect();
            let set = EndpointSet::new(generation, &endpoints, backend.panic_threshold);
            let mut policy = Policy::new(backend.load_balancing).expect("the snapshot was checked");
            policy.prepare(&set, random.u64(..));
            let hashes = matches!(
                backend.load_balancing,
                balance::PolicyKind::RingHash { .. } | balance::PolicyKind::Maglev { .. }
            );
            Group {
                set,
                policy,
                addresses: backend.endpoints.iter().map(|e| e.address).collect(),
                places: backend.endpoints.iter().map(|_| pool.add(backend.pool.options())).collect(),
                connect: Duration::from_ms(backend.connect_ms),
                hash_on: hashes.then(|| backend.hash_on.clone()),
                proxy: backend.proxy_protocol,
            }
        };
        let groups = (0..).zip(backends).map(group).collect();
        Self { pool, groups, legs: Vec::new(), resting: VecDeque::new(), random, home }
    }

    fn group(&self, backend: BackendIndex) -> &Group {
        &self.groups[backend.0 as usize]
    }

    /// What a backend's choice depends on, if it hashes.
    pub(super) fn hash_on(&self, backend: BackendIndex) -> Option<&HashOn> {
        self.group(backend).hash_on.as_ref()
    }
    pub(super) fn address(&self, at: At) -> SocketAddr {
        self.group(at.backend).addresses[at.endpoint as usize]
    }
    pub(super) fn connect_timeout(&self, backend: BackendIndex) -> Duration {
        self.group(backend).connect
    }
    /// Connections to such a backend begin with the client's address, so they belong to one client.
    pub(super) fn proxy(&self, backend: BackendIndex) -> Option<ProxyVersion> {
        self.group(backend).proxy
    }

    pub(super) fn random(&mut self) -> u64 {
        self.random.u64(..)
    }

    /// An endpoint for a request, which counts as begun there.
    pub(super) fn choose(&mut self, now: Instant, backend: BackendIndex, hash: Option<u64>) -> Option<At> {
        self.wake(now);
        let random = self.random.u64(..);
        let group = &mut self.groups[backend.0 as usize];
        let endpoint = group.policy.choose(&group.set, hash, random)?;
        group.set.begin(endpoint);
        Some(At { backend, endpoint: endpoint as u32 })
    }

    /// A request there is over.
    pub(super) fn end(&mut self, at: At) {
        self.groups[at.backend.0 as usize].set.end(at.endpoint as usize);
    }

    /// It could not be connected to.
    pub(super) fn rest(&mut self, now: Instant, at: At) {
        let set = &mut self.groups[at.backend.0 as usize].set;
        if set.is_healthy(at.endpoint as usize) {
            set.set_healthy(at.endpoint as usize, false);
            self.resting.push_back((now + CONNECT_FAILED_REST, at));
        }
    }

    fn wake(&mut self, now: Instant) {
        while let Some((until, at)) = self.resting.front()
            && *until <= now
        {
            self.groups[at.backend.0 as usize].set.set_healthy(at.endpoint as usize, true);
            self.resting.pop_front();
        }
    }

    /// A connection for a request.
    pub(super) fn lease(&mut self, now: Instant, at: At) -> Lease {
        let jitter = self.random.u8(..);
        let place = self.group(at.backend).places[at.endpoint as usize];
        self.pool.lease(now, place, jitter)
    }

    /// A fresh connection, whatever is idle.
    pub(super) fn lease_new(&mut self, now: Instant, at: At) -> Lease {
        let jitter = self.random.u8(..);
        let place = self.group(at.backend).places[at.endpoint as usize];
        self.pool.lease_new(now, place, jitter)
    }

    /// Begins to open a connection.
    pub(super) fn connect(&mut self, io: &mut Io<'_>, at: At) -> Result<ConnectionId, ConnectError> {
        let remote = self.address(at);
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

    pub(super) fn set_leg(&mut self, member: MemberId, leg: u32) {
        if member.index() >= self.legs.len() {
            self.legs.resize(member.index() + 1, u32::MAX);
        }
        self.legs[member.index()] = leg;
    }
    pub(super) fn leg(&self, member: MemberId) -> u32 {
        self.legs[member.index()]
    }
}
