//! The table against a matcher that anybody can read, with rules and requests that are drawn.

use super::{
    super::reference::{self, Asked},
    *,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

fn a_path() -> impl Strategy<Value = PathMatch> {
    let plain = vec(select(vec!["a", "b", "ab", "%41"]), 0..4);
    let plain = (plain, any::<bool>()).prop_map(|(segments, slash)| {
        let path = format!("/{}{}", segments.join("/"), if slash && !segments.is_empty() { "/" } else { "" });
        path
    });
    let pattern = select(vec!["/a.*", "/[ab]+", ".*b", "/a/b", "/a|/b/.*", "", "/ab?/.?"]);
    prop_oneof![
        3 => plain.clone().prop_map(|value| PathMatch { kind: PathKind::PathPrefix, value }),
        2 => plain.prop_map(|value| PathMatch { kind: PathKind::Exact, value }),
        1 => pattern.prop_map(|value| PathMatch { kind: PathKind::RegularExpression, value: value.into() }),
    ]
}

fn a_header() -> impl Strategy<Value = HeaderMatch> {
    (select(vec!["h", "H", "i"]), select(vec!["1", "2", "1, 2"]), 0..3).prop_map(|(name, value, kind)| {
        let (kind, value) = match kind {
            0 => (HeaderKind::Exact, value),
            1 => (HeaderKind::Present, ""),
            _ => (HeaderKind::RegularExpression, "1.*"),
        };
        HeaderMatch { kind, name: name.into(), value: value.into() }
    })
}

fn a_query() -> impl Strategy<Value = QueryMatch> {
    (select(vec!["q", "Q", "q q"]), select(vec!["1", "2", "a&b"]), any::<bool>()).prop_map(|(name, value, exact)| {
        let (kind, value) = if exact { (QueryKind::Exact, value) } else { (QueryKind::RegularExpression, "[12]|a.b") };
        QueryMatch { kind, name: name.into(), value: value.into() }
    })
}

fn a_rule() -> impl Strategy<Value = Rule> {
    let method = option::weighted(0.2, select(vec!["GET", "POST"]).prop_map(str::to_owned));
    let a_match = (a_path(), method, vec(a_header(), 0..3), vec(a_query(), 0..3))
        .prop_map(|(path, method, headers, query_params)| Match { path, method, headers, query_params });
    vec(a_match, 0..4).prop_map(|matches| Rule { matches, ..Rule::default() })
}

fn all_rules() -> impl Strategy<Value = Rules> {
    let hostname = || select(vec!["a.x", "*.x", "*.a.x", "b.a.x", "y", "x", "*.c.b.a.x"]).prop_map(str::to_owned);
    let routes = vec((vec(hostname(), 0..3), vec(a_rule(), 1..4)), 1..6);
    (option::weighted(0.2, hostname()), routes).prop_map(|(hostname, routes)| {
        let mut routes: Vec<_> = routes
            .into_iter()
            .enumerate()
            .map(|(number, (hostnames, rules))| Route { name: format!("r{number}"), hostnames, rules })
            .collect();
        reference::retain_within(hostname.as_deref(), &mut routes);
        Rules { hostname, routes: routes.into_iter().map(Arc::new).collect() }
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    let path =
        vec(select(vec!["a", "b", "ab", "", "%41", "A"]), 0..5).prop_map(|segments| format!("/{}", segments.join("/")));
    let query =
        vec(select(vec!["q=1", "q=%31", "%71=2", "q", "Q=a%26b", "q%20q=1", "q+q=2", "q=1;Q=2", "%=%", ""]), 1..4);
    let query = option::of(query.prop_map(|parameters| parameters.join("&")));
    let target = (prop_oneof![20 => path, 1 => select(vec!["*", "", "a"]).prop_map(str::to_owned)], query)
        .prop_map(|(path, query)| query.map_or_else(|| path.clone(), |query| format!("{path}?{query}")));
    let host = select(vec!["a.x", "b.a.x", "c.b.a.x", "d.c.b.a.x", "x", "y", "z.y", ".x", "", "A.X"]);
    let field = (select(vec!["h", "i", "j"]), select(vec!["1", "2", "1, 2", "12", ""]));
    (select(vec!["GET", "POST", "PUT"]), host, target, vec(field, 0..4))
        .prop_map(|(method, host, target, fields)| Asked { method, host, target, fields })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_table_finds_what_the_list_of_all_matches_says(rules in all_rules(), asked in vec(asked(), 1..20)) {
        let table = compile(rules.clone(), &by_number).map_err(|faults| TestCaseError::fail(format!("{faults:?}")))?;
        for asked in asked {
            reference::check(&table, &rules, &asked);
        }
    }

    #[test]
    fn no_bytes_break_it(method: Vec<u8>, host: Vec<u8>, path: Vec<u8>, query: Option<Vec<u8>>, rules in all_rules()) {
        let table = compile(rules, &by_number).map_err(|faults| TestCaseError::fail(format!("{faults:?}")))?;
        let fields = [(&b"h"[..], &method[..]), (b"h", &host)];
        let path = [b"/", &path[..]].concat();
        let request =
            Request { method: &method, host: &host, path: &path, query: query.as_deref(), fields: fields.iter().copied() };
        let chosen = table.explain(&request).into_iter().find(|it| it.verdict == Verdict::Chosen);
        prop_assert_eq!(table.find(&request).map(|found| found.rule), chosen.map(|it| it.index));
    }
}
