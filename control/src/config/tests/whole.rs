//! The configuration as a whole: its published schema, its defaults, and what is printed of it.

use super::*;
use crate::config::tree;
use proptest::prelude::*;
use regex::Regex;
use serde_json::Value as Json;
use std::collections::BTreeSet;

const EXAMPLE: &str = include_str!("../../../examples/gateway.yaml");
const TLS: &str = include_str!("../../../examples/tls.yaml");
const KUBERNETES: &str = include_str!("../../../examples/kubernetes.yaml");

fn documents(text: &str) -> Vec<Node> {
    let mut found = Vec::new();
    let (documents, _) = tree::parse(text, &mut Findings { file: "a.yaml", found: &mut found });
    assert_eq!(found, []);
    documents
}

fn json(node: &Node) -> Json {
    match &node.value {
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(fields) => fields.iter().map(|(key, node)| (key.name.to_string(), json(node))).collect(),
        Value::Scalar { .. } if node.is_null() => Json::Null,
        Value::Scalar { text, plain: true } => serde_json::from_str(text).unwrap_or_else(|_| (&**text).into()),
        Value::Scalar { text, .. } => (&**text).into(),
    }
}

/// What the published schema says of a value; only the words that it uses.
fn faults(schema: &Json, value: &Json, defined: &Json, at: &str) -> Vec<String> {
    let none = |schema: &Json| faults(schema, value, defined, at).is_empty();
    let mut all = Vec::new();
    for (word, says) in schema.as_object().unwrap() {
        let is_one = |name: &str| match name {
            "string" => value.is_string(),
            "integer" => value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("{other}"),
        };
        let fits = match word.as_str() {
            "description" => true,
            "$ref" => {
                let name = says.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                all.extend(faults(&defined[name], value, defined, at));
                true
            }
            "anyOf" => says.as_array().unwrap().iter().any(none),
            "oneOf" => says.as_array().unwrap().iter().filter(|it| none(it)).count() == 1,
            "type" => match says {
                Json::String(name) => is_one(name),
                names => names.as_array().unwrap().iter().any(|name| is_one(name.as_str().unwrap())),
            },
            "const" => says == value,
            "enum" => says.as_array().unwrap().contains(value),
            "minimum" => value.as_u64().is_none_or(|it| it >= says.as_u64().unwrap()),
            "maximum" => value.as_u64().is_none_or(|it| it <= says.as_u64().unwrap()),
            "pattern" => value.as_str().is_none_or(|it| Regex::new(says.as_str().unwrap()).unwrap().is_match(it)),
            "required" => {
                let has = |name: &Json| value.get(name.as_str().unwrap()).is_some();
                !value.is_object() || says.as_array().unwrap().iter().all(has)
            }
            "items" => {
                for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                    all.extend(faults(says, item, defined, &format!("{at}[{n}]")));
                }
                true
            }
            "properties" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    if let Some(schema) = says.get(name) {
                        all.extend(faults(schema, value, defined, &format!("{at}.{name}")));
                    }
                }
                true
            }
            "additionalProperties" => {
                let mut names = value.as_object().into_iter().flat_map(|it| it.keys());
                says != false || names.all(|name| schema["properties"].get(name).is_some())
            }
            other => panic!("a word that this reader does not know: {other}"),
        };
        if !fits {
            all.push(format!("{at}: {word}: {says}"));
        }
    }
    all
}

fn faults_of(text: &str) -> Vec<String> {
    let schema: Json = serde_json::from_str(&schema()).unwrap();
    let rest = serde_json::json!({ "oneOf": schema["oneOf"] });
    documents(text).iter().flat_map(|it| faults(&rest, &json(it), &schema["$defs"], "")).collect()
}

/// Written anew with `WEIRGATE_WRITE=1`.
#[test]
fn the_published_schema_is_the_one_that_is_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/gateway.schema.json");
    if std::env::var_os("WEIRGATE_WRITE").is_some() {
        std::fs::write(path, schema()).unwrap();
    }
    let published = std::fs::read_to_string(path).unwrap_or_default();
    assert!(published == schema(), "{path} is another one: write it anew with WEIRGATE_WRITE=1");
}

