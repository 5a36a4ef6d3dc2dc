//! Gateways, HTTPRoutes and ReferenceGrants of Kubernetes.

use super::*;
use weirgate_dataplane::{
    filters::FilterSpec,
    route::{Backend as Share, RuleTimeouts},
};

/// Of ours; the documents below begin in line 19.
const OURS: &str = "\
backends:
- {name: 'shop/cart:80', discovery: {static: ['10.1.0.1:80']}}
- {name: 'shop/web:8080', discovery: {static: ['10.1.0.2:80']}}
- {name: 'front/web:80', discovery: {static: ['10.1.0.3:80']}}
---
";

const GATEWAY: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: infra, uid: 5b2, annotations: {a: '${NOT} a variable'}, managedFields: [{f: {}}]}
spec:
  gatewayClassName: weirgate
  addresses: [{type: IPAddress, value: 192.0.2.10}]
  listeners:
  - {name: http, port: 80, protocol: HTTP, hostname: '*.example.com', allowedRoutes: {namespaces: {from: All}}}
  - {name: alt, port: 8080, protocol: HTTP, allowedRoutes: {namespaces: {from: All}, kinds: [{kind: HTTPRoute}]}}
  - {name: own, port: 8081, protocol: HTTP}
status: {addresses: [{value: 192.0.2.10}], listeners: [{attachedRoutes: 1}]}
---
";

/// It begins in line 31.
const ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart, namespace: shop, creationTimestamp: null}
spec:
  parentRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge, namespace: infra, port: 80}]
  hostnames: [shop.example.com]
  rules:
  - name: cart
    matches: [{path: {type: PathPrefix, value: /cart}, method: GET}]
    filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-env, value: prod}]}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [x-old]}}
    - {type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /}}}
    timeouts: {request: 2s, backendRequest: 1s}
    backendRefs: [{name: cart, port: 80, weight: 9}, {group: '', kind: Service, name: web, port: 8080}]
  - matches: [{path: {value: /old}}]
    filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]
  - backendRefs: [{name: web, namespace: front, port: 80}]
status: {parents: []}
---
";

/// It begins in line 51.
const GRANT: &str = "\
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: shop, namespace: front}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]
  to: [{group: '', kind: Service, name: web}]
";

#[test]
fn kubernetes_documents_become_listeners_and_routes() {
    let snapshot = compiled(&[SMALL, OURS, GATEWAY, ROUTE, GRANT].concat()).unwrap();
    let names: Vec<_> = snapshot.http.iter().map(|it| (it.name.as_str(), it.port, it.rules.routes.len())).collect();
    assert_eq!(names, [("infra/edge/http", 80, 1), ("infra/edge/alt", 8_080, 0), ("infra/edge/own", 8_081, 0)]);
    assert!(snapshot.http.iter().all(|it| it.address == Some([192, 0, 2, 10].into())));
    assert_eq!(snapshot.http[0].rules.hostname.as_deref(), Some("*.example.com"));

    let route = &snapshot.http[0].rules.routes[0];
    assert_eq!((route.name.as_str(), &route.hostnames[..]), ("shop/cart", &["shop.example.com".to_owned()][..]));
    let [cart, old, rest] = &route.rules[..] else { panic!("three rules: {route:?}") };
    let share = |name: &str, weight| Share { backend: name.into(), weight };
    assert_eq!(cart.backends, [share("shop/cart:80", 9), share("shop/web:8080", 1)]);
    assert_eq!(rest.backends, [share("front/web:80", 1)]);
    assert_eq!(cart.timeouts, RuleTimeouts { request_ms: Some(2_000), backend_request_ms: Some(1_000) });
    assert_eq!(cart.filters.len(), 3);
    assert!(matches!(&old.filters[..], [FilterSpec::Redirect(it)] if it.status_code == Some(301)));
    assert_eq!(Snapshot::from_json(&snapshot.to_json()).unwrap(), snapshot);
}

