//! Routes, and what they refer to.

use super::*;
use weirgate_dataplane::{
    filters::{FilterSpec, rewrite::PathSpec},
    route::{Backend as Share, HeaderKind, PathKind, QueryKind, RuleTimeouts},
};

/// It begins in line 14.
const GATEWAY: &str = "\
listeners:
- {name: web, port: 80, protocol: HTTP, hostname: '*.example.com'}
- {name: alt, port: 8080, protocol: HTTP}
- {name: mail, port: 25, protocol: TCP, tcp: {idle: 1h}}
- {name: echo, port: 7, protocol: TCP, service: echo}
backends:
- {name: cart-v1, discovery: {static: ['10.1.0.21:8080']}}
- {name: cart-v2, discovery: {static: ['10.1.0.22:8080']}, loadBalancing: {policy: Maglev, hashOn: {cookie: sid}}}
- {name: mta, discovery: {static: ['10.1.0.25:25']}}
routes:
- kind: HTTPRoute
  name: shop
  parentRefs: [{name: web}, {name: alt}]
  hostnames: [shop.example.com]
  rules:
  - name: cart
    matches:
    - {path: {type: Exact, value: /healthz}}
    - {path: {value: /cart}, method: GET, headers: [{name: x-env, value: prod}, {name: x-id, type: Present}]}
    filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-env, value: prod}], remove: [x-old]}}
    - {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /v1/cart}}}
    timeouts: {request: 2s, backendRequest: 500ms}
    backendRefs: [{name: cart-v1, weight: 90}, {name: cart-v2, weight: 10}]
  - matches: [{path: {type: RegularExpression, value: '/[0-9]+'}, queryParams: [{name: q, value: a, type: Exact}]}]
    filters: [{type: DirectResponse, directResponse: {statusCode: 404, body: none}}]
  - matches: [{path: {type: PathPrefix, value: /basket}}]
    filters:
    - {type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /cart}, statusCode: 308}}
- kind: TCPRoute
  name: mail
  parentRefs: [{name: mail}]
  rules: [{backendRefs: [{name: mta}]}]
";

#[test]
fn routes_reach_their_listeners() {
    let snapshot = compiled(&format!("{SMALL}{GATEWAY}")).unwrap();
    let [web, alt] = &snapshot.http[..] else { panic!("two of them: {:?}", snapshot.http) };
    assert_eq!(web.rules.routes, alt.rules.routes);
    let [shop] = &web.rules.routes[..] else { panic!("one route: {:?}", web.rules.routes) };
    assert_eq!((shop.name.as_str(), &shop.hostnames[..]), ("shop", &["shop.example.com".to_owned()][..]));
    let [cart, digits, basket] = &shop.rules[..] else { panic!("three rules: {:?}", shop.rules) };

    assert_eq!(cart.name.as_deref(), Some("cart"));
    let share = |name: &str, weight| Share { backend: name.into(), weight };
    assert_eq!(cart.backends, [share("cart-v1", 90), share("cart-v2", 10)]);
    assert_eq!(cart.timeouts, RuleTimeouts { request_ms: Some(2_000), backend_request_ms: Some(500) });
    let [exact, prefix] = &cart.matches[..] else { panic!("two matches: {:?}", cart.matches) };
    assert_eq!((exact.path.kind, exact.path.value.as_str()), (PathKind::Exact, "/healthz"));
    assert_eq!((prefix.path.kind, prefix.method.as_deref()), (PathKind::PathPrefix, Some("GET")));
    assert_eq!(prefix.headers.iter().map(|h| h.kind).collect::<Vec<_>>(), [HeaderKind::Exact, HeaderKind::Present]);
    let [FilterSpec::RequestHeaderModifier(fields), FilterSpec::UrlRewrite(rewrite)] = &cart.filters[..] else {
        panic!("two filters: {:?}", cart.filters)
    };
    assert_eq!((fields.set[0].name.as_str(), fields.remove[0].as_str()), ("x-env", "x-old"));
    assert_eq!(rewrite.path, Some(PathSpec::ReplacePrefixMatch { replace_prefix_match: "/v1/cart".into() }));

    assert_eq!(digits.matches[0].query_params[0].kind, QueryKind::Exact);
    assert!(matches!(&digits.filters[..], [FilterSpec::DirectResponse(it)] if it.body == "none"));
    assert!(matches!(&basket.filters[..], [FilterSpec::Redirect(it)] if it.status_code == Some(308)));
    let [mail] = &snapshot.tcp[..] else { panic!("one of them: {:?}", snapshot.tcp) };
    assert_eq!((mail.name.as_str(), mail.idle_ms, &mail.backends[..]), ("mail", 3_600_000, &[share("mta", 1)][..]));
    assert_eq!(Snapshot::from_json(&snapshot.to_json()).unwrap(), snapshot);
}

