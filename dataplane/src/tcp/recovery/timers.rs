//! The sender's three timers, of which one runs at a time (RFC 8985 section 8): the earliest of what [`Timer`] lists.

use super::{Episode, Recovery, State, Undo};
use crate::tcp::{
    congestion::{Congestion, CongestionControl},
    rtt::Rtt,
    scoreboard::Resend,
    seq::Seq,
    stamp::Stamp,
};

/// rfc8985 7.2 TLP.max_ack_delay: a peer may keep the acknowledgement of a lone segment for this long.
const MAX_ACK_DELAY_US: u32 = 200_000;
/// rfc8985 7.2 b: before the first round trip was measured.
const PTO_INITIAL_US: u32 = 1_000_000;
/// No probe earlier than this: within a rack two round trips are less than a peer's scheduling.
const PTO_MIN_US: u32 = 2_000;

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::tcp) enum Timer {
    /// Segments that were overtaken may still come (RFC 8985 section 6.2 step 5).
    Reordering,
    /// Some acknowledgement, for two round trips (RFC 8985 section 7).
    Probe,
    /// The acknowledgement of the first segment (RFC 6298).
    Rto,
}

/// What is to be done now that a timer has expired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::tcp) enum Action {
    /// No timer has.
    Nothing,
    /// There are retransmissions, found lost.
    LossesMarked {
        /// As in [`Outcome`](super::Outcome).
        reduced: bool,
    },
    /// A segment of new data is to be sent, whatever the congestion window says.
    ProbeNewData,
    /// These numbers are to be sent again, whatever the congestion window says: first the number, then how many.
    ProbeLast(Seq, u32),
    /// The retransmission timer: there are retransmissions, the windows were reduced, and the connection may be dead.
    RtoExpired,
}

/// The tail loss probe (RFC 8985 section 7.1).
#[derive(Clone, Debug)]
pub(super) struct Tlp {
    /// TLP.end_seq: SND.NXT after the probe; `None` if none is outstanding.
    pub(super) end: Option<Seq>,
    /// TLP.is_retrans.
    pub(super) is_retransmission: bool,
    /// What was outstanding when it was sent.
    pub(super) flight: u32,
    /// The end of the last probe that was a retransmission.
    pub(super) last_probe: Option<Seq>,
    /// A probe was asked for and not sent yet.
    due: bool,
    /// rfc8985 7.3: a round trip was measured since the last probe.
    pub(super) sampled: bool,
}

impl Default for Tlp {
    fn default() -> Self {
        Self { end: None, is_retransmission: false, flight: 0, last_probe: None, due: false, sampled: true }
    }
}

impl Tlp {
    #[inline]
    pub(super) fn on_sample(&mut self) {
        self.sampled = true;
    }

    /// New data was sent: the probe, if one was asked for.
    #[inline]
    pub(super) fn on_sent(&mut self, nxt: Seq) {
        if self.due && !self.is_retransmission {
            self.due = false;
            self.end = Some(nxt);
        }
    }

    /// A retransmission was sent; says whether it was the probe that was asked for.
    pub(super) fn take_due(&mut self) -> bool {
        self.is_retransmission && std::mem::take(&mut self.due)
    }
}

/// The deadline of a segment that was sent at `sent_at` and has nothing else beside it: what [`Recovery::deadline`] would say of it.
#[inline(always)]
pub(in crate::tcp) fn lone_deadline(sent_at: Stamp, sack: bool, rtt: &Rtt) -> Stamp {
    let probe_us = match rtt.srtt_us() {
        _ if !sack => u32::MAX,
        None => PTO_INITIAL_US,
        Some(srtt_us) => (2 * srtt_us).max(PTO_MIN_US) + MAX_ACK_DELAY_US,
    };
    sent_at.plus_us(rtt.rto_us().min(probe_us))
}

impl Recovery {
    /// When [`on_timer`](Self::on_timer) is to be called, and what is waited for until then. While anything is outstanding a timer runs.
    #[inline]
    pub(in crate::tcp) fn deadline(&self, rtt: &Rtt) -> Option<(Timer, Stamp)> {
        if self.board.is_empty() {
            return None;
        }
        let rto_at = self.rto_since.plus_us(rtt.rto_us());
        // rfc8985 8 a: one timer; the earlier of the two.
        if let Some(at) = self.reo_at.filter(|at| !at.is_after(rto_at)) {
            return Some((Timer::Reordering, at));
        }
        // rfc8985 7.3 b, c, g: no probe, or one is under way.
        if self.reo_at.is_some() || !self.may_probe() {
            return Some((Timer::Rto, rto_at));
        }
        // rfc8985 7.2: a probe goes out not later than the retransmission timer would expire, and instead of that.
        let pto_at = self.pto_since.plus_us(self.pto_us(rtt));
        Some((Timer::Probe, if pto_at.is_after(rto_at) { rto_at } else { pto_at }))
    }

