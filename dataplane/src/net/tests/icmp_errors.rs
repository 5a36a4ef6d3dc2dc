//! ICMP errors: those that we send, and those about us.

use super::*;

// Sent.

/// What the worker does with a datagram that nobody listens for.
fn refuse_port(gw: &mut Gateway, frame: &[u8]) {
    let frame = gw.frame(frame, &[]);
    gw.rx += 1;
    match gw.net.handle(gw.now, PortIndex(0), frame, &mut gw.out) {
        Some(Output::Packet(packet, frame)) => {
            gw.net.refuse(gw.now, &packet, frame, ErrorMessage::PortUnreachable, Drop::UdpNoListener, &mut gw.out);
        }
        other => panic!("not handed up: {other:?}"),
    }
    gw.account();
}

#[test]
fn a_port_where_nobody_listens_is_unreachable() {
    let mut gw = Gateway::among_friends();
    refuse_port(&mut gw, &from_peer4(&udp4(b"data")));
    recv!(gw, to_peer4(&TO_PEER4.packet(ICMP, &icmp4(3, 3, 0, &udp4(b"data")))));
    refuse_port(&mut gw, &from_peer6(&udp6(b"data")));
    recv!(gw, to_peer6(&icmp6(TO_PEER6, 1, 4, 0, &udp6(b"data"))));
    assert_eq!((gw.count(Counter::IcmpErrorsSent), gw.dropped(Drop::UdpNoListener)), (2, 2));
}

/// The IPv6 half of this is in `ipv6.rs`: there it is a header that is not known.
#[test]
fn a_protocol_that_nobody_speaks_is_unreachable() {
    let mut gw = Gateway::among_friends();
    for protocol in [0, 2, 47, 58, 132, 255] {
        let packet = FROM_PEER4.packet(protocol, b"data");
        send!(gw, from_peer4(&packet) => ProtocolUnknown);
        recv!(gw, to_peer4(&TO_PEER4.packet(ICMP, &icmp4(3, 2, 0, &packet))));
    }
}

#[test]
fn errors_keep_within_576_and_1280_bytes() {
    let mut gw = Gateway::among_friends();
    let data = [0x5a; 1400];
    refuse_port(&mut gw, &from_peer4(&udp4(&data)));
    recv!(gw, to_peer4(&TO_PEER4.packet(ICMP, &icmp4(3, 3, 0, &udp4(&data)[..548]))));
    refuse_port(&mut gw, &from_peer6(&udp6(&data)));
    recv!(gw, to_peer6(&icmp6(TO_PEER6, 1, 4, 0, &udp6(&data)[..1232])));
}

#[test]
fn the_quote_is_whole_and_without_padding_in_however_many_buffers_it_came() {
    let mut gw = Gateway::among_friends();
    let packet = FROM_PEER4.packet(253, &[0x5a; 101]);
    let mut padded = from_peer4(&packet);
    padded.extend([0xee; 9]);
    for cuts in [&[34][..], &[35, 36, 100], &[60, 135], &[135]] {
        assert_eq!(gw.hear_chained(&padded, cuts), Fate::Dropped(Drop::ProtocolUnknown));
        recv!(gw, to_peer4(&TO_PEER4.packet(ICMP, &icmp4(3, 2, 0, &packet))));
    }
}

#[test]
fn an_error_goes_out_through_the_vlan_that_it_is_about() {
    let mut gw = Gateway::new();
    let (peer, us) = (Ipv4Addr::new(10, 78, 0, 2), Ipv4Addr::new(10, 78, 0, 10));
    send!(gw, tagged(0x8100, 7, &arp_from_peer(REQUEST, peer, us)));
    gw.said();
    let packet = Ipv4 { source: peer, destination: us, ..FROM_PEER4 }.packet(253, b"data");
    send!(gw, tagged(0x8100, 7, &from_peer4(&packet)) => ProtocolUnknown);
    let error = Ipv4 { source: us, destination: peer, ..TO_PEER4 }.packet(ICMP, &icmp4(3, 2, 0, &packet));
    recv!(gw, tagged(0x8100, 7, &to_peer4(&error)));
}