/// Each row: what is replaced in the backends and documents, by what, and where the last rule goes, or what the finding says.
#[test]
fn a_name_alone_is_enough_near_the_gateway() {
    let ours = OURS.replace("'front/web:80'", "web");
    let near = ROUTE.replace("namespace: front", "namespace: infra");
    let grant = GRANT.replace("namespace: front", "namespace: infra");
    let all = |ours: &str, route: &str, grant: &str| compiled(&[SMALL, ours, GATEWAY, route, grant].concat());
    let last = |snapshot: Snapshot| snapshot.http[0].rules.routes[0].rules[2].backends[0].backend.clone();
    assert_eq!(all(&ours, &near, &grant).map(last), Ok("web".into()));
    let default = |text: &str| text.replace("namespace: infra", "namespace: default");
    assert_eq!(
        all(&ours, &ROUTE.replace("namespace: front", "namespace: default"), &default(&grant)).map(last),
        Ok("web".into())
    );
    // Elsewhere: nobody says which ports.
    let found = ours.replace("static: ['10.1.0.3:80']", "file: /run/web.yaml");
    assert_eq!(all(&found, &near, &grant).map(last), Ok("web".into()));
    let refused = |ours: &str, route: &str, grant: &str, wants: &str| {
        let found = all(ours, route, grant).expect_err(wants);
        let wants =
            format!("a.yaml:48:19: HTTPRoute[shop/cart].spec.rules[2].backendRefs[0]: there is no backend {wants}");
        assert_eq!(found, [wants]);
    };
    let wants = "\"front/web:80\", and backend \"web\" is for Services of other namespaces: default, infra";
    refused(&ours, ROUTE, GRANT, wants);
    let wants = "\"infra/web:80\", and backend \"web\" has only endpoints of port 81";
    refused(&ours.replace("10.1.0.3:80", "10.1.0.3:81"), &near, &grant, wants);
    // Of two Services with one name, the first has it.
    let both = near
        .replace("rules:\n", "rules:\n  - {name: first, backendRefs: [{name: web, namespace: default, port: 80}]}\n");
    let grants = format!("{grant}---\n{}", default(&grant));
    let found = all(&ours, &both, &grants).unwrap_err();
    assert!(
        found.len() == 1 && found[0].ends_with("backend \"web\" stands for Service default/web already"),
        "{found:#?}"
    );
}

/// Each row: what is replaced in the parent references, by what, and the listeners that the route reaches.
#[test]
fn routes_reach_the_listeners_that_they_name_and_that_take_them() {
    let named = "name: edge, namespace: infra, port: 80";
    for (from, to, wants) in [
        (named, "name: edge, namespace: infra", &["http", "alt"][..]),
        (named, "name: edge, namespace: infra, sectionName: alt", &["alt"]),
        (named, "name: edge, namespace: infra, sectionName: alt, port: 8080", &["alt"]),
        ("shop.example.com", "shop.example.org", &[]),
        ("[shop.example.com]", "[shop.example.org, '*.shop.example.com']", &["http"]),
        ("hostnames: [shop.example.com]", "hostnames: []", &["http"]),
    ] {
        let route = ROUTE.replacen(from, to, 1);
        assert_ne!(route, ROUTE);
        let found = compiled(&[SMALL, OURS, GATEWAY, &route, GRANT].concat());
        if wants.is_empty() {
            let wants = "a.yaml:35:16: HTTPRoute[shop/cart].spec.parentRefs[0]: no listener of Gateway \"infra/edge\" that it names \
                         speaks HTTP and takes one of its hostnames";
            assert_eq!(found.unwrap_err(), [wants]);
            continue;
        }
        let snapshot = found.unwrap();
        let reached = snapshot.http.iter().filter(|it| !it.rules.routes.is_empty());
        let reached: Vec<_> = reached.map(|it| it.name.rsplit('/').next().unwrap()).collect();
        assert_eq!(reached, wants, "{to}");
    }
    let own = ROUTE
        .replace("namespace: shop,", "namespace: infra,")
        .replace("port: 80}]\n  host", "sectionName: own}]\n  host");
    let grant = GRANT.replace("namespace: shop}]", "namespace: infra}]");
    let ours = OURS.replace("shop/", "infra/");
    assert_eq!(compiled(&[SMALL, &ours, GATEWAY, &own, &grant].concat()).unwrap().http[2].rules.routes.len(), 1);
}

