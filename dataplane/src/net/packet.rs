//! An IP packet that is for us, as both families describe it.

use super::interface::InterfaceIndex;
use crate::drops::Drop;
use std::net::IpAddr;

/// IP protocol numbers that we know (IANA).
pub mod protocol {
    /// RFC 792.
    pub const ICMP: u8 = 1;
    /// RFC 9293.
    pub const TCP: u8 = 6;
    /// RFC 768.
    pub const UDP: u8 = 17;
    /// RFC 4443.
    pub const ICMPV6: u8 = 58;
}

/// What stands before the transport header. Offsets are from the frame's first byte, Ethernet included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Where it came in.
    pub interface: InterfaceIndex,
    /// Who sent it: a host that can exist and is not us.
    pub source: IpAddr,
    /// Whom to: us, or a group that we are in.
    pub destination: IpAddr,
    /// The transport protocol's number.
    pub protocol: u8,
    /// Where that number stands, from the IP header's first byte.
    pub protocol_at: usize,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// It went to a group, on either layer. Groups get no errors.
    pub group: bool,
    /// Where the IP header begins.
    pub network_at: usize,
    /// Where the transport header begins.
    pub transport_at: usize,
    /// Bytes from there to the packet's end.
    pub transport_len: usize,
}

impl Packet {
    /// The frame's length up to the packet's end; what follows is padding.
    pub fn end(&self) -> usize {
        self.transport_at + self.transport_len
    }
}

/// Why a packet is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// In silence.
    Silent(Drop),
    /// With an ICMPv6 parameter problem (RFC 4443 section 3.4) that points at a byte of the packet.
    Problem { code: u8, pointer: u32, reason: Drop },
}

impl From<Drop> for Refusal {
    fn from(reason: Drop) -> Self {
        Self::Silent(reason)
    }
}
