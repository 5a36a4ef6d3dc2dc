//! Relief when frames run out: peers that stand still give back what they hold up.
//!
//! A peer that has closed its window, or reads a byte now and then, holds what is queued for it, and TCP by itself would wait for ever
//! (RFC 9293 section 3.8.6.1). That is the peer's right as long as nobody else needs the frames. When all that may be queued or held is, whoever
//! has freed none for [`TCP_STALLED`] is ended, as RFC 6429 section 3 lets an implementation do; and what has waited so long behind a hole is
//! forgotten, as RFC 2018 section 8 lets a receiver do: it comes again. What the application has not consumed, because somebody else stands still,
//! is ended in the same way: its first look marks, consuming takes the mark away, and the next round is so much later.
//!
//! ```text
//!   flights      | . | A | . | B | C | . | D |     a hand goes around, some places every TCP_RELIEF_EVERY, only while frames are short
//!                          ^
//! ```

use super::{
    Tcp,
    connection::{End, Marks, State},
};
use crate::{
    counters::Counter,
    limits::{TCP_RELIEF_ENDS, TCP_RELIEF_EVERY, TCP_RELIEF_LOOKS, TCP_STALLED},
    outbox::Outbox,
    time::Instant,
};

impl Tcp {
    /// Somebody goes without frames because of what others have.
    #[inline(always)]
    fn is_in_need(&self) -> bool {
        !self.may_queue(0) || self.spare_to_hold() == 0
    }

    /// When [`Self::relieve`] has something to do.
    #[inline(always)]
    pub(super) fn next_relief(&self) -> Instant {
        if self.is_in_need() { self.share.look_at } else { Instant::NEVER }
    }

    /// Takes frames from those who stand still, if others need them.
    #[inline(always)]
    pub(super) fn relieve(&mut self, now: Instant, out: &mut Outbox) {
        if self.is_in_need() && now >= self.share.look_at {
            self.share.look_at = now + TCP_RELIEF_EVERY;
            self.end_stalled(now, out);
            self.forget_stalled_holes(now, out);
            self.end_unread(now, out);
        }
    }

    /// Ends connections whose peer takes nothing.
    #[cold]
    fn end_stalled(&mut self, now: Instant, out: &mut Outbox) {
        let places = self.flights.places();
        for _ in 0..places.min(TCP_RELIEF_LOOKS) {
            if !self.is_in_need() {
                return;
            }
            let hand = &mut self.share.hands.0;
            *hand = if *hand + 1 < places { *hand + 1 } else { 0 };
            let flight = self.flights.at(*hand);
            let Some(connection) = flight.connection else { continue };
            if flight.queue.frames() > 0 && now.since(flight.freed_at) >= TCP_STALLED {
                self.reset(now, connection as usize, End::Stalled, out);
            }
        }
    }

    /// Ends connections of which the application consumes nothing. How many frames it has is known once a turn, so only some go at a time.
    #[cold]
    fn end_unread(&mut self, now: Instant, out: &mut Outbox) {
        let mut ended = 0;
        for _ in 0..TCP_RELIEF_LOOKS {
            let (at, round_at) = self.share.unread;
            if self.spare_to_hold() > 0 || ended == TCP_RELIEF_ENDS || now < round_at {
                return;
            }
            let Some(hot) = self.connections.hot.get_mut(at) else {
                self.share.unread = (0, now + TCP_STALLED);
                return;
            };
            self.share.unread.0 = at + 1;
            if hot.state == State::Closed || hot.rcv_unconsumed == 0 {
                continue;
            }
            if hot.marks.has(Marks::STANDING) {
                ended += 1;
                self.reset(now, at, End::Stalled, out);
            } else {
                hot.marks.set(Marks::STANDING);
            }
        }
    }

    /// Forgets what lies behind holes that nobody fills.
    #[cold]
    fn forget_stalled_holes(&mut self, now: Instant, out: &mut Outbox) {
        let places = self.assemblers.places();
        for _ in 0..places.min(TCP_RELIEF_LOOKS) {
            if self.spare_to_hold() > 0 {
                return;
            }
            let hand = &mut self.share.hands.1;
            *hand = if *hand + 1 < places { *hand + 1 } else { 0 };
            let Some((connection, since)) = self.assemblers.standing(*hand) else { continue };
            if now.since(since) >= TCP_STALLED {
                self.assemblers.discard(&mut self.connections.hot[connection as usize].assembler, out);
                out.counters.count(Counter::TcpHolesForgotten);
            }
        }
    }
}
