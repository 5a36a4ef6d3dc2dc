//! Passive opens (RFC 9293 section 3.10.7.2 and the SYN-RECEIVED part of 3.10.7.4): who listens where, and how a SYN becomes a connection.
//!
//! ```text
//!   SYN --> listener? --no--> reset
//!              | yes
//!              +-- room for a half-open record: SYN-ACK, remembered, repeated on time
//!              +-- no room: SYN-ACK whose number is a cookie, nothing remembered
//!
//!   ACK of a SYN-ACK --> connection, Event::Accepted
//! ```

use super::{
    Event, Tcp,
    congestion::CongestionControl,
    connection::{Marks, State},
    emit::{self, Class, Header, Options},
    half_open::{HalfOpen, Offer},
    options::{ConnectionOptions, EcnChoice, Listen, ListenError, ListenerId},
    secrets::{COOKIE_AGE_MAX, COOKIE_TIMESTAMP_BITS, cookie_timestamp_bits},
    segment::{Flags, Segment, SynOptions},
    seq::Seq,
    stamp::Stamp,
    table::{FlowKey, Kind, Place},
};
use crate::{
    counters::Counter,
    drops::Drop,
    limits::{TCP_LISTENERS_MAX, TCP_WINDOW_INITIAL},
    net::{InterfaceIndex, Packet},
    outbox::Outbox,
    port::Frame,
    time::Instant,
};
use std::net::IpAddr;

/// Nobody's place: there are fewer.
const LISTENER_GONE: u16 = u16::MAX;
const _: () = assert!(TCP_LISTENERS_MAX < LISTENER_GONE as usize);

/// Everybody who listens. Found by port: a word for each of the 65,536, and a short chain behind it.
pub(super) struct Listeners {
    /// By port: the first listener's place plus one.
    first: Vec<u16>,
    listeners: Vec<Option<Listener>>,
}

struct Listener {
    listen: Listen,
}

impl Listeners {
    pub(super) fn new() -> Self {
        Self { first: vec![0; 1 << 16], listeners: Vec::new() }
    }

    // rfc9293 3.9.1.1 MUST-41, MUST-42: connections are not looked at, whatever their state, and not touched.
    pub(super) fn add(&mut self, listen: Listen) -> Result<ListenerId, ListenError> {
        let (low, high) = (*listen.ports.start(), *listen.ports.end());
        if low == 0 || low > high {
            return Err(ListenError::NoPort);
        }
        let clash = self.listeners.iter().flatten().find_map(|other| {
            let overlap = low.max(*other.listen.ports.start());
            let both = overlap <= high && overlap <= *other.listen.ports.end();
            (both && other.listen.address == listen.address).then_some(overlap)
        });
        if let Some(port) = clash {
            return Err(ListenError::InUse { port });
        }
        let free = self.listeners.iter().position(Option::is_none);
        if free.is_none() && self.listeners.len() >= TCP_LISTENERS_MAX {
            return Err(ListenError::TooMany);
        }
        let place = free.unwrap_or(self.listeners.len());
        if place == self.listeners.len() {
            self.listeners.push(None);
        }
        self.listeners[place] = Some(Listener { listen });
        self.index();
        Ok(ListenerId(place as u16))
    }

    pub(super) fn remove(&mut self, id: ListenerId) {
        if let Some(listener) = self.listeners.get_mut(usize::from(id.0)) {
            *listener = None;
            self.index();
        }
    }

    /// Marks each port on which somebody listens with a first candidate. Rare, so it is simply made anew.
    fn index(&mut self) {
        self.first.fill(0);
        for (place, listener) in self.listeners.iter().enumerate().rev() {
            let Some(listener) = listener else { continue };
            for port in listener.listen.ports.clone() {
                self.first[usize::from(port)] = place as u16 + 1;
            }
        }
    }

    /// The listener for a destination: one of this very address before one of all.
    pub(super) fn find(&self, address: IpAddr, port: u16) -> Option<u16> {
        let first = usize::from(self.first[usize::from(port)]).checked_sub(1)?;
        let fits = |listener: &&(usize, &Listener), wanted: Option<IpAddr>| {
            listener.1.listen.ports.contains(&port) && listener.1.listen.address == wanted
        };
        let on_port = || {
            let from = self.listeners[first..].iter().enumerate();
            from.filter_map(|(i, l)| l.as_ref().map(|l| (first + i, l)))
        };
        let place = on_port().find(|l| fits(&l, Some(address))).or_else(|| on_port().find(|l| fits(&l, None)))?;
        Some(place.0 as u16)
    }

