//! Every frame that we send, looked at with other eyes: by the RFCs, from the bytes alone.

use crate::wire::{self, ALL_LISTENER_ROUTERS, ALL_NODES, Ip, Mac, Tcp, ethertype, flag, protocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use weirgate_dataplane::net::{Cidr, Interface, PortIndex, Topology};

/// What a good frame of ours says, as far as it answers anybody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Said<'a> {
    /// Where an address of ours is, unasked.
    Announcement,
    /// An ARP request or neighbour solicitation.
    Question,
    /// A multicast listener report.
    Report,
    /// An ARP reply or a solicited advertisement about `target`.
    Here {
        /// Who asked.
        to: IpAddr,
        /// For ARP.
        mac: Option<Mac>,
        /// For what.
        target: IpAddr,
    },
    /// An echo reply.
    Echo {
        /// From us.
        from: IpAddr,
        /// To whom asked.
        to: IpAddr,
        /// Identifier, sequence number and data.
        body: &'a [u8],
    },
    /// An ICMP error with what it quotes.
    Error(&'a [u8]),
    /// A TCP segment.
    Segment {
        /// From us.
        from: SocketAddr,
        /// To the peer.
        to: SocketAddr,
        /// What it says.
        segment: Tcp<'a>,
    },
}

macro_rules! ensure {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err(format!($($words)+));
        }
    };
}

/// Looks at a frame that leaves through a port.
pub fn check<'a>(topology: &Topology, port: PortIndex, frame: &'a [u8]) -> Result<Said<'a>, String> {
    let link = wire::link(frame).ok_or("shorter than its header")?;
    let interface = topology.interfaces().map(|(_, i)| i).find(|i| i.port == port && i.vlan == link.vlan);
    let interface = interface.ok_or("out into a VLAN where we are not")?;
    ensure!(link.from == interface.mac, "from {}, which is not our hardware address", link.from);
    ensure!(link.to != interface.mac, "to our own hardware address");
    ensure!(link.to.0 != [0; 6], "to no hardware address");
    let payload = &frame[link.payload_at..];
    ensure!(payload.len() <= usize::from(interface.mtu), "{} bytes, over the MTU of {}", payload.len(), interface.mtu);
    let ours = Ours { topology, interface };
    match link.ethertype {
        ethertype::ARP => check_arp(&ours, link.to, payload),
        ethertype::IPV4 => check_ipv4(&ours, link.to, payload),
        ethertype::IPV6 => check_ipv6(&ours, link.to, payload),
        other => Err(format!("EtherType {other:04x}")),
    }
}

/// Who we are.
struct Ours<'a> {
    topology: &'a Topology,
    interface: &'a Interface,
}

impl Ours<'_> {
    fn here(&self, address: IpAddr) -> bool {
        self.interface.addresses.iter().any(|c| c.address == address)
    }
    /// Anywhere: an answer may come from an address of another interface, but a link-local one means another host there.
    fn anywhere(&self, address: IpAddr) -> bool {
        if matches!(address, IpAddr::V6(a) if a.is_unicast_link_local()) {
            return self.here(address);
        }
        self.topology.interfaces().any(|(_, i)| i.addresses.iter().any(|c| c.address == address))
    }
    fn on_link(&self, address: IpAddr) -> bool {
        let link_local = matches!(address, IpAddr::V6(a) if a.is_unicast_link_local());
        link_local || self.interface.addresses.iter().any(|c| c.contains(address))
    }
    /// An address that one host other than us can have.
    fn is_host(&self, address: IpAddr) -> bool {
        let possible = match address {
            IpAddr::V4(a) => (1..224).contains(&a.octets()[0]) && !a.is_loopback(),
            IpAddr::V6(a) => {
                !a.is_unspecified() && !a.is_loopback() && !a.is_multicast() && a.to_ipv4_mapped().is_none()
            }
        };
        let broadcast = |c: &Cidr| c.broadcast().map(IpAddr::V4) == Some(address);
        possible && !self.anywhere(address) && !self.interface.addresses.iter().any(broadcast)
    }
}

