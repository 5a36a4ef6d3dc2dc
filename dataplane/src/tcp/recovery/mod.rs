//! The sender's loss recovery: what was lost, when to send it again, and how much may be sent meanwhile.
//!
//! ```text
//!                  losses found by RACK, or 3 duplicate ACKs                      the timer expires
//!      Open  ---------------------------------------------->  Recovery  --------------------------->  Loss
//!        ^                                                        |                                     |  ^
//!        |<------- SND.UNA reaches the recovery point, or --------+-------------------------------------+  |
//!        |         it turns out that nothing was lost                                                      |
//!        +------------------------------------ the timer expires -----------------------------------------+
//!
//!      Open: cwnd limits, and grows        Recovery: PRR spreads the reduction        Loss: slow start from one segment
//! ```
//! [`rack`] and [`losses`] judge segments by the order in which they were sent, tail loss probes (in [`timers`]) fetch an acknowledgement for it to judge
//! by when none comes, [`prr`] paces a recovery by what arrives, [`undo`] finds recoveries that were errors, [`delivery`] measures.
//!
//! No acknowledgement walks over the flight. Segments that were sent once are judged by a cursor that only goes forward, since they were
//! sent in sequence order; those that were sent again stand in a queue in the order of that. Only a timeout, or its undoing, looks at all.

mod delivery;
mod losses;
mod outcome;
mod prr;
mod rack;
#[cfg(test)]
mod tests;
mod timers;
mod undo;

use super::{
    congestion::{Acked, Congestion, CongestionControl},
    rtt::Rtt,
    scoreboard::{Resend, Scoreboard, Sent},
    seq::Seq,
    stamp::Stamp,
};
use delivery::Delivery;
use outcome::Newly;
pub(super) use outcome::{AckInfo, Outcome};
use prr::Prr;
pub(super) use rack::Reordering;
use rack::{DUP_THRESH, Rack};
use std::collections::VecDeque;
#[cfg(test)]
use timers::Timer;
use timers::Tlp;
pub(super) use timers::{Action, lone_deadline};
use undo::Undo;

/// Where a sender stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Nothing is lost, as far as is known.
    Open,
    /// Fast recovery.
    Recovery,
    /// After a timeout.
    Loss,
}

/// The sender's half of reliability, while anything is outstanding.
#[derive(Clone, Debug)]
pub(super) struct Recovery {
    board: Scoreboard,
    state: State,
    /// The peer sends SACK.
    sack: bool,
    /// The next segment is sent whatever the window says: the first of a recovery, or after a timeout.
    forced: bool,
    rack: Rack,
    tlp: Tlp,
    delivery: Delivery,
    /// Made when something is sent again for the first time.
    episode: Option<Box<Episode>>,

    // Numbers. SND.UNA - 1 <= each of the first three <= SND.NXT
    /// What was sent when the recovery began; it ends when that is acknowledged. Kept until then (RFC 6582 section 3.2 step 1).
    recovery_point: Seq,
    /// What was sent when the windows were last reduced: marks that come until it is acknowledged are of the same congestion.
    cwr_point: Seq,
    /// What lies before it was sent into a full window.
    full_point: Seq,
    /// Segments before it that were sent once are SACKED, LOST, or were sent again.
    judged: Seq,
    /// No segment before it is LOST, but those in `lost_again`.
    first_lost: Seq,

    // Times.
    /// The retransmission timer runs since then.
    rto_since: Stamp,
    /// The probe timer runs since then.
    pto_since: Stamp,
    /// When what is overtaken will have been waited for long enough.
    reo_at: Option<Stamp>,

    // A peer without SACK.
    dup_acks: u32,
    /// Bytes that its duplicate acknowledgements say have left.
    dup_bytes: u32,
}

/// What only a connection that loses something needs.
#[derive(Clone, Debug, Default)]
struct Episode {
    /// What was sent again, and when, in that order. An entry is stale when the record that holds the number does not agree: it was
    /// acknowledged, SACKED, found lost or sent again since.
    resent: VecDeque<(Seq, Stamp)>,
    /// Retransmissions that were lost, in the order in which that was found.
    lost_again: VecDeque<Seq>,
    prr: Prr,
    undo: Undo,
    /// When the windows were last reduced in it.
    reduced_at: Stamp,
}

/// The timestamp clock's tick: what an echo leaves open.
const ECHO_TICK_US: u32 = 1_000;

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Recovery => "recovery",
            Self::Loss => "loss",
        }
    }
}

