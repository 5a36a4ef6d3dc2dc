//! A segment of a connection (RFC 9293 section 3.10.7.4, with RFC 5961 and RFC 7323), in the RFC's order: may it be believed, what did it
//! acknowledge, what did it bring.

use super::{
    Event, Tcp,
    acknowledge::Acknowledged,
    assembler::{Inserted, Popped},
    connection::{End, Marks, State},
    may_challenge,
    segment::{Flags, Segment},
    seq::Seq,
    stamp::Stamp,
};
use crate::{
    counters::Counter,
    drops::Drop,
    net::Packet,
    outbox::Outbox,
    port::Frame,
    time::{Duration, Instant},
};

/// What the first checks say.
#[derive(Clone, Copy)]
enum Verdict {
    /// It belongs to what is expected.
    Take,
    /// It ends here, in silence.
    Drop(Drop),
    /// It ends here, and an acknowledgment tells the sender where we are.
    Answer(Drop),
    /// The same, but not too often.
    Challenge(Drop),
    /// The connection ends.
    Reset,
}

/// rfc7323 5.5: after 24 days of silence the last timestamp says nothing any more.
const TIMESTAMP_VALID: Duration = Duration::from_secs(24 * 86_400);

impl Tcp {
    /// A segment of a connection.
    pub(super) fn handle_connection(
        &mut self,
        now: Instant,
        index: u32,
        segment: &Segment,
        packet: &Packet,
        frame: Frame,
        out: &mut Outbox,
    ) {
        let i = index as usize;
        if self.is_predicted(i, segment) {
            return self.take_predicted(now, i, segment, packet.transport_at + segment.payload_at, frame, out);
        }
        if self.connections.hot[i].state == State::SynSent {
            return self.handle_syn_sent(now, i, segment, packet, frame, out);
        }
        let verdict = self.judge(now, i, segment);
        if !matches!(verdict, Verdict::Take) {
            return self.turn_away(now, i, segment, verdict, frame, out);
        }
        self.hear(now, i);
        let payload_at = packet.transport_at + segment.payload_at;
        match self.acknowledge(now, i, segment, out) {
            Acknowledged::Taken => {}
            Acknowledged::Ended => return out.consume(frame),
            Acknowledged::Refused => {
                self.connections.cold[i].last_drop = Some(Drop::TcpAckUnacceptable);
                return out.drop(frame, Drop::TcpAckUnacceptable);
            }
        }
        // rfc9293 3.10.7.2: what a SYN brings besides may be dropped. In a simultaneous open its number is the SYN's, not the first byte's.
        if (segment.payload_len == 0 && !segment.flags.has(Flags::FIN)) || segment.flags.has(Flags::SYN) {
            self.touch(i);
            return out.consume(frame);
        }
        self.take_payload(now, i, segment, payload_at, frame, out);
    }

    /// The peer is there.
    #[inline(always)]
    pub(super) fn hear(&mut self, now: Instant, i: usize) {
        let cold = &mut self.connections.cold[i];
        cold.heard_at = now;
        cold.keepalive_probes = 0;
    }

