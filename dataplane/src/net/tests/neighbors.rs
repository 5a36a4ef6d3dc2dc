//! The states of RFC 4861 section 7.3.2, their times, and the table's bounds. What holds for one family holds for both: the table is one.

use super::*;
use crate::limits::{
    NEIGHBOR_PENDING_MAX, NEIGHBORS_INCOMPLETE_MAX, NEIGHBORS_LEARNED_PER_SECOND, NEIGHBORS_MAX, NEIGHBORS_PENDING_MAX,
};

fn datagram(payload: &[u8]) -> Vec<u8> {
    to_peer4(&TO_PEER4.packet(UDP, payload))
}
fn host(n: usize) -> Ipv6Addr {
    Ipv6Addr::from_bits(PEER6.to_bits() + 0x1_0000 + n as u128)
}
fn answer6(flags: u32, mac: Option<EthernetAddress>) -> Vec<u8> {
    from_peer6(&advertisement(PEER6, US6, flags, PEER6, mac))
}

/// The peer has answered a question of ours.
fn with_reachable_peer() -> Gateway {
    let mut gw = Gateway::new();
    gw.transport_sends(US6, PEER6, b"");
    send!(gw, answer6(SOLICITED | OVERRIDE, Some(PEER_MAC)));
    assert_eq!((gw.said().len(), gw.state(PEER6)), (2, "REACHABLE"));
    gw
}

/// It was spoken to, and has not answered since.
fn with_delayed_peer() -> Gateway {
    let mut gw = with_stale_peer();
    gw.transport_sends(US6, PEER6, b"");
    assert_eq!((gw.said().len(), gw.state(PEER6)), (1, "DELAY"));
    gw
}

fn with_probed_peer() -> Gateway {
    let mut gw = with_delayed_peer();
    gw.wait(Duration::from_secs(5));
    assert_eq!((gw.said().len(), gw.state(PEER6)), (1, "PROBE"));
    gw
}

/// The peer has asked a question of its own.
fn with_stale_peer() -> Gateway {
    let mut gw = Gateway::new();
    send!(gw, from_peer6(&solicitation(PEER6, US6, US6, Some(PEER_MAC))));
    assert_eq!((gw.said().len(), gw.state(PEER6)), (1, "STALE"));
    gw
}

fn with_incomplete_peer() -> Gateway {
    let mut gw = Gateway::new();
    gw.transport_sends(US6, PEER6, b"");
    assert_eq!((gw.said().len(), gw.state(PEER6)), (1, "INCOMPLETE"));
    gw
}

// Asking.

#[test]
fn three_questions_a_second_apart_then_it_is_unreachable() {
    let mut gw = Gateway::new();
    gw.transport_sends(US4, PEER4, b"lost");
    for _ in 0..3 {
        recv!(gw, arp_question(PEER4));
        assert_eq!(gw.net.next_deadline(), gw.now + Duration::from_secs(1));
        gw.wait(Duration::from_ms(999));
        recv!(gw);
        gw.wait(Duration::from_ms(1));
    }
    recv!(gw);
    assert_eq!((gw.dropped(Drop::NeighborUnreachable), gw.state(PEER4)), (1, "-"));
    assert_eq!((gw.count(Counter::NeighborFailures), gw.count(Counter::NeighborSolicitations)), (1, 3));
    assert_eq!(gw.net.next_deadline(), Instant::NEVER);
}

#[test]
fn questions_over_ipv6_go_to_the_solicited_node_group() {
    let mut gw = Gateway::new();
    gw.transport_sends(US6, PEER6, b"");
    recv!(gw, nd_question(PEER6));
    gw.wait(Duration::from_secs(1));
    recv!(gw, nd_question(PEER6));
}

#[test]
fn an_answer_lets_go_what_waited_in_order_and_newcomers_replace_the_oldest() {
    let mut gw = Gateway::new();
    for n in 0..NEIGHBOR_PENDING_MAX as u8 + 2 {
        gw.transport_sends(US4, PEER4, &[n]);
    }
    recv!(gw, arp_question(PEER4));
    assert_eq!((gw.net.held(), gw.dropped(Drop::NeighborPendingFull)), (4, 2));
    send!(gw, arp_from_peer(REPLY, PEER4, US4));
    recv!(gw, datagram(&[2]), datagram(&[3]), datagram(&[4]), datagram(&[5]));
    assert_eq!((gw.net.held(), gw.state(PEER4)), (0, "REACHABLE"));
}

