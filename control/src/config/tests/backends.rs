//! Backends.

use super::*;
use weirgate_dataplane::{
    snapshot::{HashOn, PoolConfig, ProxyVersion},
    upstream::balance::PolicyKind,
};

const BACKENDS: &str = "\
backends:
- {name: plain, discovery: {static: ['10.1.0.21:8080', '[2001:db8::21]:8080']}}
- name: full
  protocol: http1
  discovery: {static: ['10.1.0.22:8080', {address: '10.1.0.23:8080', weight: 3}]}
  loadBalancing: {policy: RingHash, hashOn: {header: X-User}, pointsMin: 2048, panicThreshold: 20}
  timeouts: {connect: 250ms}
  connectionPool: {maxConnections: 64, idle: 30s, maxAge: 10m, maxRequests: 1000}
  proxyProtocol: v2
";

#[test]
fn backends_say_where_and_how() {
    let snapshot = compiled(&format!("{SMALL}{BACKENDS}")).unwrap();
    let [plain, full] = &snapshot.backends[..] else { panic!("two of them: {:?}", snapshot.backends) };
    let addresses = ["10.1.0.21:8080".parse().unwrap(), "[2001:db8::21]:8080".parse().unwrap()];
    assert_eq!(*plain, weirgate_dataplane::snapshot::Backend::new("plain", &addresses));
    assert_eq!(full.endpoints.iter().map(|e| e.weight).collect::<Vec<_>>(), [1, 3]);
    let PolicyKind::RingHash { points_min, .. } = full.load_balancing else { panic!("{:?}", full.load_balancing) };
    assert_eq!((points_min, full.panic_threshold, full.connect_ms), (2_048, 20, 250));
    assert_eq!(full.hash_on, HashOn::Header("x-user".into()));
    let pool = PoolConfig { connections_max: 64, idle_ms: 30_000, age_ms: Some(600_000), requests_max: Some(1_000) };
    assert_eq!((full.pool, full.proxy_protocol), (pool, Some(ProxyVersion::V2)));
    assert_eq!(Snapshot::from_json(&snapshot.to_json()).unwrap(), snapshot);
}

#[test]
fn each_policy_has_its_own_parameters() {
    for (said, wants) in [
        ("policy: RoundRobin", PolicyKind::RoundRobin),
        ("policy: LeastRequest", PolicyKind::LeastRequest { choices: 2 }),
        ("policy: LeastRequest, choices: 3", PolicyKind::LeastRequest { choices: 3 }),
        ("policy: Random", PolicyKind::Random),
        ("policy: RingHash, pointsMin: 8, pointsMax: 9", PolicyKind::RingHash { points_min: 8, points_max: 9 }),
        ("policy: Maglev, places: 251, hashOn: {source: true}", PolicyKind::Maglev { places: 251 }),
    ] {
        let text =
            format!("{SMALL}{BACKENDS}").replace("policy: RingHash, hashOn: {header: X-User}, pointsMin: 2048", said);
        assert_eq!(compiled(&text).unwrap().backends[1].load_balancing, wants, "{said}");
    }
}

/// Each row: what is replaced, by what, and what the finding says. The backends begin in line 14.
#[test]
fn what_a_backend_cannot_be_is_said() {
    let ring = "policy: RingHash, hashOn: {header: X-User}, pointsMin: 2048";
    let static_list = "{static: ['10.1.0.22:8080', {address: '10.1.0.23:8080', weight: 3}]}";
    for (from, to, wants) in [
        ("http1", "h2c", "a.yaml:17:13: backends[full].protocol: h2c is not supported in this version"),
        ("http1", "http2", "backends[full].protocol: \"http2\" is none of http1, h2c, h2, grpc"),
        (static_list, "{xds: {}}", "backends[full].discovery.xds is not supported"),
        (static_list, "{consul: {}}", "backends[full].discovery.consul is not supported"),
        (static_list, "{}", "backends[full].discovery: says nothing"),
        (&format!("  discovery: {static_list}\n"), "", "a.yaml:16:3: backends[full].discovery is missing"),
        (
            "'10.1.0.22:8080'",
            "'shop.example:80'",
            "a.yaml:18:24: backends[full].discovery.static: \"shop.example:80\" is not an address and port",
        ),
        ("'10.1.0.22:8080'", "'10.1.0.22:0'", "a.yaml:16:3: backends[full]: endpoint 10.1.0.22:0: port 0"),
        ("'10.1.0.22:8080'", "'10.1.0.23:8080'", "stands there twice"),
        ("weight: 3", "weigth: 3", "did you mean \"weight\"?"),
        ("weight: 3", "weight: 3000000", "a weight above"),
        ("RingHash", "PeakEwma", "a.yaml:19:27: backends[full].loadBalancing.policy: PeakEwma is not supported"),
        ("RingHash", "Fair", "\"Fair\" is none of RoundRobin, LeastRequest, Random, RingHash, Maglev, PeakEwma"),
        (
            "RingHash",
            "Maglev",
            "a.yaml:19:72: backends[full].loadBalancing.pointsMin: a parameter of RingHash, not of Maglev",
        ),
        ("RingHash", "Random", "loadBalancing.hashOn: a parameter of RingHash and Maglev, not of Random"),
        (ring, "choices: 2", "loadBalancing.choices: a parameter of LeastRequest, not of RoundRobin"),
        (ring, "policy: LeastRequest, choices: 1", "backends[full].loadBalancing: choices: from 2 to"),
        (ring, "policy: Maglev, places: 250", "backends[full].loadBalancing: places: a prime number"),
        ("panicThreshold: 20", "panicThreshold: 101", "panicThreshold is 0 to 100"),
        ("panicThreshold: 20", "slowStart: 30s", "backends[full].loadBalancing.slowStart is not supported"),
        ("panicThreshold: 20", "zoneAware: true", "backends[full].loadBalancing.zoneAware is not supported"),
        ("{header: X-User}", "{}", "a.yaml:19:45: backends[full].loadBalancing.hashOn: one of"),
        ("{header: X-User}", "{header: a, cookie: b}", "loadBalancing.hashOn: one of"),
        ("{header: X-User}", "{source: false}", "loadBalancing.hashOn: one of"),
        ("{header: X-User}", "{cookie: 'a b'}", "loadBalancing.hashOn: one of"),
        ("250ms", "0s", "a.yaml:20:23: backends[full].timeouts.connect: 0 leaves no time"),
        ("250ms", "soon", "backends[full].timeouts.connect: \"soon\" is not a duration"),
        ("maxConnections: 64", "maxConnections: 0", "a.yaml:21:36: backends[full].connectionPool.maxConnections: 0"),
        ("maxRequests: 1000", "maxRequests: 0", "connectionPool.maxRequests: 0"),
        (
            "proxyProtocol: v2",
            "proxyProtocol: any",
            "a.yaml:22:18: backends[full].proxyProtocol: \"any\" is none of v1, v2",
        ),
        ("name: full", "name: plain", "a.yaml:16:9: backends[plain].name: another backend is named \"plain\""),
    ] {
        refused(&[SMALL, BACKENDS], from, to, wants);
    }
    for later in ["outlierDetection", "circuitBreakers", "retryBudget"] {
        let wants = format!("a.yaml:22:{}: backends[full].{later} is not supported in this version", later.len() + 5);
        refused(&[SMALL, BACKENDS], "proxyProtocol: v2", &format!("{later}: {{}}"), &wants);
    }
}
