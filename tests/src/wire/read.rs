//! What a frame's headers say, believed as far as they fit. For looking at frames that may be anything.

use super::{Mac, ethertype};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An Ethernet header with at most one tag.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Whom the frame goes to.
    pub to: Mac,
    /// Who sent it.
    pub from: Mac,
    /// Its tag's VLAN.
    pub vlan: Option<u16>,
    /// What follows.
    pub ethertype: u16,
    /// Where that begins.
    pub payload_at: usize,
}

/// The Ethernet header of a frame.
pub fn link(frame: &[u8]) -> Option<Link> {
    let header = frame.first_chunk::<14>()?;
    let (to, from) = (Mac::from_bytes(&header[..6]), Mac::from_bytes(&header[6..12]));
    let first = read16(frame, 12)?;
    if first == ethertype::VLAN {
        let vlan = Some(read16(frame, 14)? & 0x0fff);
        return Some(Link { to, from, vlan, ethertype: read16(frame, 16)?, payload_at: 18 });
    }
    Some(Link { to, from, vlan: None, ethertype: first, payload_at: 14 })
}

/// An IP packet; offsets are from its first byte.
#[derive(Clone, Copy, Debug)]
pub struct Ip {
    /// Who sent it.
    pub source: IpAddr,
    /// Whom to.
    pub destination: IpAddr,
    /// What stands after all headers that were walked.
    pub protocol: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Bytes of the IPv4 header with its options, or of the fixed IPv6 header.
    pub header_len: usize,
    /// Where the transport message begins.
    pub transport_at: usize,
    /// Where the packet ends by its own account, or earlier if it is cut.
    pub end: usize,
}

/// The IP packet of either family that begins `packet`. Extension headers are walked while they fit.
pub fn ip_packet(packet: &[u8]) -> Option<Ip> {
    match packet.first()? >> 4 {
        4 => ipv4(packet),
        6 => ipv6(packet),
        _ => None,
    }
}

fn ipv4(packet: &[u8]) -> Option<Ip> {
    let header = packet.first_chunk::<20>()?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let end = usize::from(read16(packet, 2)?).min(packet.len());
    (header_len >= 20 && header_len <= end).then(|| Ip {
        source: Ipv4Addr::from_octets(*packet[12..].first_chunk().expect("in the header")).into(),
        destination: Ipv4Addr::from_octets(*packet[16..].first_chunk().expect("in the header")).into(),
        protocol: header[9],
        hop_limit: header[8],
        header_len,
        transport_at: header_len,
        end,
    })
}

fn ipv6(packet: &[u8]) -> Option<Ip> {
    let header = packet.first_chunk::<40>()?;
    let end = (40 + usize::from(read16(packet, 4)?)).min(packet.len());
    let (mut protocol, mut at) = (header[6], 40);
    while let (0 | 43 | 44 | 60, Some(start)) = (protocol, packet[..end].get(at..at + 8)) {
        let len = if protocol == 44 { 8 } else { usize::from(start[1]) * 8 + 8 };
        if at + len > end {
            break;
        }
        protocol = start[0];
        at += len;
    }
    Some(Ip {
        source: Ipv6Addr::from_octets(*packet[8..].first_chunk().expect("in the header")).into(),
        destination: Ipv6Addr::from_octets(*packet[24..].first_chunk().expect("in the header")).into(),
        protocol,
        hop_limit: header[7],
        header_len: 40,
        transport_at: at,
        end,
    })
}

pub(super) fn read16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..at + 2)?.first_chunk()?))
}
