//! What is served, the request and the answer.

use super::peers::{BACKEND_PORT, BACKENDS, LISTENER, SECURE_PORT};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use weirgate_dataplane::{
    route::{Backend as Share, Match, PathKind, PathMatch, Route, Rule, Rules},
    snapshot::{Backend, Certificate, HttpListener, HttpOptions, ListenerTls, PoolConfig, Snapshot, TlsPolicy},
};

/// How long handshakes may take: they are made one by one, and the last client waits for all others.
const PATIENCE_MS: u64 = 600_000;

/// As curl writes it, 100 bytes.
pub(super) const REQUEST: &[u8] = b"GET /api/v1/items/10420042 HTTP/1.1\r\n\
    Host: shop.example.com\r\n\
    User-Agent: curl/8.5.0\r\n\
    Accept: */*\r\n\r\n";
const _: () = assert!(REQUEST.len() == 100);

const ANSWER_LEN: usize = 300;

/// As nginx writes it, 300 bytes with its content.
pub(super) fn answer() -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 200 OK\r\n\
        Server: nginx/1.24.0\r\n\
        Date: Sun, 29 Nov 2026 07:00:00 GMT\r\n\
        Content-Type: application/json\r\n\
        Content-Length: 000\r\n\
        Connection: keep-alive\r\n\
        Cache-Control: no-cache\r\n\r\n"
        .to_vec();
    let content = format!("{:03}", ANSWER_LEN - bytes.len());
    let at = bytes.windows(3).position(|three| three == b"000").expect("the length's place");
    bytes[at..at + 3].copy_from_slice(content.as_bytes());
    bytes.resize(ANSWER_LEN, b'x');
    bytes
}

/// Sixteen rules of which one takes the request, and one backend with four endpoints; with TLS if there is a certificate.
pub(super) fn snapshot(certificate: Option<Certificate>) -> Snapshot {
    let tls = certificate.as_ref().map(|it| ListenerTls {
        certificates: vec![it.name.clone()],
        refuse_unknown_names: false,
        clients: None,
        policy: TlsPolicy::default(),
        handshake_ms: PATIENCE_MS,
    });
    let backend = Backend {
        pool: PoolConfig { connections_max: 4_096, ..PoolConfig::default() },
        ..Backend::new("items", &endpoints())
    };
    // The ports are made of memory elsewhere; here they have to be there.
    let base = r#"{"format": 1, "name": "bench", "dataplane": {"cores": [0], "polling": "busy",
        "ports": [{"name": "p0", "device": "null", "addresses": ["10.80.0.1/16"]}]}}"#;
    let listener = HttpListener {
        name: "http".into(),
        address: None,
        port: LISTENER.1,
        proxy_protocol: None,
        tls: None,
        options: HttpOptions::default(),
        rules: rules(),
    };
    let secure =
        tls.map(|tls| HttpListener { name: "https".into(), port: SECURE_PORT, tls: Some(tls), ..listener.clone() });
    Snapshot {
        http: [listener].into_iter().chain(secure).collect(),
        certificates: certificate.into_iter().collect(),
        backends: vec![backend],
        ..Snapshot::from_json(base).expect("a snapshot")
    }
}

fn endpoints() -> Vec<SocketAddr> {
    BACKENDS.iter().map(|&address| SocketAddr::new(IpAddr::from(address), BACKEND_PORT)).collect()
}

pub(super) fn rules() -> Rules {
    let rule = |path: &str| Rule {
        matches: vec![Match { path: PathMatch { kind: PathKind::PathPrefix, value: path.into() }, ..Match::default() }],
        backends: vec![Share { backend: "items".into(), weight: 1 }],
        ..Rule::default()
    };
    let route = |host: &str| Route {
        name: host.into(),
        hostnames: vec![host.into()],
        rules: vec![rule("/"), rule("/api"), rule("/api/v1/items"), rule("/static")],
    };
    let hosts = ["www.example.com", "shop.example.com", "*.example.com", "example.org"];
    Rules { hostname: None, routes: hosts.map(route).map(Arc::new).to_vec() }
}
