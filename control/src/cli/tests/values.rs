//! Values of the admin API that tests show.

use super::daemon::MadeUp;
use crate::admin::api::*;
use serde_json::json;
use weirgate_dataplane::port::pcapng::{Direction, Packet, Writer};

/// A daemon that has an answer to everything.
pub(crate) fn daemon() -> MadeUp {
    MadeUp::new()
        .says("GET /v1/status", &status())
        .says("POST /v1/apply", &applied())
        .says("POST /v1/rollback", &Applied { restart: true, took_us: None, unconfirmed: None, ..applied() })
        .says("POST /v1/confirm", &Applied { changed: false, unconfirmed: None, ..applied() })
        .says("GET /v1/diff", &difference())
        .says("POST /v1/diff", &Difference { to: None, ..difference() })
        .says("GET /v1/revisions", &history())
        .says("GET /v1/revisions/current", &details())
        .says("GET /v1/revisions/13", &details())
        .says("GET /v1/listeners", &listeners())
        .says("GET /v1/routes", &routes())
        .says("GET /v1/backends", &backends())
        .says("GET /v1/certificates", &certificates())
        .says("GET /v1/endpoints", &Endpoints { revision: 13, endpoints: endpoints() })
        .says("GET /v1/backends/cart-v1", &described())
        .says("POST /v1/explain", &explained())
        .says("GET /v1/connections", &connections())
        .says("GET /v1/meters", &meters(0))
        .says("GET /v1/counters", &counters(0))
        .says("POST /v1/drain", &Done { changed: true, pending: None })
        .says("POST /v1/endpoints/drain", &Done { changed: false, pending: None })
        .says("GET /v1/log", &LogLevel { filter: "info".into() })
        .says("PUT /v1/log", &Done { changed: true, pending: None })
        .says_text("GET /v1/tap", 200, tap())
        .says_bytes("POST /v1/pcap", 200, capture(None))
}

/// Two frames, and three that are missing.
pub(crate) fn capture(why: Option<&str>) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new()).unwrap();
    writer.interface("gw0").unwrap();
    for lost in [0, 2] {
        let packet = Packet { interface: 0, ns: 1, direction: Direction::Received, len: 60, lost, bytes: &[7; 60] };
        writer.packet(&packet).unwrap();
    }
    writer.statistics(2, 2, 3, why).unwrap();
    std::mem::take(writer.get_mut())
}

pub(crate) fn status() -> Status {
    Status {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: 41,
        started: "2027-01-15T08:00:00Z".into(),
        node: "edge-a".into(),
        revision: Some(head(13)),
        unconfirmed: None,
        ready: true,
        not_ready: None,
        draining: false,
        read_only: None,
        dataplane: DataplaneStatus {
            connected: true,
            supervised: true,
            pid: Some(42),
            version: Some(env!("CARGO_PKG_VERSION").into()),
            workers: Some(2),
            serves: Some(13_000_002),
            drains: Some(false),
            restarts: 0,
            trouble: None,
        },
        files: vec!["/etc/weirgate/gateway.yaml".into()],
        findings: vec![],
        files_refused: None,
    }
}

fn head(revision: u64) -> RevisionHead {
    RevisionHead {
        revision,
        at: format!("2027-01-15T08:{revision:02}:30Z"),
        uid: Some(0),
        user: Some("root".into()),
        source: ChangeSource::Api,
        message: Some("a second shop".into()),
        digest: "0123456789abcdef0123456789abcdef".into(),
    }
}

fn history() -> History {
    let start = RevisionHead { uid: None, user: None, source: ChangeSource::Start, message: None, ..head(11) };
    let back = RevisionHead { user: None, uid: Some(990), source: ChangeSource::Rollback { to: 10 }, ..head(12) };
    History { current: Some(13), revisions: vec![head(13), back, start] }
}

fn details() -> RevisionDetails {
    let file = |name: &str, text: &str| SourceFile { name: name.into(), text: text.into() };
    let files = vec![
        file("gateway.yaml", "apiVersion: weirgate/v1\nkind: GatewayConfig\n"),
        file("routes.yaml", "---\napiVersion: weirgate/v1\nkind: GatewayConfig\n"),
    ];
    RevisionDetails { head: head(13), files, snapshot: json!({"format": 1, "name": "edge-a"}) }
}

fn difference() -> Difference {
    let change = |kind, name: &str, change, fields: &[&str]| ObjectChange {
        kind,
        name: name.into(),
        change,
        fields: fields.iter().map(|&field| field.into()).collect(),
    };
    Difference {
        from: 12,
        to: Some(13),
        changes: vec![
            change(ObjectKind::Route, "http/shop", Change::Changed, &["rules[0].backends"]),
            change(ObjectKind::Backend, "cart-v2", Change::Added, &[]),
            change(ObjectKind::Backend, "cart-v0", Change::Removed, &[]),
        ],
        unlisted: 0,
        text: "route http/shop\n-  weight: 100\n+  weight: 90\n+ backend cart-v2\n- backend cart-v0\n".into(),
    }
}

