//! One worker with the gateway, and its peers.
//!
//! ```text
//!   peers write 16 requests and 16 answers  ->  port  ->  [ Worker::turn ]  ->  port  ->  peers read what was sent
//!   not timed                                             timed                           not timed
//! ```
//! The clock goes on by what the worker's turns have taken, as if the peers were other machines that take no time. So no timer goes off that would not
//! with a worker that is busy all the time.

use super::{
    http,
    peers::{LISTENER, OURS, Peers, ROUTER_ADDRESS, arp_request},
    secure::{self, Secure, TIME_OF_DAY},
};
use anyhow::{Context, ensure};
use rustix::time::{ClockId, clock_gettime};
use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::Instant as StdInstant,
};
use weirgate_dataplane::{
    counters::Counter,
    exchange::{Gateway, GatewayOptions, Home, Planner},
    net::{Cidr, EthernetAddress, Interface, InterfaceIndex, PortIndex, Route, Topology},
    port::{Capabilities, Checksum, Offloads, Pool, RxMeta, SimPort},
    snapshot::Certificate,
    time::{Duration, Instant},
    worker::{Mailboxes, Worker, WorkerOptions},
};

/// Requests that arrive together, and as many answers: a burst of 32 frames.
const HALF_BURST: usize = 16;
/// Clients that connect at a time.
const CONNECTING: usize = 4_096;
/// How often each connection exchanges before anything is measured.
const ROUNDS_TO_LEARN: usize = 3;
/// Connections that may stand besides in a world with TLS.
const VISITORS: usize = 16_384;
const SEED: u64 = 0x7765_6972;

pub(crate) struct World {
    pub(super) worker: Worker<SimPort, Gateway>,
    pool: Pool,
    pub(super) peers: Peers,
    under_way_max: usize,
    pub(super) now: Instant,
    frame: Vec<u8>,
    /// What the last handshake took in the gateway.
    pub(super) handshake_ns: u64,
    /// Nanoseconds.
    clock: fn() -> u64,
}

/// The time that goes by.
#[allow(clippy::disallowed_methods)] // a benchmark's edge
pub(crate) fn wall_ns() -> u64 {
    static BEGIN: LazyLock<StdInstant> = LazyLock::new(StdInstant::now);
    BEGIN.elapsed().as_nanos() as u64
}

