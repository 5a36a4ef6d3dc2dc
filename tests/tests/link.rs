//! The data plane's end of the link: what is served next, who may say so, and what is refused.

use std::{path::PathBuf, sync::Arc, time::Instant};
use weirgate_dataplane::{
    limits::{CAPTURES_MAX, TAPS_MAX},
    link::{
        capture::{CaptureFilter, CapturedFrame, Way},
        message::{Answer, Ask, Event, PROTOCOL, Refusal, TapFilter},
    },
    route::{Match, PathKind, PathMatch, Route, Rule},
    snapshot::{Backend, Delta, Endpoint, Snapshot},
};
use weirgate_tests::{
    exchange::{endpoint, gateway, over, to_backend},
    link::{ASKS, Plane},
};

fn socket(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("weirgate-link-{name}-{}", std::process::id()))
}

fn revision(n: u64, change: impl FnOnce(&mut Snapshot)) -> Snapshot {
    let mut snapshot = Snapshot { revision: n, ..over(2) };
    change(&mut snapshot);
    snapshot
}

#[test]
fn snapshots_and_deltas_are_served_by_every_worker() {
    let plane = Plane::new(&socket("serve"), &over(2), 3);
    let mut peer = plane.peer();
    let second = revision(2, |it| it.backends[0].endpoints[0].weight = 5);
    let answer = peer.asks(Ask::Replace { snapshot: Box::new(second.clone()) });
    assert!(matches!(answer, Answer::Applied { revision: 2, .. }), "{answer:?}");
    let third = revision(3, |it| it.backends[0].endpoints.truncate(1));
    let delta = Delta::between(&second, &third);
    let answer = peer.asks(Ask::Change { delta: Box::new(delta) });
    assert!(matches!(answer, Answer::Applied { revision: 3, .. }), "{answer:?}");
    let Answer::Snapshot { snapshot } = peer.asks(Ask::Snapshot) else { panic!("a snapshot") };
    assert_eq!(*snapshot, third);
    let Answer::Endpoints { endpoints } = peer.asks(Ask::Endpoints) else { panic!("endpoints") };
    assert_eq!(endpoints.len(), 1);
    assert_eq!((endpoints[0].address, endpoints[0].healthy), (endpoint(0), true));
    assert_eq!(peer.asks(Ask::Drain { drains: true }), Answer::Done);
    assert!(matches!(peer.asks(Ask::Meters), Answer::Meters { unmetered: 0, .. }));
    assert!(matches!(peer.asks(Ask::Connections { limit: 10 }), Answer::Connections { total: 0, .. }));
}

#[test]
fn two_writers_do_not_undo_each_other() {
    let first = over(2);
    let plane = Plane::new(&socket("two"), &first, 1);
    let (mut a, mut b) = (plane.peer(), plane.peer());
    let by = |n: u64, weight: u32| {
        let next = revision(n, |it| it.backends[0].endpoints[0].weight = weight);
        Ask::Change { delta: Box::new(Delta::between(&first, &next)) }
    };
    assert!(matches!(a.asks(by(1, 5)), Answer::Applied { revision: 1, .. }));
    assert_eq!(b.asks(by(2, 7)), Answer::Refused(Refusal::Revision { serves: 1 }));
    let Answer::Snapshot { snapshot } = b.asks(Ask::Snapshot) else { panic!("a snapshot") };
    assert_eq!((snapshot.revision, snapshot.backends[0].endpoints[0].weight), (1, 5));
}

#[test]
fn what_is_unsound_changes_nothing() {
    let first = over(2);
    let plane = Plane::new(&socket("unsound"), &first, 1);
    let mut peer = plane.peer();
    for wrong in [
        revision(1, |it| it.backends.clear()),
        revision(1, |it| it.http[0].port = 0),
        revision(1, |it| it.format = 9),
        revision(1, |it| Arc::make_mut(&mut it.http[0].rules.routes[0]).rules.clear()),
    ] {
        let answer = peer.asks(Ask::Replace { snapshot: Box::new(wrong) });
        assert!(matches!(answer, Answer::Refused(Refusal::Unsound { .. })), "{answer:?}");
    }
    let restart = revision(1, |it| it.dataplane.max_connections = 100);
    assert_eq!(peer.asks(Ask::Replace { snapshot: Box::new(restart) }), Answer::Refused(Refusal::Restart));
    let Answer::Snapshot { snapshot } = peer.asks(Ask::Snapshot) else { panic!("a snapshot") };
    assert_eq!(*snapshot, first);
}

