//! ICMP (RFC 792, RFC 1122 section 3.2.2) and ICMPv6 (RFC 4443): echo is answered, errors about flows of ours are handed up, errors are sent
//! about what nobody here speaks.

use super::{
    HOP_LIMIT, Net, Output,
    checksum::{self, Sum},
    ethernet::Link,
    interface::InterfaceIndex,
    ipv4, ipv6, nd,
    packet::{Packet, protocol},
    report,
};
use crate::{
    counters::Counter,
    drops::Drop,
    limits::{ICMP4_QUOTE_MAX, ICMP6_QUOTE_MAX, MTU_MAX},
    outbox::Outbox,
    port::Frame,
    time::Instant,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where the checksum stands in every ICMP message.
pub(super) const CHECKSUM_AT: usize = 2;
const HEADER_LEN: usize = 8;

/// ICMPv4 types.
mod kind4 {
    pub(super) const ECHO_REPLY: u8 = 0;
    pub(super) const UNREACHABLE: u8 = 3;
    pub(super) const ECHO_REQUEST: u8 = 8;
    pub(super) const TIME_EXCEEDED: u8 = 11;
    pub(super) const PARAMETER_PROBLEM: u8 = 12;
}

/// ICMPv6 types.
mod kind6 {
    pub(super) const UNREACHABLE: u8 = 1;
    pub(super) const TOO_BIG: u8 = 2;
    pub(super) const TIME_EXCEEDED: u8 = 3;
    pub(super) const PARAMETER_PROBLEM: u8 = 4;
    pub(super) const ECHO_REQUEST: u8 = 128;
    pub(super) const ECHO_REPLY: u8 = 129;
}

/// Whether an ICMPv6 message of this type may be answered with an error (RFC 4443 section 2.4 e).
pub(super) fn is_informational(kind: u8) -> bool {
    kind >= kind6::ECHO_REQUEST && kind != nd::kind::REDIRECT
}

/// An error that the network sent about a packet of ours. Anybody can forge one: whoever owns the flow checks the quoted sequence number
/// before acting on it (RFC 5927).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IcmpError {
    /// What it says.
    pub cause: Cause,
    /// The flow that it is about, from our side.
    pub quote: Quote,
}

/// What an error says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A packet was longer than a link on the way carries; `mtu` is what fits, or 0 where an old router does not say (RFC 1191, RFC 8201).
    TooBig {
        /// Bytes of the IP packet; not below 68 (IPv4) or 1,280 (IPv6), not above the largest MTU of ours.
        mtu: u16,
    },
    /// The destination, its protocol or its port cannot be reached; the code says which.
    Unreachable {
        /// As in RFC 792 or RFC 4443.
        code: u8,
    },
    /// The packet went round in circles.
    TimeExceeded,
    /// A router did not understand our header.
    ParameterProblem,
}

/// The beginning of the packet that an error quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quote {
    /// Our address.
    pub source: IpAddr,
    /// Whom we wrote to.
    pub destination: IpAddr,
    /// The transport protocol.
    pub protocol: u8,
    /// The first 8 bytes of the transport header: ports, and for TCP the sequence number.
    pub transport: [u8; 8],
}

/// An error that we send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorMessage {
    /// Nobody listens on the port.
    PortUnreachable,
    /// Nobody speaks the protocol.
    ProtocolUnreachable,
    /// ICMPv6 only: what stands at `pointer` is not understood.
    ParameterProblem {
        /// Why, as in RFC 4443 section 3.4.
        code: u8,
        /// Bytes from the start of the IP header.
        pointer: u32,
    },
}

