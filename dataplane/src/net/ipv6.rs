//! IPv6 and its extension headers (RFC 8200).

use super::{
    cut_short,
    ethernet::Link,
    icmp,
    interface::{Role, Topology},
    packet::{Packet, Refusal, protocol},
};
use crate::{
    drops::Drop,
    limits::{EXTENSION_BYTES_MAX, EXTENSION_HEADERS_MAX, EXTENSION_OPTIONS_MAX},
    port::{Frame, NoRoom},
};
use std::net::{IpAddr, Ipv6Addr};

pub(super) const HEADER_LEN: usize = 40;

/// Codes of the ICMPv6 parameter problem (RFC 4443 section 3.4).
pub(super) mod problem {
    pub(crate) const ERRONEOUS_HEADER: u8 = 0;
    pub(crate) const UNKNOWN_NEXT_HEADER: u8 = 1;
    pub(crate) const UNKNOWN_OPTION: u8 = 2;
}

mod next_header {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const NONE: u8 = 59;
    pub(super) const DESTINATION: u8 = 60;
}

mod option {
    pub(super) const PAD1: u8 = 0;
    pub(super) const PADN: u8 = 1;
    pub(super) const ROUTER_ALERT: u8 = 5;
}

/// Reads the headers of a frame's IPv6 packet, up to the transport.
#[inline]
pub(super) fn parse(topology: &Topology, link: &Link, frame: &Frame) -> Result<Packet, Refusal> {
    let bytes = &frame.head()[link.header_len..];
    let header = bytes
        .first_chunk::<HEADER_LEN>()
        .ok_or_else(|| cut_short(frame, link.header_len + HEADER_LEN, Drop::Ipv6Malformed))?;
    let payload_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if header[0] >> 4 != 6 || HEADER_LEN + payload_len > frame.len() - link.header_len {
        return Err(Drop::Ipv6Malformed.into());
    }
    let source = address(&header[8..24]);
    let destination = address(&header[24..40]);
    let group = check_addresses(topology, link, source, destination)?;
    let mut packet = fixed_header(link, frame);
    packet.group = group;
    use next_header::{DESTINATION, FRAGMENT, HOP_BY_HOP, NONE, ROUTING};
    if matches!(packet.protocol, HOP_BY_HOP | ROUTING | FRAGMENT | NONE | DESTINATION) {
        walk_extensions(bytes, &mut packet)?;
    }
    Ok(packet)
}

/// The packet as its fixed header describes it, extension headers unread. The header has been checked; the packet counts as
/// sent to a group if its frame or its destination was one.
pub(super) fn fixed_header(link: &Link, frame: &Frame) -> Packet {
    let header = &frame.head()[link.header_len..link.header_len + HEADER_LEN];
    let destination = address(&header[24..40]);
    Packet {
        interface: link.interface,
        source: address(&header[8..24]).into(),
        destination: destination.into(),
        protocol: header[6],
        protocol_at: 6,
        hop_limit: header[7],
        traffic_class: header[0] << 4 | header[1] >> 4,
        group: link.group || destination.is_multicast(),
        network_at: link.header_len,
        transport_at: link.header_len + HEADER_LEN,
        transport_len: usize::from(u16::from_be_bytes([header[4], header[5]])),
    }
}

fn address(bytes: &[u8]) -> Ipv6Addr {
    Ipv6Addr::from(*bytes.first_chunk::<16>().expect("the caller cut 16 bytes"))
}

