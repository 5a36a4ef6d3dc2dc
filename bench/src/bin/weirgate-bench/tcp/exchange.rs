//! What an exchange costs: a request of 100 bytes in, the response of 100 bytes out, at four numbers of connections, beside smoltcp.
//!
//! Both servers stand before the same clients ([`super::peer`]) and take turns, A B A B. What the clients cost alone is measured in the same place and
//! subtracted from both. smoltcp is handed requests where they lie; what a device does to bring them into frames for us is subtracted too.

use super::{
    ours::{Device, Ours},
    peer::{BURST, NoServer, Peer, Server},
    smoltcp::{Place, Smoltcp},
};
use std::time::{Duration as StdDuration, Instant as StdInstant};
use weirgate_bench::{Figure, median};
use weirgate_dataplane::{
    port::Pool,
    time::{Duration, Instant},
};

/// How many connections, and the figures' last word.
const COUNTS: [(usize, &str); 4] = [(1, "1"), (10_000, "10k"), (100_000, "100k"), (1_000_000, "1m")];
/// How often each connection exchanges before anything is measured: the first times are not like the others.
const ROUNDS_TO_LEARN: usize = 3;
const SEED: u64 = 0x7765_6972;

pub(super) fn measure(pool: &Pool, rounds: usize, seconds: f64) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (count, name) in COUNTS {
        figures.extend(measure_at(pool, count, name, rounds, seconds)?);
    }
    Ok(figures)
}

fn measure_at(pool: &Pool, count: usize, name: &str, rounds: usize, seconds: f64) -> anyhow::Result<Vec<Figure>> {
    let mut ours = Side::new(count, Ours::new(pool.clone(), SEED))?;
    let mut places: Vec<Place<'_>> = (0..count).map(|_| Place::vacant()).collect();
    let mut smoltcp = Side::new(count, Smoltcp::new(&mut places, SEED))?;
    let mut nothing = Side::new(count, NoServer::new())?;
    let mut device = Side::new(count, Device::new(pool.clone()))?;
    for _ in 0..rounds {
        device.round(seconds)?;
        nothing.round(seconds)?;
        ours.round(seconds)?;
        smoltcp.round(seconds)?;
    }
    eprintln!(
        "{count} connections: {} segments of ours and {} of smoltcp's were no response",
        ours.peer.strays, smoltcp.peer.strays
    );
    let (peer, with_device) = (nothing.ns(), device.ns());
    let (ours, theirs) = (ours.ns() - with_device, smoltcp.ns() - peer);
    Ok(vec![
        Figure::at_most(&format!("tcp.exchange_vs_smoltcp.{name}"), ours / theirs, "ratio", 0.5),
        Figure::shown(&format!("tcp.exchange_ns.{name}"), ours, "ns"),
        Figure::shown(&format!("tcp.exchange_smoltcp_ns.{name}"), theirs, "ns"),
        Figure::shown(&format!("tcp.exchange_clients_ns.{name}"), peer, "ns"),
        Figure::shown(&format!("tcp.exchange_device_ns.{name}"), with_device - peer, "ns"),
    ])
}

/// What an exchange costs on our side alone.
pub(crate) fn ours_ns(pool: &Pool, count: usize, rounds: usize, seconds: f64) -> anyhow::Result<f64> {
    let mut ours = Side::new(count, Ours::new(pool.clone(), SEED))?;
    let mut device = Side::new(count, Device::new(pool.clone()))?;
    for _ in 0..rounds {
        device.round(seconds)?;
        ours.round(seconds)?;
    }
    Ok(ours.ns() - device.ns())
}

/// A server and its clients.
struct Side<S> {
    server: S,
    peer: Peer,
    /// Stands still while other sides run, or timers would go off.
    clock: Clock,
    /// Nanoseconds of an exchange, a round each.
    rounds_ns: Vec<f64>,
}

impl<S: Server> Side<S> {
    fn new(count: usize, mut server: S) -> anyhow::Result<Self> {
        let mut clock = Clock::start();
        let mut peer = Peer::new(0..count as u32, SEED);
        // The round trip of an exchange is how long it takes to go around. That of the handshake must not be shorter, or timers that have
        // learned nothing else go off before the next request comes.
        let round_trip = Duration::from_us(2 * count as u64);
        peer.connect(&mut clock, round_trip, &mut server)?;
        let mut side = Self { server, peer, clock, rounds_ns: Vec::new() };
        for _ in 0..ROUNDS_TO_LEARN {
            side.run(count.div_ceil(BURST))?;
        }
        side.clock.stop();
        side.peer.strays = 0;
        Ok(side)
    }

    /// At least `seconds`, and at least once around.
    fn round(&mut self, seconds: f64) -> anyhow::Result<()> {
        self.clock.go_on();
        // A tenth to warm up: the other side was here.
        let (mut from, mut exchanges) = (self.clock.now(), 0);
        let mut warm = false;
        loop {
            exchanges += self.run(256)?;
            let now = self.clock.now();
            let ns = now.since(from).as_ns() as f64;
            if !warm && ns > seconds * 1e8 {
                (warm, from, exchanges) = (true, now, 0);
            } else if warm && ns > seconds * 1e9 && exchanges >= self.peer.count() {
                self.rounds_ns.push(ns / exchanges as f64);
                self.clock.stop();
                return Ok(());
            }
        }
    }

    /// Some bursts; reads the clock as often as there are 32 exchanges, however many a burst has.
    fn run(&mut self, bursts: usize) -> anyhow::Result<usize> {
        let mut exchanges = 0;
        let bursts_a_clock = BURST / BURST.min(self.peer.count());
        for _ in 0..bursts {
            let now = self.clock.now();
            for _ in 0..bursts_a_clock {
                exchanges += self.peer.exchange(now, &mut self.server)?;
            }
        }
        Ok(exchanges)
    }

    fn ns(&self) -> f64 {
        median(self.rounds_ns.clone()).unwrap_or(f64::NAN)
    }
}

/// The time since the start, a little later than zero.
pub(super) struct Clock {
    start: StdInstant,
    stopped_at: StdInstant,
}

#[allow(clippy::disallowed_methods)] // a benchmark's edge
impl Clock {
    pub(super) fn start() -> Self {
        let start = StdInstant::now();
        Self { start, stopped_at: start }
    }
    pub(super) fn now(&self) -> Instant {
        Instant::from_ns(self.start.elapsed().as_nanos() as u64 + 1_000_000_000)
    }
    /// Jumps ahead.
    pub(super) fn skip(&mut self, time: Duration) {
        self.start -= StdDuration::from_nanos(time.as_ns());
    }
    fn stop(&mut self) {
        self.stopped_at = StdInstant::now();
    }
    /// The time since it was stopped has not been.
    fn go_on(&mut self) {
        self.start += self.stopped_at.elapsed();
    }
}
