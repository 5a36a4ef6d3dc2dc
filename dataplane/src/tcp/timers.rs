//! Time in a connection. Each has one place in the wheel, armed for its earliest deadline; when it is woken it looks which are due.

use super::{
    Event, Tcp, Trouble,
    connection::{End, Marks, State},
    half_open::Due,
    options::GIVE_UP,
    recovery::Action,
    seq::Seq,
    stamp::Stamp,
};
use crate::{
    counters::Counter,
    limits::{TCP_RETRIES_BLACK_HOLE, TCP_TIMERS_MAX},
    outbox::Outbox,
    time::{Duration, Instant},
};

/// Everything that a connection may wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Timer {
    /// Our SYN or SYN-ACK is to be repeated.
    Syn,
    /// Losses are found (RACK), the tail is probed (TLP), or the oldest segment is sent again (RTO), as `recovery` decides.
    Transmit,
    /// The peer's closed window is to be probed.
    Persist,
    /// An acknowledgment has waited long enough.
    DelayedAck,
    /// The silent peer is asked whether it is there.
    Keepalive,
    /// Lingering, or waiting for the peer's FIN, is over.
    Close,
    /// A narrow path is tried wider.
    Widen,
}

impl Timer {
    pub(super) const ALL: [Self; 7] =
        [Self::Syn, Self::Transmit, Self::Persist, Self::DelayedAck, Self::Keepalive, Self::Close, Self::Widen];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Syn => "syn",
            Self::Transmit => "transmit",
            Self::Persist => "persist",
            Self::DelayedAck => "delayed_ack",
            Self::Keepalive => "keepalive",
            Self::Close => "close",
            Self::Widen => "widen",
        }
    }
}

/// A stamp tells moments apart that are less than 35 minutes away.
const WAKE_STAMP_MAX: Duration = Duration::from_secs(1_800);
/// Timeouts in a row that are worth a word.
pub(super) const R1: u8 = 3;

/// The time at which a timer is due, but not after patience is over that began at `since`.
pub(super) fn not_after(now: Instant, at: Stamp, since: Instant, patience: Duration) -> Stamp {
    let over_us = (since + patience).since(now).as_us();
    let at_us = if at.is_after(Stamp::of(now)) { at.since(Stamp::of(now)) } else { 0 };
    if over_us < u64::from(at_us) { Stamp::of(now).plus_us(over_us as u32 + 1) } else { at }
}

/// Probes of a closed window come at least so often.
const PERSIST_MAX_US: u64 = 60_000_000;

impl Tcp {
    /// When [`Self::handle_timers`] has something to do; never too late.
    pub fn next_deadline(&self) -> Instant {
        if !self.touched.is_empty() {
            return Instant::ZERO;
        }
        let shares = self.next_share().min(self.next_relief());
        shares.min(self.wheel.next_deadline()).min(self.half_open.next_deadline()).min(self.time_waits.next_deadline())
    }

    /// Does what is due, or a part of it that a turn has time for. Whoever calls this flushes afterwards.
    pub fn handle_timers(&mut self, now: Instant, out: &mut Outbox) {
        self.now = now;
        for _ in 0..TCP_TIMERS_MAX {
            let Some(index) = self.wheel.pop_due(now) else { break };
            self.handle_due(now, index as usize, out);
        }
        for _ in 0..TCP_TIMERS_MAX {
            let Some(due) = self.half_open.pop_due(now) else { break };
            match due {
                Due::Repeat(index) => {
                    let record = *self.half_open.record(index);
                    out.counters.count(Counter::TcpResent);
                    self.send_syn_ack(now, &record, out);
                }
                Due::GiveUp(index) => {
                    out.counters.count(Counter::TcpHalfOpenTimedOut);
                    self.forget_half_open(index);
                }
            }
        }
        for _ in 0..TCP_TIMERS_MAX {
            let Some(index) = self.time_waits.pop_due(now) else { break };
            self.forget_time_wait(index);
        }
    }

    /// When a timer of a connection is due, if it runs.
    pub(super) fn deadline(&self, now: Instant, i: usize, timer: Timer) -> Option<Instant> {
        let (hot, cold) = (&self.connections.hot[i], &self.connections.cold[i]);
        let armed = hot.marks.has(Marks::TRANSMIT_ARMED);
        let opening = matches!(hot.state, State::SynSent | State::SynReceived);
        let persist = hot.marks.has(Marks::PERSIST);
        let set = |at: Instant| (at != Instant::NEVER).then_some(at);
        match timer {
            Timer::Syn => (armed && opening).then(|| hot.transmit_at.near(now)),
            Timer::Transmit => (armed && !opening && !persist).then(|| hot.transmit_at.near(now)),
            Timer::Persist => (armed && !opening && persist).then(|| hot.transmit_at.near(now)),
            Timer::DelayedAck => hot.marks.has(Marks::ACK_DELAYED).then(|| hot.ack_at.near(now)),
            Timer::Keepalive => {
                // rfc9293 3.8.4 MUST-26: only while nothing is under way.
                let keepalive = cold
                    .options
                    .keepalive
                    .filter(|_| hot.state.is_synchronized() && hot.snd_una == hot.snd_nxt && hot.flight.is_none())?;
                let wait = if cold.keepalive_probes == 0 {
                    u64::from(keepalive.idle_s)
                } else {
                    u64::from(keepalive.idle_s) + u64::from(keepalive.interval_s) * u64::from(cold.keepalive_probes)
                };
                Some(cold.heard_at + Duration::from_secs(wait))
            }
            Timer::Close => set(cold.close_at),
            Timer::Widen => set(cold.widen_at),
        }
    }

