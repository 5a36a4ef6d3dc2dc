//! Everything behind the first SYN: RFC 9293 section 3.10.7.4, in its order, with RFC 7323 section 5.3 before and RFC 5961 inside.

use super::{
    Heard, Model, Outcome, Over, Reply, State, TIME_WAIT_MS, TIME_WAIT_SHORT_MS, What, after, before, refusal,
};
use crate::wire::flag;

/// Bytes of the largest segment that we have told the peer, options aside.
const MSS: u32 = 1_460;

impl Model {
    pub(super) fn hear_synchronized(&mut self, heard: &Heard) -> Outcome {
        if let Some(outcome) = self.hear_syn_again(heard) {
            return outcome;
        }
        if self.state == State::TimeWait
            && let Some(outcome) = self.hear_in_time_wait(heard)
        {
            return outcome;
        }
        // RFC 7323 sections 5.3 R1 and 3.2: each segment but a reset has a timestamp, and no old one.
        if let Some(recent) = self.ts_recent.filter(|_| !heard.has(flag::RST)) {
            match heard.timestamp {
                Some(value) if before(value, recent) => return self.turn_away(heard),
                None if heard.has(flag::SYN) && self.by_design(What::SynWithoutTimestamp) => {}
                None => return Outcome::default(),
                Some(_) => {}
            }
        }
        // First: the sequence number.
        let crossed = self.is_crossed_syn_ack(heard);
        if !crossed && !self.is_acceptable(heard) {
            return if heard.has(flag::RST) { Outcome::default() } else { self.turn_away(heard) };
        }
        if !self.by_design(What::TimestampAfterAcknowledgment) {
            self.remember_timestamp(heard);
        }
        // Second: a reset (RFC 5961 section 3.2).
        if heard.has(flag::RST) {
            return self.hear_reset(heard);
        }
        // Fourth: a SYN (RFC 5961 section 4.2).
        if heard.has(flag::SYN) && !crossed {
            if self.state == State::SynReceived && self.passive && !self.by_design(What::SynChallenged) {
                self.forget();
                return Outcome::default();
            }
            return self.challenge();
        }
        // Fifth: the acknowledgment.
        if !heard.has(flag::ACK) {
            return Outcome::default();
        }
        self.hear_acknowledgment(heard, crossed)
    }

    /// The peer has not heard our SYN-ACK.
    fn hear_syn_again(&mut self, heard: &Heard) -> Option<Outcome> {
        let again = self.state == State::SynReceived
            && self.passive
            && heard.flags & (flag::SYN | flag::ACK | flag::RST) == flag::SYN
            && heard.seq == self.irs;
        if !again || !self.by_design(What::SynAgain) {
            return None;
        }
        if let (Some(recent), Some(value)) = (self.ts_recent, heard.timestamp)
            && after(value, recent)
        {
            self.ts_recent = Some(value);
        }
        Some(Outcome::of(Reply::SynAck))
    }

    /// RFC 9293 figure 7: the answer to our SYN, after the peer's own.
    fn is_crossed_syn_ack(&self, heard: &Heard) -> bool {
        self.state == State::SynReceived
            && !self.passive
            && heard.flags & (flag::SYN | flag::ACK | flag::RST) == flag::SYN | flag::ACK
            && heard.seq == self.irs
            && self.by_design(What::SynAckInSimultaneousOpen)
    }

    fn window(&self) -> u32 {
        let closed = self.peer_closed && self.by_design(What::ClosedAfterFin);
        if closed { 0 } else { self.edge.wrapping_sub(self.rcv_nxt) }
    }

    /// RFC 9293 table 6.
    fn is_acceptable(&self, heard: &Heard) -> bool {
        let (window, seq, len) = (self.window(), heard.seq, heard.len());
        let within = |number: u32| number.wrapping_sub(self.rcv_nxt) < window;
        match (len, window) {
            (_, 0) if seq == self.rcv_nxt => true,
            (0, _) => {
                let at_edge = seq == self.rcv_nxt.wrapping_add(window);
                let is_half_open = self.state == State::SynReceived && self.passive;
                within(seq) || (at_edge && !is_half_open && self.by_design(What::AcknowledgmentFromTheEdge))
            }
            (_, 0) => false,
            _ => {
                let last = seq.wrapping_add(len - 1);
                let spans = before(seq, self.rcv_nxt) && !before(last, self.rcv_nxt);
                within(seq) || within(last) || (spans && self.by_design(What::BeginsBeforeAndEndsBehind))
            }
        }
    }

