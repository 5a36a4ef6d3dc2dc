//! `secrets`, and TLS of listeners and backends.

use super::{golden::found, *};
use crate::config::secrets::LEFT_OUT;
use base64::{Engine, prelude::BASE64_STANDARD};
use std::path::Path;
use weirgate_dataplane::snapshot::{TlsPolicy, TlsVersion};

const TLS: &str = include_str!("../../../examples/tls.yaml");

fn model(text: &str) -> Model {
    compile(&[("/etc/weirgate/gateway.yaml".into(), text.into())], &Environment::default()).unwrap()
}

#[test]
fn the_example_compiles() {
    let Model { snapshot, control, brought } = model(TLS);
    let names: Vec<_> = snapshot.certificates.iter().map(|it| it.name.as_str()).collect();
    assert_eq!((&names[..], snapshot.authorities[0].name.as_str()), (&["shop", "wild", "gateway"][..], "mesh-ca"));
    assert!(snapshot.certificates.iter().all(|it| it.chain.is_empty()) && brought.is_empty(), "only names");
    assert_eq!(control.secrets.iter().map(|it| it.watch).collect::<Vec<_>>(), [true, true, false, true]);
    let [https, partners] = &snapshot.http[..] else { panic!("two") };
    let tls = https.tls.as_ref().unwrap();
    assert_eq!(
        (&tls.certificates[..], tls.refuse_unknown_names, tls.handshake_ms),
        (&["shop".into(), "wild".into()][..], false, 10_000)
    );
    assert_eq!(tls.policy, TlsPolicy { alpn: vec!["http/1.1".into()], ..TlsPolicy::default() });
    let tls = partners.tls.as_ref().unwrap();
    assert_eq!((tls.policy.version_min, tls.refuse_unknown_names, tls.handshake_ms), (TlsVersion::Tls13, true, 5_000));
    assert_eq!((tls.policy.suites.len(), tls.policy.groups.len()), (2, 2));
    assert!(tls.clients.as_ref().unwrap().is_required);
    assert_eq!(snapshot.tcp[0].tls.as_ref().unwrap().policy.alpn, ["mqtt"]);
    let tls = snapshot.backends[0].tls.as_ref().unwrap();
    assert_eq!(
        (tls.authorities.as_str(), tls.sni.as_deref(), tls.certificate.as_deref()),
        ("mesh-ca", Some("shop.mesh.example"), Some("gateway"))
    );
    assert_eq!(tls.names, ["spiffe://mesh.example/ns/shop/sa/shop"]);
    assert_eq!(Snapshot::from_json(&snapshot.to_json()).unwrap(), snapshot);
}

#[test]
fn paths_are_relative_to_the_document() {
    let text = TLS.replace("/etc/weirgate/tls/shop.pem", "./tls/shop.pem");
    let SecretSource::Certificate { cert, .. } = &model(&text).control.secrets[0].source else { panic!() };
    assert_eq!(cert, Path::new("/etc/weirgate/tls/shop.pem"));
    // Whoever sends a document to the daemon says where it was, or where the files are.
    let found = compiled(&text).unwrap_err();
    assert!(
        found[0].contains("\"./tls/shop.pem\" is relative, and where a.yaml is was not said: write an absolute path"),
        "{found:?}"
    );
    let mut here = Environment::default();
    here.is_local = true;
    let model = compile(&[("a.yaml".into(), text)], &here).unwrap();
    let SecretSource::Certificate { cert, .. } = &model.control.secrets[0].source else { panic!() };
    assert_eq!(*cert, std::env::current_dir().unwrap().join("tls/shop.pem"));
}

#[test]
fn names_in_the_schema_are_those_that_work() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    let said = |name: &str| schema["$defs"][name]["anyOf"][0]["enum"].clone();
    assert_eq!(said("CipherSuite"), TlsPolicy::suite_names().collect::<serde_json::Value>());
    assert_eq!(said("KeyExchangeGroup"), TlsPolicy::group_names().collect::<serde_json::Value>());
}

