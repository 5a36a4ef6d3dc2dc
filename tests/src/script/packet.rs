//! TCP segments between bytes and words: what a target sent as a script would say it, and what a script says as bytes.
//!
//! A [`Segment`] holds numbers relative to the two initial sequence numbers of its [`Base`], as scripts do. Nothing here shares code with the
//! data plane.

use crate::wire::{Ip, ip, ip_packet, protocol, transport_sum};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

/// The flag bits of a segment, the reserved ones included (RFC 9293 section 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Flags(pub u16);

impl Flags {
    pub(super) const FIN: u16 = 0x01;
    pub(super) const SYN: u16 = 0x02;
    pub(super) const RST: u16 = 0x04;
    pub(super) const PSH: u16 = 0x08;
    pub(super) const ACK: u16 = 0x10;
    pub(super) const URG: u16 = 0x20;
    pub(super) const ECE: u16 = 0x40;
    pub(super) const CWR: u16 = 0x80;
    /// RFC 3540's NS, RFC 9768's AE.
    pub(super) const AE: u16 = 0x100;
    const LETTERS: [(char, u16); 9] = [
        ('S', Self::SYN),
        ('F', Self::FIN),
        ('R', Self::RST),
        ('P', Self::PSH),
        ('.', Self::ACK),
        ('U', Self::URG),
        ('E', Self::ECE),
        ('W', Self::CWR),
        ('A', Self::AE),
    ];

    /// `S.`, `FP.`; `-` is no flag at all.
    pub(super) fn parse(word: &str) -> Option<Self> {
        if word == "-" {
            return Some(Self(0));
        }
        let bit = |letter| Self::LETTERS.iter().find(|(l, _)| *l == letter).map(|(_, bit)| *bit);
        word.chars().try_fold(0, |flags, letter| Some(flags | bit(letter)?)).filter(|flags| *flags != 0).map(Self)
    }

    pub(super) fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("-");
        }
        Self::LETTERS.iter().filter(|(_, bit)| self.has(*bit)).try_for_each(|(letter, _)| write!(f, "{letter}"))
    }
}

/// One TCP option as it stands in a segment. Sequence numbers in SACK blocks are relative.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum TcpOption {
    Eol,
    Nop,
    Mss(u16),
    Wscale(u8),
    SackPermitted,
    Sack(Vec<(u32, u32)>),
    Timestamps {
        val: u32,
        ecr: u32,
    },
    /// Anything else: bytes as they stand, kind and length included if there are any.
    Raw(Vec<u8>),
}

impl fmt::Display for TcpOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eol => f.write_str("eol"),
            Self::Nop => f.write_str("nop"),
            Self::Mss(mss) => write!(f, "mss {mss}"),
            Self::Wscale(shift) => write!(f, "wscale {shift}"),
            Self::SackPermitted => f.write_str("sackOK"),
            Self::Sack(blocks) => {
                f.write_str("sack")?;
                blocks.iter().try_for_each(|(from, to)| write!(f, " {from}:{to}"))
            }
            Self::Timestamps { val, ecr } => write!(f, "TS val {val} ecr {ecr}"),
            Self::Raw(bytes) => {
                f.write_str("raw 0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// The two initial sequence numbers that a script's numbers are relative to, from the sender's side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    pub(super) seq: u32,
    pub(super) ack: u32,
}

/// The IP header's part in a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Carrier {
    /// ECN field (RFC 3168): 0 not capable, 2 ECT(0), 1 ECT(1), 3 CE.
    pub(super) ecn: u8,
    /// TTL or hop limit.
    pub(super) ttl: u8,
    /// The IPv4 header's DF; IPv6 packets say yes.
    pub(super) df: bool,
}

/// One TCP segment with relative numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Segment {
    pub(super) flags: Flags,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) win: u16,
    pub(super) urgent: u16,
    pub(super) options: Vec<TcpOption>,
    pub(super) payload: Vec<u8>,
    pub(super) carrier: Carrier,
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.payload.len();
        write!(f, "{} {}:{}({len})", self.flags, self.seq, self.seq.wrapping_add(len as u32))?;
        if self.flags.has(Flags::ACK) {
            write!(f, " ack {}", self.ack)?;
        }
        write!(f, " win {}", self.win)?;
        if self.urgent != 0 {
            write!(f, " urg {}", self.urgent)?;
        }
        if !self.options.is_empty() {
            let options: Vec<_> = self.options.iter().map(TcpOption::to_string).collect();
            write!(f, " <{}>", options.join(","))?;
        }
        match self.carrier.ecn {
            0 => Ok(()),
            1 => f.write_str(" [ect1]"),
            2 => f.write_str(" [ect0]"),
            _ => f.write_str(" [ce]"),
        }
    }
}

