//! Two workers of one data plane: whoever asks, the answer comes to the one whose queue it lands on.

use super::*;

fn hop(address: impl Into<IpAddr>) -> NextHop {
    NextHop { interface: InterfaceIndex(0), address: address.into() }
}
fn answer() -> Vec<u8> {
    arp_from_peer(REPLY, PEER4, US4)
}
fn pair() -> (Gateway, Gateway) {
    let topology = || topology(Offloads::default());
    (Gateway::of(topology(), 1), Gateway::of(topology(), 2))
}
/// The loop's promise: a notice of a question is read before its answer can arrive.
fn tell(from: &mut Gateway, to: &mut Gateway) {
    to.told(from.notices());
}

#[test]
fn asked_by_one_answered_at_the_other() {
    let (mut a, mut b) = pair();
    a.transport_sends(US4, PEER4, b"hello");
    recv!(a, arp_question(PEER4));
    tell(&mut a, &mut b);
    assert_eq!(b.state(PEER4), "INCOMPLETE");
    recv!(b);
    send!(b, answer());
    recv!(b);
    assert_eq!(b.state(PEER4), "REACHABLE");
    tell(&mut b, &mut a);
    recv!(a, to_peer4(&TO_PEER4.packet(UDP, b"hello")));
    assert_eq!(a.state(PEER4), "REACHABLE");
    assert_eq!(a.notices(), [], "news is not told back");
}

/// Answers to ARP are not spread: they all land on one worker, which may still believe what another has begun to doubt.
#[test]
fn an_answer_that_is_no_news_here_is_news_for_who_asked() {
    let (mut a, mut b) = pair();
    let learned = |reachable| vec![Notice::Learned { hop: hop(PEER4), mac: PEER_MAC, reachable }];
    b.told(learned(true));
    // One that probes...
    a.told(learned(false));
    a.transport_sends(US4, PEER4, b"");
    a.wait(Duration::from_secs(5));
    assert_eq!((a.said().len(), a.state(PEER4), b.state(PEER4)), (2, "PROBE", "REACHABLE"));
    tell(&mut a, &mut b);
    send!(b, answer());
    tell(&mut b, &mut a);
    assert_eq!(a.state(PEER4), "REACHABLE");
    // ...and one that has forgotten.
    let (mut a, _) = pair();
    a.transport_sends(US4, PEER4, b"");
    tell(&mut a, &mut b);
    send!(b, answer());
    tell(&mut b, &mut a);
    assert_eq!((a.state(PEER4), a.net.held()), ("REACHABLE", 0));
    // Unasked, it stays with who heard it.
    send!(b, answer());
    assert_eq!(b.notices(), []);
}

#[test]
fn without_the_notice_the_answer_is_not_believed() {
    let (mut a, mut b) = pair();
    a.transport_sends(US4, PEER4, b"hello");
    send!(b, answer() => ArpNotForUs);
    assert_eq!((b.notices(), b.net.neighbor_count()), (vec![], 0));
}

#[test]
fn a_worker_that_only_listens_asks_nothing_and_forgets_in_silence() {
    let (mut a, mut b) = pair();
    a.transport_sends(US4, PEER4, b"");
    tell(&mut a, &mut b);
    b.wait(Duration::from_secs(10));
    recv!(b);
    assert_eq!((b.state(PEER4), b.count(Counter::NeighborFailures)), ("-", 0));
}

#[test]
fn a_worker_listens_for_the_answer_to_the_last_question_too() {
    let (mut a, mut b) = pair();
    a.transport_sends(US4, PEER4, b"slow");
    for _ in 0..2 {
        tell(&mut a, &mut b);
        a.wait(Duration::from_secs(1));
        b.now = a.now;
    }
    // One turn: first notices, then timers.
    tell(&mut a, &mut b);
    b.wait(Duration::from_ms(999));
    send!(b, answer());
    tell(&mut b, &mut a);
    assert_eq!((a.state(PEER4), a.net.held()), ("REACHABLE", 0));
}

#[test]
fn a_worker_that_listens_asks_itself_when_it_has_a_frame() {
    let (mut a, mut b) = pair();
    a.transport_sends(US4, PEER4, b"");
    tell(&mut a, &mut b);
    b.transport_sends(US4, PEER4, b"mine");
    for _ in 0..3 {
        recv!(b, arp_question(PEER4));
        b.wait(Duration::from_secs(1));
    }
    assert_eq!((b.dropped(Drop::NeighborUnreachable), b.count(Counter::NeighborFailures)), (1, 1));
}

#[test]
fn what_one_learns_the_other_knows() {
    let (mut a, mut b) = pair();
    send!(a, arp_from_peer(REQUEST, PEER4, US4));
    assert_eq!(a.notices(), [Notice::Learned { hop: hop(PEER4), mac: PEER_MAC, reachable: false }]);
    b.told(vec![Notice::Learned { hop: hop(PEER4), mac: PEER_MAC, reachable: false }]);
    b.transport_sends(US4, PEER4, b"no question");
    recv!(b, to_peer4(&TO_PEER4.packet(UDP, b"no question")));
    // A move is told too.
    a.wait(Duration::from_secs(2));
    send!(a, arp_from(OTHER_MAC, REQUEST, PEER4, PEER4));
    tell(&mut a, &mut b);
    assert_eq!(b.mac_of(PEER4), Some(OTHER_MAC));
}

#[test]
fn news_that_is_none_changes_no_state() {
    let (mut a, _) = pair();
    let stale = || vec![Notice::Learned { hop: hop(PEER4), mac: PEER_MAC, reachable: false }];
    a.told(stale());
    a.transport_sends(US4, PEER4, b"");
    a.wait(Duration::from_secs(5));
    a.told(stale());
    assert_eq!(a.state(PEER4), "PROBE", "the check goes on");
    send!(a, answer());
    a.told(stale());
    assert_eq!(a.state(PEER4), "REACHABLE");
}

#[test]
fn a_worker_alone_tells_nobody() {
    let mut gw = Gateway::new();
    gw.out = Outbox::new(Pool::heap(64), 1, true);
    gw.rx = 0;
    gw.transport_sends(US4, PEER4, b"");
    assert_eq!(gw.notices(), []);
}

#[test]
fn notices_beyond_the_bound_are_lost_and_counted() {
    let mut gw = Gateway::new();
    send!(gw, from_peer6(&solicitation(PEER6, US6, US6, Some(PEER_MAC))));
    for n in 0..1_100u64 {
        gw.now = gw.now + Duration::from_secs(1);
        let mac = if n % 2 == 0 { OTHER_MAC } else { PEER_MAC };
        send!(gw, from_peer6(&advertisement(PEER6, US6, OVERRIDE, PEER6, Some(mac))));
    }
    assert_eq!((gw.notices().len(), gw.count(Counter::NoticesLost)), (1_024, 1_101 - 1_024));
}
