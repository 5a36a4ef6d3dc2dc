//! What the engine did in a turn against what the model has for it.

use crate::run::{Run, Sent, Turn, byte_of_ours};
use weirgate_dataplane::{tcp::End, time::Duration};
use weirgate_tests::{
    model::{Outcome, Over, Reply, State},
    wire::flag,
};

/// rfc9293 3.8.6.3 MUST-40: no acknowledgment is later.
const ACK_DELAY_MAX: Duration = Duration::from_ms(500);

/// What a turn has sent, counted.
#[derive(Default)]
struct Count {
    acks: u32,
    bare: u32,
    syn_acks: u32,
    resets: u32,
    data: u32,
    fin: bool,
}

fn same<T: Copy + PartialEq + std::fmt::Debug>(what: &str, engine: T, model: T) -> Result<(), String> {
    if engine == model { Ok(()) } else { Err(format!("{what}: {engine:?}, but for the model {model:?}")) }
}

fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

impl Run {
    /// `by_time`: SYNs and SYN-ACKs may be repeated.
    pub(crate) fn check(&mut self, expected: &Outcome, turn: &Turn, by_time: bool) -> Result<(), String> {
        if turn.text != expected.text {
            let (got, due) = (turn.text.len(), expected.text.len());
            return Err(format!("{got} bytes were delivered, {due} were due, or others"));
        }
        same("told of urgent text", false, expected.urgent)?;
        same("open", turn.opened, expected.opened)?;
        same("the peer's FIN", turn.peer_closed, expected.peer_closed)?;
        same("over", turn.over.map(over_of).transpose()?, expected.over)?;
        self.check_sent(expected, turn, by_time)?;
        self.check_report()?;
        self.tcp.check(self.now())
    }

    fn check_sent(&mut self, expected: &Outcome, turn: &Turn, by_time: bool) -> Result<(), String> {
        let owed = self.model.owes();
        let mut count = Count::default();
        let mut gains = false;
        for sent in &turn.sent {
            if sent.flags & flag::RST != 0 {
                count.resets += 1;
                let ack = (sent.flags & flag::ACK != 0).then_some(sent.ack);
                same("a reset", Reply::Reset(sent.seq, ack), expected.reply)?;
            } else if sent.flags & flag::SYN != 0 {
                self.check_syn(sent)?;
                count.syn_acks += u32::from(sent.flags & flag::ACK != 0);
            } else {
                gains |= self.check_segment(sent, &mut count)?;
            }
        }
        same("resets", count.resets, u32::from(matches!(expected.reply, Reply::Reset(..))))?;
        same("bytes of new data", count.data, expected.data)?;
        same("our FIN", count.fin, expected.fin)?;
        if !by_time {
            same("SYN-ACKs", count.syn_acks, u32::from(expected.reply == Reply::SynAck))?;
        }
        if expected.reply == Reply::Ack && count.acks == 0 {
            return Err("no acknowledgment".into());
        }
        let may_ack = matches!(expected.reply, Reply::Ack | Reply::MayAck) || owed || gains;
        if count.bare > u32::from(may_ack) {
            return Err(format!("{} acknowledgments for {:?}", count.bare, expected.reply));
        }
        self.check_delay()
    }

    fn check_delay(&mut self) -> Result<(), String> {
        let owes = self.model.owes();
        let since = self.owed_since_ms.filter(|_| owes).unwrap_or(self.now_ms);
        self.owed_since_ms = owes.then_some(since);
        if owes && self.ms_since(since) > ACK_DELAY_MAX {
            return Err(format!("no acknowledgment since {since}"));
        }
        Ok(())
    }

    fn check_syn(&mut self, sent: &Sent) -> Result<(), String> {
        let answers = self.model.state == State::SynReceived;
        if !answers && self.model.state != State::SynSent {
            return Err(format!("a SYN in {}", self.model.state.name()));
        }
        same("flags", sent.flags, if answers { flag::SYN | flag::ACK } else { flag::SYN })?;
        same("our first number", sent.seq, self.model.iss().unwrap_or(sent.seq))?;
        if answers {
            same("what a SYN-ACK acknowledges", sent.ack, self.model.rcv_nxt())?;
            same("the timestamp that it echoes", sent.echo, self.model.ts_recent)?;
        }
        let edge = sent.ack.wrapping_add(u32::from(sent.window));
        self.model.sent(sent.seq, sent.flags, 0, edge);
        same("our numbers begin above the last connection's", self.model.begins_above_the_last(), true)
    }

