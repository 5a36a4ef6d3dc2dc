//! A gateway between clients and endpoints that a test speaks for, byte by byte: all three are real engines, the wire between them is memory.
//!
//! ```text
//!   test: says, heard, closes, resets
//!     Ends (our TCP at 10.0.0.2: clients; 10.0.0.11 ..: endpoints)  <-- frames, faults -->  Worker<SimPort, Gateway> at 10.0.0.1
//! ```
//! Nothing waits: when no frame is on its way the clock goes to the next deadline.

mod ends;
mod talk;

pub use ends::{Conn, Ends};
pub use talk::{Talk, over};

use fastrand::Rng;
use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use weirgate_dataplane::{
    counters::{Counter, Gauge},
    exchange::{Gateway, GatewayOptions, HealthChange, Home, Planner, Record},
    limits::TAPS_MAX,
    link::message::{ExchangeRecord, Refusal, TapFilter},
    net::{Cidr, EthernetAddress, Interface, PortIndex, Topology},
    port::{Capabilities, Offloads, Pool, SimPort},
    route::{Backend as Share, Route, Rule, Rules},
    snapshot::{Backend, HttpListener, Snapshot, TcpListener},
    time::{Duration, Instant},
    worker::{Mailboxes, Worker, WorkerOptions},
};

/// What the wire does to frames, in thousandths.
#[derive(Clone, Copy, Default, Debug)]
pub struct Faults {
    /// Not delivered.
    pub lost: u16,
    /// Delivered twice.
    pub doubled: u16,
    /// Delivered behind the next one.
    pub late: u16,
}

/// The gateway, its peers, and the wire.
pub struct Legs {
    gateway: Worker<SimPort, Gateway>,
    planner: Planner,
    peers: Worker<SimPort, Ends>,
    pools: [Pool; 2],
    now: Instant,
    /// Frames under way, towards the gateway and towards the peers.
    wires: [VecDeque<(Instant, Vec<u8>)>; 2],
    /// What the wire does.
    pub faults: Faults,
    random: Rng,
}

/// The gateway's address.
pub const GATEWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

/// Endpoint `n`, from 0, on port 8080.
pub fn endpoint(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 11 + n], 8080))
}

/// Frames of each side.
pub const FRAMES: usize = 16_384;
/// Seconds of 1970 at the beginning: 2030-03-17.
pub const TIME_OF_DAY: u64 = 1_900_000_000;
const DELAY: Duration = Duration::from_us(50);

impl Legs {
    /// A gateway of this snapshot, such as [`gateway`] makes.
    pub fn new(snapshot: &Snapshot, seed: u64) -> Self {
        Self::at_home(snapshot, seed, Home::default())
    }

    /// The same for a worker that answers find only by some source ports.
    pub fn at_home(snapshot: &Snapshot, seed: u64, home: Home) -> Self {
        Self::planned(snapshot, seed, home, Planner::default())
    }