fn check_arp<'a>(ours: &Ours<'_>, to: Mac, message: &'a [u8]) -> Result<Said<'a>, String> {
    ensure!(message.len() == 28, "{} bytes of ARP", message.len());
    ensure!(message[..6] == [0, 1, 8, 0, 6, 4], "not Ethernet and IPv4");
    let address = |at: usize| Ipv4Addr::from_octets(*message[at..].first_chunk().expect("28 bytes"));
    let mac = |at: usize| Mac::from_bytes(&message[at..at + 6]);
    let (sender, target) = (address(14), address(24));
    ensure!(mac(8) == ours.interface.mac && ours.here(sender.into()), "a sender that is not us");
    match message[7] {
        1 if target == sender => {
            ensure!(to.is_broadcast(), "an announcement to one alone");
            Ok(Said::Announcement)
        }
        1 => {
            ensure!(ours.is_host(target.into()) && ours.on_link(target.into()), "asks for what cannot be here");
            ensure!(to.is_broadcast() || to.is_unicast(), "a question to a group");
            Ok(Said::Question)
        }
        2 => {
            ensure!(to.is_unicast() && to == mac(18), "an answer to another than it names");
            ensure!(target.is_unspecified() || ours.is_host(target.into()), "an answer to nobody");
            Ok(Said::Here { to: target.into(), mac: Some(to), target: sender.into() })
        }
        operation => Err(format!("operation {operation}")),
    }
}

fn check_ipv4<'a>(ours: &Ours<'_>, to: Mac, packet: &'a [u8]) -> Result<Said<'a>, String> {
    let ip = wire::ip_packet(packet).ok_or("not an IPv4 packet")?;
    ensure!(packet[0] == 0x45, "version and header length {:02x}", packet[0]);
    ensure!(usize::from(u16::from_be_bytes([packet[2], packet[3]])) == packet.len(), "a wrong total length");
    ensure!(packet[6..8] == [0x40, 0], "a fragment, or may become one");
    ensure!(wire::checksum(&packet[..20]) == 0, "a wrong header checksum");
    ensure!(ip.hop_limit == 64, "TTL {}", ip.hop_limit);
    check_ends(ours, to, &ip)?;
    let message = &packet[20..];
    if ip.protocol == protocol::TCP {
        ensure!(matches!(packet[1], 0 | 2), "a type of service of {}", packet[1]);
        return check_segment(&ip, message);
    }
    ensure!(packet[1] == 0, "a type of service of {}", packet[1]);
    ensure!(ip.protocol == protocol::ICMP, "protocol {}", ip.protocol);
    ensure!(message.len() >= 8, "cut short");
    ensure!(wire::checksum(message) == 0, "a wrong ICMP checksum");
    match (message[0], message[1]) {
        (0, 0) => Ok(Said::Echo { from: ip.source, to: ip.destination, body: &message[4..] }),
        (3, 2 | 3) => {
            ensure!(packet.len() <= 576, "an error of {} bytes (RFC 1812 section 4.3.2.3)", packet.len());
            check_quote(ours, &ip, &message[8..], |kind| matches!(kind, 3 | 4 | 5 | 11 | 12))
        }
        (kind, code) => Err(format!("type {kind} code {code}")),
    }
}

