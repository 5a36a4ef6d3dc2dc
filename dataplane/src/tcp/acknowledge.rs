//! What a segment acknowledges (RFC 9293 section 3.10.7.4, fifth): the peer's window, what has arrived there, what was lost on the way.

use super::{
    Event, Tcp,
    connection::{Hot, Marks, State},
    may_challenge,
    recovery::{AckInfo, Recovery},
    segment::{Flags, Segment},
    stamp::Stamp,
};
use crate::{limits::TCP_SEND_BUFFER_MIN, outbox::Outbox, time::Instant};

/// What became of a segment's acknowledgment.
pub(super) enum Acknowledged {
    /// The segment goes on.
    Taken,
    /// It cannot be meant: the segment ends here.
    Refused,
    /// It was the last that the connection waited for.
    Ended,
}

impl Tcp {
    /// Takes a segment's acknowledgment.
    #[inline]
    pub(super) fn acknowledge(&mut self, now: Instant, i: usize, segment: &Segment, out: &mut Outbox) -> Acknowledged {
        if !self.acknowledges_what_can_be(now, i, segment, out) {
            return Acknowledged::Refused;
        }
        let hot = &mut self.connections.hot[i];
        if let Some((value, _)) = segment.timestamps
            && hot.marks.has(Marks::TIMESTAMPS)
            // rfc7323 4.3 a, b, c: the earliest segment that our next acknowledgment covers.
            && segment.seq.up_to(hot.last_ack_sent)
        {
            hot.ts_recent = value; // rfc7323 5.2 a: it is no older than the last one: PAWS has looked
        }
        let before = hot.snd_wnd;
        self.take_window(i, segment);
        let hot = &mut self.connections.hot[i];
        let una = hot.snd_una;
        let advanced = segment.ack.after(una);
        if hot.marks.has(Marks::ECN) {
            take_congestion_marks(hot, segment);
        }
        if hot.marks.has(Marks::LONE) && self.acknowledge_lone(now, i, segment, out) {
            return self.tell_room(i);
        }
        let hot = &mut self.connections.hot[i];
        // rfc5681 3.1 c: the acknowledgment of a SYN finds nothing under way.
        if let Some(index) = hot.flight.get()
            && hot.snd_nxt != una
        {
            // rfc5681 2: a duplicate brings nothing, and says nothing new.
            let duplicate = !advanced && segment.len() == 0 && hot.snd_wnd == before;
            let ece = hot.marks.has(Marks::ECN) && segment.flags.has(Flags::ECE);
            if advanced || duplicate || ece || !segment.blocks.is_empty() {
                self.inform_recovery(now, i, index, segment, advanced, duplicate);
            }
        }
        if advanced {
            return self.advance(now, i, segment, out);
        }
        // A peer that answers probes is alive, however long its window stays closed.
        // rfc9293 3.8.6.1 MUST-37; 3.8.6 SHLD-17: the connection stays open while it does, also if the window shrank to nothing over data that is
        // under way: that is sent again as a probe, and no sign of a dead peer.
        let hot = &self.connections.hot[i];
        // But when the application is gone, too, nobody is left who could want to wait longer (RFC 6429 section 3).
        if (hot.marks.has(Marks::PERSIST) || hot.snd_wnd == 0) && !hot.marks.has(Marks::RELEASED) {
            self.connections.cold[i].stalled_at = now;
        }
        Acknowledged::Taken
    }

    /// Whether the acknowledgment can be meant.
    #[inline]
    fn acknowledges_what_can_be(&mut self, now: Instant, i: usize, segment: &Segment, out: &mut Outbox) -> bool {
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        let snd_max = hot.snd_nxt + u32::from(hot.marks.has(Marks::PROBED));
        let ack = segment.ack;
        if hot.state == State::SynReceived {
            // rfc9293 3.10.7.4, fifth, SYN-RECEIVED.
            if ack != hot.snd_nxt {
                let (key, interface) = (hot.key, hot.interface);
                self.refuse_segment(&key, segment, interface, out);
                return false;
            }
            (hot.snd_wl1, hot.snd_wl2) = (segment.seq - 1, ack);
            hot.snd_una = ack;
            self.opened(now, i);
            return true;
        }
        // rfc5961 5.2 a, b: neither what was never sent nor what lies further back than any window of the peer's.
        if ack.after(snd_max) || ack.before(hot.snd_una - cold.snd_wnd_max) {
            if may_challenge(now, self.options.challenge_interval_us, &mut cold.challenge_at, &mut out.counters) {
                self.send_ack(now, i, out);
            }
            return false;
        }
        true
    }

