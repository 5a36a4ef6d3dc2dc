//! Whole files.

use super::*;
use weirgate_dataplane::route::Backend as Share;

#[test]
fn the_example_compiles() {
    let snapshot = compiled(include_str!("../../../examples/gateway.yaml")).unwrap();
    let routes: Vec<_> = snapshot.http[0].rules.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!((snapshot.http[0].port, snapshot.http[0].address, &routes[..]), (80, None, &["shop", "rest"][..]));
    let share = |name: &str, weight| Share { backend: name.into(), weight };
    assert_eq!(snapshot.http[0].rules.routes[0].rules[0].backends, [share("cart-v1", 90), share("cart-v2", 10)]);
    assert_eq!((snapshot.tcp[0].port, &snapshot.tcp[0].backends[..]), (9_000, &[share("web", 1)][..]));
    let endpoints: Vec<_> = snapshot.backends.iter().map(|it| it.endpoints[0].address.to_string()).collect();
    assert_eq!(endpoints, ["10.77.0.11:8080", "10.77.0.12:8080", "10.77.0.13:8080"]);
    assert_eq!(Snapshot::from_json(&snapshot.to_json()).unwrap(), snapshot);
}

/// A file with everything that there will be: only what does not work yet is found, all of it, each by its name.
#[test]
fn what_comes_later_is_refused_by_name() {
    let found = compiled(include_str!("later.yaml")).unwrap_err();
    let wants = [
        "7:63: dataplane.memory.perConnectionBufferLimit",
        "8:13: dataplane.overload",
        "13:10: listeners[https].alpn[0]: h2",
        "22:12: listeners[https].http.http2",
        "25:27: secrets[mesh-ca].spiffe",
        "36:14: routes[shop].rules[cart].filters[1].type: RequestMirror",
        "38:12: routes[shop].rules[cart].retry",
        "39:12: routes[shop].rules[cart].hedge",
        "43:13: backends[cart-v1].protocol: h2c",
        "45:64: backends[cart-v1].loadBalancing.slowStart",
        "45:80: backends[cart-v1].loadBalancing.zoneAware",
        "47:21: backends[cart-v1].outlierDetection",
        "48:20: backends[cart-v1].circuitBreakers",
        "49:16: backends[cart-v1].retryBudget",
        "51:102: backends[cart-v2].loadBalancing.policy: PeakEwma",
        "54:3: policies",
        "58:6: xds",
    ];
    let wants: Vec<_> = wants.iter().map(|at| format!("a.yaml:{at} is not supported in this version")).collect();
    assert_eq!(found, wants, "{found:#?}");
}