fn check_ipv6<'a>(ours: &Ours<'_>, to: Mac, packet: &'a [u8]) -> Result<Said<'a>, String> {
    let ip = wire::ip_packet(packet).ok_or("not an IPv6 packet")?;
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (ip.source, ip.destination) else {
        return Err("not an IPv6 packet".into());
    };
    let capable = ip.protocol == protocol::TCP && packet[1] == 0x20;
    ensure!(
        packet[..4] == [0x60, 0, 0, 0] || (capable && packet[..4] == [0x60, 0x20, 0, 0]),
        "a traffic class or flow label"
    );
    ensure!(40 + usize::from(u16::from_be_bytes([packet[4], packet[5]])) == packet.len(), "a wrong payload length");
    let message = &packet[ip.transport_at..];
    if ip.protocol == protocol::TCP {
        ensure!(ip.transport_at == 40 && ip.hop_limit == 64, "extension headers, or hop limit {}", ip.hop_limit);
        check_ends(ours, to, &ip)?;
        return check_segment(&ip, message);
    }
    ensure!(ip.protocol == protocol::ICMPV6, "protocol {}", ip.protocol);
    ensure!(message.len() >= 8, "cut short");
    let sum = wire::transport_sum(ip.source, ip.destination, protocol::ICMPV6, message);
    ensure!(sum == 0, "a wrong ICMPv6 checksum");
    if (133..=143).contains(&message[0]) {
        return check_link_message(ours, to, packet, (source, destination), message);
    }
    ensure!(ip.transport_at == 40 && ip.hop_limit == 64, "extension headers, or hop limit {}", ip.hop_limit);
    check_ends(ours, to, &ip)?;
    match (message[0], message[1]) {
        (129, 0) => Ok(Said::Echo { from: ip.source, to: ip.destination, body: &message[4..] }),
        (1, 4) | (4, 0..=2) => {
            ensure!(packet.len() <= 1280, "an error of {} bytes (RFC 4443 section 2.4 c)", packet.len());
            check_quote(ours, &ip, &message[8..], |kind| kind < 128)
        }
        (kind, code) => Err(format!("type {kind} code {code}")),
    }
}

/// Messages that never leave the link: neighbour discovery and listener reports.
fn check_link_message<'a>(
    ours: &Ours<'_>,
    to: Mac,
    packet: &[u8],
    (source, destination): (Ipv6Addr, Ipv6Addr),
    message: &[u8],
) -> Result<Said<'a>, String> {
    let kind = message[0];
    ensure!(ours.here(source.into()), "from {source}, which is not ours here");
    if destination.is_multicast() {
        ensure!(to == wire::group_mac(destination), "to a group in the frame of {to}");
    } else {
        ensure!(to.is_unicast(), "to one host in the frame of a group");
        ensure!(ours.is_host(destination.into()), "to {destination}, where no host can be");
    }
    if kind == 143 {
        ensure!(destination == ALL_LISTENER_ROUTERS && packet[7] == 1 && packet[6] == 0, "a report to others");
        ensure!(source.is_unicast_link_local(), "a report from {source} (RFC 3810 section 5.2.13)");
        return Ok(Said::Report);
    }
    ensure!(packet[6] == protocol::ICMPV6 && packet[7] == 255, "hop limit {}", packet[7]);
    ensure!(message.len() == 32 && message[25] == 1, "{} bytes of neighbour discovery", message.len());
    ensure!(message[26..32] == ours.interface.mac.0, "another hardware address than ours");
    let target = Ipv6Addr::from_octets(*message[8..].first_chunk().expect("32 bytes"));
    match (kind, message[24]) {
        (135, 1) => {
            ensure!(ours.is_host(target.into()) && ours.on_link(target.into()), "asks for what cannot be here");
            let asked = [target, wire::solicited_node(target)];
            ensure!(asked.contains(&destination), "a question about {target} to {destination}");
            Ok(Said::Question)
        }
        (136, 2) => {
            ensure!(ours.here(target.into()), "advertises {target}, which is not ours here");
            let solicited = message[4] & 0x40 != 0;
            ensure!(solicited != destination.is_multicast(), "the solicited flag and a group");
            ensure!(solicited || destination == ALL_NODES, "announces to {destination}");
            Ok(if solicited {
                Said::Here { to: destination.into(), mac: None, target: target.into() }
            } else {
                Said::Announcement
            })
        }
        (kind, option) => Err(format!("type {kind} with option {option}")),
    }
}