    /// The same with what this planner makes of the snapshot.
    pub fn planned(snapshot: &Snapshot, seed: u64, home: Home, mut planner: Planner) -> Self {
        let pools = [Pool::heap(FRAMES), Pool::heap(FRAMES)];
        let options = |addresses: &[[u8; 4]], last: u8, pool: &Pool| {
            let interface = Interface {
                port: PortIndex(0),
                vlan: None,
                mac: EthernetAddress([2, 0, 0, 0, 0, last]),
                mtu: 1_500,
                offloads: Offloads::default(),
                addresses: addresses.iter().map(|a| Cidr { address: IpAddr::from(*a), prefix: 24 }).collect(),
            };
            WorkerOptions {
                index: 0,
                pool: pool.clone(),
                topology: Arc::new(Topology::new(vec![interface], Vec::new()).expect("a topology")),
                mailboxes: Mailboxes::new(1),
                seed: seed ^ u64::from(last),
                connections_max: 4_096,
                services: Vec::new(),
                verify_rss: false,
            }
        };
        let port = |last| vec![SimPort::new(Capabilities::plain("p0", [2, 0, 0, 0, 0, last], 1_500))];
        let gateway_options =
            GatewayOptions { seed, connections_max: 4_096, home, keeps_records: true, probes: true, gives_work: false };
        planner.set_time_of_day(TIME_OF_DAY);
        let first = planner.plan(snapshot.clone()).expect("a sound snapshot");
        let gateway = Gateway::planned(first, gateway_options);
        let gateway = Worker::with(port(1), options(&[[10, 0, 0, 1]], 1, &pools[0]), gateway);
        let addresses = [[10, 0, 0, 2], [10, 0, 0, 11], [10, 0, 0, 12], [10, 0, 0, 13]];
        let peers = Worker::with(port(2), options(&addresses, 2, &pools[1]), Ends::new(8080));
        let random = Rng::with_seed(seed);
        Self {
            gateway,
            planner,
            peers,
            pools,
            now: Instant::from_ns(1_000_000),
            wires: Default::default(),
            faults: Faults::default(),
            random,
        }
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A client that connects to a port of the gateway's.
    pub fn client(&mut self, port: u16) -> Conn {
        let (ends, tcp, _) = self.peers.application_mut();
        ends.connect(self.now, tcp, SocketAddr::new(GATEWAY, port))
    }

    /// Says bytes on a connection of either kind.
    pub fn says(&mut self, conn: Conn, bytes: &[u8]) {
        let (ends, tcp, out) = self.peers.application_mut();
        ends.says(conn, bytes, tcp, out);
    }

    /// Closes the peer's side, behind what it has said.
    pub fn closes(&mut self, conn: Conn) {
        let (ends, tcp, out) = self.peers.application_mut();
        ends.closes(conn, tcp, out);
    }

    /// A deaf peer takes again what comes.
    pub fn listens(&mut self, conn: Conn) {
        let (ends, tcp, _) = self.peers.application_mut();
        ends.listens(conn, tcp);
    }

    /// Resets a connection.
    pub fn resets(&mut self, conn: Conn) {
        let (ends, tcp, out) = self.peers.application_mut();
        ends.resets(conn, self.now, tcp, out);
    }

    /// Endpoints take no more connections: a SYN is answered with a reset.
    pub fn refuses(&mut self) {
        let (ends, tcp, _) = self.peers.application_mut();
        ends.unlisten(tcp);
    }

    /// What the peers' end of everything knows.
    pub fn ends(&mut self) -> &mut Ends {
        self.peers.application_mut().0
    }

    /// The next record.
    pub fn record(&mut self) -> Option<Record> {
        self.gateway.application_mut().0.poll_record()
    }

    /// Somebody watches exchanges in this slot, or no longer.
    ///
    /// # Errors
    /// What the filter asks for and there is not.
    pub fn taps(&mut self, slot: usize, filter: Option<&TapFilter>) -> Result<(), String> {
        let tapping = filter.map(|filter| self.planner.plan_tap(filter)).transpose()?;
        self.gateway.application_mut().0.tap(slot, tapping);
        Ok(())
    }

    /// The next exchange that somebody wants, and the slots of those who do.
    pub fn tapped(&mut self) -> Option<(ExchangeRecord, Vec<usize>)> {
        let tapped = self.gateway.application_mut().0.poll_tapped()?;
        let slots = (0..TAPS_MAX).filter(|slot| tapped.is_wanted_by(*slot)).collect();
        Some((self.planner.name_tapped(*tapped, 0, &self.planner.names()), slots))
    }

    /// Tells the gateway the time of day, in seconds of 1970.
    pub fn tells_time(&mut self, unix: u64) {
        self.gateway.application_mut().0.set_time_of_day(self.now, unix);
    }

    /// The gateway's worker, to look at.
    pub fn gateway(&self) -> &Worker<SimPort, Gateway> {
        &self.gateway
    }

    /// The gateway serves another snapshot from now on, or says why not.
    pub fn serves(&mut self, snapshot: &Snapshot) -> Result<(), Refusal> {
        for piece in self.planner.plan(snapshot.clone())?.pieces() {
            self.gateway.update(self.now, piece);
            self.step(self.now);
        }
        Ok(())
    }

    /// Probes have found an endpoint of a backend ill, or well.
    pub fn finds(&mut self, backend: &str, address: SocketAddr, is_ill: bool) {
        let Some(change) = self.planner.health_of(backend, address, is_ill) else { return };
        self.takes_health(&[change]);
    }

    fn takes_health(&mut self, changes: &[HealthChange]) {
        let named = self.planner.name_health(changes);
        if let Some(update) = self.planner.plan_health(&named) {
            self.gateway.update(self.now, update);
        }
    }

    /// What probes have found goes the way that it goes in a data plane.
    pub fn tells_health(&mut self) -> Vec<(SocketAddr, bool)> {
        let mut told = Vec::new();
        while let Some(change) = self.gateway.application_mut().0.poll_health() {
            told.push((change.address, change.is_ill));
            self.takes_health(&[change]);
        }
        told
    }

    /// The gateway sends its clients elsewhere, or no longer.
    pub fn drains(&mut self, drains: bool) {
        let update = self.planner.plan_drain(drains);
        self.gateway.update(self.now, update);
    }

    /// What the gateway keeps of this snapshot and of earlier ones: editions of listeners, backends, endpoints.
    pub fn kept(&mut self) -> (usize, usize, usize) {
        self.gateway.application_mut().0.kept()
    }

    /// What stands above the gateway's TCP.
    pub fn application(&mut self) -> &mut Gateway {
        self.gateway.application_mut().0
    }

    /// Exchanges that are under way.
    pub fn exchanges(&mut self) -> usize {
        self.gateway.application_mut().0.exchanges()
    }

    /// Lets everything happen that happens by itself, without waiting for any timer that is further off than `patience`.
    pub fn settles(&mut self, patience: Duration) {
        let until = self.now + patience;
        while self.step(until) {}
    }

    /// The same, until nothing but keeping time is left to do within some milliseconds.
    pub fn runs(&mut self) {
        self.settles(Duration::from_ms(60));
    }

    /// One turn of both; then the clock goes on to what is next. `false`: that is after `until`.
    pub fn step(&mut self, until: Instant) -> bool {
        let moved = self.gateway.turn(self.now).moved | self.peers.turn(self.now).moved;
        self.check();
        let taken = self.take(0) | self.take(1);
        let delivered = self.deliver();
        if moved || taken || delivered {
            return true;
        }
        let arrival = self.wires.iter().filter_map(|wire| wire.front()).map(|(at, _)| *at).min();
        let next = self.gateway.next_deadline().min(self.peers.next_deadline());
        let next = arrival.map_or(next, |at| at.min(next)).max(self.now + Duration::from_us(1));
        if next > until {
            self.now = until;
            return false;
        }
        self.now = next;
        true
    }

    /// Takes what one side has sent to the wire.
    fn take(&mut self, side: usize) -> bool {
        let mut any = false;
        loop {
            let sent =
                if side == 0 { self.peers.port_mut(0).take_sent() } else { self.gateway.port_mut(0).take_sent() };
            let Some(frame) = sent else { return any };
            any = true;
            let bytes = frame.to_vec();
            drop(frame);
            let mut chance = |of: u16| of > 0 && self.random.u16(0..1_000) < of;
            let (lost, doubled, late) =
                (chance(self.faults.lost), chance(self.faults.doubled), chance(self.faults.late));
            let delay = if late { Duration::from_us(900) } else { DELAY };
            if doubled {
                self.put(side, self.now + DELAY + DELAY, bytes.clone());
            }
            if !lost {
                self.put(side, self.now + delay, bytes);
            }
        }
    }

    fn put(&mut self, side: usize, at: Instant, bytes: Vec<u8>) {
        let wire = &mut self.wires[side];
        let place = wire.iter().rposition(|(other, _)| *other <= at).map_or(0, |n| n + 1);
        wire.insert(place, (at, bytes));
    }

    fn deliver(&mut self) -> bool {
        let mut any = false;
        for side in 0..2 {
            while self.wires[side].front().is_some_and(|(at, _)| *at <= self.now) {
                let (_, bytes) = self.wires[side].pop_front().expect("just looked");
                any = true;
                let Some(mut frame) = self.pools[side].alloc() else { continue };
                frame.append_slice(&bytes).expect("a frame has room for an MTU");
                let port = if side == 0 { self.gateway.port_mut(0) } else { self.peers.port_mut(0) };
                port.arrive(frame);
            }
        }
        any
    }

    /// What must hold after each turn.
    fn check(&mut self) {
        let counters = self.gateway.counters();
        let came = counters.counter(Counter::RxFrames) + counters.counter(Counter::MadeFrames);
        let went = counters.counter(Counter::TxFrames)
            + counters.counter(Counter::ConsumedFrames)
            + counters.counter(Counter::DroppedFrames);
        assert_eq!(came, went + self.gateway.held() as u64, "each frame ends once");
        if let Err(fault) = self.gateway.tcp().check(self.now) {
            panic!("{fault}");
        }
    }

    /// Ends every connection of the peers and lets all times pass: nothing is left in the gateway.
    pub fn ends_clean(mut self) {
        let (ends, tcp, out) = self.peers.application_mut();
        ends.reset_all(self.now, tcp, out);
        self.faults = Faults::default();
        self.settles(Duration::from_secs(400));
        let left = self.gateway.application_mut().0.exchanges();
        assert_eq!(left, 0, "no exchange is left");
        assert_eq!(self.gateway.held(), 0, "no frame is left");
        self.gateway.publish(self.now, &[]);
        assert_eq!(self.gateway.counters().gauge(Gauge::TcpConnections), 0, "no connection is left");
        assert_eq!(self.gateway.pool().in_use(), 0, "no buffer is left");
    }
}

/// A rule that sends everything to the one backend.
pub fn to_backend() -> Rule {
    Rule { backends: vec![Share { backend: "b".into(), weight: 1 }], ..Rule::default() }
}

/// HTTP on port 80 by these rules, and port 9000 passed on, both to one backend. The `dataplane` block does not matter.
pub fn gateway(rules: Vec<Rule>, backend: Backend) -> Snapshot {
    let text = r#"{"format": 1, "name": "test", "dataplane": {"cores": [0], "ports": [
        {"name": "p0", "device": "af_packet:x", "addresses": ["10.0.0.1/24"]}]}}"#;
    let route = Route { name: "all".into(), rules, ..Route::default() };
    let rules = Rules { hostname: None, routes: vec![Arc::new(route)] };
    let raw = TcpListener {
        name: "raw".into(),
        address: None,
        port: 9_000,
        proxy_protocol: None,
        tls: None,
        names: Vec::new(),
        idle_ms: 60_000,
        backends: to_backend().backends,
    };
    let snapshot = Snapshot {
        backends: vec![backend],
        http: vec![HttpListener::new("web", 80, rules)],
        tcp: vec![raw],
        ..Snapshot::from_json(text).expect("a snapshot")
    };
    snapshot.check().expect("a sound snapshot");
    snapshot
}