#[test]
fn examples_conform_to_the_schema() {
    for text in [EXAMPLE, KUBERNETES, TLS, &defaults(), SMALL] {
        assert_eq!(faults_of(text), [""; 0], "{text}");
    }
    let variables = EXAMPLE.replace("port: 80 ", "port: \"${PORT}\" ");
    assert_ne!(variables, EXAMPLE);
    assert_eq!(faults_of(&variables), [""; 0]);
    for (from, to) in [
        ("port: 80 ", "port: '80' "),
        ("protocol: HTTP", "protocol: UDP"),
        ("streamIdle: 5m", "streamIdle: 5 minutes"),
        ("60KiB", "60KB"),
        ("hostnames:", "hostnmes:"),
        ("kind: GatewayConfig", "kind: Config"),
        ("10.77.0.10/24", "10.77.0.10"),
    ] {
        let text = EXAMPLE.replacen(from, to, 1);
        assert_ne!(text, EXAMPLE, "{from}");
        assert_ne!(faults_of(&text), [""; 0], "{to}");
    }
}

#[test]
fn the_kubernetes_example_compiles() {
    let snapshot = compiled(KUBERNETES).unwrap();
    assert_eq!(Snapshot::from_json(&snapshot.to_json()).unwrap(), snapshot);
    assert!(!snapshot.http.is_empty() && snapshot.http.iter().all(|it| !it.rules.routes.is_empty()));
}

/// Every field by its path, with its list's numbers left out.
fn paths(node: &Node, at: &str, all: &mut Vec<String>) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| paths(item, &format!("{at}[]"), all)),
        Value::Map(fields) => {
            for (key, node) in fields {
                let at = format!("{at}.{}", key.name);
                all.push(at.clone());
                paths(node, &at, all);
            }
        }
        Value::Scalar { .. } => {}
    }
}

/// The document without its `number`th field.
fn without(node: &mut Node, number: &mut usize) -> bool {
    match &mut node.value {
        Value::List(items) => items.iter_mut().any(|item| without(item, number)),
        Value::Map(fields) => {
            for n in 0..fields.len() {
                if *number == 0 {
                    fields.remove(n);
                    return true;
                }
                *number -= 1;
                if without(&mut fields[n].1, number) {
                    return true;
                }
            }
            false
        }
        Value::Scalar { .. } => false,
    }
}

/// Fields there that have no default: without them it is wrong, or something else.
const SAID: &[&str] = &[
    ".apiVersion",
    ".kind",
    ".dataplane",
    ".dataplane.cores",
    ".dataplane.ports",
    ".dataplane.ports[].name",
    ".dataplane.ports[].device",
    ".dataplane.ports[].addresses",
    ".listeners",
    ".listeners[].name",
    ".listeners[].port",
    ".listeners[].protocol",
    ".listeners[].tls",
    ".listeners[].tls.certificateRefs",
    ".listeners[].tls.frontendValidation.caRefs",
    ".listeners[].tls.frontendValidation",
    ".secrets",
    ".secrets[].name",
    ".secrets[].file",
    ".secrets[].file.cert",
    ".secrets[].file.key",
    ".secrets[].file.ca",
    ".routes",
    ".routes[].kind",
    ".routes[].name",
    ".routes[].parentRefs",
    ".routes[].parentRefs[].name",
    ".routes[].rules",
    ".routes[].rules[].matches",
    ".routes[].rules[].matches[].path",
    ".routes[].rules[].matches[].path.value",
    ".routes[].rules[].matches[].headers",
    ".routes[].rules[].matches[].headers[].name",
    ".routes[].rules[].matches[].headers[].value",
    ".routes[].rules[].matches[].queryParams[].value",
    ".routes[].rules[].matches[].queryParams",
    ".routes[].rules[].matches[].queryParams[].name",
    ".routes[].rules[].filters",
    ".routes[].rules[].filters[].type",
    ".routes[].rules[].filters[].requestRedirect",
    ".routes[].rules[].filters[].directResponse",
    ".routes[].rules[].filters[].directResponse.statusCode",
    ".routes[].rules[].filters[].requestHeaderModifier",
    ".routes[].rules[].filters[].requestHeaderModifier.set",
    ".routes[].rules[].filters[].requestHeaderModifier.set[].name",
    ".routes[].rules[].filters[].requestHeaderModifier.set[].value",
    ".routes[].rules[].backendRefs",
    ".routes[].rules[].backendRefs[].name",
    ".backends",
    ".backends[].name",
    ".backends[].discovery",
    ".backends[].discovery.static",
    ".backends[].discovery.static[].address",
    ".backends[].discovery.dns",
    ".backends[].discovery.dns.name",
    ".backends[].discovery.dns.port",
    ".backends[].discovery.dns.type",
    ".backends[].discovery.file",
    ".backends[].loadBalancing",
    ".backends[].loadBalancing.policy",
    ".backends[].loadBalancing.hashOn.source",
    ".backends[].tls",
    ".backends[].tls.caRef",
    ".backends[].tls.sni",
    ".backends[].healthChecks",
    ".backends[].healthChecks[].http",
    ".backends[].healthChecks[].http.path",
];