#[test]
fn strangers_and_nonsense_are_told_so_and_end() {
    let plane = Plane::new(&socket("nonsense"), &over(1), 1);
    let said = |bytes: &[u8]| {
        let mut peer = plane.stranger();
        peer.writes(bytes);
        let answer = peer.answer().map(|(_, answer)| answer);
        assert_eq!(peer.answer(), None, "and that is the end");
        answer
    };
    assert_eq!(said(b"\x19\0\0\0{\"id\":1,\"ask\":\"snapshot\"}"), Some(Answer::Refused(Refusal::Stranger)));
    for nonsense in [&b"\xff\xff\xff\xff"[..], b"\x02\0\0\0{}", b"\x01\0\0\0\xff", b"GET / HTTP/1.1\r\n\r\n"] {
        assert!(matches!(said(nonsense), Some(Answer::Refused(Refusal::Unreadable { .. }))), "{nonsense:?}");
    }
    let mut peer = plane.stranger();
    let hello = Ask::Hello { protocol: PROTOCOL + 1, client: String::new() };
    assert_eq!(peer.asks(hello), Answer::Refused(Refusal::Protocol { speaks: PROTOCOL }));
    assert_eq!(peer.answer(), None);
    // Others are served as ever.
    assert!(matches!(plane.peer().asks(Ask::Snapshot), Answer::Snapshot { .. }));
}

#[test]
fn several_may_watch_and_one_more_is_told_so() {
    let plane = Plane::new(&socket("tap"), &over(1), 2);
    let tap =
        |route: Option<&str>| Ask::Tap { filter: TapFilter { route: route.map(Into::into), ..TapFilter::default() } };
    let mut peers: Vec<_> = (0..=TAPS_MAX).map(|_| plane.peer()).collect();
    let nowhere = Answer::Refused(Refusal::Unsound { reason: "there is no route \"nowhere\"".into() });
    assert_eq!(peers[0].asks(tap(Some("nowhere"))), nowhere);
    let long = TapFilter { path: Some("/".repeat(300)), ..TapFilter::default() };
    assert!(matches!(peers[0].asks(Ask::Tap { filter: long }), Answer::Refused(Refusal::Unsound { .. })));
    for peer in &mut peers[..TAPS_MAX] {
        assert_eq!(peer.asks(tap(Some("all"))), Answer::Done);
    }
    let full = Answer::Refused(Refusal::TooMany { of: "taps".into(), most: TAPS_MAX as u32 });
    assert_eq!(peers[TAPS_MAX].asks(tap(None)), full);
    // Whoever watches may change what it watches.
    assert_eq!(peers[1].asks(tap(None)), Answer::Done);
    assert_eq!(peers[1].asks(Ask::Untap), Answer::Done);
    assert_eq!(peers[TAPS_MAX].asks(tap(None)), Answer::Done);
    drop(peers.remove(0));
    // Whoever went watches no longer.
    while peers[0].asks(tap(None)) == full {}
}

fn frame(event: Event) -> CapturedFrame {
    match event {
        Event::Frame(frame) => *frame,
        other => panic!("{other:?} and no frame"),
    }
}

