//! Routing by the Gateway API's own examples, what is refused, and the table against a matcher that anybody can read.

mod faults;
pub(super) mod layered;
mod naive;
mod speed;

use super::{
    reference::{Fields, request},
    *,
};
use std::sync::Arc;

/// A route, in the words of the configuration.
fn route(name: &str, hostnames: &[&str], rules: &str) -> Route {
    let rules: Vec<Rule> = serde_json::from_str(rules).unwrap_or_else(|error| panic!("{rules}: {error}"));
    Route { name: name.into(), hostnames: hostnames.iter().map(|name| (*name).into()).collect(), rules }
}

/// Backends are called by their numbers here.
fn by_number(name: &str) -> Option<BackendIndex> {
    name.parse().ok().map(BackendIndex)
}

fn table(routes: impl Into<Vec<Route>>) -> Table {
    compile(Rules { hostname: None, routes: routes.into().into_iter().map(Arc::new).collect() }, &by_number).unwrap()
}

/// The rule's name that a request takes, after `explain` has said the same.
fn taken(table: &Table, request: &Request<'_, Fields<'_>>) -> Option<String> {
    let found = table.find(request).map(|found| found.rule);
    let explained = table.explain(request);
    let chosen: Vec<_> = explained.iter().filter(|it| it.verdict == Verdict::Chosen).map(|it| it.index).collect();
    assert_eq!(chosen, Vec::from_iter(found), "{explained:?}");
    found.map(|rule| table.name(rule).1)
}

/// Rows of target and the rule that takes it.
fn check(table: &Table, host: &str, rows: &[(&str, Option<&str>)]) {
    for (target, expected) in rows {
        assert_eq!(taken(table, &request("GET", host, target, &[])).as_deref(), *expected, "{host} {target}");
    }
}