    /// When the first of a connection's timers is due.
    #[inline(always)]
    fn first_deadline(&self, now: Instant, i: usize) -> Instant {
        let hot = &self.connections.hot[i];
        let marks = hot.marks;
        let mut at = Instant::NEVER;
        if marks.has(Marks::TRANSMIT_ARMED) {
            at = hot.transmit_at.near(now);
        }
        if marks.has(Marks::ACK_DELAYED) {
            at = at.min(hot.ack_at.near(now));
        }
        if marks.has(Marks::KEEPALIVE) {
            at = at.min(self.deadline(now, i, Timer::Keepalive).unwrap_or(Instant::NEVER));
        }
        if marks.has(Marks::CLOSED | Marks::NARROW) {
            let cold = &self.connections.cold[i];
            at = at.min(cold.close_at).min(cold.widen_at);
        }
        at
    }

    /// Puts a connection's earliest deadline into the wheel.
    #[inline(always)]
    pub(super) fn rearm(&mut self, now: Instant, i: usize) {
        let at = self.first_deadline(now, i);
        if at == Instant::NEVER {
            return;
        }
        // Mostly it is woken earlier already, and the wheel's own cache lines stay untouched.
        let hot = &mut self.connections.hot[i];
        let stamp = Stamp::of(at);
        if hot.marks.has(Marks::WAKES) && !hot.wake_at.is_after(stamp) {
            return;
        }
        // Later times do not fit a stamp; they are rare.
        hot.marks.put(Marks::WAKES, at.since(now) < WAKE_STAMP_MAX);
        hot.wake_at = stamp;
        self.wheel.arm(i as u32, at);
    }

    fn handle_due(&mut self, now: Instant, i: usize, out: &mut Outbox) {
        if self.connections.hot[i].state == State::Closed {
            return;
        }
        self.connections.hot[i].marks.clear(Marks::WAKES);
        // Mostly it has moved on since, and nothing else is to be done.
        if self.first_deadline(now, i) > now {
            return self.rearm(now, i);
        }
        let id = self.connections.id(i as u32);
        for timer in Timer::ALL {
            if self.deadline(now, i, timer).is_some_and(|at| at <= now) {
                self.handle_timer(now, i, timer, out);
                if self.connections.find(id).is_none() {
                    return;
                }
            }
        }
        // Whatever is left is armed again by the flush.
        self.touch(i);
    }

    fn handle_timer(&mut self, now: Instant, i: usize, timer: Timer, out: &mut Outbox) {
        match timer {
            Timer::Syn => self.handle_syn_timer(now, i, out),
            Timer::Transmit => self.handle_transmit_timer(now, i, out),
            Timer::Persist => self.handle_persist_timer(now, i, out),
            Timer::DelayedAck => self.connections.hot[i].marks.set(Marks::ACK_NOW),
            Timer::Keepalive => self.handle_keepalive_timer(now, i, out),
            Timer::Close => {
                let lingers = self.connections.hot[i].state != State::FinWait2;
                if lingers {
                    return self.reset(now, i, End::LingerTimedOut, out);
                }
                self.end(now, i, End::FinWaitTimedOut, out);
            }
            Timer::Widen => self.widen(i),
        }
    }

