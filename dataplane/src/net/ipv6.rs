//! IPv6 and its extension headers (RFC 8200).

use super::{
    ethernet::Link,
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

/// Reads the headers of a frame's IPv6 packet, up to the transport.
#[inline]
pub(super) fn parse(topology: &Topology, link: &Link, frame: &Frame) -> Result<Packet, Refusal> {
    let bytes = &frame.head()[link.header_len..];
    let header = bytes.first_chunk::<HEADER_LEN>().ok_or(Drop::Ipv6Malformed)?;
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
    let group = match topology.role(link.interface, destination.into()) {
        Role::Ours if link.group => return Err(Drop::UnicastInGroupFrame),
        Role::Ours => false,
        Role::Group if topology.in_group(link.interface, destination) => true,
        Role::Group => return Err(Drop::GroupIgnored),
        Role::Other => return Err(Drop::NotForUs),
    };
    // rfc4861 7.1.1: only a host that looks for its own address (a solicitation to a group) has none yet.
    let seeks_own_address = source.is_unspecified() && group;
    if !seeks_own_address && topology.is_martian(link.interface, source.into()) {
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
        if position == EXTENSION_HEADERS_MAX || at - HEADER_LEN > EXTENSION_BYTES_MAX {
            return Err(Drop::Ipv6ExtensionLimit.into());
        }
        // rfc8200 4.1: hop-by-hop options come first or not at all.
        if kind == next_header::HOP_BY_HOP && position > 0 {
            let (code, pointer) = (problem::UNKNOWN_NEXT_HEADER, packet.protocol_at as u32);
            return Err(Refusal::Problem { code, pointer, reason: Drop::Ipv6Extension });
        }
        let (next, len) = match bytes.get(at..at + 2) {
            // rfc8200 4.5: the fragment header's second byte is reserved; it is always 8 bytes long.
            Some(start) if kind == next_header::FRAGMENT => (start[0], 8),
            Some(start) => (start[0], usize::from(start[1]) * 8 + 8),
            None => return Err(Drop::Ipv6Extension.into()),
        };
        if len > packet.transport_len {
            return Err(Drop::Ipv6Extension.into());
        }
        let body = bytes.get(at..at + len).ok_or(Drop::HeadersSplit)?;
        match kind {
            next_header::ROUTING => check_routing(body, at)?,
            next_header::FRAGMENT => check_fragment(body)?,
            _ => check_options(body, at, packet.group)?,
        }
        packet.protocol = next;
        packet.transport_at += len;
        packet.transport_len -= len;
        packet.protocol_at = at;
        at += len;
    }
    Ok(())
}

/// Whether an ICMPv6 error stands behind the extension headers of a packet, or may stand there: it is walked no further than others.
pub(super) fn may_carry_error(packet: &[u8]) -> bool {
    let (mut kind, mut at) = (packet[6], HEADER_LEN);
    for _ in 0..=EXTENSION_HEADERS_MAX {
        match kind {
            next_header::HOP_BY_HOP | next_header::ROUTING | next_header::FRAGMENT | next_header::DESTINATION => {}
            protocol::ICMPV6 => return packet.get(at).is_none_or(|kind| *kind < 128), // rfc4443 2.1: the high bit is clear
            _ => return false,
        }
        let Some(start) = packet.get(at..at + 2) else { return true };
        at += if kind == next_header::FRAGMENT { 8 } else { usize::from(start[1]) * 8 + 8 };
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
fn check_options(body: &[u8], at: usize, group: bool) -> Result<(), Refusal> {
    const PAD1: u8 = 0;
    const PADN: u8 = 1;
    const ROUTER_ALERT: u8 = 5;
    let mut offset = 2;
    let mut count = 0;
    while offset < body.len() {
        let kind = body[offset];
        if kind == PAD1 {
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
        if !matches!(kind, PADN | ROUTER_ALERT) {
            let answered = match kind >> 6 {
                0b00 => None,
                0b01 => Some(false),
                0b10 => Some(true),
                _ => Some(!group),
            };
            let pointer = (at + offset) as u32;
            match answered {
                None => {}
                Some(false) => return Err(Drop::Ipv6Option.into()),
                Some(true) => {
                    return Err(Refusal::Problem { code: problem::UNKNOWN_OPTION, pointer, reason: Drop::Ipv6Option });
                }
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
}

/// Puts a header before a transport message (or before an extension header, which `protocol` then names).
#[inline]
pub(super) fn emit(frame: &mut Frame, header: &Header) -> Result<(), NoRoom> {
    let payload_len = u16::try_from(frame.len()).map_err(|_| NoRoom)?;
    let bytes = frame.prepend(HEADER_LEN)?;
    bytes[..4].copy_from_slice(&[0x60, 0, 0, 0]);
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
