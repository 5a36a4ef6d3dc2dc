//! Active opens (RFC 9293 section 3.10.1, 3.10.7.3): source ports that nobody foresees, the SYN and its repetitions, and the answer to it.

use super::{
    Event, Tcp, Trouble,
    congestion::CongestionControl,
    connection::{ConnectionId, End, Marks, State},
    emit::{Class, Header, Options},
    half_open::Offer,
    listen::timestamp,
    options::{Connect, ConnectError, EcnChoice, GIVE_UP_SYN},
    segment::{Flags, Segment, SynOptions},
    seq::Seq,
    stamp::Stamp,
    table::{FlowKey, Kind, Place},
    timers::{R1, not_after},
};
use crate::{
    counters::Counter,
    drops::Drop,
    limits::TCP_WINDOW_INITIAL,
    net::{Packet, PortIndex, Role},
    outbox::Outbox,
    port::Frame,
    time::Instant,
};
use std::net::IpAddr;

/// rfc6335 6: ports for those who need any.
const PORTS: std::ops::RangeInclusive<u16> = 32_768..=60_999;
/// Ports that are looked at before a destination counts as full. Of 64 workers each takes one of 64.
const PORTS_TRIED: u32 = 1_024;
/// From one to the next. Far apart, so that all bits change: which worker takes one depends on them.
const PORTS_STEP: u32 = 10_007;

impl Tcp {
    /// Begins to open a connection: [`Event::Connected`] or [`Event::Closed`] will follow. `takes`: whether a source port will do (a worker wants
    /// ports whose replies come to its own queue).
    pub fn connect(
        &mut self,
        now: Instant,
        connect: &Connect,
        takes: impl Fn(u16) -> bool,
    ) -> Result<ConnectionId, ConnectError> {
        self.now = now;
        let (remote, port) = (connect.remote.ip(), connect.remote.port());
        // rfc9293 3.9.1.1 MUST-46: only a host can be connected to.
        if port == 0 || !is_host(remote) {
            return Err(ConnectError::BadAddress);
        }
        let (interface, _) = self.topology.route(&remote, None).ok_or(ConnectError::NoRoute)?;
        // rfc9293 3.9.1.1 MUST-43, MUST-44: our address may be named, or follows from the way.
        let local = match connect.local {
            Some(local) if local.is_ipv4() != remote.is_ipv4() => return Err(ConnectError::BadAddress),
            Some(local) if self.topology.role(interface, local) == Role::Ours => local,
            Some(_) => return Err(ConnectError::BadAddress),
            None => self.topology.source_for(interface, remote).ok_or(ConnectError::NoRoute)?,
        };
        if self.topology.role(interface, remote) != Role::Other {
            return Err(ConnectError::BadAddress);
        }
        if self.connections.is_full() {
            return Err(ConnectError::TooMany);
        }
        let (key, replaced) = self.choose_flow(now, connect, local, remote, port, takes)?;
        let mut iss = self.secrets.isn(now, &key);
        if let Some(index) = replaced {
            let old = *self.time_waits.record(index);
            iss = if iss.after(old.snd_nxt) { iss } else { old.snd_nxt + 128_000 };
            self.forget_time_wait(index);
        }
        let index = self.open(now, &key, interface, connect.options, State::SynSent).ok_or(ConnectError::TooMany)?;
        if self.table.insert(self.table.hash(&key), Place::new(Kind::Connection, index)).is_err() {
            self.connections.free(index);
            return Err(ConnectError::TooMany);
        }
        let i = index as usize;
        let ts_offset = self.secrets.timestamp_offset(&key);
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        (hot.snd_una, hot.snd_nxt, cold.iss) = (iss, iss + 1, iss);
        hot.ts_offset = ts_offset;
        hot.marks.set(Marks::ACTIVE | Marks::ANNOUNCED); // the flush sends the SYN
        Ok(self.connections.id(index))
    }

    /// Our address towards a peer, and the port that the way leads through.
    pub fn way_to(&self, remote: IpAddr) -> Option<(IpAddr, PortIndex)> {
        let (interface, _) = self.topology.route(&remote, None)?;
        Some((self.topology.source_for(interface, remote)?, self.topology.interface(interface).port))
    }

