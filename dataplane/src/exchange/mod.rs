//! The gateway: requests through both legs, joined in one worker's loop. And connections that are passed on as they are.
//!
//! ```text
//!   client leg                            exchange                              upstream leg
//!   Received -> read: PROXY header
//!               read: head  -> begin: believe, normalise, route, filter
//!                                        choose an endpoint, lease a connection -> connect, or send at once
//!               read: body  -----------------------------------------------------> send      while it has room
//!   send   <------------------------------------- response filters <------------- read: head
//!   send   <---------------------------------------------------------------------- read: body    while the client has room
//!               finish: one record; the upstream leg back to its pool, the client leg to its next request
//! ```
//! | what | where |
//! | --- | --- |
//! | events of TCP, to legs | here |
//! | a connection: received and not used, written and not sent | `leg` |
//! | TLS between the two | `secure`; what it is made with: `contexts` |
//! | TLS that goes on as it is, by its name | `passthrough` |
//! | what comes next on a leg, and content from one leg to the other | `read` |
//! | a request's head: where it goes, and in which form | `request` |
//! | connecting, sending, the answer's head | `response` |
//! | what we answer ourselves | `answer` |
//! | what both legs must know of each other | `state` |
//! | ends, timeouts, records | `end`, `record` |
//! | what exchanges came to; who watches them; names for both | `meters`, `tap`, `report` |
//! | endpoints, and connections to them | `upstreams` |
//! | endpoints are asked whether they are well | `health` |
//! | where we listen, and the editions of how we speak there | `listeners` |
//! | the snapshot, compiled | `config` |
//! | from one snapshot to the next: planned outside, taken over between turns | `plan`, `update` |
//!
//! **Backpressure.** Nothing is read from a leg while the other has no room: what came stays in its frames, unconsumed, and the peer's window
//! closes. **Nothing recurses**: reading a client's leg is a loop, and what ends an exchange only marks; so hundreds of pipelined requests that
//! are answered here are a loop of hundreds, no deeper than one.

mod answer;
mod config;
mod contexts;
mod end;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod health;
mod leg;
mod listeners;
mod meters;
mod passthrough;
mod plan;
mod read;
mod record;
mod report;
mod request;
mod response;
mod secure;
mod state;
mod tap;
mod update;
mod upstreams;

pub use health::{Found, HealthChange};
pub use meters::MeterReport;
pub use plan::{Planner, Update};
pub use record::{Ended, Record};
pub use report::{Bookmark, Names};
pub use tap::{Tapped, Tapping};
pub use upstreams::Home;

use crate::{
    application::Application,
    counters::Counter,
    drops::Drop,
    filters::Target,
    http::{Side, Spans, forward::Client, h1::Receiver, normalize::Normalizer},
    limits::{BURST_MAX, TAPS_MAX, TCP_TIMERS_MAX},
    outbox::Outbox,
    port::Frame,
    proxy_protocol::ProxyRefusal,
    services::Services,
    snapshot::Snapshot,
    tcp::{ConnectionId, End, Event, Tcp, wheel::Wheel},
    time::{Duration, Instant},
    tls,
};
use answer::DateLine;
use health::Health;
use leg::{Io, Kept, Leg, Role, Staged};
use listeners::{Edition, Listeners, Serves};
use meters::{Room, RouteMeters};
use plan::Step;
use response::Gone;
use secure::{Sealing, Steps};
use state::Exchange;
use std::collections::VecDeque;
use std::net::IpAddr;
use tap::Taps;
use update::Retiring;
use upstreams::Upstreams;

/// Everything above TCP in a worker.
pub struct Gateway {
    services: Services,
    listeners: Listeners,
    /// Steps of the first update that have to wait for TCP.
    unstarted: Vec<Step>,
    /// The snapshot that is served.
    revision: u64,
    /// Clients are sent elsewhere with their answers.
    drains: bool,
    retiring: Retiring,

    /// By the connection's place.
    legs: Vec<Leg>,
    exchanges: Vec<Exchange>,
    /// By the same index: the request's head, as it goes on. Buffers stay, for they are as large as heads are here.
    heads: Vec<Kept>,
    free: Vec<u32>,
    upstreams: Upstreams,
    /// Clients' deadlines, by the connection's place.
    wheel: Wheel,
    /// Frames in legs.
    held: usize,
    /// Bytes of heads that are not whole.
    partial_bytes: usize,
    /// Of all sessions.
    tls_room: tls::Room,
    steps: Steps,