    fn options(&self, listener: u16) -> Option<ConnectionOptions> {
        self.listeners.get(usize::from(listener))?.as_ref().map(|l| l.listen.options)
    }
}

impl Tcp {
    /// A segment of a flow that nobody knows.
    pub(super) fn handle_stranger(
        &mut self,
        now: Instant,
        key: &FlowKey,
        segment: &Segment,
        packet: &Packet,
        frame: Frame,
        out: &mut Outbox,
    ) {
        // Nobody can be at port 0, to be answered or refused.
        if key.remote_port() == 0 {
            return out.drop(frame, Drop::TcpNoListener);
        }
        let Some(listener) = self.listeners.find(packet.destination, key.local_port()) else {
            // rfc9293 3.10.7.1: nobody is there.
            self.refuse_segment(key, segment, packet.interface, out);
            return out.drop(frame, Drop::TcpNoListener);
        };
        let flags = segment.flags;
        // rfc9293 3.10.7.2, first: a reset of nothing is ignored.
        if flags.has(Flags::RST) {
            return out.drop(frame, Drop::TcpResetUnacceptable);
        }
        if flags.has(Flags::ACK) {
            return self.handle_cookie(now, key, listener, segment, packet, frame, out);
        }
        // rfc9293 3.10.7.2, fourth: what is no SYN either is dropped. A SYN that also says FIN is nobody's honest start.
        if !flags.has(Flags::SYN) || flags.has(Flags::FIN) {
            return out.drop(frame, Drop::TcpFlags);
        }
        self.handle_syn(now, key, None, listener, segment, packet, frame, out);
    }

    /// A SYN to a listener. `beyond`: our numbers begin after this (the flow's last connection is still in TIME-WAIT).
    #[allow(clippy::too_many_arguments)] // what a SYN is made of; a struct would be used once
    pub(super) fn handle_syn(
        &mut self,
        now: Instant,
        key: &FlowKey,
        beyond: Option<Seq>,
        listener: u16,
        segment: &Segment,
        packet: &Packet,
        frame: Frame,
        out: &mut Outbox,
    ) {
        let syn = SynOptions::parse(&frame.head()[packet.transport_at..], segment);
        let offer = self.offer(key, packet.interface, segment, &syn);
        let ts_recent = segment.timestamps.map_or(0, |(value, _)| value);
        // rfc9293 3.10.7.2: data with a SYN may be dropped; it is not acknowledged, so it comes again.
        out.consume(frame);
        if self.half_open.is_full() || self.connections.is_full() {
            if self.connections.is_full() {
                return out.counters.count(Counter::TcpConnectionsFull);
            }
            return self.send_cookie(now, key, listener, &offer, segment.seq, ts_recent, packet.interface, out);
        }
        let mut iss = self.secrets.isn(now, key);
        if let Some(last) = beyond {
            // rfc6191 2 and rfc9293 3.6.1 MAY-2: the new connection's numbers are above the old one's.
            iss = if iss.after(last) { iss } else { last + ISN_ABOVE };
        }
        let ts_offset = self.secrets.timestamp_offset(key);
        let (irs, interface, stamp) = (segment.seq, packet.interface, Stamp::of(now));
        let record = HalfOpen::new(*key, irs, iss, ts_recent, ts_offset, offer, listener, interface, stamp);
        let index = self.half_open.insert(now, record);
        if self.table.insert(self.table.hash(key), Place::new(Kind::HalfOpen, index)).is_err() {
            self.half_open.remove(index);
            return out.counters.count(Counter::TcpConnectionsFull);
        }
        out.counters.count(Counter::TcpPassiveOpens);
        self.send_syn_ack(now, &record, out);
    }

    /// What we shall use of what a SYN offers, as one connection.
    pub(super) fn offer(&self, key: &FlowKey, arrived: InterfaceIndex, segment: &Segment, syn: &SynOptions) -> Offer {
        let own = self.mss_of(key, arrived);
        // rfc9293 3.7.1 MUST-15: without an MSS option it is 536 for IPv4, 1,220 for IPv6.
        let said = syn.mss.unwrap_or(if key.is_ipv6() { 1_220 } else { 536 });
        Offer {
            // A peer that asks for tiny segments wants to be sent many (CVE-2019-11479).
            mss: said.clamp(MSS_MIN, own.max(MSS_MIN)),
            wscale: syn.wscale,
            sack: syn.sack_permitted,
            // rfc3168 6.1.1: a SYN that asks for ECN says ECE and CWR.
            ecn: self.options.ecn != EcnChoice::Off && segment.flags.has(Flags::ECE) && segment.flags.has(Flags::CWR),
            timestamps: segment.timestamps.is_some(),
        }
    }

