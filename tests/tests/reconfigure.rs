//! Another snapshot while there is traffic: what is new begins, what is gone ends with what was begun on it, and nobody is cut off.

use std::sync::Arc;
use weirgate_dataplane::{
    exchange::{Bookmark, Ended, Planner, Update},
    link::message::Refusal,
    route::{Backend as Share, Route, Rule},
    snapshot::{Backend, Delta, ProxyVersion, Snapshot},
    time::Duration,
};
use weirgate_tests::exchange::{Talk, endpoint, gateway, over, to_backend};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn rule(text: &str) -> Rule {
    serde_json::from_str(text).expect("a rule")
}

fn with_rules(snapshot: &Snapshot, rules: Vec<Rule>) -> Snapshot {
    let mut snapshot = snapshot.clone();
    Arc::make_mut(&mut snapshot.http[0].rules.routes[0]).rules = rules;
    snapshot
}

/// One request and its answer, which the client hears.
fn is_served(talk: &mut Talk) {
    talk.says(GET);
    let conn = talk.endpoint();
    talk.answers(conn, OK);
    let heard = talk.heard(talk.client);
    assert!(heard.starts_with("HTTP/1.1 200 OK|") && heard.ends_with("|ok"), "{heard}");
    assert_eq!(talk.ended(), Ended::Complete);
}

#[test]
fn a_request_finishes_on_the_snapshot_that_it_started_on() {
    let marked = |value: &str| {
        let mut rule = to_backend();
        let modifier = format!(
            r#"{{"type": "ResponseHeaderModifier", "with": {{"set": [{{"name": "x-edition", "value": "{value}"}}]}}}}"#
        );
        rule.filters = vec![serde_json::from_str(&modifier).expect("a filter")];
        vec![rule]
    };
    let first = with_rules(&over(1), marked("1"));
    let mut talk = Talk::new(&first);
    talk.says(GET);
    let conn = talk.endpoint();
    talk.legs.serves(&with_rules(&first, marked("2"))).unwrap();
    assert_eq!(talk.legs.kept().0, 2, "the first one is still used");
    talk.answers(conn, OK);
    assert!(talk.heard(talk.client).contains("|x-edition: 1|"));
    assert_eq!(talk.legs.kept().0, 1);
    talk.says(GET);
    talk.answers(conn, OK);
    assert!(talk.heard(talk.client).contains("|x-edition: 2|"));
    talk.legs.ends_clean();
}

#[test]
fn what_is_the_same_is_not_touched() {
    let snapshot = over(2);
    let mut talk = Talk::new(&snapshot);
    is_served(&mut talk);
    let before = talk.legs.ends().len();
    talk.legs.serves(&Snapshot { revision: 1, ..snapshot.clone() }).unwrap();
    talk.says(GET);
    talk.says("");
    assert_eq!(talk.legs.kept(), (1, 1, 2));
    assert!(talk.legs.ends().len() <= before + 1, "connections are kept");
    talk.legs.ends_clean();
}

#[test]
fn endpoints_come_and_go_under_requests() {
    let of = |endpoints: &[u8]| {
        gateway(vec![to_backend()], Backend::new("b", &endpoints.iter().map(|&n| endpoint(n)).collect::<Vec<_>>()))
    };
    let mut talk = Talk::new(&of(&[0]));
    talk.says(GET);
    let first = talk.endpoint();
    // The one that has the request is gone, and finishes it.
    talk.legs.serves(&of(&[1, 2])).unwrap();
    talk.answers(first, OK);
    assert!(talk.heard(talk.client).ends_with("|ok"));
    assert_eq!(talk.ended(), Ended::Complete);
    assert!(talk.legs.ends().known(first).peer_closed, "its connection is not kept");
    assert_eq!(talk.legs.kept(), (1, 1, 2));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..2 {
        talk.says(GET);
        let conn = talk.endpoint();
        seen.insert(talk.legs.ends().known(conn).local);
        talk.answers(conn, OK);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [Some(endpoint(1)), Some(endpoint(2))]);
    talk.legs.ends_clean();
}

#[test]
fn an_endpoint_that_stays_keeps_its_connections() {
    let of = |endpoints: &[u8]| {
        gateway(vec![to_backend()], Backend::new("b", &endpoints.iter().map(|&n| endpoint(n)).collect::<Vec<_>>()))
    };
    let mut talk = Talk::new(&of(&[0]));
    is_served(&mut talk);
    let before = talk.legs.ends().len();
    for endpoints in [&[0, 1][..], &[1, 0], &[0]] {
        talk.legs.serves(&of(endpoints)).unwrap();
    }
    talk.says(GET);
    assert_eq!(talk.legs.ends().len(), before, "the connection that was there");
    talk.legs.ends_clean();
}