/// Whether the packet went to a group; refuses what cannot be or is not for us.
fn check_addresses(topology: &Topology, link: &Link, source: Ipv6Addr, destination: Ipv6Addr) -> Result<bool, Drop> {
    let group = match topology.role6(link.interface, destination) {
        Role::Ours if link.group => return Err(Drop::UnicastInGroupFrame),
        Role::Ours => false,
        Role::Group if topology.in_group(link.interface, destination) => true,
        Role::Group => return Err(Drop::GroupIgnored),
        Role::Other => return Err(Drop::NotForUs),
    };
    // rfc4861 7.1.1: only a host that looks for its own address (a solicitation to a group) has none yet.
    let seeks_own_address = source.is_unspecified() && group;
    // rfc9293 3.9.2.3 MUST-63: what cannot be a source is ignored, with IPv4 too.
    if !seeks_own_address && topology.is_martian6(link.interface, source) {
        return Err(Drop::MartianSource);
    }
    Ok(group)
}

/// Walks the chain from the fixed header to the transport (RFC 8200 section 4), within the bounds that RFC 8504 section 5.3 advises.
fn walk_extensions(bytes: &[u8], packet: &mut Packet) -> Result<(), Refusal> {
    let mut at = HEADER_LEN;
    for position in 0.. {
        let kind = packet.protocol;
        match kind {
            next_header::HOP_BY_HOP | next_header::ROUTING | next_header::FRAGMENT | next_header::DESTINATION => {}
            next_header::NONE => return Err(Drop::Ipv6NoNextHeader.into()),
            _ => return Ok(()),
        }
        if position == EXTENSION_HEADERS_MAX {
            return Err(Drop::Ipv6ExtensionLimit.into());
        }
        // rfc8200 4.1: hop-by-hop options come first or not at all.
        if kind == next_header::HOP_BY_HOP && position > 0 {
            let (code, pointer) = (problem::UNKNOWN_NEXT_HEADER, packet.protocol_at as u32);
            return Err(Refusal::Problem { code, pointer, reason: Drop::Ipv6Extension });
        }
        if packet.transport_len < 8 {
            return Err(Drop::Ipv6Extension.into());
        }
        let start = bytes.get(at..at + 2).ok_or(Drop::HeadersSplit)?;
        // rfc8200 4.5: the fragment header's second byte is reserved; it is always 8 bytes long.
        let len = if kind == next_header::FRAGMENT { 8 } else { usize::from(start[1]) * 8 + 8 };
        let next = start[0];
        if len > packet.transport_len {
            return Err(Drop::Ipv6Extension.into());
        }
        if at + len - HEADER_LEN > EXTENSION_BYTES_MAX {
            return Err(Drop::Ipv6ExtensionLimit.into());
        }
        let body = bytes.get(at..at + len).ok_or(Drop::HeadersSplit)?;
        match kind {
            next_header::ROUTING => check_routing(body, at)?,
            next_header::FRAGMENT => check_fragment(body)?,
            _ => check_options(body, at)?,
        }
        packet.protocol = next;
        packet.transport_at += len;
        packet.transport_len -= len;
        packet.protocol_at = at;
        at += len;
    }
    Ok(())
}

/// Whether a packet whose options have been checked asks every router on the way to look at it as a multicast listener message (RFC 2711
/// section 2.1).
pub(super) fn alerts_about_listeners(packet: &[u8]) -> bool {
    const ALERT: [u8; 4] = [option::ROUTER_ALERT, 2, 0, 0];
    if packet[6] != next_header::HOP_BY_HOP {
        return false;
    }
    let body = packet.get(HEADER_LEN..).unwrap_or_default();
    let len = body.get(1).map_or(0, |len| usize::from(*len) * 8 + 8);
    let mut options = body.get(2..len).unwrap_or_default();
    while let Some(&kind) = options.first() {
        if options.starts_with(&ALERT) {
            return true;
        }
        let len =
            if kind == option::PAD1 { 1 } else { options.get(1).map_or(options.len(), |len| usize::from(*len) + 2) };
        options = options.get(len..).unwrap_or_default();
    }
    false
}

