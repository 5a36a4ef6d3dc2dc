//! Frames, written field by field and without the code under test: checksums are RFC 1071's loop, word by word.

use super::*;

pub(super) const OUR_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 0x10]);
pub(super) const PEER_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);
/// Another machine, or the peer after it has moved.
pub(super) const OTHER_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 3]);
pub(super) const ALL_MACS: EthernetAddress = EthernetAddress([0xff; 6]);
pub(super) const NO_MAC: EthernetAddress = EthernetAddress([0; 6]);

pub(super) const US4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 10);
pub(super) const PEER4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub(super) const US6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x10);
pub(super) const PEER6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
pub(super) const PEER_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
pub(super) const NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// The solicited-node group of [`US6`].
pub(super) const OUR_GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0x10);

pub(super) fn us_local() -> Ipv6Addr {
    "fe80::ff:fe00:10".parse().unwrap()
}

// Ethernet.

pub(super) const IPV4: u16 = 0x0800;
pub(super) const ARP: u16 = 0x0806;
pub(super) const IPV6: u16 = 0x86dd;

pub(super) fn ethernet(to: EthernetAddress, from: EthernetAddress, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [to.as_bytes(), from.as_bytes(), &ethertype.to_be_bytes(), payload].concat()
}

pub(super) fn from_peer4(packet: &[u8]) -> Vec<u8> {
    ethernet(OUR_MAC, PEER_MAC, IPV4, packet)
}
pub(super) fn from_peer6(packet: &[u8]) -> Vec<u8> {
    ethernet(OUR_MAC, PEER_MAC, IPV6, packet)
}
pub(super) fn to_peer4(packet: &[u8]) -> Vec<u8> {
    ethernet(PEER_MAC, OUR_MAC, IPV4, packet)
}
pub(super) fn to_peer6(packet: &[u8]) -> Vec<u8> {
    ethernet(PEER_MAC, OUR_MAC, IPV6, packet)
}

/// The same frame with a tag.
pub(super) fn tagged(tpid: u16, tci: u16, frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &tpid.to_be_bytes(), &tci.to_be_bytes(), &frame[12..]].concat()
}

/// The hardware address of a group (RFC 2464 section 7).
pub(super) fn mac_of_group(group: Ipv6Addr) -> EthernetAddress {
    let o = group.octets();
    EthernetAddress([0x33, 0x33, o[12], o[13], o[14], o[15]])
}

// ARP.

pub(super) const REQUEST: u16 = 1;
pub(super) const REPLY: u16 = 2;

pub(super) fn arp(operation: u16, sender: (EthernetAddress, Ipv4Addr), target: (EthernetAddress, Ipv4Addr)) -> Vec<u8> {
    let mut message = vec![0, 1, 8, 0, 6, 4];
    message.extend(operation.to_be_bytes());
    message.extend(sender.0.as_bytes());
    message.extend(sender.1.octets());
    message.extend(target.0.as_bytes());
    message.extend(target.1.octets());
    message
}

/// A request to all, or a reply to us.
pub(super) fn arp_from_peer(operation: u16, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    arp_from(PEER_MAC, operation, sender, target)
}

pub(super) fn arp_from(mac: EthernetAddress, operation: u16, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let (to, target_mac) = if operation == REQUEST { (ALL_MACS, NO_MAC) } else { (OUR_MAC, OUR_MAC) };
    ethernet(to, mac, ARP, &arp(operation, (mac, sender), (target_mac, target)))
}

/// Our question to all.
pub(super) fn arp_question(target: Ipv4Addr) -> Vec<u8> {
    ethernet(ALL_MACS, OUR_MAC, ARP, &arp(REQUEST, (OUR_MAC, US4), (NO_MAC, target)))
}

// IPv4.

#[derive(Clone, Copy)]
pub(super) struct Ipv4 {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) ttl: u8,
    pub(super) tos: u8,
    pub(super) identification: u16,
    /// Flags and offset.
    pub(super) fragment: u16,
    pub(super) options: &'static [u8],
}

pub(super) const FROM_PEER4: Ipv4 =
    Ipv4 { source: PEER4, destination: US4, ttl: 61, tos: 0, identification: 0x1234, fragment: 0, options: &[] };
/// As we write it: DF set, identification 0, TTL 64.
pub(super) const TO_PEER4: Ipv4 =
    Ipv4 { source: US4, destination: PEER4, ttl: 64, tos: 0, identification: 0, fragment: 0x4000, options: &[] };

impl Ipv4 {
    pub(super) fn packet(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut header = vec![0x45 + (self.options.len() / 4) as u8, self.tos];
        header.extend(((20 + self.options.len() + payload.len()) as u16).to_be_bytes());
        header.extend(self.identification.to_be_bytes());
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.ttl, protocol, 0, 0]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        header.extend(self.options);
        let sum = internet_checksum(&[&header]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [header, payload.to_vec()].concat()
    }
}

// IPv6.