    /// rfc4987 3.6: everything goes out with the SYN-ACK and comes back with its acknowledgment.
    #[allow(clippy::too_many_arguments)] // as for `handle_syn`
    fn send_cookie(
        &mut self,
        now: Instant,
        key: &FlowKey,
        listener: u16,
        offer: &Offer,
        irs: Seq,
        ts_recent: u32,
        interface: InterfaceIndex,
        out: &mut Outbox,
    ) {
        out.counters.count(Counter::TcpCookiesSent);
        self.cookies_until = now + COOKIE_AGE_MAX;
        // rfc4987 3.6: without a timestamp only the MSS comes back, so nothing else is agreed.
        let offer = if offer.timestamps { *offer } else { Offer { mss: offer.mss, ..Offer::default() } };
        let iss = self.secrets.cookie(now, key, irs, &offer);
        const STEP: u32 = 1 << COOKIE_TIMESTAMP_BITS;
        let clock = timestamp(now);
        let value = clock & !(STEP - 1) | cookie_timestamp_bits(&offer);
        // rfc7323 5.3: never ahead of the clock, or what follows would look old to the peer.
        let value = if value > clock { value.wrapping_sub(STEP) } else { value };
        let value = value.wrapping_add(self.secrets.timestamp_offset(key));
        self.emit_syn_ack(key, listener, iss, irs, &offer, (value, ts_recent), interface, out);
    }

    pub(super) fn send_syn_ack(&mut self, now: Instant, record: &HalfOpen, out: &mut Outbox) {
        let value = timestamp(now).wrapping_add(record.ts_offset);
        let stamps = (value, record.ts_recent);
        let HalfOpen { key, listener, iss, irs, offer, interface, .. } = record;
        self.emit_syn_ack(key, *listener, *iss, *irs, offer, stamps, *interface, out);
    }

    #[allow(clippy::too_many_arguments)] // as for `handle_syn`
    fn emit_syn_ack(
        &mut self,
        key: &FlowKey,
        listener: u16,
        iss: Seq,
        irs: Seq,
        offer: &Offer,
        (value, echo): (u32, u32),
        interface: InterfaceIndex,
        out: &mut Outbox,
    ) {
        let mut options = Options::default();
        // rfc7323 2.3 a, 3.2; rfc2018 2: what the SYN offered is answered, and nothing else is sent.
        let wscale = offer.wscale.map(|_| self.rcv_wscale());
        options.syn(self.mss_of(key, interface), wscale, offer.sack);
        if offer.timestamps {
            options.timestamps(value, echo);
        }
        // rfc3168 6.1.1: ECE alone says yes. A SYN-ACK itself is not ECN-capable.
        let flags = Flags::SYN | Flags::ACK | if offer.ecn { Flags::ECE } else { 0 };
        let window = TCP_WINDOW_INITIAL.min(0xffff) as u16;
        let header = Header { seq: iss, ack: irs + 1, flags: Flags(flags), window };
        self.emit_bare(key, &header, &options, interface, self.class_of(listener), out);
    }

    /// The peer has acknowledged a number that may be a cookie of ours.
    #[allow(clippy::too_many_arguments)] // as for `handle_syn`
    fn handle_cookie(
        &mut self,
        now: Instant,
        key: &FlowKey,
        listener: u16,
        segment: &Segment,
        packet: &Packet,
        frame: Frame,
        out: &mut Outbox,
    ) {
        if now > self.cookies_until || segment.flags.has(Flags::SYN) {
            // None was sent lately. rfc9293 3.10.7.2, second: any acknowledgment is unacceptable to a listener.
            self.refuse_segment(key, segment, packet.interface, out);
            return out.drop(frame, Drop::TcpAckUnacceptable);
        }
        let ts_offset = self.secrets.timestamp_offset(key);
        let bits = segment.timestamps.map(|(_, echo)| echo.wrapping_sub(ts_offset));
        let (irs, iss) = (segment.seq - 1, segment.ack - 1);
        let Some(offer) = self.secrets.check_cookie(now, key, irs, iss, bits) else {
            // It may be a later segment of a connection whose first was overtaken or lost: a reset would end what the peer will send again.
            return out.drop(frame, Drop::TcpAckUnacceptable);
        };
        let ts_recent = segment.timestamps.map_or(0, |(value, _)| value);
        let (interface, stamp) = (packet.interface, Stamp::of(now));
        let record = HalfOpen::new(*key, irs, iss, ts_recent, ts_offset, offer, listener, interface, stamp);
        let Some(index) = self.establish(now, &record, None, out) else {
            out.counters.count(Counter::TcpConnectionsFull);
            return out.drop(frame, Drop::TcpConnectionsFull);
        };
        out.counters.count(Counter::TcpCookiesAccepted);
        self.handle_connection(now, index, segment, packet, frame, out);
    }

