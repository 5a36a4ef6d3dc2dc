//! IEEE 802.3 and 802.1Q: what is for us, and the tag on the way in and out.

use super::*;

#[test]
fn a_tagged_question_gets_a_tagged_answer() {
    let mut gw = Gateway::new();
    let (peer, us) = (Ipv4Addr::new(10, 78, 0, 2), Ipv4Addr::new(10, 78, 0, 10));
    let answer = ethernet(PEER_MAC, OUR_MAC, ARP, &arp(REPLY, (OUR_MAC, us), (PEER_MAC, peer)));
    send!(gw, tagged(0x8100, 7, &arp_from_peer(REQUEST, peer, us)));
    recv!(gw, tagged(0x8100, 7, &answer));
    // Priority and drop eligibility on the way in change nothing; the answer has neither.
    send!(gw, tagged(0x8100, 0xf007, &arp_from_peer(REQUEST, peer, us)));
    recv!(gw, tagged(0x8100, 7, &answer));
}

#[test]
fn a_priority_tag_is_no_vlan() {
    let mut gw = Gateway::new();
    send!(gw, tagged(0x8100, 0xe000, &arp_from_peer(REQUEST, PEER4, US4)));
    recv!(gw, ethernet(PEER_MAC, OUR_MAC, ARP, &arp(REPLY, (OUR_MAC, US4), (PEER_MAC, PEER4))));
}

#[test]
fn an_echo_in_a_vlan_stays_there() {
    let mut gw = Gateway::new();
    let (peer, us) = (Ipv4Addr::new(10, 78, 0, 2), Ipv4Addr::new(10, 78, 0, 10));
    send!(gw, tagged(0x8100, 7, &arp_from_peer(REQUEST, peer, us)));
    gw.said();
    let ask = Ipv4 { source: peer, destination: us, ..FROM_PEER4 }.packet(ICMP, &icmp4(8, 0, 1, b"vlan"));
    let answer = Ipv4 { source: us, destination: peer, ..TO_PEER4 }.packet(ICMP, &icmp4(0, 0, 1, b"vlan"));
    send!(gw, tagged(0x8100, 7, &from_peer4(&ask)));
    recv!(gw, tagged(0x8100, 7, &to_peer4(&answer)));
}

#[test]
fn what_is_not_for_us_ends_here() {
    let packet = udp4(b"");
    let whole = from_peer4(&packet);
    let rows: [(&str, Vec<u8>, Drop); 14] = [
        ("13 bytes", whole[..13].to_vec(), Drop::Runt),
        ("a tag cut off", tagged(0x8100, 7, &whole)[..17].to_vec(), Drop::Runt),
        ("another VLAN", tagged(0x8100, 8, &whole), Drop::UnknownVlan),
        ("VLAN 4095", tagged(0x8100, 0xfff, &whole), Drop::UnknownVlan),
        ("two tags", tagged(0x8100, 7, &tagged(0x8100, 7, &whole)), Drop::StackedVlan),
        ("a service tag", tagged(0x88a8, 7, &whole), Drop::StackedVlan),
        ("a service tag inside", tagged(0x8100, 7, &tagged(0x88a8, 7, &whole)), Drop::StackedVlan),
        ("another machine's", ethernet(OTHER_MAC, PEER_MAC, IPV4, &packet), Drop::NotOurHardwareAddress),
        ("from a group", ethernet(OUR_MAC, EthernetAddress([1, 0, 0, 0, 0, 1]), IPV4, &packet), Drop::HardwareSource),
        ("from nobody", ethernet(OUR_MAC, NO_MAC, IPV4, &packet), Drop::HardwareSource),
        ("from ourselves", ethernet(OUR_MAC, OUR_MAC, IPV4, &packet), Drop::HardwareSource),
        ("LLDP", ethernet(OUR_MAC, PEER_MAC, 0x88cc, &packet), Drop::EtherType),
        ("a length, as in 802.3", ethernet(OUR_MAC, PEER_MAC, 46, &packet), Drop::EtherType),
        ("unicast to all", ethernet(ALL_MACS, PEER_MAC, IPV4, &packet), Drop::UnicastInGroupFrame),
    ];
    for (name, frame, reason) in rows {
        let mut gw = Gateway::new();
        assert_eq!(gw.hear(&frame), Fate::Dropped(reason), "{name}");
        recv!(gw);
    }
}

/// A device that cuts frames anywhere is the operator's to find; the counter must not blame the sender.
#[test]
fn headers_in_several_buffers_are_called_so() {
    let options = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &udp(PEER6, US6, b"")].concat();
    for (name, frame, cuts) in [
        ("Ethernet", from_peer4(&udp4(b"")), 1..14),
        ("a tag", tagged(0x8100, 7, &from_peer4(&udp4(b""))), 14..18),
        ("ARP", arp_from_peer(REQUEST, PEER4, US4), 14..42),
        ("IPv4", from_peer4(&udp4(b"")), 14..34),
        ("IPv6", from_peer6(&udp6(b"")), 14..54),
        ("an extension header", from_peer6(&FROM_PEER6.packet(60, &options)), 54..62),
        ("UDP", from_peer4(&udp4(b"")), 34..42),
        ("ICMP", from_peer4(&FROM_PEER4.packet(ICMP, &icmp4(8, 0, 1, b"data"))), 34..42),
        ("ICMPv6", from_peer6(&icmp6(FROM_PEER6, 128, 0, 1, b"data")), 54..62),
        ("a solicitation", from_peer6(&solicitation(PEER6, US6, US6, None)), 54..78),
    ] {
        for cut in cuts {
            let mut gw = Gateway::new();
            assert_eq!(gw.hear_chained(&frame, &[cut]), Fate::Dropped(Drop::HeadersSplit), "{name}, cut at {cut}");
        }
    }
}

#[test]
fn padding_to_the_least_length_is_cut_off() {
    let mut gw = Gateway::new();
    let mut frame = from_peer4(&udp4(b"!"));
    frame.resize(60, 0xee);
    let Fate::Up(packet) = gw.hear(&frame) else { panic!("not handed up") };
    assert_eq!(packet.transport_len, 9);
}
