//! Ends (RFC 9293 section 3.6): closing our side, resetting, waiting for late segments.

use super::{
    Event, Tcp,
    connection::{ConnectionId, End, Marks, MaybeIndex, State},
    emit::{Class, Header, Options},
    listen::timestamp,
    segment::{Flags, Segment},
    stamp::Stamp,
    table::{Kind, Place},
    time_wait::{TIME_WAIT, TimeWait},
};
use crate::{
    counters::Counter,
    drops::Drop,
    net::Packet,
    outbox::Outbox,
    port::Frame,
    time::{Duration, Instant},
};

impl Tcp {
    /// Closes our side: a FIN follows everything that was sent. Receiving goes on.
    pub fn close(&mut self, id: ConnectionId, out: &mut Outbox) {
        let Some(i) = self.connections.find(id) else { return };
        self.close_at(i, out);
    }

    fn close_at(&mut self, i: usize, out: &mut Outbox) {
        let now = self.now;
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        if hot.marks.has(Marks::CLOSED) {
            return;
        }
        match hot.state {
            // rfc9293 3.10.4: nothing has been said yet.
            State::SynSent => return self.end(now, i, End::Aborted, out),
            State::SynReceived | State::Established | State::CloseWait => {}
            _ => return,
        }
        // rfc9293 3.9.1 (SO_LINGER's way): zero is a reset.
        if cold.options.linger == Some(Duration::ZERO) {
            return self.reset(now, i, End::Aborted, out);
        }
        hot.marks.set(Marks::CLOSED);
        hot.marks.clear(Marks::WANTS_ROOM);
        if let Some(linger) = cold.options.linger {
            cold.close_at = now + linger;
        }
        self.become_flight(i, out);
        let hot = &self.connections.hot[i];
        if hot.flight.is_none() {
            self.begin_flight(i, hot.snd_nxt);
        }
        self.touch(i);
    }

    /// The application wants nothing more of this connection: closes it, and answers data that still comes with a reset.
    pub fn release(&mut self, id: ConnectionId, out: &mut Outbox) {
        let Some(i) = self.connections.find(id) else { return self.forget_unread(id) };
        let hot = &mut self.connections.hot[i];
        hot.marks.set(Marks::RELEASED);
        let unread = hot.rcv_unconsumed > 0 || hot.assembler.is_some();
        let now = self.now;
        if unread && hot.state.is_synchronized() {
            // rfc9293 3.6.1 SHLD-3; rfc1122 4.2.2.13: what came was not read, and the peer must know.
            return self.reset(now, i, End::Aborted, out);
        }
        if hot.state == State::FinWait2 {
            self.connections.cold[i].close_at = now + self.options.fin_wait;
            self.touch(i);
        }
        self.close_at(i, out);
    }

    /// Ends a connection at once, with a reset.
    pub fn abort(&mut self, now: Instant, id: ConnectionId, out: &mut Outbox) {
        self.now = now;
        let Some(i) = self.connections.find(id) else { return self.forget_unread(id) };
        self.reset(now, i, End::Aborted, out);
    }

    /// Tells the peer that it is over, and ends it.
    pub(super) fn reset(&mut self, now: Instant, i: usize, reason: End, out: &mut Outbox) {
        let hot = &self.connections.hot[i];
        // rfc9293 3.10.5: a peer that has never heard of us needs no reset.
        if hot.state != State::SynSent {
            let (key, interface) = (hot.key, hot.interface);
            let class = Class { traffic_class: hot.traffic_class, hop_limit: hot.hop_limit };
            let mut options = Options::default();
            // rfc7323 3.2 e, 5.2 e: with timestamps, where they were agreed.
            if hot.marks.has(Marks::TIMESTAMPS) {
                options.timestamps(timestamp(now).wrapping_add(hot.ts_offset), hot.ts_recent);
            }
            let header =
                Header { seq: hot.snd_nxt, ack: hot.rcv_nxt, flags: Flags(Flags::RST | Flags::ACK), window: 0 };
            out.counters.count(Counter::TcpResetsSent);
            self.emit_bare(&key, &header, &options, interface, class, out);
        }
        self.end(now, i, reason, out);
    }

    /// Our FIN was acknowledged.
    pub(super) fn fin_acknowledged(&mut self, now: Instant, i: usize, out: &mut Outbox) {
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        match hot.state {
            State::FinWait1 => {
                hot.state = State::FinWait2;
                cold.close_at =
                    if hot.marks.has(Marks::RELEASED) { now + self.options.fin_wait } else { Instant::NEVER };
            }
            // rfc9293 3.10.7.4: both sides are done, and ours was first.
            State::Closing => self.enter_time_wait(now, i, out),
            State::LastAck => self.end(now, i, End::Graceful, out),
            _ => {}
        }
    }

