//! Which frames a capture wants. It looks at whatever came over the wire, whether we would take it or not, so everything is checked and nothing is
//! thought to be sound: what cannot be seen does not match.

use super::Direction;
use crate::{
    limits::{EXTENSION_BYTES_MAX, EXTENSION_HEADERS_MAX},
    link::capture::{CaptureFilter, Protocol, Way},
    net::{PortIndex, protocol},
    port::Frame,
    snapshot::Dataplane,
};
use std::net::IpAddr;

/// Bytes of a frame within which its headers are looked for: Ethernet with two tags, IPv6 with extensions, ports.
const HEADERS: usize = 14 + 8 + 40 + EXTENSION_BYTES_MAX + 4;
/// Bytes of a frame that are kept if nobody says otherwise: all of any frame.
const SNAP_LEN: u16 = u16::MAX;

/// Which frames are wanted: those that fit everything that is said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    port: Option<PortIndex>,
    vlan: Option<u16>,
    direction: Option<Direction>,
    host: Option<IpAddr>,
    /// Of TCP or UDP, at either end.
    l4_port: Option<u16>,
    protocol: Option<Protocol>,
    /// Bytes of a frame that are kept.
    pub(super) snap_len: usize,
}

/// What is seen of a frame.
#[derive(Default)]
struct Seen {
    vlan: Option<u16>,
    protocol: Option<Protocol>,
    hosts: Option<[IpAddr; 2]>,
    ports: Option<[u16; 2]>,
}

impl Filter {
    /// What was asked for, over these ports.
    ///
    /// # Errors
    /// What makes no sense.
    pub fn plan(asked: &CaptureFilter, dataplane: &Dataplane) -> Result<Self, String> {
        let CaptureFilter { interface, direction, host, port: l4_port, protocol, snap_len, count, duration_ms } = asked;
        let (port, vlan) = interface.as_ref().map(|name| find(name, dataplane)).transpose()?.unwrap_or_default();
        for (what, is_none) in [
            ("the port", *l4_port == Some(0)),
            ("the number of bytes kept", *snap_len == Some(0)),
            ("the number of frames", *count == Some(0)),
            ("the duration", *duration_ms == Some(0)),
        ] {
            if is_none {
                return Err(format!("{what} is zero"));
            }
        }
        if let (Some(port), Some(Protocol::Icmp | Protocol::Arp)) = (l4_port, protocol) {
            return Err(format!("port {port}: only TCP and UDP have ports"));
        }
        if let (Some(host), Some(Protocol::Arp)) = (host.filter(IpAddr::is_ipv6), protocol) {
            return Err(format!("host {host}: ARP speaks of IPv4 only"));
        }
        let direction = direction.map(|way| match way {
            Way::In => Direction::Received,
            Way::Out => Direction::Sent,
        });
        let snap_len = usize::from(snap_len.unwrap_or(SNAP_LEN));
        Ok(Self { port, vlan, direction, host: *host, l4_port: *l4_port, protocol: *protocol, snap_len })
    }

    /// Whether a frame that passes a port is wanted.
    pub fn wants(&self, port: PortIndex, direction: Direction, frame: &Frame) -> bool {
        let is_here = self.port.is_none_or(|it| it == port) && self.direction.is_none_or(|wanted| wanted == direction);
        let looks = self.vlan.is_some() || self.host.is_some() || self.l4_port.is_some() || self.protocol.is_some();
        if !is_here || !looks {
            return is_here;
        }
        let head = frame.head();
        if head.len() >= HEADERS || frame.segment_count() == 1 {
            return self.wants_bytes(head);
        }
        let (mut bytes, mut len) = ([0; HEADERS], 0);
        for segment in frame.segments() {
            let some = segment.len().min(HEADERS - len);
            bytes[len..len + some].copy_from_slice(&segment[..some]);
            len += some;
        }
        self.wants_bytes(&bytes[..len])
    }

    /// By a frame's first bytes.
    pub(crate) fn wants_bytes(&self, bytes: &[u8]) -> bool {
        let mut seen = Seen::default();
        // What it could not see stays unknown.
        _ = seen.look(bytes);
        self.vlan.is_none_or(|it| seen.vlan == Some(it))
            && self.protocol.is_none_or(|it| seen.protocol == Some(it))
            && self.host.is_none_or(|it| seen.hosts.is_some_and(|hosts| hosts.contains(&it)))
            && self.l4_port.is_none_or(|it| seen.ports.is_some_and(|ports| ports.contains(&it)))
    }
}