#[test]
fn a_question_of_theirs_is_as_good_as_an_answer_while_we_ask() {
    let mut gw = Gateway::new();
    gw.transport_sends(US4, PEER4, b"wait");
    gw.said();
    send!(gw, arp_from_peer(REQUEST, PEER4, US4));
    let answer = ethernet(PEER_MAC, OUR_MAC, ARP, &arp(REPLY, (OUR_MAC, US4), (PEER_MAC, PEER4)));
    recv!(gw, datagram(b"wait"), answer);
    // It has not answered us, so what we sent is followed by a check.
    assert_eq!(gw.state(PEER4), "DELAY");
}

#[test]
fn an_answer_to_all_is_nobodys_confirmation() {
    let mut gw = Gateway::new();
    gw.transport_sends(US4, PEER4, b"wait");
    gw.said();
    send!(gw, ethernet(ALL_MACS, PEER_MAC, ARP, &arp(REPLY, (PEER_MAC, PEER4), (OUR_MAC, US4))));
    recv!(gw, datagram(b"wait"));
    assert_eq!(gw.state(PEER4), "DELAY");
}

// States.

#[test]
fn an_answer_holds_for_15_to_45_seconds() {
    let mut ends = Vec::new();
    for seed in 0..40 {
        let mut gw = Gateway::of(topology(Offloads::default()), seed);
        gw.transport_sends(US6, PEER6, b"");
        send!(gw, answer6(SOLICITED | OVERRIDE, Some(PEER_MAC)));
        gw.wait(Duration::from_ns(14_999_999_999));
        let left = gw.net.next_deadline().since(gw.now);
        assert!(left <= Duration::from_secs(30), "{left:?}");
        gw.wait(Duration::from_ns(left.as_ns() - 1));
        assert_eq!(gw.state(PEER6), "REACHABLE");
        gw.wait(Duration::from_ns(1));
        assert_eq!(gw.state(PEER6), "STALE");
        ends.push(left);
    }
    ends.sort_unstable();
    ends.dedup();
    assert!(ends.len() > 30, "neighbours do not ask in step");
}

#[test]
fn stale_delay_probe_gone() {
    let mut gw = with_stale_peer();
    // Frames flow in every state, and nobody is asked before one was sent.
    gw.wait(Duration::from_secs(500));
    recv!(gw);
    gw.transport_sends(US6, PEER6, b"1");
    recv!(gw, to_peer6(&TO_PEER6.packet(UDP, b"1")));
    assert_eq!((gw.state(PEER6), gw.net.next_deadline()), ("DELAY", gw.now + Duration::from_secs(5)));
    gw.wait(Duration::from_ms(4_999));
    recv!(gw);
    gw.wait(Duration::from_ms(1));
    // To the old address, not to the group.
    let question = to_peer6(&solicitation(US6, PEER6, PEER6, Some(OUR_MAC)));
    for n in 0..3 {
        recv!(gw, question.clone());
        assert_eq!((gw.state(PEER6), gw.net.next_deadline()), ("PROBE", gw.now + Duration::from_secs(1)), "{n}");
        gw.transport_sends(US6, PEER6, b"2");
        recv!(gw, to_peer6(&TO_PEER6.packet(UDP, b"2")));
        gw.wait(Duration::from_secs(1));
    }
    recv!(gw);
    assert_eq!((gw.state(PEER6), gw.count(Counter::NeighborFailures)), ("-", 1));
}

#[test]
fn a_probe_over_ipv4_goes_to_the_old_address() {
    let mut gw = Gateway::among_friends();
    gw.transport_sends(US4, PEER4, b"");
    gw.said();
    gw.wait(Duration::from_secs(5));
    recv!(gw, ethernet(PEER_MAC, OUR_MAC, ARP, &arp(REQUEST, (OUR_MAC, US4), (PEER_MAC, PEER4))));
    send!(gw, arp_from_peer(REPLY, PEER4, US4));
    assert_eq!(gw.state(PEER4), "REACHABLE");
}

#[test]
fn an_answer_ends_a_probe() {
    for answer in [answer6(SOLICITED, None), answer6(SOLICITED, Some(PEER_MAC))] {
        let mut gw = with_stale_peer();
        gw.transport_sends(US6, PEER6, b"");
        gw.wait(Duration::from_secs(7));
        assert_eq!((gw.said().len(), gw.state(PEER6)), (1 + 3, "PROBE"));
        send!(gw, answer);
        assert_eq!(gw.state(PEER6), "REACHABLE");
        gw.wait(Duration::from_secs(10));
        recv!(gw);
    }
}

