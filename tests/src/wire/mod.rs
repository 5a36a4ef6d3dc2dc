//! Frames as bytes. Everything here is written by the book and shares no code with the data plane, so that it can examine it.

mod build;
mod checksum;
mod read;
pub mod tcp;
mod words;

pub use build::{
    advertisement, arp, destination_options, echo, ethernet, fragment_header, frame, icmp, ip, solicitation, udp,
};
pub use checksum::{checksum, seal, transport_sum};
pub use read::{Ip, Link, ip_packet, link};
pub use tcp::{Tcp, flag};
pub use words::words;

use std::net::Ipv6Addr;

/// A hardware address.
pub type Mac = smoltcp::wire::EthernetAddress;

/// A hardware address that nobody has bought (IEEE 802c, locally administered).
pub const fn mac(n: u8) -> Mac {
    smoltcp::wire::EthernetAddress([2, 0, 0, 0, 0, n])
}

/// EtherTypes (IEEE 802 numbers).
pub mod ethertype {
    /// RFC 894.
    pub const IPV4: u16 = 0x0800;
    /// RFC 826.
    pub const ARP: u16 = 0x0806;
    /// IEEE 802.1Q.
    pub const VLAN: u16 = 0x8100;
    /// RFC 2464.
    pub const IPV6: u16 = 0x86dd;
}

/// IP protocol numbers (IANA).
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

/// All nodes on the link (RFC 4291 section 2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All MLDv2 routers (RFC 3810 section 5.2.14).
pub const ALL_LISTENER_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// The group in which an address is asked for (RFC 4291 section 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let o = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, o[13], o[14], o[15]])
}

/// The hardware address of an IPv6 group (RFC 2464 section 7).
pub fn group_mac(group: Ipv6Addr) -> Mac {
    let o = group.octets();
    Mac::from_bytes(&[0x33, 0x33, o[12], o[13], o[14], o[15]])
}

/// The link-local address that a hardware address gives (RFC 4291 appendix A).
pub fn link_local(mac: Mac) -> Ipv6Addr {
    let m = mac.0;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]])
}
