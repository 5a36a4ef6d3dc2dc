//! What only the control daemon needs, and what is asked of endpoints.

use super::*;
use weirgate_dataplane::snapshot::{HealthCheck, Probe};

fn model(text: &str) -> Model {
    compile(&[("a.yaml".into(), format!("{SMALL}{text}"))], &Environment::default()).unwrap()
}

const CONTROL: &str = "\
admin: {socket: 'unix:///run/w/a.sock', allowedUids: [0, 990], audit: /var/log/w.jsonl, tcp: '127.0.0.1:9902'}
observability:
  metrics: {prometheus: {address: '[::]:9901'}, labels: [code_class, route], maxSeries: 500}
";

#[test]
fn the_daemon_is_told() {
    let Control { admin, metrics, .. } = model(CONTROL).control;
    let wants = Admin {
        socket: "/run/w/a.sock".into(),
        allowed_uids: vec![0, 990],
        audit: Some("/var/log/w.jsonl".into()),
        tcp: Some(([127, 0, 0, 1], 9_902).into()),
    };
    assert_eq!(admin, wants);
    let labels = vec![Label::Route, Label::CodeClass];
    assert_eq!(metrics, Metrics { address: Some("[::]:9901".parse().unwrap()), max_series: 500, labels });
    let labels = [("zone".to_owned(), "eu-1a".to_owned())].into();
    assert_eq!(model("").control, Control { labels, ..Control::default() });
    let remote = model("admin: {tcp: '192.0.2.10:9902', allowRemote: true}\n").control.admin.tcp;
    assert_eq!(remote, Some(([192, 0, 2, 10], 9_902).into()));
}

/// Each row: what is replaced, by what, and what the finding says. The blocks begin in line 14.
#[test]
fn what_the_daemon_cannot_be_told_is_said() {
    for (from, to, wants) in [
        ("unix:///run/w/a.sock", "/run/w/a.sock", "a.yaml:14:17: admin.socket: \"/run/w/a.sock\" is not a Unix socket"),
        ("unix:///run/w/a.sock", "unix://a.sock", "admin.socket: \"unix://a.sock\" is not a Unix socket"),
        ("unix:///run/w/a.sock", "unix:///", "admin.socket: \"unix:///\" is not a Unix socket"),
        ("/var/log/w.jsonl", "w.jsonl", "a.yaml:14:71: admin.audit: \"w.jsonl\" is not an absolute path"),
        ("127.0.0.1:9902", "192.0.2.10:9902", "a.yaml:14:94: admin.tcp: not a loopback address: whoever reaches it"),
        ("127.0.0.1:9902", "localhost:9902", "admin.tcp: \"localhost:9902\" is not an address and port"),
        ("127.0.0.1:9902", "127.0.0.1:0", "admin.tcp: \"127.0.0.1:0\" is not an address and port"),
        ("[0, 990]", "[root]", "a.yaml:14:55: admin.allowedUids[0]: \"root\" is not a number from 0 to 4294967295"),
        ("[::]:9901", "9901", "a.yaml:16:35: observability.metrics.prometheus.address: \"9901\" is not an address"),
        (
            "code_class, route",
            "code",
            "a.yaml:16:58: observability.metrics.labels[0]: \"code\" is none of listener, route",
        ),
        ("code_class, route", "route, route", "observability.metrics.labels[1]: route stands there twice"),
        ("maxSeries: 500", "maxSeries: 0", "observability.metrics.maxSeries: 0 leaves nothing to publish"),
        (
            "  metrics:",
            "  accessLog: []\n  metrics:",
            "a.yaml:16:14: observability.accessLog is not supported in this version",
        ),
        (
            "  metrics:",
            "  tracing: {}\n  metrics:",
            "a.yaml:16:12: observability.tracing is not supported in this version",
        ),
    ] {
        refused(&[SMALL, CONTROL], from, to, wants);
    }
    let twice = format!("{SMALL}{CONTROL}---\napiVersion: weirgate/v1\nkind: GatewayConfig\n{CONTROL}");
    let wants = [
        "a.yaml:20:8: admin: a second block: there is one for a node",
        "a.yaml:22:12: observability.metrics: a second block: there is one for a node",
    ];
    assert_eq!(compiled(&twice).unwrap_err(), wants);
}

#[test]
fn labels_of_all_documents_are_the_nodes() {
    let more =
        |labels: &str| format!("---\napiVersion: weirgate/v1\nkind: GatewayConfig\nmetadata: {{labels: {labels}}}\n");
    let labels = model(&more("{zone: eu-1a, 'team.example/name': net}")).control.labels;
    let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("team.example/name", "net"), ("zone", "eu-1a")]);
    for (labels, wants) in [
        ("{zone: eu-1b}", "a.yaml:17:27: metadata.labels.zone: it is \"eu-1a\" already"),
        ("{a: [b]}", "a.yaml:17:24: metadata.labels.a: one value is needed here"),
        ("[a]", "a.yaml:17:20: metadata.labels: a mapping is needed here"),
    ] {
        let found = compiled(&format!("{SMALL}{}", more(labels))).unwrap_err();
        assert!(found.iter().any(|it| it.starts_with(wants)), "{labels}: {found:#?}");
    }
    let many: String = (0..64).map(|n| format!("l{n}: x, ")).collect();
    let found = compiled(&format!("{SMALL}{}", more(&format!("{{{many}}}")))).unwrap_err();
    assert!(found[0].ends_with("metadata.labels.l63: there may be 64 labels"), "{found:#?}");
}

