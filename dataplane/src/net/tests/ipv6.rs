//! RFC 8200: the fixed header, and chains of extension headers.

use super::*;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const NONE: u8 = 59;
const DESTINATION: u8 = 60;

/// An extension header around these bytes: next header and length stand before them.
fn extension(next: u8, body: &[u8]) -> Vec<u8> {
    assert_eq!(body.len() % 8, 6);
    [&[next, (body.len() / 8) as u8], body].concat()
}

/// Six bytes of padding.
fn padding(next: u8) -> Vec<u8> {
    extension(next, &[1, 4, 0, 0, 0, 0])
}

/// So many bytes of padding, in as few options as can be.
fn padding_of(len: usize) -> Vec<u8> {
    let mut options = vec![];
    while options.len() < len {
        let data = (len - options.len() - 2).min(126);
        options.extend([1, data as u8]);
        options.resize(options.len() + data, 0);
    }
    options
}

/// One option of four data bytes.
fn option(next: u8, kind: u8) -> Vec<u8> {
    extension(next, &[kind, 4, 0, 0, 0, 0])
}

/// The peer's packet with these headers before a UDP datagram.
fn chain(first: u8, headers: &[Vec<u8>]) -> Vec<u8> {
    FROM_PEER6.packet(first, &[headers.concat(), udp(PEER6, US6, b"data")].concat())
}

#[test]
fn a_packet_for_us_is_handed_up_with_what_its_header_says() {
    let mut gw = Gateway::new();
    let mut packet = udp6(b"data");
    packet[..2].copy_from_slice(&[0x6b, 0x9f]); // traffic class b9, and the flow label's first bits
    let wanted = Packet {
        interface: InterfaceIndex(0),
        source: PEER6.into(),
        destination: US6.into(),
        protocol: UDP,
        protocol_at: 6,
        hop_limit: 61,
        traffic_class: 0xb9,
        group: false,
        network_at: 14,
        transport_at: 54,
        transport_len: 12,
    };
    assert_eq!(gw.hear(&from_peer6(&packet)), Fate::Up(wanted));
}

#[test]
fn headers_that_lie_are_dropped() {
    let from = |source: &str| {
        let source: Ipv6Addr = source.parse().unwrap();
        Ipv6 { source, ..FROM_PEER6 }.packet(UDP, &udp(source, US6, b""))
    };
    let to = |destination: &str| {
        let destination: Ipv6Addr = destination.parse().unwrap();
        Ipv6 { destination, ..FROM_PEER6 }.packet(UDP, &udp(PEER6, destination, b""))
    };
    let mut version = udp6(b"");
    version[0] = 0x40;
    let mut longer = udp6(b"");
    longer[5] += 1;
    let rows: Vec<(&str, Vec<u8>, Drop)> = vec![
        ("nothing", vec![], Drop::Ipv6Malformed),
        ("39 bytes", udp6(b"")[..39].to_vec(), Drop::Ipv6Malformed),
        ("version 4", version, Drop::Ipv6Malformed),
        ("a length beyond the frame", longer, Drop::Ipv6Malformed),
        ("somebody else's", to("fd77::11"), Drop::NotForUs),
        ("another link's link-local", to("fe80::11"), Drop::NotForUs),
        ("to all nodes", to("ff02::1"), Drop::GroupIgnored),
        ("to all routers", to("ff02::2"), Drop::GroupIgnored),
        ("to our solicited-node group", to("ff02::1:ff00:10"), Drop::GroupIgnored),
        ("from nobody", from("::"), Drop::MartianSource),
        ("from loopback", from("::1"), Drop::MartianSource),
        ("from a group", from("ff02::1"), Drop::MartianSource),
        ("from IPv4", from("::ffff:10.77.0.2"), Drop::MartianSource),
        ("from ourselves (LAND)", from("fd77::10"), Drop::MartianSource),
        ("from our link-local self", from("fe80::ff:fe00:10"), Drop::MartianSource),
        ("from our other interface", from("fd78::10"), Drop::MartianSource),
    ];
    for (name, packet, reason) in rows {
        let mut gw = Gateway::among_friends();
        assert_eq!(gw.hear(&from_peer6(&packet)), Fate::Dropped(reason), "{name}");
        recv!(gw);
    }
    let mut gw = Gateway::new();
    send!(gw, ethernet(mac_of_group(NODES), PEER_MAC, IPV6, &udp6(b"")) => UnicastInGroupFrame);
}

