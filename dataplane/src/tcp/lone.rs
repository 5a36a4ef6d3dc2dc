//! A lone segment: what most connections of a gateway have under way most of the time, a small message that nothing else follows.
//!
//! ```text
//!   nothing --send--> lone, unsent --flush--> lone, sent --acknowledged--> nothing
//!                          |                       |
//!                          +------- anything else: more data, a FIN, a timer, SACK, too little window ----> flight
//! ```
//! It needs no queue, no scoreboard and no loss recovery while all goes well, only its frame and when it left: so an exchange touches a
//! connection's own cache lines and no others. What does not go so well becomes a [`Flight`](super::flight::Flight), as if it had been
//! one from the beginning.

use super::{
    Tcp,
    congestion::CongestionControl,
    connection::{Hot, Marks},
    recovery,
    segment::{Flags, Segment},
    stamp::Stamp,
};
use crate::{limits::TCP_COPY_MAX, outbox::Outbox, port::Frame, time::Instant};

impl Tcp {
    /// Whether a frame may go alone: nothing is queued or under way, nothing will follow, and one segment holds it.
    #[inline]
    pub(super) fn may_be_lone(hot: &Hot, len: usize) -> bool {
        hot.flight.is_none()
            && !hot.marks.has(Marks::LONE | Marks::CLOSED)
            && hot.state.sends()
            && len <= usize::from(hot.mss).min(TCP_COPY_MAX)
    }

    /// Keeps a frame that may go alone, for the flush to send.
    #[inline]
    pub(super) fn keep_lone(&mut self, i: usize, frame: Frame) {
        self.connections.hot[i].marks.set(Marks::LONE);
        self.connections.cold[i].lone = Some(frame);
        self.queued_frames += 1;
    }

    /// Sends what goes alone, if windows and port have room; otherwise it waits as others do.
    #[inline]
    pub(super) fn send_lone(&mut self, now: Instant, i: usize, out: &mut Outbox) {
        let hot = &self.connections.hot[i];
        if hot.snd_nxt != hot.snd_una || !self.has_room(i, out) {
            return; // sent already, or the port takes nothing more in this turn
        }
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        let Some(lone) = &cold.lone else { return };
        let len = lone.len() as u32;
        // A congestion window that this fills takes part in what happens next.
        let fits = len <= hot.snd_wnd && len + 2 * u32::from(hot.mss) <= cold.congestion.cwnd();
        let copy = if fits { copy_of(lone, out) } else { None };
        let Some(copy) = copy else { return self.become_flight(i, out) };
        let stamp = Stamp::of(now);
        cold.restart(now);
        (cold.sent_at, cold.stalled_at) = (now, now);
        hot.transmit_at = recovery::lone_deadline(stamp, hot.marks.has(Marks::SACK), &cold.rtt);
        hot.marks.set(Marks::TRANSMIT_ARMED);
        hot.marks.clear(Marks::PERSIST | Marks::PROBED);
        let seq = hot.snd_nxt;
        hot.snd_nxt += len;
        // rfc9293 3.9.1.2 MUST-61: the last that there is to send says PSH.
        self.emit_data(now, i, seq, Flags::PSH, copy, true, out);
    }

    /// A segment came while one of ours is alone under way. Says whether that was acknowledged, whole and without a word more; if the segment says
    /// anything else about it, it is a flight from then on.
    #[inline]
    pub(super) fn acknowledge_lone(&mut self, now: Instant, i: usize, segment: &Segment, out: &mut Outbox) -> bool {
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        if hot.snd_nxt == hot.snd_una {
            return false;
        }
        let more = !segment.blocks.is_empty() || segment.flags.has(Flags::ECE);
        if segment.ack != hot.snd_nxt || more {
            // Without news about it, as with data that crosses it, it stays alone.
            if more || segment.ack != hot.snd_una || segment.len() == 0 {
                self.become_flight(i, out);
            }
            return false;
        }
        let stamp = Stamp::of(now);
        // rfc6298 3: it was sent once, so its round trip is a sample.
        cold.rtt.sample(stamp.since(Stamp::of(cold.sent_at)), stamp);
        cold.acked_bytes += u64::from(hot.snd_nxt - hot.snd_una);
        hot.snd_una = segment.ack;
        hot.marks.clear(Marks::LONE | Marks::TRANSMIT_ARMED);
        if let Some(frame) = cold.lone.take() {
            self.queued_frames -= 1;
            out.consume(frame);
        }
        true
    }

    /// What goes alone, sent or not, becomes a flight; so does nothing at all, if there is nothing.
    pub(super) fn become_flight(&mut self, i: usize, out: &mut Outbox) {
        let hot = &mut self.connections.hot[i];
        if !hot.marks.has(Marks::LONE) {
            return;
        }
        hot.marks.clear(Marks::LONE);
        let (una, sent) = (hot.snd_una, hot.snd_nxt - hot.snd_una);
        let cold = &mut self.connections.cold[i];
        let (sent_at, frame) = (cold.sent_at, cold.lone.take());
        self.begin_flight(i, una);
        let (hot, cold) = (&self.connections.hot[i], &self.connections.cold[i]);
        let Some((index, frame)) = hot.flight.get().zip(frame) else { return };
        let flight = self.flights.at_mut(index);
        if sent > 0 {
            flight.recovery.on_sent(Stamp::of(sent_at), sent, &cold.congestion);
        }
        flight.queued_end = una + frame.len() as u32;
        flight.queue.push(una, frame, false, out);
    }

    /// The connection ends, and nobody waits for it any more.
    pub(super) fn discard_lone(&mut self, i: usize, out: &mut Outbox) {
        if let Some(frame) = self.connections.cold[i].lone.take() {
            self.connections.hot[i].marks.clear(Marks::LONE);
            self.queued_frames -= 1;
            out.consume(frame);
        }
    }
}

/// The same bytes in a frame that can leave; `None` when none can be had.
#[inline]
fn copy_of(frame: &Frame, out: &mut Outbox) -> Option<Frame> {
    let mut copy = out.make()?;
    for segment in frame.segments() {
        copy.append_slice(segment).expect("TCP_COPY_MAX bytes fit every frame");
    }
    Some(copy)
}
