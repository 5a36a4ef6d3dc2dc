//! Whole transfers over a link that delays, loses, reorders and duplicates, to a receiver with SACK, DSACK, timestamps and delayed
//! acknowledgements. After each event it is checked that a timer runs and that nothing was sent again without a reason.

use super::*;
use std::{cmp::Reverse, collections::BinaryHeap};

const MSS: u32 = 1_448;
const DELAYED_ACK: u64 = 40_000;

/// What a link does. Probabilities are per packet and in each direction.
#[derive(Clone, Debug)]
struct Link {
    /// One way, microseconds.
    delay: u64,
    /// Up to so much more, which reorders.
    jitter: u64,
    /// Between two packets, microseconds: the bottleneck.
    gap: u64,
    loss: f64,
    ack_loss: f64,
    duplicate: f64,
    sack: bool,
    timestamps: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: 10_000,
            jitter: 0,
            gap: 0,
            loss: 0.0,
            ack_loss: 0.0,
            duplicate: 0.0,
            sack: true,
            timestamps: true,
        }
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    Data { from: u64, to: u64, stamp: u64 },
    Ack { ack: u64, blocks: Vec<(u64, u64)>, echo: u64 },
    DelayedAck,
}

/// Offsets in the stream; the numbers on the wire begin elsewhere.
#[derive(Default)]
struct Receiver {
    rcv_nxt: u64,
    /// Held beyond it, the most recently changed first.
    held: Vec<(u64, u64)>,
    unacked: u32,
    /// TS.Recent, and Last.ACK.sent, RFC 7323.
    recent: u64,
    last_ack: u64,
    duplicates: u64,
}

impl Receiver {
    /// Takes a segment; returns the DSACK block, and whether to acknowledge at once.
    fn take(&mut self, from: u64, to: u64, stamp: u64) -> (Option<(u64, u64)>, bool) {
        if from <= self.last_ack && stamp >= self.recent {
            self.recent = stamp;
        }
        let is_old = to <= self.rcv_nxt || self.held.iter().any(|held| held.0 <= from && to <= held.1);
        if is_old {
            self.duplicates += 1;
            return (Some((from, to)), true);
        }
        if from > self.rcv_nxt {
            let (mut l, mut r) = (from, to);
            self.held.retain(|&(a, b)| {
                let apart = b < l || a > r;
                if !apart {
                    (l, r) = (l.min(a), r.max(b));
                }
                apart
            });
            self.held.insert(0, (l, r));
            return (None, true);
        }
        self.rcv_nxt = to;
        let fills = !self.held.is_empty();
        while let Some(i) = self.held.iter().position(|held| held.0 <= self.rcv_nxt) {
            self.rcv_nxt = self.rcv_nxt.max(self.held.remove(i).1);
        }
        self.unacked += 1;
        (None, fills || self.unacked >= 2)
    }
}

/// What came of it.
#[derive(Debug)]
struct Transfer {
    us: u64,
    sent: u64,
    lost: u64,
    reasons: Vec<Resend>,
    timeouts: u32,
    undone: u32,
    duplicates: u64,
}

struct World {
    link: Link,
    random: fastrand::Rng,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    link_free_at: u64,
    iss: Seq,
    recovery: Recovery,
    rtt: Rtt,
    cc: Congestion,
    /// How much of the stream was sent.
    nxt: u64,
    bytes: u64,
    receiver: Receiver,
    result: Transfer,
}

impl World {
    fn new(link: Link, seed: u64, cc: Congestion, bytes: u64) -> Self {
        let iss = Seq(seed as u32 ^ 0xffff_f000);
        let sack = link.sack;
        Self {
            link,
            random: fastrand::Rng::with_seed(seed),
            now: 4_294_000_000,
            events: BinaryHeap::new(),
            order: 0,
            link_free_at: 0,
            iss,
            recovery: Recovery::new(iss, sack, Reordering::default()),
            rtt: Rtt::new(),
            cc,
            nxt: 0,
            bytes,
            receiver: Receiver::default(),
            result: Transfer { us: 0, sent: 0, lost: 0, reasons: Vec::new(), timeouts: 0, undone: 0, duplicates: 0 },
        }
    }

