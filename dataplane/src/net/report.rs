//! Multicast listener reports (MLDv2, RFC 3810): switches that snoop deliver neighbour solicitations only to who has reported the solicited-node
//! groups. We listen to nothing else, so a full report is small and is sent whole each time.

use super::{
    Net,
    checksum::Sum,
    ethernet::{self, ethertype},
    interface::{Interface, group_mac, is_link_local, solicited_node},
    ipv6,
    packet::{Packet, protocol},
};
use crate::{
    counters::Counter,
    drops::Drop,
    outbox::Outbox,
    port::Frame,
    time::{Duration, Instant},
};
use std::net::{IpAddr, Ipv6Addr};

/// ICMPv6 type of a query.
pub(super) const QUERY: u8 = 130;
const REPORT_V2: u8 = 143;
/// rfc3810 5.2.14: reports go to all MLDv2 routers.
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
/// rfc3810 5.2.5: "is excluding nothing": all sources of this group, please.
const MODE_IS_EXCLUDE: u8 = 2;
/// rfc2711 2.1: hop-by-hop, a router alert for multicast listeners, padded to 8 bytes.
const ROUTER_ALERT: [u8; 8] = [protocol::ICMPV6, 0, 5, 2, 0, 0, 1, 0];

impl Net {
    /// Takes a query: the report follows within the delay that the querier allows (RFC 3810 section 6.2).
    pub(super) fn handle_listener_query(&mut self, now: Instant, packet: &Packet, frame: Frame, out: &mut Outbox) {
        let message = frame.head().get(packet.transport_at..packet.end()).unwrap_or_default();
        // rfc3810 6.2: link-local source, hop limit 1, a router alert. 8.1: 24 bytes is version 1, 28 and more version 2.
        let sound = is_link_local(packet.source)
            && packet.hop_limit == 1
            && ipv6::alerts_about_listeners(&frame.head()[packet.network_at..])
            && (message.len() == 24 || message.len() >= 28);
        if !sound {
            return out.drop(frame, Drop::IcmpMalformed);
        }
        let delay = response_delay(u16::from_be_bytes([message[4], message[5]]), message.len() == 24);
        let at = now + Duration::from_ms(self.random.u64(0..=delay));
        let slot = &mut self.report_at[usize::from(packet.interface.0)];
        *slot = (*slot).min(at);
        out.consume(frame);
    }

    /// Sends the reports whose time has come.
    pub(super) fn send_due_reports(&mut self, now: Instant, out: &mut Outbox) {
        for (index, interface) in self.topology.interfaces() {
            let at = &mut self.report_at[usize::from(index.0)];
            if *at <= now {
                *at = Instant::NEVER;
                report(interface, out);
            }
        }
    }
}

/// rfc3810 5.1.3: the largest delay in milliseconds, as a small float in version 2.
fn response_delay(code: u16, version1: bool) -> u64 {
    let code = u64::from(code);
    if version1 || code < 32_768 { code } else { ((code & 0xfff) | 0x1000) << ((code >> 12 & 7) + 3) }
}

/// Sends one report with all groups of an interface.
pub(super) fn report(interface: &Interface, out: &mut Outbox) {
    let addresses =
        || interface.addresses.iter().filter_map(|c| if let IpAddr::V6(a) = c.address { Some(a) } else { None });
    let Some(source) = addresses().find(Ipv6Addr::is_unicast_link_local) else { return };
    let mut groups: Vec<Ipv6Addr> = addresses().map(solicited_node).collect();
    groups.sort_unstable();
    groups.dedup();
    let Some(mut frame) = out.make() else { return };
    let len = 8 + 20 * groups.len();
    let message = frame.append(len).expect("a fresh frame has room: an interface has few addresses");
    message.fill(0);
    message[0] = REPORT_V2;
    message[6..8].copy_from_slice(&(groups.len() as u16).to_be_bytes());
    for (record, group) in message[8..].chunks_exact_mut(20).zip(&groups) {
        record[0] = MODE_IS_EXCLUDE;
        record[4..].copy_from_slice(&group.octets());
    }
    let sum =
        Sum::pseudo_header(source.into(), ALL_ROUTERS.into(), protocol::ICMPV6, len as u32).add(message).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    frame.prepend(ROUTER_ALERT.len()).expect("a fresh frame has headroom")[..8].copy_from_slice(&ROUTER_ALERT);
    let header = ipv6::Header { source, destination: ALL_ROUTERS, protocol: 0, hop_limit: 1, traffic_class: 0 };
    ipv6::emit(&mut frame, &header).expect("a fresh frame has headroom");
    ethernet::emit(&mut frame, interface, group_mac(ALL_ROUTERS), ethertype::IPV6).expect("a fresh frame has headroom");
    out.counters.count(Counter::ListenerReports);
    out.transmit(interface.port, frame);
}

#[cfg(test)]
mod tests {
    use super::response_delay;

    #[test]
    fn delays_are_a_small_float() {
        assert_eq!(response_delay(1_000, false), 1_000);
        assert_eq!(response_delay(32_767, false), 32_767);
        assert_eq!(response_delay(0x8000, false), 0x1000 << 3);
        assert_eq!(response_delay(0xffff, false), 0x1fff << 10);
        assert_eq!(response_delay(0xffff, true), 65_535);
    }
}