const SECRETS: &str = "\
secrets:
- {name: shop, file: {cert: /t/shop.pem, key: /t/shop.key}}
- {name: mesh, file: {ca: /t/mesh.pem}}
listeners:
- {name: web, port: 443, protocol: HTTPS, alpn: [http/1.1], tls: {certificateRefs: [shop], frontendValidation: {caRefs: [mesh]}}}
- {name: raw, port: 853, protocol: TLS, tls: {certificateRefs: [shop], minVersion: 1.2}}
- {name: tcp, port: 9000, protocol: TCP}
backends:
- {name: a, discovery: {static: ['10.0.0.1:80']}, tls: {caRef: mesh, sni: a.example, clientCertRef: shop}}
routes:
- {kind: HTTPRoute, name: all, parentRefs: [{name: web}], rules: [{backendRefs: [{name: a}]}]}
- {kind: TCPRoute, name: raw, parentRefs: [{name: raw}, {name: tcp}], rules: [{backendRefs: [{name: a}]}]}
";

#[test]
fn findings_of_secrets() {
    found(
        &[SMALL, SECRETS],
        &[
            (
                "file: {ca: /t/mesh.pem}",
                "spiffe: {trustDomain: a.example}",
                "a.yaml:16:24: secrets[mesh].spiffe is not supported in this version",
            ),
            (
                ", file: {ca: /t/mesh.pem}",
                "",
                "a.yaml:16:3: secrets[mesh]: says nothing: write file: {cert: PATH, key: PATH} or {ca: PATH}",
            ),
            (
                ", key: /t/shop.key",
                "",
                "a.yaml:15:22: secrets[shop].file.key: missing: a certificate is of no use without its private key",
            ),
            (
                "cert: /t/shop.pem, ",
                "",
                "a.yaml:15:22: secrets[shop].file.cert: missing: a private key is of no use without its certificate",
            ),
            (
                "{ca: /t/mesh.pem}",
                "{ca: /t/mesh.pem, ocsp: /t/x}",
                "a.yaml:16:22: secrets[mesh].file: a certificate with its key (and ocsp), or authorities (and crl): write {cert: PATH, \
             key: PATH} or {ca: PATH}",
            ),
            (
                "/t/shop.key",
                "shop.key",
                "a.yaml:15:47: secrets[shop].file.key: \"shop.key\" is relative, and where a.yaml is was not said: write an absolute \
             path",
            ),
        ],
    );
    for (from, to, wants) in [
        ("name: mesh, file", "name: shop, file", "secrets[shop].name: another secret is named \"shop\""),
        ("ca: /t", "cs: /t", "secrets[mesh].file: unknown field \"cs\"; did you mean \"ca\"?"),
    ] {
        refused(&[SMALL, SECRETS], from, to, wants);
    }
}

const PASSED: &str = "\
listeners:
- {name: web, port: 443, protocol: TLS, tls: {mode: Passthrough}}
backends:
- {name: a, discovery: {static: ['10.0.0.1:443']}}
- {name: b, discovery: {static: ['10.0.0.2:443']}}
routes:
- {kind: TLSRoute, name: a, parentRefs: [{name: web}], hostnames: [a.example, '*.a.example'], rules: [{backendRefs: [{name: a}]}]}
- {kind: TLSRoute, name: rest, parentRefs: [{name: web}], rules: [{backendRefs: [{name: b}]}]}
";

