//! Whole findings, to the letter: those that other tables look at in part.

use super::*;

/// With this replacement, exactly this is found.
pub(super) fn found(parts: &[&str], rows: &[(&str, &str, &str)]) {
    let text = parts.concat();
    let mut others = Vec::new();
    for (from, to, wants) in rows {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from} is there to be replaced");
        let found = compiled(&changed).expect_err(to);
        if found != [*wants] {
            others.push(found.join("\n"));
        }
    }
    assert!(others.is_empty(), "instead:\n{}", others.join("\n"));
}

#[test]
fn of_the_dataplane() {
    let route = "routes: [{to: 10.8.0.0/16, via: 10.7.0.2}]";
    found(
        &[SMALL],
        &[
            ("polling: busy", "polling: lazy", "a.yaml:6:12: dataplane.polling: \"lazy\" is neither busy nor adaptive"),
            (
                "{framesPerWorker: 16384}",
                "{framesPerWorker: 16384, hugepages: 2GiB}",
                "a.yaml:7:11: dataplane.memory: framesPerWorker and hugepages say the same thing; keep one",
            ),
            (
                "framesPerWorker: 16384",
                "hugepages: 1MiB",
                "a.yaml:7:23: dataplane.memory.hugepages: 1MiB is too little: each worker needs 2048 frames",
            ),
            (
                "framesPerWorker: 16384",
                "hugepages: 2GB",
                "a.yaml:7:23: dataplane.memory.hugepages: \"2GB\": the unit \"GB\" is not B, KiB, MiB or GiB",
            ),
            (
                "framesPerWorker: 16384",
                "hugepages: some GiB",
                "a.yaml:7:23: dataplane.memory.hugepages: \"some GiB\": the unit \"some GiB\" is not B, KiB, MiB or GiB",
            ),
            (
                "framesPerWorker: 16384",
                "hugepages: 1.5GiB",
                "a.yaml:7:23: dataplane.memory.hugepages: \"1.5GiB\" is not a size such as 2GiB",
            ),
            (
                "framesPerWorker: 16384",
                "hugepages: 99999999999GiB",
                "a.yaml:7:23: dataplane.memory.hugepages: \"99999999999GiB\" is more than can be",
            ),
            (
                route,
                "routes: [{to: 10.8.0.0, via: 10.7.0.2}]",
                "a.yaml:13:61: dataplane.ports[p0].vlans[7].routes.to: \"10.8.0.0\" is not an address with a prefix length, \
             such as 192.0.2.10/24 or 2001:db8::10/64",
            ),
            (
                route,
                "routes: [{to: 10.8.0.0/16, via: there}]",
                "a.yaml:13:79: dataplane.ports[p0].vlans[7].routes.via: \"there\" is not an address",
            ),
            ("fe80::1", "there", "a.yaml:12:26: dataplane.ports[p0].gateway: \"there\" is not an address"),
            (
                "cores: [2, 3]",
                "cores: [two]",
                "a.yaml:5:11: dataplane.cores[0]: \"two\" is not a number from 0 to 65535",
            ),
        ],
    );
    let head = "apiVersion: weirgate/v1\nkind: GatewayConfig\n";
    assert_eq!(compiled(head).unwrap_err(), ["a.yaml: no dataplane block: it names the cores and ports"]);
}

const GATEWAY: &str = "\
listeners:
- {name: web, port: 80, protocol: HTTP, http: {timeouts: {streamIdle: 5m}}}
- {name: raw, port: 9000, protocol: TCP}
- {name: echo, port: 7, protocol: TCP, service: echo}
backends:
- {name: a, discovery: {static: ['10.0.0.1:80']}, connectionPool: {maxConnections: 9}, loadBalancing: {policy: Maglev, hashOn: {source: true}}}
routes:
- {kind: HTTPRoute, name: shop, parentRefs: [{name: web}], rules: [{matches: [{path: {type: Exact, value: /}}], backendRefs: [{name: a}]}]}
- {kind: TCPRoute, name: raw, parentRefs: [{name: raw}], rules: [{backendRefs: [{name: a}]}]}
";

#[test]
fn of_the_gateway() {
    found(
        &[SMALL, GATEWAY],
        &[
            (
                "streamIdle: 5m",
                "streamIdle: 300",
                "a.yaml:15:71: listeners[web].http.timeouts.streamIdle: \"300\" is not a duration such as 500ms, 10s, 5m or 1h30m",
            ),
            (
                "streamIdle: 5m",
                "streamIdle: 100000s",
                "a.yaml:15:71: listeners[web].http.timeouts.streamIdle: \"100000s\": a number of more than five digits; \
             take a larger unit",
            ),
            (
                "streamIdle: 5m",
                "streamIdle: 0s",
                "a.yaml:15:71: listeners[web].http.timeouts.streamIdle: 0 leaves no time for anything",
            ),
            (
                "service: echo}",
                "service: echo, tcp: {idle: 1s}}",
                "a.yaml:17:60: listeners[echo].tcp: for TCP listeners without a service",
            ),
            (
                "[{name: web}]",
                "[{name: web}, {name: echo}]",
                "a.yaml:21:59: routes[shop].parentRefs: listener \"echo\" has a service, which leaves nothing for a route",
            ),
            (
                "{static: ['10.0.0.1:80']}",
                "{}",
                "a.yaml:19:24: backends[a].discovery: says nothing: write {static: [\"ADDRESS:PORT\"]}, {dns: {name: NAME, port: \
             PORT}} or {file: PATH}",
            ),
            (
                "{source: true}",
                "{source: true, header: x}",
                "a.yaml:19:128: backends[a].loadBalancing.hashOn: one of {source: true}, {header: NAME} and {cookie: NAME}, with a \
             name that can be one",
            ),
            (
                "maxConnections: 9",
                "maxConnections: 0",
                "a.yaml:19:84: backends[a].connectionPool.maxConnections: 0 leaves no connection to use",
            ),
            (
                "type: Exact, value: /",
                "type: Exact",
                "a.yaml:21:86: routes[shop].rules[0].matches[0].path.value: missing: only a PathPrefix is / without one",
            ),
            (
                "name: raw, parentRefs",
                "name: raw, hostnames: [a.example], parentRefs",
                "a.yaml:22:3: routes[raw].hostnames: TCP says none; they are for an HTTPRoute",
            ),
            (
                "rules: [{backendRefs",
                "rules: [{filters: [{type: DirectResponse, directResponse: {statusCode: 200}}], backendRefs",
                "a.yaml:22:66: routes[raw].rules[0].filters: not in a TCPRoute or TLSRoute, which see no requests",
            ),
        ],
    );
}
