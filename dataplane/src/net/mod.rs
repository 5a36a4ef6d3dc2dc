//! From Ethernet to the transport's door and back, for one worker. Sans-io: frames and `now` come in, frames go to the [`Outbox`], what
//! the transport must know comes out as [`Output`].
//!
//! ```text
//!   frame -> ethernet -+-> arp ---------> neighbors      a question about us is answered, a neighbour is learned
//!                      +-> ipv4 -+-> icmp -> echo, errors
//!                      +-> ipv6 -+-> nd, report
//!                                +-> transport -> Output::Packet, for TCP and UDP
//!
//!   send(packet) -> interface (route) -> neighbors -> ethernet -> frame
//! ```

mod arp;
mod bucket;
pub mod checksum;
mod ethernet;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod icmp;
mod interface;
mod ipv4;
mod ipv6;
mod nd;
mod neighbors;
mod packet;
mod report;
#[cfg(test)]
mod tests;
mod transport;

pub use bucket::Bucket;
pub use ethernet::Link;
pub use icmp::{Answer, Cause, ErrorMessage, IcmpError, Quote};
pub use interface::{Cidr, Interface, InterfaceIndex, NextHop, PortIndex, Role, Route, Topology};
pub use neighbors::Notice;
pub use packet::{Packet, protocol};
pub use smoltcp::wire::EthernetAddress;

use crate::{
    counters::Counter,
    drops::Drop,
    limits::{ICMP_ERRORS_BURST, ICMP_ERRORS_PER_SECOND},
    outbox::Outbox,
    port::{Checksum, Frame, TxOffload},
    time::{Duration, Instant},
};
use ethernet::ethertype;
use interface::is_link_local;
use packet::Refusal;
use std::{net::IpAddr, sync::Arc};

/// Hop limit of what we send (IANA's recommended default).
pub(crate) const HOP_LIMIT: u8 = 64;
/// rfc5227 2.3: addresses are announced twice, two seconds apart.
const ANNOUNCE_NUM: u8 = 2;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
/// rfc5227 2.4: a claimed address is defended at most this often.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// What the transport must know.
#[derive(Debug)]
pub enum Output {
    /// A TCP segment or UDP datagram with a right checksum. The frame still has all its headers; padding is cut off.
    Packet(Packet, Frame),
    /// An ICMP error about a packet that may be ours.
    Error(IcmpError, Frame),
}

/// The net layer of one worker.
pub struct Net {
    topology: Arc<Topology>,
    neighbors: neighbors::Neighbors,
    icmp_errors: Bucket,
    random: fastrand::Rng,
    /// Announcements still to make, and when. Only one worker of a data plane announces.
    announcements: u8,
    announce_at: Instant,
    /// A claim of our address is answered from then on.
    defend_at: Instant,
    /// When each interface reports its multicast groups.
    report_at: Vec<Instant>,
}

impl Net {
    /// For one worker of a data plane. One of them is to announce our addresses; `seed` keys its table and its jitter.
    pub fn new(topology: Arc<Topology>, announces: bool, seed: u64) -> Self {
        let report_at = vec![Instant::NEVER; topology.interfaces().count()];
        Self {
            neighbors: neighbors::Neighbors::new(Arc::clone(&topology), seed),
            icmp_errors: Bucket::new(ICMP_ERRORS_PER_SECOND, ICMP_ERRORS_BURST),
            random: fastrand::Rng::with_seed(seed ^ 0x6e65_7400),
            announcements: if announces { ANNOUNCE_NUM } else { 0 },
            announce_at: if announces { Instant::ZERO } else { Instant::NEVER },
            defend_at: Instant::ZERO,
            report_at,
            topology,
        }
    }

    /// Takes a frame from a port.
    #[inline]
    pub fn handle(&mut self, now: Instant, port: PortIndex, frame: Frame, out: &mut Outbox) -> Option<Output> {
        let link = match ethernet::parse(&self.topology, port, &frame) {
            Ok(link) => link,
            Err(reason) => {
                out.drop(frame, reason);
                return None;
            }
        };
        match link.ethertype {
            ethertype::IPV4 => self.handle_ipv4(now, &link, frame, out),
            ethertype::IPV6 => self.handle_ipv6(now, &link, frame, out),
            ethertype::ARP => {
                self.handle_arp(now, &link, frame, out);
                None
            }
            _ => {
                out.drop(frame, Drop::EtherType);
                None
            }
        }
    }