    // Scratch, for one head at a time.
    spans: Spans,
    normalizer: Normalizer,
    path: Target,
    location: Target,
    staged: Staged,
    sealing: Sealing,
    /// An answer's head: it has many small parts, and a frame wants them in one.
    written: Kept,
    date: DateLine,

    records: VecDeque<Record>,
    keeps_records: bool,
    health: Health,
    route_meters: RouteMeters,
    room: Room,
    taps: Option<Box<Taps>>,
    /// By slot, exchanges that somebody watches and that were too many.
    missed: [u64; TAPS_MAX],
}

/// How a gateway is made.
pub struct GatewayOptions {
    /// Keys what is drawn.
    pub seed: u64,
    /// Connections of the worker's TCP, at most.
    pub connections_max: usize,
    /// Which source ports bring replies to this worker.
    pub home: Home,
    /// Whether [`Gateway::poll_record`] gives what has ended.
    pub keeps_records: bool,
    /// Whether this worker probes endpoints: one of them does.
    pub probes: bool,
    /// Whether somebody takes the steps of handshakes that would hold the loop up from [`Gateway::poll_work`].
    pub gives_work: bool,
}

impl Gateway {
    /// What a snapshot says.
    ///
    /// # Panics
    /// When the snapshot was not checked.
    pub fn new(snapshot: &Snapshot, options: GatewayOptions) -> Self {
        let update = Planner::default().plan(snapshot.clone()).expect("the snapshot was checked");
        Self::planned(update, options)
    }

    /// What the first update of a planner says.
    pub fn planned(update: Update, options: GatewayOptions) -> Self {
        let mut upstreams = Upstreams::new(options.home, options.seed);
        let mut health = Health::new(options.probes, options.seed);
        let (mut unstarted, room) = (Vec::new(), Room::default());
        for step in update.steps {
            match step {
                Step::Backend(plan) => {
                    let members = plan.members.iter().map(|it| (it.address, it.is_ill));
                    health.put(Instant::ZERO, plan.backend, &plan.checks, members);
                    upstreams.put(*plan);
                }
                step => unstarted.push(step),
            }
        }
        Self {
            services: Services::default(),
            listeners: Listeners::default(),
            unstarted,
            revision: update.revision,
            drains: false,
            retiring: Retiring::default(),
            legs: Vec::new(),
            exchanges: Vec::new(),
            heads: Vec::new(),
            free: Vec::new(),
            upstreams,
            wheel: Wheel::new(options.connections_max, Instant::ZERO),
            held: 0,
            partial_bytes: 0,
            spans: Spans::new(),
            normalizer: Normalizer::new(),
            path: Target::new(),
            location: Target::new(),
            staged: Staged::default(),
            sealing: Sealing::default(),
            tls_room: tls::Room::default(),
            steps: Steps::new(options.gives_work),
            written: Kept::default(),
            date: DateLine::default(),
            records: VecDeque::new(),
            keeps_records: options.keeps_records,
            health,
            route_meters: RouteMeters::default(),
            room,
            taps: None,
            missed: [0; TAPS_MAX],
        }
    }

    /// What has ended, oldest first. Records that nobody takes make room for newer ones.
    pub fn poll_record(&mut self) -> Option<Record> {
        self.records.pop_front()
    }

    /// The time of day at `now`, as seconds of 1970 to 2514: what `Date` says where we answer.
    pub fn set_time_of_day(&mut self, now: Instant, unix: u64) {
        self.date.set(now, unix);
    }

    /// Exchanges that are under way.
    pub fn exchanges(&self) -> usize {
        self.exchanges.len() - self.free.len()
    }

    fn leg(&mut self, id: ConnectionId) -> Option<usize> {
        let i = id.index();
        (self.legs.get(i)?.id == Some(id)).then_some(i)
    }

    fn place(&mut self, id: ConnectionId) -> usize {
        let i = id.index();
        while i >= self.legs.len() {
            self.legs.push(Leg::vacant());
        }
        debug_assert_eq!(
            (self.legs[i].role, self.legs[i].held()),
            (Role::Vacant, 0),
            "whoever was here has left nothing"
        );
        self.legs[i].id = Some(id);
        i
    }

