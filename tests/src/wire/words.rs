//! A frame in one line, for people and for tests that read as a conversation.

use super::{Tcp, ethertype, ip_packet, link, protocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a frame says, such as `arp who-has 10.0.0.2 tell 10.0.0.1` or `10.0.0.1 > 10.0.0.2 echo reply 7, 56 bytes`.
pub fn words(frame: &[u8]) -> String {
    let Some(link) = link(frame) else { return format!("{} bytes, cut short", frame.len()) };
    let payload = &frame[link.payload_at..];
    let said = match link.ethertype {
        ethertype::ARP => arp_words(payload),
        ethertype::IPV4 | ethertype::IPV6 => ip_words(payload),
        _ => None,
    };
    let said = said.unwrap_or_else(|| format!("EtherType {:04x}, {} bytes", link.ethertype, payload.len()));
    match link.vlan {
        Some(vlan) => format!("vlan {vlan} {said}"),
        None => said,
    }
}

fn arp_words(message: &[u8]) -> Option<String> {
    let address = |at: usize| Some(Ipv4Addr::from_octets(*message.get(at..at + 4)?.first_chunk()?));
    let (sender, target) = (address(14)?, address(24)?);
    match message[7] {
        1 if sender == target => Some(format!("arp {sender} is here")),
        1 => Some(format!("arp who-has {target} tell {sender}")),
        2 => Some(format!("arp {sender} is-at {}", super::Mac::from_bytes(&message[8..14]))),
        operation => Some(format!("arp operation {operation}")),
    }
}

fn ip_words(packet: &[u8]) -> Option<String> {
    let ip = ip_packet(packet)?;
    let (from, to) = (ip.source, ip.destination);
    let message = &packet[ip.transport_at..ip.end];
    let said = match ip.protocol {
        protocol::ICMP | protocol::ICMPV6 => icmp_words(from, message),
        protocol::UDP => message.first_chunk::<8>().map(|h| {
            let port = |at: usize| u16::from_be_bytes([h[at], h[at + 1]]);
            format!("udp {} > {}, {} bytes", port(0), port(2), message.len() - 8)
        }),
        protocol::TCP => Tcp::read(message).map(|segment| segment.to_string()),
        _ => None,
    };
    let said = said.unwrap_or_else(|| format!("protocol {}, {} bytes", ip.protocol, message.len()));
    Some(format!("{from} > {to} {said}"))
}

fn icmp_words(from: IpAddr, message: &[u8]) -> Option<String> {
    let header = message.first_chunk::<8>()?;
    let (kind, code) = (header[0], header[1]);
    let seq = u16::from_be_bytes([header[6], header[7]]);
    let data = message.len() - 8;
    let target = || Some(Ipv6Addr::from_octets(*message.get(8..24)?.first_chunk()?));
    Some(match (from.is_ipv4(), kind) {
        (true, 0) | (false, 129) => format!("echo reply {seq}, {data} bytes"),
        (true, 8) | (false, 128) => format!("echo request {seq}, {data} bytes"),
        (true, 3) if code == 3 => "port unreachable".into(),
        (false, 1) if code == 4 => "port unreachable".into(),
        (true, 3) if code == 2 => "protocol unreachable".into(),
        (false, 4) => format!("parameter problem {code} at {seq}"),
        (false, 135) => format!("solicits {}", target()?),
        (false, 136) if header[4] & 0x40 != 0 => format!("advertises {}", target()?),
        (false, 136) => format!("announces {}", target()?),
        (false, 143) => "listener report".into(),
        _ => format!("icmp {kind} {code}, {data} bytes"),
    })
}