    fn handle_ipv4(&mut self, now: Instant, link: &Link, mut frame: Frame, out: &mut Outbox) -> Option<Output> {
        let checksum_known = frame.rx_meta().ip_checksum == Checksum::Good;
        out.counters.add(Counter::ChecksumsOffloaded, u64::from(checksum_known));
        let packet = match ipv4::parse(&self.topology, link, &frame, checksum_known) {
            Ok(packet) => packet,
            Err(reason) => {
                out.drop(frame, reason);
                return None;
            }
        };
        frame.truncate(packet.end());
        match packet.protocol {
            protocol::ICMP => self.handle_icmp4(now, &packet, frame, out),
            protocol::TCP | protocol::UDP => hand_up(packet, frame, out),
            _ => {
                self.refuse(now, &packet, frame, ErrorMessage::ProtocolUnreachable, Drop::ProtocolUnknown, out);
                None
            }
        }
    }

    fn handle_ipv6(&mut self, now: Instant, link: &Link, mut frame: Frame, out: &mut Outbox) -> Option<Output> {
        let packet = match ipv6::parse(&self.topology, link, &frame) {
            Ok(packet) => packet,
            Err(Refusal::Silent(reason)) => {
                out.drop(frame, reason);
                return None;
            }
            Err(Refusal::Problem { code, pointer, reason }) => {
                self.refuse_extension(now, link, frame, code, pointer, reason, out);
                return None;
            }
        };
        frame.truncate(packet.end());
        match packet.protocol {
            protocol::ICMPV6 => self.handle_icmp6(now, link, &packet, frame, out),
            protocol::TCP | protocol::UDP => hand_up(packet, frame, out),
            _ => {
                // rfc8200 4: a next header that is not known is a parameter problem, code 1.
                let code = ipv6::problem::UNKNOWN_NEXT_HEADER;
                let error = ErrorMessage::ParameterProblem { code, pointer: packet.protocol_at as u32 };
                self.refuse(now, &packet, frame, error, Drop::ProtocolUnknown, out);
                None
            }
        }
    }

    /// Answers a packet whose headers could not be walked to the end, so that it is known by its fixed header only.
    #[allow(clippy::too_many_arguments)] // each is a different thing, and a struct would be used once
    fn refuse_extension(
        &mut self,
        now: Instant,
        link: &Link,
        mut frame: Frame,
        code: u8,
        pointer: u32,
        reason: Drop,
        out: &mut Outbox,
    ) {
        // rfc4443 2.4 e: no error about an error, or two of us could go on for ever.
        if ipv6::may_carry_error(&frame.head()[link.header_len..]) {
            return out.drop(frame, reason);
        }
        let fixed = ipv6::fixed_header(link, &frame);
        frame.truncate(fixed.end());
        self.refuse(now, &fixed, frame, ErrorMessage::ParameterProblem { code, pointer }, reason, out);
    }