/// Ways to spoil a segment that is right otherwise.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Bent {
    /// The checksum is wrong.
    pub(super) checksum: bool,
    /// The header's length in words, whatever it is in truth.
    pub(super) data_offset: Option<u8>,
    /// The packet ends after so many bytes of TCP, and its IP header agrees.
    pub(super) cut: Option<usize>,
}

/// A segment as an IP packet.
pub(super) fn build(segment: &Segment, from: SocketAddr, to: SocketAddr, base: Base, bent: Bent) -> Vec<u8> {
    let mut options = Vec::new();
    segment.options.iter().for_each(|option| write_option(option, base.ack, &mut options));
    options.resize(options.len().next_multiple_of(4), 0);
    let words = bent.data_offset.unwrap_or((5 + options.len() / 4).min(15) as u8);
    let ack = if segment.flags.has(Flags::ACK) { base.ack.wrapping_add(segment.ack) } else { segment.ack };
    let mut tcp = Vec::with_capacity(20 + options.len() + segment.payload.len());
    tcp.extend_from_slice(&from.port().to_be_bytes());
    tcp.extend_from_slice(&to.port().to_be_bytes());
    tcp.extend_from_slice(&base.seq.wrapping_add(segment.seq).to_be_bytes());
    tcp.extend_from_slice(&ack.to_be_bytes());
    tcp.extend_from_slice(&(u16::from(words) << 12 | segment.flags.0).to_be_bytes());
    tcp.extend_from_slice(&segment.win.to_be_bytes());
    tcp.extend_from_slice(&[0, 0]);
    tcp.extend_from_slice(&segment.urgent.to_be_bytes());
    tcp.extend_from_slice(&options);
    tcp.extend_from_slice(&segment.payload);
    tcp.truncate(bent.cut.unwrap_or(usize::MAX));
    if tcp.len() >= 18 {
        let sum = transport_sum(from.ip(), to.ip(), protocol::TCP, &tcp) ^ if bent.checksum { 0x5555 } else { 0 };
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    }
    carry(from.ip(), to.ip(), protocol::TCP, segment.carrier, &tcp)
}

/// A transport message in an IP packet with a right header.
pub(super) fn carry(from: IpAddr, to: IpAddr, protocol: u8, carrier: Carrier, message: &[u8]) -> Vec<u8> {
    let mut packet = ip(from, to, protocol, carrier.ttl, message);
    if from.is_ipv4() {
        packet[1] = carrier.ecn;
        packet[6] = if carrier.df { 0x40 } else { 0 };
        let sum = crate::wire::checksum(&packet[..20]).to_be_bytes();
        packet[10..12].copy_from_slice(&sum);
    } else {
        packet[1] |= carrier.ecn << 4;
    }
    packet
}

fn write_option(option: &TcpOption, sack_base: u32, out: &mut Vec<u8>) {
    match option {
        TcpOption::Eol => out.push(0),
        TcpOption::Nop => out.push(1),
        TcpOption::Mss(mss) => {
            out.extend_from_slice(&[2, 4]);
            out.extend_from_slice(&mss.to_be_bytes());
        }
        TcpOption::Wscale(shift) => out.extend_from_slice(&[3, 3, *shift]),
        TcpOption::SackPermitted => out.extend_from_slice(&[4, 2]),
        TcpOption::Sack(blocks) => {
            out.extend_from_slice(&[5, (2 + 8 * blocks.len()) as u8]);
            for (from, to) in blocks {
                out.extend_from_slice(&sack_base.wrapping_add(*from).to_be_bytes());
                out.extend_from_slice(&sack_base.wrapping_add(*to).to_be_bytes());
            }
        }
        TcpOption::Timestamps { val, ecr } => {
            out.extend_from_slice(&[8, 10]);
            out.extend_from_slice(&val.to_be_bytes());
            out.extend_from_slice(&ecr.to_be_bytes());
        }
        TcpOption::Raw(bytes) => out.extend_from_slice(bytes),
    }
}

/// The TCP packet's ends, if it is one.
pub(super) fn ends(packet: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let ip = ip_packet(packet).filter(|ip| ip.protocol == protocol::TCP)?;
    let ports = packet.get(ip.transport_at..ip.transport_at + 4)?;
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    Some((SocketAddr::new(ip.source, port(0)), SocketAddr::new(ip.destination, port(2))))
}