    /// Data or an acknowledgment. Says whether it opens the window.
    fn check_segment(&mut self, sent: &Sent, count: &mut Count) -> Result<bool, String> {
        let state = self.model.state;
        if !state.is_synchronized() && state != State::SynReceived {
            return Err(format!("a segment in {}", state.name()));
        }
        let fin = sent.flags & flag::FIN != 0;
        same("flags", sent.flags & !(flag::PSH | flag::FIN), flag::ACK)?;
        same("what is acknowledged", sent.ack, self.model.rcv_nxt())?;
        same("the timestamp that is echoed", sent.echo, self.model.ts_recent)?;
        count.acks += 1;
        let (len, snd_nxt) = (sent.text.len() as u32, self.model.snd_nxt());
        let end = sent.seq.wrapping_add(len + u32::from(fin));
        if end == sent.seq {
            count.bare += 1;
            same("the number of an acknowledgment", sent.seq, snd_nxt)?;
        } else if before(snd_nxt, end) {
            same("the number of new data", sent.seq, snd_nxt)?;
            count.data += len;
            count.fin |= fin;
        } else {
            // Sent again, when the engine likes.
            same("data from before SND.UNA", before(sent.seq, self.model.snd_una()), false)?;
            same("a FIN", fin, fin && self.model.our_fin() == Some(end))?;
        }
        let begin = sent.seq.wrapping_sub(self.model.iss().unwrap_or(0)).wrapping_sub(1);
        let sound = (0u32..).zip(&sent.text).all(|(n, byte)| *byte == byte_of_ours(begin.wrapping_add(n)));
        same("what was written is sent", sound, true)?;
        self.check_window(sent, end)
    }

    /// The window edge does not move to the left, and is the one that is kept.
    fn check_window(&mut self, sent: &Sent, end: u32) -> Result<bool, String> {
        let shift = if self.model.is_scaled() { self.own_scale } else { 0 };
        let edge = sent.ack.wrapping_add(u32::from(sent.window) << shift);
        let gain = edge.wrapping_sub(self.model.edge()).cast_signed();
        let receives = matches!(self.model.state, State::Established | State::FinWait1 | State::FinWait2);
        // RFC 7323 section 2.4: by less than a unit of the scale only.
        if receives && gain < 0 && gain.unsigned_abs() >= 1 << shift {
            return Err(format!("the window shrinks by {}", -gain));
        }
        let kept = self.edge().filter(|_| receives && sent.window != u16::MAX);
        if let Some(kept) = kept.filter(|kept| kept.wrapping_sub(edge) >= 1 << shift) {
            return Err(format!("the window ends at {kept}, but {edge} is said"));
        }
        let fin = sent.flags & flag::FIN;
        self.model.sent(sent.seq, fin, end.wrapping_sub(sent.seq) - u32::from(fin != 0), edge);
        Ok(gain > 0)
    }

    fn check_report(&self) -> Result<(), String> {
        let report = self.report();
        let model = &self.model;
        let nobody = matches!(model.state, State::Closed | State::Listen);
        let state = report.as_ref().map_or(if nobody { model.state.name() } else { "nothing" }, |report| report.state);
        same("the state", state, model.state.name())?;
        let Some(report) = report.filter(|_| model.state.is_synchronized() && model.state != State::TimeWait) else {
            return Ok(());
        };
        same("SND.NXT - SND.UNA", report.unacked, model.snd_nxt().wrapping_sub(model.snd_una()))?;
        same("SND.UNA + SND.WND - SND.NXT", report.snd_wnd, model.snd_room())?;
        same("unconsumed", report.unconsumed, model.unread())?;
        same("timestamps", report.timestamps, model.ts_recent.is_some())
    }
}

fn over_of(end: End) -> Result<Over, String> {
    match end {
        End::Reset => Ok(Over::Reset),
        End::Refused => Ok(Over::Refused),
        End::Graceful => Ok(Over::Graceful),
        End::Aborted | End::DataAfterClose => Ok(Over::Aborted),
        other => Err(format!("it ended: {other:?}")),
    }
}