#[test]
fn each_default_is_the_one_that_is_used() {
    let text = defaults();
    let of = |text: &str| compile(&[("a.yaml".into(), text.into())], &Environment::default());
    let model = of(&text).unwrap_or_else(|found| panic!("{found:#?}"));
    let [document] = &documents(&text)[..] else { panic!("one document") };
    let mut all = Vec::new();
    paths(document, "", &mut all);
    for (number, path) in all.iter().enumerate() {
        let mut less = document.clone();
        assert!(without(&mut less, &mut { number }));
        let less = of(&print::print_documents(&[less]));
        // A field may have a default in one place and none in another: what is said is looked at in none.
        if !SAID.contains(&path.as_str()) {
            assert_eq!(less.as_ref(), Ok(&model), "{path}");
        }
    }
    for path in SAID {
        assert!(all.iter().any(|it| it == path), "{path} is not there");
    }
}

/// Fields that have no default and stand in comments there.
#[test]
fn no_default_is_missing() {
    let text = defaults();
    let mut there = Vec::new();
    documents(&text).iter().for_each(|it| paths(it, "", &mut there));
    let there: BTreeSet<_> = there.iter().map(|path| path.rsplit('.').next().unwrap()).collect();
    let schema: Json = serde_json::from_str(&schema()).unwrap();
    for (table, of) in schema["$defs"].as_object().unwrap() {
        let fields = of["properties"].as_object().into_iter().flatten();
        for (field, says) in fields.filter(|(field, _)| !there.contains(field.as_str())) {
            let about = says["description"].as_str().unwrap_or_default();
            let is_kube = ["Kube", "Gateway", "HttpRoute", "Grant", "Allowed", "RouteN", "RouteG", "ReferenceGrant"];
            if is_kube.iter().any(|name| table.starts_with(name)) {
                continue;
            }
            assert!(
                !about.contains("if it is not said") || about.contains("as the answers' TTL"),
                "{table}.{field}: {about}"
            );
        }
    }
}

#[test]
fn what_is_printed_is_read_the_same() {
    for text in [EXAMPLE, KUBERNETES, TLS, &defaults(), SMALL] {
        let printed = print("a.yaml", text).unwrap();
        assert_eq!(print("a.yaml", &printed).as_ref(), Ok(&printed), "{printed}");
        assert_eq!(compiled(&printed), compiled(text), "{printed}");
        assert_eq!(
            documents(&printed).iter().map(json).collect::<Vec<_>>(),
            documents(text).iter().map(json).collect::<Vec<_>>()
        );
    }
    assert_eq!(print("a.yaml", "a: [").unwrap_err()[0].place, Some((1, 4)));
}