    /// A segment of a half-open connection (RFC 9293 section 3.10.7.4, state SYN-RECEIVED).
    pub(super) fn handle_half_open(
        &mut self,
        now: Instant,
        index: u32,
        segment: &Segment,
        packet: &Packet,
        frame: Frame,
        out: &mut Outbox,
    ) {
        let record = *self.half_open.record(index);
        let flags = segment.flags;
        // Our SYN-ACK was lost, or is late.
        let is_syn = flags.0 & (Flags::SYN | Flags::ACK | Flags::RST) == Flags::SYN;
        if is_syn && segment.seq == record.irs {
            out.consume(frame);
            let stored = self.half_open.record_mut(index);
            stored.heard_at = Stamp::of(now);
            if let Some((value, _)) = segment.timestamps
                && record.offer.timestamps
                && value.wrapping_sub(record.ts_recent).cast_signed() > 0
            {
                stored.ts_recent = value;
            }
            // rfc3168 6.1.1: who sends a SYN without ECN, too, gets no ECN.
            stored.offer.ecn &= flags.has(Flags::ECE) && flags.has(Flags::CWR);
            let record = *stored;
            return self.send_syn_ack(now, &record, out);
        }
        let expected = record.irs + 1;
        let in_window = segment.seq.within(expected, TCP_WINDOW_INITIAL)
            || (!flags.has(Flags::RST) && segment.seq.before(expected) && segment.end().after(expected));
        let old_timestamp = record.offer.timestamps
            && segment.timestamps.is_some_and(|(value, _)| (value.wrapping_sub(record.ts_recent) as i32) < 0);
        if flags.has(Flags::ACK) && !flags.has(Flags::RST) && segment.ack == record.iss + 1 {
            // It has our SYN-ACK, whatever else is wrong (it may be a keepalive: its acknowledgment was lost).
            self.half_open.record_mut(index).heard_at = Stamp::of(now);
        }
        // rfc7323 3.2 g: as for an open connection, before anything else.
        if record.offer.timestamps && segment.timestamps.is_none() && flags.0 & (Flags::RST | Flags::SYN) == 0 {
            return out.drop(frame, Drop::TcpTimestampMissing);
        }
        if !in_window || (old_timestamp && !flags.has(Flags::RST)) {
            let reason = if in_window { Drop::TcpPaws } else { Drop::TcpOutOfWindow };
            if !flags.has(Flags::RST) {
                self.challenge_half_open(now, index, out);
            }
            return out.drop(frame, reason);
        }
        if flags.has(Flags::RST) {
            // rfc5961 3.2 b, c, d: exactly the next number, or it is challenged.
            if segment.seq == expected {
                self.forget_half_open(index);
                out.counters.count(Counter::TcpResetsReceived);
                return out.consume(frame);
            }
            self.challenge_half_open(now, index, out);
            return out.drop(frame, Drop::TcpResetUnacceptable);
        }
        if flags.has(Flags::SYN) {
            // rfc5961 4.2 b, c: whatever its number.
            self.challenge_half_open(now, index, out);
            return out.drop(frame, Drop::TcpSynInWindow);
        }
        if !flags.has(Flags::ACK) {
            return out.drop(frame, Drop::TcpFlags);
        }
        // rfc9293 3.10.7.4, fifth, SYN-RECEIVED: it acknowledges our SYN and nothing else, or it is refused.
        if segment.ack != record.iss + 1 {
            self.refuse_segment(&record.key, segment, packet.interface, out);
            return out.drop(frame, Drop::TcpAckUnacceptable);
        }
        let Some(connection) = self.establish(now, &record, Some(index), out) else {
            out.counters.count(Counter::TcpConnectionsFull);
            return out.drop(frame, Drop::TcpConnectionsFull);
        };
        self.handle_connection(now, connection, segment, packet, frame, out);
    }