    /// rfc9293 3.6.1: who has closed first remembers the flow for a while.
    pub(super) fn enter_time_wait(&mut self, now: Instant, i: usize, out: &mut Outbox) {
        if let Some(oldest) = self.time_waits.oldest_if_full() {
            out.counters.count(Counter::TcpTimeWaitsForgotten);
            self.forget_time_wait(oldest);
        }
        let hot = &self.connections.hot[i];
        let key = hot.key;
        let window = (hot.rcv_adv.since(hot.rcv_nxt) >> hot.rcv_wscale).min(0xffff) as u16;
        let record = TimeWait {
            key,
            rcv_nxt: hot.rcv_nxt,
            snd_nxt: hot.snd_nxt,
            window,
            ts_recent: hot.marks.has(Marks::TIMESTAMPS).then_some(hot.ts_recent),
            ts_offset: hot.ts_offset,
            interface: hot.interface,
            class: Class { traffic_class: hot.traffic_class, hop_limit: hot.hop_limit },
            challenge_at: Stamp::of(now),
            until: now + TIME_WAIT,
            generation: 0,
            used: true,
        };
        let index = self.time_waits.insert(record);
        let hash = self.table.hash(&key);
        self.table.replace(hash, Place::new(Kind::Connection, i as u32), Place::new(Kind::TimeWait, index));
        self.finish(i, End::Graceful, out);
    }

    /// A connection is over, and its flow is nobody's.
    pub(super) fn end(&mut self, _now: Instant, i: usize, reason: End, out: &mut Outbox) {
        let key = self.connections.hot[i].key;
        self.table.remove(self.table.hash(&key), Place::new(Kind::Connection, i as u32));
        self.finish(i, reason, out);
    }

    /// Gives back everything that a connection has.
    fn finish(&mut self, i: usize, reason: End, out: &mut Outbox) {
        let id = self.connections.id(i as u32);
        self.discard_lone(i, out);
        let hot = &mut self.connections.hot[i];
        if let Some(index) = hot.flight.get() {
            let flight = self.flights.at_mut(index);
            self.queued_frames -= flight.queue.frames();
            flight.queue.discard(out);
            self.flights.end(index);
            hot.flight = MaybeIndex::NONE;
        }
        self.assemblers.discard(&mut hot.assembler, out);
        self.wheel.disarm(i as u32);
        out.counters.count_end(reason);
        let is_unread = reason == End::Graceful && hot.rcv_unconsumed > 0 && !hot.marks.has(Marks::RELEASED);
        if !hot.marks.has(Marks::ANNOUNCED) {
            self.connections.free(i as u32);
        } else if is_unread {
            // An end would overtake the bytes that wait for the application: it keeps the name until it has consumed them.
            hot.state = State::Closed;
            hot.marks.set(Marks::UNREAD);
            self.unread += 1;
        } else {
            // Its place is free when the application has heard of it.
            self.events.push_back(Event::Closed { id, reason });
            self.connections.end(i as u32);
        }
    }

    /// The application has consumed bytes of a connection that is over.
    #[cold]
    pub(super) fn consume_unread(&mut self, id: ConnectionId, bytes: u32) {
        let Some(i) = self.connections.find_unread(id) else { return };
        let hot = &mut self.connections.hot[i];
        hot.rcv_unconsumed = hot.rcv_unconsumed.saturating_sub(bytes);
        if hot.rcv_unconsumed == 0 {
            self.forget_unread(id);
        }
    }

    /// Nothing more of a connection that is over will be consumed.
    #[cold]
    fn forget_unread(&mut self, id: ConnectionId) {
        let Some(i) = self.connections.find_unread(id) else { return };
        self.connections.hot[i].marks.clear(Marks::UNREAD);
        self.unread -= 1;
        self.events.push_back(Event::Closed { id, reason: End::Graceful });
        self.connections.end(i as u32);
    }

    pub(super) fn forget_time_wait(&mut self, index: u32) {
        let hash = self.table.hash(&self.time_waits.record(index).key);
        self.table.remove(hash, Place::new(Kind::TimeWait, index));
        self.time_waits.remove(index);
    }