    #[inline]
    fn judge(&mut self, now: Instant, i: usize, segment: &Segment) -> Verdict {
        let hot = &self.connections.hot[i];
        let flags = segment.flags;
        // rfc7323 5.2 f, 5.3 a, b, c: before all other checks, of every segment when it arrives, but not of a reset.
        if hot.marks.has(Marks::TIMESTAMPS) && !flags.has(Flags::RST) {
            match segment.timestamps {
                // rfc7323 5.3 R1: older than what was seen, so it is an old duplicate.
                Some((value, _)) if (value.wrapping_sub(hot.ts_recent) as i32) < 0 => {
                    if now.since(self.connections.cold[i].heard_at) < TIMESTAMP_VALID {
                        return answer(segment, Drop::TcpPaws);
                    }
                }
                Some(_) => {}
                // A peer that has forgotten the connection asks anew, perhaps without them.
                None if flags.has(Flags::SYN) => {}
                // rfc7323 3.2 g, h: once agreed, each segment but a reset has them; others are dropped, and nothing else comes of it.
                None => return Verdict::Drop(Drop::TcpTimestampMissing),
            }
        }
        if let Some(refused) = self.out_of_window(i, segment) {
            return refused;
        }
        let hot = &self.connections.hot[i];
        if flags.0 & (Flags::RST | Flags::SYN | Flags::ACK) == Flags::ACK {
            return Verdict::Take;
        }
        if flags.has(Flags::RST) {
            // rfc5961 3.2 a, b, c, 4.2 d: a reset with exactly the next number is believed; one elsewhere in the window is asked for again.
            // rfc9293 3.5.3 SHLD-2: whether it has data does not matter.
            return if segment.seq == hot.rcv_nxt {
                Verdict::Reset
            } else if segment.seq.within(hot.rcv_nxt, hot.rcv_adv.since(hot.rcv_nxt)) {
                Verdict::Challenge(Drop::TcpResetUnacceptable)
            } else {
                // rfc5961 3.2 e: here, as for all that is out of the window.
                Verdict::Drop(Drop::TcpOutOfWindow)
            };
        }
        if flags.has(Flags::SYN) {
            // In a simultaneous open the peer's SYN-ACK repeats its SYN.
            if hot.state == State::SynReceived && segment.seq + 1 == hot.rcv_nxt && flags.has(Flags::ACK) {
                return Verdict::Take;
            }
            // rfc5961 4.2 a, b: whatever its number, ask.
            return Verdict::Challenge(Drop::TcpSynInWindow);
        }
        // rfc9293 3.10.7.4, fifth: without an acknowledgment it is dropped.
        Verdict::Drop(Drop::TcpFlags)
    }

    /// rfc9293 3.10.7.4, first: whether any of its numbers may come now.
    #[inline]
    fn out_of_window(&self, i: usize, segment: &Segment) -> Option<Verdict> {
        let hot = &self.connections.hot[i];
        // rfc7323 2.4 b: up to the furthest edge that any acknowledgment of ours has announced.
        // After the peer's FIN nothing more can come.
        let window = if hot.marks.has(Marks::PEER_CLOSED) { 0 } else { hot.rcv_adv.since(hot.rcv_nxt) };
        let (seq, len) = (segment.seq, segment.len());
        let acceptable = match (len, window) {
            // One more than the RFC has: behind a hole, a peer that has filled our window acknowledges from its very edge, and if that did not
            // count, each side would wait for the other.
            (0, _) => seq - hot.rcv_nxt <= window,
            // rfc9293 3.4 MUST-66: with a closed window its acknowledgment and its reset still count, if it comes next.
            (_, 0) => seq == hot.rcv_nxt,
            _ => seq.within(hot.rcv_nxt, window) || (seq.before(hot.rcv_nxt) && segment.end().after(hot.rcv_nxt)),
        };
        if acceptable {
            return None;
        }
        // rfc5961 3.2 e: in silence.
        if segment.flags.has(Flags::RST) {
            return Some(Verdict::Drop(Drop::TcpOutOfWindow));
        }
        // In a simultaneous open the peer's SYN-ACK has the number of its SYN.
        if hot.state == State::SynReceived && segment.flags.has(Flags::SYN) && seq + 1 == hot.rcv_nxt {
            return None;
        }
        if segment.flags.has(Flags::SYN) {
            return Some(Verdict::Challenge(Drop::TcpSynInWindow));
        }
        Some(answer(segment, Drop::TcpOutOfWindow))
    }

    #[cold]
    fn turn_away(
        &mut self,
        now: Instant,
        i: usize,
        segment: &Segment,
        verdict: Verdict,
        frame: Frame,
        out: &mut Outbox,
    ) {
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        let reason = match verdict {
            Verdict::Take => unreachable!("the caller has looked"),
            Verdict::Reset => {
                out.counters.count(Counter::TcpResetsReceived);
                out.consume(frame);
                let reason = if hot.state == State::SynReceived { End::Refused } else { End::Reset };
                return self.end(now, i, reason, out);
            }
            Verdict::Drop(reason) => reason,
            Verdict::Answer(reason) => {
                // rfc2883 4: what came again is named.
                if segment.payload_len > 0 && segment.end().up_to(hot.rcv_nxt) && hot.marks.has(Marks::SACK) {
                    cold.dsack = (segment.seq, segment.seq + segment.payload_len);
                    hot.marks.set(Marks::DSACK);
                }
                hot.marks.set(Marks::ACK_NOW);
                self.touch(i);
                reason
            }
            Verdict::Challenge(reason) => {
                if may_challenge(now, self.options.challenge_interval_us, &mut cold.challenge_at, &mut out.counters) {
                    self.send_ack(now, i, out);
                }
                reason
            }
        };
        // rfc5961 3.2 d, 4.2 c; rfc7323 5.2 g: and nothing more: neither its timestamps nor its acknowledgment count.
        self.connections.cold[i].last_drop = Some(reason);
        out.drop(frame, reason);
    }