/// A port by its name, or one of its VLANs as `NAME.ID`.
fn find(name: &str, dataplane: &Dataplane) -> Result<(Option<PortIndex>, Option<u16>), String> {
    let mut names = Vec::new();
    for (index, port) in dataplane.ports.iter().enumerate() {
        let index = Some(PortIndex(index as u8));
        if port.name == name {
            return Ok((index, None));
        }
        names.push(port.name.clone());
        for vlan in &port.vlans {
            let of_vlan = format!("{}.{}", port.name, vlan.id);
            if of_vlan == name {
                return Ok((index, Some(vlan.id)));
            }
            names.push(of_vlan);
        }
    }
    Err(format!("there is no interface {name:?}; there are: {}", names.join(", ")))
}

/// EtherTypes.
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const TAGS: [u16; 2] = [0x8100, 0x88a8];

impl Seen {
    /// Notes what there is to see, until something is cut short or not known.
    fn look(&mut self, bytes: &[u8]) -> Option<()> {
        let mut kind = word(bytes, 12)?;
        let mut rest = &bytes[14..];
        for _ in 0..2 {
            if !TAGS.contains(&kind) {
                break;
            }
            // 802.1Q 6.9: identifier 0 is a priority without a VLAN. Of two tags the outer one counts.
            let id = word(rest, 0)? & 0x0fff;
            self.vlan = self.vlan.or((id != 0).then_some(id));
            kind = word(rest, 2)?;
            rest = &rest[4..];
        }
        match kind {
            ARP => self.look_at_arp(rest),
            IPV4 => self.look_at_ipv4(rest),
            IPV6 => self.look_at_ipv6(rest),
            _ => None,
        }
    }

    /// rfc826: the hosts are the two that it is about.
    fn look_at_arp(&mut self, arp: &[u8]) -> Option<()> {
        self.protocol = Some(Protocol::Arp);
        if word(arp, 2)? != IPV4 || *arp.get(4..6)? != [6, 4] {
            return None;
        }
        self.hosts = Some([ipv4(arp, 14)?, ipv4(arp, 24)?]);
        Some(())
    }

    /// rfc791 3.1.
    fn look_at_ipv4(&mut self, packet: &[u8]) -> Option<()> {
        let first = *packet.first()?;
        let header_len = usize::from(first & 0x0f) * 4;
        if first >> 4 != 4 || header_len < 20 {
            return None;
        }
        self.hosts = Some([ipv4(packet, 12)?, ipv4(packet, 16)?]);
        let is_first = word(packet, 6)? & 0x1fff == 0;
        self.look_at_transport(packet[9], is_first, packet.get(header_len..)?)
    }

    /// rfc8200 3 and 4.
    fn look_at_ipv6(&mut self, packet: &[u8]) -> Option<()> {
        if packet.first()? >> 4 != 6 {
            return None;
        }
        self.hosts = Some([ipv6(packet, 8)?, ipv6(packet, 24)?]);
        let mut next = packet[6];
        let mut rest = &packet[40..];
        let mut is_first = true;
        for _ in 0..=EXTENSION_HEADERS_MAX {
            let len = match next {
                0 | 43 | 60 => usize::from(*rest.get(1)?) * 8 + 8,
                44 => {
                    is_first = word(rest, 2)? & 0xfff8 == 0;
                    8
                }
                _ => return self.look_at_transport(next, is_first, rest),
            };
            next = *rest.first()?;
            // Of a later fragment nothing but the protocol is known.
            if !is_first {
                return self.look_at_transport(next, false, &[]);
            }
            rest = rest.get(len..)?;
        }
        None
    }

    fn look_at_transport(&mut self, number: u8, is_first: bool, rest: &[u8]) -> Option<()> {
        let protocol = match number {
            protocol::TCP => Protocol::Tcp,
            protocol::UDP => Protocol::Udp,
            protocol::ICMP | protocol::ICMPV6 => Protocol::Icmp,
            _ => return None,
        };
        self.protocol = Some(protocol);
        if is_first && matches!(protocol, Protocol::Tcp | Protocol::Udp) {
            self.ports = Some([word(rest, 0)?, word(rest, 2)?]);
        }
        Some(())
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|it| u16::from_be_bytes(*it))
}

fn ipv4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    bytes.get(at..)?.first_chunk::<4>().map(|it| IpAddr::from(*it))
}

fn ipv6(bytes: &[u8], at: usize) -> Option<IpAddr> {
    bytes.get(at..)?.first_chunk::<16>().map(|it| IpAddr::from(*it))
}