    fn stamp(&self) -> Stamp {
        Stamp(self.now as u32)
    }
    fn post(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order, event)));
    }
    fn pass(&mut self, loss: f64, event: &Event) {
        let copies = 1 + u32::from(self.random.f64() < self.link.duplicate);
        for _ in 0..copies {
            let jitter = if self.link.jitter == 0 { 0 } else { self.random.u64(0..self.link.jitter) };
            if self.random.f64() < loss {
                self.result.lost += u64::from(matches!(event, Event::Data { .. }));
            } else {
                let mut at = self.now;
                if matches!(event, Event::Data { .. }) {
                    self.link_free_at = self.link_free_at.max(self.now) + self.link.gap;
                    at = self.link_free_at;
                }
                self.post(at + self.link.delay + jitter, event.clone());
            }
        }
    }
    fn transmit(&mut self, from: u64, to: u64) {
        self.result.sent += 1;
        self.pass(self.link.loss, &Event::Data { from, to, stamp: self.now / 1_000 });
    }

    fn offset(&self, seq: Seq) -> u64 {
        let una = u64::from(self.recovery.scoreboard().outstanding());
        self.nxt - una + u64::from(seq - self.recovery.scoreboard().una())
    }
    fn resend(&mut self, seq: Seq, len: u32) {
        let from = self.offset(seq);
        let reason = self.recovery.on_retransmitted(self.stamp(), seq, seq + len);
        self.result.reasons.push(reason);
        self.transmit(from, from + u64::from(len));
    }
    fn send_new(&mut self) {
        let len = u64::from(MSS).min(self.bytes - self.nxt);
        self.recovery.on_sent(self.stamp(), len as u32, &self.cc);
        self.nxt += len;
        self.transmit(self.nxt - len, self.nxt);
    }
    fn pump(&mut self) {
        loop {
            let quota = self.recovery.quota(&self.cc);
            if let Some((seq, len)) = self.recovery.next_retransmission() {
                if quota < len {
                    return;
                }
                self.resend(seq, len);
            } else if self.nxt < self.bytes && quota >= MSS && self.recovery.may_send_new() {
                self.send_new();
            } else {
                return;
            }
        }
    }

    fn acknowledge(&mut self, dsack: Option<(u64, u64)>) {
        let receiver = &mut self.receiver;
        (receiver.unacked, receiver.last_ack) = (0, receiver.rcv_nxt);
        let mut blocks: Vec<_> = dsack.into_iter().chain(receiver.held.iter().copied()).take(3).collect();
        if !self.link.sack {
            blocks.clear();
        }
        let (ack, echo) = (receiver.rcv_nxt, receiver.recent);
        self.pass(self.link.ack_loss, &Event::Ack { ack, blocks, echo });
    }
    fn handle(&mut self, event: Event) {
        match event {
            Event::Data { from, to, stamp } => match self.receiver.take(from, to, stamp) {
                (dsack, true) => self.acknowledge(dsack),
                (_, false) => self.post(self.now + DELAYED_ACK, Event::DelayedAck),
            },
            Event::DelayedAck if self.receiver.unacked > 0 => self.acknowledge(None),
            Event::DelayedAck => {}
            Event::Ack { ack, blocks, echo } => self.take_ack(ack, &blocks, echo),
        }
    }
    fn take_ack(&mut self, ack: u64, blocks: &[(u64, u64)], echo: u64) {
        let una = self.nxt - u64::from(self.recovery.scoreboard().outstanding());
        if ack < una {
            return;
        }
        let seq = |offset: u64| self.iss + offset as u32;
        let blocks: Vec<_> = blocks.iter().map(|&(l, r)| (seq(l), seq(r))).collect();
        let info = AckInfo {
            now: self.stamp(),
            ack: seq(ack),
            blocks: &blocks,
            echo: self.link.timestamps.then_some(Stamp((echo * 1_000 + 999) as u32)),
            is_duplicate: ack == una,
            ece: false,
        };
        let outcome = self.recovery.on_ack(&info, &mut self.rtt, &mut self.cc);
        self.result.undone += u32::from(outcome.spurious);
        self.pump();
    }
    fn expire(&mut self) {
        let has_new = self.nxt < self.bytes;
        match self.recovery.on_timer(self.stamp(), has_new, &mut self.rtt, &mut self.cc) {
            Action::Nothing | Action::LossesMarked { .. } => {}
            Action::ProbeNewData => self.send_new(),
            Action::ProbeLast(seq, len) => self.resend(seq, len),
            Action::RtoExpired => self.result.timeouts += 1,
        }
        self.pump();
    }

    /// Runs until everything is acknowledged.
    fn run(mut self, limit_us: u64) -> Transfer {
        let began = self.now;
        let mut steps = 0;
        self.pump();
        while self.nxt < self.bytes || !self.recovery.scoreboard().is_empty() {
            let deadline = self.recovery.deadline(&self.rtt);
            let timer_at = deadline.map(|(_, at)| self.now + u64::from(at.since(self.stamp())));
            assert!(timer_at.is_some(), "stuck: {:?}, {} of {}", self.recovery, self.nxt, self.bytes);
            let event_at = self.events.peek().map(|Reverse((at, ..))| *at);
            match (timer_at, event_at) {
                (Some(timer_at), event_at) if event_at.is_none_or(|at| timer_at < at) => {
                    self.now = timer_at;
                    self.expire();
                }
                _ => {
                    let Reverse((at, _, event)) = self.events.pop().unwrap();
                    self.now = at;
                    self.handle(event);
                }
            }
            steps += 1;
            assert!(steps < 10_000_000, "going in circles: {:?}", self.recovery);
            assert!(self.now - began < limit_us, "too long: {:?} {:?}", self.recovery, self.result);
        }
        assert_eq!(self.receiver.rcv_nxt, self.bytes);
        let new = self.bytes.div_ceil(u64::from(MSS));
        assert_eq!(self.result.sent, new + self.result.reasons.len() as u64, "each retransmission has a reason");
        self.result.us = self.now - began;
        self.result.duplicates = self.receiver.duplicates;
        self.result
    }
}