#[test]
fn chains_are_walked_to_the_transport() {
    let atomic = |next| vec![next, 0xff, 0, 0, 1, 2, 3, 4];
    let rows: [(&str, Vec<u8>, usize, usize); 7] = [
        ("hop-by-hop", chain(HOP_BY_HOP, &[padding(UDP)]), 8, 8),
        ("destination", chain(DESTINATION, &[extension(UDP, &[0; 14])]), 16, 16),
        ("256 bytes", chain(DESTINATION, &[extension(UDP, &padding_of(254))]), 256, 256),
        ("routing, no segments left", chain(ROUTING, &[extension(UDP, &[0, 0, 0, 0, 0, 0])]), 8, 8),
        (
            "routing of an unknown type, no segments left",
            chain(ROUTING, &[extension(UDP, &[253, 0, 0, 0, 0, 0])]),
            8,
            8,
        ),
        ("a fragment that is the whole packet", chain(FRAGMENT, &[atomic(UDP)]), 8, 8),
        (
            "all of them",
            chain(
                HOP_BY_HOP,
                &[padding(DESTINATION), padding(ROUTING), extension(FRAGMENT, &[0, 0, 0, 0, 0, 0]), atomic(UDP)],
            ),
            32,
            8,
        ),
    ];
    for (name, packet, extensions, last) in rows {
        let mut gw = Gateway::new();
        let Fate::Up(up) = gw.hear(&from_peer6(&packet)) else { panic!("{name}: not handed up") };
        let at = (up.transport_at, up.transport_len, up.protocol, up.protocol_at);
        assert_eq!(at, (54 + extensions, 12, UDP, 40 + extensions - last), "{name}");
    }
}

#[test]
fn chains_that_do_not_hold_are_dropped_in_silence() {
    let mut beyond = chain(DESTINATION, &[padding(UDP)]);
    beyond[41] = 3;
    let fragment = |flags_offset: u16| {
        let [high, low] = flags_offset.to_be_bytes();
        chain(FRAGMENT, &[vec![UDP, 0, high, low, 0, 0, 0, 1]])
    };
    let rows: Vec<(&str, Vec<u8>, Drop)> = vec![
        ("nothing follows", chain(NONE, &[]), Drop::Ipv6NoNextHeader),
        ("nothing follows the options", chain(DESTINATION, &[padding(NONE)]), Drop::Ipv6NoNextHeader),
        ("a header beyond the packet", beyond, Drop::Ipv6Extension),
        ("no room for a header", FROM_PEER6.packet(DESTINATION, &[]), Drop::Ipv6Extension),
        ("one byte of a header", FROM_PEER6.packet(DESTINATION, &[UDP]), Drop::Ipv6Extension),
        ("half a header", FROM_PEER6.packet(DESTINATION, &[UDP, 0, 1, 2]), Drop::Ipv6Extension),
        ("a jumbogram", FROM_PEER6.packet(HOP_BY_HOP, &[]), Drop::Ipv6Extension),
        (
            "an option beyond its header",
            chain(DESTINATION, &[extension(UDP, &[1, 5, 0, 0, 0, 0])]),
            Drop::Ipv6Extension,
        ),
        ("an option without length", chain(DESTINATION, &[extension(UDP, &[1, 3, 0, 0, 0, 1])]), Drop::Ipv6Extension),
        ("the first fragment", fragment(0x0001), Drop::Ipv6Fragment),
        ("a later fragment", fragment(0x0009), Drop::Ipv6Fragment),
        ("the last fragment", fragment(0x0008), Drop::Ipv6Fragment),
        (
            "five headers",
            chain(
                DESTINATION,
                &[padding(DESTINATION), padding(DESTINATION), padding(DESTINATION), padding(DESTINATION), padding(UDP)],
            ),
            Drop::Ipv6ExtensionLimit,
        ),
        ("264 bytes in one header", chain(DESTINATION, &[extension(UDP, &padding_of(262))]), Drop::Ipv6ExtensionLimit),
        (
            "264 bytes in two",
            chain(DESTINATION, &[padding(DESTINATION), extension(UDP, &padding_of(254))]),
            Drop::Ipv6ExtensionLimit,
        ),
        ("nine options", chain(DESTINATION, &[extension(UDP, &[1, 0].repeat(11))]), Drop::Ipv6ExtensionLimit),
        ("an option that discards", chain(DESTINATION, &[option(UDP, 0x40)]), Drop::Ipv6Option),
    ];
    for (name, packet, reason) in rows {
        let mut gw = Gateway::among_friends();
        assert_eq!(gw.hear(&from_peer6(&packet)), Fate::Dropped(reason), "{name}");
        recv!(gw);
    }
}

#[test]
fn the_last_fragments_reserved_bits_do_not_make_a_fragment() {
    let mut gw = Gateway::new();
    let packet = chain(FRAGMENT, &[vec![UDP, 0xff, 0, 0x06, 0, 0, 0, 1]]);
    assert!(matches!(gw.hear(&from_peer6(&packet)), Fate::Up(_)));
}