/// The time that this thread has had: where other programs take theirs, it tells us apart from them, but reading it takes longer.
pub(crate) fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl World {
    /// All clients are connected and have exchanged some times.
    pub(crate) fn start(pool: &Pool, clients: usize, under_way_max: usize, clock: fn() -> u64) -> anyhow::Result<Self> {
        Self::learn(Self::with(Peers::new(clients), pool, under_way_max, clock)?)
    }

    /// The same, and all clients speak TLS; by this thread's time.
    pub(crate) fn start_secure(pool: &Pool, clients: usize, under_way_max: usize) -> anyhow::Result<Self> {
        Self::learn(Self::with_secure(Peers::new(clients), pool, under_way_max, 1)?)
    }

    fn learn(mut world: Self) -> anyhow::Result<Self> {
        let clients = world.peers.count();
        for _ in 0..ROUNDS_TO_LEARN {
            world.exchange(clients)?;
        }
        (world.peers.acks, world.peers.strays) = (0, 0);
        Ok(world)
    }

    /// All clients are connected.
    pub(super) fn with(peers: Peers, pool: &Pool, under_way_max: usize, clock: fn() -> u64) -> anyhow::Result<Self> {
        let now = Instant::from_ns(1_000_000_000);
        let worker = worker(pool.clone(), peers.count() + 2 * under_way_max, None);
        let mut world =
            Self { worker, pool: pool.clone(), peers, under_way_max, now, frame: Vec::new(), handshake_ns: 0, clock };
        world.connect_all()?;
        world.peers.shuffle();
        Ok(world)
    }

    /// The same, and every `nth` client speaks TLS.
    pub(super) fn with_secure(mut peers: Peers, pool: &Pool, under_way_max: usize, nth: usize) -> anyhow::Result<Self> {
        let clock = cpu_ns;
        let now = Instant::from_ns(1_000_000_000);
        let certificate = secure::certificate()?;
        peers.make_secure(nth);
        let mut secure = Secure::new(peers.count(), &certificate)?;
        let worker = worker(pool.clone(), peers.count() + 2 * under_way_max + VISITORS, Some(certificate));
        peers.secure = None;
        let mut world =
            Self { worker, pool: pool.clone(), peers, under_way_max, now, frame: Vec::new(), handshake_ns: 0, clock };
        world.connect_all()?;
        for client in (0..world.peers.count()).step_by(nth) {
            world.shake_hands(client, &mut secure)?;
        }
        let done = world.worker.counters().counter(Counter::TlsHandshakes);
        ensure!(done == world.peers.count().div_ceil(nth) as u64, "{done} handshakes came to an end");
        world.peers.secure = Some(secure);
        world.peers.shuffle();
        Ok(world)
    }

    /// A client's handshake.
    fn shake_hands(&mut self, client: usize, secure: &mut Secure) -> anyhow::Result<()> {
        let (mut shake, mut ns) = (secure.begin()?, 0);
        for turns in 0.. {
            ensure!(turns < 100, "a handshake that does not end");
            let segments = self.peers.shake(client, &mut shake, millis(self.now))?;
            let is_last = segments.is_empty() && shake.is_over();
            for segment in std::mem::take(&mut self.peers.replies).into_iter().chain(segments) {
                self.arrive(&segment)?;
            }
            ns += self.turn();
            let mut is_quiet = true;
            while let Some(frame) = self.worker.port_mut(0).take_sent() {
                is_quiet = false;
                self.peers.take_shake(client, &mut shake, frame.head())?;
            }
            if is_last && is_quiet {
                break;
            }
        }
        let ack = self.peers.ack(client, millis(self.now));
        self.arrive(&ack)?;
        self.turn();
        self.handshake_ns = ns;
        secure.end(client, shake)
    }

    /// At least `seconds` of the worker's time, and at least once around. Gives nanoseconds of an exchange.
    pub(crate) fn round(&mut self, seconds: f64) -> anyhow::Result<f64> {
        let (mut ns, mut exchanges) = (0, 0);
        while exchanges < self.peers.count() || (ns as f64) < seconds * 1e9 {
            let (took, count) = self.exchange(1_024)?;
            ns += took;
            exchanges += count;
        }
        Ok(ns as f64 / exchanges as f64)
    }

    /// What was not as an exchange should be.
    pub(crate) fn report(&self) -> String {
        let (asked, answered) = self.peers.lens;
        format!(
            "requests of {asked} bytes and answers of {answered} went on; {} segments without data, {} strays",
            self.peers.acks, self.peers.strays
        )
    }

    /// Bytes of a request that goes on, and of an answer that comes back.
    pub(crate) fn lens(&self) -> (usize, usize) {
        self.peers.lens
    }

    /// At least so many exchanges; gives nanoseconds, and how many they were.
    pub(super) fn exchange(&mut self, count: usize) -> anyhow::Result<(u64, usize)> {
        let (before, mut ns, mut idle) = (self.peers.answered, 0, 0);
        while self.peers.answered - before < count {
            let (answered, room) = (self.peers.answered, self.under_way_max - self.peers.under_way());
            let is_full = room <= HALF_BURST;
            let answers = if is_full { self.peers.asked().min(HALF_BURST) } else { 0 };
            ns += self.step(room.min(HALF_BURST), answers)?;
            idle = if self.peers.answered == answered { idle + 1 } else { 0 };
            ensure!(idle < 1_000, "the gateway does not answer: {}", self.report());
        }
        Ok((ns, self.peers.answered - before))
    }

    /// Everybody exchanges once, everything is answered, acknowledged, and silent for a while.
    pub(super) fn settle(&mut self) -> anyhow::Result<()> {
        self.exchange(self.peers.count())?;
        while self.peers.under_way() > 0 {
            self.step(0, self.peers.asked().min(HALF_BURST))?;
        }
        for client in 0..self.peers.count() {
            let ack = self.peers.ack(client, millis(self.now));
            self.arrive(&ack)?;
            if client % 32 == 31 {
                self.turn();
            }
        }
        let silent = self.now + Duration::from_secs(10);
        while self.now < silent {
            self.now = self.now + Duration::from_ms(1);
            self.step(0, 0)?;
        }
        Ok(())
    }

    /// One turn with so many requests and answers. Gives its nanoseconds.
    pub(super) fn step(&mut self, requests: usize, answers: usize) -> anyhow::Result<u64> {
        let now = millis(self.now);
        for reply in std::mem::take(&mut self.peers.replies) {
            self.arrive(&reply)?;
        }
        let mut frame = std::mem::take(&mut self.frame);
        for i in 0..requests.max(answers) {
            if i < requests {
                self.peers.request(now, &mut frame);
                self.arrive(&frame)?;
            }
            if i < answers {
                self.peers.answer(now, &mut frame);
                self.arrive(&frame)?;
            }
        }
        self.frame = frame;
        let ns = self.turn();
        let now = millis(self.now);
        while let Some(frame) = self.worker.port_mut(0).take_sent() {
            self.peers.take(now, frame.head())?;
        }
        Ok(ns)
    }

    /// As a device hands it over.
    pub(super) fn arrive(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut frame = self.pool.alloc().context("the pool is empty")?;
        frame.append_slice(bytes).ok().context("room")?;
        frame.set_rx_meta(RxMeta { ip_checksum: Checksum::Good, l4_checksum: Checksum::Good, rss_hash: None });
        self.worker.port_mut(0).arrive(frame);
        Ok(())
    }

    /// What is timed.
    pub(super) fn turn(&mut self) -> u64 {
        let from = (self.clock)();
        self.worker.turn(self.now);
        let ns = (self.clock)() - from;
        self.now = self.now + Duration::from_ns(ns);
        ns
    }

    fn connect_all(&mut self) -> anyhow::Result<()> {
        self.peers.replies.push(arp_request());
        self.step(0, 0)?;
        self.connect()
    }

    /// The clients connect. Their round trip is not shorter than the time between their requests will be, or timers that have learned nothing else
    /// go off.
    fn connect(&mut self) -> anyhow::Result<()> {
        let count = self.peers.count();
        let round_trip = Duration::from_us(2 * count as u64);
        for first in (0..count).step_by(CONNECTING) {
            let clients = first..(first + CONNECTING).min(count);
            for client in clients.clone() {
                let syn = self.peers.syn(client, millis(self.now));
                self.arrive(&syn)?;
                self.turn();
                while let Some(answer) = self.worker.port_mut(0).take_sent() {
                    self.peers.take_syn_ack(client, answer.head())?;
                }
            }
            self.now = self.now + round_trip;
            for client in clients {
                let ack = self.peers.ack(client, millis(self.now));
                self.arrive(&ack)?;
                self.turn();
            }
        }
        self.step(0, 0)?;
        ensure!(self.peers.acks + self.peers.strays == 0, "answers to the last ACKs of handshakes");
        Ok(())
    }
}