    /// Sends a transport message (the frame holds just that) as an IP packet.
    #[inline]
    pub fn send(&mut self, now: Instant, answer: &Answer, mut frame: Frame, out: &mut Outbox) {
        let Some((through, via)) = self.topology.route(&answer.destination, Some(answer.interface)) else {
            return out.drop(frame, Drop::NoRoute);
        };
        // rfc4007 9: a link-local source stays on its link.
        if through != answer.interface && is_link_local(answer.source) {
            return out.drop(frame, Drop::NoRoute);
        }
        let interface = self.topology.interface(through);
        let wanted = frame.tx_offload();
        let ip_checksum = interface.offloads.ipv4_checksum && answer.source.is_ipv4();
        if ip_checksum || wanted.l4_checksum.is_some() {
            let l2_len = ethernet::header_len(interface);
            let l3_len = if answer.source.is_ipv4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN } as u16;
            frame.set_tx_offload(TxOffload { l2_len, l3_len, ip_checksum, ..wanted });
            out.counters.add(Counter::ChecksumsOffloaded, u64::from(ip_checksum));
        }
        let emitted = match (&answer.source, &answer.destination) {
            (&IpAddr::V4(source), &IpAddr::V4(destination)) => {
                let Answer { protocol, hop_limit, traffic_class, .. } = *answer;
                let header = ipv4::Header { source, destination, protocol, hop_limit, traffic_class };
                ipv4::emit(&mut frame, &header, ip_checksum)
            }
            (&IpAddr::V6(source), &IpAddr::V6(destination)) => {
                let Answer { protocol, hop_limit, traffic_class, .. } = *answer;
                let header = ipv6::Header { source, destination, protocol, hop_limit, traffic_class };
                ipv6::emit(&mut frame, &header)
            }
            _ => return out.drop(frame, Drop::FamilyNotConfigured),
        };
        // What the device cuts into pieces may be longer than one of them.
        if emitted.is_err() || (frame.len() > usize::from(interface.mtu) && wanted.tso_segment == 0) {
            return out.drop(frame, Drop::TooLong);
        }
        if frame.segment_count() > 1 && !interface.offloads.segments {
            return out.drop(frame, Drop::SegmentsUnsupported);
        }
        self.neighbors.send(now, through, via.unwrap_or(&answer.destination), frame, out);
    }

    /// What another worker tells.
    pub fn handle_notice(&mut self, now: Instant, notice: Notice, out: &mut Outbox) {
        self.neighbors.handle_notice(now, notice, out);
    }

    /// Does what is due: questions asked again, announcements, reports.
    pub fn handle_timers(&mut self, now: Instant, out: &mut Outbox) {
        self.neighbors.handle_timers(now, out);
        if self.announcements > 0 && now >= self.announce_at {
            self.announcements -= 1;
            self.announce_at = if self.announcements > 0 { now + ANNOUNCE_INTERVAL } else { Instant::NEVER };
            self.announce_all(out);
        }
        self.send_due_reports(now, out);
    }

    /// When [`Self::handle_timers`] has something to do.
    pub fn next_deadline(&self) -> Instant {
        let reports = self.report_at.iter().copied().min().unwrap_or(Instant::NEVER);
        self.neighbors.next_deadline().min(self.announce_at).min(reports)
    }

    /// Frames that wait for a neighbour.
    pub fn held(&self) -> usize {
        self.neighbors.pending()
    }

    /// How many neighbours are remembered, in whatever state.
    pub fn neighbor_count(&self) -> usize {
        self.neighbors.len()
    }

    /// Interface, address, hardware address and RFC 4861 state of each neighbour.
    pub fn inspect_neighbors(
        &self,
    ) -> impl Iterator<Item = (InterfaceIndex, IpAddr, EthernetAddress, &'static str)> + '_ {
        self.neighbors.inspect()
    }

    /// Lets go of every frame.
    pub fn stop(&mut self, out: &mut Outbox) {
        self.neighbors.stop(out);
    }

    fn announce_all(&mut self, out: &mut Outbox) {
        let topology = Arc::clone(&self.topology);
        for (index, interface) in topology.interfaces() {
            report::report(interface, out);
            interface.addresses.iter().for_each(|c| self.announce(index, c.address, out));
        }
    }

    /// Tells the link where an address of ours is.
    fn announce(&self, index: InterfaceIndex, address: IpAddr, out: &mut Outbox) {
        let interface = self.topology.interface(index);
        match address {
            IpAddr::V4(address) => arp::ask(interface, address, address, None, out),
            IpAddr::V6(address) => nd::announce(interface, address, out),
        }
    }
}

/// Why headers that end at `end` are not to be read: `reason`, or they go on in the next buffer.
fn cut_short(frame: &Frame, end: usize, reason: Drop) -> Drop {
    if frame.head().len() < end && frame.len() >= end { Drop::HeadersSplit } else { reason }
}

fn hand_up(mut packet: Packet, mut frame: Frame, out: &mut Outbox) -> Option<Output> {
    // rfc9293 3.9.2.3 MUST-57: no transport of ours listens to groups.
    let verdict = if packet.group {
        Err(Drop::GroupIgnored)
    } else {
        transport::check(&mut packet, &mut frame, &mut out.counters)
    };
    match verdict {
        Ok(()) => Some(Output::Packet(packet, frame)),
        Err(reason) => {
            out.drop(frame, reason);
            None
        }
    }
}