pub(crate) fn applied() -> Applied {
    let until = "2027-01-15T08:14:30Z".into();
    Applied {
        revision: 13,
        changed: true,
        dry_run: false,
        restart: false,
        took_us: Some(1_234),
        unconfirmed: Some(Unconfirmed { revision: 13, back_to: 12, until, seconds_left: 60 }),
        difference: difference(),
    }
}

fn listeners() -> Listeners {
    let it = |name: &str, protocol: &str, address: Option<&str>, port, routes| ListenerSummary {
        name: name.into(),
        protocol: protocol.into(),
        address: address.map(Into::into),
        port,
        routes,
    };
    let listeners = vec![it("http", "HTTP", None, 80, 2), it("raw", "TCP", Some("fd77::10"), 9_000, 1)];
    Listeners { revision: 13, listeners }
}

fn routes() -> Routes {
    let it = |name: &str, hostnames: &[&str], rules, backends: &[&str]| RouteSummary {
        name: name.into(),
        listeners: vec!["http".into()],
        hostnames: hostnames.iter().map(|&name| name.into()).collect(),
        rules,
        backends: backends.iter().map(|&name| name.into()).collect(),
    };
    let shop = it("shop", &["shop.example.com", "*.shop.example.com"], 3, &["cart-v1", "cart-v2"]);
    Routes { revision: 13, routes: vec![shop, it("rest", &[], 1, &["web"])] }
}

fn backends() -> Backends {
    let it = |name: &str, discovery: &str, endpoints, healthy, draining| BackendSummary {
        name: name.into(),
        discovery: discovery.into(),
        policy: "LeastRequest".into(),
        endpoints,
        healthy,
        draining,
    };
    let backends = vec![
        it("cart-v1", "static", 3, Some(1), 1),
        it("cart-v2", "dns", 2, None, 0),
        it("web", "file", 0, Some(0), 0),
    ];
    Backends { revision: 13, backends }
}

pub(crate) fn endpoints() -> Vec<EndpointSummary> {
    let live = |healthy, health: &str, active| {
        Some(EndpointLive { healthy, health: health.into(), active, connections: active + 3 })
    };
    let it = |address: &str, weight, draining, live| EndpointSummary {
        backend: "cart-v1".into(),
        address: address.into(),
        weight,
        draining,
        live,
    };
    vec![
        it("10.77.0.11:8080", 1, false, live(true, "answered", 7)),
        it("10.77.0.12:8080", 2, false, live(false, "refused", 0)),
        it("[fd77::13]:8080", 0, true, live(true, "answered", 1)),
        it("10.77.0.14:8080", 1, false, None),
    ]
}

fn described() -> Described {
    Described {
        discovery: None,
        revision: 13,
        object: json!({"name": "cart-v1", "loadBalancing": "leastRequest", "connectMs": 5000}),
        listeners: vec![],
        routes: vec!["shop".into()],
        endpoints: endpoints(),
        meters: meters(0).meters.into_iter().filter(|it| it.of.kind == "backend").collect(),
    }
}

fn explained() -> Explained {
    Explained {
        revision: 13,
        explanation: json!({"listener": "http", "host": "10.77.0.10", "path": "/cart/7", "outcome": "noRoute", "rules": []}),
        endpoints: vec![],
        text: "listener  http\nhost      10.77.0.10\npath      /cart/7\nno route  404\n".into(),
    }
}

fn connections() -> Connections {
    let it = |side: &str, state: &str, remote: &str, busy, srtt_us| Connection {
        worker: 1,
        local: "10.77.0.10:80".into(),
        remote: remote.into(),
        side: side.into(),
        state: state.into(),
        busy,
        srtt_us,
        cwnd: 14_480,
        in_flight: 1_448,
        age_ms: 93_000,
    };
    let connections = vec![
        it("client", "ESTABLISHED", "10.77.0.2:40000", true, 180),
        it("upstream", "CLOSE-WAIT", "10.77.0.11:8080", false, 0),
    ];
    Connections { connections, total: 7 }
}