/// The timestamp clock of the peers.
pub(super) fn millis(now: Instant) -> u32 {
    (now.as_ns() / 1_000_000) as u32
}

fn worker(pool: Pool, connections_max: usize, certificate: Option<Certificate>) -> Worker<SimPort, Gateway> {
    let offloads = Offloads { ipv4_checksum: true, l4_checksum: true, ..Offloads::default() };
    let home = Home::default();
    let mut planner = Planner::default();
    planner.set_time_of_day(TIME_OF_DAY);
    let gateway = Gateway::planned(
        planner.plan(http::snapshot(certificate)).expect("a sound snapshot"),
        GatewayOptions { seed: SEED, connections_max, home, keeps_records: false, probes: false, gives_work: false },
    );
    let options = WorkerOptions {
        index: 0,
        pool,
        topology: Arc::new(topology(offloads)),
        mailboxes: Mailboxes::new(1),
        seed: SEED,
        connections_max,
        services: Vec::new(),
        verify_rss: false,
    };
    let port = SimPort::new(Capabilities { offloads, ..Capabilities::plain("p0", OURS, 1_500) });
    Worker::with(vec![port], options, gateway)
}

/// One interface, and a router for everything.
fn topology(offloads: Offloads) -> Topology {
    let interface = Interface {
        port: PortIndex(0),
        vlan: None,
        mac: EthernetAddress(OURS),
        mtu: 1_500,
        offloads,
        addresses: vec![Cidr { address: IpAddr::from(LISTENER.0), prefix: 24 }],
    };
    let to = Cidr { address: IpAddr::from([0, 0, 0, 0]), prefix: 0 };
    let via = Some(IpAddr::from(ROUTER_ADDRESS));
    let route = Route { to, interface: InterfaceIndex(0), via };
    Topology::new(vec![interface], vec![route]).expect("one interface and one route")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_over_tls_is_four_segments_too() {
        let mut world = World::start_secure(&Pool::heap(8_192), 100, 64).unwrap();
        let counted = world.worker.counters().counter(Counter::RxFrames);
        let (_, exchanges) = world.exchange(640).unwrap();
        assert_eq!(world.worker.counters().counter(Counter::RxFrames) - counted, 2 * exchanges as u64);
        assert_eq!((world.peers.acks, world.peers.strays), (0, 0));
        let (asked, answered) = World::start(&Pool::heap(8_192), 100, 64, wall_ns).unwrap().lens();
        assert_eq!(world.lens(), (asked + "s".len(), answered), "backends are told of https");
    }

    #[test]
    fn an_exchange_is_four_segments_and_every_client_has_its_turn() {
        let mut world = World::start(&Pool::heap(8_192), 100, 64, wall_ns).unwrap();
        assert!(world.peers.answered >= 300);
        let (rx, tx) = (Counter::RxFrames, Counter::TxFrames);
        let count = |world: &World| [rx, tx].map(|counter| world.worker.counters().counter(counter));
        let (before, answered, asked) = (count(&world), world.peers.answered, world.peers.asked());
        let (_, exchanges) = world.exchange(640).unwrap();
        let after = count(&world);
        assert_eq!(world.peers.answered - answered, exchanges);
        assert_eq!(world.peers.asked(), asked, "as many are under way as before");
        assert_eq!([after[0] - before[0], after[1] - before[1]], [2 * exchanges as u64; 2]);
        assert_eq!((world.peers.acks, world.peers.strays), (0, 0));
    }
}
