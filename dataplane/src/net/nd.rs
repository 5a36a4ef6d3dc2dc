//! Neighbour discovery for IPv6 (RFC 4861), the host's half: solicitations and advertisements. Routes are static, so router discovery and
//! redirects are ignored, each by name.

use super::{
    Net,
    checksum::Sum,
    ethernet::{self, Link, ethertype},
    icmp,
    interface::{ALL_NODES, Interface, NextHop, group_mac, solicited_node},
    ipv6,
    neighbors::Claim,
    packet::{Packet, protocol},
};
use crate::{counters::Counter, drops::Drop, outbox::Outbox, port::Frame, time::Instant};
use smoltcp::wire::EthernetAddress;
use std::net::Ipv6Addr;

/// ICMPv6 types (RFC 4861 section 4).
pub(super) mod kind {
    pub(crate) const ROUTER_SOLICITATION: u8 = 133;
    pub(crate) const ROUTER_ADVERTISEMENT: u8 = 134;
    pub(crate) const SOLICITATION: u8 = 135;
    pub(crate) const ADVERTISEMENT: u8 = 136;
    pub(crate) const REDIRECT: u8 = 137;
}

mod flag {
    pub(super) const SOLICITED: u8 = 0x40;
    pub(super) const OVERRIDE: u8 = 0x20;
}

const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;

/// Type to checksum 4, flags or reserved 4, target 16.
const FIXED_LEN: usize = 24;
/// One link-layer address option.
const OPTION_LEN: usize = 8;

/// A solicitation or advertisement that has passed the checks of RFC 4861 sections 7.1.1 and 7.1.2.
pub(super) struct Message {
    pub(super) advertisement: bool,
    flags: u8,
    pub(super) target: Ipv6Addr,
    /// The source's (solicitation) or target's (advertisement) hardware address, if it was given.
    pub(super) mac: Option<EthernetAddress>,
}

pub(super) fn parse(packet: &Packet, bytes: &[u8], source: Ipv6Addr, destination: Ipv6Addr) -> Result<Message, Drop> {
    let fixed = bytes.first_chunk::<FIXED_LEN>().ok_or(Drop::NdMalformed)?;
    let advertisement = fixed[0] == kind::ADVERTISEMENT;
    // rfc4861 7.1.1, 7.1.2: hop limit 255 (nobody forwarded it), code 0.
    if packet.hop_limit != 255 || fixed[1] != 0 {
        return Err(Drop::NdMalformed);
    }
    let target = Ipv6Addr::from(*fixed[8..24].first_chunk::<16>().expect("16 bytes"));
    let wanted = if advertisement { TARGET_LINK_ADDRESS } else { SOURCE_LINK_ADDRESS };
    let mac = find_option(&bytes[FIXED_LEN..], wanted)?;
    let flags = fixed[4];
    let sound = if advertisement {
        // An advertisement to a group answers nobody in particular.
        !(destination.is_multicast() && flags & flag::SOLICITED != 0)
    } else if source.is_unspecified() {
        // Somebody looks whether its own address is taken: to the target's group, and without a hardware address.
        destination == solicited_node(target) && mac.is_none()
    } else {
        true
    };
    if !sound || target.is_multicast() || mac.is_some_and(|mac| !mac.is_unicast() || mac.0 == [0; 6]) {
        return Err(Drop::NdMalformed);
    }
    Ok(Message { advertisement, flags, target, mac })
}

/// rfc4861 4.6: every option has a length in units of 8 bytes, never 0; unknown ones are skipped.
fn find_option(mut options: &[u8], wanted: u8) -> Result<Option<EthernetAddress>, Drop> {
    let mut found = None;
    while !options.is_empty() {
        let header = options.first_chunk::<2>().ok_or(Drop::NdMalformed)?;
        let len = usize::from(header[1]) * 8;
        if len == 0 || len > options.len() {
            return Err(Drop::NdMalformed);
        }
        if header[0] == wanted && found.is_none() {
            found = Some(EthernetAddress::from_bytes(&options[2..8]));
        }
        options = &options[len..];
    }
    Ok(found)
}

impl Net {
    /// Takes a neighbour solicitation or advertisement whose checksum is right.
    pub(super) fn handle_nd(&mut self, now: Instant, link: &Link, packet: &Packet, frame: Frame, out: &mut Outbox) {
        let Some((source, destination)) = ipv6::pair(packet.source, packet.destination) else {
            return out.drop(frame, Drop::NdMalformed);
        };
        let parsed = match frame.head().get(packet.transport_at..packet.end()) {
            Some(bytes) => parse(packet, bytes, source, destination),
            None => Err(Drop::HeadersSplit),
        };
        match parsed {
            Err(reason) => out.drop(frame, reason),
            Ok(message) if message.mac == Some(self.topology.interface(link.interface).mac) => {
                out.drop(frame, Drop::HardwareSource);
            }
            Ok(message) if message.advertisement => self.handle_advertisement(now, link, &message, frame, out),
            Ok(message) => self.handle_solicitation(now, link, source, &message, frame, out),
        }
    }

