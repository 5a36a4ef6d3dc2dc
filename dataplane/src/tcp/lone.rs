//! A lone segment: what most connections of a gateway have under way most of the time, a small message that nothing else follows.
//!
//! ```text
//!   nothing --send--> lone, unsent --flush--> lone, sent --acknowledged--> nothing
//!                          |                       |
//!                          +------- anything else: more data, a FIN, a timer, SACK, too little window ----> flight
//! ```
//! It needs no queue, no scoreboard and no loss recovery while all goes well, only its bytes and when it left: so an exchange touches a
//! connection's own cache lines and hardly any others. It leaves in the application's frame, so that no other is made for it, and none is
//! held until it is acknowledged: its bytes are copied to a place of ours, where they are read only if they must be sent again. What
//! does not go so well becomes a [`Flight`](super::flight::Flight), as if it had been one from the beginning.

use super::{
    Tcp,
    congestion::CongestionControl,
    connection::{Hot, Marks},
    recovery,
    segment::{Flags, Segment},
    stamp::Stamp,
};
use crate::{
    limits::{HEADERS_MAX, TCP_LONE_MAX},
    outbox::Outbox,
    port::Frame,
    time::Instant,
};
use std::mem;

/// A small segment that is under way, or will be, with nothing else.
#[derive(Default)]
pub(super) enum Lone {
    #[default]
    Nothing,
    /// Nothing of it was sent.
    Waits(Frame),
    /// All of it was. Its bytes are in [`Copies`], and `snd_una..snd_nxt` are its numbers.
    Sent(u32),
}

/// Bytes of lone segments. Places are used again, the last one first.
pub(super) struct Copies {
    places: Vec<[u8; TCP_LONE_MAX]>,
    free: Vec<u32>,
}

impl Copies {
    /// For so many connections.
    pub(super) fn new(max: usize) -> Self {
        Self { places: Vec::with_capacity(max), free: Vec::with_capacity(max) }
    }
    #[inline]
    fn keep(&mut self, bytes: &[u8]) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push([0; TCP_LONE_MAX]);
            self.places.len() as u32 - 1
        });
        self.places[place as usize][..bytes.len()].copy_from_slice(bytes);
        place
    }
    fn at(&self, place: u32, len: u32) -> &[u8] {
        &self.places[place as usize][..len as usize]
    }
    #[inline]
    fn end(&mut self, place: u32) {
        self.free.push(place);
    }
}

impl Tcp {
    /// Whether a frame may go alone: nothing is queued or under way, nothing will follow, and one segment holds it.
    #[inline(always)]
    pub(super) fn may_be_lone(hot: &Hot, len: usize) -> bool {
        hot.flight.is_none()
            && !hot.marks.has(Marks::LONE | Marks::CLOSED)
            && hot.state.sends()
            && len <= usize::from(hot.mss).min(TCP_LONE_MAX)
    }

    /// Keeps a frame that may go alone, for the flush to send.
    #[inline(always)]
    pub(super) fn keep_lone(&mut self, i: usize, frame: Frame) {
        self.connections.hot[i].marks.set(Marks::LONE);
        self.connections.cold[i].lone = Lone::Waits(frame);
        self.queued_frames += 1;
    }

    /// Sends what goes alone, if windows and port have room; otherwise it waits as others do.
    #[inline(always)]
    pub(super) fn send_lone(&mut self, now: Instant, i: usize, out: &mut Outbox) {
        let hot = &self.connections.hot[i];
        if hot.snd_nxt != hot.snd_una || !self.has_room(i, out) {
            return; // sent already, or the port takes nothing more in this turn
        }
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        let Lone::Waits(frame) = &cold.lone else { return };
        let len = frame.len() as u32;
        // A congestion window that this fills takes part in what happens next.
        let fits = len <= hot.snd_wnd && len + 2 * u32::from(hot.mss) <= cold.congestion.cwnd();
        // Headers go before it in the same buffer.
        let may_leave = frame.segment_count() == 1 && frame.headroom() >= HEADERS_MAX && !frame.is_shared();
        if !fits || !may_leave {
            return self.become_flight(i, out);
        }
        let place = self.copies.keep(frame.head());
        let Lone::Waits(frame) = mem::replace(&mut cold.lone, Lone::Sent(place)) else { return };
        self.queued_frames -= 1;
        let stamp = Stamp::of(now);
        cold.restart(now);
        (cold.sent_at, cold.stalled_at) = (now, now);
        hot.transmit_at = recovery::lone_deadline(stamp, hot.marks.has(Marks::SACK), &cold.rtt);
        hot.marks.set(Marks::TRANSMIT_ARMED);
        hot.marks.clear(Marks::PERSIST | Marks::PROBED);
        let seq = hot.snd_nxt;
        hot.snd_nxt += len;
        // rfc9293 3.9.1.2 MUST-61: the last that there is to send says PSH.
        self.emit_data(now, i, seq, Flags::PSH, frame, true, out);
    }

    /// A segment came while one of ours is alone under way. Says whether that was acknowledged, whole and without a word more; if the segment says
    /// anything else about it, it is a flight from then on.
    #[inline(always)]
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
        if let Lone::Sent(place) = mem::take(&mut cold.lone) {
            self.copies.end(place);
        }
        true
    }

    /// What goes alone, sent or not, becomes a flight; so does nothing at all, if there is nothing.
    #[cold]
    pub(super) fn become_flight(&mut self, i: usize, out: &mut Outbox) {
        let hot = &mut self.connections.hot[i];
        if !hot.marks.has(Marks::LONE) {
            return;
        }
        hot.marks.clear(Marks::LONE);
        let (una, sent) = (hot.snd_una, hot.snd_nxt - hot.snd_una);
        let lone = mem::take(&mut self.connections.cold[i].lone);
        let index = self.begin_flight(i, una);
        let (cold, flight) = (&self.connections.cold[i], self.flights.at_mut(index));
        match lone {
            Lone::Nothing => {}
            Lone::Waits(frame) => {
                flight.queued_end = una + frame.len() as u32;
                flight.queue.push(una, frame, false, out);
            }
            Lone::Sent(place) => {
                flight.queued_end = una + sent;
                flight.queue.begin_with(una, self.copies.at(place, sent));
                flight.recovery.on_sent(Stamp::of(cold.sent_at), sent, &cold.congestion);
                self.copies.end(place);
            }
        }
    }

    /// The connection ends, and nobody waits for it any more.
    pub(super) fn discard_lone(&mut self, i: usize, out: &mut Outbox) {
        self.connections.hot[i].marks.clear(Marks::LONE);
        match mem::take(&mut self.connections.cold[i].lone) {
            Lone::Nothing => {}
            Lone::Waits(frame) => {
                self.queued_frames -= 1;
                out.consume(frame);
            }
            Lone::Sent(place) => self.copies.end(place),
        }
    }
}
