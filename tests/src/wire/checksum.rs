//! The Internet checksum, word by word as RFC 1071 section 4.1 has it.

use super::{ethertype, protocol, read};
use std::net::IpAddr;

/// The checksum over `bytes`; zero when they include their own right checksum.
pub fn checksum(bytes: &[u8]) -> u16 {
    fold(add(0, bytes))
}

/// The checksum of a TCP, UDP or ICMPv6 message with its pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1), of an ICMPv4
/// message without one; zero when the message includes its own right checksum.
pub fn transport_sum(source: IpAddr, destination: IpAddr, protocol: u8, message: &[u8]) -> u16 {
    let mut sum = 0;
    if protocol != protocol::ICMP {
        for address in [source, destination] {
            sum = match address {
                IpAddr::V4(a) => add(sum, &a.octets()),
                IpAddr::V6(a) => add(sum, &a.octets()),
            };
        }
        sum += u64::from(protocol) + message.len() as u64;
    }
    fold(add(sum, message))
}

/// Makes the checksums of a frame right, as far as its lengths make sense.
pub fn seal(frame: &mut [u8]) {
    let Some(link) = read::link(frame) else { return };
    let packet = &mut frame[link.payload_at..];
    let Some(ip) = read::ip_packet(packet) else { return };
    if link.ethertype == ethertype::IPV4 {
        let header = &mut packet[..ip.header_len];
        header[10..12].fill(0);
        let sum = checksum(header).to_be_bytes();
        header[10..12].copy_from_slice(&sum);
    }
    let at = match ip.protocol {
        protocol::ICMP | protocol::ICMPV6 => 2,
        protocol::TCP => 16,
        protocol::UDP => 6,
        _ => return,
    };
    let message = &mut packet[ip.transport_at..ip.end];
    let Some(field) = message.get_mut(at..at + 2) else { return };
    field.fill(0);
    let sum = transport_sum(ip.source, ip.destination, ip.protocol, message).to_be_bytes();
    message[at..at + 2].copy_from_slice(&sum);
}

fn add(sum: u64, bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .fold(sum, |sum, pair| sum + (u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0))))
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}