    /// A pair of ends that is free. Second: the record in TIME-WAIT whose place it takes.
    fn choose_flow(
        &self,
        now: Instant,
        connect: &Connect,
        local: IpAddr,
        remote: IpAddr,
        port: u16,
        takes: impl Fn(u16) -> bool,
    ) -> Result<(FlowKey, Option<u32>), ConnectError> {
        let flow = |local_port| FlowKey::new(local, local_port, remote, port);
        if let Some(wanted) = connect.local_port {
            let key = flow(wanted);
            return self.vacancy(now, &key).map(|replaced| (key, replaced)).ok_or(ConnectError::InUse);
        }
        // rfc6056 3.3.3 (algorithm 3): an offset by destination that outsiders cannot compute, and then upwards; here from a random place of
        // the range near it (3.3.5), so that the number of our connections stays our own affair.
        let (low, range) = (u32::from(*PORTS.start()), u32::from(PORTS.end() - PORTS.start()) + 1);
        let start = self.secrets.port_offset(&flow(0)).wrapping_add((now.as_ns() >> 10) as u32);
        (0..PORTS_TRIED)
            .map(|n| (low + start.wrapping_add(n * PORTS_STEP) % range) as u16)
            .filter(|candidate| takes(*candidate))
            .find_map(|candidate| {
                let key = flow(candidate);
                self.vacancy(now, &key).map(|replaced| (key, replaced))
            })
            .ok_or(ConnectError::NoPort)
    }

    /// `Some`: the flow is free, or in TIME-WAIT in a way that RFC 6191 section 2 lets us begin anew: our timestamps have gone on since.
    fn vacancy(&self, now: Instant, key: &FlowKey) -> Option<Option<u32>> {
        match self.table.find(self.table.hash(key), |place| self.is_flow(place, key)) {
            None => Some(None),
            Some(place) if place.kind() == Kind::TimeWait => {
                let record = self.time_waits.record(place.index());
                let old_enough = now + super::time_wait::TIME_WAIT > record.until + crate::time::Duration::from_secs(1);
                (record.ts_recent.is_some() && old_enough).then_some(Some(place.index()))
            }
            Some(_) => None,
        }
    }

    /// Sends our SYN, again or for the first time; with the peer's SYN seen (a simultaneous open) it is a SYN-ACK.
    pub(super) fn send_syn(&mut self, now: Instant, i: usize, out: &mut Outbox) {
        let hot = &self.connections.hot[i];
        let cold = &self.connections.cold[i];
        let answers = hot.state == State::SynReceived;
        let (key, interface) = (hot.key, hot.interface);
        let class = Class { traffic_class: hot.traffic_class, hop_limit: hot.hop_limit };
        let mut options = Options::default();
        // rfc7323 2.2 a, 2.3 b: the scale is always offered, and it is the one that we shall use.
        let scale = if !answers || hot.rcv_wscale > 0 { Some(self.rcv_wscale()) } else { None };
        options.syn(self.mss_of(&key, interface), scale, !answers || hot.marks.has(Marks::SACK));
        if !answers || hot.marks.has(Marks::TIMESTAMPS) {
            let value = timestamp(now).wrapping_add(hot.ts_offset);
            // rfc7323 3.2 a: nothing to echo in a SYN alone.
            options.timestamps(value, if answers { hot.ts_recent } else { 0 });
        }
        // rfc3168 6.1.1: ECE and CWR ask for ECN. 6.1.1.1: without them from the third try on, in case somebody drops such SYNs.
        let ecn = self.options.ecn == EcnChoice::Ask && !answers && cold.retries < 2;
        let flags = Flags::SYN | if answers { Flags::ACK } else { 0 } | if ecn { Flags::ECE | Flags::CWR } else { 0 };
        let (seq, ack) = (cold.iss, if answers { hot.rcv_nxt } else { Seq(0) });
        let window = TCP_WINDOW_INITIAL.min(0xffff) as u16;
        self.emit_bare(&key, &Header { seq, ack, flags: Flags(flags), window }, &options, interface, class, out);
    }

    /// The time for an answer to our SYN is over (or has not begun).
    // rfc9293 3.8.3 MUST-22: it is sent again and given up as data is, and the application hears of both.
    #[cold]
    pub(super) fn handle_syn_timer(&mut self, now: Instant, i: usize, out: &mut Outbox) {
        let cold = &mut self.connections.cold[i];
        let patience = cold.options.user_timeout.unwrap_or(GIVE_UP_SYN);
        if now.since(cold.opened_at) >= patience {
            let unreachable = cold.closed_by == Some(End::Unreachable);
            return self.end(now, i, if unreachable { End::Unreachable } else { End::TimedOut }, out);
        }
        if cold.retries == R1 && cold.options.reports_trouble {
            let id = self.connections.id(i as u32);
            self.events.push_back(Event::Trouble { id, trouble: Trouble::Silence });
        }
        let cold = &mut self.connections.cold[i];
        // rfc6298 2.1, 5.5: after a second, then twice as long each time.
        let wait = (1_000_000u32 << cold.retries.min(6)).min(64_000_000);
        out.counters.add(Counter::TcpResent, u64::from(cold.retries > 0));
        self.send_syn(now, i, out);
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        cold.retries = cold.retries.saturating_add(1);
        hot.transmit_at = not_after(now, Stamp::of(now).plus_us(wait), cold.opened_at, patience);
        hot.marks.set(Marks::TRANSMIT_ARMED);
        cold.sent_at = now;
    }