    /// The peer's window, if this segment is no older than the one that set it.
    #[inline(always)]
    pub(super) fn take_window(&mut self, i: usize, segment: &Segment) {
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        let ack = segment.ack;
        if ack.before(hot.snd_una) {
            return;
        }
        // rfc9293 3.10.7.4: by its number, then by what it acknowledges. What acknowledges more than anything before is surely new, though its
        // number may be lower than that of data which came out of order. A pure acknowledgment from beyond a hole says nothing that the data in
        // the hole will not say; believing a forged one would make us deaf to the peer's own.
        let beyond = segment.len() == 0 && segment.seq.after(hot.rcv_nxt);
        // rfc9293 3.10.7.4, fifth, SYN-RECEIVED: the one that ends the handshake sets it whatever its number.
        let first = cold.snd_wnd_max == 0;
        if ack.after(hot.snd_una)
            || (hot.snd_wl1.before(segment.seq) && !beyond)
            || (hot.snd_wl1 == segment.seq && hot.snd_wl2.up_to(ack))
            || first
        {
            // rfc7323 2.3 d: shifted, in all but a SYN.
            let shift = if segment.flags.has(Flags::SYN) { 0 } else { hot.snd_wscale };
            let window = u32::from(segment.window) << shift;
            if window > hot.snd_wnd && hot.marks.has(Marks::PERSIST) {
                hot.marks.clear(Marks::PERSIST | Marks::TRANSMIT_ARMED);
                cold.retries = 0;
            }
            // rfc9293 3.8.6 MUST-34: it may be smaller than what is under way.
            hot.snd_wnd = window;
            (hot.snd_wl1, hot.snd_wl2) = (segment.seq, ack);
            cold.snd_wnd_max = cold.snd_wnd_max.max(window);
            cold.snd_limit = cold.snd_limit.max(ack + window);
        }
    }

    #[inline]
    fn inform_recovery(
        &mut self,
        now: Instant,
        i: usize,
        index: usize,
        segment: &Segment,
        advanced: bool,
        duplicate: bool,
    ) {
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        // rfc7323 3.2 i; rfc2018 2: what was not agreed is ignored.
        // rfc7323 3.2 c: nothing without ACK has come so far.
        let blocks = if hot.marks.has(Marks::SACK) { &segment.blocks[..] } else { &[] };
        let echo = segment.timestamps.filter(|_| hot.marks.has(Marks::TIMESTAMPS));
        let info = AckInfo {
            now: Stamp::of(now),
            ack: if advanced { segment.ack } else { hot.snd_una },
            blocks,
            // What our clock said when the segment left that is acknowledged: its tick's last microsecond.
            echo: echo.map(|(_, echo)| Stamp(echo.wrapping_sub(hot.ts_offset).wrapping_mul(1_000)).plus_us(999)),
            is_duplicate: duplicate,
            ece: hot.marks.has(Marks::ECN) && segment.flags.has(Flags::ECE) && !segment.flags.has(Flags::SYN),
        };
        let flight = self.flights.at_mut(index);
        let outcome = flight.recovery.on_ack(&info, &mut cold.rtt, &mut cold.congestion);
        // rfc3168 6.1.2: the window was reduced, and the next new data says so.
        if outcome.reduced && hot.marks.has(Marks::ECN) {
            hot.marks.set(Marks::CWR);
        }
    }

    /// Bytes have arrived at the peer.
    #[inline]
    fn advance(&mut self, now: Instant, i: usize, segment: &Segment, out: &mut Outbox) -> Acknowledged {
        let id = self.connections.id(i as u32);
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        let acked = segment.ack - hot.snd_una;
        cold.acked_bytes += u64::from(acked);
        cold.stalled_at = now;
        cold.retries = 0;
        hot.snd_una = segment.ack;
        if hot.snd_nxt.before(hot.snd_una) {
            // The peer has taken the byte that probed its window. Recovery has never heard of it.
            hot.snd_nxt = hot.snd_una;
            if let Some(index) = hot.flight.get() {
                let sack = hot.marks.has(Marks::SACK);
                self.flights.at_mut(index).recovery = Recovery::new(hot.snd_nxt, sack, cold.reordering);
            }
        }
        hot.marks.clear(Marks::PROBED);
        let Some(index) = hot.flight.get() else { return Acknowledged::Taken };
        let flight = self.flights.at_mut(index);
        let frames = flight.queue.frames();
        // rfc2018 8 c: only what is acknowledged up to here, SACKed or not.
        flight.queue.acknowledge(hot.snd_una, out);
        let freed = frames - flight.queue.frames();
        if freed > 0 {
            flight.freed_at = now;
        }
        self.queued_frames -= freed;
        let all = hot.snd_una == hot.snd_nxt;
        let fin_acked = all && hot.marks.has(Marks::FIN_SENT);
        let done = fin_acked || (all && flight.queued_end == hot.snd_una && !hot.marks.has(Marks::CLOSED));
        if done {
            self.end_flight(i, index);
        }
        self.tell_room(i);
        if fin_acked {
            self.fin_acknowledged(now, i, out);
            // It may be over now; what the segment brings besides would come to nobody.
            if self.connections.find(id).is_none() {
                return Acknowledged::Ended;
            }
        }
        Acknowledged::Taken
    }

    /// There may be room again for an application that had none.
    #[inline]
    fn tell_room(&mut self, i: usize) -> Acknowledged {
        if !self.connections.hot[i].marks.has(Marks::WANTS_ROOM) {
            return Acknowledged::Taken;
        }
        if self.room(i) < TCP_SEND_BUFFER_MIN as usize / 2 {
            self.want_room(i); // the frames may be what is missing
        } else {
            let id = self.connections.id(i as u32);
            self.connections.hot[i].marks.clear(Marks::WANTS_ROOM);
            self.events.push_back(Event::Writable { id });
        }
        Acknowledged::Taken
    }
}

/// rfc3168 6.1.3: from a packet that met congestion on, ECE until the peer says CWR.
fn take_congestion_marks(hot: &mut Hot, segment: &Segment) {
    if segment.flags.has(Flags::CWR) {
        hot.marks.clear(Marks::ECE);
    }
    if segment.ce {
        hot.marks.set(Marks::ECE | Marks::ACK_NOW);
    }
}