    /// rfc8985 7.2 a, 7.3 a: with SACK, outside of recoveries, when nothing is SACKED; one at a time, and no second without a round trip.
    fn may_probe(&self) -> bool {
        self.sack && self.state == State::Open && self.tlp.end.is_none() && self.tlp.sampled && !self.board.has_sacks()
    }

    /// rfc8985 7.2: TLP_calc_PTO.
    fn pto_us(&self, rtt: &Rtt) -> u32 {
        let Some(srtt_us) = rtt.srtt_us() else { return PTO_INITIAL_US };
        let pto_us = (2 * srtt_us).max(PTO_MIN_US);
        if self.board.len() == 1 { pto_us + MAX_ACK_DELAY_US } else { pto_us }
    }

    /// Does what the deadline asks for if it has come. `has_new`: there is data that was never sent and that the peer's window takes.
    pub(in crate::tcp) fn on_timer(&mut self, now: Stamp, has_new: bool, rtt: &mut Rtt, cc: &mut Congestion) -> Action {
        match self.deadline(rtt) {
            Some((timer, at)) if !at.is_after(now) => match timer {
                Timer::Reordering => self.on_reordering_timer(now, rtt, cc),
                Timer::Probe => self.probe(now, has_new, cc),
                Timer::Rto => self.time_out(now, rtt, cc),
            },
            _ => Action::Nothing,
        }
    }

    // rfc8985 6.2 b: as an acknowledgement would find them.
    fn on_reordering_timer(&mut self, now: Stamp, rtt: &Rtt, cc: &mut Congestion) -> Action {
        let losses = self.find_losses(now, rtt);
        let reduced = self.react(now, losses, cc);
        if losses.any { Action::LossesMarked { reduced } } else { Action::Nothing }
    }

    /// rfc8985 7.3 d, e: TLP_send_probe. New data if there is any, otherwise the last segment again.
    fn probe(&mut self, now: Stamp, has_new: bool, cc: &Congestion) -> Action {
        let has_new = has_new && self.may_send_new();
        let nxt = self.board.nxt();
        self.tlp = Tlp {
            end: Some(nxt),
            is_retransmission: !has_new,
            flight: self.board.outstanding(),
            last_probe: (!has_new).then_some(nxt),
            due: true,
            sampled: false,
        };
        self.rto_since = now;
        if has_new {
            return Action::ProbeNewData;
        }
        let Some(last) = self.board.back() else { return Action::Nothing };
        let len = last.len().min(cc.mss());
        Action::ProbeLast(last.end - len, len)
    }

    /// rfc6298 5 b; rfc8985 6.3: the oldest segment first (5.4), and the timer starts anew (5.6).
    fn time_out(&mut self, now: Stamp, rtt: &mut Rtt, cc: &mut Congestion) -> Action {
        let (una, outstanding) = (self.board.una(), self.board.outstanding());
        let Some(front) = self.board.front() else { return Action::Nothing };
        let again = front.resent && front.reason == Some(Resend::Rto);
        // rfc2018 5 c: what is held but never acknowledged was dropped again.
        if front.sacked {
            self.board.forget_sacks();
        }
        let reo_wnd_us = self.rack.reo_wnd_us(rtt, true, self.board.sacked_segments());
        let reach_us = self.rack.rtt_us.saturating_add(reo_wnd_us);
        let sack = self.sack;
        // rfc8985 6.3: the first segment, and what is old enough; what was sent just now may well arrive.
        let is_lost = |at: Stamp| !sack || now.since(at) >= reach_us;
        self.board.mark_all_lost(Resend::Rto, |sent| sent.seq == una || is_lost(sent.at));
        if self.state == State::Open {
            cc.remember();
            let undo = Undo::arm(una);
            match &mut self.episode {
                Some(episode) => episode.undo = undo,
                None => self.episode = Some(Box::new(Episode { undo, ..Episode::default() })),
            }
        }
        cc.on_rto(now, outstanding, again);
        rtt.back_off();
        self.state = State::Loss;
        self.recovery_point = self.board.nxt();
        self.cwr_point = self.recovery_point;
        self.forced = true;
        self.tlp.end = None;
        self.reo_at = None;
        self.rto_since = now;
        (self.dup_acks, self.dup_bytes) = (0, 0);
        self.judge_anew(now);
        Action::RtoExpired
    }
}