#[test]
fn any_bytes_are_read_or_refused() {
    let odd = [
        "",
        "\u{feff}a",
        "a: &a [*a]",
        "%YAML 1.2\n---\n",
        "\0",
        "- - - -",
        "{{{{",
        "? ? ? ?",
        "!!str",
        "'",
        "\"\\ud800\"",
        "a: |\n  x",
        "<<: 1",
    ];
    for text in odd.into_iter().chain([EXAMPLE, KUBERNETES, TLS]) {
        fuzz(text.as_bytes());
    }
    for n in (0..EXAMPLE.len()).step_by(97) {
        fuzz(&EXAMPLE.as_bytes()[..n]);
    }
}

/// A value of a field, in one of the ways to write it.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9-]{0,8}",
        "[ -~]{0,12}",
        "\\PC{0,6}",
        Just("true".into()),
        Just("1".into()),
        Just("null".into())
    ]
}

fn listener() -> impl Strategy<Value = (bool, Option<u32>, bool)> {
    (any::<bool>(), proptest::option::of(1..99_999u32), any::<bool>())
}

proptest! {
    /// Documents that are accepted, whatever is in their texts.
    #[test]
    fn accepted_documents_survive_printing(
        listeners in proptest::collection::btree_map(0..50u8, listener(), 0..6),
        value in text(),
        body in text(),
        weights in proptest::collection::vec(0..100u32, 1..4),
    ) {
        let quoted = |text: &str| serde_json::to_string(text).unwrap().replace("${", "$${");
        let mut out = SMALL.to_owned();
        out += "backends:\n";
        for n in 0..weights.len() {
            out += &format!("- {{name: b{n}, discovery: {{static: ['10.0.0.{n}:80']}}}}\n");
        }
        out += "listeners:\n- {name: l, port: 65000, protocol: HTTP}\n";
        for (n, (merge, idle, is_echoed)) in &listeners {
            let port = 1_000 + 2 * u32::from(*n);
            let idle = idle.map_or(String::new(), |s| format!(", timeouts: {{streamIdle: {s}s}}"));
            out += &format!("- {{name: l{n}, port: {port}, protocol: HTTP, http: {{mergeSlashes: {merge}{idle}}}}}\n");
            if *is_echoed {
                out += &format!("- name: \"l{n}\\u0062\"\n  port: {}\n  protocol: 'TCP'\n  service: echo\n", port + 1);
            }
        }
        let refs: Vec<_> = weights.iter().enumerate().map(|(n, weight)| format!("{{name: b{n}, weight: {weight}}}")).collect();
        out += &format!(
            "routes:\n- kind: HTTPRoute\n  name: {}\n  parentRefs: [{{name: l}}]\n  rules:\n  - backendRefs: [{}]\n    matches: [{{headers: [{{name: x, value: {}}}]}}]\n",
            quoted(&format!("r{value}")), refs.join(", "), quoted(&format!("x{}", value.trim())),
        );
        out += &format!(
            "  - matches: [{{path: {{value: /x}}}}]\n    filters: [{{type: DirectResponse, directResponse: {{statusCode: 200, body: {}}}}}]\n",
            quoted(&body),
        );
        fuzz(out.as_bytes());
        let printed = print("a.yaml", &out).unwrap();
        let accepted = compiled(&out);
        prop_assert!(accepted.is_ok(), "{accepted:?}\n{out}");
        prop_assert_eq!(compiled(&printed), accepted);
    }

    #[test]
    fn changed_documents_do_no_harm(
        of in prop_oneof![Just(EXAMPLE), Just(KUBERNETES), Just(TLS)],
        changes in proptest::collection::vec((any::<usize>(), 0..40usize, "[ -~\n]{0,12}"), 1..4),
    ) {
        let mut bytes = of.as_bytes().to_vec();
        for (at, length, with) in changes {
            let at = at % bytes.len();
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, with.into_bytes());
        }
        fuzz(&bytes);
    }

    #[test]
    fn any_text_does_no_harm(text in "[\\[\\]{}:,&*a?!|>'\"\\- \n#$%<~]{0,60}") {
        fuzz(text.as_bytes());
    }
}
