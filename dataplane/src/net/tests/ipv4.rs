//! RFC 791 and the host rules of RFC 1122 section 3.2.1.

use super::*;

/// A datagram whose IPv4 header has a byte changed and its checksum made right again.
fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut packet = udp4(b"data");
    packet[at..at + bytes.len()].copy_from_slice(bytes);
    packet[10..12].fill(0);
    let sum = internet_checksum(&[&packet[..20]]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

#[test]
fn a_packet_for_us_is_handed_up_with_what_its_header_says() {
    let mut gw = Gateway::new();
    let packet = Ipv4 { tos: 0xb9, ..FROM_PEER4 }.packet(UDP, &udp(PEER4, US4, b"data"));
    let wanted = Packet {
        interface: InterfaceIndex(0),
        source: PEER4.into(),
        destination: US4.into(),
        protocol: UDP,
        protocol_at: 9,
        hop_limit: 61,
        traffic_class: 0xb9,
        group: false,
        network_at: 14,
        transport_at: 34,
        transport_len: 12,
    };
    assert_eq!(gw.hear(&from_peer4(&packet)), Fate::Up(wanted));
}

#[test]
fn headers_that_lie_are_dropped() {
    let mut wrong_sum = udp4(b"data");
    wrong_sum[10] ^= 1;
    let fragment = |flags_offset: u16| changed(6, &flags_offset.to_be_bytes());
    let rows: Vec<(&str, Vec<u8>, Drop)> = vec![
        ("nothing", vec![], Drop::Ipv4Malformed),
        ("19 bytes", udp4(b"")[..19].to_vec(), Drop::Ipv4Malformed),
        ("version 5", changed(0, &[0x55]), Drop::Ipv4Malformed),
        ("version 6", changed(0, &[0x65]), Drop::Ipv4Malformed),
        ("a header of 16 bytes", changed(0, &[0x44]), Drop::Ipv4Malformed),
        ("a header longer than the packet", changed(0, &[0x4f]), Drop::Ipv4Malformed),
        ("a length below the header's", changed(2, &[0, 19]), Drop::Ipv4Malformed),
        ("a length beyond the frame", changed(2, &[0, 33]), Drop::Ipv4Malformed),
        ("a checksum off by one bit", wrong_sum, Drop::Ipv4Checksum),
        ("the first fragment", fragment(0x2000), Drop::Ipv4Fragment),
        ("a later fragment", fragment(0x2001), Drop::Ipv4Fragment),
        ("the last fragment", fragment(0x0001), Drop::Ipv4Fragment),
        ("a fragment beyond 64 KiB", fragment(0x1fff), Drop::Ipv4Fragment),
        ("somebody else's", changed(16, &[10, 77, 0, 11]), Drop::NotForUs),
        ("from loopback", changed(12, &[127, 0, 0, 1]), Drop::MartianSource),
        ("from this network", changed(12, &[0, 0, 0, 0]), Drop::MartianSource),
        ("from a group", changed(12, &[224, 0, 0, 5]), Drop::MartianSource),
        ("from class E", changed(12, &[240, 0, 0, 1]), Drop::MartianSource),
        ("from everybody", changed(12, &[255; 4]), Drop::MartianSource),
        ("from everybody here", changed(12, &[10, 77, 0, 255]), Drop::MartianSource),
        ("from ourselves (LAND)", changed(12, &US4.octets()), Drop::MartianSource),
        ("from our other interface", changed(12, &[10, 78, 0, 10]), Drop::MartianSource),
        ("to everybody", changed(16, &[255; 4]), Drop::GroupIgnored),
        ("to everybody here", changed(16, &[10, 77, 0, 255]), Drop::GroupIgnored),
        ("to a group", changed(16, &[224, 0, 0, 1]), Drop::GroupIgnored),
    ];
    for (name, packet, reason) in rows {
        let mut gw = Gateway::among_friends();
        assert_eq!(gw.hear(&from_peer4(&packet)), Fate::Dropped(reason), "{name}");
        recv!(gw);
    }
}

#[test]
fn dont_fragment_and_the_reserved_flag_are_no_fragments() {
    let mut gw = Gateway::new();
    for flags in [0x4000u16, 0x8000, 0xc000] {
        assert!(matches!(gw.hear(&from_peer4(&changed(6, &flags.to_be_bytes()))), Fate::Up(_)), "{flags:04x}");
    }
}

#[test]
fn any_address_of_ours_will_do() {
    let mut gw = Gateway::new();
    let other = Ipv4Addr::new(10, 78, 0, 10);
    let packet = Ipv4 { destination: other, ..FROM_PEER4 }.packet(UDP, &udp(PEER4, other, b""));
    assert!(matches!(gw.hear(&from_peer4(&packet)), Fate::Up(_)));
}

#[test]
fn options_are_skipped_and_source_routes_refused() {
    let rows: [(&str, &'static [u8], Option<Drop>); 13] = [
        ("end of list", &[0, 0, 0, 0], None),
        ("what follows the end is not read", &[0, 131, 3, 4], None),
        ("no operation", &[1, 1, 1, 1], None),
        ("record route", &[7, 7, 4, 0, 0, 0, 0, 0], None),
        ("router alert", &[148, 4, 0, 0], None),
        ("unknown", &[222, 2, 1, 0], None),
        ("40 bytes of it", &[222; 40], Some(Drop::Ipv4Options)), // length 222
        ("length 0", &[7, 0, 0, 0], Some(Drop::Ipv4Options)),
        ("length 1", &[7, 1, 0, 0], Some(Drop::Ipv4Options)),
        ("beyond the end", &[7, 5, 4, 0], Some(Drop::Ipv4Options)),
        ("no length", &[1, 1, 1, 7], Some(Drop::Ipv4Options)),
        ("loose source route", &[131, 3, 4, 0], Some(Drop::Ipv4SourceRoute)),
        ("strict source route, hidden behind no operation", &[1, 137, 3, 4], Some(Drop::Ipv4SourceRoute)),
    ];
    for (name, options, reason) in rows {
        let mut gw = Gateway::new();
        let packet = Ipv4 { options, ..FROM_PEER4 }.packet(UDP, &udp(PEER4, US4, b"data"));
        match (gw.hear(&from_peer4(&packet)), reason) {
            (Fate::Up(packet), None) => assert_eq!(packet.transport_at, 34 + options.len(), "{name}"),
            (fate, reason) => assert_eq!(Some(fate), reason.map(Fate::Dropped), "{name}"),
        }
    }
}

#[test]
fn a_device_that_found_the_checksum_right_is_believed_and_one_that_found_it_wrong_is_not() {
    let mut wrong = udp4(b"data");
    wrong[10] ^= 0xff;
    for (packet, said, reason) in [
        (&wrong, Checksum::Good, None),
        (&wrong, Checksum::Unknown, Some(Drop::Ipv4Checksum)),
        (&wrong, Checksum::Bad, Some(Drop::Ipv4Checksum)),
        (&udp4(b"data"), Checksum::Bad, None),
    ] {
        let mut gw = Gateway::new();
        match gw.hear_with(&from_peer4(packet), said, Checksum::Unknown) {
            Fate::Up(_) => assert_eq!(reason, None, "{said:?}"),
            fate => assert_eq!(Some(fate), reason.map(Fate::Dropped), "{said:?}"),
        }
        assert_eq!(gw.count(Counter::ChecksumsOffloaded), u64::from(said == Checksum::Good));
    }
}
