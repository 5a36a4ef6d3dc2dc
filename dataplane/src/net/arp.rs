//! ARP for IPv4 over Ethernet (RFC 826), with the announcements and the defence of RFC 5227.

use super::{
    Net, cut_short,
    ethernet::{self, Link, ethertype},
    interface::{Interface, NextHop},
    neighbors::Claim,
};
use crate::{counters::Counter, drops::Drop, outbox::Outbox, port::Frame, time::Instant};
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};
use std::net::{IpAddr, Ipv4Addr};

/// A checked message.
pub(super) struct Message {
    operation: ArpOperation,
    pub(super) sender_mac: EthernetAddress,
    pub(super) sender: Ipv4Addr,
    target: Ipv4Addr,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Message, Drop> {
    let packet = ArpPacket::new_checked(bytes).map_err(|_| Drop::ArpMalformed)?;
    let ArpRepr::EthernetIpv4 { operation, source_hardware_addr, source_protocol_addr, target_protocol_addr, .. } =
        ArpRepr::parse(&packet).map_err(|_| Drop::ArpMalformed)?
    else {
        return Err(Drop::ArpMalformed);
    };
    let sender = source_protocol_addr;
    if !source_hardware_addr.is_unicast() || source_hardware_addr.0 == [0; 6] {
        return Err(Drop::ArpMalformed);
    }
    if !matches!(operation, ArpOperation::Request | ArpOperation::Reply) {
        return Err(Drop::ArpMalformed);
    }
    Ok(Message { operation, sender_mac: source_hardware_addr, sender, target: target_protocol_addr })
}

impl Net {
    /// Takes an ARP message: answers a question about us, learns from the neighbours that it concerns.
    pub(super) fn handle_arp(&mut self, now: Instant, link: &Link, frame: Frame, out: &mut Outbox) {
        let message = match parse(&frame.head()[link.header_len..]) {
            Ok(message) => message,
            Err(reason) => {
                let reason = cut_short(&frame, link.header_len + MESSAGE_LEN, reason);
                return out.drop(frame, reason);
            }
        };
        let interface = self.topology.interface(link.interface);
        if message.sender_mac == interface.mac {
            return out.drop(frame, Drop::HardwareSource);
        }
        let ours = |address: Ipv4Addr| interface.addresses.iter().any(|c| c.address == IpAddr::V4(address));
        let for_us = ours(message.target);
        if ours(message.sender) {
            return self.handle_conflict(now, link, message.sender.into(), frame, out);
        }
        // rfc5227 2.1.1: a probe has no sender address yet; any other sender must be one that a host can have.
        if !message.sender.is_unspecified() && self.topology.is_martian(link.interface, message.sender.into()) {
            return out.drop(frame, Drop::MartianSource);
        }
        let question = message.operation == ArpOperation::Request;
        // A probe is answered but teaches nothing, and neither does a host of another network.
        let teaches = !message.sender.is_unspecified() && self.topology.on_link(link.interface, message.sender.into());
        let hop = NextHop { interface: link.interface, address: message.sender.into() };
        // rfc826, packet reception: the sender of a question about us is remembered, any other only if known already.
        let claim = Claim {
            mac: message.sender_mac,
            solicited: !question && for_us && !link.group,
            overrides: true,
            creates: question && for_us,
        };
        let known = teaches && self.neighbors.handle_claim(now, hop, claim, out);
        if question && for_us {
            let interface = self.topology.interface(link.interface);
            out.counters.count(Counter::NeighborAnswers);
            answer(interface, &message, frame, link.header_len, out);
        } else if known {
            out.consume(frame);
        } else {
            out.drop(frame, Drop::ArpNotForUs);
        }
    }

    /// Another host uses an address of ours: count it, and say once in ten seconds whose it is (RFC 5227 section 2.4 b).
    pub(super) fn handle_conflict(
        &mut self,
        now: Instant,
        link: &Link,
        address: IpAddr,
        frame: Frame,
        out: &mut Outbox,
    ) {
        out.counters.count(Counter::AddressConflicts);
        out.drop(frame, Drop::AddressConflict);
        if now >= self.defend_at {
            self.defend_at = now + super::DEFEND_INTERVAL;
            self.announce(link.interface, address, out);
        }
    }
}

/// Turns a question into its answer, in the same frame.
fn answer(interface: &Interface, question: &Message, mut frame: Frame, header_len: usize, out: &mut Outbox) {
    frame.trim_front(header_len);
    frame.truncate(MESSAGE_LEN);
    let repr = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: interface.mac,
        source_protocol_addr: question.target,
        target_hardware_addr: question.sender_mac,
        target_protocol_addr: question.sender,
    };
    repr.emit(&mut ArpPacket::new_unchecked(frame.head_mut()));
    match ethernet::emit(&mut frame, interface, question.sender_mac, ethertype::ARP) {
        Ok(()) => out.transmit(interface.port, frame),
        Err(_) => out.drop(frame, Drop::HeadersSplit),
    }
}

const MESSAGE_LEN: usize = 28;

/// Sends a question: to all, or to the one whose answer is still remembered. With our own address as `target` it is an
/// announcement (RFC 5227 section 2.3).
pub(super) fn ask(
    interface: &Interface,
    source: Ipv4Addr,
    target: Ipv4Addr,
    to: Option<EthernetAddress>,
    out: &mut Outbox,
) {
    let Some(mut frame) = out.make() else { return };
    let repr = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: interface.mac,
        source_protocol_addr: source,
        target_hardware_addr: to.unwrap_or(EthernetAddress([0; 6])),
        target_protocol_addr: target,
    };
    let bytes = frame.append(MESSAGE_LEN).expect("a fresh frame has room");
    repr.emit(&mut ArpPacket::new_unchecked(bytes));
    ethernet::emit(&mut frame, interface, to.unwrap_or(EthernetAddress::BROADCAST), ethertype::ARP)
        .expect("a fresh frame has headroom");
    out.transmit(interface.port, frame);
}