    /// A client has connected.
    fn accept(&mut self, io: &mut Io<'_>, id: ConnectionId, listener: u16) {
        let Some((_, remote)) = io.tcp.ends(id) else { return };
        let i = self.place(id);
        let is_raw = matches!(self.listeners.serves(listener), Serves::Raw(_));
        let proxy = if is_raw {
            self.listeners.raw(listener).proxy.as_ref()
        } else {
            self.listeners.http(listener).proxy.as_ref()
        };
        let accept = proxy.filter(|proxy| config::contains(&proxy.trusted, remote.ip())).map(|proxy| proxy.accept);
        let (is_proxy, refused) = (accept.is_some(), proxy.is_some() && accept.is_none());
        let leg = &mut self.legs[i];
        leg.role = Role::Client;
        (leg.listener, leg.began) = (listener, io.now);
        (leg.awaits_proxy, leg.is_raw) = (accept, is_raw);
        self.listeners.enter(listener);
        if refused {
            io.out.counters.count_proxy_refusal(ProxyRefusal::Untrusted);
            return self.cut(io, i);
        }
        let secures = self.listeners.tls(listener).cloned();
        self.know_client(i, remote.ip(), remote.port());
        let patience = if is_raw {
            PROXY_PATIENCE
        } else {
            let http = self.listeners.http(listener);
            self.legs[i].receiver = Receiver::new(Side::Server, http.limits);
            http.timeouts.request_headers
        };
        self.legs[i].deadline = io.now + patience;
        if let Some(terminates) = &secures {
            self.await_hello(io, i, terminates);
        }
        self.arm(i);
        if !is_proxy && self.legs[i].is_raw && secures.is_none() {
            self.admit_raw(io, i);
        }
    }

    /// Who a client is: from its connection, or from a PROXY header.
    fn know_client(&mut self, i: usize, address: IpAddr, port: u16) {
        let leg = &mut self.legs[i];
        let is_trusted = !leg.is_raw && self.listeners.http(leg.listener).trusts(address);
        leg.client = Client::new(address, leg.scheme(), is_trusted);
        (leg.address, leg.port) = (address, port);
    }

    fn received(&mut self, io: &mut Io<'_>, i: usize, frame: Frame) {
        let leg = &mut self.legs[i];
        match (leg.role, leg.exchange) {
            _ if leg.is_cut => io.out.drop(frame, Drop::ExchangeOver),
            (Role::Leaving, _) => self.spend(io, i, frame),
            _ if leg.tls.is_some() && leg.awaits_proxy.is_none() => self.open(io, i, frame),
            (Role::Probe(place), _) => self.probe_received(io, i, place, frame),
            (Role::Client, _) | (Role::Upstream(_), Some(_)) => {
                let before = leg.input.len();
                leg.input.push_or_append(frame, io.out);
                self.held += leg.input.len() - before;
                if matches!(leg.role, Role::Client) { self.advance_client(io, i) } else { self.advance_upstream(io, i) }
            }
            // rfc9112 9.3: what says something without being asked is not used again.
            (Role::Upstream(_) | Role::Vacant, _) => {
                io.out.drop(frame, Drop::ExchangeOver);
                self.end_idle(io, i);
            }
        }
    }

    /// A connection that waits in its pool is not to be used any more.
    fn end_idle(&mut self, io: &mut Io<'_>, i: usize) {
        let leg = &mut self.legs[i];
        let (Role::Upstream(member), Some(id)) = (leg.role, leg.id) else { return };
        io.out.counters.count(Counter::UpstreamIdleEnds);
        self.upstreams.pool.ended(member);
        self.vacate(io, i);
        io.tcp.abort(io.now, id, io.out);
    }

    /// The leg's place is free; its connection may live on for a while, without anybody.
    fn vacate(&mut self, io: &mut Io<'_>, i: usize) {
        let leg = &mut self.legs[i];
        self.held -= leg.held();
        self.partial_bytes -= leg.partial.len();
        leg.clear(io.out);
        if matches!(leg.role, Role::Client | Role::Leaving) {
            self.listeners.leave(leg.listener, &mut self.room);
        }
        self.wheel.disarm(i as u32);
        self.legs[i] = Leg::vacant();
    }

    fn peer_closed(&mut self, io: &mut Io<'_>, i: usize) {
        self.legs[i].peer_closed = true;
        match (self.legs[i].role, self.legs[i].exchange) {
            (Role::Client, _) => self.advance_client(io, i),
            (Role::Upstream(_), Some(_)) => self.advance_upstream(io, i),
            (Role::Upstream(member), None) => {
                io.out.counters.count(Counter::UpstreamIdleEnds);
                self.upstreams.pool.ended(member);
                let id = self.legs[i].id;
                self.vacate(io, i);
                if let Some(id) = id {
                    io.tcp.release(id, io.out);
                }
            }
            // Our side of one that leaves is closed already, or will be behind what is still to be sent.
            (Role::Leaving | Role::Vacant, _) => {}
            (Role::Probe(place), _) => {
                let id = self.legs[i].id;
                self.probe_closed(io, i, place, End::Graceful);
                if let Some(id) = id {
                    io.tcp.release(id, io.out);
                }
            }
        }
    }