#[test]
fn what_belongs_together_may_lie_in_several_files_in_any_order() {
    let head = "apiVersion: weirgate/v1\nkind: GatewayConfig\n";
    let (front, routes) = GATEWAY.split_at(GATEWAY.find("routes:").unwrap());
    let file = |name: &str, text: String| (name.to_owned(), text);
    let files = [file("r", format!("{head}{routes}")), file("a.yaml", format!("{SMALL}{front}"))];
    assert_eq!(compiled_files(&files).unwrap(), compiled(&format!("{SMALL}{GATEWAY}")).unwrap());
    // A finding is in the file where it lies.
    let files = [files[0].clone(), file("a.yaml", format!("{SMALL}{}", front.replace("name: mail", "name: post")))];
    let found: Vec<_> = compiled_files(&files).unwrap_err().iter().map(ToString::to_string).collect();
    assert!(found[0].starts_with("r:25:16: routes[mail].parentRefs: there is no listener \"mail\""), "{found:#?}");
    assert!(found[1].starts_with("a.yaml:17:3: listeners[post]: a TCP listener needs a service"), "{found:#?}");
    // Of a file that cannot be read, nothing is said to be missing.
    let files = [files[0].clone(), file("a.yaml", "dataplane: [".into())];
    assert_eq!(compiled_files(&files).unwrap_err().len(), 1);
}

#[test]
fn a_timeout_of_zero_is_none() {
    let text = GATEWAY.replace("request: 2s, backendRequest: 500ms", "request: 0s, backendRequest: 500ms");
    let snapshot = compiled(&format!("{SMALL}{text}")).unwrap();
    assert_eq!(snapshot.http[0].rules.routes[0].rules[0].timeouts.request_ms, None);
}