/// The sequence number of a TCP packet as it is on the wire, and its flags.
pub(super) fn raw_seq(packet: &[u8]) -> Option<(u32, Flags)> {
    let ip = ip_packet(packet)?;
    let tcp = packet.get(ip.transport_at..)?;
    Some((read32(tcp, 4)?, Flags(u16::from_be_bytes([*tcp.get(12)?, *tcp.get(13)?]) & 0x0fff)))
}

/// What a target sent; an error says what is wrong with the packet as such, its checksums included.
pub(super) fn read(packet: &[u8], base: Base) -> Result<Segment, String> {
    let ip = ip_packet(packet).ok_or("not an IP packet")?;
    if ip.end != packet.len() {
        return Err(format!("{} bytes say that they are {}", packet.len(), ip.end));
    }
    let tcp = &packet[ip.transport_at..ip.end];
    if tcp.len() < 20 {
        return Err(format!("{} bytes are no TCP header", tcp.len()));
    }
    if transport_sum(ip.source, ip.destination, protocol::TCP, tcp) != 0 {
        return Err("the TCP checksum is wrong".into());
    }
    let word = u16::from_be_bytes([tcp[12], tcp[13]]);
    let (header_len, flags) = (usize::from(word >> 12) * 4, Flags(word & 0x0fff));
    if header_len < 20 || header_len > tcp.len() {
        return Err(format!("a TCP header of {header_len} bytes in {}", tcp.len()));
    }
    let number = |at| read32(tcp, at).expect("in the header");
    let ack = number(8);
    Ok(Segment {
        flags,
        seq: number(4).wrapping_sub(base.seq),
        ack: if flags.has(Flags::ACK) { ack.wrapping_sub(base.ack) } else { ack },
        win: u16::from_be_bytes([tcp[14], tcp[15]]),
        urgent: u16::from_be_bytes([tcp[18], tcp[19]]),
        options: read_options(&tcp[20..header_len], base.ack)?,
        payload: tcp[header_len..].to_vec(),
        carrier: carrier(packet, &ip)?,
    })
}

fn carrier(packet: &[u8], ip: &Ip) -> Result<Carrier, String> {
    if ip.source.is_ipv6() {
        return Ok(Carrier { ecn: packet[1] >> 4 & 3, ttl: ip.hop_limit, df: true });
    }
    if crate::wire::checksum(&packet[..ip.header_len]) != 0 {
        return Err("the IPv4 header's checksum is wrong".into());
    }
    Ok(Carrier { ecn: packet[1] & 3, ttl: ip.hop_limit, df: packet[6] & 0x40 != 0 })
}

fn read_options(mut bytes: &[u8], sack_base: u32) -> Result<Vec<TcpOption>, String> {
    let mut options = Vec::new();
    while let [kind, rest @ ..] = bytes {
        if *kind < 2 {
            options.push(if *kind == 0 { TcpOption::Eol } else { TcpOption::Nop });
            bytes = rest;
            continue;
        }
        let len = usize::from(*rest.first().ok_or("an option without a length")?);
        let option = bytes.get(..len).filter(|_| len >= 2).ok_or(format!("option {kind} of length {len}"))?;
        let relative = |at| read32(option, at).map(|n| n.wrapping_sub(sack_base));
        options.push(match (kind, len) {
            (2, 4) => TcpOption::Mss(u16::from_be_bytes([option[2], option[3]])),
            (3, 3) => TcpOption::Wscale(option[2]),
            (4, 2) => TcpOption::SackPermitted,
            (5, 10 | 18 | 26 | 34) => {
                TcpOption::Sack((2..len).step_by(8).filter_map(|at| Some((relative(at)?, relative(at + 4)?))).collect())
            }
            (8, 10) => {
                let [val, ecr] = [2, 6].map(|at| read32(option, at).expect("ten bytes"));
                TcpOption::Timestamps { val, ecr }
            }
            _ => TcpOption::Raw(option.to_vec()),
        });
        bytes = &bytes[len..];
    }
    Ok(options)
}

fn read32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..at + 4)?.first_chunk()?))
}

/// Whose stream a byte belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    /// The script.
    Peer,
    /// The target.
    Target,
}

/// The stream's bytes from `position` on: each is a function of its place, so that none can stand for another unnoticed.
pub(super) fn stream(side: Side, position: u32, len: usize) -> Vec<u8> {
    let salt = if side == Side::Peer { 0x9e37_79b9 } else { 0x85eb_ca6b };
    let byte = |i: u32| {
        let mut x = position.wrapping_add(i).wrapping_add(salt);
        x = (x ^ x >> 16).wrapping_mul(0x7feb_352d);
        (x ^ x >> 15).wrapping_mul(0x846c_a68b).to_be_bytes()[0]
    };
    (0..len as u32).map(byte).collect()
}