/// Each second 100 requests to each, one of a hundred of which fails.
pub(crate) fn meters(second: u64) -> Meters {
    let n = 10 + second;
    let it = |kind: &str, name: &str, backend: Option<&str>| Meter {
        of: MeterOf { kind: kind.into(), name: name.into(), backend: backend.map(Into::into) },
        by_class: vec![0, 0, 97 * n, n, n, n],
        by_duration: vec![60 * n, 30 * n, 9 * n, n],
        duration_us: 90_000 * n,
        request_bytes: 1_000 * n,
        response_bytes: 1_048_576 * n,
    };
    Meters {
        duration_bounds_us: vec![500, 1_000, 2_500],
        meters: vec![
            it("listener", "http", None),
            it("route", "shop", None),
            it("route", "rest", None),
            it("backend", "cart-v1", None),
            it("endpoint", "10.77.0.11:8080", Some("cart-v1")),
            it("endpoint", "10.77.0.12:8080", Some("cart-v1")),
            it("endpoint", "10.77.0.99:8080", Some("cart-v1")),
        ],
        unmetered: 0,
    }
}

pub(crate) fn counters(second: u64) -> Counters {
    let values = [
        ("turns", 1_000 * second),
        ("busy_turns", 250 * second),
        ("rx_frames", 12_345 * second),
        ("tx_frames", 11_000 * second),
        ("dropped_frames", 3 * second),
        ("http_requests", 400 * second),
        ("http_5xx", 4 * second),
        ("tcp_connections", 64),
        ("frames_in_use", 1_024),
        ("frames_capacity", 8_192),
        ("turn_us_max", 850),
    ];
    let value = |(name, value): (&str, u64)| Counter {
        name: name.into(),
        kind: "counter".into(),
        value,
        help: format!("What {name} is."),
    };
    let column = |scope: &str, name: &str| CounterColumn {
        scope: scope.into(),
        name: name.into(),
        values: values.into_iter().map(value).collect(),
    };
    let columns = vec![column("worker", "0"), column("worker", "1"), column("port", "p0")];
    Counters { name: "edge-a".into(), version: "0.1.0".into(), pid: 42, alive: true, columns }
}

/// Three exchanges, some that were missed, and no end.
fn tap() -> String {
    let first = Exchange {
        at: "2027-01-15T08:00:01.250Z".into(),
        client: "10.77.0.2".into(),
        listener: "http".into(),
        route: Some("shop".into()),
        rule: Some("cart".into()),
        backend: Some("cart-v1".into()),
        endpoint: Some("10.77.0.11:8080".into()),
        method: "GET".into(),
        host: "shop.example.com".into(),
        path: "/cart/7".into(),
        status: 200,
        ended: "done".into(),
        request_bytes: 0,
        response_bytes: 2_048,
        attempts: 1,
        first_byte_us: Some(900),
        total_us: 1_250,
    };
    let second =
        Exchange { method: "POST".into(), status: 503, attempts: 3, ended: "no_endpoint".into(), ..first.clone() };
    let third = Exchange {
        route: None,
        rule: None,
        backend: None,
        endpoint: None,
        status: 0,
        attempts: 0,
        first_byte_us: None,
        path: "/".into(),
        ended: "client_gone".into(),
        ..first.clone()
    };
    let exchange = |it| TapLine::Exchange(Box::new(it));
    let lines = [exchange(first), exchange(second), TapLine::Missed { count: 5 }, exchange(third)];
    lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect()
}

pub(crate) fn certificates() -> Certificates {
    let shop = CertificateSummary {
        secret: "shop".into(),
        names: vec!["shop.example".into(), "*.shop.example".into()],
        issuer: Some("CN=Test CA".into()),
        serial: Some("1f2e".into()),
        key: Some("ECDSA P-256".into()),
        not_before: Some("2026-12-01T00:00:00Z".into()),
        not_after: Some("2027-01-20T00:00:00Z".into()),
        days_left: Some(5),
        next_update: None,
        update_days_left: None,
        files: vec!["/etc/weirgate/tls/shop.pem".into(), "/etc/weirgate/tls/shop.key".into()],
        watch: true,
        listeners: vec!["https".into()],
        backends: Vec::new(),
        state: CertificateState::Refused,
        refused: Some("the key does not belong to the certificate; was only one of them replaced?".into()),
        reason: Some(crate::secrets::Reason::Mismatch),
        warnings: Vec::new(),
    };
    let mesh = CertificateSummary {
        secret: "mesh-ca".into(),
        names: vec!["CN=Mesh CA".into()],
        issuer: None,
        serial: None,
        key: None,
        not_before: None,
        not_after: Some("2030-01-01T00:00:00Z".into()),
        days_left: Some(1_081),
        next_update: Some("2027-02-01T00:00:00Z".into()),
        update_days_left: Some(17),
        files: vec!["/etc/weirgate/tls/mesh-ca.pem".into()],
        backends: vec!["cart-v1".into()],
        listeners: Vec::new(),
        state: CertificateState::InForce,
        refused: None,
        reason: None,
        ..shop.clone()
    };
    Certificates { revision: 13, certificates: vec![shop, mesh] }
}
