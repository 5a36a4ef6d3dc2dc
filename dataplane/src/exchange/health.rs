//! Active health checks: endpoints are asked whether they are well, over connections of our own stack, from the addresses that requests come from too.
//!
//! ```text
//!   due ---> connect ---> TCP: well                           `healthy` good ones in a row: well
//!                    ---> HTTP: GET ---> status ---> well, or not     `unhealthy` bad ones in a row: ill
//!               refused, closed, malformed, late ---> not       the first one decides alone
//! ```
//! One worker probes for all of them. What it finds goes to the link, whose planner tells every worker, this one too: so all of them know the same.

use super::{
    Gateway,
    leg::{Io, Leg, Role},
};
use crate::{
    counters::Counter,
    drops::named,
    http::{
        Side,
        h1::{Asked, Limits, Receiver, Step},
    },
    limits::{HEALTH_ANSWER_MAX, PROBES_AT_ONCE},
    port::Frame,
    route::BackendIndex,
    snapshot::{HealthCheck, Probe as Kind},
    tcp::End,
    time::{Duration, Instant},
};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    fmt::Write,
    net::SocketAddr,
    sync::Arc,
};

named! {
    /// What a probe has found.
    Found {
        /// All is well.
        Well = "well",
        /// The connection was refused.
        Refused = "refused",
        /// No answer in time.
        Timeout = "timeout",
        /// The endpoint closed without an answer.
        Closed = "closed",
        /// The answer has another status than one that is expected.
        Status = "status",
        /// The answer is no HTTP, or too long.
        Malformed = "malformed",
        /// No TLS connection came of it.
        Insecure = "insecure",
        /// There was no connection to be had here.
        NoConnection = "no_connection",
    }
}

/// An endpoint has become well, or is no longer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HealthChange {
    pub(super) backend: BackendIndex,
    /// The endpoint.
    pub address: SocketAddr,
    /// It gets no requests from now on.
    pub is_ill: bool,
    /// What its last probe found.
    pub found: Found,
}

/// All probes of a worker.
pub(super) struct Health {
    /// Whether this is the worker that probes.
    pub(super) is_on: bool,
    backends: HashMap<BackendIndex, Probed>,
    probes: Vec<Option<Probe>>,
    vacant: Vec<u32>,
    /// When a probe begins, or has taken too long.
    due: BinaryHeap<Reverse<(Instant, u32, u32)>>,
    changes: VecDeque<HealthChange>,
    random: fastrand::Rng,
}

struct Probed {
    checks: Arc<[HealthCheck]>,
    targets: Vec<Target>,
}

struct Target {
    address: SocketAddr,
    /// As it was told.
    is_ill: bool,
    /// By check.
    probes: Vec<u32>,
}

/// Which endpoint of which backend.
#[derive(Clone, Copy)]
struct Place {
    backend: BackendIndex,
    target: u32,
    address: SocketAddr,
}

/// One check of one endpoint.
struct Probe {
    backend: BackendIndex,
    /// Its endpoint's place in the list.
    target: u32,
    address: SocketAddr,
    check: HealthCheck,
    is_ill: bool,
    /// None has ended yet.
    is_first: bool,
    /// In a row, that say otherwise than what is known.
    against: u32,
    /// Which deadline counts: one with another number is nothing any more.
    deadline: u32,
    leg: Option<u32>,
    answer: Vec<u8>,
}

