//! Echo, and messages that cannot be.

use super::*;

fn echo4(data: &[u8]) -> Vec<u8> {
    from_peer4(&FROM_PEER4.packet(ICMP, &icmp4(8, 0, 0xbeef_0001, data)))
}
fn echo_reply4(data: &[u8]) -> Vec<u8> {
    to_peer4(&TO_PEER4.packet(ICMP, &icmp4(0, 0, 0xbeef_0001, data)))
}
fn echo6(data: &[u8]) -> Vec<u8> {
    from_peer6(&icmp6(FROM_PEER6, 128, 0, 0xbeef_0001, data))
}
fn echo_reply6(data: &[u8]) -> Vec<u8> {
    to_peer6(&icmp6(TO_PEER6, 129, 0, 0xbeef_0001, data))
}

#[test]
fn an_echo_comes_back_whatever_its_length() {
    for len in [0, 1, 2, 3, 7, 56, 57, 1472] {
        let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let mut gw = Gateway::among_friends();
        send!(gw, echo4(&data));
        recv!(gw, echo_reply4(&data));
        if len <= 1452 {
            send!(gw, echo6(&data));
            recv!(gw, echo_reply6(&data));
        }
    }
}

#[test]
fn an_echo_comes_back_without_options_and_padding() {
    let mut gw = Gateway::among_friends();
    let ip = Ipv4 { options: &[7, 7, 4, 0, 0, 0, 0, 0], ..FROM_PEER4 };
    let mut frame = from_peer4(&ip.packet(ICMP, &icmp4(8, 0, 0xbeef_0001, b"odd")));
    frame.resize(64, 0xee);
    send!(gw, frame);
    recv!(gw, echo_reply4(b"odd"));

    let extensions = [&[ICMPV6, 0, 1, 4, 0, 0, 0, 0][..], &icmp6_message(FROM_PEER6, 128, 0, 0xbeef_0001, b"odd")];
    send!(gw, from_peer6(&FROM_PEER6.packet(60, &extensions.concat())));
    recv!(gw, echo_reply6(b"odd"));
}

#[test]
fn a_code_is_not_sent_back() {
    let mut gw = Gateway::among_friends();
    send!(gw, from_peer4(&FROM_PEER4.packet(ICMP, &icmp4(8, 77, 0xbeef_0001, b"code"))));
    recv!(gw, echo_reply4(b"code"));
}

/// Ones' complement has two zeros, and updating a checksum finds the wrong one where nothing but zeros is left.
#[test]
fn an_echo_of_zeros_comes_back_with_a_checksum_that_holds() {
    let mut gw = Gateway::among_friends();
    send!(gw, from_peer4(&FROM_PEER4.packet(ICMP, &icmp4(8, 0, 0, &[0; 8]))));
    let reply = icmp4(0, 0, 0, &[0; 8]);
    assert_eq!(reply[2..4], [0xff, 0xff]);
    recv!(gw, to_peer4(&TO_PEER4.packet(ICMP, &reply)));
    // A sum of zero that is made of something has the other.
    send!(gw, from_peer4(&FROM_PEER4.packet(ICMP, &icmp4(8, 0, 0x8000_7fff, &[]))));
    recv!(gw, to_peer4(&TO_PEER4.packet(ICMP, &icmp4(0, 0, 0x8000_7fff, &[]))));
    send!(gw, from_peer6(&icmp6(FROM_PEER6, 128, 0, 0, &[0; 8])));
    recv!(gw, to_peer6(&icmp6(TO_PEER6, 129, 0, 0, &[0; 8])));
}

#[test]
fn an_echo_in_several_buffers_comes_back_if_the_port_can_send_them() {
    let data = [0xa5; 301];
    let mut gw = Gateway::with(Offloads { segments: true, ..Offloads::default() });
    gw.meet();
    assert_eq!(gw.hear_chained(&echo4(&data), &[43, 100, 101]), Fate::Served);
    recv!(gw, echo_reply4(&data));
    assert_eq!(gw.hear_chained(&echo6(&data), &[62, 103]), Fate::Served);
    recv!(gw, echo_reply6(&data));

    let mut plain = Gateway::among_friends();
    assert_eq!(plain.hear_chained(&echo4(&data), &[43]), Fate::Dropped(Drop::SegmentsUnsupported));
    recv!(plain);
}

#[test]
fn the_device_fills_in_the_ipv4_checksum_if_it_can() {
    let mut gw = Gateway::with(Offloads { ipv4_checksum: true, ..Offloads::default() });
    gw.meet();
    send!(gw, echo4(b"off"));
    let asked = gw.out.queue(0).iter().next().unwrap().tx_offload();
    assert_eq!((asked.l2_len, asked.l3_len, asked.ip_checksum, asked.l4_checksum), (14, 20, true, None));
    let mut wanted = echo_reply4(b"off");
    wanted[24..26].fill(0);
    recv!(gw, wanted);
}