#[test]
fn tls_that_is_passed_through_goes_by_its_name() {
    let snapshot = compiled(&format!("{SMALL}{PASSED}")).unwrap();
    let [web] = &snapshot.tcp[..] else { panic!("one of them: {:?}", snapshot.tcp) };
    assert!(web.tls.is_none());
    let [named] = &web.names[..] else { panic!("one of them: {:?}", web.names) };
    assert_eq!(named.hostnames, ["a.example", "*.a.example"]);
    assert_eq!((&*named.backends[0].backend, &*web.backends[0].backend), ("a", "b"));
    // Without a route for the rest, the rest is refused.
    let some = compiled(&format!("{SMALL}{}", PASSED.split_inclusive('\n').take(7).collect::<String>())).unwrap();
    assert!(some.tcp[0].backends.is_empty());
    found(
        &[SMALL, PASSED],
        &[
            (
                "protocol: TLS",
                "protocol: HTTPS",
                "a.yaml:15:48: listeners[web].tls.mode: Passthrough is for protocol TLS: what is not decrypted is no HTTP here",
            ),
            (
                "kind: TLSRoute, name: rest",
                "kind: TCPRoute, name: rest",
                "a.yaml:21:45: routes[rest].parentRefs: listener \"web\" passes TLS through by its name; it needs a TLSRoute",
            ),
            (
                "name: rest, parentRefs: [{name: web}]",
                "name: rest, hostnames: [A.example], parentRefs: [{name: web}]",
                "a.yaml:21:69: routes[rest].parentRefs: another TLSRoute of listener \"web\" is for \"A.example\"",
            ),
            (
                "hostnames: [a.example, '*.a.example']",
                "hostnames: ['a..example', x]",
                "a.yaml:20:3: routes[a].hostnames: \"a..example\" is neither a DNS name nor *. and a domain",
            ),
        ],
    );
}

#[test]
fn findings_of_listeners() {
    found(
        &[SMALL, SECRETS],
        &[
            (
                "[shop], frontend",
                "[shpo], frontend",
                "a.yaml:18:85: listeners[web].tls.certificateRefs[0]: there is no secret \"shpo\"; did you mean \"shop\"?",
            ),
            (
                "[shop], frontend",
                "[shop, shop], frontend",
                "a.yaml:18:91: listeners[web].tls.certificateRefs[1]: \"shop\" stands there twice",
            ),
            (
                "[shop], frontend",
                "[mesh], frontend",
                "a.yaml:18:85: listeners[web].tls.certificateRefs[0]: secret \"mesh\" has authorities, and no certificate with its key",
            ),
            (
                "certificateRefs: [shop], frontend",
                "frontend",
                "a.yaml:18:66: listeners[web].tls.certificateRefs: missing: they name the certificates that clients see",
            ),
            (
                "caRefs: [mesh]",
                "caRefs: [shop]",
                "a.yaml:18:122: listeners[web].tls.frontendValidation.caRefs[0]: secret \"shop\" has a certificate with its key, and \
             no authorities",
            ),
            (
                "caRefs: [mesh]",
                "caRefs: [mesh, mesh]",
                "a.yaml:18:128: listeners[web].tls.frontendValidation.caRefs[1]: a second one is not supported in this version: put \
             all authorities into one file",
            ),
            (
                "caRefs: [mesh]",
                "caRefs: [mesh], mode: AllowInsecureFallback",
                "a.yaml:18:135: listeners[web].tls.frontendValidation.mode: \"AllowInsecureFallback\" is none of Required, Optional",
            ),
            (
                "[http/1.1]",
                "[h2, http/1.1]",
                "a.yaml:18:50: listeners[web].alpn[0]: h2 is not supported in this version",
            ),
            ("[http/1.1]", "[mqtt]", "a.yaml:18:50: listeners[web].alpn[0]: \"mqtt\" is none of http/1.1, h2"),
            (
                ", tls: {certificateRefs: [shop], minVersion: 1.2}",
                "",
                "a.yaml:19:3: listeners[raw].tls: missing: its certificateRefs name the certificate that clients see",
            ),
            (
                "minVersion: 1.2",
                "minVersion: 1.1",
                "a.yaml:19:84: listeners[raw].tls.minVersion: \"1.1\" is none of 1.2, 1.3",
            ),
            (
                "minVersion: 1.2",
                "minVersion: 1.3, maxVersion: 1.2",
                "a.yaml:19:46: listeners[raw].tls.minVersion: above maxVersion: no version is left",
            ),
            (
                "minVersion: 1.2",
                "minVersion: 1.3, cipherSuites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]",
                "a.yaml:19:104: listeners[raw].tls.cipherSuites: none of them is one of the versions that are spoken",
            ),
            (
                "minVersion: 1.2",
                "cipherSuites: [TLS_AES_128_GCM_SHA265]",
                "a.yaml:19:87: listeners[raw].tls.cipherSuites[0]: \"TLS_AES_128_GCM_SHA265\" is none of TLS_AES_128_GCM_SHA256, \
             TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, \
             TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, \
             TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, \
             TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256; did you mean \"TLS_AES_128_GCM_SHA256\"?",
            ),
            (
                "minVersion: 1.2",
                "groups: [X25519, x25519]",
                "a.yaml:19:89: listeners[raw].tls.groups[1]: x25519 stands there twice",
            ),
            (
                "minVersion: 1.2",
                "handshakeTimeout: 0s",
                "a.yaml:19:90: listeners[raw].tls.handshakeTimeout: 0 leaves no time for anything",
            ),
            (
                "minVersion: 1.2",
                "unknownName: Ignore",
                "a.yaml:19:85: listeners[raw].tls.unknownName: \"Ignore\" is none of First, Refuse",
            ),
            (
                "9000, protocol: TCP",
                "9000, protocol: TCP, tls: {certificateRefs: [shop]}",
                "a.yaml:20:47: listeners[tcp].tls: for HTTPS and TLS listeners",
            ),
            (
                "9000, protocol: TCP",
                "9000, protocol: TCP, alpn: [x]",
                "a.yaml:20:3: listeners[tcp].alpn: for HTTPS and TLS listeners",
            ),
        ],
    );
}