impl Recovery {
    /// With nothing outstanding; `nxt` is sent next.
    pub(super) fn new(nxt: Seq, sack: bool, reordering: Reordering) -> Self {
        Self {
            board: Scoreboard::new(nxt),
            state: State::Open,
            sack,
            forced: false,
            rack: Rack::new(reordering),
            tlp: Tlp::default(),
            delivery: Delivery::default(),
            episode: None,
            recovery_point: nxt - 1,
            cwr_point: nxt - 1,
            full_point: nxt,
            judged: nxt,
            first_lost: nxt,
            rto_since: Stamp(0),
            pto_since: Stamp(0),
            reo_at: None,
            dup_acks: 0,
            dup_bytes: 0,
        }
    }

    /// What is sent and not acknowledged.
    #[inline]
    pub(super) fn scoreboard(&self) -> &Scoreboard {
        &self.board
    }
    pub(super) fn state(&self) -> State {
        self.state
    }
    /// What the next flight of this connection should know.
    pub(super) fn reordering(&self) -> Reordering {
        self.rack.reordering
    }
    /// How fast data arrives, bytes a second.
    pub(super) fn delivery_rate(&self) -> u64 {
        self.delivery.rate()
    }
    /// Bytes thought to be on their way.
    #[inline]
    pub(super) fn in_flight(&self) -> u32 {
        self.board.in_flight().saturating_sub(self.dup_bytes)
    }
    /// The application has nothing more to send.
    pub(super) fn on_app_limited(&mut self) {
        self.delivery.on_app_limited(self.in_flight());
    }

    /// New data was sent, which begins at SND.NXT. A FIN counts as a byte.
    #[inline]
    pub(super) fn on_sent(&mut self, now: Stamp, len: u32, cc: &Congestion) {
        let seq = self.board.nxt();
        if self.board.is_empty() {
            self.begin(now, seq);
        }
        let mut sent = Sent {
            seq,
            end: seq + len,
            at: now,
            delivered: 0,
            delivered_at: now,
            first_sent_at: now,
            resent: false,
            sacked: false,
            lost: false,
            reason: None,
        };
        self.delivery.stamp(&mut sent);
        // rfc2018 5 a; rfc8985 4 b, c, 7.3 f: each segment is noted, with its time in microseconds.
        self.board.push(sent);
        // rfc8985 7.2 a: the probe timer starts anew.
        self.pto_since = now;
        self.tlp.on_sent(self.board.nxt());
        self.forced = false;
        if self.in_flight() + cc.mss() > cc.cwnd() {
            self.full_point = self.board.nxt();
        }
        if self.state == State::Recovery {
            self.episode().prr.on_sent(len);
        }
    }

    /// The first segment after none was outstanding.
    #[inline]
    fn begin(&mut self, now: Stamp, una: Seq) {
        self.rto_since = now;
        self.rack.begin(now, una);
        self.delivery.begin(now);
        (self.judged, self.first_lost) = (una, una);
        if let Some(episode) = &mut self.episode {
            episode.resent.clear();
            episode.lost_again.clear();
        }
    }

    /// `seq..end` was sent again, as [`next_retransmission`](Self::next_retransmission) or a probe asked for, or a part of it. Returns the
    /// reason, for which it is to be counted.
    pub(super) fn on_retransmitted(&mut self, now: Stamp, seq: Seq, end: Seq) -> Resend {
        let mut reason = self.tlp.take_due().then_some(Resend::TailLossProbe);
        let is_recovery = self.state == State::Recovery;
        self.forced = false;
        if seq.up_to(self.board.una()) {
            // rfc6298 5 a: the timer is that of the first segment, which is not sent again less than a timeout after this.
            self.rto_since = now;
        }
        let episode = self.episode.get_or_insert_default();
        let (delivery, sack) = (&self.delivery, self.sack);
        self.board.resend(seq, end, |sent| {
            if sent.lost {
                reason = sent.reason;
            } else {
                sent.reason = reason;
            }
            // rfc8985 4 c, 7.3 f: as for any transmission.
            sent.at = now;
            delivery.stamp(sent);
            // Only RACK takes them out again.
            if sack {
                episode.resent.push_back((sent.seq, now));
            }
        });
        if is_recovery {
            episode.prr.on_sent(end - seq);
        }
        episode.undo.on_retransmitted(now, seq, end);
        reason.expect("nothing is sent twice without a reason")
    }

    fn episode(&mut self) -> &mut Episode {
        self.episode.get_or_insert_default()
    }