#[test]
fn a_request_that_could_not_be_connected_is_tried_again_where_it_began() {
    let mut talk = Talk::new(&over(1));
    talk.legs.refuses();
    talk.legs.says(talk.client, GET.as_bytes());
    // Its backend is gone before its endpoint has refused.
    while talk.legs.exchanges() == 0 {
        let until = talk.legs.now() + Duration::from_ms(1);
        talk.legs.step(until);
    }
    let teapot = r#"{"filters": [{"type": "DirectResponse", "with": {"statusCode": 418}}]}"#;
    let mut without = with_rules(&over(1), vec![rule(teapot)]);
    without.backends.clear();
    without.tcp.clear();
    talk.legs.serves(&without).unwrap();
    talk.legs.runs();
    assert_eq!(talk.ended(), Ended::ConnectFailed);
    assert!(talk.heard(talk.client).starts_with("HTTP/1.1 503 "));
    talk.says(GET);
    assert!(talk.heard(talk.client).starts_with("HTTP/1.1 418 "));
    assert_eq!(talk.legs.kept(), (1, 0, 0));
    talk.legs.ends_clean();
}

#[test]
fn a_listener_that_is_gone_answers_what_was_asked_and_no_more() {
    let snapshot = over(1);
    let mut gone = snapshot.clone();
    gone.http.clear();
    // One client is idle, one has asked.
    let mut talk = Talk::new(&snapshot);
    let idle = talk.legs.client(80);
    talk.says(GET);
    let conn = talk.endpoint();
    talk.legs.serves(&gone).unwrap();
    talk.legs.runs();
    assert!(talk.legs.ends().known(idle).peer_closed);
    talk.answers(conn, OK);
    let heard = talk.heard(talk.client);
    assert!(heard.contains("|connection: close|") && heard.ends_with("|ok"), "{heard}");
    let late = talk.legs.client(80);
    talk.legs.runs();
    assert!(talk.legs.ends().known(late).ended.is_some(), "nobody listens there");
    // It comes back, somewhere else.
    let mut moved = snapshot.clone();
    moved.http[0].port = 81;
    talk.legs.serves(&moved).unwrap();
    talk.client = talk.legs.client(81);
    talk.says(GET);
    talk.answers(conn, OK);
    talk.legs.ends_clean();
}

#[test]
fn a_client_that_drains_goes_elsewhere_with_its_answer() {
    let mut talk = Talk::new(&over(1));
    talk.says(GET);
    let conn = talk.endpoint();
    talk.legs.drains(true);
    talk.answers(conn, OK);
    assert!(talk.heard(talk.client).contains("|connection: close|"));
    talk.legs.drains(false);
    talk.client = talk.legs.client(80);
    talk.says(GET);
    talk.answers(conn, OK);
    assert!(!talk.heard(talk.client).contains("connection: close"));
    talk.legs.ends_clean();
}

