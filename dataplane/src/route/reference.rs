//! For tests and fuzz targets: a matcher without any structure. All matches of all rules, sorted by the Gateway API's list.

use super::*;
use regex::bytes::{Regex, RegexBuilder};
use std::{
    cmp::Reverse,
    collections::BTreeMap,
    iter::Copied,
    slice::Iter,
    sync::{Arc, Mutex, PoisonError},
};

pub(super) type Fields<'a> = Copied<Iter<'a, (&'a [u8], &'a [u8])>>;

/// A request for `host` and `target`, which may have a query, with fields.
pub(super) fn request<'a>(
    method: &'a str,
    host: &'a str,
    target: &'a str,
    fields: &'a [(&'a [u8], &'a [u8])],
) -> Request<'a, Fields<'a>> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.as_bytes())),
        None => (target, None),
    };
    let (method, host, path) = (method.as_bytes(), host.as_bytes(), path.as_bytes());
    Request { method, host, path, query, fields: fields.iter().copied() }
}

/// The table takes what the list of all matches says, and explains each rule so.
pub(super) fn check(table: &Table, rules: &Rules, asked: &Asked) {
    let fields: Vec<_> = asked.fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let request = request(asked.method, asked.host, &asked.target, &fields);
    let found = table.find(&request).map(|found| found.rule);
    let place = |rule| {
        let (route, number) = table.place(rule);
        (rules.routes.iter().position(|it| it.name == route.name).expect("one of them"), number)
    };
    assert_eq!(found.map(place), naive(rules, asked), "{asked:?}");
    for explained in table.explain(&request) {
        match explained.verdict {
            Verdict::Chosen => assert_eq!(Some(explained.index), found),
            Verdict::Behind { chosen, .. } => assert_eq!(Some(chosen), found),
            Verdict::Unmatched(_) => assert_ne!(Some(explained.index), found),
        }
        // The rule alone: matching is its own affair.
        let (route, rule) = place(explained.index);
        let rule = rules.routes[route].rules[rule].clone();
        let alone = Arc::new(Route { rules: vec![rule], ..(*rules.routes[route]).clone() });
        let alone = Rules { routes: vec![alone], hostname: rules.hostname.clone() };
        let matches = naive(&alone, asked).is_some();
        assert_eq!(matches, !matches!(explained.verdict, Verdict::Unmatched(_)), "{explained:?}");
    }
}

/// Leaves out routes that none of the listener's requests would come to, which are refused.
pub(super) fn retain_within(hostname: Option<&str>, routes: &mut Vec<Route>) {
    let listener = hostname.map(hosts::Hostname::new);
    routes.retain(|route| {
        let inside = |name: &String| listener.as_ref().is_none_or(|it| it.intersects(&hosts::Hostname::new(name)));
        route.hostnames.is_empty() || route.hostnames.iter().any(inside)
    });
}

/// A request that owns its parts.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: &'static str,
    pub(super) host: &'static str,
    pub(super) target: String,
    pub(super) fields: Vec<(&'static str, &'static str)>,
}

fn is_like(pattern: &str, text: &[u8]) -> bool {
    // There are few, and each takes longer to compile than everything else here together.
    static COMPILED: Mutex<BTreeMap<String, Regex>> = Mutex::new(BTreeMap::new());
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let whole = || RegexBuilder::new(&format!("^(?:{pattern})$")).unicode(false).build().unwrap();
    compiled.entry(pattern.to_owned()).or_insert_with(whole).is_match(text)
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
pub(super) fn naive(rules: &Rules, asked: &Asked) -> Option<(usize, usize)> {
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
                    && it.method.as_ref().map_or(asked.method != "CONNECT", |method| method == asked.method)
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
