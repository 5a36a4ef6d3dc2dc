//! Listeners that speak HTTP, or pass TCP on.

use super::*;
use weirgate_dataplane::{
    http::normalize::{EscapedSlashes, Underscores},
    proxy_protocol::Accept,
    snapshot::HttpOptions,
};

const HTTP: &str = "\
listeners:
- {name: plain, port: 80, protocol: HTTP}
- name: full
  port: 8080
  protocol: HTTP
  address: 192.0.2.10
  hostname: '*.example.com'
  proxyProtocol: {accept: v2, trustedCIDRs: [10.0.0.0/8, 2001:db8::/32]}
  http:
    normalizePath: false
    mergeSlashes: false
    escapedSlashesAction: UnescapeAndRedirect
    headersWithUnderscores: Drop
    maxRequestHeaders: {count: 50, bytes: 8KiB}
    maxRequestLine: 4096
    name: edge.a
    xForwarded: false
    forwarded: true
    trustedCIDRs: [10.1.0.0/16]
    expectContinue: Forward
    timeouts: {requestHeaders: 5s, requestBody: 500ms, streamIdle: 1m30s, connectionIdle: 15s, maxConnectionAge: 1h}
";

#[test]
fn http_listeners_say_how_they_speak() {
    let snapshot = compiled(&format!("{SMALL}{HTTP}")).unwrap();
    let [plain, full] = &snapshot.http[..] else { panic!("two of them: {:?}", snapshot.http) };
    assert_eq!((plain.name.as_str(), plain.address, plain.port), ("plain", None, 80));
    assert_eq!(plain.options, HttpOptions::default());
    assert_eq!((&plain.proxy_protocol, &plain.rules.hostname), (&None, &None));

    assert_eq!((full.address, full.rules.hostname.as_deref()), (Some([192, 0, 2, 10].into()), Some("*.example.com")));
    let proxy = full.proxy_protocol.as_ref().unwrap();
    assert_eq!((proxy.accept, proxy.trusted.len()), (Accept::V2, 2));
    let options = &full.options;
    assert!(!options.normalize_path && !options.merge_slashes && !options.x_forwarded);
    assert!(options.forwarded && options.forward_expect);
    assert_eq!((options.escaped_slashes, options.underscores), (EscapedSlashes::Redirect, Underscores::Drop));
    assert_eq!((options.request_line_bytes, options.head_bytes, options.fields), (4_096, 8_192, 50));
    assert_eq!((options.name.as_str(), options.trusted[0].to_string()), ("edge.a", "10.1.0.0/16".into()));
    let times = options.timeouts;
    assert_eq!((times.request_headers_ms, times.request_body_ms, times.stream_idle_ms), (5_000, 500, 90_000));
    assert_eq!((times.connection_idle_ms, times.connection_age_ms), (15_000, Some(3_600_000)));
    assert_eq!(Snapshot::from_json(&snapshot.to_json()).unwrap(), snapshot);
}

#[test]
fn smaller_heads_have_smaller_lines() {
    let text = HTTP.replace("    maxRequestLine: 4096\n", "");
    let snapshot = compiled(&format!("{SMALL}{text}")).unwrap();
    assert_eq!(snapshot.http[1].options.request_line_bytes, 8_192);
}

/// Each row: what is replaced, by what, and what the finding says. The listeners begin in line 14.
#[test]
fn what_an_http_listener_cannot_be_is_said() {
    for (from, to, wants) in [
        (
            "UnescapeAndRedirect",
            "Redirect",
            "a.yaml:25:27: listeners[full].http.escapedSlashesAction: \"Redirect\" is none of Reject, Keep",
        ),
        ("Drop", "drop", "a.yaml:26:29: listeners[full].http.headersWithUnderscores: \"drop\" is none of"),
        ("count: 50", "count: 5000", "a.yaml:23:5: listeners[full].http: a head may have"),
        ("8KiB", "8KB", "a.yaml:27:43: listeners[full].http.maxRequestHeaders.bytes: \"8KB\""),
        ("8KiB", "1MiB", "listeners[full].http: a head may have"),
        ("maxRequestLine: 4096", "maxRequestLine: 32KiB", "its first line no more than the whole"),
        ("name: edge.a", "name: 'edge a'", "listeners[full].http: the name \"edge a\""),
        ("expectContinue: Forward", "expectContinue: Pass", "a.yaml:33:21: listeners[full].http.expectContinue"),
        (
            "streamIdle: 1m30s",
            "streamIdle: 90",
            "a.yaml:34:68: listeners[full].http.timeouts.streamIdle: \"90\" is not a duration",
        ),
        ("streamIdle: 1m30s", "streamIdle: 0s", "timeouts.streamIdle: 0 leaves no time"),
        ("maxConnectionAge: 1h", "maxConnectionAge: 0s", "timeouts.maxConnectionAge: 0 leaves no time"),
        ("streamIdle", "streamIdel", "did you mean \"streamIdle\"?"),
        ("[10.1.0.0/16]", "[10.1.0.0]", "a.yaml:32:20: listeners[full].http.trustedCIDRs: \"10.1.0.0\""),
        (
            "accept: v2",
            "accept: v3",
            "a.yaml:21:27: listeners[full].proxyProtocol.accept: \"v3\" is none of v1, v2, any",
        ),
        ("[10.0.0.0/8, 2001:db8::/32]", "[]", "proxyProtocol.trustedCIDRs: empty: every connection"),
        ("'*.example.com'", "'Example.com'", "listeners[full].hostname: \"Example.com\" is not a hostname"),
        (
            "    name: edge.a",
            "    http2: {maxConcurrentStreams: 100}",
            "a.yaml:29:12: listeners[full].http.http2 is not supported",
        ),
        ("protocol: HTTP}", "protocol: HTTP, service: echo}", "listeners[plain].service: an HTTP listener has routes"),
        ("protocol: HTTP}", "protocol: HTTP, tcp: {idle: 5s}}", "listeners[plain].tcp: for TCP listeners"),
        ("protocol: HTTP}", "protocol: TCP, service: echo, http: {}}", "listeners[plain].http: for HTTP listeners"),
        ("protocol: HTTP}", "protocol: TCP, hostname: a.example}", "listeners[plain].hostname: TCP says no hostname"),
        ("protocol: HTTP}", "protocol: TCP, service: echo, tcp: {idle: 1s}}", "without a service"),
        (
            "protocol: HTTP}",
            "protocol: TCP}",
            "a.yaml:15:3: listeners[plain]: a TCP listener needs a service (echo, discard, chargen, quote), or a TCPRoute",
        ),
        ("name: full", "name: plain", "a.yaml:16:9: listeners[plain].name: another listener is named \"plain\""),
        (
            "port: 8080\n  protocol: HTTP\n  address: 192.0.2.10",
            "port: 80\n  protocol: HTTP",
            "a.yaml:16:3: listeners \"plain\" and \"full\"",
        ),
    ] {
        refused(&[SMALL, HTTP], from, to, wants);
    }
}

#[test]
fn a_service_takes_no_proxy_protocol() {
    let own = "service: echo, proxyProtocol: {accept: any, trustedCIDRs: [10.0.0.0/8]}";
    refused(&[SMALL, LISTENERS], "service: echo", own, "listeners[echo].proxyProtocol: a service does not take it");
}