/// Each row: what is replaced, by what, and what the finding says.
#[test]
fn what_refers_to_nothing_is_said() {
    for (from, to, wants) in [
        ("HTTPRoute", "GRPCRoute", "a.yaml:24:9: routes[shop].kind: GRPCRoute is not supported in this version"),
        (
            "kind: TCPRoute",
            "kind: TLSRoute",
            "listener \"mail\" passes no TLS through; a TLSRoute needs protocol: TLS with mode: Passthrough",
        ),
        ("HTTPRoute", "Route", "routes[shop].kind: \"Route\" is none of HTTPRoute, TCPRoute, TLSRoute, GRPCRoute"),
        (
            "[{name: web}, {name: alt}]",
            "[{name: wep}]",
            "a.yaml:26:16: routes[shop].parentRefs: there is no listener \"wep\"; did you mean \"web\"?",
        ),
        ("  parentRefs: [{name: web}, {name: alt}]\n", "", "routes[shop].parentRefs: missing"),
        ("{name: alt}]", "{name: web}]", "routes[shop].parentRefs: listener \"web\" stands there twice"),
        ("{name: alt}]", "{name: mail}]", "listener \"mail\" speaks TCP; an HTTPRoute needs protocol: HTTP"),
        ("{name: alt}]", "{name: echo}]", "a.yaml:26:29: routes[shop].parentRefs: listener \"echo\" has a service"),
        (
            "[{name: mail}]",
            "[{name: mail}, {name: web}]",
            "listener \"web\" speaks HTTP; a TCPRoute needs protocol: TCP",
        ),
        (
            "{name: cart-v1, weight",
            "{name: cart-v3, weight",
            "a.yaml:37:19: routes[shop].rules[cart].backendRefs: there is no backend \"cart-v3\"; did you mean \"cart-v1\"?",
        ),
        (
            "{name: mta}]}]",
            "{name: mtb}]}]",
            "routes[mail].rules[0].backendRefs: there is no backend \"mtb\"; did you mean \"mta\"?",
        ),
        ("  name: mail", "  name: shop", "a.yaml:44:9: routes[shop].name: another route is named \"shop\""),
        ("{name: mta}]}]", "{name: mta, weight: 0}]}]", "backendRefs: no backend with a weight above 0"),
        ("{name: mta}]}]", "{name: cart-v2}]}]", "backend \"cart-v2\" hashes a header field or cookie"),
        ("{name: mta}]}]", "{name: mta, weight: 2000000}]}]", "weight: 2000000 is more than"),
        ("rules: [{backendRefs: [{name: mta}]}]", "rules: []", "routes[mail].rules: 0 of them; a TCPRoute has one"),
        (
            "rules: [{backendRefs",
            "rules: [{matches: [{}], backendRefs",
            "routes[mail].rules[0].matches: not in a TCPRoute or TLSRoute",
        ),
        (
            "rules: [{backendRefs",
            "hostnames: [a.example]\n  rules: [{backendRefs",
            "routes[mail].hostnames: TCP says none",
        ),
        (
            "  rules: [{backendRefs: [{name: mta}]}]\n",
            "  rules: [{backendRefs: [{name: mta}]}]\n- {kind: TCPRoute, name: more, parentRefs: [{name: mail}], rules: [{backendRefs: [{name: mta}]}]}\n",
            "listener \"mail\" has the TCPRoute \"mail\" already",
        ),
    ] {
        refused(&[SMALL, GATEWAY], from, to, wants);
    }
}

/// Each row: what is replaced, by what, and what the finding says.
#[test]
fn what_a_rule_cannot_be_is_said() {
    for (from, to, wants) in [
        (
            "type: Exact, value: /healthz",
            "type: Prefix, value: /healthz",
            "a.yaml:31:21: routes[shop].rules[cart].matches[0].path.type: \"Prefix\" is none of Exact, PathPrefix, RegularExpression",
        ),
        ("type: Exact, value: /healthz", "type: Exact", "matches[0].path.value: missing"),
        (
            "value: /healthz",
            "value: healthz",
            "a.yaml:31:7: routes[shop].rules[cart].matches[0].path.value: \"healthz\" must begin with '/'",
        ),
        (
            "method: GET",
            "method: 'G T'",
            "a.yaml:32:7: routes[shop].rules[cart].matches[1].method: \"G T\" is not a method",
        ),
        (
            "type: Present",
            "type: There",
            "matches[1].headers[1].type: \"There\" is none of Exact, Present, RegularExpression",
        ),
        (
            "name: x-env, value: prod}, {",
            "name: 'x env', value: prod}, {",
            "matches[1].headers[0]: \"x env\" is not a field name",
        ),
        (
            "value: a, type: Exact",
            "value: a, type: Present",
            "routes[shop].rules[1].matches[0].queryParams[0].type: \"Present\" is none of Exact, RegularExpression",
        ),
        ("'/[0-9]+'", "'/[0-9'", "a.yaml:38:15: routes[shop].rules[1].matches[0].path.value: "),
        (
            "weight: 90",
            "weight: 2000000",
            "a.yaml:37:19: routes[shop].rules[cart].backendRefs[0].weight: 2000000 is more than",
        ),
        (
            "request: 2s",
            "request: 200ms",
            "a.yaml:36:15: routes[shop].rules[cart].timeouts.backendRequest: longer than the request",
        ),
        (
            "timeouts: {",
            "retry: {attempts: 2}\n    timeouts: {",
            "a.yaml:36:12: routes[shop].rules[cart].retry is not supported in this version",
        ),
        (
            "timeouts: {",
            "hedge: {after: p95}\n    timeouts: {",
            "routes[shop].rules[cart].hedge is not supported in this version",
        ),
        (
            "[shop.example.com]",
            "[shop.example.org]",
            "a.yaml:26:16: routes[shop].hostnames, on listener \"web\": none of them is within",
        ),
        ("[shop.example.com]", "[Shop.example.com]", "\"Shop.example.com\" is not a hostname"),
        ("'*.example.com'", "'*'", "a.yaml:15:3: listeners[web].hostname: \"*\" is not a hostname"),
    ] {
        refused(&[SMALL, GATEWAY], from, to, wants);
    }
    let text = GATEWAY.replace("value: /healthz", "value: healthz");
    let found = compiled(&format!("{SMALL}{text}")).unwrap_err();
    assert_eq!(found.len(), 1, "once, though it concerns two listeners: {found:#?}");
}