    /// An acknowledgment for what cannot be taken.
    fn turn_away(&mut self, heard: &Heard) -> Outcome {
        let limited = heard.is_empty() || matches!(self.state, State::SynReceived if self.passive);
        if heard.has(flag::SYN) || (limited && self.by_design(What::AnswersAreLimited)) {
            return self.challenge();
        }
        Outcome::of(Reply::Ack)
    }

    /// RFC 5961 section 7: not too often.
    fn challenge(&mut self) -> Outcome {
        let free_at = self.challenged_at.map_or(0, |at| at + self.setup.challenge_ms);
        if self.now_ms < free_at {
            return Outcome::default();
        }
        self.challenged_at = Some(self.now_ms);
        Outcome::of(Reply::Ack)
    }

    fn hear_reset(&mut self, heard: &Heard) -> Outcome {
        match heard.seq.wrapping_sub(self.rcv_nxt) {
            0 if self.state == State::SynReceived && self.passive => {
                self.forget();
                Outcome::default()
            }
            0 if self.state == State::SynReceived => self.over(Reply::Nothing, Over::Refused),
            0 => self.over(Reply::Nothing, Over::Reset),
            distance if distance < self.window() => self.challenge(),
            _ => Outcome::default(),
        }
    }

    fn hear_acknowledgment(&mut self, heard: &Heard, crossed: bool) -> Outcome {
        let ack = heard.ack;
        let mut opened = false;
        if self.state == State::SynReceived {
            if ack != self.snd_nxt {
                return Outcome::of(refusal(heard));
            }
            self.state = State::Established;
            self.challenged_at = self.challenged_at.filter(|_| !self.passive); // limits are a connection's
            self.snd_una = ack;
            self.set_window(heard);
            opened = true;
        }
        // RFC 5961 section 5.2.
        if before(self.snd_nxt, ack) || before(ack, self.oldest_ack()) {
            return self.challenge();
        }
        if self.by_design(What::TimestampAfterAcknowledgment) {
            self.remember_timestamp(heard);
        }
        self.take_window(heard);
        if before(self.snd_una, ack) {
            self.snd_una = ack;
        }
        let mut outcome = Outcome { opened, ..Outcome::default() };
        if self.our_fin == Some(self.snd_una) {
            match self.state {
                State::FinWait1 => self.state = State::FinWait2,
                State::Closing => return Outcome { over: Some(self.begin_time_wait()), ..outcome },
                State::LastAck => return self.over(Reply::Nothing, Over::Graceful),
                _ => {}
            }
        }
        // Sixth to eighth: urgent text, text, the FIN.
        if crossed || (heard.text.is_empty() && !heard.has(flag::FIN)) {
            return outcome;
        }
        let brought = self.hear_text(heard);
        outcome = Outcome { opened, ..brought };
        outcome
    }

    fn remember_timestamp(&mut self, heard: &Heard) {
        if let (Some(recent), Some(value)) = (self.ts_recent, heard.timestamp)
            && !before(value, recent)
            && !before(self.last_ack_sent, heard.seq)
        {
            self.ts_recent = Some(value);
        }
    }

    fn take_window(&mut self, heard: &Heard) {
        let Heard { seq, ack, .. } = *heard;
        if before(ack, self.snd_una) {
            return;
        }
        let behind_hole = heard.is_empty() && before(self.rcv_nxt, seq) && self.by_design(What::WindowFromBehindAHole);
        let newer = before(self.snd_wl1, seq) && !behind_hole;
        let as_new = self.snd_wl1 == seq && !before(ack, self.snd_wl2);
        let surely = before(self.snd_una, ack) && self.by_design(What::WindowOfNewAcknowledgment);
        if newer || as_new || surely {
            self.set_window(heard);
        }
    }

    fn set_window(&mut self, heard: &Heard) {
        let shift = if heard.has(flag::SYN) { 0 } else { self.shift };
        self.snd_wnd = u32::from(heard.window) << shift;
        (self.snd_wl1, self.snd_wl2) = (heard.seq, heard.ack);
        self.max_snd_wnd = self.max_snd_wnd.max(self.snd_wnd);
    }