    /// rfc9293 3.10.7.4, seventh and eighth: the segment's text, then its FIN.
    #[inline]
    fn take_payload(
        &mut self,
        now: Instant,
        i: usize,
        segment: &Segment,
        payload_at: usize,
        frame: Frame,
        out: &mut Outbox,
    ) {
        let hot = &mut self.connections.hot[i];
        let fin = segment.flags.has(Flags::FIN);
        if !hot.state.receives() {
            // After the peer's FIN nothing more can come: its sender is confused or somebody else.
            hot.marks.set(Marks::ACK_NOW);
            self.touch(i);
            return out.drop(frame, Drop::TcpDataAfterFin);
        }
        let text_end = segment.seq + segment.payload_len;
        if hot.marks.has(Marks::RELEASED) && segment.payload_len > 0 && text_end.after(hot.rcv_nxt) {
            // rfc9293 3.6.1 SHLD-3; rfc1122 4.2.2.13: nobody will read it, and the peer must know that it is lost.
            out.drop(frame, Drop::TcpDataAfterClose);
            return self.reset(now, i, End::DataAfterClose, out);
        }
        let behind = hot.is_behind();
        if segment.payload_len > 0 && self.is_short_of_frames(behind) {
            // rfc9293 3.8.6 MUST-35: what may be a probe of the window is answered.
            self.connections.hot[i].marks.set(Marks::ACK_NOW);
            self.touch(i);
            return out.drop(frame, Drop::TcpPressure);
        }
        let hot = &self.connections.hot[i];
        let in_order = segment.seq == hot.rcv_nxt && hot.assembler.is_none();
        if in_order && segment.end().up_to(hot.rcv_adv) && segment.payload_len > 0 {
            let mut frame = frame;
            frame.trim_front(payload_at);
            self.deliver(now, i, segment.payload_len, frame);
            if fin {
                self.take_fin(now, i, out);
            }
            return self.touch(i);
        }
        self.take_out_of_order(now, i, segment, payload_at, frame, out);
    }

    /// Data that does not come next, or not all of it, or that closes a hole.
    #[cold]
    fn take_out_of_order(
        &mut self,
        now: Instant,
        i: usize,
        segment: &Segment,
        payload_at: usize,
        mut frame: Frame,
        out: &mut Outbox,
    ) {
        let hot = &mut self.connections.hot[i];
        let (rcv_nxt, rcv_adv) = (hot.rcv_nxt, hot.rcv_adv);
        let (mut seq, mut fin) = (segment.seq, segment.flags.has(Flags::FIN));
        let mut end = seq + segment.payload_len;
        // rfc9293 3.10.7.4: what lies outside the window is cut off.
        if end.after(rcv_adv) {
            (end, fin) = (rcv_adv.max(seq), false);
        }
        frame.truncate(payload_at + (end - seq) as usize);
        frame.trim_front(payload_at);
        // rfc5681 3.2 a, b: at the end of this turn, whether it comes out of order or fills a hole.
        hot.marks.set(Marks::ACK_NOW);
        if seq.before(rcv_nxt) {
            let known = rcv_nxt.min(end) - seq;
            if known > 0 {
                self.note_duplicate(i, (seq, seq + known));
            }
            match cut_front(frame, known as usize, out) {
                Some(rest) => frame = rest,
                None => return self.touch(i),
            }
            seq += known;
        }
        self.touch(i);
        if seq == end && !fin {
            return out.drop(frame, if segment.payload_len > 0 { Drop::TcpOutOfWindow } else { Drop::TcpDuplicate });
        }
        if seq == rcv_nxt {
            return self.take_front(now, i, end, fin, frame, out);
        }
        if self.is_short_of_frames(true) {
            return out.drop(frame, Drop::TcpPressure);
        }
        let hot = &mut self.connections.hot[i];
        // rfc9293 3.10.7.4 SHLD-31: kept until what is missing before it comes.
        match self.assemblers.insert(&mut hot.assembler, rcv_nxt, seq, frame, fin, out) {
            Inserted::New { duplicate, .. } => {
                out.counters.count(Counter::TcpOutOfOrder);
                self.connections.cold[i].newest_held = seq;
                self.assemblers.note_holder(hot.assembler, i as u32, now);
                if let Some(range) = duplicate {
                    self.note_duplicate(i, range);
                }
            }
            Inserted::Duplicate { start, end } => self.note_duplicate(i, (start, end)),
            Inserted::Refused(reason) => self.connections.cold[i].last_drop = Some(reason),
        }
        // rfc5681 4.2 e: a sender without SACK counts duplicates, so each out-of-order segment has its own, and no second one.
        if !self.connections.hot[i].marks.has(Marks::SACK) {
            self.send_ack(now, i, out);
        }
    }