    /// rfc9293 3.10.7.3: a segment in answer to our SYN.
    #[cold]
    pub(super) fn handle_syn_sent(
        &mut self,
        now: Instant,
        i: usize,
        segment: &Segment,
        packet: &Packet,
        frame: Frame,
        out: &mut Outbox,
    ) {
        let hot = &self.connections.hot[i];
        let flags = segment.flags;
        let acknowledges = flags.has(Flags::ACK);
        // rfc9293 3.10.7.3, first: an acknowledgment of anything but our SYN is refused.
        if acknowledges && segment.ack != hot.snd_nxt {
            let key = hot.key;
            self.refuse_segment(&key, segment, packet.interface, out);
            return out.drop(frame, Drop::TcpAckUnacceptable);
        }
        if flags.has(Flags::RST) {
            // rfc5961 3.2 f: a reset that does not acknowledge our SYN is nobody's answer.
            if !acknowledges {
                return out.drop(frame, Drop::TcpResetUnacceptable);
            }
            out.counters.count(Counter::TcpResetsReceived);
            out.consume(frame);
            return self.end(now, i, End::Refused, out);
        }
        // rfc9293 3.10.7.3, fifth.
        if !flags.has(Flags::SYN) {
            return out.drop(frame, Drop::TcpFlags);
        }
        let syn = SynOptions::parse(&frame.head()[packet.transport_at..], segment);
        let mut offer: Offer = self.offer(&self.connections.hot[i].key, packet.interface, segment, &syn);
        if acknowledges {
            // rfc3168 6.1.1: yes is ECE without CWR; and only if we have asked.
            let asked = self.options.ecn == EcnChoice::Ask && self.connections.cold[i].retries <= 2;
            offer.ecn = asked && flags.has(Flags::ECE) && !flags.has(Flags::CWR);
        }
        let ts_recent = segment.timestamps.map_or(0, |(value, _)| value);
        let iss = self.connections.cold[i].iss;
        out.consume(frame);
        self.agree(i as u32, segment.seq, iss, &offer, ts_recent);
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        if acknowledges {
            hot.snd_una = iss + 1;
            hot.snd_wnd = u32::from(segment.window); // rfc7323 2.2 d: never scaled in a SYN
            cold.snd_wnd_max = hot.snd_wnd;
            cold.snd_limit = segment.ack + hot.snd_wnd;
            (hot.snd_wl1, hot.snd_wl2) = (segment.seq, segment.ack);
            if cold.retries <= 1 {
                cold.rtt.sample(now.since(cold.sent_at).as_us().max(1) as u32, Stamp::of(now));
            }
            self.opened(now, i);
            self.connections.hot[i].marks.set(Marks::ACK_NOW);
            out.counters.count(Counter::TcpConnected);
        } else {
            // rfc9293 3.5 MUST-10: both SYNs crossed.
            hot.state = State::SynReceived;
            hot.transmit_at = Stamp::of(now).plus_us(1_000_000);
            self.send_syn(now, i, out);
        }
        self.touch(i);
    }

    /// The handshake of an active open is over.
    pub(super) fn opened(&mut self, now: Instant, i: usize) {
        let id = self.connections.id(i as u32);
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        hot.state = State::Established;
        hot.marks.clear(Marks::TRANSMIT_ARMED);
        // rfc5681 3.1 d; rfc6298 5.7 a: a lost SYN makes the beginning slow.
        if cold.retries > 1 {
            cold.rtt.syn_was_lost();
            cold.congestion.on_syn_lost();
        }
        (cold.retries, cold.stalled_at) = (0, now);
        self.events.push_back(Event::Connected { id });
    }
}

/// Whether a connection to this address can be.
fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => !(a.is_unspecified() || a.is_multicast() || a.is_broadcast() || a.is_loopback()),
        IpAddr::V6(a) => !(a.is_unspecified() || a.is_multicast() || a.is_loopback() || a.to_ipv4_mapped().is_some()),
    }
}