#[test]
fn whoever_is_ill_gets_nothing_until_it_is_well() {
    let mut snapshot = over(2);
    snapshot.backends[0].health_checks = vec![
        serde_json::from_str(r#"{"probe": "tcp", "intervalMs": 1000, "timeoutMs": 500, "healthy": 1, "unhealthy": 1}"#)
            .expect("a health check"),
    ];
    snapshot.backends[0].panic_threshold = 0;
    let mut talk = Talk::new(&snapshot);
    talk.legs.finds("b", endpoint(0), true);
    // The next snapshot knows it too.
    let mut heavier = snapshot.clone();
    heavier.backends[0].endpoints[1].weight = 2;
    for next in [&snapshot, &heavier] {
        talk.legs.serves(next).unwrap();
        for _ in 0..3 {
            let from = talk.legs.ends().len();
            talk.client = talk.legs.client(80);
            talk.says(GET);
            let asked: Vec<_> = talk.legs.ends().accepted(from).collect();
            assert!(asked.iter().all(|conn| talk.legs.ends().known(*conn).local == Some(endpoint(1))), "{asked:?}");
        }
    }
    talk.legs.ends_clean();
}

#[test]
fn what_cannot_be_served_changes_nothing() {
    let snapshot = over(1);
    let mut talk = Talk::new(&snapshot);
    let unsound = |change: &dyn Fn(&mut Snapshot)| {
        let mut snapshot = Snapshot { revision: 9, ..snapshot.clone() };
        change(&mut snapshot);
        snapshot
    };
    let refusals = [
        unsound(&|it| it.backends.clear()),
        unsound(&|it| it.backends[0].endpoints[0].address.set_port(0)),
        unsound(&|it| Arc::make_mut(&mut it.http[0].rules.routes[0]).hostnames = vec!["?".into()]),
        unsound(&|it| it.tcp[0].port = it.http[0].port),
    ];
    for refused in refusals {
        let said = talk.legs.serves(&refused).unwrap_err();
        assert!(matches!(said, Refusal::Unsound { .. }), "{said:?}");
    }
    assert_eq!(talk.legs.serves(&unsound(&|it| it.dataplane.cores = vec![1])), Err(Refusal::Restart));
    assert_eq!(talk.legs.gateway().counters().counter(weirgate_dataplane::counters::Counter::HttpRequests), 0);
    is_served(&mut talk);
    talk.legs.ends_clean();
}

/// Another edition of the listener, whatever it is about.
fn renamed(snapshot: &Snapshot, name: &str) -> Snapshot {
    let mut rules = snapshot.http[0].rules.routes[0].rules.clone();
    rules[0].name = Some(name.into());
    with_rules(snapshot, rules)
}

#[test]
fn tunnels_that_are_over_are_not_moved_to_another_edition() {
    let snapshot = over(1);
    let mut talk = Talk::new(&snapshot);
    talk.says("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
    let conn = talk.endpoint();
    talk.answers(conn, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
    // While it lasts it keeps nothing of what it began with.
    talk.legs.serves(&renamed(&snapshot, "one")).unwrap();
    assert_eq!(talk.legs.kept().0, 1);
    talk.legs.resets(talk.client);
    talk.legs.settles(Duration::from_secs(20));
    for name in ["two", "three"] {
        talk.legs.serves(&renamed(&snapshot, name)).unwrap();
        assert_eq!(talk.legs.kept().0, 1);
    }
    talk.client = talk.legs.client(80);
    is_served_in_the_end(&mut talk);
    talk.legs.ends_clean();
}

#[test]
fn a_tunnel_keeps_nothing_of_its_listener() {
    let snapshot = over(1);
    let mut gone = snapshot.clone();
    gone.http.clear();
    let mut talk = Talk::new(&snapshot);
    talk.says("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
    let conn = talk.endpoint();
    talk.answers(conn, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
    talk.legs.serves(&renamed(&snapshot, "one")).unwrap();
    assert_eq!(talk.legs.kept().0, 1);
    talk.legs.serves(&gone).unwrap();
    talk.legs.serves(&snapshot).unwrap();
    // The retired listener goes with its last client, and has its last edition; the new one has the other.
    assert_eq!(talk.legs.kept().0, 2);
    talk.answers(conn, "still there");
    assert!(talk.heard(talk.client).ends_with("still there"));
    talk.legs.resets(talk.client);
    talk.legs.runs();
    assert_eq!(talk.legs.kept().0, 1);
    talk.legs.ends_clean();
}

#[test]
fn a_thousand_idle_clients_of_a_listener_that_is_gone_are_let_go_in_many_turns() {
    let snapshot = over(1);
    let mut gone = snapshot.clone();
    gone.http.clear();
    let mut talk = Talk::new(&snapshot);
    let mut idle = Vec::new();
    for _ in 0..10 {
        idle.extend((0..100).map(|_| talk.legs.client(80)));
        talk.legs.runs();
    }
    talk.legs.serves(&gone).unwrap();
    let closed = |talk: &mut Talk| idle.iter().filter(|it| talk.legs.ends().known(**it).peer_closed).count();
    let until = talk.legs.now() + Duration::from_ms(60);
    let mut last = 0;
    while talk.legs.step(until) {
        let now = closed(&mut talk);
        assert!(now - last <= 512, "{last} to {now} in one turn");
        last = now;
    }
    assert_eq!(closed(&mut talk), idle.len());
    talk.legs.ends_clean();
}

#[test]
fn many_backends_change_in_many_turns_and_listeners_in_one() {
    let snapshot = over(1);
    let mut next = snapshot.clone();
    for n in 0..9_000 {
        next.backends.push(Backend::new(&format!("b{n}"), &[endpoint(0)]));
    }
    let mut other = next.http[0].clone();
    (other.name, other.port) = ("other".into(), 81);
    next.http.push(other);
    next.http[0].port = 82;
    let mut planner = Planner::default();
    planner.plan(snapshot.clone()).unwrap();
    let pieces = planner.plan(next.clone()).unwrap().pieces();
    let sizes: Vec<_> = pieces.iter().map(Update::len).collect();
    let (listeners, backends) = sizes.split_last().unwrap();
    assert!(sizes.len() <= 32 && backends.iter().all(|n| *n <= 330) && *listeners == 3, "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), 9_003);
    // And all of it works.
    let mut talk = Talk::new(&snapshot);
    talk.legs.serves(&next).unwrap();
    talk.client = talk.legs.client(82);
    is_served(&mut talk);
    talk.legs.settles(Duration::from_secs(10));
    assert_eq!(talk.legs.kept(), (2, 9_001, 9_001));
    talk.legs.ends_clean();
}

#[test]
fn reports_come_in_pages_and_are_whole() {
    let mut snapshot = over(1);
    let address = |n: u16| std::net::SocketAddr::from(([10, 1, (n >> 8) as u8, n as u8], 80));
    let list = |range: std::ops::Range<u16>| range.map(address).collect::<Vec<_>>();
    for (name, range) in [("few", 0..3), ("many", 0..3_000), ("none", 0..0), ("some", 10..1_034), ("last", 5..6)] {
        snapshot.backends.push(Backend::new(name, &list(range)));
    }
    let mut talk = Talk::new(&snapshot);
    let mut told = Vec::new();
    let mut from = Some(Bookmark::default());
    while let Some(page) = from {
        let (some, next) = talk.legs.application().endpoint_states(page);
        assert!(some.len() <= 2 * 1_024, "{} in one page", some.len());
        told.extend(some.into_iter().map(|(backend, state)| (backend, state.address)));
        from = next;
    }
    let configured = snapshot.backends.iter().map(|it| it.endpoints.len()).sum::<usize>();
    let distinct: std::collections::HashSet<_> = told.iter().collect();
    assert_eq!((told.len(), distinct.len()), (configured, configured));
    talk.legs.ends_clean();
}

fn is_served_in_the_end(talk: &mut Talk) {
    let from = talk.legs.ends().len();
    talk.says(GET);
    let conn = talk.legs.ends().accepted(from).last().expect("a connection to an endpoint");
    talk.answers(conn, OK);
    assert!(talk.heard(talk.client).ends_with("|ok"));
}

#[test]
fn a_request_on_a_listener_and_backend_that_are_gone_is_refused() {
    let snapshot = over(1);
    let mut gone = snapshot.clone();
    gone.http.clear();
    gone.tcp.clear();
    gone.backends.clear();
    let mut talk = Talk::new(&snapshot);
    talk.says(GET);
    let conn = talk.endpoint();
    // The answer's head has said that the connection persists.
    talk.answers(conn, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no");
    talk.legs.serves(&gone).unwrap();
    talk.answers(conn, "k");
    assert!(talk.heard(talk.client).ends_with("|ok"));
    talk.says(GET);
    let heard = talk.heard(talk.client);
    assert!(heard.starts_with("HTTP/1.1 503 ") && heard.contains("|connection: close|"), "{heard}");
    talk.legs.ends_clean();
}

#[test]
fn a_proxy_header_is_read_as_it_was_asked_for() {
    let mut snapshot = over(1);
    let proxy = r#"{"accept": "Any", "trusted": ["10.0.0.0/8"]}"#;
    snapshot.http[0].proxy_protocol = serde_json::from_str(proxy).expect("a PROXY protocol");
    let mut talk = Talk::new(&snapshot);
    talk.legs.serves(&over(1)).unwrap();
    talk.says("PROXY TCP4 192.0.2.7 10.0.0.1 9 80\r\n");
    talk.says(GET);
    let conn = talk.endpoint();
    assert!(String::from_utf8_lossy(&talk.legs.ends().known(conn).heard).contains("x-forwarded-for: 192.0.2.7"));
    talk.legs.ends_clean();
}

#[test]
fn an_endpoint_that_is_gone_does_not_rest() {
    let snapshot = over(1);
    let teapot = r#"{"filters": [{"type": "DirectResponse", "with": {"statusCode": 418}}]}"#;
    let mut without = with_rules(&snapshot, vec![rule(teapot)]);
    without.backends.clear();
    without.tcp.clear();
    let mut talk = Talk::new(&snapshot);
    talk.legs.refuses();
    talk.legs.says(talk.client, GET.as_bytes());
    while talk.legs.exchanges() == 0 {
        let until = talk.legs.now() + Duration::from_ms(1);
        talk.legs.step(until);
    }
    talk.legs.serves(&without).unwrap();
    talk.legs.runs();
    let mut other = Backend::new("other", &[endpoint(1)]);
    other.connect_ms = 7;
    talk.legs.serves(&Snapshot { backends: vec![other], ..without.clone() }).unwrap();
    talk.legs.settles(Duration::from_secs(3));
    assert_eq!(talk.legs.kept(), (1, 1, 1));
    // Whoever chooses next looks at who may be chosen again.
    talk.legs.serves(&snapshot).unwrap();
    talk.client = talk.legs.client(80);
    talk.says(GET);
    talk.legs.ends_clean();
}

#[test]
fn a_backend_that_rules_name_does_not_go() {
    let snapshot = over(1);
    let mut talk = Talk::new(&snapshot);
    let mut without = Snapshot { revision: 1, ..snapshot.clone() };
    without.backends.clear();
    without.tcp.clear();
    let mut next = snapshot.clone();
    Delta::between(&snapshot, &without).apply(&mut next).unwrap();
    let said = talk.legs.serves(&next).unwrap_err();
    assert!(said.to_string().contains("there is no backend \"b\""), "{said}");
    is_served(&mut talk);
    talk.legs.ends_clean();
}

/// Many routes, so that changes are layers; two of them matter.
fn many(routes: &[(usize, &str)], backends: &[(&str, u8)]) -> Snapshot {
    let mut snapshot = over(1);
    let to = |name: &str| Rule { backends: vec![Share { backend: name.into(), weight: 1 }], ..Rule::default() };
    let one = |n: usize, name: &str| {
        Arc::new(Route { name: format!("r{n}"), hostnames: vec![format!("h{n}.x")], rules: vec![to(name)] })
    };
    snapshot.http[0].rules.routes = (0..1_200).filter(|n| ![7, 8].contains(n)).map(|n| one(n, "b")).collect();
    for (at, (n, name)) in routes.iter().enumerate() {
        snapshot.http[0].rules.routes.insert(7 + at, one(*n, name));
    }
    snapshot.backends.extend(backends.iter().map(|(name, n)| Backend::new(name, &[endpoint(*n)])));
    snapshot
}

#[test]
fn a_route_that_comes_back_goes_where_it_went() {
    let whole = many(&[(7, "seven"), (8, "eight")], &[("seven", 1), ("eight", 2)]);
    let mut talk = Talk::new(&whole);
    let mut next = whole.clone();
    // Gone, and back in another order; and another backend has come in between.
    for other in [many(&[], &[]), many(&[], &[("new", 0)]), whole.clone()] {
        let delta = Delta::between(&next, &other);
        delta.apply(&mut next).unwrap();
        talk.legs.serves(&next).unwrap();
    }
    for (host, wanted) in [("h7.x", 1), ("h8.x", 2)] {
        talk.says(&GET.replace("host: a", &format!("host: {host}")));
        let conn = talk.endpoint();
        assert_eq!(talk.legs.ends().known(conn).local, Some(endpoint(wanted)), "{host}");
        talk.answers(conn, OK);
        talk.heard(talk.client);
    }
    talk.legs.ends_clean();
}

#[test]
fn connections_of_one_client_are_nobody_elses_when_that_changes() {
    for (before, after) in [(Some(ProxyVersion::V1), None), (None, Some(ProxyVersion::V1))] {
        let of = |proxy| {
            let mut snapshot = over(1);
            snapshot.backends[0].proxy_protocol = proxy;
            snapshot
        };
        let mut talk = Talk::new(&of(before));
        talk.says(GET);
        let first = talk.endpoint();
        if before.is_none() {
            talk.answers(first, OK);
        }
        talk.legs.serves(&of(after)).unwrap();
        if before.is_some() {
            talk.answers(first, OK);
        }
        talk.heard(talk.client);
        talk.says(GET);
        let second = talk.endpoint();
        assert_ne!(first, second);
        let begins = talk.legs.ends().known(second).heard.starts_with(b"PROXY ");
        assert_eq!(begins, after.is_some());
        talk.answers(second, OK);
        talk.legs.ends_clean();
    }
}