/// From us, to one host.
fn check_ends(ours: &Ours<'_>, to: Mac, ip: &Ip) -> Result<(), String> {
    ensure!(ours.anywhere(ip.source), "from {}, which is not ours", ip.source);
    ensure!(ours.is_host(ip.destination), "to {}, where no host can be", ip.destination);
    ensure!(to.is_unicast(), "to one host in the frame of a group");
    Ok(())
}

/// rfc9293 3.1: a segment that makes sense by itself. Whether it does in its connection is for others.
fn check_segment<'a>(ip: &Ip, message: &'a [u8]) -> Result<Said<'a>, String> {
    let segment = Tcp::read(message).ok_or("a segment whose lengths make no sense")?;
    let sum = wire::transport_sum(ip.source, ip.destination, protocol::TCP, message);
    ensure!(sum == 0, "a wrong TCP checksum");
    ensure!(message[12] & 0x0f == 0 && message[18..20] == [0, 0] && !segment.has(0x20), "reserved or urgent bits");
    // Somebody hostile may ask from port 0, and is answered there.
    ensure!(segment.ports.0 != 0, "from port 0");
    let options = segment.option_list().ok_or("a list of options that makes no sense")?;
    let syn = segment.has(flag::SYN);
    for (kind, body) in &options {
        let fits = match kind {
            2 => syn && body.len() == 2,
            3 => syn && body.len() == 1 && body[0] <= 14,
            4 => syn && body.is_empty(),
            5 => !syn && !segment.has(flag::RST) && body.len() % 8 == 0 && (8..=32).contains(&body.len()),
            8 => body.len() == 8,
            _ => false,
        };
        ensure!(fits, "option {kind} of {} bytes", body.len());
        ensure!(options.iter().filter(|(k, _)| k == kind).count() == 1, "option {kind} twice");
    }
    for block in options.iter().filter(|(kind, _)| *kind == 5).flat_map(|(_, body)| body.chunks_exact(8)) {
        let word = |at: usize| u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
        let len = word(4).wrapping_sub(word(0));
        ensure!(len > 0 && len < 1 << 30, "a SACK block from {} to {}", word(0), word(4));
    }
    let clash = segment.has(flag::RST) && segment.has(flag::SYN | flag::FIN) || syn && segment.has(flag::FIN);
    ensure!(!clash, "flags {:02x}", segment.flags);
    ensure!(segment.has(flag::ACK | flag::SYN | flag::RST), "neither SYN, RST nor ACK");
    ensure!(segment.payload.is_empty() || !segment.has(flag::SYN | flag::RST), "text in a SYN or RST");
    let (from, to) = (SocketAddr::new(ip.source, segment.ports.0), SocketAddr::new(ip.destination, segment.ports.1));
    Ok(Said::Segment { from, to, segment })
}

/// rfc1122 3.2.2, rfc4443 2.4 e: what an error may be about.
fn check_quote<'a>(ours: &Ours<'_>, ip: &Ip, quote: &'a [u8], is_error: fn(u8) -> bool) -> Result<Said<'a>, String> {
    let quoted = wire::ip_packet(quote).ok_or("an error that quotes no packet")?;
    ensure!(quoted.source == ip.destination, "an error to another than the sender");
    ensure!(ours.anywhere(quoted.destination), "an error about what was not for us");
    let icmp = if ip.source.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 };
    let about_error = quoted.protocol == icmp && quote.get(quoted.transport_at).is_some_and(|kind| is_error(*kind));
    ensure!(!about_error, "an error about an error");
    if ip.source.is_ipv4() {
        ensure!(u16::from_be_bytes([quote[6], quote[7]]) & 0x1fff == 0, "an error about a later fragment");
    }
    Ok(Said::Error(quote))
}