#[derive(Clone, Copy)]
pub(super) struct Ipv6 {
    pub(super) source: Ipv6Addr,
    pub(super) destination: Ipv6Addr,
    pub(super) hop_limit: u8,
}

pub(super) const FROM_PEER6: Ipv6 = Ipv6 { source: PEER6, destination: US6, hop_limit: 61 };
pub(super) const TO_PEER6: Ipv6 = Ipv6 { source: US6, destination: PEER6, hop_limit: 64 };

impl Ipv6 {
    pub(super) fn packet(&self, next_header: u8, payload: &[u8]) -> Vec<u8> {
        let mut header = vec![0x60, 0, 0, 0];
        header.extend((payload.len() as u16).to_be_bytes());
        header.extend([next_header, self.hop_limit]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        [header, payload.to_vec()].concat()
    }
}

// Transport and ICMP.

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;

/// RFC 1071 section 4.1 over all parts as one, each but the last of even length.
pub(super) fn internet_checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

pub(super) fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> Vec<u8> {
    let octets = |a: IpAddr| match a {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    };
    [octets(source), octets(destination), (len as u32).to_be_bytes().to_vec(), vec![0, 0, 0, protocol]].concat()
}

/// Writes the checksum of a message that has a pseudo-header.
pub(super) fn sealed(source: IpAddr, destination: IpAddr, protocol: u8, at: usize, mut message: Vec<u8>) -> Vec<u8> {
    message[at..at + 2].fill(0);
    let sum = internet_checksum(&[&pseudo_header(source, destination, protocol, message.len()), &message]);
    message[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    message
}

/// From the peer's port 4,000 to our 53, over either family.
pub(super) fn udp(source: impl Into<IpAddr>, destination: impl Into<IpAddr>, data: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0x0f, 0xa0, 0, 53];
    datagram.extend(((8 + data.len()) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(data);
    sealed(source.into(), destination.into(), UDP, 6, datagram)
}

pub(super) fn udp4(data: &[u8]) -> Vec<u8> {
    FROM_PEER4.packet(UDP, &udp(PEER4, US4, data))
}
pub(super) fn udp6(data: &[u8]) -> Vec<u8> {
    FROM_PEER6.packet(UDP, &udp(PEER6, US6, data))
}

/// A segment with this data offset, in words.
pub(super) fn tcp(source: impl Into<IpAddr>, destination: impl Into<IpAddr>, words: u8, rest: &[u8]) -> Vec<u8> {
    let mut segment = vec![0x0f, 0xa0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, words << 4, 2, 0xff, 0xff, 0, 0, 0, 0];
    segment.extend(rest);
    sealed(source.into(), destination.into(), TCP, 16, segment)
}

pub(super) fn icmp4(kind: u8, code: u8, word: u32, rest: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(word.to_be_bytes());
    message.extend(rest);
    let sum = internet_checksum(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// An ICMPv6 message inside its packet.
pub(super) fn icmp6(ip: Ipv6, kind: u8, code: u8, word: u32, rest: &[u8]) -> Vec<u8> {
    ip.packet(ICMPV6, &icmp6_message(ip, kind, code, word, rest))
}

pub(super) fn icmp6_message(ip: Ipv6, kind: u8, code: u8, word: u32, rest: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(word.to_be_bytes());
    message.extend(rest);
    sealed(ip.source.into(), ip.destination.into(), ICMPV6, 2, message)
}

// Neighbour discovery.

pub(super) const SOLICITED: u32 = 0x4000_0000;
pub(super) const OVERRIDE: u32 = 0x2000_0000;

pub(super) fn link_option(kind: u8, mac: EthernetAddress) -> Vec<u8> {
    [&[kind, 1], mac.as_bytes()].concat()
}

/// A neighbour solicitation's packet.
pub(super) fn solicitation(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    target: Ipv6Addr,
    mac: Option<EthernetAddress>,
) -> Vec<u8> {
    let rest = [target.octets().to_vec(), mac.map_or(vec![], |mac| link_option(1, mac))].concat();
    icmp6(Ipv6 { source, destination, hop_limit: 255 }, 135, 0, 0, &rest)
}

/// A neighbour advertisement's packet.
pub(super) fn advertisement(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    flags: u32,
    target: Ipv6Addr,
    mac: Option<EthernetAddress>,
) -> Vec<u8> {
    let rest = [target.octets().to_vec(), mac.map_or(vec![], |mac| link_option(2, mac))].concat();
    icmp6(Ipv6 { source, destination, hop_limit: 255 }, 136, 0, flags, &rest)
}

/// Our question to the target's group.
pub(super) fn nd_question(target: Ipv6Addr) -> Vec<u8> {
    let s = target.segments();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | s[6] & 0xff, s[7]);
    let source = if target.is_unicast_link_local() { us_local() } else { US6 };
    ethernet(mac_of_group(group), OUR_MAC, IPV6, &solicitation(source, group, target, Some(OUR_MAC)))
}
