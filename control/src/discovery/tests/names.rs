//! The DNS.

use super::{
    server::{Reply, Server, a, aaaa, cname, srv},
    *,
};
use crate::config::DnsKind;
use hickory_resolver::proto::{
    op::ResponseCode,
    rr::{RecordType, rdata},
};

const A: RecordType = RecordType::A;
const AAAA: RecordType = RecordType::AAAA;
const NONE: Reply = Reply::Records(Vec::new());

struct World {
    server: Server,
    discovery: Discovery,
    updates: mpsc::Receiver<EndpointUpdate>,
}

async fn world(options: Options) -> World {
    let server = Server::start().await;
    let (sender, updates) = mpsc::channel(8);
    let options = Options { nameservers: vec![server.address], timeout: Duration::from_secs(3), retries: 0, ..options };
    World { server, discovery: Discovery::new(options, sender), updates }
}

fn name(name: &str) -> Source {
    Source::Dns { backend: "cart".into(), name: name.into(), kind: DnsKind::Address, port: Some(80), refresh_ms: None }
}
fn service(name: &str) -> Source {
    Source::Dns { backend: "cart".into(), name: name.into(), kind: DnsKind::Srv, port: None, refresh_ms: None }
}

#[tokio::test]
async fn both_families_are_asked_for_and_a_change_is_told_once() {
    let World { server, mut discovery, mut updates } = world(Options::default()).await;
    let twice =
        vec![("c.example.", 1, a("192.0.2.9")), ("c.example.", 1, a("192.0.2.1")), ("c.example.", 1, a("192.0.2.9"))];
    server.say("c.example.", A, Reply::Records(twice.clone()));
    server.say("c.example.", AAAA, Reply::Records(vec![("c.example.", 1, aaaa("2001:db8::1"))]));
    discovery.set(&[name("c.example")]);
    let wants = list(&[("192.0.2.1:80", 1), ("192.0.2.9:80", 1), ("[2001:db8::1]:80", 1)]);
    assert_eq!(next(&mut updates).await, ("cart".into(), wants));
    // The same in another order is no news, and the TTL of a second is honoured.
    server.say("c.example.", A, Reply::Records(twice.into_iter().rev().collect()));
    until(&discovery, |status| status.answers >= 2).await;
    assert!(updates.try_recv().is_err());
    server.say("c.example.", A, Reply::Records(vec![("c.example.", 300, a("192.0.2.2"))]));
    assert_eq!(next(&mut updates).await.1, list(&[("192.0.2.2:80", 1), ("[2001:db8::1]:80", 1)]));
    // What stays as it is keeps what it knows, and asks nothing anew; what goes is forgotten.
    let asked = server.asked("c.example.", A, false);
    discovery.set(&[name("c.example")]);
    assert_eq!(discovery.known().len(), 1);
    assert!(server.asked("c.example.", A, false) <= asked + 1);
    discovery.set(&[]);
    assert_eq!((discovery.known().len(), discovery.status().len()), (0, 0));
}

#[tokio::test]
async fn a_refresh_caps_the_ttl() {
    let World { server, mut discovery, mut updates } = world(Options::default()).await;
    server.say("c.example.", A, Reply::Records(vec![("c.example.", 86_400, a("192.0.2.1"))]));
    let mut source = name("c.example");
    if let Source::Dns { refresh_ms, .. } = &mut source {
        *refresh_ms = Some(20);
    }
    discovery.set(&[source]);
    next(&mut updates).await;
    until(&discovery, |status| status.answers >= 5).await;
}

#[tokio::test]
async fn a_family_that_fails_stays_as_it_was() {
    let World { server, mut discovery, mut updates } = world(Options::default()).await;
    server.say("c.example.", A, Reply::Records(vec![("c.example.", 0, a("192.0.2.1"))]));
    server.say("c.example.", AAAA, Reply::Records(vec![("c.example.", 0, aaaa("2001:db8::1"))]));
    discovery.set(&[name("c.example")]);
    next(&mut updates).await;
    server.say("c.example.", AAAA, Reply::Code(ResponseCode::ServFail));
    server.say("c.example.", A, Reply::Records(vec![("c.example.", 0, a("192.0.2.2"))]));
    assert_eq!(next(&mut updates).await.1, list(&[("192.0.2.2:80", 1), ("[2001:db8::1]:80", 1)]));
    let status = until(&discovery, |status| status.error.is_some()).await;
    assert!(status.error.unwrap().contains("c.example: AAAA"));
    // None of that kind, says the server: then it is so.
    server.say("c.example.", AAAA, NONE);
    assert_eq!(next(&mut updates).await.1, list(&[("192.0.2.2:80", 1)]));
    until(&discovery, |status| status.error.is_none()).await;
}

