//! Established clients, every other one of which speaks TLS, while others come to shake hands: how long requests take in a quiet world and in a flood.
//!
//! The clock goes on by what the worker's turns take. Requests come one by one at random times; a backend takes a while for its answer. What comes while
//! a turn lasts waits for the next one, as in a device's ring.

use super::{
    World,
    peers::{Peers, Visitor, client_of},
    world::millis,
};
use anyhow::{Context, ensure};
use fastrand::Rng;
use std::collections::{HashMap, VecDeque};
use weirgate_dataplane::{
    counters::Counter,
    port::Pool,
    time::{Duration, Instant},
};

const CLIENTS: usize = 1_024;
/// The part of the core that requests take.
const LOAD: f64 = 0.5;
/// What a backend takes for its answer.
const BACKEND: Duration = Duration::from_us(500);

/// What was found.
pub(crate) struct Found {
    /// Microseconds, quiet and flooded: the 99th percentile of requests in plaintext and over TLS, the backend's time included.
    pub(crate) p99_us: [[f64; 2]; 2],
    /// Handshakes in a second that the core can do and nothing else, that came, and that came to their end.
    pub(crate) capacity: f64,
    pub(crate) asked: f64,
    pub(crate) done: f64,
}

/// What the backend takes, in microseconds.
pub(crate) fn backend_us() -> f64 {
    BACKEND.as_us() as f64
}

/// `seconds` of the world's time of each.
pub(crate) fn measure(pool: &Pool, seconds: f64) -> anyhow::Result<Found> {
    let mut world = World::with_secure(Peers::new(CLIENTS), pool, CLIENTS, 2)?;
    world.exchange(3 * CLIENTS)?;
    let (ns, exchanges) = world.exchange(20 * CLIENTS)?;
    while world.peers.under_way() > 0 {
        world.step(0, world.peers.asked().min(16))?;
    }
    let capacity = 1e9 / world.handshake_ns as f64;
    let rate = LOAD * exchanges as f64 / ns as f64 * 1e9;
    let mut flood = Flood::new(world, rate);
    let quiet = flood.run(seconds, 0.0)?;
    let before = flood.world.worker.counters().counter(Counter::TlsHandshakes);
    let flooded = flood.run(seconds, 2.0 * capacity)?;
    let done = flood.world.worker.counters().counter(Counter::TlsHandshakes) - before;
    Ok(Found { p99_us: [quiet, flooded], capacity, asked: 2.0 * capacity, done: done as f64 / seconds })
}

struct Flood {
    world: World,
    random: Rng,
    /// Requests in a second.
    rate: f64,
    asked_at: Vec<Instant>,
    /// When backends answer what they were asked.
    answers: VecDeque<Instant>,
    visitors: HashMap<usize, Visitor>,
    came: usize,
}

impl Flood {
    fn new(mut world: World, rate: f64) -> Self {
        world.peers.heard = Some(Vec::new());
        let (asked_at, answers, visitors) = (vec![Instant::ZERO; CLIENTS], VecDeque::new(), HashMap::new());
        Self { world, random: Rng::with_seed(1), rate, asked_at, answers, visitors, came: 0 }
    }

    /// Time to the next of those that come so often in a second.
    fn gap(&mut self, rate: f64) -> Duration {
        Duration::from_ns((-self.random.f64().max(1e-12).ln() / rate * 1e9) as u64)
    }

    fn run(&mut self, seconds: f64, visits: f64) -> anyhow::Result<[f64; 2]> {
        let end = self.world.now + Duration::from_ns((seconds * 1e9) as u64);
        let mut request_at = self.world.now;
        let mut visit_at = if visits > 0.0 { self.world.now } else { Instant::NEVER };
        let mut took: [Vec<f64>; 2] = Default::default();
        let mut frame = Vec::new();
        let mut replies: Vec<Vec<u8>> = Vec::new();
        while self.world.now < end {
            let now = self.world.now;
            let mut arrived = !replies.is_empty();
            for reply in replies.drain(..).chain(std::mem::take(&mut self.world.peers.replies)) {
                self.world.arrive(&reply)?;
            }
            while request_at <= now && self.world.peers.under_way() < CLIENTS {
                self.asked_at[self.world.peers.next().id()] = request_at;
                self.world.peers.request(millis(now), &mut frame);
                self.world.arrive(&frame)?;
                request_at = request_at + self.gap(self.rate);
                arrived = true;
            }
            while self.answers.front().is_some_and(|at| *at <= now) {
                self.answers.pop_front();
                self.world.peers.answer(millis(now), &mut frame);
                self.world.arrive(&frame)?;
                arrived = true;
            }
            while visit_at <= now {
                let shake = self.world.peers.secure.as_ref().context("TLS")?.begin()?;
                let id = CLIENTS + self.came;
                let (visitor, syn) = Visitor::come(id, shake, millis(now));
                self.visitors.insert(id, visitor);
                self.world.arrive(&syn)?;
                self.came += 1;
                visit_at = visit_at + self.gap(visits);
                arrived = true;
            }
            if !arrived {
                let next = request_at.min(visit_at).min(self.answers.front().copied().unwrap_or(Instant::NEVER));
                if self.world.worker.next_deadline() > now {
                    self.world.now = next.min(self.world.worker.next_deadline()).max(now + Duration::from_ns(50));
                }
            }
            self.world.turn();
            self.take(&mut replies, &mut took)?;
        }
        ensure!(took.iter().all(|took| took.len() >= 1_000), "too few requests for a percentile");
        Ok(took.map(|mut took| {
            took.sort_by(f64::total_cmp);
            took[took.len() * 99 / 100]
        }))
    }

    /// What the gateway has sent.
    fn take(&mut self, replies: &mut Vec<Vec<u8>>, took: &mut [Vec<f64>; 2]) -> anyhow::Result<()> {
        let now = self.world.now;
        while let Some(frame) = self.world.worker.port_mut(0).take_sent() {
            match client_of(frame.head()).filter(|id| *id >= CLIENTS) {
                Some(id) => {
                    let Some(visitor) = self.visitors.get_mut(&id) else { continue };
                    if visitor.take(millis(now), frame.head(), replies)?.is_none() {
                        self.visitors.remove(&id);
                    }
                }
                None => {
                    let asked = self.world.peers.asked();
                    self.world.peers.take(millis(now), frame.head())?;
                    for _ in asked..self.world.peers.asked() {
                        self.answers.push_back(now + BACKEND);
                    }
                }
            }
        }
        for id in std::mem::take(self.world.peers.heard.as_mut().context("somebody counts")?) {
            // Every other one of them speaks TLS: see `make_secure`.
            took[usize::from(id % 2 == 0)].push(now.since(self.asked_at[id]).as_ns() as f64 / 1e3);
        }
        Ok(())
    }
}
