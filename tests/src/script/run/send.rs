//! What a script sends: segments from their patterns, ICMP errors about what the target sent.

use super::{Run, pieces, stream_position};
use crate::{
    script::{
        packet::{self, Base, Bent, Carrier, Flags, Segment, Side, TcpOption, stream},
        parse::{Attribute, Icmp, IcmpKind, Number, OptionPattern, Pattern},
        target::Flow,
    },
    wire::{protocol, transport_sum},
};
use std::net::SocketAddr;

impl Run<'_> {
    pub(super) fn inject(&mut self, flow: Flow, pattern: &Pattern) -> Result<(), String> {
        for piece in pieces(pattern) {
            let segment = self.filled_in(flow, &piece)?;
            let flow_words = if flow == 0 { String::new() } else { format!(" [flow {flow}]") };
            self.say(&format!("< {segment}{flow_words}"));
            let (target, own) = self.target.addresses();
            let connection = self.connection(flow);
            let mut from = SocketAddr::new(own, connection.port);
            let to = SocketAddr::new(target, connection.target_port);
            let base = Base { seq: connection.isn, ack: connection.target_isn.unwrap_or(0) };
            let mut bent = Bent::default();
            for attribute in &pattern.attributes {
                match *attribute {
                    Attribute::BadChecksum => bent.checksum = true,
                    Attribute::DataOffset(words) => bent.data_offset = Some(words),
                    Attribute::Cut(len) => bent.cut = Some(len),
                    Attribute::Land => from = to,
                    _ => {}
                }
            }
            let packet = packet::build(&segment, from, to, base, bent);
            self.target.inject(&packet);
        }
        Ok(())
    }

    fn filled_in(&mut self, flow: Flow, pattern: &Pattern) -> Result<Segment, String> {
        let mut options = Vec::new();
        for option in pattern.options.iter().flatten() {
            options.push(match option {
                OptionPattern::Exactly(option) => option.clone(),
                OptionPattern::Timestamps { val, ecr } => {
                    let (val, ecr) = (self.number(flow, val)?, self.number(flow, ecr)?);
                    TcpOption::Timestamps { val, ecr }
                }
                _ => return Err("an option to be sent has a value".into()),
            });
        }
        let mut carrier = Carrier { ecn: 0, ttl: 64, df: true };
        for attribute in &pattern.attributes {
            match *attribute {
                Attribute::Ecn(ecn) => carrier.ecn = ecn,
                Attribute::Ttl(ttl) => carrier.ttl = ttl,
                Attribute::Df(df) => carrier.df = df,
                _ => {}
            }
        }
        let payload = match &pattern.data {
            Some(text) => text.bytes().cycle().take(pattern.len).collect(),
            None => stream(Side::Peer, stream_position(pattern), pattern.len),
        };
        Ok(Segment {
            flags: pattern.flags,
            seq: pattern.seq,
            ack: pattern.ack,
            win: pattern.win.unwrap_or(65535),
            urgent: pattern.urgent.unwrap_or(0),
            options,
            payload,
            carrier,
        })
    }

    pub(super) fn number(&mut self, flow: Flow, number: &Number) -> Result<u32, String> {
        match number {
            Number::Any => Err("`*` cannot be sent".into()),
            Number::Value(value) => Ok(*value),
            Number::Last(offset) => Ok(self.connection(flow).ts_last.wrapping_add_signed(*offset)),
            Number::Named(name, offset) => {
                let value = self.names.get(name).ok_or(format!("@{name} was not seen yet"))?;
                Ok(value.wrapping_add_signed(*offset))
            }
        }
    }

    pub(super) fn icmp(&mut self, flow: Flow, icmp: Icmp) -> Result<(), String> {
        self.say(&format!("< {icmp:?}"));
        let (target, own) = self.target.addresses();
        let connection = self.connection(flow);
        let carrier = Carrier { ecn: 0, ttl: 64, df: true };
        let quoted = Segment {
            flags: Flags(Flags::ACK),
            seq: icmp.seq,
            ack: 1,
            win: 65535,
            urgent: 0,
            options: Vec::new(),
            payload: stream(Side::Target, icmp.seq.wrapping_sub(1), icmp.len),
            carrier,
        };
        let (from, to) = (SocketAddr::new(target, connection.target_port), SocketAddr::new(own, connection.port));
        let base = Base { seq: connection.target_isn.unwrap_or(0), ack: connection.isn };
        let mut quoted = packet::build(&quoted, from, to, base, Bent::default());
        // rfc1812 4.3.2.3 and rfc4443 3: as much of the packet as fits.
        quoted.truncate(if target.is_ipv4() { 548 } else { 1232 });
        let message = icmp_message(icmp, target.is_ipv4(), &quoted);
        let protocol = if target.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 };
        let mut message = message;
        let sum = transport_sum(own, target, protocol, &message) ^ if icmp.bad_checksum { 0x5555 } else { 0 };
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let packet = packet::carry(own, target, protocol, carrier, &message);
        self.target.inject(&packet);
        Ok(())
    }
}

/// The ICMP message without its checksum (RFC 792, RFC 4443).
fn icmp_message(icmp: Icmp, ipv4: bool, quoted: &[u8]) -> Vec<u8> {
    let (kind, code, word) = match (icmp.kind, ipv4) {
        (IcmpKind::Net, true) | (IcmpKind::TimeExceeded, false) => (3, 0, 0), // different things by the same number
        (IcmpKind::Host, true) => (3, 1, 0),
        (IcmpKind::Protocol, true) => (3, 2, 0),
        (IcmpKind::Port, true) => (3, 3, 0),
        (IcmpKind::TooBig(mtu), true) => (3, 4, u32::from(mtu)),
        (IcmpKind::Admin, true) => (3, 13, 0),
        (IcmpKind::TimeExceeded, true) => (11, 0, 0),
        (IcmpKind::Net, false) => (1, 0, 0),
        (IcmpKind::Admin, false) => (1, 1, 0),
        (IcmpKind::Host, false) => (1, 3, 0),
        (IcmpKind::Port, false) => (1, 4, 0),
        (IcmpKind::TooBig(mtu), false) => (2, 0, u32::from(mtu)),
        // An unrecognized next header (RFC 4443 section 3.4) is what IPv6 has in its place.
        (IcmpKind::Protocol, false) => (4, 1, 6),
    };
    crate::wire::icmp(kind, code, word.to_be_bytes(), quoted)
}