/// One rule for each path, called by it.
fn by_path(paths: &[(&str, &str)]) -> String {
    let rule = |(kind, path): &(&str, &str)| {
        format!(r#"{{"name": "{path}", "matches": [{{"path": {{"type": "{kind}", "value": "{path}"}}}}]}}"#)
    };
    format!("[{}]", paths.iter().map(rule).collect::<Vec<_>>().join(","))
}

#[test]
fn a_prefix_is_compared_by_segments_and_the_longest_wins() {
    let prefix = |path| ("PathPrefix", path);
    let table = table([route("r", &[], &by_path(&[prefix("/"), prefix("/abc"), prefix("/abc/d/"), prefix("/x/y/z")]))]);
    check(
        &table,
        "h",
        &[
            ("/abc", Some("/abc")),
            ("/abc/", Some("/abc")),
            ("/abc/def", Some("/abc")),
            ("/abcd", Some("/")),
            ("/Abc", Some("/")),
            ("/abc/d", Some("/abc/d/")),
            ("/abc/d/", Some("/abc/d/")),
            ("/abc/d/e/f/g?x=/x/y/z", Some("/abc/d/")),
            ("/abc/de", Some("/abc")),
            ("/x/y", Some("/")),
            ("/x/y/z", Some("/x/y/z")),
            ("/", Some("/")),
            ("*", Some("/")),
            ("", Some("/")),
            ("abc", Some("/")),
        ],
    );
}

#[test]
fn what_a_rewrite_may_replace_is_told() {
    let rules =
        by_path(&[("PathPrefix", "/"), ("PathPrefix", "/ab/c/"), ("Exact", "/ab"), ("RegularExpression", "/r.*")]);
    let table = table([route("r", &[], &rules)]);
    for (path, expected) in [
        ("/ab/c/d", PathFound::Prefix { len: 5 }),
        ("/ab/c", PathFound::Prefix { len: 5 }),
        ("/x", PathFound::Prefix { len: 0 }),
        ("/ab", PathFound::Exact),
        ("/rest", PathFound::Pattern),
    ] {
        assert_eq!(table.find(&request("GET", "h", path, &[])).unwrap().path, expected, "{path}");
    }
}

#[test]
fn an_exact_path_comes_before_patterns_and_these_before_prefixes() {
    let table = table([route(
        "r",
        &[],
        &by_path(&[
            ("PathPrefix", "/"),
            ("PathPrefix", "/v1/items"),
            ("RegularExpression", "/v[0-9]/.*"),
            ("RegularExpression", "/v[0-9]/items/.*"),
            ("Exact", "/v1/items/7"),
        ]),
    )]);
    check(
        &table,
        "h",
        &[
            ("/v1/items/7", Some("/v1/items/7")),
            ("/v1/items/8", Some("/v[0-9]/items/.*")),
            ("/v1/items", Some("/v[0-9]/.*")),
            ("/v1", Some("/")),
            ("/v1/items/7/", Some("/v[0-9]/items/.*")),
        ],
    );
}

#[test]
fn among_equal_paths_the_method_then_fields_then_parameters_then_the_order_decide() {
    let rules = r#"[
        {"name": "plain", "matches": [{"path": {"value": "/a"}}]},
        {"name": "twin", "matches": [{"path": {"value": "/a/"}}]},
        {"name": "query", "matches": [{"path": {"value": "/a"}, "queryParams": [{"name": "q", "value": "1"}]}]},
        {"name": "header", "matches": [{"path": {"value": "/a"}, "headers": [{"name": "H", "value": "1"}]}]},
        {"name": "both", "matches": [{"path": {"value": "/a"}, "headers": [{"name": "h", "value": "1"}], "queryParams": [{"name": "q", "value": "1"}]}]},
        {"name": "two", "matches": [{"path": {"value": "/a"}, "headers": [{"name": "h", "value": "1"}, {"name": "i", "type": "Present"}]}]},
        {"name": "same", "matches": [{"path": {"value": "/a"}, "headers": [{"name": "h", "value": "1"}, {"name": "H", "value": "2"}]}]},
        {"name": "post", "matches": [{"path": {"value": "/a"}, "method": "POST"}]}
    ]"#;
    let table = table([route("r", &[], rules)]);
    let (h, i): ((&[u8], &[u8]), (&[u8], &[u8])) = ((b"h", b"1"), (b"i", b""));
    for (method, target, fields, expected) in [
        ("GET", "/a", &[][..], "plain"),
        ("GET", "/a?q=1", &[], "query"),
        ("GET", "/a?q=2", &[], "plain"),
        ("GET", "/a", &[h], "header"),
        ("GET", "/a?q=1", &[h], "both"),
        ("GET", "/a?q=1", &[h, i], "two"),
        ("POST", "/a?q=1", &[h, i], "post"),
        ("post", "/a", &[], "plain"),
    ] {
        assert_eq!(
            taken(&table, &request(method, "h", target, fields)).as_deref(),
            Some(expected),
            "{method} {target}"
        );
    }
}