#[test]
fn groups_get_no_errors() {
    let mut gw = Gateway::among_friends();
    let everybody = Ipv4 { destination: Ipv4Addr::BROADCAST, ..FROM_PEER4 }.packet(253, b"data");
    send!(gw, ethernet(ALL_MACS, PEER_MAC, IPV4, &everybody) => ProtocolUnknown);
    let nodes = Ipv6 { destination: NODES, ..FROM_PEER6 };
    send!(gw, ethernet(mac_of_group(NODES), PEER_MAC, IPV6, &nodes.packet(253, b"data")) => ProtocolUnknown);
    let option = |kind| nodes.packet(60, &[253, 0, kind, 4, 0, 0, 0, 0]);
    send!(gw, ethernet(mac_of_group(NODES), PEER_MAC, IPV6, &option(0xc1)) => Ipv6Option);
    // RFC 4443 section 2.4 e would let us answer this one; see `Net::refuse`.
    send!(gw, ethernet(mac_of_group(NODES), PEER_MAC, IPV6, &option(0x81)) => Ipv6Option);
    recv!(gw);
}

#[test]
fn errors_are_limited_to_a_burst_and_a_rate() {
    let mut gw = Gateway::among_friends();
    let frame = from_peer4(&FROM_PEER4.packet(253, b"data"));
    let flood = |gw: &mut Gateway, n| {
        (0..n).for_each(|_| assert_eq!(gw.hear(&frame), Fate::Dropped(Drop::ProtocolUnknown)));
        gw.said().len()
    };
    let burst = flood(&mut gw, 200);
    // Up to two more tokens are spent on each, so that the bucket's fill cannot be read from outside (RFC 1812 section 4.3.2.8).
    assert!((17..=50).contains(&burst), "{burst} at once");
    assert_eq!(gw.count(Counter::IcmpErrorsLimited), 200 - burst as u64);
    let mut second = 0;
    for _ in 0..1_000 {
        gw.wait(Duration::from_ms(1));
        second += flood(&mut gw, 3);
    }
    assert!((333..=1_000).contains(&second), "{second} in a second");
}

#[test]
fn an_empty_pool_costs_the_error_and_nothing_else() {
    let mut gw = Gateway::new();
    gw.out = Outbox::new(Pool::heap(1), 1, true);
    send!(gw, from_peer4(&FROM_PEER4.packet(253, b"data")) => ProtocolUnknown);
    recv!(gw);
    assert_eq!(gw.count(Counter::PoolEmpty), 1);
}

// Received.

/// The beginning of a segment of ours: ports and sequence number.
const SEGMENT: [u8; 8] = [0, 80, 0x0f, 0xa0, 1, 2, 3, 4];

fn about4(kind: u8, code: u8, word: u32, quoted: &[u8]) -> Vec<u8> {
    from_peer4(&FROM_PEER4.packet(ICMP, &icmp4(kind, code, word, quoted)))
}
fn about6(kind: u8, code: u8, word: u32, quoted: &[u8]) -> Vec<u8> {
    from_peer6(&icmp6(FROM_PEER6, kind, code, word, quoted))
}

#[test]
fn errors_about_our_packets_are_handed_up() {
    let ours4 = TO_PEER4.packet(TCP, &SEGMENT);
    let ours6 = TO_PEER6.packet(TCP, &SEGMENT);
    let quote4 = Quote { source: US4.into(), destination: PEER4.into(), protocol: TCP, transport: SEGMENT };
    let quote6 = Quote { source: US6.into(), destination: PEER6.into(), ..quote4 };
    let too_big = |mtu| Cause::TooBig { mtu };
    let unreachable = |code| Cause::Unreachable { code };
    let rows = [
        ("port", about4(3, 3, 0, &ours4), unreachable(3), quote4),
        ("host, forbidden", about4(3, 13, 0, &ours4), unreachable(13), quote4),
        ("too big", about4(3, 4, 1400, &ours4), too_big(1400), quote4),
        ("too big, the unused half is not read", about4(3, 4, 0xffff_0578, &ours4), too_big(1400), quote4),
        ("too big, an old router", about4(3, 4, 0, &ours4), too_big(0), quote4),
        ("too big, less than any link has", about4(3, 4, 67, &ours4), too_big(68), quote4),
        ("too big, more than we send", about4(3, 4, 0xffff, &ours4), too_big(9000), quote4),
        ("time exceeded", about4(11, 0, 0, &ours4), Cause::TimeExceeded, quote4),
        ("parameter problem", about4(12, 0, 0, &ours4), Cause::ParameterProblem, quote4),
        ("port, v6", about6(1, 4, 0, &ours6), unreachable(4), quote6),
        ("too big, v6", about6(2, 0, 1400, &ours6), too_big(1400), quote6),
        ("too big, v6, the least", about6(2, 0, 1280, &ours6), too_big(1280), quote6),
        ("too big, v6, more than we send", about6(2, 0, u32::MAX, &ours6), too_big(9000), quote6),
        ("time exceeded, v6", about6(3, 0, 0, &ours6), Cause::TimeExceeded, quote6),
        ("parameter problem, v6", about6(4, 1, 6, &ours6), Cause::ParameterProblem, quote6),
    ];
    for (name, frame, cause, quote) in rows {
        let mut gw = Gateway::among_friends();
        assert_eq!(gw.hear(&frame), Fate::Error(IcmpError { cause, quote }), "{name}");
        assert_eq!(gw.count(Counter::IcmpErrorsReceived), 1);
        recv!(gw);
    }
}