    fn handle_advertisement(&mut self, now: Instant, link: &Link, message: &Message, frame: Frame, out: &mut Outbox) {
        if self.is_ours(link, message.target) {
            return self.handle_conflict(now, link, message.target.into(), frame, out);
        }
        let hop = NextHop { interface: link.interface, address: message.target.into() };
        let solicited = message.flags & flag::SOLICITED != 0;
        let known = match message.mac {
            Some(mac) => {
                let claim = Claim { mac, solicited, overrides: message.flags & flag::OVERRIDE != 0, creates: false };
                self.neighbors.handle_claim(now, hop, claim, out)
            }
            // rfc4861 4.4: a unicast answer may leave the address out, which confirms the one that was asked.
            None => solicited && self.neighbors.handle_confirmation(now, hop, out),
        };
        if known { out.consume(frame) } else { out.drop(frame, Drop::NdNotForUs) }
    }

    fn handle_solicitation(
        &mut self,
        now: Instant,
        link: &Link,
        source: Ipv6Addr,
        message: &Message,
        frame: Frame,
        out: &mut Outbox,
    ) {
        if !self.is_ours(link, message.target) {
            return out.drop(frame, Drop::NdNotForUs);
        }
        if let (Some(mac), false) = (message.mac, source.is_unspecified()) {
            // rfc4861 7.2.3: the sender's address is remembered, as not yet confirmed.
            let hop = NextHop { interface: link.interface, address: source.into() };
            if self.topology.on_link(link.interface, source.into()) {
                self.neighbors.handle_claim(
                    now,
                    hop,
                    Claim { mac, solicited: false, overrides: true, creates: true },
                    out,
                );
            }
        }
        out.counters.count(Counter::NeighborAnswers);
        let interface = self.topology.interface(link.interface);
        // rfc4861 7.2.4: who has no address yet is answered in the group of all.
        if source.is_unspecified() {
            out.consume(frame);
            return advertise(interface, message.target, ALL_NODES, flag::OVERRIDE, group_mac(ALL_NODES), out);
        }
        // The answer goes back to where the question came from: no look-up that an attacker could fill.
        let to = message.mac.unwrap_or(link.source);
        out.consume(frame);
        advertise(interface, message.target, source, flag::SOLICITED | flag::OVERRIDE, to, out);
    }

    fn is_ours(&self, link: &Link, target: Ipv6Addr) -> bool {
        self.topology.interface(link.interface).addresses.iter().any(|c| c.address == target)
    }
}

/// Sends an advertisement of an address of ours.
fn advertise(
    interface: &Interface,
    target: Ipv6Addr,
    to: Ipv6Addr,
    flags: u8,
    to_mac: EthernetAddress,
    out: &mut Outbox,
) {
    let message = Outgoing { kind: kind::ADVERTISEMENT, flags, target, option: TARGET_LINK_ADDRESS };
    message.send(interface, target, to, to_mac, out);
}

/// Tells everybody where an address of ours is now (RFC 4861 section 7.2.6).
pub(super) fn announce(interface: &Interface, address: Ipv6Addr, out: &mut Outbox) {
    advertise(interface, address, ALL_NODES, flag::OVERRIDE, group_mac(ALL_NODES), out);
}

/// Sends a question: to the target's group, or to the one whose answer is still remembered.
pub(super) fn ask(
    interface: &Interface,
    source: Ipv6Addr,
    target: Ipv6Addr,
    to: Option<EthernetAddress>,
    out: &mut Outbox,
) {
    let group = solicited_node(target);
    let (destination, mac) = to.map_or((group, group_mac(group)), |mac| (target, mac));
    let message = Outgoing { kind: kind::SOLICITATION, flags: 0, target, option: SOURCE_LINK_ADDRESS };
    message.send(interface, source, destination, mac, out);
}

struct Outgoing {
    kind: u8,
    flags: u8,
    target: Ipv6Addr,
    option: u8,
}

impl Outgoing {
    fn send(
        &self,
        interface: &Interface,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        to: EthernetAddress,
        out: &mut Outbox,
    ) {
        let Some(mut frame) = out.make() else { return };
        let bytes = frame.append(FIXED_LEN + OPTION_LEN).expect("a fresh frame has room");
        bytes[..8].copy_from_slice(&[self.kind, 0, 0, 0, self.flags, 0, 0, 0]);
        bytes[8..24].copy_from_slice(&self.target.octets());
        bytes[24..26].copy_from_slice(&[self.option, 1]);
        bytes[26..32].copy_from_slice(interface.mac.as_bytes());
        let sum = Sum::pseudo_header(source.into(), destination.into(), protocol::ICMPV6, 32).add(bytes).checksum();
        bytes[icmp::CHECKSUM_AT..icmp::CHECKSUM_AT + 2].copy_from_slice(&sum.to_be_bytes());
        let header = ipv6::Header { source, destination, protocol: protocol::ICMPV6, hop_limit: 255, traffic_class: 0 };
        ipv6::emit(&mut frame, &header).expect("a fresh frame has headroom");
        ethernet::emit(&mut frame, interface, to, ethertype::IPV6).expect("a fresh frame has headroom");
        out.transmit(interface.port, frame);
    }
}