#[test]
fn findings_of_backends() {
    found(
        &[SMALL, SECRETS],
        &[
            (
                "caRef: mesh",
                "caRef: mesch",
                "a.yaml:22:64: backends[a].tls.caRef: there is no secret \"mesch\"; did you mean \"mesh\"?",
            ),
            ("caRef: mesh, ", "", "a.yaml:22:56: backends[a].tls.caRef is missing"),
            (
                "clientCertRef: shop",
                "clientCertRef: mesh",
                "a.yaml:22:101: backends[a].tls.clientCertRef: secret \"mesh\" has authorities, and no certificate with its key",
            ),
            (
                "sni: a.example, ",
                "",
                "a.yaml:22:56: backends[a].tls: neither sni nor subjectAltNames say which server is to be believed",
            ),
            (
                "sni: a.example",
                "sni: a..example",
                "a.yaml:22:75: backends[a].tls.sni: \"a..example\" is neither a DNS name nor an IP address",
            ),
            (
                "sni: a.example",
                "subjectAltNames: ['spiffe://a/b', 'b c']",
                "a.yaml:22:104: backends[a].tls.subjectAltNames[1]: \"b c\" is neither a DNS name nor an IP address",
            ),
        ],
    );
}

fn kubernetes() -> String {
    let data = |text: &str| BASE64_STANDARD.encode(text);
    format!(
        "{SMALL}backends:\n- {{name: \"infra/a:80\", discovery: {{static: ['10.0.0.1:80']}}}}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {{name: shop, namespace: certs, annotations: {{last: KEY-OF-SHOP}}}}\n\
         type: kubernetes.io/tls\ndata: {{tls.crt: {}, tls.key: {}, ca.crt: {}}}\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: infra}}\nspec:\n\
         \x20 gatewayClassName: weirgate\n  listeners:\n  - name: https\n    port: 443\n    protocol: HTTPS\n\
         \x20   tls: {{certificateRefs: [{{kind: Secret, name: shop, namespace: certs}}]}}\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: all, namespace: infra}}\nspec:\n\
         \x20 parentRefs: [{{name: edge}}]\n  rules: [{{backendRefs: [{{name: a, port: 80}}]}}]\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {{name: g, namespace: certs}}\nspec:\n\
         \x20 from: [{{group: gateway.networking.k8s.io, kind: Gateway, namespace: infra}}]\n  to: [{{kind: Secret}}]\n",
        data("CHAIN"),
        data("KEY-OF-SHOP"),
        data("ROOTS"),
    )
}