    fn writable(&mut self, io: &mut Io<'_>, i: usize) {
        if self.legs[i].tls.is_some() {
            let id = self.legs[i].id;
            self.run_session(io, i);
            if self.legs[i].id != id {
                return;
            }
        }
        let before = self.legs[i].held();
        let flushed = self.flush(io, i);
        match self.legs[i].role {
            // It gets more time for what it reads, not for being told that it may be written to.
            Role::Leaving if flushed || self.legs[i].held() < before => return self.lingers(io, i),
            Role::Leaving => return,
            // What was answered here went before what comes next.
            Role::Client if flushed && self.legs[i].exchange.is_none() => return self.advance_client(io, i),
            _ => {}
        }
        let Some(x) = self.legs[i].exchange.filter(|_| flushed) else { return };
        // Whoever fills this leg goes on.
        let Exchange { client, upstream, .. } = self.exchanges[x as usize];
        if client as usize == i {
            if let Some(j) = upstream {
                self.advance_upstream(io, j as usize);
            }
        } else {
            self.advance_client(io, client as usize);
        }
    }

    fn closed(&mut self, io: &mut Io<'_>, i: usize, reason: End) {
        let (role, exchange) = (self.legs[i].role, self.legs[i].exchange);
        match role {
            Role::Client | Role::Leaving => {
                if let Some(x) = exchange {
                    let ended = if reason == End::Stopping { Ended::Stopping } else { Ended::ClientGone };
                    self.abandon(io, x, ended);
                }
                self.vacate(io, i);
            }
            Role::Upstream(member) => {
                let connected = self.legs[i].connected;
                self.upstreams.pool.ended(member);
                self.vacate(io, i);
                if let Some(x) = exchange {
                    let gone = match reason {
                        End::Stopping => Gone::Stopping,
                        _ if connected => Gone::Lost,
                        _ => Gone::Unreached(Ended::ConnectFailed),
                    };
                    self.upstream_closed(io, x, gone);
                }
            }
            Role::Probe(place) => self.probe_closed(io, i, place, reason),
            Role::Vacant => {}
        }
    }

    /// Sends what waits on a leg; says whether all of it went.
    fn flush(&mut self, io: &mut Io<'_>, i: usize) -> bool {
        if self.legs[i].tls.is_some() {
            return self.flush_secure(io, i);
        }
        let before = self.legs[i].output.len();
        let flushed = self.legs[i].flush(io);
        self.held -= before - self.legs[i].output.len();
        flushed
    }

    /// Sends what was written to a leg, or keeps it until there is room.
    fn send_staged(&mut self, io: &mut Io<'_>, i: usize, staged: &mut Staged) {
        let before = self.legs[i].output.len();
        if self.legs[i].tls.is_some() {
            self.legs[i].keep(staged);
            self.held += self.legs[i].output.len() - before;
            self.flush_secure(io, i);
            return;
        }
        self.legs[i].send(staged, io);
        self.held += self.legs[i].output.len() - before;
    }

    /// Closes our side of a leg behind everything that was written.
    fn close(&mut self, io: &mut Io<'_>, i: usize) {
        self.legs[i].closes = true;
        self.flush(io, i);
    }

    /// Makes sure that a client's deadline is met.
    fn arm(&mut self, i: usize) {
        self.wheel.arm(i as u32, self.deadline(i));
    }

    #[inline]
    fn new_exchange(&mut self, exchange: Exchange) -> u32 {
        if exchange.edition != Edition::NONE {
            self.listeners.pin(exchange.edition);
        }
        match self.free.pop() {
            Some(x) => {
                self.exchanges[x as usize] = exchange;
                x
            }
            None => {
                self.exchanges.push(exchange);
                self.heads.push(Kept::default());
                self.exchanges.len() as u32 - 1
            }
        }
    }
}

/// How long a peer may take for its PROXY header on a listener without HTTP's times.
const PROXY_PATIENCE: Duration = Duration::from_secs(10);

impl Application for Gateway {
    fn start(&mut self, tcp: &mut Tcp) {
        for step in std::mem::take(&mut self.unstarted) {
            if let Step::Listen { key, at, serves, tls } = step {
                self.listen(tcp, key, at, serves, tls);
            }
        }
    }