const FOUND: &str = "\
backends:
- {name: a, discovery: {dns: {name: a.svc.example., port: 8080, refresh: 5s}}}
- {name: b, discovery: {static: ['10.0.0.1:80']}}
- {name: s, discovery: {dns: {name: _http._tcp.s.example, type: SRV}}}
- {name: f, discovery: {file: /etc/weirgate/f.yaml}}
";

#[test]
fn endpoints_are_found_elsewhere() {
    let Model { snapshot, control, .. } = model(FOUND);
    let counts: Vec<_> = snapshot.backends.iter().map(|it| it.endpoints.len()).collect();
    assert_eq!(counts, [0, 1, 0, 0]);
    let dns = |backend: &str, name: &str, kind, port, refresh_ms| Discovery::Dns {
        backend: backend.into(),
        name: name.into(),
        kind,
        port,
        refresh_ms,
    };
    let wants = [
        dns("a", "a.svc.example", DnsKind::Address, Some(8_080), Some(5_000)),
        dns("s", "_http._tcp.s.example", DnsKind::Srv, None, None),
        Discovery::File { backend: "f".into(), path: "/etc/weirgate/f.yaml".into() },
    ];
    assert_eq!(control.discoveries, wants);
}

/// Each row: what is replaced, by what, and what the finding says. The backends begin in line 14.
#[test]
fn what_cannot_be_found_is_said() {
    for (from, to, wants) in [
        (", port: 8080", "", "a.yaml:15:30: backends[a].discovery.dns.port: missing: addresses have none in the DNS"),
        ("8080", "0", "a.yaml:15:59: backends[a].discovery.dns.port: port 0 is no port"),
        ("type: SRV", "type: SRV, port: 80", "a.yaml:17:76: backends[s].discovery.dns.port: SRV records say it"),
        ("type: SRV", "type: MX", "backends[s].discovery.dns.type: \"MX\" is none of Address, SRV"),
        ("a.svc.example.", "a..example", "a.yaml:15:37: backends[a].discovery.dns.name: \"a..example\" is not a name"),
        ("a.svc.example.", "'a b'", "backends[a].discovery.dns.name: \"a b\" is not a name in the DNS"),
        ("refresh: 5s", "refresh: 0s", "backends[a].discovery.dns.refresh: 0 leaves no time"),
        (
            "/etc/weirgate/f.yaml",
            "f.yaml",
            "a.yaml:18:31: backends[f].discovery.file: \"f.yaml\" is not an absolute path",
        ),
        ("{file: ", "{static: [], file: ", "a.yaml:18:24: backends[f].discovery: one of static, dns and file"),
    ] {
        refused(&[SMALL, FOUND], from, to, wants);
    }
}

const CHECKED: &str = "\
backends:
- name: a
  discovery: {static: ['10.0.0.1:80']}
  healthChecks:
  - {http: {path: /healthz, host: a.example, method: GET, expect: [200, 204]}, interval: 2s, timeout: 500ms, healthy: 1, unhealthy: 5}
  - {tcp: {}}
";

#[test]
fn endpoints_are_asked() {
    let checks = &model(CHECKED).snapshot.backends[0].health_checks;
    let probe = Probe::Http { path: "/healthz".into(), host: Some("a.example".into()), expect: vec![200, 204] };
    let full = HealthCheck { probe, interval_ms: 2_000, timeout_ms: 500, healthy: 1, unhealthy: 5 };
    let plain = HealthCheck { probe: Probe::Tcp, interval_ms: 5_000, timeout_ms: 1_000, healthy: 2, unhealthy: 3 };
    assert_eq!(checks[..], [full, plain]);
}

/// Each row: what is replaced, by what, and what the finding says. The backends begin in line 14.
#[test]
fn what_cannot_be_asked_is_said() {
    for (from, to, wants) in [
        ("{tcp: {}}", "{grpc: {}}", "a.yaml:19:12: backends[a].healthChecks[1].grpc is not supported in this version"),
        ("{tcp: {}}", "{}", "a.yaml:19:5: backends[a].healthChecks[1]: one of http: {path: PATH} and tcp: {}"),
        ("{tcp: {}}", "{tcp: {}, http: {path: /}}", "backends[a].healthChecks[1]: one of http"),
        ("{tcp: {}}", "{tcp: {port: 1}}", "backends[a].healthChecks[1].tcp: unknown field \"port\""),
        ("path: /healthz", "path: healthz", "a health check: \"healthz\" is not a path"),
        ("path: /healthz, ", "", "a.yaml:18:12: backends[a].healthChecks[0].http.path is missing"),
        ("method: GET", "method: HEAD", "backends[a].healthChecks[0].http.method: \"HEAD\" is none of GET"),
        ("[200, 204]", "[]", "it expects one or more statuses"),
        ("[200, 204]", "[100]", "it expects one or more statuses from 200 to 599"),
        ("interval: 2s", "interval: 0s", "backends[a].healthChecks[0].interval: 0 leaves no time"),
        ("unhealthy: 5", "unhealthy: 0", "a.yaml:18:133: backends[a].healthChecks[0].unhealthy: 0 answers say nothing"),
    ] {
        refused(&[SMALL, CHECKED], from, to, wants);
    }
}