impl Net {
    /// Takes a packet of protocol 1 that is for us.
    pub(super) fn handle_icmp4(
        &mut self,
        now: Instant,
        packet: &Packet,
        frame: Frame,
        out: &mut Outbox,
    ) -> Option<Output> {
        let header = match header(packet, &frame) {
            Ok(header) => header,
            Err(reason) => {
                out.drop(frame, reason);
                return None;
            }
        };
        // rfc1122 3.2.2: the whole message is covered. Devices do not check it, so we do.
        if !Sum::default().add_frame(&frame, packet.transport_at).is_valid() {
            out.drop(frame, Drop::IcmpChecksum);
        } else {
            match header[0] {
                kind4::ECHO_REQUEST => self.answer_echo(now, packet, frame, kind4::ECHO_REPLY, out),
                kind4::UNREACHABLE | kind4::TIME_EXCEEDED | kind4::PARAMETER_PROBLEM => {
                    return self.handle_error(packet, frame, parse_error4, out);
                }
                // rfc9293 3.9.2.2 MUST-55: source quench is among these.
                _ => out.drop(frame, Drop::IcmpIgnored),
            }
        }
        None
    }

    /// Takes a packet of protocol 58 that is for us.
    pub(super) fn handle_icmp6(
        &mut self,
        now: Instant,
        link: &Link,
        packet: &Packet,
        frame: Frame,
        out: &mut Outbox,
    ) -> Option<Output> {
        let header = match header(packet, &frame) {
            Ok(header) => header,
            Err(reason) => {
                out.drop(frame, reason);
                return None;
            }
        };
        let pseudo =
            Sum::pseudo_header(packet.source, packet.destination, protocol::ICMPV6, packet.transport_len as u32);
        if !pseudo.add_frame(&frame, packet.transport_at).is_valid() {
            out.drop(frame, Drop::IcmpChecksum);
        } else {
            match header[0] {
                // Only neighbour discovery knows hosts without an address.
                kind if packet.source.is_unspecified() && kind != nd::kind::SOLICITATION => {
                    out.drop(frame, Drop::MartianSource);
                }
                kind6::ECHO_REQUEST => self.answer_echo(now, packet, frame, kind6::ECHO_REPLY, out),
                nd::kind::SOLICITATION | nd::kind::ADVERTISEMENT => self.handle_nd(now, link, packet, frame, out),
                nd::kind::ROUTER_SOLICITATION | nd::kind::ROUTER_ADVERTISEMENT | nd::kind::REDIRECT => {
                    out.drop(frame, Drop::NdIgnored);
                }
                report::QUERY => self.handle_listener_query(now, packet, frame, out),
                kind6::UNREACHABLE | kind6::TOO_BIG | kind6::TIME_EXCEEDED | kind6::PARAMETER_PROBLEM => {
                    return self.handle_error(packet, frame, parse_error6, out);
                }
                _ => out.drop(frame, Drop::IcmpIgnored),
            }
        }
        None
    }

