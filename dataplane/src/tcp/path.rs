//! The path to a peer: how large segments may be (RFC 9293 section 3.7, RFC 1191, RFC 8201, RFC 8899), and what ICMP says about it (RFC 5927).

use super::{
    Event, Tcp, Trouble,
    congestion::CongestionControl,
    connection::{End, Marks, State},
    listen::MSS_MIN,
    segment::{HEADER_LEN, TIMESTAMPS_ALIGNED_LEN},
    seq::Seq,
    stamp::Stamp,
    table::{FlowKey, Kind},
};
use crate::{
    counters::Counter,
    net::{Cause, IcmpError, InterfaceIndex, protocol},
    outbox::Outbox,
    time::{Duration, Instant},
};

/// rfc1191 6.3, rfc8201 4: a path that was found narrow is tried wider again after ten minutes.
const WIDEN_AFTER: Duration = Duration::from_secs(600);
/// rfc8899 5.1.2: what is assumed to get through when larger packets vanish.
const BASE_MTU: u16 = 1_200;
/// rfc8200 5: what every IPv6 link carries.
const MTU6_MIN: u16 = 1_280;
/// Packets are not made smaller than this, whatever routers say (CVE-2019-11479): 68 is the least that a link may have, but nobody has it.
const MTU4_MIN: u16 = 552;

const fn ip_header_len(ipv6: bool) -> u16 {
    if ipv6 { 40 } else { 20 }
}

impl Tcp {
    /// What we take, for the MSS option of our SYNs: what the interface carries without headers.
    // rfc9293 3.7.1 MUST-67: no more than what can be put together again, which is a packet of the MTU.
    pub(super) fn mss_of(&self, key: &FlowKey, arrived: InterfaceIndex) -> u16 {
        let mtu = self.way(key, arrived).map_or(MTU6_MIN, |way| way.mtu);
        mtu - ip_header_len(key.is_ipv6()) - HEADER_LEN as u16
    }

    /// Settles the payload of a full segment after the peer's limit or the path's has changed.
    // rfc9293 3.7.1: the smaller of the two, and room for the options that every segment has.
    pub(super) fn set_mss(&mut self, index: u32) {
        let i = index as usize;
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        let path = cold.path_mtu - ip_header_len(hot.key.is_ipv6()) - HEADER_LEN as u16;
        let options = if hot.marks.has(Marks::TIMESTAMPS) { TIMESTAMPS_ALIGNED_LEN as u16 } else { 0 };
        hot.mss = path.min(cold.mss_peer.max(MSS_MIN)) - options;
        cold.congestion.set_mss(hot.mss);
    }

    /// An ICMP error about a packet of ours. Says whether it is about a connection that there is.
    // rfc9293 3.9.2.2 MUST-54: it finds its connection by the packet that it quotes.
    pub fn handle_icmp_error(&mut self, now: Instant, error: &IcmpError, out: &mut Outbox) -> bool {
        self.now = now;
        let quote = &error.quote;
        if quote.protocol != protocol::TCP {
            return false;
        }
        let t = &quote.transport;
        let ports = [u16::from_be_bytes([t[0], t[1]]), u16::from_be_bytes([t[2], t[3]])];
        let key = FlowKey::new(quote.source, ports[0], quote.destination, ports[1]);
        let hash = self.table.hash(&key);
        let Some(place) = self.table.find(hash, |place| self.is_flow(place, &key)) else { return false };
        if place.kind() != Kind::Connection {
            return true;
        }
        let i = place.index() as usize;
        let seq = Seq(u32::from_be_bytes([t[4], t[5], t[6], t[7]]));
        let hot = &self.connections.hot[i];
        // rfc5927 4.1: it must quote a number that is under way, or a stranger has made it up.
        if !(seq.from(hot.snd_una) && seq.before(hot.snd_nxt)) {
            out.counters.count(Counter::TcpIcmpIgnored);
            return true;
        }
        match error.cause {
            Cause::TooBig { mtu } => self.narrow(now, i, mtu, out),
            // rfc9293 3.9.2.2 MUST-56; rfc5927 5.2: neither soft nor hard errors end an open connection; anybody could send them.
            // Before it is open the peer itself may say that nobody listens, and then there is nothing to wait for.
            cause if hot.state == State::SynSent && is_refusal(cause, hot.key.is_ipv6()) => {
                self.end(now, i, End::Refused, out);
            }
            // What a router says of the way may change; it is believed when the time is over.
            Cause::Unreachable { .. } if hot.state == State::SynSent => {
                self.connections.cold[i].closed_by = Some(End::Unreachable);
            }
            cause => {
                out.counters.count(Counter::TcpIcmpSoft);
                // rfc9293 3.9.1.8 MUST-47; 3.9.2.2 SHLD-25: the application may hear of it.
                if self.connections.cold[i].options.reports_trouble {
                    let id = self.connections.id(i as u32);
                    self.events.push_back(Event::Trouble { id, trouble: Trouble::Icmp(cause) });
                }
            }
        }
        true
    }