#[test]
fn ours_and_theirs_go_together() {
    let ours = "gatewayClassNames: [weirgate, internal]\nroutes:\n- {kind: TCPRoute, name: raw, parentRefs: [{name: infra/edge/raw}], rules: [{backendRefs: [{name: 'front/web:80'}]}]}\n";
    let gateway = GATEWAY
        .replace("- {name: own, port: 8081, protocol: HTTP}", "- {name: raw, port: 9000, protocol: TCP}")
        .replace("Name: weirgate", "Name: internal");
    let snapshot = compiled(&[SMALL, ours, OURS, &gateway, ROUTE, GRANT].concat()).unwrap();
    assert_eq!((snapshot.tcp[0].name.as_str(), snapshot.tcp[0].backends.len()), ("infra/edge/raw", 1));
    // Without a namespace it is the one that Kubernetes calls default.
    let gateway = GATEWAY.replace("name: edge, namespace: infra,", "name: edge,");
    let route = ROUTE.replace("namespace: infra,", "namespace: default,");
    assert_eq!(compiled(&[SMALL, OURS, &gateway, &route, GRANT].concat()).unwrap().http[0].name, "default/edge/http");
}

/// Each row: what is replaced, by what, and what the finding says.
#[test]
fn what_a_gateway_cannot_be_is_said() {
    for (from, to, wants) in [
        (
            "Name: weirgate",
            "Name: wiergate",
            "a.yaml:23:21: Gateway[infra/edge].spec.gatewayClassName: \"wiergate\" is none of weirgate, whose Gateways are ours; did you mean \"weirgate\"?",
        ),
        ("  gatewayClassName: weirgate\n", "", "a.yaml:23:3: Gateway[infra/edge].spec.gatewayClassName is missing"),
        (
            "Gateway\n",
            "Gatewy\n",
            "a.yaml:20:7: kind: Gatewy is not supported in this version: Gateway, HTTPRoute and ReferenceGrant are",
        ),
        ("Gateway\n", "GRPCRoute\n", "a.yaml:20:7: kind: GRPCRoute is not supported in this version"),
        (
            "io/v1\n",
            "io/v1alpha2\n",
            "a.yaml:19:13: apiVersion: \"gateway.networking.k8s.io/v1alpha2\"; this version reads gateway.networking.k8s.io/v1",
        ),
        ("{name: edge, namespace: infra, ", "{namespace: infra, ", "a.yaml:21:11: Gateway.metadata.name is missing"),
        (
            "protocol: HTTP, hostname",
            "protocol: HTTPS, hostname",
            "a.yaml:26:5: Gateway[infra/edge].spec.listeners[http].tls: missing: its certificateRefs name the certificate that clients see",
        ),
        (
            "protocol: HTTP, hostname",
            "protocol: TLS, hostname",
            "spec.listeners[http].tls: missing: its certificateRefs",
        ),
        (
            "protocol: HTTP, hostname",
            "protocol: HTTP, tls: {}, hostname",
            "a.yaml:26:49: Gateway[infra/edge].spec.listeners[http].tls: for HTTPS and TLS listeners",
        ),
        ("protocol: HTTP, hostname", "protocol: TCP, hostname", "spec.listeners[http].hostname: TCP says no hostname"),
        (
            "{name: own, port: 8081, protocol: HTTP}",
            "{name: own, port: 8081, protocol: TCP}",
            "a.yaml:28:5: Gateway[infra/edge].spec.listeners[own]: a TCP listener needs a service",
        ),
        (
            "from: All}}}",
            "from: Selector, selector: {}}}}",
            "spec.listeners[http].allowedRoutes.namespaces.from: Selector is not supported",
        ),
        (
            "from: All}}}",
            "from: All, selector: {}}}}",
            "spec.listeners[http].allowedRoutes.namespaces.selector: it is for from: Selector",
        ),
        (
            "from: All}}}",
            "from: Some}}}",
            "spec.listeners[http].allowedRoutes.namespaces.from: \"Some\" is none of Same, All",
        ),
        (
            "{kind: HTTPRoute}",
            "{kind: GRPCRoute}",
            "spec.listeners[alt].allowedRoutes.kinds[0].kind: GRPCRoute is not supported",
        ),
        (
            "{kind: HTTPRoute}",
            "{group: apps, kind: HTTPRoute}",
            "kinds[0].group: only kinds of gateway.networking.k8s.io are routes",
        ),
        (
            "port: 8080,",
            "port: 80,",
            "a.yaml:27:5: listeners \"infra/edge/http\" and \"infra/edge/alt\" have the same address and port 80",
        ),
        (
            "name: alt",
            "name: http",
            "Gateway[infra/edge].spec.listeners[http].name: another listener is named \"infra/edge/http\"",
        ),
        (
            "type: IPAddress",
            "type: Hostname",
            "a.yaml:24:22: Gateway[infra/edge].spec.addresses[0].type: \"Hostname\" is none of IPAddress",
        ),
        (
            "192.0.2.10}]\n  lis",
            "192.0.2.10}, {value: 192.0.2.11}]\n  lis",
            "spec.addresses[1]: a second address is not supported in this version",
        ),
        (
            "192.0.2.10}]\n  lis",
            "192.0.2.99}]\n  lis",
            "a.yaml:26:5: listener \"infra/edge/http\": no port has the address 192.0.2.99",
        ),
        (
            "  listeners:",
            "  infrastructure: {labels: {}}\n  listeners:",
            "a.yaml:25:19: Gateway[infra/edge].spec.infrastructure is not supported in this version",
        ),
        (
            "  listeners:",
            "  listner: []\n  listeners:",
            "a.yaml:25:3: Gateway[infra/edge].spec: unknown field \"listner\"",
        ),
    ] {
        let gateway = GATEWAY.replacen(from, to, 1);
        assert_ne!(gateway, GATEWAY, "{from}");
        let found = compiled(&[SMALL, OURS, &gateway].concat()).expect_err(to);
        assert!(found.iter().any(|it| it.contains(wants)), "{to}: {wants}: {found:#?}");
    }
    let found = compiled(&[SMALL, OURS, GATEWAY, GATEWAY].concat()).unwrap_err();
    assert_eq!(found, ["a.yaml:33:18: Gateway[infra/edge]: a second Gateway of this name in its namespace"]);
}