/// Each row: what is replaced, by what, and what the finding says.
#[test]
fn what_a_filter_cannot_be_is_said() {
    let redirect = "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /cart}, statusCode: 308}";
    for (from, to, wants) in [
        (
            "{type: URLRewrite, urlRewrite",
            "{type: RequestMirror, requestMirror",
            "a.yaml:35:14: routes[shop].rules[cart].filters[1].type: RequestMirror is not supported in this version",
        ),
        ("type: URLRewrite", "type: Rewrite", "filters[1].type: \"Rewrite\" is none of RequestHeaderModifier,"),
        (
            "type: URLRewrite, ",
            "type: RequestRedirect, ",
            "filters[1].urlRewrite: not a field of the type RequestRedirect",
        ),
        (
            "type: URLRewrite, ",
            "type: RequestRedirect, ",
            "filters[1].requestRedirect: missing: it says what RequestRedirect does",
        ),
        (
            "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /v1/cart}}",
            "{}",
            "urlRewrite: neither hostname nor path",
        ),
        (
            "replacePrefixMatch: /v1/cart",
            "replaceFullPath: /v1/cart",
            "filters[1].urlRewrite.path: the type ReplacePrefixMatch has the field replacePrefixMatch, and only that",
        ),
        ("replacePrefixMatch: /v1/cart", "replacePrefixMatch: v1", "filters[1].urlRewrite."),
        (
            "type: Exact, value: /healthz",
            "type: RegularExpression, value: /h+",
            "a.yaml:35:45: routes[shop].rules[cart].filters[1].urlRewrite.path: ReplacePrefixMatch needs a rule that matches a PathPrefix",
        ),
        (
            "remove: [x-old]",
            "remove: [Host]",
            "filters[0].requestHeaderModifier.remove[0]: host is written by the gateway itself",
        ),
        (
            "{set: [{name: x-env",
            "{set: [{name: 'x env'",
            "a.yaml:34:7: routes[shop].rules[cart].filters[0].requestHeaderModifier.set[0].name: \"x env\"",
        ),
        (
            redirect,
            "{statusCode: 200}",
            "routes[shop].rules[2].filters[0].requestRedirect.statusCode: 200 is not a redirect",
        ),
        (redirect, "{scheme: ftp}", "requestRedirect.scheme: \"ftp\" is neither"),
        (
            "statusCode: 404",
            "statusCode: 100",
            "routes[shop].rules[1].filters[0].directResponse.statusCode: 100 is no final status",
        ),
        (
            "statusCode: 404, body: none}}]",
            "statusCode: 404}}]\n    backendRefs: [{name: mta}]",
            "a.yaml:38:5: routes[shop].rules[1].backendRefs: a filter answers in their place",
        ),
        (
            "    - {type: URLRewrite",
            "    - {type: RequestHeaderModifier, requestHeaderModifier: {remove: [a]}}\n    - {type: URLRewrite",
            "a.yaml:35:7: routes[shop].rules[cart].filters[1]: a second filter of this kind",
        ),
        (
            "body: none}}]",
            "body: none}}, {type: URLRewrite, urlRewrite: {hostname: a.example}}]",
            "routes[shop].rules[1].filters: a rewrite beside a redirect",
        ),
    ] {
        refused(&[SMALL, GATEWAY], from, to, wants);
    }
}
