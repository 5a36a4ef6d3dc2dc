//! What is wrong with rules is said with its place.

use super::*;
use crate::limits::{HTTP_PATH_PATTERNS_MAX, HTTP_PREFIX_SEGMENTS_MAX, HTTP_SAME_PATH_MAX};

fn faults(routes: impl Into<Vec<Route>>) -> Vec<String> {
    let result =
        compile(Rules { hostname: None, routes: routes.into().into_iter().map(Arc::new).collect() }, &by_number);
    result.err().into_iter().flatten().map(|fault| fault.to_string()).collect()
}

/// Each is the only thing wrong with its rule.
#[track_caller]
fn faulty(a_match: &str, field: &str, problem: &str) {
    let said = faults([route("shop", &[], &format!(r#"[{{}}, {{"name": "cart", "matches": [{{}}, {a_match}]}}]"#))]);
    let place = format!("route shop: rule cart: matches[1].{field}: ");
    assert!(said.len() == 1 && said[0].starts_with(&place) && said[0].contains(problem), "{a_match}: {said:?}");
}

#[test]
fn paths_that_no_normalised_path_fits() {
    for (path, problem) in [
        ("", "must begin with '/'"),
        ("a", "must begin with '/'"),
        ("/a//b", "\"//\""),
        ("/a/./b", "\"/./\""),
        ("/a/../b", "\"/../\""),
        ("/a/..", "dot segment"),
        ("/a/.", "dot segment"),
        ("/a%2fb", "%2f"),
        ("/a%2Fb", "%2F"),
        ("/a?b", "'?'"),
        ("/a#b", "'#'"),
        ("/a b", "' '"),
        ("/a%", "'%'"),
        ("/a%4", "'%'"),
        ("/ä", "percent-encoded"),
    ] {
        for kind in ["Exact", "PathPrefix"] {
            faulty(&format!(r#"{{"path": {{"type": "{kind}", "value": "{path}"}}}}"#), "path.value", problem);
        }
    }
    let deep = "/a".repeat(HTTP_PREFIX_SEGMENTS_MAX + 1);
    faulty(&format!(r#"{{"path": {{"value": "{deep}"}}}}"#), "path.value", "segments");
    assert!(faults([route("r", &[], &by_path(&[("PathPrefix", &deep[2..]), ("Exact", &deep)]))]).is_empty());
    let long = format!("/{}", "a".repeat(1_024));
    faulty(&format!(r#"{{"path": {{"value": "{long}"}}}}"#), "path.value", "1025 bytes");
}

#[test]
fn methods_fields_and_parameters_that_cannot_be() {
    faulty(r#"{"method": ""}"#, "method", "not a method");
    faulty(r#"{"method": "GE T"}"#, "method", "not a method");
    faulty(r#"{"headers": [{"name": ":method", "value": "GET"}]}"#, "headers[0]", "not a field name");
    faulty(r#"{"headers": [{"name": "a", "type": "Present"}, {"name": "b"}]}"#, "headers[1]", "empty");
    faulty(r#"{"headers": [{"name": "a", "type": "Present", "value": "1"}]}"#, "headers[0]", "need only be present");
    faulty(r#"{"headers": [{"name": "a", "value": " 1"}]}"#, "headers[0]", "white space");
    faulty(r#"{"headers": [{"name": "a", "value": "1\n2"}]}"#, "headers[0]", "control");
    faulty(r#"{"queryParams": [{"name": "", "value": "1"}]}"#, "queryParams[0]", "name is empty");
    faulty(r#"{"queryParams": [{"name": "a", "value": ""}]}"#, "queryParams[0]", "empty");
    let many: Vec<_> = (0..17).map(|number| format!(r#"{{"name": "a{number}", "value": "1"}}"#)).collect();
    faulty(&format!(r#"{{"headers": [{}]}}"#, many.join(",")), "headers", "17 of them");
}

#[test]
fn patterns_that_are_none_or_too_large() {
    faulty(r#"{"path": {"type": "RegularExpression", "value": "/a("}}"#, "path.value", "not a regular expression");
    faulty(r#"{"headers": [{"name": "a", "type": "RegularExpression", "value": "["}]}"#, "headers[0].value", "not a");
    faulty(
        r#"{"queryParams": [{"name": "a", "type": "RegularExpression", "value": "((a{99}){99}){99}"}]}"#,
        "queryParams[0].value",
        "bytes",
    );
}

#[test]
fn hostnames_that_are_none() {
    for name in [
        "",
        "*",
        "*.",
        "a..b",
        ".a",
        "a.",
        "A.com",
        "a.*.com",
        "f*.com",
        "*a.com",
        "-a.com",
        "a-.com",
        "a_b.com",
        "10.0.0.1",
        "a:80",
        "*.0.1",
        "::1",
        &"a".repeat(64),
        &"a.".repeat(127),
    ] {
        let said = faults([route("shop", &["a.com", name], "[{}]")]);
        assert!(said.len() == 1 && said[0].starts_with("route shop: hostnames[1]: "), "{name}: {said:?}");
    }
    assert!(faults([route("shop", &["a", "a-b.c0m", "*.com", "xn--a.example"], "[{}]")]).is_empty());
    let rules =
        Rules { hostname: Some("*.com".into()), routes: vec![Arc::new(route("shop", &["a.net", "com"], "[{}]"))] };
    assert!(compile(rules, &by_number).unwrap_err()[0].to_string().starts_with("route shop: hostnames: none of them"));
}

#[test]
fn names_that_are_missing_or_stand_for_two() {
    let named = r#"[{"name": "a"}, {"name": "a"}, {}, {"name": ""}]"#;
    let said = faults([route("", &[], "[{}]"), route("x", &[], named), route("x", &[], "[]")]);
    assert_eq!(
        said,
        [
            "routes[0].name: a route needs a name",
            "route x: rule a: name: empty, or another rule of the route has the same name",
            "route x: name: empty, or another rule of the route has the same name",
            "route x: name: another route has the same name",
            "route x: rules: a route needs a rule",
        ]
    );
    let heavy = r#"[{"backends": [{"backend": "0", "weight": 1000001}]}]"#;
    assert_eq!(
        faults([route("x", &[], heavy)]),
        ["route x: rule #0: backends[0].weight: 1000001 is more than 1000000"]
    );
}

#[test]
fn what_would_be_tried_one_after_the_other_is_bounded() {
    let many = |count: usize, path: &dyn Fn(usize) -> String| {
        let a_match =
            |number| format!(r#"{{"path": {}, "headers": [{{"name": "a", "value": "{number}"}}]}}"#, path(number));
        let rules = format!(r#"[{{"matches": [{}]}}]"#, (0..count).map(a_match).collect::<Vec<_>>().join(","));
        faults([route("x", &["a.com"], &rules), route("y", &["b.com"], &rules)])
    };
    let same = |_| r#"{"value": "/a"}"#.to_owned();
    assert!(many(HTTP_SAME_PATH_MAX, &same).is_empty());
    let said = many(HTTP_SAME_PATH_MAX + 1, &same);
    assert!(
        said.len() == 2 && said[1].starts_with("route y: rule #0: matches: ") && said[1].contains("same path"),
        "{said:?}"
    );
    let patterns = |number| format!(r#"{{"type": "RegularExpression", "value": "/{number}"}}"#);
    assert!(many(HTTP_PATH_PATTERNS_MAX, &patterns).is_empty());
    assert!(many(HTTP_PATH_PATTERNS_MAX + 1, &patterns)[0].contains("any pattern"));
}