    /// What to send again first, and how many bytes of it. Call it as long as [`quota`](Self::quota) allows.
    pub(super) fn next_retransmission(&mut self) -> Option<(Seq, u32)> {
        if self.board.lost() == 0 {
            return None;
        }
        if let Some(episode) = &mut self.episode {
            while let Some(seq) = episode.lost_again.front() {
                if let Some((_, sent)) = self.board.find(*seq).filter(|(_, sent)| sent.lost) {
                    return Some((sent.seq, sent.len()));
                }
                episode.lost_again.pop_front();
            }
        }
        let mut index = self.board.index_of(self.first_lost);
        while let Some(sent) = self.board.get(index) {
            self.first_lost = sent.seq;
            if sent.lost {
                return Some((sent.seq, sent.len()));
            }
            index += 1;
        }
        debug_assert!(false, "what is lost lies behind first_lost");
        None
    }

    /// Bytes that may be sent now, first again, then new.
    #[inline]
    pub(super) fn quota(&self, cc: &Congestion) -> u32 {
        let room = match (self.state, &self.episode) {
            (State::Recovery, Some(episode)) => episode.prr.budget,
            _ => cc.cwnd().saturating_sub(self.in_flight()),
        };
        // A window with nothing in it always takes a segment, or no acknowledgement would come to open it.
        if self.forced || self.in_flight() == 0 { room.max(cc.mss()) } else { room }
    }

    /// Segments above this payload did not get through, for their length and not for congestion: they are to be sent again in smaller pieces.
    pub(super) fn path_narrowed(&mut self, now: Stamp, mss: u32) {
        if self.board.is_empty() {
            return;
        }
        self.board.mark_all_lost(Resend::PathMtu, |sent| sent.len() > mss);
        if self.board.lost() == 0 {
            return;
        }
        // rfc1191 6.4: no sign of congestion, so the window stays as it is.
        self.state = State::Loss;
        self.recovery_point = self.board.nxt();
        self.forced = true;
        self.tlp.end = None;
        self.judge_anew(now);
    }

    /// Whether there is room for a record of new data.
    #[inline]
    pub(super) fn may_send_new(&self) -> bool {
        !self.board.is_full()
    }

    /// An acceptable acknowledgement.
    #[inline]
    pub(super) fn on_ack(&mut self, ack: &AckInfo<'_>, rtt: &mut Rtt, cc: &mut Congestion) -> Outcome {
        let una_before = self.board.una();
        debug_assert!(una_before.up_to(ack.ack) && ack.ack.up_to(self.board.nxt()));
        let advanced = ack.ack.after(una_before);
        let cwnd_limited = una_before.before(self.full_point);
        let state_before = self.state;

        let mut newly =
            Newly { bytes: 0, fack: self.rack.fack, acked_us: None, sacked_us: None, resent: false, newest: None };
        let min_rtt_us = rtt.min_us();
        if advanced {
            self.take_acked(ack, min_rtt_us, &mut newly);
            self.advance(ack);
        }
        let dsack = if ack.blocks.is_empty() { None } else { self.take_blocks(ack, min_rtt_us, &mut newly) };
        // rfc5681 3.2 f: with SACK only what it reports counts.
        let is_hole = !self.sack && self.take_duplicate(ack, ack.ack - una_before, cc.mss(), &mut newly);
        let mut outcome = Outcome {
            acked: ack.ack - una_before,
            delivered: newly.bytes,
            rtt_us: newly.acked_us.or(newly.sacked_us),
            dsack: dsack.is_some(),
            ..Outcome::default()
        };
        // rfc6298 3 c; rfc9293 3.8.1 MUST-18: each acknowledgment that can tell is a sample.
        if let Some(us) = outcome.rtt_us {
            rtt.sample(us, ack.now);
            self.tlp.on_sample();
        }
        if let Some(newest) = &newly.newest {
            self.delivery.on_ack(ack.now, newly.bytes, newest, rtt.min_us());
        }
        self.judge_probe(ack, dsack, cc, &mut outcome);
        self.judge_episode(ack, advanced, dsack, rtt, cc, &mut outcome);
        if self.state != State::Open && ack.ack.from(self.recovery_point) {
            self.recovered(&mut outcome);
        }
        let mut losses = self.find_losses(ack.now, rtt);
        losses.any |= is_hole;
        outcome.losses = losses.any;
        outcome.reduced |= self.react(ack.now, losses, cc);
        self.answer_ece(ack, cc, &mut outcome);
        self.move_windows(ack, advanced, state_before, cwnd_limited, rtt, cc, &outcome);
        outcome
    }