    /// A segment of a flow in TIME-WAIT (RFC 9293 section 3.10.7.4, RFC 6191, RFC 1337).
    pub(super) fn handle_time_wait(
        &mut self,
        now: Instant,
        index: u32,
        segment: &Segment,
        packet: &Packet,
        frame: Frame,
        out: &mut Outbox,
    ) {
        let record = *self.time_waits.record(index);
        let flags = segment.flags;
        // rfc1337 3: a reset would end the wait too early, and late segments could reach a new connection.
        if flags.has(Flags::RST) {
            return out.drop(frame, Drop::TcpTimeWait);
        }
        // With a FIN it is no honest start here either.
        if flags.0 & (Flags::SYN | Flags::ACK | Flags::FIN) == Flags::SYN
            && opens_anew(&record, segment)
            && let Some(listener) = self.listeners.find(packet.destination, record.key.local_port())
        {
            self.forget_time_wait(index);
            let beyond = Some(record.snd_nxt);
            return self.handle_syn(now, &record.key, beyond, listener, segment, packet, frame, out);
        }
        // rfc9293 3.10.7.4, eighth: the peer's FIN again: acknowledge it, and the wait begins anew.
        let fin_again = flags.has(Flags::FIN) && segment.end() == record.rcv_nxt && !is_old(&record, segment);
        if fin_again {
            self.time_waits.restart(now, index);
        }
        // A plain acknowledgment of what we have sent is no question.
        let question = fin_again || segment.len() > 0 || segment.seq != record.rcv_nxt;
        out.drop(frame, Drop::TcpTimeWait);
        let stored = self.time_waits.record_mut(index);
        if question
            && (fin_again
                || super::may_challenge(
                    now,
                    self.options.challenge_interval_us,
                    &mut stored.challenge_at,
                    &mut out.counters,
                ))
        {
            self.acknowledge_time_wait(now, &record, out);
        }
    }

    fn acknowledge_time_wait(&mut self, now: Instant, record: &TimeWait, out: &mut Outbox) {
        let mut options = Options::default();
        if let Some(recent) = record.ts_recent {
            options.timestamps(timestamp(now).wrapping_add(record.ts_offset), recent);
        }
        let TimeWait { snd_nxt: seq, rcv_nxt: ack, window, .. } = *record;
        let header = Header { seq, ack, flags: Flags(Flags::ACK), window };
        self.emit_bare(&record.key, &header, &options, record.interface, record.class, out);
    }
}

/// rfc9293 3.6.1 SHLD-4; rfc6191 2: whether a SYN surely begins something new: its timestamp has gone on, or is the first, or without timestamps its number lies beyond
/// the old ones.
fn opens_anew(record: &TimeWait, segment: &Segment) -> bool {
    match (record.ts_recent, segment.timestamps) {
        (Some(recent), Some((value, _))) => {
            let ahead = value.wrapping_sub(recent) as i32;
            ahead > 0 || (ahead == 0 && segment.seq.after(record.rcv_nxt))
        }
        (None, Some(_)) => true,
        (_, None) => segment.seq.after(record.rcv_nxt),
    }
}

/// rfc7323 5.3 R1: its timestamp lies before the last one.
fn is_old(record: &TimeWait, segment: &Segment) -> bool {
    match (record.ts_recent, segment.timestamps) {
        (Some(recent), Some((value, _))) => value.wrapping_sub(recent).cast_signed() < 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        net::InterfaceIndex,
        tcp::{Seq, table::FlowKey},
    };

    #[test]
    fn a_syn_in_time_wait_opens_anew_on_grounds_of_rfc_6191() {
        let record = |ts_recent| TimeWait {
            key: FlowKey::new("10.0.0.1".parse().unwrap(), 80, "10.0.0.2".parse().unwrap(), 1),
            rcv_nxt: Seq(1_000),
            snd_nxt: Seq(1),
            window: 0,
            ts_recent,
            ts_offset: 0,
            interface: InterfaceIndex(0),
            class: Class::default(),
            challenge_at: Stamp(0),
            until: Instant::ZERO,
            generation: 0,
            used: true,
        };
        let syn = |seq: u32, timestamps| {
            let mut bytes = vec![0; 20];
            bytes[4..8].copy_from_slice(&seq.to_be_bytes());
            bytes[12] = 5 << 4;
            bytes[13] = Flags::SYN;
            let mut segment = Segment::parse(&bytes, 20, 0).unwrap();
            segment.timestamps = timestamps;
            segment
        };
        for (recent, seq, timestamps, opens) in [
            (Some(50), 1, Some((51, 0)), true),
            (Some(50), 1, Some((50, 0)), false),
            (Some(50), 1_001, Some((50, 0)), true),
            (Some(50), 2_000, Some((49, 0)), false),
            (Some(50), 2_000, None, true),
            (Some(50), 900, None, false),
            (None, 1_001, None, true),
            (None, 1_000, None, false),
            (None, 1_000, Some((9, 0)), true),
        ] {
            assert_eq!(opens_anew(&record(recent), &syn(seq, timestamps)), opens, "{recent:?} {seq} {timestamps:?}");
        }
    }
}