#[test]
fn a_quote_may_have_options_and_more() {
    let mut gw = Gateway::new();
    let options = Ipv4 { options: &[7, 7, 4, 0, 0, 0, 0, 0], ..TO_PEER4 };
    let fate = gw.hear(&about4(3, 3, 0, &options.packet(TCP, &[&SEGMENT[..], &[9; 500]].concat())));
    let Fate::Error(error) = fate else { panic!("{fate:?}") };
    assert_eq!(error.quote.transport, SEGMENT);
}

#[test]
fn errors_about_what_we_cannot_have_sent_are_dropped() {
    let ours4 = TO_PEER4.packet(TCP, &SEGMENT);
    let ours6 = TO_PEER6.packet(TCP, &SEGMENT);
    let changed = |packet: &[u8], at: usize, byte: u8| {
        let mut packet = packet.to_vec();
        packet[at] = byte;
        packet
    };
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("no quote", about4(3, 3, 0, &[])),
        ("half a header", about4(3, 3, 0, &ours4[..19])),
        ("7 bytes of transport", about4(3, 3, 0, &ours4[..27])),
        ("from another source", about4(3, 3, 0, &Ipv4 { source: PEER4, ..TO_PEER4 }.packet(TCP, &SEGMENT))),
        ("a later fragment", about4(3, 3, 0, &Ipv4 { fragment: 0x2001, ..TO_PEER4 }.packet(TCP, &SEGMENT))),
        ("version 6", about4(3, 3, 0, &changed(&ours4, 0, 0x65))),
        ("a header of 16 bytes", about4(3, 3, 0, &changed(&ours4, 0, 0x44))),
        ("a header beyond the quote", about4(3, 3, 0, &changed(&ours4, 0, 0x4f))),
        ("no quote, v6", about6(1, 4, 0, &[])),
        ("half a header, v6", about6(1, 4, 0, &ours6[..39])),
        ("7 bytes of transport, v6", about6(1, 4, 0, &ours6[..47])),
        ("from another source, v6", about6(1, 4, 0, &Ipv6 { source: PEER6, ..TO_PEER6 }.packet(TCP, &SEGMENT))),
        ("version 4, v6", about6(1, 4, 0, &changed(&ours6, 0, 0x40))),
    ];
    for (name, frame) in rows {
        let mut gw = Gateway::among_friends();
        assert_eq!(gw.hear(&frame), Fate::Dropped(Drop::IcmpErrorQuote), "{name}");
        recv!(gw);
    }
    // rfc8201 4: every link carries 1,280 bytes, so nobody can have refused them.
    for mtu in [0, 68, 1_279] {
        let mut gw = Gateway::new();
        send!(gw, about6(2, 0, mtu, &ours6) => IcmpErrorQuote);
    }
    let mut gw = Gateway::new();
    let everybody = Ipv4 { destination: Ipv4Addr::BROADCAST, ..FROM_PEER4 }.packet(ICMP, &icmp4(3, 3, 0, &ours4));
    send!(gw, ethernet(ALL_MACS, PEER_MAC, IPV4, &everybody) => IcmpErrorQuote);
}