#[test]
fn hosts_decide_before_paths_and_what_they_do_not_match_falls_to_the_less_specific() {
    let one = |path: &str, kind: &str, name: &str| {
        format!(r#"[{{"name": "{name}", "matches": [{{"path": {{"type": "{kind}", "value": "{path}"}}}}]}}]"#)
    };
    let table = table([
        route("any", &[], &one("/only-any", "Exact", "any")),
        route("wide", &["*.com"], &one("/", "PathPrefix", "wide")),
        route("long", &["*.example.com"], &one("/a/b", "PathPrefix", "long")),
        route("exact", &["www.example.com", "example.com"], &one("/a", "PathPrefix", "exact")),
    ]);
    check(&table, "www.example.com", &[("/a/b", Some("exact")), ("/b", Some("wide")), ("/only-any", Some("wide"))]);
    check(&table, "x.y.example.com", &[("/a/b", Some("long")), ("/a", Some("wide"))]);
    check(&table, "example.com", &[("/a/b", Some("exact")), ("/", Some("wide"))]);
    check(&table, "example.net", &[("/a", None), ("/only-any", Some("any"))]);
    check(&table, "", &[("/a", None), ("/only-any", Some("any"))]);
}

#[test]
fn the_listeners_hostname_isolates_it_and_leaves_the_routes_order_alone() {
    let rules = |name: &str| format!(r#"[{{"name": "{name}"}}]"#);
    // Both have *.foo.com in common with the listener; the route's own name is the more specific one.
    let routes =
        vec![route("wide", &["*.com"], &rules("wide")), route("long", &["*.foo.com", "x.net"], &rules("long"))];
    let table = compile(
        Rules { hostname: Some("*.foo.com".into()), routes: routes.into_iter().map(Arc::new).collect() },
        &by_number,
    )
    .unwrap();
    check(&table, "a.foo.com", &[("/", Some("long"))]);
    check(&table, "foo.com", &[("/", None)]);
    check(&table, "x.net", &[("/", None)]);
    let verdicts: Vec<_> =
        table.explain(&request("GET", "x.net", "/", &[])).iter().map(|it| it.verdict.to_string()).collect();
    assert_eq!(verdicts, ["the host is not the listener's, *.foo.com"; 2]);
}

#[test]
fn a_repeated_field_does_not_pass_for_one_of_its_lines() {
    let rules = r#"[
        {"name": "guest", "matches": [{"headers": [{"name": "X-Role", "value": "guest"}]}]},
        {"name": "list", "matches": [{"headers": [{"name": "x-role", "value": "guest, admin"}]}]},
        {"name": "pattern", "matches": [{"headers": [{"name": "x-role", "type": "RegularExpression", "value": "(a|b), (a|b)"}]}]},
        {"name": "else", "matches": [{"headers": [{"name": "x-role", "type": "Present"}]}]}
    ]"#;
    let table = table([route("r", &[], rules)]);
    for (lines, expected) in [
        (&["guest"][..], Some("guest")),
        (&["guest", "admin"], Some("list")),
        (&["admin", "guest"], Some("else")),
        (&["guest", "guest"], Some("else")),
        (&["a", "b"], Some("pattern")),
        (&["a, b"], Some("pattern")),
        (&["a"], Some("else")),
        (&[""], Some("else")),
        (&[], None),
    ] {
        let fields: Vec<_> = lines.iter().map(|line| (&b"x-role"[..], line.as_bytes())).collect();
        assert_eq!(taken(&table, &request("GET", "h", "/", &fields)).as_deref(), expected, "{lines:?}");
    }
}

#[test]
fn parameters_are_compared_decoded() {
    let rules = r#"[
        {"name": "bob", "matches": [{"queryParams": [{"name": "user", "value": "bob&co"}]}]},
        {"name": "pattern", "matches": [{"queryParams": [{"name": "user", "type": "RegularExpression", "value": "[a-z ]+"}]}]}
    ]"#;
    let table = table([route("r", &[], rules)]);
    check(
        &table,
        "h",
        &[
            ("/?user=bob%26co", Some("bob")),
            ("/?us%65r=%62ob%26co", Some("bob")),
            ("/?user=bob&co", Some("pattern")),
            ("/?x&user=a%20b&user=bob%26co", Some("pattern")),
            ("/?user=a+b", None),
            ("/?user=", None),
            ("/?user=%FF", None),
            ("/", None),
        ],
    );
}

#[test]
fn backends_get_their_part_of_the_sum_and_zero_gets_nothing() {
    let rules = r#"[
        {"backends": [{"backend": "7", "weight": 0}, {"backend": "1", "weight": 90}, {"backend": "2", "weight": 10}, {"backend": "8", "weight": 0}]},
        {"backends": [{"backend": "3"}, {"backend": "4"}]},
        {"backends": [{"backend": "5", "weight": 0}]},
        {}
    ]"#;
    let table = table([route("r", &[], rules)]);
    let share = |rule: u32, backend: u32| {
        let draws = (0..1_000_u64).map(|part| u64::MAX / 1_000 * part + u64::MAX / 2_000);
        draws.filter(|random| table.backend(RuleIndex(rule), *random) == Some(BackendIndex(backend))).count()
    };
    assert_eq!((share(0, 7), share(0, 1), share(0, 2), share(0, 8)), (0, 900, 100, 0));
    assert_eq!((share(1, 3), share(1, 4)), (500, 500));
    assert_eq!((table.backend(RuleIndex(2), 0), table.backend(RuleIndex(3), 0)), (None, None));
    assert_eq!(table.backend(RuleIndex(0), u64::MAX), Some(BackendIndex(2)));
    assert_eq!(table.backend(RuleIndex(0), 0), Some(BackendIndex(1)));
}

