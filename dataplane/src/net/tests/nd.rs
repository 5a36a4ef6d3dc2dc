//! RFC 4861: solicitations and advertisements.

use super::*;

/// The answer to the peer's question, byte by byte: hop limit 255, flags solicited and override, our hardware address.
#[rustfmt::skip]
const ANSWER: [u8; 86] = [
    2, 0, 0, 0, 0, 2,  2, 0, 0, 0, 0, 0x10,  0x86, 0xdd,
    0x60, 0, 0, 0,  0, 32,  58,  255,
    0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
    136, 0,  0x1b, 0x0a,  0x60, 0, 0, 0,
    0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    2, 1,  2, 0, 0, 0, 0, 0x10,
];

fn to_our_group(packet: &[u8]) -> Vec<u8> {
    ethernet(mac_of_group(OUR_GROUP), PEER_MAC, IPV6, packet)
}

#[test]
fn a_question_about_us_is_answered_and_remembered() {
    let mut gw = Gateway::new();
    send!(gw, to_our_group(&solicitation(PEER6, OUR_GROUP, US6, Some(PEER_MAC))));
    recv!(gw, ANSWER.to_vec());
    assert_eq!((gw.state(PEER6), gw.mac_of(PEER6)), ("STALE", Some(PEER_MAC)));
}

#[test]
fn a_question_to_us_alone_may_leave_its_hardware_address_out() {
    let mut gw = Gateway::new();
    send!(gw, from_peer6(&solicitation(PEER6, US6, US6, None)));
    recv!(gw, ANSWER.to_vec());
    assert_eq!(gw.net.neighbor_count(), 0);
}

#[test]
fn who_looks_for_its_own_address_is_answered_before_all() {
    let mut gw = Gateway::new();
    send!(gw, to_our_group(&solicitation(Ipv6Addr::UNSPECIFIED, OUR_GROUP, US6, None)));
    let answer = advertisement(US6, NODES, OVERRIDE, US6, Some(OUR_MAC));
    recv!(gw, ethernet(mac_of_group(NODES), OUR_MAC, IPV6, &answer));
    assert_eq!(gw.net.neighbor_count(), 0);
}

#[test]
fn a_sender_that_is_not_on_the_link_is_answered_and_not_remembered() {
    let mut gw = Gateway::new();
    let stranger: Ipv6Addr = "2001:db8::5".parse().unwrap();
    send!(gw, from_peer6(&solicitation(stranger, US6, US6, Some(PEER_MAC))));
    recv!(gw, to_peer6(&advertisement(US6, stranger, SOLICITED | OVERRIDE, US6, Some(OUR_MAC))));
    assert_eq!(gw.net.neighbor_count(), 0);
}

#[test]
fn what_is_not_about_us_teaches_nothing() {
    let mut gw = Gateway::new();
    let other: Ipv6Addr = "fd77::3".parse().unwrap();
    send!(gw, from_peer6(&solicitation(PEER6, US6, other, Some(PEER_MAC))) => NdNotForUs);
    send!(gw, from_peer6(&advertisement(PEER6, US6, SOLICITED | OVERRIDE, PEER6, Some(PEER_MAC))) => NdNotForUs);
    let to_all = advertisement(PEER6, NODES, OVERRIDE, PEER6, Some(PEER_MAC));
    send!(gw, ethernet(mac_of_group(NODES), PEER_MAC, IPV6, &to_all) => NdNotForUs);
    recv!(gw);
    assert_eq!(gw.net.neighbor_count(), 0);
}

#[test]
fn an_unsolicited_advertisement_moves_a_neighbour_that_is_known() {
    let mut gw = Gateway::among_friends();
    let to_all = advertisement(PEER6, NODES, OVERRIDE, PEER6, Some(OTHER_MAC));
    send!(gw, ethernet(mac_of_group(NODES), OTHER_MAC, IPV6, &to_all));
    assert_eq!((gw.mac_of(PEER6), gw.state(PEER6)), (Some(OTHER_MAC), "STALE"));
}

#[test]
fn routers_and_redirects_are_not_listened_to() {
    let mut gw = Gateway::new();
    let ip = Ipv6 { source: PEER_LOCAL, destination: us_local(), hop_limit: 255 };
    for kind in [133, 134, 137] {
        send!(gw, from_peer6(&icmp6(ip, kind, 0, 0, &[0; 32])) => NdIgnored);
    }
    recv!(gw);
}

#[test]
fn a_claim_of_our_address_is_answered_once_in_ten_seconds() {
    let mut gw = Gateway::new();
    let claim =
        ethernet(mac_of_group(NODES), PEER_MAC, IPV6, &advertisement(PEER6, NODES, OVERRIDE, US6, Some(PEER_MAC)));
    let defence =
        ethernet(mac_of_group(NODES), OUR_MAC, IPV6, &advertisement(US6, NODES, OVERRIDE, US6, Some(OUR_MAC)));
    send!(gw, claim => AddressConflict);
    recv!(gw, defence.clone());
    gw.wait(Duration::from_ms(9_999));
    send!(gw, claim => AddressConflict);
    recv!(gw);
    gw.wait(Duration::from_ms(1));
    send!(gw, claim => AddressConflict);
    recv!(gw, defence);
}

