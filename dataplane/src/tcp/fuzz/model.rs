//! The receive side of one connection as RFC 9293 section 3.10.7.4 describes it, with RFC 5961 and RFC 7323: slow, obvious, and written
//! without a look at the engine. Numbers are offsets from the first one of the peer's text, and of ours.

use crate::time::{Duration, Instant};
use std::collections::BTreeMap;

/// A segment as the model sees it.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) seq: i64,
    pub(super) ack: i64,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    /// The acknowledgment counts.
    pub(super) has_ack: bool,
    pub(super) window: i64,
    pub(super) timestamp: Option<u32>,
    pub(super) text: Vec<u8>,
}

/// What must follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// Nothing at all.
    Silence,
    /// An acknowledgment, at once.
    Ack,
    /// An acknowledgment now or soon.
    Soon,
    /// The connection was reset.
    Reset,
    /// Both sides are done.
    Done,
}

/// The connection.
#[derive(Debug)]
pub(super) struct Model {
    /// The next number that is expected.
    pub(super) next: i64,
    /// The first number that may not come.
    pub(super) edge: i64,
    /// What has come beyond `next`: the first to come stays.
    held: BTreeMap<i64, u8>,
    /// Where the peer's FIN stands, if it has come.
    fin: Option<i64>,
    pub(super) delivered: Vec<u8>,
    pub(super) peer_closed: bool,
    /// Our oldest number that is not acknowledged, and the next one.
    una: i64,
    nxt: i64,
    window_max: i64,
    timestamps: bool,
    recent: u32,
    /// The last number that we have acknowledged.
    pub(super) acked: i64,
    challenge_at: Instant,
    challenge_interval: Duration,
}

impl Model {
    /// Just open. `recent`: the peer's timestamp, if timestamps are on.
    pub(super) fn new(now: Instant, recent: Option<u32>, window: i64, challenge_interval: Duration) -> Self {
        Self {
            next: 0,
            edge: 65_535,
            held: BTreeMap::new(),
            fin: None,
            delivered: Vec::new(),
            peer_closed: false,
            una: 0,
            nxt: 0,
            window_max: window,
            timestamps: recent.is_some(),
            recent: recent.unwrap_or(0),
            acked: 0,
            challenge_at: now,
            challenge_interval,
        }
    }
    /// We have sent our FIN.
    pub(super) fn close(&mut self) {
        self.nxt += 1;
    }
    /// Our FIN is on the way.
    pub(super) fn fin_outstanding(&self) -> bool {
        self.una < self.nxt
    }

    fn challenge(&mut self, now: Instant) -> Due {
        if now < self.challenge_at {
            return Due::Silence;
        }
        self.challenge_at = now + self.challenge_interval;
        Due::Ack
    }

    /// A segment comes.
    pub(super) fn arrive(&mut self, now: Instant, said: &Said) -> Due {
        let len = said.text.len() as i64 + i64::from(said.syn) + i64::from(said.fin);
        // rfc7323 5.3 R1; 3.2: what has none is dropped, but a SYN may be of a peer that has forgotten everything.
        if self.timestamps && !said.rst {
            match said.timestamp {
                Some(value) if (value.wrapping_sub(self.recent) as i32) < 0 => {
                    return if said.syn || len == 0 { self.challenge(now) } else { Due::Ack };
                }
                None if !said.syn => return Due::Silence,
                _ => {}
            }
        }
        // rfc9293 3.10.7.4, first: the four cases of the table.
        let window = if self.peer_closed { 0 } else { self.edge - self.next };
        let inside = |number: i64| self.next <= number && number < self.next + window;
        let acceptable = match (len, window) {
            // One more than the RFC has, on purpose: behind a hole a peer that has filled the window acknowledges from its very edge.
            (0, _) => self.next <= said.seq && said.seq <= self.next + window,
            // rfc9293 3.10.7.4: with a closed window the acknowledgment of the segment that comes next still counts.
            (_, 0) => said.seq == self.next,
            _ => inside(said.seq) || inside(said.seq + len - 1) || (said.seq < self.next && said.seq + len > self.next),
        };
        if !acceptable {
            return match () {
                () if said.rst => Due::Silence,
                () if said.syn || len == 0 => self.challenge(now),
                () => Due::Ack,
            };
        }
        // rfc5961 3.2 and 4.2.
        if said.rst {
            return match said.seq {
                at if at == self.next => Due::Reset,
                at if inside(at) => self.challenge(now),
                _ => Due::Silence,
            };
        }
        if said.syn {
            return self.challenge(now);
        }
        if !said.has_ack {
            return Due::Silence;
        }
        // rfc5961 5.2.
        if said.ack > self.nxt || said.ack < self.una - self.window_max {
            return self.challenge(now);
        }
        if let Some(value) = said.timestamp
            && self.timestamps
            && said.seq <= self.acked
        {
            self.recent = value;
        }
        if said.ack >= self.una {
            self.window_max = self.window_max.max(said.window);
        }
        let fin_acked = said.ack > self.una && said.ack == self.nxt;
        self.una = self.una.max(said.ack);
        if fin_acked && self.peer_closed {
            return Due::Done;
        }
        self.take_text(said, len)
    }

    fn take_text(&mut self, said: &Said, len: i64) -> Due {
        if len == 0 {
            return Due::Silence;
        }
        if self.peer_closed {
            return Due::Ack;
        }
        let before = self.next;
        for (at, byte) in (said.seq..).zip(&said.text) {
            if at >= self.next && at < self.edge && self.fin.is_none_or(|fin| at < fin) {
                self.held.entry(at).or_insert(*byte);
            }
        }
        let end = said.seq + said.text.len() as i64;
        // A FIN right behind the window is taken, so that a sender who has filled it need not ask. One before text that has come already is a lie.
        let fin = said.fin && end <= self.edge;
        if fin && end > self.next && self.held.range(end..).next().is_none() {
            self.fin.get_or_insert(end);
        }
        let in_order = said.seq == before && !said.fin && self.held.keys().next_back() == Some(&(end - 1));
        while let Some(byte) = self.held.remove(&self.next) {
            self.delivered.push(byte);
            self.next += 1;
        }
        // If it comes next it is believed, and what lies behind it is the lie.
        if self.fin == Some(self.next) || (fin && end == self.next) {
            self.held.clear();
            self.next += 1;
            self.peer_closed = true;
            let ours_is_done = self.nxt > 0 && self.una == self.nxt;
            return if ours_is_done { Due::Done } else { Due::Ack };
        }
        if in_order { Due::Soon } else { Due::Ack }
    }
}