impl Health {
    pub(super) fn new(is_on: bool, seed: u64) -> Self {
        Self {
            is_on,
            backends: HashMap::new(),
            probes: Vec::new(),
            vacant: Vec::new(),
            due: BinaryHeap::new(),
            changes: VecDeque::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// These endpoints are probed from now on, and no others of this backend. Connections of probes that are over are given back.
    pub(super) fn put(
        &mut self,
        now: Instant,
        backend: BackendIndex,
        checks: &Arc<[HealthCheck]>,
        members: impl Iterator<Item = (SocketAddr, bool)>,
    ) -> Vec<u32> {
        if !self.is_on || checks.is_empty() {
            return self.remove(backend);
        }
        let before = self.backends.remove(&backend);
        let known: HashSet<_> = before.iter().flat_map(|it| &it.targets).map(|it| it.address).collect();
        let (mut olds, mut ended) = (HashMap::new(), Vec::new());
        match before {
            Some(it) if it.checks == *checks => olds.extend(it.targets.into_iter().map(|it| (it.address, it))),
            Some(it) => it.targets.iter().for_each(|it| self.end(it, &mut ended)),
            None => {}
        }
        let mut targets = Vec::new();
        for (address, is_ill) in members {
            let target = targets.len() as u32;
            targets.push(match olds.remove(&address) {
                Some(old) => {
                    for probe in &old.probes {
                        self.probes[*probe as usize].as_mut().expect("a target has its probes").target = target;
                    }
                    Target { is_ill, ..old }
                }
                None => {
                    let is_first = !known.contains(&address);
                    let begin = |check: &HealthCheck| {
                        self.begin(now, Place { backend, target, address }, check, is_ill, is_first)
                    };
                    Target { address, is_ill, probes: checks.iter().map(begin).collect() }
                }
            });
        }
        olds.values().for_each(|it| self.end(it, &mut ended));
        self.backends.insert(backend, Probed { checks: Arc::clone(checks), targets });
        ended
    }

    pub(super) fn remove(&mut self, backend: BackendIndex) -> Vec<u32> {
        let mut ended = Vec::new();
        if let Some(it) = self.backends.remove(&backend) {
            it.targets.iter().for_each(|it| self.end(it, &mut ended));
        }
        ended
    }

    fn begin(&mut self, now: Instant, at: Place, check: &HealthCheck, is_ill: bool, is_first: bool) -> u32 {
        let Place { backend, target, address } = at;
        let probe = Probe {
            backend,
            target,
            address,
            check: check.clone(),
            is_ill,
            is_first,
            against: 0,
            deadline: 0,
            leg: None,
            answer: Vec::new(),
        };
        let place = self.vacant.pop().unwrap_or(self.probes.len() as u32);
        if place as usize == self.probes.len() {
            self.probes.push(None);
        }
        self.probes[place as usize] = Some(probe);
        // Soon, but not all at once.
        let spread = check.interval_ms.min(1_000) * 1_000;
        let delay = Duration::from_us(self.random.u64(..spread));
        self.arm(place, now + delay);
        place
    }

    fn end(&mut self, target: &Target, ended: &mut Vec<u32>) {
        for &place in &target.probes {
            ended.extend(self.probes[place as usize].take().and_then(|it| it.leg));
            self.vacant.push(place);
        }
    }

    fn arm(&mut self, place: u32, at: Instant) {
        if let Some(probe) = &mut self.probes[place as usize] {
            // Whoever has the place next does not hear of deadlines of whoever had it before.
            probe.deadline = self.random.u32(..);
            self.due.push(Reverse((at, place, probe.deadline)));
        }
        // Deadlines that were not needed lie there until they come: not more of them than of others.
        if self.due.len() > 4 * self.probes.len() + 64 {
            let probes = &self.probes;
            let is_valid =
                |place: u32, deadline| probes[place as usize].as_ref().is_some_and(|it| it.deadline == deadline);
            self.due.retain(|Reverse((_, place, deadline))| is_valid(*place, *deadline));
        }
    }

    fn pop_due(&mut self, now: Instant) -> Option<u32> {
        while let Some(&Reverse((at, place, deadline))) = self.due.peek() {
            if at > now {
                return None;
            }
            self.due.pop();
            if self.probes[place as usize].as_ref().is_some_and(|it| it.deadline == deadline) {
                return Some(place);
            }
        }
        None
    }

    pub(super) fn next_deadline(&self) -> Instant {
        self.due.peek().map_or(Instant::NEVER, |Reverse((at, ..))| *at)
    }

    /// All workers have been told this of an endpoint. If probes say otherwise, that is news.
    pub(super) fn told(&mut self, backend: BackendIndex, place: u32, is_ill: bool) {
        let probed = self.backends.get_mut(&backend);
        if let Some(target) = probed.and_then(|it| it.targets.get_mut(place as usize)) {
            target.is_ill = is_ill;
        }
    }

    /// A probe has ended. What it says about its endpoint is told if it is news.
    fn found(&mut self, now: Instant, place: u32, found: Found) {
        let Some(probe) = &mut self.probes[place as usize] else { return };
        let is_bad = found != Found::Well;
        probe.leg = None;
        probe.answer = Vec::new();
        if found == Found::NoConnection {
            // That says something about us.
        } else if is_bad == probe.is_ill {
            probe.against = 0;
        } else {
            probe.against += 1;
            let enough = if is_bad { probe.check.unhealthy } else { probe.check.healthy };
            if probe.is_first || probe.against >= enough {
                (probe.is_ill, probe.against) = (is_bad, 0);
            }
        }
        probe.is_first &= found == Found::NoConnection;
        let interval_us = probe.check.interval_ms * 1_000;
        let (backend, target, address) = (probe.backend, probe.target, probe.address);
        let shorter = self.random.u64(..=interval_us / 10);
        self.arm(place, now + Duration::from_us(interval_us - shorter));
        let Some(probed) = self.backends.get_mut(&backend) else { return };
        let Some(target) = probed.targets.get_mut(target as usize) else { return };
        let any_ill = target.probes.iter().any(|it| self.probes[*it as usize].as_ref().is_some_and(|it| it.is_ill));
        if any_ill != target.is_ill {
            target.is_ill = any_ill;
            self.changes.push_back(HealthChange { backend, address, is_ill: any_ill, found });
        }
    }
}

impl Gateway {
    /// The next endpoint that has become well, or is no longer.
    pub fn poll_health(&mut self) -> Option<HealthChange> {
        self.health.changes.pop_front()
    }

    pub(super) fn handle_probes(&mut self, io: &mut Io<'_>) {
        for _ in 0..PROBES_AT_ONCE {
            let Some(place) = self.health.pop_due(io.now) else { return };
            let leg = self.health.probes[place as usize].as_ref().and_then(|it| it.leg);
            match leg {
                None => self.begin_probe(io, place),
                Some(i) => self.end_probe(io, i as usize, place, Found::Timeout),
            }
        }
    }

    fn begin_probe(&mut self, io: &mut Io<'_>, place: u32) {
        let Some(probe) = &self.health.probes[place as usize] else { return };
        io.out.counters.count(Counter::HealthProbes);
        let timeout = Duration::from_ms(probe.check.timeout_ms);
        match self.upstreams.connect(io, probe.address) {
            Ok(id) => {
                let i = self.place(id);
                let receiver = Receiver::new(Side::Client, Limits::default());
                let secures = self.probed_group(place).and_then(|group| self.upstreams.tls(group));
                self.legs[i] = Leg { id: Some(id), role: Role::Probe(place), receiver, secures, ..Leg::vacant() };
                self.health.probes[place as usize].as_mut().expect("just looked").leg = Some(i as u32);
                self.health.arm(place, io.now + timeout);
            }
            Err(_) => self.note_found(io, place, Found::NoConnection),
        }
    }

    pub(super) fn probe_connected(&mut self, io: &mut Io<'_>, i: usize, place: u32) {
        let Some(probe) = &self.health.probes[place as usize] else { return };
        let Kind::Http { path, host, .. } = &probe.check.probe else {
            return self.end_probe(io, i, place, Found::Well);
        };
        let mut head = String::with_capacity(256);
        match host {
            Some(host) => write!(head, "GET {path} HTTP/1.1\r\nhost: {host}\r\n"),
            None => write!(head, "GET {path} HTTP/1.1\r\nhost: {}\r\n", probe.address),
        }
        .expect("a string takes all");
        head.push_str("user-agent: weirgate-health\r\nconnection: close\r\n\r\n");
        let Some(mut frame) = io.out.make() else {
            return self.end_probe(io, i, place, Found::NoConnection);
        };
        if frame.append_slice(head.as_bytes()).is_err() {
            io.out.consume(frame);
            return self.end_probe(io, i, place, Found::NoConnection);
        }
        self.legs[i].receiver.expect(Asked::Content);
        self.legs[i].output.push(frame);
        self.held += 1;
        self.flush(io, i);
    }

    /// The group whose endpoint is probed.
    fn probed_group(&self, place: u32) -> Option<u32> {
        let probe = self.health.probes[place as usize].as_ref()?;
        self.upstreams.group_of(probe.backend)
    }

    /// What its TLS has opened.
    pub(super) fn probe_opened(&mut self, io: &mut Io<'_>, i: usize, place: u32) {
        while self.legs[i].role == Role::Probe(place)
            && let Some(frame) = self.legs[i].input.pop()
        {
            self.held -= 1;
            self.probe_received(io, i, place, frame);
        }
    }

    pub(super) fn probe_received(&mut self, io: &mut Io<'_>, i: usize, place: u32, frame: Frame) {
        let Some(probe) = &mut self.health.probes[place as usize] else { return self.spend(io, i, frame) };
        if probe.answer.len() + frame.head().len() > HEALTH_ANSWER_MAX {
            self.spend(io, i, frame);
            return self.end_probe(io, i, place, Found::Malformed);
        }
        probe.answer.extend_from_slice(frame.head());
        self.spend(io, i, frame);
        let Some(probe) = &mut self.health.probes[place as usize] else { return };
        let Kind::Http { expect, .. } = &probe.check.probe else { return };
        let found = loop {
            match self.legs[i].receiver.step(&probe.answer, &mut self.spans) {
                Ok(Step::Head { len, .. }) => {
                    let status = self.spans.response(&probe.answer[..len]).status();
                    if status >= 200 {
                        break if expect.contains(&status) { Found::Well } else { Found::Status };
                    }
                    probe.answer.drain(..len);
                }
                Ok(Step::NeedMore { .. }) => return,
                Ok(_) | Err(_) => break Found::Malformed,
            }
        };
        self.end_probe(io, i, place, found);
    }

    /// A probe's connection is over, or nobody asks any more.
    pub(super) fn probe_closed(&mut self, io: &mut Io<'_>, i: usize, place: u32, reason: End) {
        let found = match reason {
            End::Refused => Found::Refused,
            End::TimedOut => Found::Timeout,
            _ => Found::Closed,
        };
        self.vacate(io, i);
        if reason != End::Stopping {
            self.note_found(io, place, found);
        }
    }

    pub(super) fn end_probe(&mut self, io: &mut Io<'_>, i: usize, place: u32, found: Found) {
        self.let_go(io, i);
        self.note_found(io, place, found);
    }

    /// Ends the connections of probes that nobody wants any more.
    pub(super) fn end_probes(&mut self, io: &mut Io<'_>, legs: &[u32]) {
        legs.iter().for_each(|leg| self.let_go(io, *leg as usize));
    }

    fn let_go(&mut self, io: &mut Io<'_>, i: usize) {
        let id = self.legs[i].id;
        self.vacate(io, i);
        if let Some(id) = id {
            // What it still says is of no interest, and it has been told that nothing follows.
            io.tcp.abort(io.now, id, io.out);
        }
    }

    fn note_found(&mut self, io: &mut Io<'_>, place: u32, found: Found) {
        if found != Found::Well {
            io.out.counters.count(Counter::HealthProbesFailed);
        }
        self.health.found(io.now, place, found);
    }
}
