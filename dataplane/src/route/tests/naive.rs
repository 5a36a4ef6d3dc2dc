//! The table against a matcher without any structure: all matches of all rules, sorted by the Gateway API's list.

use super::*;
use proptest::{collection::vec, option, prelude::*, sample::select};
use regex::bytes::RegexBuilder;
use std::cmp::Reverse;

/// A request that owns its parts.
#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    host: &'static str,
    target: String,
    fields: Vec<(&'static str, &'static str)>,
}

fn is_like(pattern: &str, text: &[u8]) -> bool {
    let pattern = format!("^(?:{pattern})$");
    RegexBuilder::new(&pattern).unicode(false).build().unwrap().is_match(text)
}

fn host_takes(name: &str, host: &str) -> bool {
    match name.strip_prefix('*') {
        Some(suffix) => host.ends_with(suffix) && host.len() > suffix.len(),
        None => name == host,
    }
}

fn path_takes(it: &PathMatch, path: &str) -> bool {
    match it.kind {
        PathKind::Exact => it.value == path,
        PathKind::RegularExpression => is_like(&it.value, path.as_bytes()),
        PathKind::PathPrefix => {
            let wanted: Vec<_> = it.value.split('/').skip(1).filter(|segment| !segment.is_empty()).collect();
            wanted.is_empty() || path.split('/').skip(1).collect::<Vec<_>>().starts_with(&wanted)
        }
    }
}

fn header_takes(it: &HeaderMatch, asked: &Asked) -> bool {
    let name = it.name.to_ascii_lowercase();
    let lines: Vec<_> = asked.fields.iter().filter(|(field, _)| *field == name).map(|(_, value)| *value).collect();
    let value = lines.join(", ");
    !lines.is_empty()
        && match it.kind {
            HeaderKind::Present => true,
            HeaderKind::Exact => value == it.value,
            HeaderKind::RegularExpression => is_like(&it.value, value.as_bytes()),
        }
}

fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let byte = rest.get(1..3).filter(|_| rest.starts_with('%')).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(byte.unwrap_or(rest.as_bytes()[0]));
        rest = &rest[if byte.is_some() { 3 } else { 1 }..];
    }
    out
}

fn query_takes(it: &QueryMatch, query: Option<&str>) -> bool {
    let parameters = query.unwrap_or("").split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let Some((_, value)) =
        parameters.map(|(name, value)| (decoded(name), decoded(value))).find(|(name, _)| *name == it.name.as_bytes())
    else {
        return false;
    };
    match it.kind {
        QueryKind::Exact => value == it.value.as_bytes(),
        QueryKind::RegularExpression => is_like(&it.value, &value),
    }
}

/// Only the first of each name counts.
fn first_of_each<T: Clone>(all: &[T], name: impl Fn(&T) -> String) -> Vec<T> {
    let mut seen = Vec::new();
    let mut kept = all.to_vec();
    kept.retain(|it| {
        let is_new = !seen.contains(&name(it));
        seen.push(name(it));
        is_new
    });
    kept
}

/// Route and rule.
fn naive(rules: &Rules, asked: &Asked) -> Option<(usize, usize)> {
    let (path, query) =
        asked.target.split_once('?').map_or((&*asked.target, None), |(path, query)| (path, Some(query)));
    if rules.hostname.as_ref().is_some_and(|name| !host_takes(name, asked.host)) {
        return None;
    }
    let mut matching = Vec::new();
    for (route_number, route) in rules.routes.iter().enumerate() {
        let names = route.hostnames.iter().filter(|name| host_takes(name, asked.host));
        let exact = names.clone().filter(|name| !name.starts_with('*')).map(String::len).max();
        let wildcard = names.map(String::len).max();
        if wildcard.is_none() && !route.hostnames.is_empty() {
            continue;
        }
        for (rule_number, rule) in route.rules.iter().enumerate() {
            let matches = if rule.matches.is_empty() { vec![Match::default()] } else { rule.matches.clone() };
            for it in matches {
                let headers = first_of_each(&it.headers, |header| header.name.to_ascii_lowercase());
                let queries = first_of_each(&it.query_params, |query| query.name.clone());
                let takes = path_takes(&it.path, path)
                    && it.method.as_ref().is_none_or(|method| method == asked.method)
                    && headers.iter().all(|header| header_takes(header, asked))
                    && queries.iter().all(|parameter| query_takes(parameter, query));
                let kind = [PathKind::Exact, PathKind::RegularExpression, PathKind::PathPrefix];
                let kind = kind.iter().position(|kind| *kind == it.path.kind);
                let length = if it.path.value.ends_with('/') && it.path.kind == PathKind::PathPrefix {
                    it.path.value.len() - 1
                } else {
                    it.path.value.len()
                };
                if takes {
                    matching.push((
                        (Reverse(exact), Reverse(wildcard)),
                        (kind, Reverse(length)),
                        it.method.is_none(),
                        (Reverse(headers.len()), Reverse(queries.len())),
                        (route_number, rule_number),
                    ));
                }
            }
        }
    }
    matching.into_iter().min().map(|(.., place)| place)
}

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
        // Others are refused.
        routes.retain(|route| {
            let listener = hostname.as_ref().map(|name| hosts::Hostname::new(name));
            let inside = |name: &String| listener.as_ref().is_none_or(|it| it.intersects(&hosts::Hostname::new(name)));
            route.hostnames.is_empty() || route.hostnames.iter().any(inside)
        });
        Rules { hostname, routes }
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
        let table = compile(rules.clone()).map_err(|faults| TestCaseError::fail(format!("{faults:?}")))?;
        for asked in asked {
            let fields: Vec<_> = asked.fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
            let request = request(asked.method, asked.host, &asked.target, &fields);
            let found = table.find(&request).map(|found| found.rule);
            prop_assert_eq!(found.map(|rule| table.place(rule)), naive(&rules, &asked), "{:?}", asked);
            for explained in table.explain(&request) {
                match explained.verdict {
                    Verdict::Chosen => prop_assert_eq!(Some(explained.index), found),
                    Verdict::Behind { chosen, .. } => prop_assert_eq!(Some(chosen), found),
                    Verdict::Unmatched(_) => prop_assert_ne!(Some(explained.index), found),
                }
                // The rule alone: matching is its own affair.
                let (route, rule) = table.place(explained.index);
                let mut alone = rules.clone();
                alone.routes = vec![Route { rules: vec![rules.routes[route].rules[rule].clone()], ..rules.routes[route].clone() }];
                let matches = naive(&alone, &asked).is_some();
                prop_assert_eq!(matches, !matches!(explained.verdict, Verdict::Unmatched(_)), "{:?}", explained);
            }
        }
    }

    #[test]
    fn no_bytes_break_it(method: Vec<u8>, host: Vec<u8>, path: Vec<u8>, query: Option<Vec<u8>>, rules in all_rules()) {
        let table = compile(rules).map_err(|faults| TestCaseError::fail(format!("{faults:?}")))?;
        let fields = [(&b"h"[..], &method[..]), (b"h", &host)];
        let path = [b"/", &path[..]].concat();
        let request =
            Request { method: &method, host: &host, path: &path, query: query.as_deref(), fields: fields.iter().copied() };
        let chosen = table.explain(&request).into_iter().find(|it| it.verdict == Verdict::Chosen);
        prop_assert_eq!(table.find(&request).map(|found| found.rule), chosen.map(|it| it.index));
    }
}