    fn challenge_half_open(&mut self, now: Instant, index: u32, out: &mut Outbox) {
        let record = self.half_open.record_mut(index);
        if !super::may_challenge(now, self.options.challenge_interval_us, &mut record.challenge_at, &mut out.counters) {
            return;
        }
        let record = *record;
        let mut options = Options::default();
        if record.offer.timestamps {
            options.timestamps(timestamp(now).wrapping_add(record.ts_offset), record.ts_recent);
        }
        // rfc7323 2.2: scaled, as in everything but a SYN; rounded down, which the next acknowledgment makes good.
        let shift = record.offer.wscale.map_or(0, |_| self.rcv_wscale());
        let window = (TCP_WINDOW_INITIAL.min(0xffff) >> shift) as u16;
        let header = Header { seq: record.iss + 1, ack: record.irs + 1, flags: Flags(Flags::ACK), window };
        self.emit_bare(&record.key, &header, &options, record.interface, self.class_of(record.listener), out);
    }

    /// How the packets of a listener's connections are marked.
    fn class_of(&self, listener: u16) -> Class {
        self.listeners.options(listener).map_or(Class::default(), |options| Class::of(&options))
    }

    pub(super) fn forget_half_open(&mut self, index: u32) {
        let record = self.half_open.remove(index);
        self.table.remove(self.table.hash(&record.key), Place::new(Kind::HalfOpen, index));
    }

    /// Makes the connection that a handshake has led to. `None`: there is no room.
    fn establish(&mut self, now: Instant, record: &HalfOpen, half_open: Option<u32>, out: &mut Outbox) -> Option<u32> {
        let HalfOpen { key, irs, iss, offer, .. } = *record;
        let options = self.listeners.options(record.listener).unwrap_or_default();
        let index = self.open(now, &key, record.interface, options, State::Established)?;
        let hash = self.table.hash(&key);
        match half_open {
            Some(place) => {
                self.table.replace(hash, Place::new(Kind::HalfOpen, place), Place::new(Kind::Connection, index));
                self.half_open.remove(place);
            }
            None => {
                if self.table.insert(hash, Place::new(Kind::Connection, index)).is_err() {
                    self.connections.free(index);
                    return None;
                }
            }
        }
        self.agree(index, irs, iss, &offer, record.ts_recent);
        let i = index as usize;
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        hot.ts_offset = record.ts_offset;
        hot.snd_una = iss + 1;
        hot.marks.set(Marks::ANNOUNCED);
        // Since the SYN its listener may have gone, and another have its place.
        let listener = self.listeners.find(record.key.local(), record.key.local_port()).unwrap_or(LISTENER_GONE);
        cold.listener = listener;
        // rfc6298 3 b: a segment that was sent twice gives no sample (Karn). A cookie's sending time is not known.
        if half_open.is_some() && record.repeats == 0 {
            cold.rtt.sample(Stamp::of(now).since(record.sent_at).max(1), Stamp::of(now));
        } else if record.repeats > 0 {
            // rfc5681 3.1 d; rfc6298 5.7 a: the same for a lost SYN-ACK as for a lost SYN.
            cold.rtt.syn_was_lost();
            cold.congestion.on_syn_lost();
        }
        out.counters.count(Counter::TcpAccepted);
        let id = self.connections.id(index);
        self.events.push_back(Event::Accepted { id, listener: ListenerId(listener) });
        Some(index)
    }

    /// Both sides have said what they can; the connection's numbers and options follow. `index` has just been opened.
    pub(super) fn agree(&mut self, index: u32, irs: Seq, iss: Seq, offer: &Offer, ts_recent: u32) {
        let rcv_wscale = if offer.wscale.is_some() { self.rcv_wscale() } else { 0 };
        let i = index as usize;
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        (cold.irs, cold.iss, cold.mss_peer) = (irs, iss, offer.mss);
        hot.rcv_nxt = irs + 1;
        hot.rcv_adv = hot.rcv_nxt + TCP_WINDOW_INITIAL.min(0xffff);
        hot.last_ack_sent = hot.rcv_nxt;
        (hot.snd_una, hot.snd_nxt) = (iss, iss + 1);
        (hot.snd_wl1, hot.snd_wl2) = (irs, iss);
        // What the peer takes is known with its next segment.
        cold.snd_limit = iss + 1;
        hot.ts_recent = ts_recent;
        // rfc7323 2.2 b, 2.3 c: each side's scale for its own windows, but only if both have offered one.
        (hot.snd_wscale, hot.rcv_wscale) = (offer.wscale.unwrap_or(0), rcv_wscale);
        hot.marks.put(Marks::TIMESTAMPS, offer.timestamps);
        hot.marks.put(Marks::SACK, offer.sack);
        hot.marks.put(Marks::ECN, offer.ecn);
        cold.tune_seq = hot.rcv_nxt;
        self.set_mss(index);
    }