#[test]
fn a_neighbour_that_nobody_speaks_to_is_forgotten_after_ten_minutes() {
    let mut gw = with_stale_peer();
    gw.wait(Duration::from_ms(599_999));
    assert_eq!(gw.state(PEER6), "STALE");
    gw.wait(Duration::from_ms(1));
    assert_eq!(gw.state(PEER6), "-");
    recv!(gw);
}

/// RFC 4861 section 7.2.5 and appendix C: what an advertisement with each flags and address does in each state.
#[test]
fn advertisements_change_states_as_the_rfc_says() {
    const NEW: Option<EthernetAddress> = Some(OTHER_MAC);
    const SAME: Option<EthernetAddress> = Some(PEER_MAC);
    const S: u32 = SOLICITED;
    const O: u32 = OVERRIDE;
    type Row = (fn() -> Gateway, u32, Option<EthernetAddress>, &'static str, EthernetAddress);
    let rows: [Row; 44] = [
        (with_incomplete_peer, 0, SAME, "DELAY", PEER_MAC), // STALE, and what waited is sent
        (with_incomplete_peer, O, SAME, "DELAY", PEER_MAC),
        (with_incomplete_peer, S, SAME, "REACHABLE", PEER_MAC),
        (with_incomplete_peer, S | O, SAME, "REACHABLE", PEER_MAC),
        (with_reachable_peer, 0, SAME, "REACHABLE", PEER_MAC),
        (with_reachable_peer, 0, NEW, "STALE", PEER_MAC),
        (with_reachable_peer, 0, None, "REACHABLE", PEER_MAC),
        (with_reachable_peer, O, SAME, "REACHABLE", PEER_MAC),
        (with_reachable_peer, O, NEW, "STALE", OTHER_MAC),
        (with_reachable_peer, S, SAME, "REACHABLE", PEER_MAC),
        (with_reachable_peer, S, NEW, "STALE", PEER_MAC),
        (with_reachable_peer, S, None, "REACHABLE", PEER_MAC),
        (with_reachable_peer, S | O, SAME, "REACHABLE", PEER_MAC),
        (with_reachable_peer, S | O, NEW, "REACHABLE", OTHER_MAC),
        (with_stale_peer, 0, SAME, "STALE", PEER_MAC),
        (with_stale_peer, 0, NEW, "STALE", PEER_MAC),
        (with_stale_peer, 0, None, "STALE", PEER_MAC),
        (with_stale_peer, O, SAME, "STALE", PEER_MAC),
        (with_stale_peer, O, NEW, "STALE", OTHER_MAC),
        (with_stale_peer, S, SAME, "REACHABLE", PEER_MAC),
        (with_stale_peer, S, NEW, "STALE", PEER_MAC),
        (with_stale_peer, S, None, "REACHABLE", PEER_MAC),
        (with_stale_peer, S | O, SAME, "REACHABLE", PEER_MAC),
        (with_stale_peer, S | O, NEW, "REACHABLE", OTHER_MAC),
        (with_delayed_peer, 0, SAME, "DELAY", PEER_MAC),
        (with_delayed_peer, 0, NEW, "DELAY", PEER_MAC),
        (with_delayed_peer, 0, None, "DELAY", PEER_MAC),
        (with_delayed_peer, O, SAME, "DELAY", PEER_MAC),
        (with_delayed_peer, O, NEW, "STALE", OTHER_MAC),
        (with_delayed_peer, S, SAME, "REACHABLE", PEER_MAC),
        (with_delayed_peer, S, NEW, "DELAY", PEER_MAC),
        (with_delayed_peer, S, None, "REACHABLE", PEER_MAC),
        (with_delayed_peer, S | O, SAME, "REACHABLE", PEER_MAC),
        (with_delayed_peer, S | O, NEW, "REACHABLE", OTHER_MAC),
        (with_probed_peer, 0, SAME, "PROBE", PEER_MAC),
        (with_probed_peer, 0, NEW, "PROBE", PEER_MAC),
        (with_probed_peer, 0, None, "PROBE", PEER_MAC),
        (with_probed_peer, O, SAME, "PROBE", PEER_MAC),
        (with_probed_peer, O, NEW, "STALE", OTHER_MAC),
        (with_probed_peer, S, SAME, "REACHABLE", PEER_MAC),
        (with_probed_peer, S, NEW, "PROBE", PEER_MAC),
        (with_probed_peer, S, None, "REACHABLE", PEER_MAC),
        (with_probed_peer, S | O, SAME, "REACHABLE", PEER_MAC),
        (with_probed_peer, S | O, NEW, "REACHABLE", OTHER_MAC),
    ];
    for (row, (start, flags, mac, state, address)) in rows.into_iter().enumerate() {
        let mut gw = start();
        gw.hear(&answer6(flags, mac));
        assert_eq!((gw.state(PEER6), gw.mac_of(PEER6)), (state, Some(address)), "row {row}");
    }
    let mut gw = with_incomplete_peer();
    send!(gw, answer6(SOLICITED | OVERRIDE, None) => NdNotForUs);
    assert_eq!(gw.state(PEER6), "INCOMPLETE", "an answer without an address answers nothing");
}

#[test]
fn a_question_from_another_address_moves_the_neighbour() {
    let mut gw = with_reachable_peer();
    send!(gw, from_peer6(&solicitation(PEER6, US6, US6, Some(PEER_MAC))));
    assert_eq!(gw.state(PEER6), "REACHABLE", "nothing new");
    send!(gw, from_peer6(&solicitation(PEER6, US6, US6, Some(OTHER_MAC))));
    assert_eq!((gw.state(PEER6), gw.mac_of(PEER6)), ("STALE", Some(OTHER_MAC)));
}

#[test]
fn a_neighbour_moves_once_a_second() {
    let mut gw = with_stale_peer();
    let claim = |mac| answer6(OVERRIDE, Some(mac));
    send!(gw, claim(OTHER_MAC));
    send!(gw, claim(PEER_MAC));
    gw.wait(Duration::from_ms(999));
    send!(gw, answer6(SOLICITED | OVERRIDE, Some(PEER_MAC)));
    assert_eq!((gw.mac_of(PEER6), gw.count(Counter::NeighborMoveLimited)), (Some(OTHER_MAC), 2));
    gw.wait(Duration::from_ms(1));
    send!(gw, claim(PEER_MAC));
    assert_eq!((gw.mac_of(PEER6), gw.count(Counter::NeighborMoves)), (Some(PEER_MAC), 2));
}

// Bounds.

#[test]
fn a_place_taken_anew_is_young_again() {
    let mut gw = Gateway::new();
    gw.transport_sends(US6, host(0), b"");
    gw.transport_sends(US6, host(1), b"");
    gw.wait(Duration::from_secs(3));
    // Both are gone, and the next two take their places the other way round.
    for n in 2..2 + NEIGHBORS_INCOMPLETE_MAX + 1 {
        gw.transport_sends(US6, host(n), b"");
        gw.said();
    }
    assert_eq!((gw.state(host(2)), gw.state(host(3))), ("-", "INCOMPLETE"));
}

#[test]
fn the_oldest_question_makes_room_for_one_more() {
    let mut gw = Gateway::new();
    for n in 0..NEIGHBORS_INCOMPLETE_MAX {
        gw.transport_sends(US6, host(n), b"");
        gw.said();
    }
    assert_eq!((gw.net.held(), gw.dropped(Drop::NeighborEvicted)), (512, 0));
    gw.transport_sends(US6, host(9_999), b"");
    assert_eq!(gw.net.neighbor_count(), NEIGHBORS_INCOMPLETE_MAX);
    assert_eq!(gw.dropped(Drop::NeighborEvicted), 1);
    assert_eq!((gw.state(host(0)), gw.state(host(1)), gw.state(host(9_999))), ("-", "INCOMPLETE", "INCOMPLETE"));
    // One that is answered in between is no question any more, however old.
    let target = host(1);
    send!(gw, from_peer6(&advertisement(target, US6, SOLICITED, target, Some(PEER_MAC))));
    gw.transport_sends(US6, host(10_000), b"");
    assert_eq!((gw.state(target), gw.state(host(2))), ("REACHABLE", "INCOMPLETE"));
    gw.transport_sends(US6, host(10_001), b"");
    assert_eq!((gw.state(target), gw.state(host(2))), ("REACHABLE", "-"));
}

/// Strangers' addresses could be as many as their frames: new questions have a rate, those that are asked again do not.
#[test]
fn strangers_make_us_ask_so_many_times_a_second() {
    let mut gw = Gateway::new();
    let asked = |gw: &mut Gateway, range: std::ops::Range<usize>| {
        let before = gw.count(Counter::NeighborSolicitations);
        for n in range {
            gw.transport_sends(US6, host(n), b"");
            gw.said();
        }
        gw.count(Counter::NeighborSolicitations) - before
    };
    assert_eq!(asked(&mut gw, 0..3_000), 1_024, "at once");
    assert_eq!(gw.dropped(Drop::NeighborAskLimited), 3_000 - 1_024);
    gw.wait(Duration::from_ms(100));
    gw.said();
    assert_eq!(asked(&mut gw, 3_000..6_000), 100, "a tenth of a second later");
}

/// Two dead backends that are tried for an hour leave a list of a thousand questions, all about neighbours that are asked for right now.
#[test]
fn asking_for_the_same_again_and_again_leaves_room_for_others() {
    let mut gw = Gateway::new();
    for _ in 0..2 * NEIGHBORS_INCOMPLETE_MAX {
        gw.transport_sends(US6, host(0), b"");
        gw.transport_sends(US6, host(1), b"");
        gw.wait(Duration::from_secs(3));
        gw.said();
    }
    for n in [0, 1, 2] {
        gw.transport_sends(US6, host(n), b"");
        recv!(gw, nd_question(host(n)));
    }
    assert_eq!(gw.net.neighbor_count(), 3);
}

#[test]
fn so_many_frames_wait_and_no_more() {
    let mut gw = Gateway::new();
    let full = NEIGHBORS_PENDING_MAX / NEIGHBOR_PENDING_MAX;
    for n in 0..full {
        for _ in 0..NEIGHBOR_PENDING_MAX {
            gw.transport_sends(US6, host(n), b"");
        }
        gw.said();
    }
    assert_eq!((gw.net.held(), gw.dropped(Drop::NeighborPendingFull)), (NEIGHBORS_PENDING_MAX, 0));
    gw.transport_sends(US6, host(full), b"");
    assert_eq!((gw.net.held(), gw.dropped(Drop::NeighborPendingFull)), (NEIGHBORS_PENDING_MAX, 1));
    recv!(gw, nd_question(host(full))); // the question is asked nevertheless: the next frame may find room
    // A neighbour with a full queue still gets its newest frame.
    gw.transport_sends(US6, host(0), b"newest");
    assert_eq!((gw.net.held(), gw.dropped(Drop::NeighborPendingFull)), (NEIGHBORS_PENDING_MAX, 2));
}

#[test]
fn strangers_are_learned_at_a_bounded_rate_and_answered_at_any() {
    let mut gw = Gateway::new();
    let rate = NEIGHBORS_LEARNED_PER_SECOND as usize;
    let ask = |gw: &mut Gateway, n| {
        send!(gw, from_peer6(&solicitation(host(n), US6, US6, Some(PEER_MAC))));
        assert_eq!(gw.said().len(), 1);
    };
    (0..rate + 10).for_each(|n| ask(&mut gw, n));
    assert_eq!((gw.net.neighbor_count(), gw.count(Counter::NeighborLearnLimited)), (rate, 10));
    gw.wait(Duration::from_secs(1));
    (0..2 * rate + 10).for_each(|n| ask(&mut gw, n));
    assert_eq!(gw.net.neighbor_count(), 2 * rate);
}

/// A table full of neighbours in these states.
fn full_table(reachable: impl Fn(usize) -> bool) -> Gateway {
    let mut gw = Gateway::new();
    for n in 0..NEIGHBORS_MAX {
        let hop = NextHop { interface: InterfaceIndex(0), address: host(n).into() };
        gw.told(vec![Notice::Learned { hop, mac: PEER_MAC, reachable: reachable(n) }]);
    }
    assert_eq!(gw.net.neighbor_count(), NEIGHBORS_MAX);
    gw
}

#[test]
fn a_full_table_gives_up_neighbours_that_nobody_speaks_to() {
    let mut gw = full_table(|n| n % 8 != 0);
    for n in 0..100 {
        gw.transport_sends(US6, host(10_000 + n), b"");
        gw.said();
        assert_eq!(gw.state(host(10_000 + n)), "INCOMPLETE");
    }
    let reachable = gw.net.inspect_neighbors().filter(|(.., state)| *state == "REACHABLE").count();
    assert_eq!((gw.net.neighbor_count(), reachable), (NEIGHBORS_MAX, NEIGHBORS_MAX / 8 * 7));
}

#[test]
fn a_table_full_of_neighbours_in_use_takes_no_stranger() {
    let mut gw = full_table(|_| true);
    gw.transport_sends(US6, host(10_000), b"");
    recv!(gw);
    assert_eq!((gw.dropped(Drop::NeighborPendingFull), gw.state(host(10_000))), (1, "-"));
    send!(gw, from_peer6(&solicitation(PEER6, US6, US6, Some(PEER_MAC))));
    assert_eq!((gw.said().len(), gw.state(PEER6)), (1, "-"), "answered, not learned");
    gw.told(vec![Notice::Asked(NextHop { interface: InterfaceIndex(0), address: PEER6.into() })]);
    assert_eq!(gw.net.neighbor_count(), NEIGHBORS_MAX);
}