    fn handle_transmit_timer(&mut self, now: Instant, i: usize, out: &mut Outbox) {
        self.connections.hot[i].marks.clear(Marks::TRANSMIT_ARMED);
        self.become_flight(i, out);
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        let Some(index) = hot.flight.get() else { return };
        let patience = cold.options.user_timeout.unwrap_or(GIVE_UP);
        // rfc9293 3.8.3 SHLD-11: so long without an acknowledgment (R2), and the connection is over.
        if now.since(cold.stalled_at) >= patience {
            return self.reset(now, i, End::TimedOut, out);
        }
        let flight = self.flights.at_mut(index);
        let unsent = flight.queued_end.since(hot.snd_nxt);
        let window = (hot.snd_una + hot.snd_wnd).since(hot.snd_nxt);
        let more = unsent > 0 && window > 0;
        match flight.recovery.on_timer(Stamp::of(now), more, &mut cold.rtt, &mut cold.congestion) {
            Action::Nothing => {}
            Action::LossesMarked { reduced } => {
                if reduced && hot.marks.has(Marks::ECN) {
                    hot.marks.set(Marks::CWR);
                }
            }
            Action::RtoExpired => {
                if hot.marks.has(Marks::ECN) {
                    hot.marks.set(Marks::CWR);
                }
                cold.retries = cold.retries.saturating_add(1);
                // rfc9293 3.8.3 SHLD-9, SHLD-10: R1 is three timeouts; the application hears of it.
                if cold.retries == R1 && cold.options.reports_trouble {
                    let id = self.connections.id(i as u32);
                    self.events.push_back(Event::Trouble { id, trouble: Trouble::Silence });
                }
                if self.connections.cold[i].retries == TCP_RETRIES_BLACK_HOLE {
                    self.suspect_black_hole(now, i);
                }
            }
            Action::ProbeNewData => {
                out.counters.count(Counter::TcpTailProbes);
                self.probe_new(now, i, out);
            }
            Action::ProbeLast(seq, len) => {
                out.counters.count(Counter::TcpTailProbes);
                self.resend(now, i, seq, seq + len, out);
            }
        }
        self.touch(i);
    }

    /// rfc9293 3.8.6.1 MUST-36, SHLD-29, SHLD-30: a byte beyond the closed window asks whether it is still closed: first after an RTO, then ever
    /// later. It is not under way for good: what the peer does not take is sent again from the same number.
    fn handle_persist_timer(&mut self, now: Instant, i: usize, out: &mut Outbox) {
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        let patience = cold.options.user_timeout.unwrap_or(GIVE_UP);
        if now.since(cold.stalled_at) >= patience && cold.retries > 0 {
            return self.reset(now, i, End::TimedOut, out);
        }
        cold.retries = cold.retries.saturating_add(1);
        let wait = (u64::from(cold.rtt.rto_us()) << cold.retries.min(8)).min(PERSIST_MAX_US) as u32;
        let at = not_after(now, Stamp::of(now).plus_us(wait), cold.stalled_at, patience);
        // The peer gets a timeout's time to answer.
        let least = Stamp::of(now).plus_us(cold.rtt.rto_us().min(wait));
        hot.transmit_at = if at.is_after(least) { at } else { least };
        out.counters.count(Counter::TcpWindowProbes);
        self.probe_window(now, i, out);
        self.touch(i);
    }

    /// rfc9293 3.8.4 SHLD-12: an acknowledgment without data and with a number that was acknowledged, so that an answer must follow.
    fn handle_keepalive_timer(&mut self, now: Instant, i: usize, out: &mut Outbox) {
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        let Some(keepalive) = cold.options.keepalive else { return };
        // rfc9293 3.8.4 MUST-29: one without an answer says nothing yet.
        if cold.keepalive_probes >= keepalive.probes {
            return self.reset(now, i, End::KeepaliveTimedOut, out);
        }
        cold.keepalive_probes += 1;
        out.counters.count(Counter::TcpKeepaliveProbes);
        let seq: Seq = hot.snd_una - 1;
        self.send_bare_ack(now, i, seq, out);
    }

    /// Decides what the connection waits for after it has sent what it could.
    pub(super) fn arm_transmit(&mut self, now: Instant, i: usize) {
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        let Some(index) = hot.flight.get() else { return hot.marks.clear(Marks::TRANSMIT_ARMED | Marks::PERSIST) };
        let flight = self.flights.at(index);
        if hot.snd_nxt != hot.snd_una {
            // rfc9293 3.8.6 MUST-35: also in front of a window that shrank to zero: what is sent again probes it.
            hot.marks.clear(Marks::PERSIST);
            hot.marks.set(Marks::TRANSMIT_ARMED);
            let (_, at) = flight.recovery.deadline(&cold.rtt).expect("something is under way");
            let patience = cold.options.user_timeout.unwrap_or(GIVE_UP);
            hot.transmit_at = not_after(now, at, cold.stalled_at, patience);
            return;
        }
        let fin_due = hot.marks.has(Marks::CLOSED) && !hot.marks.has(Marks::FIN_SENT);
        if flight.queued_end.since(hot.snd_nxt) == 0 && !fin_due {
            return hot.marks.clear(Marks::TRANSMIT_ARMED | Marks::PERSIST);
        }
        // Something waits and nothing is under way: the window is closed, or too small to be worth it, or no frame could be had.
        if !hot.marks.has(Marks::PERSIST) {
            hot.marks.set(Marks::PERSIST | Marks::TRANSMIT_ARMED);
            cold.stalled_at = now;
            // rfc9293 3.9.1.2 MUST-60: whatever holds it back, it will not wait for ever.
            hot.transmit_at = Stamp::of(now).plus_us(cold.rtt.rto_us());
        }
    }
}