    /// Takes out what is acknowledged.
    #[inline]
    fn take_acked(&mut self, ack: &AckInfo<'_>, min_rtt_us: u32, newly: &mut Newly) {
        while let Some(sent) = self.board.pop_acked(ack.ack) {
            if sent.sacked {
                continue;
            }
            if sent.resent {
                newly.resent = true;
                // rfc6298 3 a, b: Karn: only the timestamp can tell which transmission it was that arrived.
                newly.acked_us = ack.echo.and_then(|echo| {
                    let us = ack.now.since(sent.at);
                    if sent.at.is_after(echo) {
                        // rfc7323 4.1, rfc4015 3.3: an earlier one, sent in the tick that is echoed. A path that has become longer than the
                        // timeout would be measured never otherwise, and each flight sent twice.
                        return Some(ack.now.since(echo) + ECHO_TICK_US);
                    }
                    (us >= min_rtt_us).then_some(us)
                });
            } else if !newly.resent && newly.acked_us.is_none() {
                newly.acked_us = Some(ack.now.since(sent.at));
            }
            newly.on_delivered(&mut self.rack, &sent, ack, min_rtt_us);
        }
        newly.bytes += self.board.trim(ack.ack);
    }

    /// SND.UNA has advanced.
    #[inline]
    fn advance(&mut self, ack: &AckInfo<'_>) {
        let una = ack.ack;
        // rfc6298 5 b; rfc8985 7.2 a: the timer starts anew, and so does the probe timer.
        (self.rto_since, self.pto_since) = (ack.now, ack.now);
        self.rack.fack = self.rack.fack.max(una);
        // Numbers of long ago would seem to lie ahead after half of the circle.
        self.recovery_point = self.recovery_point.max(una - 1);
        self.cwr_point = self.cwr_point.max(una - 1);
        self.full_point = self.full_point.max(una - 1);
        self.judged = self.judged.max(una);
        self.first_lost = self.first_lost.max(una);
    }

    /// Takes the blocks in; returns the DSACK, if there is one.
    fn take_blocks(&mut self, ack: &AckInfo<'_>, min_rtt_us: u32, newly: &mut Newly) -> Option<(Seq, Seq)> {
        let mut dsack = None;
        for (i, &(left, right)) in ack.blocks.iter().enumerate() {
            if !left.before(right) {
                continue;
            }
            // rfc2883 4: the first block is a duplicate's if it lies before SEG.ACK or within the second block.
            let within = |outer: &(Seq, Seq)| left.from(outer.0) && right.up_to(outer.1);
            if i == 0 && (right.up_to(ack.ack) || ack.blocks.get(1).is_some_and(within)) {
                dsack = Some((left, right));
            } else if self.sack && left.from(self.board.una()) && right.up_to(self.board.nxt()) {
                let (rack, una) = (&mut self.rack, self.board.una());
                self.board.sack(left, right, |sent| {
                    if !sent.resent {
                        let us = ack.now.since(sent.at);
                        newly.sacked_us = Some(newly.sacked_us.map_or(us, |other| other.min(us)));
                    }
                    newly.on_delivered(rack, sent, ack, min_rtt_us);
                });
                debug_assert_eq!(una, self.board.una());
            }
        }
        dsack
    }

    /// rfc5681 3.2, rfc6582 3.2: a peer without SACK. Each duplicate says that a segment has left. Says whether the first segment is lost.
    fn take_duplicate(&mut self, ack: &AckInfo<'_>, acked: u32, mss: u32, newly: &mut Newly) -> bool {
        if acked > 0 {
            // What duplicates had counted is now acknowledged, but the segment that filled the hole.
            let counted = self.dup_bytes.min(acked.saturating_sub(mss));
            newly.bytes -= counted.min(newly.bytes);
            self.dup_bytes = if self.state == State::Open { 0 } else { self.dup_bytes - counted };
            self.dup_bytes = self.dup_bytes.min(self.board.in_flight());
            self.dup_acks = 0;
            // rfc6582 3.2 step 5: in a recovery the next hole begins here.
            let is_partial = self.state == State::Recovery && ack.ack.before(self.recovery_point);
            if is_partial && self.board.front().is_some_and(|sent| !sent.resent && !sent.lost) {
                self.lose_front(Resend::PartialAck);
                return true;
            }
        } else if ack.is_duplicate && !self.board.is_empty() {
            self.dup_acks = self.dup_acks.saturating_add(1);
            let room = self.board.in_flight() - self.dup_bytes.min(self.board.in_flight());
            newly.bytes = mss.min(room);
            // rfc5681 3.2 d, e: limited transmit: another segment may leave; the window stays.
            self.dup_bytes += newly.bytes;
            // rfc6582 3.2 step 1: not for what a recovery's own retransmissions caused.
            let is_new = ack.ack.after(self.recovery_point);
            // rfc5681 3.2 c: the third.
            if self.state == State::Open && self.dup_acks == DUP_THRESH && is_new {
                self.lose_front(Resend::DupAcks);
                return true;
            }
        }
        false
    }

