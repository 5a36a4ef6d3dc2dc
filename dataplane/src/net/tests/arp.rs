//! RFC 826 and RFC 5227.

use super::*;

/// The answer to the peer's question, byte by byte.
#[rustfmt::skip]
const ANSWER: [u8; 42] = [
    2, 0, 0, 0, 0, 2,  2, 0, 0, 0, 0, 0x10,  8, 6,
    0, 1,  8, 0,  6,  4,  0, 2,
    2, 0, 0, 0, 0, 0x10,  10, 77, 0, 10,
    2, 0, 0, 0, 0, 2,  10, 77, 0, 2,
];

#[test]
fn a_question_about_us_is_answered_and_remembered() {
    let mut gw = Gateway::new();
    send!(gw, arp_from_peer(REQUEST, PEER4, US4));
    recv!(gw, ANSWER.to_vec());
    assert_eq!((gw.state(PEER4), gw.mac_of(PEER4)), ("STALE", Some(PEER_MAC)));
}

#[test]
fn padding_is_not_sent_back() {
    let mut gw = Gateway::new();
    let mut padded = arp_from_peer(REQUEST, PEER4, US4);
    padded.resize(60, 0xee);
    send!(gw, padded);
    recv!(gw, ANSWER.to_vec());
}

#[test]
fn a_probe_is_answered_and_teaches_nothing() {
    let mut gw = Gateway::new();
    send!(gw, arp_from_peer(REQUEST, Ipv4Addr::UNSPECIFIED, US4));
    recv!(gw, ethernet(PEER_MAC, OUR_MAC, ARP, &arp(REPLY, (OUR_MAC, US4), (PEER_MAC, Ipv4Addr::UNSPECIFIED))));
    assert_eq!(gw.net.neighbor_count(), 0);
}

#[test]
fn a_sender_that_is_not_on_the_link_is_answered_and_not_remembered() {
    let mut gw = Gateway::new();
    let sender = Ipv4Addr::new(192, 0, 2, 1);
    send!(gw, arp_from_peer(REQUEST, sender, US4));
    recv!(gw, ethernet(PEER_MAC, OUR_MAC, ARP, &arp(REPLY, (OUR_MAC, US4), (PEER_MAC, sender))));
    assert_eq!(gw.net.neighbor_count(), 0);
}

#[test]
fn strangers_teach_nothing_unasked() {
    let mut gw = Gateway::new();
    let stranger = Ipv4Addr::new(10, 77, 0, 3);
    for frame in [
        arp_from_peer(REQUEST, PEER4, stranger),
        arp_from_peer(REPLY, PEER4, US4),
        arp_from_peer(REQUEST, PEER4, PEER4), // gratuitous
        arp_from_peer(REPLY, PEER4, PEER4),
    ] {
        send!(gw, frame => ArpNotForUs);
    }
    recv!(gw);
    assert_eq!(gw.net.neighbor_count(), 0);
}

#[test]
fn a_gratuitous_claim_moves_a_neighbour_that_is_known() {
    let mut gw = Gateway::among_friends();
    send!(gw, arp_from(OTHER_MAC, REQUEST, PEER4, PEER4));
    recv!(gw);
    assert_eq!((gw.mac_of(PEER4), gw.count(Counter::NeighborMoves)), (Some(OTHER_MAC), 1));
}

#[test]
fn what_rfc_826_does_not_allow_is_dropped() {
    let sound = arp(REQUEST, (PEER_MAC, PEER4), (NO_MAC, US4));
    let changed = |at: usize, bytes: &[u8]| {
        let mut message = sound.clone();
        message[at..at + bytes.len()].copy_from_slice(bytes);
        message
    };
    let rows: [(&str, Vec<u8>); 12] = [
        ("nothing", vec![]),
        ("27 bytes", sound[..27].to_vec()),
        ("hardware is not Ethernet", changed(0, &[0, 6])),
        ("protocol is not IPv4", changed(2, &[0x86, 0xdd])),
        ("hardware addresses of 8 bytes", changed(4, &[8])),
        ("hardware addresses of 255 bytes", changed(4, &[255])),
        ("protocol addresses of 16 bytes", changed(5, &[16])),
        ("operation 0", changed(6, &[0, 0])),
        ("operation 3 (reverse ARP)", changed(6, &[0, 3])),
        ("the sender's hardware is a group", changed(8, &[0x33, 0x33, 0, 0, 0, 1])),
        ("the sender's hardware is everybody", changed(8, &[0xff; 6])),
        ("the sender's hardware is nobody", changed(8, &[0; 6])),
    ];
    let impossible = [[224, 0, 0, 1], [255; 4], [127, 0, 0, 1], [10, 77, 0, 255]];
    let mut gw = Gateway::new();
    for (name, message) in rows {
        let fate = gw.hear(&ethernet(ALL_MACS, PEER_MAC, ARP, &message));
        assert_eq!(fate, Fate::Dropped(Drop::ArpMalformed), "{name}");
    }
    for sender in impossible {
        let fate = gw.hear(&ethernet(ALL_MACS, PEER_MAC, ARP, &changed(14, &sender)));
        assert_eq!(fate, Fate::Dropped(Drop::MartianSource), "{sender:?} asks");
    }
    let ours = arp(REQUEST, (OUR_MAC, PEER4), (NO_MAC, US4));
    send!(gw, ethernet(ALL_MACS, PEER_MAC, ARP, &ours) => HardwareSource);
    recv!(gw);
    assert_eq!(gw.net.neighbor_count(), 0);
}

#[test]
fn a_claim_of_our_address_is_answered_once_in_ten_seconds() {
    let mut gw = Gateway::new();
    let announcement = ethernet(ALL_MACS, OUR_MAC, ARP, &arp(REQUEST, (OUR_MAC, US4), (NO_MAC, US4)));
    send!(gw, arp_from_peer(REQUEST, US4, PEER4) => AddressConflict);
    recv!(gw, announcement.clone());
    gw.wait(Duration::from_ms(9_999));
    send!(gw, arp_from_peer(REPLY, US4, US4) => AddressConflict);
    recv!(gw);
    gw.wait(Duration::from_ms(1));
    send!(gw, arp_from_peer(REQUEST, US4, US4) => AddressConflict);
    recv!(gw, announcement);
    assert_eq!((gw.count(Counter::AddressConflicts), gw.net.neighbor_count()), (3, 0));
}

#[test]
fn our_addresses_are_announced_twice_two_seconds_apart() {
    let mut gw = Gateway::new();
    gw.net = Net::new(Arc::new(topology(Offloads::default())), true, 1);
    assert_eq!(gw.net.next_deadline(), Instant::ZERO, "at once");
    let arps = |frames: Vec<Vec<u8>>| frames.into_iter().filter(|f| f[12..14] == ARP.to_be_bytes()).collect::<Vec<_>>();
    gw.wait(Duration::ZERO);
    let first = arps(gw.said());
    assert_eq!(hex(&first), hex(&[ethernet(ALL_MACS, OUR_MAC, ARP, &arp(REQUEST, (OUR_MAC, US4), (NO_MAC, US4)))]));
    assert_eq!(gw.net.next_deadline(), gw.now + Duration::from_secs(2));
    gw.wait(Duration::from_secs(2));
    assert_eq!(arps(gw.said()), first);
    assert_eq!(gw.net.next_deadline(), Instant::NEVER);
}