/// Whether an ICMPv6 error or redirect may stand at the end of a chain that was not walked to its end: yes, where that cannot be seen.
pub(super) fn may_carry_error(packet: &[u8]) -> bool {
    let (mut kind, mut at) = (packet[6], HEADER_LEN);
    for _ in 0..=EXTENSION_HEADERS_MAX {
        let Some(start) = packet.get(at..at + 2) else { return true };
        at += match kind {
            protocol::ICMPV6 => return !icmp::is_informational(start[0]),
            next_header::FRAGMENT => 8,
            next_header::HOP_BY_HOP | next_header::ROUTING | next_header::DESTINATION => usize::from(start[1]) * 8 + 8,
            _ => return false,
        };
        kind = start[0];
    }
    true
}

/// rfc8200 4.4 and rfc5095: a routing header that is done is skipped, one with segments left is not ours to follow.
fn check_routing(body: &[u8], at: usize) -> Result<(), Refusal> {
    if body[3] == 0 {
        return Ok(());
    }
    Err(Refusal::Problem { code: problem::ERRONEOUS_HEADER, pointer: at as u32 + 2, reason: Drop::Ipv6Routing })
}

/// rfc6946 4: a fragment that is the whole packet is taken as such; others are refused.
fn check_fragment(body: &[u8]) -> Result<(), Refusal> {
    let offset_and_more = u16::from_be_bytes([body[2], body[3]]) & 0xfff9;
    if offset_and_more == 0 { Ok(()) } else { Err(Drop::Ipv6Fragment.into()) }
}

/// rfc8200 4.2: what to do with an unknown option is in its number's two highest bits.
fn check_options(body: &[u8], at: usize) -> Result<(), Refusal> {
    let mut offset = 2;
    let mut count = 0;
    while offset < body.len() {
        let kind = body[offset];
        if kind == option::PAD1 {
            offset += 1;
            continue;
        }
        count += 1;
        if count > EXTENSION_OPTIONS_MAX {
            return Err(Drop::Ipv6ExtensionLimit.into());
        }
        let len = usize::from(*body.get(offset + 1).ok_or(Drop::Ipv6Extension)?) + 2;
        if offset + len > body.len() {
            return Err(Drop::Ipv6Extension.into());
        }
        if !matches!(kind, option::PADN | option::ROUTER_ALERT) {
            let (code, pointer, reason) = (problem::UNKNOWN_OPTION, (at + offset) as u32, Drop::Ipv6Option);
            match kind >> 6 {
                0b00 => {}
                0b01 => return Err(reason.into()),
                // 0b10 asks for an answer even to a group's packet; `Net::refuse` gives none.
                _ => return Err(Refusal::Problem { code, pointer, reason }),
            }
        }
        offset += len;
    }
    Ok(())
}

/// What the header of a packet of ours says.
pub(super) struct Header {
    pub(super) source: Ipv6Addr,
    pub(super) destination: Ipv6Addr,
    pub(super) protocol: u8,
    pub(super) hop_limit: u8,
    pub(super) traffic_class: u8,
}

/// Puts a header before a transport message (or before an extension header, which `protocol` then names).
#[inline]
pub(super) fn emit(frame: &mut Frame, header: &Header) -> Result<(), NoRoom> {
    let payload_len = u16::try_from(frame.len()).map_err(|_| NoRoom)?;
    let bytes = frame.prepend(HEADER_LEN)?;
    bytes[..4].copy_from_slice(&[0x60 | header.traffic_class >> 4, header.traffic_class << 4, 0, 0]);
    bytes[4..6].copy_from_slice(&payload_len.to_be_bytes());
    bytes[6] = header.protocol;
    bytes[7] = header.hop_limit;
    bytes[8..24].copy_from_slice(&header.source.octets());
    bytes[24..40].copy_from_slice(&header.destination.octets());
    Ok(())
}

/// The addresses of a packet when both are IPv6.
pub(super) fn pair(source: IpAddr, destination: IpAddr) -> Option<(Ipv6Addr, Ipv6Addr)> {
    match (source, destination) {
        (IpAddr::V6(s), IpAddr::V6(d)) => Some((s, d)),
        _ => None,
    }
}