    fn lose_front(&mut self, reason: Resend) {
        self.board.mark_lost(0, reason);
        self.first_lost = self.board.una();
        self.dup_bytes = self.dup_bytes.min(self.board.in_flight());
    }

    /// rfc8985 7.4.2: what became of a tail loss probe.
    #[inline]
    fn judge_probe(
        &mut self,
        ack: &AckInfo<'_>,
        dsack: Option<(Seq, Seq)>,
        cc: &mut Congestion,
        outcome: &mut Outcome,
    ) {
        let Some(end) = self.tlp.end.filter(|end| ack.ack.from(*end)) else { return };
        let is_duplicate = dsack.is_some_and(|(_, right)| right == end);
        if !self.tlp.is_retransmission || is_duplicate {
            self.tlp.end = None;
        } else if ack.ack.after(end) {
            // rfc8985 7.4.2 a, b: the probe has repaired a loss that nothing else would have told of.
            self.tlp.end = None;
            cc.remember();
            cc.on_loss(ack.now, self.tlp.flight);
            self.episode().undo.disarm();
            outcome.reduced = true;
        } else if outcome.acked == 0 && ack.blocks.is_empty() {
            // A peer without DSACK got the segment twice.
            self.tlp.end = None;
        }
    }

    /// Whether the recovery was an error, and what a duplicate says about reordering.
    #[inline]
    fn judge_episode(
        &mut self,
        ack: &AckInfo<'_>,
        advanced: bool,
        dsack: Option<(Seq, Seq)>,
        rtt: &mut Rtt,
        cc: &mut Congestion,
        outcome: &mut Outcome,
    ) {
        // A probe is sent without a sign of loss; that it was not needed says nothing about order.
        if dsack.is_some_and(|(_, right)| self.tlp.last_probe != Some(right)) {
            self.rack.on_dsack(ack.ack, self.board.nxt());
        }
        let Some(episode) = &mut self.episode else { return };
        let undo = &mut episode.undo;
        let is_original = advanced && undo.is_original(ack.ack, ack.echo);
        if !is_original && !dsack.is_some_and(|dsack| undo.is_all_duplicate(dsack)) {
            return;
        }
        undo.disarm();
        outcome.spurious = true;
        cc.on_spurious(ack.now);
        rtt.reset_backoff();
        // Late enough to be taken for lost: from now on more is waited for.
        self.rack.reordering.seen |= self.state == State::Recovery;
        if self.state != State::Open {
            self.board.unmark_lost();
            self.judge_anew(ack.now);
            self.recovered(outcome);
        }
    }

    /// SND.UNA has reached the recovery point, or the recovery is undone.
    fn recovered(&mut self, outcome: &mut Outcome) {
        self.state = State::Open;
        self.forced = false;
        (self.dup_acks, self.dup_bytes) = (0, 0);
        self.rack.on_recovered();
        outcome.recovered = true;
    }

    /// rfc3168 6.1.2: once for a window of data.
    #[inline]
    fn answer_ece(&mut self, ack: &AckInfo<'_>, cc: &mut Congestion, outcome: &mut Outcome) {
        if !ack.ece {
            return;
        }
        if let Some(episode) = &mut self.episode {
            episode.undo.disarm();
        }
        if self.state == State::Open && ack.ack.after(self.cwr_point) {
            self.cwr_point = self.board.nxt();
            cc.on_ecn(ack.now, self.board.outstanding() + outcome.acked);
            outcome.reduced = true;
        }
    }

    /// What may be sent now.
    #[inline]
    #[allow(clippy::too_many_arguments)] // what one acknowledgement was found to be
    fn move_windows(
        &mut self,
        ack: &AckInfo<'_>,
        advanced: bool,
        before: State,
        cwnd_limited: bool,
        rtt: &Rtt,
        cc: &mut Congestion,
        outcome: &Outcome,
    ) {
        if self.state == State::Recovery {
            let in_flight = self.in_flight();
            let safe = advanced && !outcome.losses;
            self.episode().prr.on_ack(outcome.delivered, in_flight, cc.ssthresh(), cc.mss(), safe);
        } else if advanced && before == self.state && !outcome.reduced {
            cc.on_ack(
                &Acked {
                    now: ack.now,
                    una: ack.ack,
                    nxt: self.board.nxt(),
                    bytes: outcome.delivered,
                    rtt_us: outcome.rtt_us,
                    // What is sent again after a timeout fills the window.
                    cwnd_limited: cwnd_limited || self.state == State::Loss,
                },
                rtt,
            );
        }
    }
}