    /// A SYN-ACK, a challenge, a reset: no payload, no connection needed.
    pub(super) fn emit_bare(
        &mut self,
        key: &FlowKey,
        header: &Header,
        options: &Options,
        interface: InterfaceIndex,
        class: Class,
        out: &mut Outbox,
    ) {
        let Some(mut frame) = out.make() else { return };
        let offloads = self.way(key, interface).map(|way| way.offloads).unwrap_or_default();
        emit::emit(key, header, options, None, &mut frame, offloads, out);
        out.counters.count(Counter::TcpTxSegments);
        self.transmits.push_back((emit::Route::new(key, interface, class.traffic_class, class.hop_limit), frame));
    }

    /// rfc9293 3.10.7.1 and 3.5.2: a reset that the sender will believe, and none for a reset.
    pub(super) fn refuse_segment(
        &mut self,
        key: &FlowKey,
        segment: &Segment,
        interface: InterfaceIndex,
        out: &mut Outbox,
    ) {
        if segment.flags.has(Flags::RST) {
            return;
        }
        let header = if segment.flags.has(Flags::ACK) {
            Header { seq: segment.ack, ack: Seq(0), flags: Flags(Flags::RST), window: 0 }
        } else {
            Header { seq: Seq(0), ack: segment.end(), flags: Flags(Flags::RST | Flags::ACK), window: 0 }
        };
        let mut options = Options::default();
        // rfc7323 5.2 b, c, d: timestamps answer timestamps; ours is zero, since there is no clock for a flow that is not.
        if let Some((value, _)) = segment.timestamps {
            options.timestamps(0, value);
        }
        out.counters.count(Counter::TcpResetsSent);
        self.emit_bare(key, &header, &options, interface, Class::default(), out);
    }
}

/// The clock of timestamps: milliseconds (RFC 7323 section 5.4: between 1 ms and 1 s a tick).
// rfc7323 4.1 a, 5.4 a, c: it follows real time, 2^31 bytes take longer than a tick, and 2^32 ticks are 49 days.
pub(super) fn timestamp(now: Instant) -> u32 {
    (now.as_ns() / 1_000_000) as u32
}

/// How far above the last connection's numbers a new one begins, where the clock alone would not do.
const ISN_ABOVE: u32 = 128_000;
/// The smallest segments that a peer may ask for.
pub(super) const MSS_MIN: u16 = 216;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_goes_before_any_and_a_port_is_taken_once() {
        let mut listeners = Listeners::new();
        let listen = |address: Option<&str>, ports| Listen {
            address: address.map(|a| a.parse().unwrap()),
            ports,
            options: ConnectionOptions::default(),
        };
        let any = listeners.add(listen(None, 80..=90)).unwrap();
        let one = listeners.add(listen(Some("10.0.0.1"), 85..=85)).unwrap();
        let find = |l: &Listeners, a: &str, port| l.find(a.parse().unwrap(), port);
        assert_eq!(find(&listeners, "10.0.0.1", 85), Some(one.0));
        assert_eq!(find(&listeners, "10.0.0.2", 85), Some(any.0));
        assert_eq!(find(&listeners, "10.0.0.1", 80), Some(any.0));
        assert_eq!(find(&listeners, "10.0.0.1", 91), None);
        assert_eq!(listeners.add(listen(None, 90..=100)), Err(ListenError::InUse { port: 90 }));
        assert_eq!(listeners.add(listen(None, 0..=3)), Err(ListenError::NoPort));
        listeners.remove(any);
        assert_eq!(find(&listeners, "10.0.0.2", 85), None);
        assert_eq!(find(&listeners, "10.0.0.1", 85), Some(one.0));
        assert_eq!(listeners.add(listen(None, 90..=100)), Ok(any), "its place is free again");
    }
}