/// Each row: what is replaced, by what, and what the finding says.
#[test]
fn what_an_http_route_cannot_be_is_said() {
    let at = "HTTPRoute[shop/cart].spec";
    for (from, to, wants) in [
        (
            "name: edge,",
            "name: egde,",
            "a.yaml:35:16: {at}.parentRefs[0]: there is no Gateway \"infra/egde\"; did you mean \"infra/edge\"?",
        ),
        ("namespace: infra, port", "port", "{at}.parentRefs[0]: there is no Gateway \"shop/edge\""),
        (
            "port: 80}]\n",
            "sectionName: htpp}]\n",
            "{at}.parentRefs[0]: Gateway \"infra/edge\" has no such listener; did you mean \"http\"?",
        ),
        ("port: 80}]\n", "port: 81}]\n", "{at}.parentRefs[0]: Gateway \"infra/edge\" has no such listener"),
        (
            "port: 80}]\n",
            "sectionName: own}]\n",
            "{at}.parentRefs[0]: no listener of Gateway \"infra/edge\" that it names allows it",
        ),
        ("[shop.example.com]", "[shop.example.org]", "that it names speaks HTTP and takes one of its hostnames"),
        (
            "port: 80}]\n  hostnames: [shop.example.com]",
            "sectionName: http}]\n  hostnames: [a.org]",
            "a.yaml:35:16: {at}.hostnames, on listener \"infra/edge/http\": none of them is within",
        ),
        ("kind: Gateway,", "kind: Service,", "{at}.parentRefs[0]: Service is not supported in this version"),
        ("  parentRefs: [{", "  other: [{", "a.yaml:33:18: {at}.parentRefs: missing: they name the Gateways"),
        ("  parentRefs: [{", "  other: [{", "a.yaml:35:3: {at}: unknown field \"other\""),
        (
            "[{name: cart, port: 80, ",
            "[{name: card, port: 80, ",
            "a.yaml:45:19: {at}.rules[cart].backendRefs: there is no backend \"shop/card:80\"; did you mean \"shop/cart:80\"?",
        ),
        ("[{name: cart, port: 80, ", "[{name: cart, ", "a.yaml:45:19: {at}.rules[cart].backendRefs[0].port is missing"),
        (
            "kind: Service, name",
            "kind: Bucket, name",
            "{at}.rules[cart].backendRefs[1]: Bucket is not supported in this version: a Service is",
        ),
        (
            "weight: 9",
            "filters: []",
            "a.yaml:45:51: {at}.rules[cart].backendRefs[0].filters is not supported in this version",
        ),
        (
            "namespace: front",
            "namespace: back",
            "a.yaml:48:19: {at}.rules[2].backendRefs[0]: Service back/web: no ReferenceGrant there lets HTTPRoutes of shop refer to it",
        ),
        (
            "{name: web, namespace: front",
            "{name: cart, namespace: front",
            "Service front/cart: no ReferenceGrant there",
        ),
        (
            "    timeouts:",
            "    retry: {}\n    timeouts:",
            "a.yaml:44:12: {at}.rules[cart].retry is not supported in this version",
        ),
        (
            "    timeouts:",
            "    sessionPersistence: {}\n    timeouts:",
            "spec.rules[cart].sessionPersistence is not supported in this version",
        ),
        (
            "backendRequest: 1s",
            "backendRequest: 3s",
            "{at}.rules[cart].timeouts.backendRequest: longer than the request",
        ),
        ("type: PathPrefix", "type: Prefix", "{at}.rules[cart].matches[0].path.type: \"Prefix\" is none of"),
        (
            "value: /cart",
            "value: cart",
            "a.yaml:39:15: {at}.rules[cart].matches[0].path.value: \"cart\" must begin with '/'",
        ),
        (
            "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-env, value: prod}]}}",
            "{type: RequestMirror, requestMirror: {}}",
            "a.yaml:41:14: {at}.rules[cart].filters[0].type: RequestMirror is not supported in this version",
        ),
        (
            "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-env, value: prod}]}}",
            "{type: ExtensionRef, extensionRef: {}}",
            "filters[0].type: ExtensionRef is not supported in this version",
        ),
        (
            "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-env, value: prod}]}}",
            "{type: DirectResponse}",
            "filters[0].type: \"DirectResponse\" is none of RequestHeaderModifier, ResponseHeaderModifier, URLRewrite, RequestRedirect, RequestMirror",
        ),
        (
            "{type: URLRewrite, ",
            "{type: URLRewrite, extensionRef: {}, ",
            "filters[2].extensionRef: not a field of the type URLRewrite",
        ),
        (
            "statusCode: 301",
            "statusCode: 200",
            "{at}.rules[1].filters[0].requestRedirect.statusCode: 200 is not a redirect",
        ),
    ] {
        let route = ROUTE.replacen(from, to, 1);
        assert_ne!(route, ROUTE, "{from}");
        let found = compiled(&[SMALL, OURS, GATEWAY, &route, GRANT].concat()).expect_err(to);
        let wants = wants.replace("{at}", at);
        assert!(found.iter().any(|it| it.contains(&wants)), "{to}: {wants}: {found:#?}");
    }
    for (from, to) in [
        ("namespace: front", "namespace: back"),
        ("kind: HTTPRoute", "kind: GRPCRoute"),
        ("namespace: shop}]", "namespace: stop}]"),
        ("kind: Service", "kind: Secret"),
        ("name: web", "name: wep"),
        ("group: ''", "group: apps"),
    ] {
        let found = compiled(&[SMALL, OURS, GATEWAY, ROUTE, &GRANT.replacen(from, to, 1)].concat()).unwrap_err();
        assert_eq!(found.len(), 1, "{to}: {found:#?}");
        assert!(found[0].contains("no ReferenceGrant there lets HTTPRoutes of shop refer to it"), "{to}: {found:#?}");
    }
}