    /// rfc1122 3.2.2.6, rfc4443 4.2: the same identifier, sequence and data come back. Requests to groups are ignored (a MAY in both), as they
    /// are good for amplification only.
    #[inline(always)]
    fn answer_echo(&mut self, now: Instant, packet: &Packet, mut frame: Frame, reply: u8, out: &mut Outbox) {
        if packet.group {
            return out.drop(frame, Drop::GroupIgnored);
        }
        frame.trim_front(packet.transport_at);
        let message = frame.head_mut();
        let old = u16::from_be_bytes([message[0], message[1]]);
        message[0] = reply;
        message[1] = 0;
        let sum = u16::from_be_bytes([message[2], message[3]]);
        let sum = checksum::update(sum, old, u16::from_be_bytes([message[0], message[1]]));
        // ICMPv6's pseudo-header holds the same two addresses either way, so the update is the same.
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        // A reply of nothing but zeros (identifier, sequence and data) has the one sum that an update gets wrong.
        if sum == 0 && !packet.source.is_ipv6() {
            let sum = Sum::default().add_frame(&frame, 0).checksum();
            frame.head_mut()[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        out.counters.count(Counter::EchoAnswers);
        self.send(now, &packet.answer(), frame, out);
    }

    fn handle_error(
        &mut self,
        packet: &Packet,
        frame: Frame,
        parse: fn(&[u8]) -> Option<IcmpError>,
        out: &mut Outbox,
    ) -> Option<Output> {
        let message = frame.head().get(packet.transport_at..).unwrap_or_default();
        match parse(message) {
            // Only what we can have sent: from an address of ours.
            Some(error) if !packet.group && self.is_our_address(packet.interface, error.quote.source) => {
                out.counters.count(Counter::IcmpErrorsReceived);
                Some(Output::Error(error, frame))
            }
            _ => {
                out.drop(frame, Drop::IcmpErrorQuote);
                None
            }
        }
    }

    fn is_our_address(&self, interface: InterfaceIndex, address: IpAddr) -> bool {
        self.topology.role(interface, address) == super::interface::Role::Ours
    }

    /// Sends an error about a packet, if the rules and the rate limit let it, and ends the packet.
    pub fn refuse(
        &mut self,
        now: Instant,
        packet: &Packet,
        frame: Frame,
        error: ErrorMessage,
        reason: Drop,
        out: &mut Outbox,
    ) {
        // rfc1122 3.2.2, rfc4443 2.4 e: no errors about what went to a group. RFC 4443 excepts unknown options that ask for it; we do not, as
        // one forged packet to all nodes would bring its pretended sender an answer from each (its section 5.2, 5).
        if !packet.group {
            if self.icmp_errors.take(now) {
                self.icmp_errors.blur(self.random.u32(0..=2));
                self.send_error(now, packet, &frame, error, out);
            } else {
                out.counters.count(Counter::IcmpErrorsLimited);
            }
        }
        out.drop(frame, reason);
    }

    fn send_error(&mut self, now: Instant, packet: &Packet, offender: &Frame, error: ErrorMessage, out: &mut Outbox) {
        let ipv6 = packet.source.is_ipv6();
        let Some((kind, code, word)) = error.fields(ipv6) else { return };
        let Some(mut frame) = out.make() else { return };
        let quote_len = (packet.end() - packet.network_at).min(if ipv6 { ICMP6_QUOTE_MAX } else { ICMP4_QUOTE_MAX });
        let message = frame.append(HEADER_LEN + quote_len).expect("a fresh frame has room");
        message[..4].copy_from_slice(&[kind, code, 0, 0]);
        message[4..8].copy_from_slice(&word.to_be_bytes());
        copy_out(offender, packet.network_at, &mut message[HEADER_LEN..]);
        let answer = Answer { protocol: if ipv6 { protocol::ICMPV6 } else { protocol::ICMP }, ..packet.answer() };
        let sum = if ipv6 {
            Sum::pseudo_header(answer.source, answer.destination, protocol::ICMPV6, message.len() as u32).add(message)
        } else {
            Sum::default().add(message)
        };
        message[CHECKSUM_AT..CHECKSUM_AT + 2].copy_from_slice(&sum.checksum().to_be_bytes());
        out.counters.count(Counter::IcmpErrorsSent);
        self.send(now, &answer, frame, out);
    }
}

/// A message's first 8 bytes.
fn header(packet: &Packet, frame: &Frame) -> Result<[u8; HEADER_LEN], Drop> {
    if packet.transport_len < HEADER_LEN {
        return Err(Drop::IcmpMalformed);
    }
    frame.head().get(packet.transport_at..).and_then(<[u8]>::first_chunk).copied().ok_or(Drop::HeadersSplit)
}

/// The header of a packet that answers another one.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The interface that the other came in through.
    pub interface: InterfaceIndex,
    /// From us.
    pub source: IpAddr,
    /// To its sender.
    pub destination: IpAddr,
    /// The transport protocol.
    pub protocol: u8,
    /// DSCP (RFC 2474) in the upper six bits, ECN (RFC 3168 section 5) in the lower two.
    pub traffic_class: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
}

impl Packet {
    /// Where an answer to this packet goes.
    pub fn answer(&self) -> Answer {
        let (source, destination, protocol) = (self.destination, self.source, self.protocol);
        Answer { interface: self.interface, source, destination, protocol, traffic_class: 0, hop_limit: HOP_LIMIT }
    }
}

impl ErrorMessage {
    /// Type, code, and the word after the checksum; `None` where the family has no such message.
    fn fields(self, ipv6: bool) -> Option<(u8, u8, u32)> {
        match (self, ipv6) {
            (Self::PortUnreachable, false) => Some((kind4::UNREACHABLE, 3, 0)),
            (Self::ProtocolUnreachable, false) => Some((kind4::UNREACHABLE, 2, 0)),
            (Self::PortUnreachable, true) => Some((kind6::UNREACHABLE, 4, 0)),
            // rfc8200 4: a protocol that is not known is a next header that is not known; its place comes with the packet.
            (Self::ProtocolUnreachable, true) | (Self::ParameterProblem { .. }, false) => None,
            (Self::ParameterProblem { code, pointer }, true) => Some((kind6::PARAMETER_PROBLEM, code, pointer)),
        }
    }
}

fn copy_out(frame: &Frame, offset: usize, mut to: &mut [u8]) {
    let mut skip = offset;
    for segment in frame.segments() {
        let from = &segment[skip.min(segment.len())..];
        skip -= skip.min(segment.len());
        let n = from.len().min(to.len());
        to[..n].copy_from_slice(&from[..n]);
        to = &mut to[n..];
    }
}

/// Reads an ICMPv4 error: type, code, checksum, a word, then the quoted packet.
pub(super) fn parse_error4(message: &[u8]) -> Option<IcmpError> {
    let header = message.first_chunk::<HEADER_LEN>()?;
    let quoted = &message[HEADER_LEN..];
    let ip = quoted.first_chunk::<{ ipv4::HEADER_LEN }>()?;
    let header_len = usize::from(ip[0] & 0x0f) * 4;
    // A quote of a later fragment has no transport header.
    if ip[0] >> 4 != 4 || header_len < ipv4::HEADER_LEN || u16::from_be_bytes([ip[6], ip[7]]) & 0x1fff != 0 {
        return None;
    }
    let quote = Quote {
        source: Ipv4Addr::new(ip[12], ip[13], ip[14], ip[15]).into(),
        destination: Ipv4Addr::new(ip[16], ip[17], ip[18], ip[19]).into(),
        protocol: ip[9],
        transport: *quoted.get(header_len..)?.first_chunk()?,
    };
    let cause = match (header[0], header[1]) {
        (kind4::UNREACHABLE, 4) => {
            // rfc1191 3: at least 68; an old router leaves 0.
            let mtu = u16::from_be_bytes([header[6], header[7]]);
            Cause::TooBig { mtu: if mtu == 0 { 0 } else { mtu.clamp(68, MTU_MAX) } }
        }
        (kind4::UNREACHABLE, code) => Cause::Unreachable { code },
        (kind4::TIME_EXCEEDED, _) => Cause::TimeExceeded,
        _ => Cause::ParameterProblem,
    };
    Some(IcmpError { cause, quote })
}

/// Reads an ICMPv6 error. Our packets have no extension headers, so neither has a genuine quote.
pub(super) fn parse_error6(message: &[u8]) -> Option<IcmpError> {
    let header = message.first_chunk::<HEADER_LEN>()?;
    let quoted = &message[HEADER_LEN..];
    let ip = quoted.first_chunk::<{ ipv6::HEADER_LEN }>()?;
    if ip[0] >> 4 != 6 {
        return None;
    }
    let quote = Quote {
        source: Ipv6Addr::from(*ip[8..].first_chunk::<16>()?).into(),
        destination: Ipv6Addr::from(*ip[24..].first_chunk::<16>()?).into(),
        protocol: ip[6],
        transport: *quoted[ipv6::HEADER_LEN..].first_chunk()?,
    };
    let word = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let cause = match header[0] {
        // rfc8201 4: a next hop that carries less than every link must is discarded.
        kind6::TOO_BIG if word < 1_280 => return None,
        kind6::TOO_BIG => Cause::TooBig { mtu: word.min(u32::from(MTU_MAX)) as u16 },
        kind6::UNREACHABLE => Cause::Unreachable { code: header[1] },
        kind6::TIME_EXCEEDED => Cause::TimeExceeded,
        _ => Cause::ParameterProblem,
    };
    Some(IcmpError { cause, quote })
}