#[tokio::test]
async fn what_fails_keeps_the_last_answer_and_says_so() {
    let World { server, mut discovery, mut updates } = world(Options::default()).await;
    let good = || Reply::Records(vec![("c.example.", 0, a("192.0.2.1"))]);
    server.say("c.example.", A, good());
    server.say("c.example.", AAAA, NONE);
    discovery.set(&[name("c.example")]);
    next(&mut updates).await;
    for (reply, wants) in [
        (Reply::Code(ResponseCode::ServFail), "Server Failure"),
        (Reply::Code(ResponseCode::Refused), "Query Refused"),
        (Reply::Code(ResponseCode::NXDomain), "the name does not exist"),
        (NONE, "it has no such records"),
        (Reply::Silence, "timed out"),
        (Reply::Garbage, ""),
        // An answer to something else.
        (Reply::Records(vec![("other.example.", 0, a("203.0.113.9"))]), ""),
    ] {
        server.say("c.example.", A, reply);
        let status = until(&discovery, |status| status.error.is_some()).await;
        assert!(status.error.as_ref().unwrap().contains(wants), "{wants}: {status:?}");
        assert_eq!((status.endpoints, discovery.known().len()), (1, 1), "{status:?}");
        assert!(status.age_ms.is_some() && status.failures > 0);
        server.say("c.example.", A, good());
        until(&discovery, |status| status.error.is_none()).await;
    }
    assert!(updates.try_recv().is_err(), "nothing has changed");
}

#[tokio::test]
async fn an_empty_answer_empties_a_backend_only_if_that_is_wanted() {
    let World { server, mut discovery, mut updates } = world(Options { take_empty: true, ..Options::default() }).await;
    server.say("c.example.", A, Reply::Records(vec![("c.example.", 0, a("192.0.2.1"))]));
    discovery.set(&[name("c.example")]);
    next(&mut updates).await;
    server.say("c.example.", A, Reply::Code(ResponseCode::NXDomain));
    assert_eq!(next(&mut updates).await.1, Vec::new());
}

#[tokio::test]
async fn what_is_truncated_is_asked_for_over_tcp_and_a_huge_answer_is_taken_whole() {
    let World { server, mut discovery, mut updates } = world(Options::default()).await;
    let many: Vec<_> = (0..2_000_u32).map(|n| ("c.example.", 60, huge(n))).collect();
    server.say("c.example.", A, Reply::Long(many));
    discovery.set(&[name("c.example")]);
    let status = until(&discovery, |status| status.answers > 0 || status.failures > 0).await;
    assert_eq!(status.error, None);
    let endpoints = next(&mut updates).await.1;
    assert_eq!(endpoints.len(), 2_000);
    assert!(server.asked("c.example.", A, false) >= 1 && server.asked("c.example.", A, true) >= 1);
}

fn huge(n: u32) -> hickory_resolver::proto::rr::RData {
    hickory_resolver::proto::rr::RData::A(rdata::A((0x0a00_0001 + n).into()))
}

#[tokio::test]
async fn aliases_are_followed_and_loops_end() {
    let World { server, mut discovery, mut updates } = world(Options::default()).await;
    server.say(
        "c.example.",
        A,
        Reply::Records(vec![("c.example.", 60, cname("d.example.")), ("d.example.", 60, a("192.0.2.4"))]),
    );
    // One step at a time too.
    server.say("c.example.", AAAA, Reply::Records(vec![("c.example.", 60, cname("e.example."))]));
    server.say("e.example.", AAAA, Reply::Records(vec![("e.example.", 60, aaaa("2001:db8::5"))]));
    discovery.set(&[name("c.example")]);
    assert_eq!(next(&mut updates).await.1, list(&[("192.0.2.4:80", 1), ("[2001:db8::5]:80", 1)]));
    server.say("x.example.", A, Reply::Records(vec![("x.example.", 60, cname("y.example."))]));
    server.say("y.example.", A, Reply::Records(vec![("y.example.", 60, cname("x.example."))]));
    discovery.set(&[name("x.example")]);
    let status = until(&discovery, |status| status.failures > 0).await;
    assert_eq!((status.answers, status.endpoints), (0, 0));
}