#[test]
fn frames_are_told_to_those_who_want_them() {
    let plane = Plane::new(&socket("capture"), &over(1), 2);
    let capture = |filter: CaptureFilter| Ask::Capture { filter: Box::new(filter) };
    let (mut a, mut b) = (plane.peer(), plane.peer());
    let three = CaptureFilter { direction: Some(Way::In), count: Some(3), ..CaptureFilter::default() };
    assert!(matches!(a.asks(capture(three)), Answer::Capturing { .. }));
    let sent =
        CaptureFilter { direction: Some(Way::Out), host: Some([10, 0, 0, 1].into()), ..CaptureFilter::default() };
    assert!(matches!(b.asks(capture(sent.clone())), Answer::Capturing { .. }));
    for _ in 0..3 {
        let frame = frame(a.event());
        assert_eq!((frame.bytes.as_slice(), frame.len, frame.direction), (&ASKS[..], 42, Way::In));
    }
    assert_eq!(a.event(), Event::CaptureEnd { lost: 0 }, "as many as were asked for");
    let answer = frame(b.event());
    assert_eq!((&answer.bytes[..6], &answer.bytes[12..14], answer.direction), (&ASKS[6..12], &[8, 6][..], Way::Out));
    assert!(matches!(b.asks(capture(sent.clone())), Answer::Refused(Refusal::Unsound { .. })), "one for each peer");
    assert_eq!(b.asks(Ask::EndCapture), Answer::Done);
    b.events.clear();
    // A time is an end too, though nothing passes.
    let nothing = CaptureFilter { port: Some(9), duration_ms: Some(5), ..CaptureFilter::default() };
    assert!(matches!(b.asks(capture(nothing)), Answer::Capturing { .. }));
    assert_eq!(b.event(), Event::CaptureEnd { lost: 0 });
    // Several at a time, and no more.
    let mut peers: Vec<_> = (0..=CAPTURES_MAX).map(|_| plane.peer()).collect();
    for peer in &mut peers[..CAPTURES_MAX] {
        assert!(matches!(peer.asks(capture(sent.clone())), Answer::Capturing { .. }));
    }
    let full = Answer::Refused(Refusal::TooMany { of: "captures".into(), most: CAPTURES_MAX as u32 });
    assert_eq!(peers[CAPTURES_MAX].asks(capture(sent.clone())), full);
    let wrong = CaptureFilter { interface: Some("nope".into()), ..CaptureFilter::default() };
    assert!(matches!(peers[CAPTURES_MAX].asks(capture(wrong)), Answer::Refused(Refusal::Unsound { .. })));
    drop(peers.remove(0));
    while peers[CAPTURES_MAX - 1].asks(capture(sent.clone())) == full {}
}

/// By hand: `cargo test --release -p weirgate-tests --test link -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn a_hundred_thousand_routes_and_ten_thousand_endpoints() {
    let addresses =
        (0..10_000_u32).map(|n| std::net::SocketAddr::from((std::net::Ipv4Addr::from(0x0a01_0000 + n), 80)));
    let mut many = gateway(vec![to_backend()], Backend::new("b", &addresses.collect::<Vec<_>>()));
    let route = |n: usize, prefix: &str| {
        let path = PathMatch { kind: PathKind::PathPrefix, value: format!("{prefix}/{n}") };
        let rule = Rule { matches: vec![Match { path, ..Match::default() }], ..to_backend() };
        let hostnames = vec![format!("h{}.example.com", n % 10_000)];
        Arc::new(Route { name: format!("r{n}"), hostnames, rules: vec![rule] })
    };
    many.http[0].rules.routes = (0..100_000).map(|n| route(n, "/api")).collect();
    many.revision = 1;
    let plane = Plane::new(&socket("many"), &over(1), 1);
    let mut peer = plane.peer();
    let began = Instant::now();
    let answer = peer.asks(Ask::Replace { snapshot: Box::new(many.clone()) });
    println!("100,000 routes and 10,000 endpoints: {:?} from the question to the answer: {answer:?}", began.elapsed());
    let mut next = many;
    for n in 0..5 {
        let before = next.clone();
        next.revision += 1;
        next.http[0].rules.routes[50_000 + n] = route(50_000 + n, "/other");
        let delta = Delta::between(&before, &next);
        let began = Instant::now();
        let answer = peer.asks(Ask::Change { delta: Box::new(delta) });
        println!("one changed route:    {:?}, {answer:?}", began.elapsed());
    }
    for n in 0..5 {
        let before = next.clone();
        next.revision += 1;
        next.backends[0].endpoints[n] = Endpoint { weight: 7, ..next.backends[0].endpoints[n] };
        next.backends[0].endpoints.pop();
        let delta = Delta::between(&before, &next);
        let began = Instant::now();
        let answer = peer.asks(Ask::Change { delta: Box::new(delta) });
        println!("two changed endpoints: {:?}, {answer:?}", began.elapsed());
    }
}