/// What an unknown option asks for is in its two highest bits (RFC 8200 section 4.2), whatever header it stands in.
#[test]
fn unknown_options_are_skipped_discarded_or_answered() {
    for header in [HOP_BY_HOP, DESTINATION] {
        for (kind, answered) in [(0x1e, None), (0x5e, Some(false)), (0x9e, Some(true)), (0xde, Some(true))] {
            let mut gw = Gateway::among_friends();
            let packet = chain(header, &[extension(UDP, &[1, 2, 0, 0, 0, 0, 0, 0, kind, 4, 0, 0, 0, 0])]);
            let fate = gw.hear(&from_peer6(&packet));
            match answered {
                None => assert!(matches!(fate, Fate::Up(_)), "{kind:02x}"),
                Some(_) => assert_eq!(fate, Fate::Dropped(Drop::Ipv6Option), "{kind:02x}"),
            }
            if answered == Some(true) {
                // It points at the option's type, after the fixed header, two bytes and two kinds of padding.
                recv!(gw, to_peer6(&icmp6(TO_PEER6, 4, 2, 40 + 2 + 4 + 4, &packet)));
            } else {
                recv!(gw);
            }
        }
    }
}

/// RFC 4443 section 2.4 e, also where the headers before the error are what we object to.
#[test]
fn errors_get_no_errors_whatever_stands_before_them() {
    let routing = extension(ICMPV6, &[0, 1, 0, 0, 0, 0]);
    for (first, headers) in [
        (DESTINATION, vec![option(ICMPV6, 0x9e)]),
        (HOP_BY_HOP, vec![option(DESTINATION, 0xde), padding(ICMPV6)]),
        (ROUTING, vec![routing.clone()]),
        (DESTINATION, vec![padding(HOP_BY_HOP), padding(FRAGMENT), vec![ICMPV6, 0, 0, 0, 0, 0, 0, 1]]),
    ] {
        let mut gw = Gateway::among_friends();
        let packet = |kind| {
            let message = icmp6_message(FROM_PEER6, kind, 0, 0, &TO_PEER6.packet(UDP, &[0; 8]));
            FROM_PEER6.packet(first, &[headers.concat(), message].concat())
        };
        for error in [1, 2, 3, 4, 100, 127, 137] {
            assert!(matches!(gw.hear(&from_peer6(&packet(error))), Fate::Dropped(_)));
            recv!(gw);
        }
        assert!(matches!(gw.hear(&from_peer6(&packet(128))), Fate::Dropped(_)));
        assert_eq!(gw.said().len(), 1, "an echo request gets one");
    }
    // Where the chain cannot be seen to its end, silence is the safe answer.
    let mut gw = Gateway::among_friends();
    let long = [routing, padding(DESTINATION).repeat(3), padding(DESTINATION).repeat(3)].concat();
    send!(gw, from_peer6(&FROM_PEER6.packet(ROUTING, &[&[DESTINATION], &long[1..]].concat())) => Ipv6Routing);
    recv!(gw);
}

#[test]
fn what_cannot_be_followed_is_answered_with_the_place() {
    let code_at = |code, at, packet: &[u8]| to_peer6(&icmp6(TO_PEER6, 4, code, at, packet));
    let rows: [(&str, Vec<u8>, Drop, u8, u32); 5] = [
        ("segments left", chain(ROUTING, &[extension(UDP, &[0, 1, 0, 0, 0, 0])]), Drop::Ipv6Routing, 0, 42),
        (
            "segments left, later",
            chain(DESTINATION, &[padding(ROUTING), extension(UDP, &[253, 9, 0, 0, 0, 0])]),
            Drop::Ipv6Routing,
            0,
            50,
        ),
        (
            "hop-by-hop options that come second",
            chain(DESTINATION, &[padding(HOP_BY_HOP), padding(UDP)]),
            Drop::Ipv6Extension,
            1,
            40,
        ),
        ("an unknown protocol", FROM_PEER6.packet(253, b"data"), Drop::ProtocolUnknown, 1, 6),
        (
            "an unknown protocol behind options",
            FROM_PEER6.packet(DESTINATION, &padding(132)),
            Drop::ProtocolUnknown,
            1,
            40,
        ),
    ];
    for (name, packet, reason, code, at) in rows {
        let mut gw = Gateway::among_friends();
        assert_eq!(gw.hear(&from_peer6(&packet)), Fate::Dropped(reason), "{name}");
        assert_eq!(hex(&gw.said()), hex(&[code_at(code, at, &packet)]), "{name}");
    }
}