    /// A router says that a packet of ours was too long.
    fn narrow(&mut self, now: Instant, i: usize, mtu: u16, out: &mut Outbox) {
        let (hot, cold) = (&self.connections.hot[i], &mut self.connections.cold[i]);
        let least = if hot.key.is_ipv6() { MTU6_MIN } else { MTU4_MIN };
        // rfc1191 5: an old router does not say what it carries; the next lower plateau.
        let said = if mtu == 0 { plateau_below(cold.path_mtu) } else { mtu };
        let narrower = said.max(least);
        // rfc1191 6.1, rfc8201 4: a report never widens the path.
        if narrower >= cold.path_mtu {
            return;
        }
        self.connections.hot[i].marks.set(Marks::NARROW);
        cold.path_mtu = narrower;
        cold.widen_at = now + WIDEN_AFTER;
        self.set_mss(i as u32);
        self.become_flight(i, out);
        // What was sent too long is gone: no congestion, but to be sent again in smaller pieces.
        if let Some(index) = self.connections.hot[i].flight.get() {
            self.flights.at_mut(index).recovery.path_narrowed(Stamp::of(now), u32::from(self.connections.hot[i].mss));
        }
        self.touch(i);
    }

    /// rfc8899 4.3: full segments vanish again and again, and no router says why.
    pub(super) fn suspect_black_hole(&mut self, now: Instant, i: usize) {
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        let base = if hot.key.is_ipv6() { MTU6_MIN } else { BASE_MTU };
        if cold.path_mtu <= base {
            return;
        }
        hot.marks.set(Marks::NARROW);
        cold.path_mtu = base;
        cold.widen_at = now + WIDEN_AFTER;
        self.set_mss(i as u32);
        if let Some(index) = self.connections.hot[i].flight.get() {
            self.flights.at_mut(index).recovery.path_narrowed(Stamp::of(now), u32::from(self.connections.hot[i].mss));
        }
    }

    /// The path may have become wider.
    pub(super) fn widen(&mut self, i: usize) {
        let interface = self.connections.hot[i].interface;
        let mtu = self.topology.interface(interface).mtu;
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        cold.widen_at = Instant::NEVER;
        cold.path_mtu = mtu;
        hot.marks.clear(Marks::NARROW);
        self.set_mss(i as u32);
    }
}

/// Port unreachable, and for IPv4 protocol unreachable (RFC 792, RFC 4443 section 3.1): only the host that was asked sends these.
fn is_refusal(cause: Cause, ipv6: bool) -> bool {
    match cause {
        Cause::Unreachable { code } => code == if ipv6 { 4 } else { 3 } || (code == 2 && !ipv6),
        _ => false,
    }
}

/// rfc1191 7.1: what links commonly carry.
fn plateau_below(mtu: u16) -> u16 {
    const PLATEAUS: [u16; 8] = [8_166, 4_352, 2_002, 1_492, 1_006, 508, 296, 68];
    PLATEAUS.into_iter().find(|plateau| *plateau < mtu).unwrap_or(68)
}
