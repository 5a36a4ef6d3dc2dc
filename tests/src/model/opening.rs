//! Opens: RFC 9293 sections 3.10.7.2 (LISTEN) and 3.10.7.3 (SYN-SENT), and what a SYN agrees.

use super::{Heard, Model, Outcome, Over, Reply, State, What, after, before, refusal};
use crate::wire::flag;

impl Model {
    pub(super) fn hear_listening(&mut self, heard: &Heard) -> Outcome {
        // First: a reset. Second: an acknowledgment. Third: a SYN.
        if heard.has(flag::RST) {
            return Outcome::default();
        }
        if heard.has(flag::ACK) {
            return Outcome::of(refusal(heard));
        }
        let is_open = heard.has(flag::SYN) && !self.refuses_syn(heard);
        if is_open { self.open_passively(heard) } else { Outcome::default() }
    }

    /// A SYN that is none.
    pub(super) fn refuses_syn(&self, heard: &Heard) -> bool {
        heard.has(flag::FIN) && self.by_design(What::SynWithFin)
    }

    pub(super) fn open_passively(&mut self, heard: &Heard) -> Outcome {
        self.forget();
        (self.state, self.passive) = (State::SynReceived, true);
        self.agree(heard);
        if !self.by_design(What::SynBringsNothing) {
            self.take_what_a_syn_brings(heard);
        }
        Outcome::of(Reply::SynAck)
    }

    /// As if the window that a SYN of ours announces were open already.
    fn take_what_a_syn_brings(&mut self, heard: &Heard) -> Outcome {
        self.edge = self.rcv_nxt.wrapping_add(u16::MAX.into());
        self.take_text(&Heard { seq: self.rcv_nxt, flags: heard.flags & !flag::SYN, ..heard.clone() })
    }

    /// A SYN says what its sender can.
    fn agree(&mut self, heard: &Heard) {
        self.irs = heard.seq;
        self.rcv_nxt = heard.seq.wrapping_add(1);
        (self.edge, self.last_ack_sent) = (self.rcv_nxt, self.rcv_nxt);
        self.ts_recent = heard.timestamp;
        self.scaled = heard.scale.is_some();
        self.shift = heard.scale.unwrap_or(0);
    }

    /// Whether both have offered a scale. How far our windows are shifted is ours to say.
    pub fn is_scaled(&self) -> bool {
        self.scaled
    }

    pub(super) fn hear_syn_sent(&mut self, heard: &Heard) -> Outcome {
        let acknowledges = heard.has(flag::ACK);
        // First: an acknowledgment.
        if acknowledges && heard.ack != self.snd_nxt {
            return Outcome::of(refusal(heard));
        }
        // Second: a reset.
        if heard.has(flag::RST) {
            return if acknowledges { self.over(Reply::Nothing, Over::Refused) } else { Outcome::default() };
        }
        // Fourth: a SYN. Fifth: neither.
        if !heard.has(flag::SYN) {
            return Outcome::default();
        }
        self.agree(heard);
        let mut outcome = if acknowledges {
            self.snd_una = heard.ack;
            self.snd_wnd = heard.window.into(); // RFC 7323 section 2.2: never scaled in a SYN
            (self.snd_wl1, self.snd_wl2, self.max_snd_wnd) = (heard.seq, heard.ack, self.snd_wnd);
            self.state = State::Established;
            Outcome { opened: true, ..Outcome::of(Reply::Ack) }
        } else {
            self.state = State::SynReceived;
            Outcome::of(Reply::SynAck)
        };
        if acknowledges && !self.by_design(What::SynBringsNothing) {
            let brought = self.take_what_a_syn_brings(heard);
            (outcome.text, outcome.peer_closed) = (brought.text, brought.peer_closed);
        }
        outcome
    }

    /// RFC 6191 section 2: whether a SYN in TIME-WAIT opens a new connection.
    pub(super) fn opens_anew(&self, heard: &Heard) -> bool {
        let greater = if self.by_design(What::TimeWaitNextNumber) {
            before(self.rcv_nxt, heard.seq)
        } else {
            !before(heard.seq, self.rcv_nxt)
        };
        match (self.ts_recent, heard.timestamp) {
            (Some(recent), Some(value)) => after(value, recent) || (recent == value && greater),
            (None, Some(_)) => true,
            (_, None) => greater,
        }
    }
}