    fn hear_text(&mut self, heard: &Heard) -> Outcome {
        if !self.state.receives() {
            let answered = heard.has(flag::FIN) || self.by_design(What::ClosedAfterFin);
            return Outcome::of(if answered { Reply::Ack } else { Reply::Nothing });
        }
        let text_end = heard.seq.wrapping_add(heard.text.len() as u32);
        if self.released && !heard.text.is_empty() && before(self.rcv_nxt, text_end) {
            return self.over(self.abort_reply(), Over::Aborted);
        }
        let mut outcome = self.take_text(heard);
        if outcome.peer_closed {
            match self.state {
                State::Established => self.state = State::CloseWait,
                State::FinWait1 => self.state = State::Closing, // had our FIN been acknowledged, it would be FIN-WAIT-2
                State::FinWait2 => outcome.over = Some(self.begin_time_wait()),
                _ => {}
            }
        }
        outcome.urgent = heard.has(flag::URG) && !outcome.text.is_empty() && !self.by_design(What::UrgentIsNothing);
        outcome
    }

    /// The text and the FIN behind it, whatever the state.
    pub(super) fn take_text(&mut self, heard: &Heard) -> Outcome {
        let first = self.irs.wrapping_add(1);
        let edge = self.rcv_nxt.wrapping_add(self.window());
        let fin_needs_room = !self.by_design(What::FinAtTheEdge);
        let next = self.stream.take(heard, first, self.rcv_nxt, edge, fin_needs_room);
        self.rcv_nxt = self.rcv_nxt.wrapping_add(next.text.len() as u32 + u32::from(next.fin));
        self.peer_closed = next.fin;
        if before(self.edge, self.rcv_nxt) {
            self.edge = self.rcv_nxt;
        }
        // RFC 5681 section 4.2: what is out of order, known or closes a hole is acknowledged at once, and each second full segment; other text
        // soon.
        let unacknowledged = self.rcv_nxt.wrapping_sub(self.last_ack_sent);
        let may_wait = next.in_order && !next.fin && unacknowledged < 2 * MSS;
        let reply = if may_wait { Reply::MayAck } else { Reply::Ack };
        Outcome { text: next.text, peer_closed: next.fin, ..Outcome::of(reply) }
    }

    fn begin_time_wait(&mut self) -> Over {
        self.state = State::TimeWait;
        self.challenged_at = None;
        self.wait_anew();
        Over::Graceful
    }

    fn wait_anew(&mut self) {
        let short = self.by_design(What::TimeWaitIsShort);
        self.time_wait_until = self.now_ms + if short { TIME_WAIT_SHORT_MS } else { TIME_WAIT_MS };
    }

    /// What is special in TIME-WAIT. `None`: nothing.
    fn hear_in_time_wait(&mut self, heard: &Heard) -> Option<Outcome> {
        if heard.has(flag::RST) {
            return self.by_design(What::TimeWaitIgnoresResets).then(Outcome::default);
        }
        let is_open = heard.has(flag::SYN) && !heard.has(flag::ACK) && !self.refuses_syn(heard);
        if is_open && self.setup.listens && self.opens_anew(heard) {
            let above = self.snd_nxt;
            let outcome = self.open_passively(heard);
            self.iss_above = Some(above);
            return Some(outcome);
        }
        let old = matches!((self.ts_recent, heard.timestamp), (Some(recent), Some(value)) if before(value, recent));
        if heard.has(flag::FIN) && heard.end() == self.rcv_nxt && !old {
            self.wait_anew();
            return Some(Outcome::of(Reply::Ack));
        }
        if !self.by_design(What::TimeWaitLooksAtNumbersOnly) {
            return None;
        }
        if heard.is_empty() && heard.seq == self.rcv_nxt {
            return Some(Outcome::default());
        }
        let limited = self.by_design(What::AnswersAreLimited);
        Some(if limited { self.challenge() } else { Outcome::of(Reply::Ack) })
    }

    /// Whether our first number is one that may follow the last connection's.
    pub fn begins_above_the_last(&self) -> bool {
        !matches!((self.iss, self.iss_above), (Some(iss), Some(above)) if !before(above, iss))
    }
}
