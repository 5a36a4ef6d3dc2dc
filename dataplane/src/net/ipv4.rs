//! IPv4 (RFC 791, RFC 1122 section 3.2).

use super::{
    checksum::Sum,
    cut_short,
    ethernet::Link,
    interface::{Role, Topology},
    packet::Packet,
};
use crate::{
    drops::Drop,
    port::{Frame, NoRoom},
};
use std::net::Ipv4Addr;

pub(super) const HEADER_LEN: usize = 20;

/// Reads the header of a frame's IPv4 packet; `checksum_known` when the device has found the header's checksum right.
#[inline(always)]
pub(super) fn parse(topology: &Topology, link: &Link, frame: &Frame, checksum_known: bool) -> Result<Packet, Drop> {
    let bytes = &frame.head()[link.header_len..];
    let header = bytes
        .first_chunk::<HEADER_LEN>()
        .ok_or_else(|| cut_short(frame, link.header_len + HEADER_LEN, Drop::Ipv4Malformed))?;
    // rfc1122 3.2.1.1: another version is discarded in silence.
    if header[0] >> 4 != 4 {
        return Err(Drop::Ipv4Malformed);
    }
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header_len < HEADER_LEN || total_len < header_len || total_len > frame.len() - link.header_len {
        return Err(Drop::Ipv4Malformed);
    }
    let whole = bytes.get(..header_len).ok_or(Drop::HeadersSplit)?;
    // rfc1122 3.2.1.2: verify the checksum of every packet.
    if !checksum_known && !Sum::default().add(header).add(&whole[HEADER_LEN..]).is_valid() {
        return Err(Drop::Ipv4Checksum);
    }
    if header_len > HEADER_LEN {
        check_options(&whole[HEADER_LEN..])?;
    }
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let destination = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
    // rfc1122 3.2.1.3; rfc9293 3.9.2.3 MUST-63: a source that is a group, loopback or ours is discarded in silence.
    if topology.is_martian4(link.interface, source) {
        return Err(Drop::MartianSource);
    }
    let group = match topology.role4(link.interface, destination) {
        // rfc1122 3.3.6: a unicast packet in a group's frame is discarded in silence.
        Role::Ours if link.group => return Err(Drop::UnicastInGroupFrame),
        Role::Ours => false,
        Role::Group => true,
        Role::Other => return Err(Drop::NotForUs),
    };
    // More fragments, or an offset.
    if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
        return Err(Drop::Ipv4Fragment);
    }
    Ok(Packet {
        interface: link.interface,
        source: source.into(),
        destination: destination.into(),
        protocol: header[9],
        protocol_at: 9,
        hop_limit: header[8],
        traffic_class: header[1],
        group,
        network_at: link.header_len,
        transport_at: link.header_len + header_len,
        transport_len: total_len - header_len,
    })
}

/// rfc1122 3.2.1.8; rfc9293 3.9.2 MUST-50: options that are not understood are ignored; source routes are refused (RFC 7126 section 4.3, 4.4).
fn check_options(mut options: &[u8]) -> Result<(), Drop> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    while let Some(&kind) = options.first() {
        let len = match kind {
            END => return Ok(()),
            NO_OPERATION => 1,
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => return Err(Drop::Ipv4SourceRoute),
            _ => match options.get(1) {
                Some(&len) if len >= 2 => usize::from(len),
                _ => return Err(Drop::Ipv4Options),
            },
        };
        options = options.get(len..).ok_or(Drop::Ipv4Options)?;
    }
    Ok(())
}

/// What the header of a packet of ours says.
pub(super) struct Header {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) protocol: u8,
    pub(super) hop_limit: u8,
    pub(super) traffic_class: u8,
}

/// Puts a header before a transport message. Packets of ours are never fragmented: DF is set, and so the identification may be zero
/// (RFC 6864 section 4.1).
#[inline(always)]
pub(super) fn emit(frame: &mut Frame, header: &Header, offload: bool) -> Result<(), NoRoom> {
    let total_len = u16::try_from(frame.len() + HEADER_LEN).map_err(|_| NoRoom)?;
    // Whole words, summed before they are written: reading back bytes that were just stored one by one would stall.
    let [source, destination] = [header.source, header.destination].map(Ipv4Addr::to_bits);
    let first = VERSION_AND_LENGTH | u32::from(header.traffic_class) << 16 | u32::from(total_len);
    let third = u32::from(header.hop_limit) << 24 | u32::from(header.protocol) << 16;
    let halves = |word: u32| u64::from(word >> 16) + u64::from(word & 0xffff);
    let sum = halves(first) + halves(DONT_FRAGMENT) + halves(third) + halves(source) + halves(destination);
    let sum = (sum >> 16) + (sum & 0xffff);
    let checksum = if offload { 0 } else { !((sum >> 16) + sum) as u16 };
    let bytes = frame.prepend(HEADER_LEN)?.first_chunk_mut::<HEADER_LEN>().ok_or(NoRoom)?;
    bytes[..4].copy_from_slice(&first.to_be_bytes());
    bytes[4..8].copy_from_slice(&DONT_FRAGMENT.to_be_bytes());
    bytes[8..12].copy_from_slice(&(third | u32::from(checksum)).to_be_bytes());
    bytes[12..16].copy_from_slice(&source.to_be_bytes());
    bytes[16..20].copy_from_slice(&destination.to_be_bytes());
    Ok(())
}

/// Version 4, five words of header, no DSCP or ECN.
const VERSION_AND_LENGTH: u32 = 0x4500_0000;
/// Flags of the second word.
// rfc7323 5.7 a: what is fragmented could be put together with old pieces.
const DONT_FRAGMENT: u32 = 0x4000;