#[tokio::test]
async fn addresses_that_are_nobodys_are_left_out() {
    let World { server, mut discovery, mut updates } = world(Options::default()).await;
    let v4 = ["0.0.0.0", "127.0.0.1", "169.254.169.254", "224.0.0.1", "255.255.255.255", "192.0.2.1"];
    server.say("c.example.", A, Reply::Records(v4.map(|ip| ("c.example.", 60, a(ip))).into()));
    // The last three are addresses of IPv4.
    let v6 = ["::", "::1", "fe80::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"];
    server.say("c.example.", AAAA, Reply::Records(v6.map(|ip| ("c.example.", 60, aaaa(ip))).into()));
    discovery.set(&[name("c.example")]);
    assert_eq!(next(&mut updates).await.1, list(&[("192.0.2.1:80", 1), ("192.0.2.2:80", 1)]));
    let status = until(&discovery, |status| status.error.is_some()).await;
    assert!(status.error.unwrap().contains("is no address of an endpoint"));
}

#[tokio::test]
async fn a_services_targets_of_the_lowest_priority_are_taken_with_their_weights() {
    let World { server, mut discovery, mut updates } = world(Options::default()).await;
    let records = |list: &[(u16, u16, u16, &'static str)]| {
        Reply::Records(list.iter().map(|&(p, w, port, to)| ("_http._tcp.c.example.", 0, srv(p, w, port, to))).collect())
    };
    server.say(
        "_http._tcp.c.example.",
        RecordType::SRV,
        records(&[(10, 3, 8080, "a.example."), (10, 1, 8081, "b.example."), (20, 9, 80, "c.example.")]),
    );
    for (target, address) in [("a.example.", "192.0.2.1"), ("b.example.", "192.0.2.2"), ("c.example.", "192.0.2.3")] {
        server.say(target, A, Reply::Records(vec![(target, 0, a(address))]));
        server.say(target, AAAA, NONE);
    }
    discovery.set(&[service("_http._tcp.c.example")]);
    assert_eq!(next(&mut updates).await.1, list(&[("192.0.2.1:8080", 3), ("192.0.2.2:8081", 1)]));
    assert_eq!(server.asked("c.example.", A, false), 0, "of another priority");
    // A target that fails keeps its addresses; one that is gone has none.
    server.say("a.example.", A, Reply::Code(ResponseCode::ServFail));
    server.say("b.example.", A, Reply::Records(vec![("b.example.", 0, a("192.0.2.22"))]));
    assert_eq!(next(&mut updates).await.1, list(&[("192.0.2.1:8080", 3), ("192.0.2.22:8081", 1)]));
    server.say("a.example.", A, Reply::Code(ResponseCode::NXDomain));
    server.say("a.example.", AAAA, Reply::Code(ResponseCode::NXDomain));
    assert_eq!(next(&mut updates).await.1, list(&[("192.0.2.22:8081", 1)]));
    // "Not here" is no answer to act on.
    server.say("_http._tcp.c.example.", RecordType::SRV, records(&[(0, 0, 0, ".")]));
    let status =
        until(&discovery, |status| status.error.as_deref().is_some_and(|e| e.contains("no such service"))).await;
    assert_eq!(status.endpoints, 1);
}

#[test]
fn weights_keep_their_proportion() {
    let weights = |shares: &[f64]| {
        let shares = shares.iter().enumerate().map(|(i, &share)| (SocketAddr::from(([192, 0, 2, i as u8], 80)), share));
        dns::weigh(shares.collect()).iter().map(|e| e.weight).collect::<Vec<_>>()
    };
    assert_eq!(weights(&[3.0, 1.0, 1_000.0]), [3, 1, 1_000]);
    assert_eq!(weights(&[0.0, 0.0]), [1, 1], "none has said any");
    assert_eq!(weights(&[0.0, 5.0, 10.0]), [1, 500, 1_000], "0 is very small, not none");
    assert_eq!(weights(&[65_535.0, 65_535.0 / 2.0]), [1_000, 500]);
    assert_eq!(weights(&[1.5, 1.5, 3.0]), [500, 500, 1_000], "two addresses of one target share");
}