#[test]
fn secrets_of_kubernetes_are_secrets() {
    let Model { snapshot, control, brought } = model(&kubernetes());
    assert_eq!(snapshot.http[0].tls.as_ref().unwrap().certificates, ["certs/shop"]);
    assert_eq!(control.secrets[0].source.has(), (true, true));
    let material = &brought["certs/shop"];
    assert_eq!(material.certificate.as_ref().unwrap().chain, "CHAIN");
    assert_eq!(material.authorities.as_ref().unwrap().roots, "ROOTS");
    // Nothing that is kept or shown has the key.
    let shown = format!("{:?}{}{}", brought, serde_json::to_string(&control).unwrap(), snapshot.to_json());
    assert!(!shown.contains("KEY-OF-SHOP") && !shown.contains(&BASE64_STANDARD.encode("KEY-OF-SHOP")), "{shown}");
    // A secret of ours with the bare name stands for one of the Gateway's namespace.
    let bare = kubernetes()
        .replace("namespace: certs}]}", "namespace: infra}]}")
        .replace("backends:", "secrets: [{name: shop, file: {cert: /a, key: /b}}]\nbackends:");
    assert_eq!(model(&bare).snapshot.http[0].tls.as_ref().unwrap().certificates, ["shop"]);
}

#[test]
fn findings_of_secrets_of_kubernetes() {
    let text = kubernetes();
    let key = BASE64_STANDARD.encode("KEY-OF-SHOP");
    found(
        &[&text],
        &[
            (
                "kind: Gateway, namespace: infra",
                "kind: HTTPRoute, namespace: infra",
                "a.yaml:32:29: Gateway[infra/edge].spec.listeners[https].tls.certificateRefs[0]: Secret certs/shop: no ReferenceGrant there lets Gateways of infra refer to it",
            ),
            (
                "name: shop, namespace: certs}]",
                "name: shp, namespace: certs}]",
                "a.yaml:32:29: Gateway[infra/edge].spec.listeners[https].tls.certificateRefs[0]: there is no secret \"certs/shp\"; did you mean \"certs/shop\"?",
            ),
            (
                "kind: Secret, name: shop",
                "kind: ConfigMap, name: shop",
                "a.yaml:32:29: Gateway[infra/edge].spec.listeners[https].tls.certificateRefs[0]: ConfigMap is not supported in this version: a Secret is",
            ),
            (
                "type: kubernetes.io/tls",
                "type: Opaque",
                "a.yaml:20:7: Secret[certs/shop].type: Opaque is not supported in this version",
            ),
            (&key, "'!!'", "a.yaml:21:36: Secret[certs/shop].data.tls.key: not PEM in base64"),
            (
                &key,
                LEFT_OUT,
                "a.yaml:21:36: Secret[certs/shop].data.tls.key: it was left out when this document was kept: put the key itself there",
            ),
        ],
    );
}

#[test]
fn documents_are_kept_without_private_keys() {
    let text = kubernetes().replace("\ndata:", "\nstringData: {tls.key: KEY-OF-SHOP}\ndata:");
    let key = BASE64_STANDARD.encode("KEY-OF-SHOP");
    let kept = without_keys("a.yaml", &text);
    assert!(!kept.contains("KEY-OF-SHOP") && !kept.contains(&key), "{kept}");
    assert!(kept.contains(&BASE64_STANDARD.encode("CHAIN")) && kept.contains("HTTPRoute"), "{kept}");
    assert_eq!(without_keys("a.yaml", &kept), kept, "once is enough");
    let json = format!("{{\"kind\": \"Secret\", \"data\": {{\"tls.key\": \"{key}\"}}}}");
    assert!(!without_keys("a.json", &json).contains(&key));
    for other in [SMALL, TLS, "kind: Secret: [\n"] {
        assert_eq!(without_keys("a.yaml", other), other);
    }
}