    fn handle_event(&mut self, now: Instant, event: Event, tcp: &mut Tcp, out: &mut Outbox) {
        let id = match &event {
            Event::Accepted { id, listener } => {
                return match self.listeners.accepting(*listener) {
                    Some(of) if !matches!(self.listeners.serves(of), Serves::Service) => {
                        self.accept(&mut Io { now, tcp, out }, *id, of);
                    }
                    Some(_) => self.services.handle_event(now, event, tcp, out),
                    // Its listener went while it was being opened.
                    None => tcp.abort(now, *id, out),
                };
            }
            Event::Connected { id }
            | Event::Received { id, .. }
            | Event::PeerClosed { id }
            | Event::Trouble { id, .. }
            | Event::Writable { id }
            | Event::Closed { id, .. } => *id,
        };
        let Some(i) = self.leg(id) else { return self.services.handle_event(now, event, tcp, out) };
        let io = &mut Io { now, tcp, out };
        match event {
            Event::Received { frame, .. } => self.received(io, i, frame),
            Event::PeerClosed { .. } if self.legs[i].tls.is_some() && self.legs[i].awaits_proxy.is_none() => {
                self.secure_ended(io, i);
            }
            Event::PeerClosed { .. } => self.peer_closed(io, i),
            Event::Writable { .. } => self.writable(io, i),
            Event::Connected { .. } => self.connected(io, i),
            Event::Closed { reason, .. } => self.closed(io, i, reason),
            Event::Accepted { .. } | Event::Trouble { .. } => {}
        }
    }

    // Inlined, it makes the loop over events longer and slower.
    #[inline(never)]
    fn touch(&self, tcp: &Tcp) -> u64 {
        let legs = || {
            let received = tcp.events().filter_map(|event| match event {
                Event::Received { id, .. } => Some(id.index()),
                _ => None,
            });
            received.take(BURST_MAX).filter(|&i| i < self.legs.len())
        };
        let read = legs().fold(0, |read, i| read ^ self.legs[i].touch() ^ self.wheel.touch(i as u32));
        // Behind the legs, so that these misses are under way together, too.
        let read = legs().fold(read, |read, i| read ^ self.legs[i].touch_tls());
        // An answer also needs whom it is for.
        let clients = legs().filter(|&i| matches!(self.legs[i].role, Role::Upstream(_))).filter_map(|i| {
            let client = &self.legs[self.exchanges[self.legs[i].exchange? as usize].client as usize];
            client.id.map(|id| (client, id))
        });
        clients.fold(read, |read, (client, id)| {
            read ^ client.touch() ^ client.touch_tls() ^ self.wheel.touch(id.index() as u32) ^ tcp.touch_sender(id)
        })
    }

    fn handle_timers(&mut self, now: Instant, tcp: &mut Tcp, out: &mut Outbox) {
        let io = &mut Io { now, tcp, out };
        // When the clock has jumped all are due at once: the rest has its turn in the next one.
        for _ in 0..TCP_TIMERS_MAX {
            let Some(i) = self.wheel.pop_due(now) else { break };
            let i = i as usize;
            if self.deadline(i) <= now {
                self.expire(io, i);
                // Behind what was answered now another request may wait.
                self.advance_client(io, i);
            }
            if self.legs[i].role != Role::Vacant {
                self.arm(i);
            }
        }
        self.let_retired_go(io);
        self.handle_probes(io);
        for _ in 0..TCP_TIMERS_MAX {
            let Some(member) = self.upstreams.pool.poll_expired(now) else { break };
            let i = self.upstreams.leg(member) as usize;
            self.upstreams.pool.ended(member);
            let id = self.legs[i].id;
            self.vacate(io, i);
            if let Some(id) = id {
                io.tcp.release(id, io.out);
            }
        }
    }

    fn handle_rest(&mut self, now: Instant, is_pressed: bool, tcp: &mut Tcp, out: &mut Outbox) -> bool {
        self.make_step(&mut Io { now, tcp, out }, is_pressed)
    }

    fn next_deadline(&self) -> Instant {
        let upstreams = self.upstreams.pool.next_deadline().min(self.health.next_deadline());
        self.wheel.next_deadline().min(upstreams).min(self.retiring.at).min(self.steps.next_deadline())
    }
    fn held(&self) -> usize {
        self.services.held() + self.held
    }
    fn stop(&mut self, out: &mut Outbox) {
        self.services.stop(out);
        self.listeners.replaced.clear();
        for leg in &mut self.legs {
            leg.clear(out);
        }
        self.steps.clear();
        (self.held, self.partial_bytes) = (0, 0);
    }
}