/// RFC 4861 sections 7.1.1 and 7.1.2, line by line.
#[test]
fn what_the_checks_of_rfc_4861_refuse_is_dropped() {
    let ip = Ipv6 { source: PEER6, destination: US6, hop_limit: 255 };
    let nobody = Ipv6 { source: Ipv6Addr::UNSPECIFIED, destination: OUR_GROUP, ..ip };
    let option = |kind, mac| [US6.octets().to_vec(), link_option(kind, mac)].concat();
    let with = |tail: &[u8]| [&US6.octets()[..], tail].concat();
    let peer = PEER6.octets();
    let to_all = Ipv6 { destination: NODES, ..ip };
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("forwarded: hop limit 254", icmp6(Ipv6 { hop_limit: 254, ..ip }, 135, 0, 0, &US6.octets())),
        ("code 1", icmp6(ip, 135, 1, 0, &US6.octets())),
        ("23 bytes", icmp6(ip, 135, 0, 0, &US6.octets()[..15])),
        ("an option of length 0", icmp6(ip, 135, 0, 0, &with(&[1, 0, 2, 0, 0, 0, 0, 2]))),
        ("an unknown option of length 0", icmp6(ip, 135, 0, 0, &with(&[200, 0, 0, 0, 0, 0, 0, 0]))),
        ("an option that is longer than the rest", icmp6(ip, 135, 0, 0, &with(&[1, 2, 2, 0, 0, 0, 0, 2]))),
        ("half an option", icmp6(ip, 135, 0, 0, &with(&[1, 1, 2, 0]))),
        ("one byte of an option", icmp6(ip, 135, 0, 0, &with(&[1]))),
        ("the target is a group", icmp6(ip, 135, 0, 0, &NODES.octets())),
        ("the hardware address is a group", icmp6(ip, 135, 0, 0, &option(1, mac_of_group(NODES)))),
        ("the hardware address is zero", icmp6(ip, 135, 0, 0, &option(1, NO_MAC))),
        ("nobody names a hardware address", icmp6(nobody, 135, 0, 0, &option(1, PEER_MAC))),
        ("nobody asks in the group of all", icmp6(Ipv6 { destination: NODES, ..nobody }, 135, 0, 0, &US6.octets())),
        ("advertisement, hop limit 254", icmp6(Ipv6 { hop_limit: 254, ..ip }, 136, 0, OVERRIDE, &peer)),
        ("advertisement, code 1", icmp6(ip, 136, 1, OVERRIDE, &peer)),
        ("advertisement, 23 bytes", icmp6(ip, 136, 0, OVERRIDE, &peer[..15])),
        ("advertisement of a group", icmp6(ip, 136, 0, OVERRIDE, &NODES.octets())),
        ("advertisement, solicited by all", icmp6(to_all, 136, 0, SOLICITED | OVERRIDE, &peer)),
    ];
    for (name, packet) in rows {
        let mut gw = Gateway::among_friends();
        let group = Ipv6Addr::from(*packet[24..].first_chunk::<16>().unwrap());
        let to = if group.is_multicast() { mac_of_group(group) } else { OUR_MAC };
        let fate = gw.hear(&ethernet(to, PEER_MAC, IPV6, &packet));
        assert_eq!(fate, Fate::Dropped(Drop::NdMalformed), "{name}");
        recv!(gw);
        assert_eq!((gw.mac_of(PEER6), gw.state(PEER6)), (Some(PEER_MAC), "STALE"), "{name}");
    }
}

/// As in ARP: whoever names our hardware address as its own would have us write to ourselves.
#[test]
fn nobody_else_has_our_hardware_address() {
    let mut gw = Gateway::among_friends();
    send!(gw, from_peer6(&solicitation(PEER6, US6, US6, Some(OUR_MAC))) => HardwareSource);
    send!(gw, from_peer6(&advertisement(PEER6, US6, SOLICITED | OVERRIDE, PEER6, Some(OUR_MAC))) => HardwareSource);
    recv!(gw);
    assert_eq!(gw.mac_of(PEER6), Some(PEER_MAC));
}

#[test]
fn unknown_options_are_skipped() {
    let mut gw = Gateway::new();
    let nonce_first = [US6.octets().to_vec(), vec![14, 1, 1, 2, 3, 4, 5, 6], link_option(1, PEER_MAC)].concat();
    let ip = Ipv6 { source: PEER6, destination: US6, hop_limit: 255 };
    send!(gw, from_peer6(&icmp6(ip, 135, 0, 0, &nonce_first)));
    recv!(gw, ANSWER.to_vec());
    assert_eq!(gw.mac_of(PEER6), Some(PEER_MAC));
}

#[test]
fn our_addresses_are_announced_twice_two_seconds_apart() {
    let mut gw = Gateway::new();
    gw.net = Net::new(Arc::new(topology(Offloads::default())), true, 1);
    let to_all = |address| {
        let packet = advertisement(address, NODES, OVERRIDE, address, Some(OUR_MAC));
        ethernet(mac_of_group(NODES), OUR_MAC, IPV6, &packet)
    };
    let untagged_nd = |frames: Vec<Vec<u8>>| {
        let wanted = |f: &Vec<u8>| f[12..14] == IPV6.to_be_bytes() && f[54] == 136;
        frames.into_iter().filter(wanted).collect::<Vec<_>>()
    };
    for after in [Duration::ZERO, Duration::from_secs(2)] {
        gw.wait(after);
        assert_eq!(hex(&untagged_nd(gw.said())), hex(&[to_all(US6), to_all(us_local())]));
    }
    gw.wait(Duration::from_secs(100));
    recv!(gw);
}
