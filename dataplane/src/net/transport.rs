//! The checks that TCP and UDP share: the header fits, the checksum is right, whoever has computed it. Whoever comes after them finds one
//! length of the message: the packet's, and the frame's end.

use super::{
    checksum::Sum,
    packet::{Packet, protocol},
};
use crate::{
    counters::{Counter, Counters},
    drops::Drop,
    port::{Checksum, Frame},
};

/// Looks at a packet of protocol 6 or 17.
#[inline]
pub(super) fn check(packet: &mut Packet, frame: &mut Frame, counters: &mut Counters) -> Result<(), Drop> {
    let header_len = if packet.protocol == protocol::TCP { 20 } else { 8 };
    if packet.transport_len < header_len {
        return Err(Drop::TransportMalformed);
    }
    let header = frame.head().get(packet.transport_at..packet.transport_at + header_len).ok_or(Drop::HeadersSplit)?;
    let (sound, checksum) = if packet.protocol == protocol::TCP {
        let data_offset = usize::from(header[12] >> 4) * 4;
        (data_offset >= header_len && data_offset <= packet.transport_len, u16::from_be_bytes([header[16], header[17]]))
    } else {
        let (len, checksum) = (u16::from_be_bytes([header[4], header[5]]), u16::from_be_bytes([header[6], header[7]]));
        let len = usize::from(len);
        let sound = len >= header_len && len <= packet.transport_len;
        // rfc768: the datagram ends where its own length says, and its checksum covers no more.
        if sound && len < packet.transport_len {
            packet.transport_len = len;
            frame.truncate(packet.end());
        }
        (sound, checksum)
    };
    if !sound {
        return Err(Drop::TransportMalformed);
    }
    check_sum(packet, frame, checksum, counters)
}

fn check_sum(packet: &Packet, frame: &Frame, checksum: u16, counters: &mut Counters) -> Result<(), Drop> {
    // rfc768: over IPv4 a UDP checksum of zero means that there is none; rfc8200 8.1: over IPv6 there must be one. Devices differ in what they
    // say about it, so they are not asked.
    if packet.protocol == protocol::UDP && checksum == 0 {
        return if packet.source.is_ipv4() { Ok(()) } else { Err(Drop::TransportChecksum) };
    }
    let said = frame.rx_meta().l4_checksum;
    if said == Checksum::Good {
        counters.count(Counter::ChecksumsOffloaded);
        return Ok(());
    }
    // rfc9293 3.1 MUST-3: of every segment, by whomever.
    let pseudo = Sum::pseudo_header(packet.source, packet.destination, packet.protocol, packet.transport_len as u32);
    if pseudo.add_frame(frame, packet.transport_at).is_valid() {
        // The device called it wrong and was wrong itself: a wrong flag must not cost a packet.
        if said == Checksum::Bad {
            counters.count(Counter::ChecksumDisagreements);
        }
        return Ok(());
    }
    // The sum of the pseudo-header alone is what a kernel leaves for its device to finish.
    if said == Checksum::Partial || checksum == pseudo.partial() {
        return Err(Drop::TransportChecksumPartial);
    }
    Err(Drop::TransportChecksum)
}
