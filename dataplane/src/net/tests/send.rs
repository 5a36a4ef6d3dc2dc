//! The way out: routes, next hops, bounds.

use super::*;

fn datagram_to(destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    Ipv4 { destination, ..TO_PEER4 }.packet(UDP, payload)
}

#[test]
fn what_is_not_on_the_link_goes_to_the_router() {
    let mut gw = Gateway::new();
    let (far, router) = (Ipv4Addr::new(203, 0, 113, 9), Ipv4Addr::new(10, 77, 0, 1));
    gw.transport_sends(US4, far, b"far");
    recv!(gw, arp_question(router));
    send!(gw, arp_from_peer(REPLY, router, US4));
    recv!(gw, to_peer4(&datagram_to(far, b"far")));

    let (far, router): (Ipv6Addr, Ipv6Addr) = ("2001:db8::9".parse().unwrap(), "fe80::1".parse().unwrap());
    gw.transport_sends(US6, far, b"far");
    recv!(gw, nd_question(router));
    send!(gw, from_peer6(&advertisement(router, us_local(), SOLICITED | OVERRIDE, router, Some(PEER_MAC))));
    recv!(gw, to_peer6(&Ipv6 { destination: far, ..TO_PEER6 }.packet(UDP, b"far")));
}

#[test]
fn another_interfaces_network_is_reached_through_it() {
    let mut gw = Gateway::new();
    let (us, peer) = (Ipv4Addr::new(10, 78, 0, 10), Ipv4Addr::new(10, 78, 0, 2));
    gw.transport_sends(US4, peer, b"across");
    let question = ethernet(ALL_MACS, OUR_MAC, ARP, &arp(REQUEST, (OUR_MAC, us), (NO_MAC, peer)));
    recv!(gw, tagged(0x8100, 7, &question));
}

#[test]
fn link_local_addresses_are_reached_where_they_were_heard() {
    let mut gw = Gateway::new();
    gw.transport_sends(us_local(), PEER_LOCAL, b"near");
    recv!(gw, nd_question(PEER_LOCAL));
}

#[test]
fn what_cannot_go_out_ends_by_name() {
    let mut gw = Gateway::among_friends();
    gw.transport_sends(US6, "2001:db9::1".parse::<Ipv6Addr>().unwrap(), b"");
    gw.transport_sends(US6, PEER4, b"");
    gw.transport_sends(US4, PEER4, &[0; 1481]);
    gw.transport_sends(US6, PEER6, &[0; 1461]);
    let chained = gw.made(b"two buffers", &[3]);
    gw.transport_sends_frame(US4, PEER4, chained);
    recv!(gw);
    let ends = [Drop::NoRoute, Drop::FamilyNotConfigured, Drop::TooLong, Drop::SegmentsUnsupported];
    assert_eq!(ends.map(|drop| gw.dropped(drop)), [1, 1, 2, 1]);
    gw.transport_sends(US4, PEER4, &[0; 1480]);
    gw.transport_sends(US6, PEER6, &[0; 1460]);
    assert_eq!(gw.said().iter().map(Vec::len).collect::<Vec<_>>(), [1514, 1514]);
}

#[test]
fn a_message_without_room_before_it_is_dropped() {
    let mut gw = Gateway::among_friends();
    for (headroom, reason) in [(19, Drop::TooLong), (33, Drop::HeadersSplit)] {
        let mut frame = gw.made(&[0; 8], &[]);
        frame.prepend(HEADROOM - headroom).unwrap();
        gw.transport_sends_frame(US4, PEER4, frame);
        assert_eq!(gw.dropped(reason), 1, "{headroom} bytes");
    }
    recv!(gw);
}

#[test]
fn a_port_that_takes_nothing_holds_so_many_and_no_more() {
    let mut gw = Gateway::among_friends();
    for _ in 0..300 {
        gw.transport_sends(US4, PEER4, b"");
    }
    assert_eq!((gw.out.backlog(), gw.dropped(Drop::TxBacklogFull)), (256, 44));
}

#[test]
fn what_waits_when_the_data_plane_stops_is_counted() {
    let mut gw = Gateway::new();
    gw.transport_sends(US4, PEER4, b"");
    gw.transport_sends(US6, PEER6, b"");
    assert_eq!(gw.net.held(), 2);
    gw.net.stop(&mut gw.out);
    gw.account();
    assert_eq!((gw.net.held(), gw.dropped(Drop::Stopping)), (0, 2));
}