fn cubic() -> Congestion {
    Congestion::Cubic(Cubic::new(MSS as u16))
}
fn newreno() -> Congestion {
    Congestion::NewReno(NewReno::new(MSS as u16))
}
fn segments(count: u64) -> u64 {
    count * u64::from(MSS)
}
const HOUR: u64 = 3_600_000_000;

#[test]
fn a_clean_link_sends_nothing_twice() {
    for cc in [cubic(), newreno()] {
        let transfer = World::new(Link { gap: 120, ..Link::default() }, 1, cc, segments(20_000)).run(HOUR);
        assert_eq!((transfer.reasons.len(), transfer.timeouts), (0, 0));
        // The bottleneck's 20,000 * 120 us and slow start.
        assert!(transfer.us < 3_000_000, "{} us", transfer.us);
    }
}

#[test]
fn at_one_percent_loss_throughput_is_that_of_the_formula() {
    let (mut sent, mut rounds) = (0, 0.0);
    for seed in 0..8 {
        let link = Link { loss: 0.01, ..Link::default() };
        let transfer = World::new(link, seed, cubic(), segments(20_000)).run(HOUR);
        sent += 20_000;
        rounds += transfer.us as f64 / 20_000.0;
        assert!(transfer.timeouts <= 8, "{} timeouts", transfer.timeouts);
        assert!(transfer.duplicates < transfer.reasons.len() as u64 / 20, "{} for nothing", transfer.duplicates);
        assert!((transfer.reasons.len() as u64) < transfer.lost + transfer.lost / 20 + 20);
    }
    let window = f64::from(sent) / rounds;
    // 1.2 / sqrt(p) segments a round trip.
    assert!(window >= 12.0, "{window} segments a round trip");
    assert!(window <= 18.0, "{window} segments a round trip: too greedy");
}

#[test]
fn reordering_costs_little_once_it_was_seen() {
    // Up to a fifth of the round trip.
    let link = Link { jitter: 4_000, gap: 100, ..Link::default() };
    let transfer = World::new(link, 3, cubic(), segments(20_000)).run(HOUR);
    assert!(transfer.reasons.len() < 200, "{} of 20,000 sent again", transfer.reasons.len());
    assert!(transfer.us < 5_000_000, "{} us", transfer.us);
}

#[test]
fn every_transfer_finishes() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let link = Link {
            delay: random.u64(20..60_000),
            jitter: if random.bool() { random.u64(0..30_000) } else { 0 },
            gap: random.u64(0..1_000),
            loss: random.f64() * 0.3,
            ack_loss: random.f64() * 0.3,
            duplicate: if random.bool() { random.f64() * 0.1 } else { 0.0 },
            sack: random.u8(0..4) > 0,
            timestamps: random.bool(),
        };
        let cc = if random.bool() { cubic() } else { newreno() };
        let bytes = random.u64(1..segments(400));
        World::new(link, seed, cc, bytes).run(HOUR);
    }
}

#[test]
fn a_short_response_over_a_lossy_link_rarely_waits_for_a_timeout() {
    let (mut timeouts, mut lossy) = (0, 0);
    for seed in 0..500 {
        let link = Link { loss: 0.05, ..Link::default() };
        let transfer = World::new(link, seed, cubic(), segments(10)).run(HOUR);
        timeouts += transfer.timeouts;
        lossy += u32::from(transfer.lost > 0);
    }
    assert!(timeouts * 10 < lossy, "{timeouts} timeouts in {lossy} lossy transfers");
}