    /// What comes next although data behind it is held already: up to where that begins it is new, and then that follows. The rest may fill
    /// further holes (who has no SACK sends everything again, and perhaps in longer segments).
    fn take_front(&mut self, now: Instant, i: usize, end: Seq, fin: bool, mut frame: Frame, out: &mut Outbox) {
        let hot = &self.connections.hot[i];
        let known_from = self.assemblers.begins(hot.assembler).unwrap_or(end).min(end);
        let len = known_from - hot.rcv_nxt;
        let rest = if known_from.before(end) { share_from(&frame, len as usize, out) } else { None };
        frame.truncate(len as usize);
        if len == 0 {
            out.consume(frame);
        } else {
            self.deliver(now, i, len, frame);
        }
        if let Some(rest) = rest {
            let hot = &mut self.connections.hot[i];
            // Where it cannot be held it comes again.
            match self.assemblers.insert(&mut hot.assembler, hot.rcv_nxt, known_from, rest, fin, out) {
                Inserted::New { duplicate: Some(range), .. } => self.note_duplicate(i, range),
                Inserted::Duplicate { start, end } => self.note_duplicate(i, (start, end)),
                Inserted::New { .. } | Inserted::Refused(_) => {}
            }
        }
        self.take_assembled(now, i, out);
        let hot = &self.connections.hot[i];
        if fin && hot.rcv_nxt == end && hot.state.receives() {
            self.take_fin(now, i, out);
        }
    }

    /// What came twice is named in the next acknowledgment (RFC 2883).
    fn note_duplicate(&mut self, i: usize, range: (Seq, Seq)) {
        let hot = &mut self.connections.hot[i];
        if hot.marks.has(Marks::SACK) {
            hot.marks.set(Marks::DSACK);
            self.connections.cold[i].dsack = range;
        }
    }

    /// Hands up what has come to be in order.
    fn take_assembled(&mut self, now: Instant, i: usize, out: &mut Outbox) {
        loop {
            let hot = &mut self.connections.hot[i];
            let Some(Popped { frame, len, fin }) = self.assemblers.pop(&mut hot.assembler, hot.rcv_nxt, out) else {
                return;
            };
            self.assemblers.note_progress(self.connections.hot[i].assembler, now);
            match frame {
                Some(frame) if len > 0 => self.deliver(now, i, len, frame),
                Some(frame) => out.consume(frame),
                None => {}
            }
            if fin {
                self.take_fin(now, i, out);
                return;
            }
        }
    }

    /// Bytes that come next, for the application.
    #[inline(always)]
    pub(super) fn deliver(&mut self, now: Instant, i: usize, len: u32, frame: Frame) {
        let id = self.connections.id(i as u32);
        let hot = &mut self.connections.hot[i];
        hot.rcv_nxt += len;
        if hot.rcv_unconsumed == 0 {
            hot.marks.set(Marks::FRESH);
        }
        hot.rcv_unconsumed += len;
        self.events.push_back(Event::Received { id, frame });
        self.tune_window(now, i, len);
        let hot = &mut self.connections.hot[i];
        // rfc9293 3.8.6.3, rfc5681 4.2: two full segments are acknowledged at the end of this turn, with what else has come in it.
        if hot.rcv_nxt.since(hot.last_ack_sent) >= 2 * u32::from(hot.mss) {
            hot.marks.set(Marks::ACK_NOW);
        } else if !hot.marks.has(Marks::ACK_DELAYED) {
            // rfc9293 3.8.6.3 SHLD-18, MUST-40; rfc5681 4.2 a, b, d: a smaller one may wait for an answer to travel with, not for long.
            hot.marks.set(Marks::ACK_DELAYED);
            hot.ack_at = Stamp::of(now).plus_us(super::ACK_DELAY.as_us() as u32);
        }
    }