#[test]
fn each_rule_is_told_what_it_lacks_or_who_comes_before_it() {
    let shop = r#"[
        {"name": "canary", "matches": [{"path": {"value": "/cart"}, "headers": [{"name": "x-canary", "value": "1"}]}]},
        {"name": "cart", "matches": [{"path": {"value": "/cart"}, "method": "GET"}, {"path": {"type": "Exact", "value": "/healthz"}}]},
        {"name": "old", "matches": [{"path": {"value": "/basket"}}]},
        {"matches": [{"path": {"value": "/cart"}, "queryParams": [{"name": "v", "value": "2"}]}]}
    ]"#;
    let table = table([route("shop", &["shop.example.com"], shop), route("other", &["*.net", "a.com"], "[{}]")]);
    let say = |method, target, fields: &[(&[u8], &[u8])]| -> Vec<String> {
        let explained = table.explain(&request(method, "shop.example.com", target, fields));
        explained.iter().map(|it| format!("{}/{}: {}", it.route, it.rule, it.verdict)).collect()
    };
    let other = "other/#0: the host is none of *.net, a.com";
    assert_eq!(
        say("GET", "/cart/1?v=2", &[(b"x-canary", b"1")]),
        [
            "shop/canary: matches, but the chosen rule names the method",
            "shop/cart: chosen",
            "shop/old: the path is not PathPrefix \"/basket\"",
            "shop/#3: matches, but the chosen rule names the method",
            other,
        ]
    );
    assert_eq!(
        say("POST", "/cart?v=1", &[(b"x-canary", b"0")]),
        [
            "shop/canary: header field x-canary is not Exact \"1\"",
            "shop/cart: the method is not GET",
            "shop/old: the path is not PathPrefix \"/basket\"",
            "shop/#3: query parameter v is not Exact \"2\"",
            other,
        ]
    );
}

#[test]
fn rules_are_written_as_the_configuration_has_them_and_nothing_unknown_is_taken() {
    let text = r#"{"hostname": "*.example.com", "routes": [{"name": "shop", "hostnames": ["shop.example.com"], "rules": [
        {"name": "a", "matches": [{"path": {"type": "Exact", "value": "/x"}, "method": "GET",
          "headers": [{"type": "Exact", "name": "h", "value": "1"}], "queryParams": [{"type": "RegularExpression", "name": "q", "value": "1|2"}]}],
         "backends": [{"backend": "0", "weight": 5}]}]}]}"#;
    let rules: Rules = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::from_str::<Rules>(&serde_json::to_string(&rules).unwrap()).unwrap(), rules);
    compile(rules, &by_number).unwrap();
    for unknown in [
        r#"{"routs": []}"#,
        r#"{"routes": [{"name": "a", "rules": [], "host": []}]}"#,
        r#"{"routes": [{"name": "a", "rules": [{"match": []}]}]}"#,
        r#"{"routes": [{"name": "a", "rules": [{"matches": [{"paths": []}]}]}]}"#,
        r#"{"routes": [{"name": "a", "rules": [{"matches": [{"path": {"type": "Prefix"}}]}]}]}"#,
    ] {
        assert!(serde_json::from_str::<Rules>(unknown).is_err(), "{unknown}");
    }
}

#[test]
fn clones_share_what_does_not_change() {
    let table = table([route("r", &[], &by_path(&[("RegularExpression", "/a+")]))]);
    let clone = table.clone();
    assert!(Arc::ptr_eq(&table.base.compiled, &clone.base.compiled));
    check(&clone, "h", &[("/aa", Some("/a+"))]);
}