#[test]
fn a_stranger_is_asked_for_before_it_is_answered() {
    let mut gw = Gateway::new();
    send!(gw, echo4(b"who"));
    recv!(gw, arp_question(PEER4));
    send!(gw, arp_from_peer(REPLY, PEER4, US4));
    recv!(gw, echo_reply4(b"who"));
    send!(gw, echo6(b"who"));
    recv!(gw, nd_question(PEER6));
    send!(gw, from_peer6(&advertisement(PEER6, US6, SOLICITED | OVERRIDE, PEER6, Some(PEER_MAC))));
    recv!(gw, echo_reply6(b"who"));
}

#[test]
fn groups_are_no_amplifiers() {
    let mut gw = Gateway::among_friends();
    for destination in [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 77, 0, 255), Ipv4Addr::new(224, 0, 0, 1)] {
        let packet = Ipv4 { destination, ..FROM_PEER4 }.packet(ICMP, &icmp4(8, 0, 1, b"smurf"));
        send!(gw, ethernet(ALL_MACS, PEER_MAC, IPV4, &packet) => GroupIgnored);
        send!(gw, from_peer4(&packet) => GroupIgnored);
    }
    for destination in [NODES, OUR_GROUP] {
        let packet = icmp6(Ipv6 { destination, ..FROM_PEER6 }, 128, 0, 1, b"smurf");
        send!(gw, ethernet(mac_of_group(destination), PEER_MAC, IPV6, &packet) => GroupIgnored);
    }
    recv!(gw);
}

#[test]
fn messages_that_cannot_be_are_dropped() {
    let v4 = |message: Vec<u8>| from_peer4(&FROM_PEER4.packet(ICMP, &message));
    let v6 = |message: Vec<u8>| from_peer6(&FROM_PEER6.packet(ICMPV6, &message));
    let flipped = |mut frame: Vec<u8>, at: usize| {
        frame[at] ^= 1;
        frame
    };
    let nobody = Ipv6 { source: Ipv6Addr::UNSPECIFIED, destination: NODES, hop_limit: 255 };
    let rows: Vec<(&str, Vec<u8>, Drop)> = vec![
        ("7 bytes", v4(icmp4(8, 0, 0, b"")[..7].to_vec()), Drop::IcmpMalformed),
        ("7 bytes and padding", [v4(vec![8, 0, 0, 0, 0, 0, 0]), vec![0; 20]].concat(), Drop::IcmpMalformed),
        ("7 bytes over IPv6", v6(vec![128, 0, 0, 0, 0, 0, 0]), Drop::IcmpMalformed),
        ("7 bytes over IPv6 and padding", [v6(vec![128, 0, 0, 0, 0, 0, 0]), vec![0; 9]].concat(), Drop::IcmpMalformed),
        ("a wrong checksum", flipped(echo4(b"data"), 36), Drop::IcmpChecksum),
        ("a wrong last byte", flipped(echo4(b"data"), 45), Drop::IcmpChecksum),
        ("a wrong checksum over IPv6", flipped(echo6(b"data"), 56), Drop::IcmpChecksum),
        ("ICMPv6 without its pseudo-header", v6(icmp4(128, 0, 1, b"data")), Drop::IcmpChecksum),
        ("a redirect", v4(icmp4(5, 1, 0x0a4d_0003, &udp4(b"data"))), Drop::IcmpIgnored),
        ("a source quench", v4(icmp4(4, 0, 0, &udp4(b"data"))), Drop::IcmpIgnored),
        ("a timestamp", v4(icmp4(13, 0, 1, &[0; 12])), Drop::IcmpIgnored),
        ("a reply that nobody asked for", v4(icmp4(0, 0, 1, b"data")), Drop::IcmpIgnored),
        ("a node information query", from_peer6(&icmp6(FROM_PEER6, 139, 0, 1, &[0; 24])), Drop::IcmpIgnored),
        ("a listener's report", from_peer6(&icmp6(FROM_PEER6, 143, 0, 0, b"")), Drop::IcmpIgnored),
        (
            "an echo from nobody",
            ethernet(mac_of_group(NODES), PEER_MAC, IPV6, &icmp6(nobody, 128, 0, 1, b"data")),
            Drop::MartianSource,
        ),
    ];
    for (name, frame, reason) in rows {
        let mut gw = Gateway::among_friends();
        assert_eq!(gw.hear(&frame), Fate::Dropped(reason), "{name}");
        recv!(gw);
    }
}