    /// The peer's FIN comes next.
    #[cold]
    fn take_fin(&mut self, now: Instant, i: usize, out: &mut Outbox) {
        let id = self.connections.id(i as u32);
        let hot = &mut self.connections.hot[i];
        hot.rcv_nxt += 1;
        // The window has no more to say; it must not lie left of what was taken.
        hot.rcv_adv = hot.rcv_adv.max(hot.rcv_nxt);
        hot.marks.set(Marks::ACK_NOW | Marks::PEER_CLOSED);
        // Whatever lies after a FIN is a lie.
        self.assemblers.discard(&mut hot.assembler, out);
        // rfc9293 3.6 MUST-12: this, and not `Closed` with a reason.
        self.events.push_back(Event::PeerClosed { id });
        let hot = &mut self.connections.hot[i];
        hot.state = match hot.state {
            State::SynReceived | State::Established => State::CloseWait,
            State::FinWait1 => State::Closing, // had our FIN been acknowledged, it would be FIN-WAIT-2
            State::FinWait2 => {
                self.send_ack(now, i, out);
                return self.enter_time_wait(now, i, out);
            }
            other => other,
        };
        self.touch(i);
    }
}

/// rfc9293 3.10.7.4: an acknowledgment in reply to what cannot be taken. Data gets one each time, since its sender waits for it; others not too
/// often, or two confused peers would answer each other for ever.
fn answer(segment: &Segment, reason: Drop) -> Verdict {
    if segment.len() > 0 && !segment.flags.has(Flags::SYN) {
        Verdict::Answer(reason)
    } else {
        Verdict::Challenge(reason)
    }
}

/// Cuts `n` bytes from a frame's front. What begins in a later buffer is copied into a fresh one; `None` when that cannot be had (the frame has
/// ended then, and comes again).
pub(crate) fn cut_front(mut frame: Frame, n: usize, out: &mut Outbox) -> Option<Frame> {
    if n <= frame.head().len() {
        frame.trim_front(n);
        return Some(frame);
    }
    let fresh = out.make().and_then(|mut fresh| {
        let mut skip = n;
        for segment in frame.segments() {
            let from = &segment[skip.min(segment.len())..];
            skip -= skip.min(segment.len());
            if fresh.append_slice(from).is_err() {
                out.consume(fresh);
                return None;
            }
        }
        Some(fresh)
    });
    match fresh {
        Some(_) => out.consume(frame),
        None => out.drop(frame, Drop::TcpNoFrame),
    }
    fresh
}

/// A second frame over the bytes after the first `n`, if there can be one.
fn share_from(frame: &Frame, n: usize, out: &mut Outbox) -> Option<Frame> {
    let share = frame.share(&out.pool);
    out.counters.count(if share.is_some() { Counter::MadeFrames } else { Counter::PoolEmpty });
    cut_front(share?, n, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Pool;

    #[test]
    fn the_front_is_cut_across_buffers() {
        let mut out = Outbox::new(Pool::heap(8), 1, true);
        let piece = |out: &mut Outbox, bytes: &[u8]| {
            let mut f = out.make().unwrap();
            f.append_slice(bytes).unwrap();
            f
        };
        let mut frame = piece(&mut out, b"abc");
        let tail = piece(&mut out, b"defg");
        frame.chain(tail);
        let rest = cut_front(frame, 5, &mut out).unwrap();
        assert_eq!(rest.to_vec(), b"fg");
        let rest = cut_front(rest, 1, &mut out).unwrap();
        assert_eq!(rest.to_vec(), b"g");
        out.consume(rest);
        out.free_discards();
        assert_eq!(out.pool.in_use(), 0);
    }
}
