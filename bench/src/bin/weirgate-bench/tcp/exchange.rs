//! What an exchange costs: a request of 100 bytes in, the response of 100 bytes out, at four numbers of connections, beside smoltcp.
//!
//! Both servers stand before the same clients ([`super::peer`]) and take turns, A B A B. What the clients cost alone is measured in the same place and
//! subtracted from both.

use super::{
    peer::{BURST, NoServer, Peer, Server},
    smoltcp::{Place, Smoltcp},
};
use std::time::Instant as StdInstant;
use weirgate_bench::{Figure, median};
use weirgate_dataplane::time::Instant;

/// How many connections, and the figures' last word.
const COUNTS: [(usize, &str); 4] = [(1, "1"), (10_000, "10k"), (100_000, "100k"), (1_000_000, "1m")];
const SEED: u64 = 0x7765_6972;

pub(super) fn measure(rounds: usize, seconds: f64) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (count, name) in COUNTS {
        figures.extend(measure_at(count, name, rounds, seconds)?);
    }
    Ok(figures)
}

fn measure_at(count: usize, name: &str, rounds: usize, seconds: f64) -> anyhow::Result<Vec<Figure>> {
    let clock = Clock::start();
    let mut places: Vec<Place<'_>> = (0..count).map(|_| Place::vacant()).collect();
    let mut smoltcp = Side::new(count, &clock, Smoltcp::new(&mut places, SEED))?;
    let mut nothing = Side::new(count, &clock, NoServer::new())?;
    for _ in 0..rounds {
        nothing.round(&clock, seconds)?;
        smoltcp.round(&clock, seconds)?;
    }
    let peer = nothing.ns();
    let theirs = smoltcp.ns() - peer;
    Ok(vec![
        Figure::shown(&format!("tcp.exchange_ns.smoltcp.{name}"), theirs, "ns"),
        Figure::shown(&format!("tcp.exchange_ns.clients.{name}"), peer, "ns"),
    ])
}

/// A server and its clients.
struct Side<S> {
    server: S,
    peer: Peer,
    /// Nanoseconds of an exchange, a round each.
    rounds_ns: Vec<f64>,
}

impl<S: Server> Side<S> {
    fn new(count: usize, clock: &Clock, mut server: S) -> anyhow::Result<Self> {
        let mut peer = Peer::new(0..count as u32, SEED);
        peer.connect(|| clock.now(), &mut server)?;
        let mut side = Self { server, peer, rounds_ns: Vec::new() };
        // Twice around: the first request of a connection is not like the others.
        side.run(clock, 2 * count.div_ceil(BURST))?;
        Ok(side)
    }

    /// At least `seconds`, and at least once around.
    fn round(&mut self, clock: &Clock, seconds: f64) -> anyhow::Result<()> {
        // A tenth to warm up: the other side was here.
        let (mut from, mut exchanges) = (clock.now(), 0);
        let mut warm = false;
        loop {
            exchanges += self.run(clock, 256)?;
            let now = clock.now();
            let ns = now.since(from).as_ns() as f64;
            if !warm && ns > seconds * 1e8 {
                (warm, from, exchanges) = (true, now, 0);
            } else if warm && ns > seconds * 1e9 && exchanges >= self.peer.count() {
                self.rounds_ns.push(ns / exchanges as f64);
                return Ok(());
            }
        }
    }

    /// Some bursts; reads the clock as often as there are 32 exchanges, however many a burst has.
    fn run(&mut self, clock: &Clock, bursts: usize) -> anyhow::Result<usize> {
        let mut exchanges = 0;
        let bursts_a_clock = BURST / BURST.min(self.peer.count());
        for _ in 0..bursts {
            let now = clock.now();
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
pub(super) struct Clock(StdInstant);

impl Clock {
    #[allow(clippy::disallowed_methods)] // a benchmark's edge
    pub(super) fn start() -> Self {
        Self(StdInstant::now())
    }
    pub(super) fn now(&self) -> Instant {
        Instant::from_ns(self.0.elapsed().as_nanos() as u64 + 1_000_000_000)
    }
}
