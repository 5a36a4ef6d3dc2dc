//! Ethernet II with at most one VLAN tag (IEEE 802.3, 802.1Q).

use super::{
    cut_short,
    interface::{Interface, InterfaceIndex, PortIndex, Topology},
};
use crate::{
    drops::Drop,
    port::{Frame, NoRoom},
};
use smoltcp::wire::EthernetAddress;

/// EtherTypes that we know.
pub(super) mod ethertype {
    pub(crate) const IPV4: u16 = 0x0800;
    pub(crate) const ARP: u16 = 0x0806;
    pub(crate) const VLAN: u16 = 0x8100;
    pub(crate) const IPV6: u16 = 0x86dd;
    pub(crate) const SERVICE_VLAN: u16 = 0x88a8;
}

const HEADER_LEN: usize = 14;
const TAG_LEN: usize = 4;

/// What the Ethernet header says about a frame that is for us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// The interface that port and tag name.
    pub interface: InterfaceIndex,
    /// Who sent the frame.
    pub source: EthernetAddress,
    /// Whether it went to a group (or everybody) rather than to us alone.
    pub group: bool,
    /// What follows.
    pub ethertype: u16,
    /// Bytes of header and tag.
    pub header_len: usize,
}

/// Reads a frame's header.
#[inline(always)]
pub(super) fn parse(topology: &Topology, port: PortIndex, frame: &Frame) -> Result<Link, Drop> {
    let bytes = frame.head();
    let header = bytes.first_chunk::<HEADER_LEN>().ok_or_else(|| cut_short(frame, HEADER_LEN, Drop::Runt))?;
    let destination = EthernetAddress([header[0], header[1], header[2], header[3], header[4], header[5]]);
    let source = EthernetAddress([header[6], header[7], header[8], header[9], header[10], header[11]]);
    let (vlan, ethertype, header_len) = match u16::from_be_bytes([header[12], header[13]]) {
        ethertype::SERVICE_VLAN => return Err(Drop::StackedVlan),
        ethertype::VLAN => {
            let end = HEADER_LEN + TAG_LEN;
            let tag = bytes[HEADER_LEN..].first_chunk::<TAG_LEN>().ok_or_else(|| cut_short(frame, end, Drop::Runt))?;
            let inner = u16::from_be_bytes([tag[2], tag[3]]);
            if matches!(inner, ethertype::VLAN | ethertype::SERVICE_VLAN) {
                return Err(Drop::StackedVlan);
            }
            // 802.1Q 6.9: identifier 0 is a priority without a VLAN.
            let id = u16::from_be_bytes([tag[0], tag[1]]) & 0x0fff;
            ((id != 0).then_some(id), inner, HEADER_LEN + TAG_LEN)
        }
        untagged => (None, untagged, HEADER_LEN),
    };
    let interface = topology.find(port, vlan).ok_or(Drop::UnknownVlan)?;
    let ours = topology.interface(interface).mac;
    let group = destination.is_multicast(); // broadcast included
    if !group && destination != ours {
        return Err(Drop::NotOurHardwareAddress);
    }
    if source.is_multicast() || source == ours || source == EthernetAddress([0; 6]) {
        return Err(Drop::HardwareSource);
    }
    Ok(Link { interface, source, group, ethertype, header_len })
}

/// Bytes of the header that frames through this interface get.
pub(super) fn header_len(interface: &Interface) -> u8 {
    (HEADER_LEN + if interface.vlan.is_some() { TAG_LEN } else { 0 }) as u8
}

/// Puts a header, with the interface's tag, before an IP packet or ARP message.
#[inline(always)]
pub(super) fn emit(
    frame: &mut Frame,
    interface: &Interface,
    destination: EthernetAddress,
    ethertype: u16,
) -> Result<(), NoRoom> {
    let tag = if interface.vlan.is_some() { TAG_LEN } else { 0 };
    let bytes = frame.prepend(HEADER_LEN + tag)?;
    bytes[..6].copy_from_slice(destination.as_bytes());
    bytes[6..12].copy_from_slice(interface.mac.as_bytes());
    if let Some(vlan) = interface.vlan {
        bytes[12..14].copy_from_slice(&ethertype::VLAN.to_be_bytes());
        bytes[14..16].copy_from_slice(&vlan.to_be_bytes());
    }
    bytes[12 + tag..14 + tag].copy_from_slice(&ethertype.to_be_bytes());
    Ok(())
}
