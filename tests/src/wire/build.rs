//! Frames and packets from their fields. Checksums come last, by [`frame`] or [`seal`](super::seal), so that what stands between can be bent.

use super::{Mac, ethertype, protocol, seal};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A frame with a right checksum wherever there is one, around an IP packet.
pub fn frame(to: Mac, from: Mac, vlan: Option<u16>, packet: &[u8]) -> Vec<u8> {
    let kind = if packet.first().is_some_and(|b| b >> 4 == 6) { ethertype::IPV6 } else { ethertype::IPV4 };
    let mut frame = ethernet(to, from, vlan, kind, packet);
    seal(&mut frame);
    frame
}

/// An Ethernet frame, tagged if it is in a VLAN.
pub fn ethernet(to: Mac, from: Mac, vlan: Option<u16>, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(18 + payload.len());
    frame.extend_from_slice(&to.0);
    frame.extend_from_slice(&from.0);
    if let Some(vlan) = vlan {
        frame.extend_from_slice(&ethertype::VLAN.to_be_bytes());
        frame.extend_from_slice(&vlan.to_be_bytes());
    }
    frame.extend_from_slice(&kind.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// An ARP message for IPv4 over Ethernet (RFC 826): operation 1 asks, 2 answers.
pub fn arp(operation: u8, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut message = vec![0, 1, 8, 0, 6, 4, 0, operation];
    for (mac, address) in [sender, target] {
        message.extend_from_slice(&mac.0);
        message.extend_from_slice(&address.octets());
    }
    message
}

/// An IP packet of the family of its addresses, without options.
///
/// # Panics
/// When the addresses are of two families.
pub fn ip(source: IpAddr, destination: IpAddr, protocol: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = match (source, destination) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            let mut header = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, hop_limit, protocol, 0, 0];
            header[2..4].copy_from_slice(&length(20 + payload.len()));
            header.extend_from_slice(&s.octets());
            header.extend_from_slice(&d.octets());
            header
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            let mut header = vec![0x60, 0, 0, 0, 0, 0, protocol, hop_limit];
            header[4..6].copy_from_slice(&length(payload.len()));
            header.extend_from_slice(&s.octets());
            header.extend_from_slice(&d.octets());
            header
        }
        _ => panic!("{source} and {destination} are of two families"),
    };
    packet.extend_from_slice(payload);
    packet
}

fn length(n: usize) -> [u8; 2] {
    u16::try_from(n).unwrap_or(u16::MAX).to_be_bytes()
}

/// An ICMP message of either family, not sealed.
pub fn icmp(kind: u8, code: u8, word: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend_from_slice(&word);
    message.extend_from_slice(data);
    message
}

/// An echo request as a packet.
pub fn echo(source: IpAddr, destination: IpAddr, ident: u16, seq: u16, data: &[u8]) -> Vec<u8> {
    let ([a, b], [c, d]) = (ident.to_be_bytes(), seq.to_be_bytes());
    let (kind, protocol) = if source.is_ipv4() { (8, protocol::ICMP) } else { (128, protocol::ICMPV6) };
    ip(source, destination, protocol, 64, &icmp(kind, 0, [a, b, c, d], data))
}

/// A datagram as a packet, not sealed.
pub fn udp(source: IpAddr, destination: IpAddr, ports: (u16, u16), data: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(8 + data.len());
    for field in [ports.0.to_be_bytes(), ports.1.to_be_bytes(), length(8 + data.len()), [0, 0]] {
        message.extend_from_slice(&field);
    }
    message.extend_from_slice(data);
    ip(source, destination, protocol::UDP, 64, &message)
}

/// A neighbour solicitation as a packet (RFC 4861 section 4.3), with the sender's hardware address if it is given.
pub fn solicitation(source: Ipv6Addr, destination: Ipv6Addr, target: Ipv6Addr, mac: Option<Mac>) -> Vec<u8> {
    discovery(135, 0, 1, (source, destination), target, mac)
}

/// A neighbour advertisement as a packet (RFC 4861 section 4.4). Flags: 0x40 solicited, 0x20 override.
pub fn advertisement(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    target: Ipv6Addr,
    flags: u8,
    mac: Option<Mac>,
) -> Vec<u8> {
    discovery(136, flags, 2, (source, destination), target, mac)
}

fn discovery(
    kind: u8,
    flags: u8,
    option: u8,
    (source, destination): (Ipv6Addr, Ipv6Addr),
    target: Ipv6Addr,
    mac: Option<Mac>,
) -> Vec<u8> {
    let mut data = target.octets().to_vec();
    if let Some(mac) = mac {
        data.extend_from_slice(&[option, 1]);
        data.extend_from_slice(&mac.0);
    }
    ip(source.into(), destination.into(), protocol::ICMPV6, 255, &icmp(kind, 0, [flags, 0, 0, 0], &data))
}

/// An IPv6 destination options header with one option (RFC 8200 section 4.6), padded; `next` names what follows.
pub fn destination_options(next: u8, option: u8, data: &[u8]) -> Vec<u8> {
    let len = (4 + data.len()).next_multiple_of(8);
    let mut header = vec![next, u8::try_from(len / 8 - 1).unwrap_or(u8::MAX), option];
    header.push(u8::try_from(data.len()).unwrap_or(u8::MAX));
    header.extend_from_slice(data);
    match len - header.len() {
        0 => {}
        1 => header.push(0),
        padding => {
            header.extend_from_slice(&[1, u8::try_from(padding - 2).unwrap_or(0)]);
            header.resize(len, 0);
        }
    }
    header
}

/// An IPv6 fragment header (RFC 8200 section 4.5): the offset is in units of 8 bytes.
pub fn fragment_header(next: u8, offset: u16, more: bool, identification: u32) -> Vec<u8> {
    let field = offset << 3 | u16::from(more);
    let mut header = vec![next, 0];
    header.extend_from_slice(&field.to_be_bytes());
    header.extend_from_slice(&identification.to_be_bytes());
    header
}
