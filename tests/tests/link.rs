//! The data plane's end of the link: what is served next, who may say so, and what is refused.

use std::{path::PathBuf, sync::Arc, time::Instant};
use weirgate_dataplane::{
    link::message::{Answer, Ask, PROTOCOL, Refusal},
    route::{Match, PathKind, PathMatch, Route, Rule},
    snapshot::{Backend, Delta, Endpoint, Snapshot},
};
use weirgate_tests::{
    exchange::{endpoint, gateway, over, to_backend},
    link::Plane,
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
fn one_at_a_time_may_watch() {
    let plane = Plane::new(&socket("tap"), &over(1), 1);
    let (mut a, mut b) = (plane.peer(), plane.peer());
    let tap = |route: Option<&str>| Ask::Tap {
        filter: weirgate_dataplane::link::message::TapFilter { route: route.map(Into::into), ..Default::default() },
    };
    assert!(matches!(a.asks(tap(Some("nowhere"))), Answer::Refused(_)));
    assert_eq!(a.asks(tap(Some("all"))), Answer::Done);
    assert!(matches!(b.asks(tap(None)), Answer::Refused(_)));
    assert_eq!(a.asks(Ask::Untap), Answer::Done);
    assert_eq!(b.asks(tap(None)), Answer::Done);
    drop(b);
    // Whoever went watches no longer.
    while !matches!(a.asks(tap(None)), Answer::Done) {}
}

/// By hand: `cargo test --release -p weirgate-tests --test link -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
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
