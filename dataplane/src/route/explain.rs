//! Why each rule was or was not taken: the rules one after the other, as they were given, without the table's hashes and orders. That is slow and
//! obvious, so it is also what [`Table::find`] is tested against.

use super::{
    Request,
    check::rule_name,
    hosts::Hostname,
    rules::{HeaderMatch, Match, PathKind, PathMatch, QueryMatch, RuleIndex},
    table::{Candidate, Lack, Layer, Table},
};
use serde::Serialize;
use std::{cmp::Reverse, fmt};

/// What is said of one rule.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// Its place among all.
    pub index: RuleIndex,
    /// Its route's name.
    pub route: String,
    /// Its name, or its number in the route.
    pub rule: String,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a rule.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// The request takes it.
    Chosen,
    /// It matches too, but the chosen one comes before it.
    Behind {
        /// The chosen one.
        chosen: RuleIndex,
        /// The first criterion by which they differ.
        by: Criterion,
    },
    /// The request lacks this. Of several matches it is said of the one that got furthest.
    Unmatched(Mismatch),
}

/// What decides between two rules that both match, the most important first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Criterion {
    /// The more specific hostname.
    Hostname,
    /// Exact before patterns before prefixes.
    PathType,
    /// The longer prefix or pattern.
    PathLength,
    /// With a method before without.
    Method,
    /// More header fields.
    Headers,
    /// More query parameters.
    QueryParams,
    /// The order in which they were given.
    Order,
}

/// The first thing that did not match.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Mismatch {
    /// The host is not the listener's.
    Listener(String),
    /// The host is none of these.
    Hostname(Vec<String>),
    /// The path is not this.
    Path(PathMatch),
    /// The method is not this; or it is CONNECT, and none is named.
    Method(String),
    /// A header field is not this.
    Header(HeaderMatch),
    /// A query parameter is not this.
    QueryParam(QueryMatch),
}

/// The place of a match in the order of precedence; the greater one is taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    hostname: (u8, usize),
    path_type: u8,
    path_length: usize,
    method: bool,
    headers: u8,
    queries: u8,
    order: Reverse<(u64, RuleIndex)>,
}

impl Rank {
    /// The first criterion by which it differs from a rank behind it.
    fn before(&self, other: &Self) -> Criterion {
        [
            (self.hostname != other.hostname, Criterion::Hostname),
            (self.path_type != other.path_type, Criterion::PathType),
            (self.path_length != other.path_length, Criterion::PathLength),
            (self.method != other.method, Criterion::Method),
            (self.headers != other.headers, Criterion::Headers),
            (self.queries != other.queries, Criterion::QueryParams),
        ]
        .into_iter()
        .find_map(|(differs, criterion)| differs.then_some(criterion))
        .unwrap_or(Criterion::Order)
    }
}

/// How far a match got: the greater, the further.
#[derive(PartialEq, PartialOrd)]
enum Reached {
    Path,
    Then(Lack),
}

impl Table {
    /// What becomes of each rule, in the order given. For a person who asks: it goes through all rules and allocates.
    pub fn explain<'a, F>(&self, request: &Request<'a, F>) -> Vec<Explained>
    where
        F: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    {
        let all = self.in_order();
        let judged: Vec<_> = all.iter().map(|rule| self.judge(*rule, request)).collect();
        let best = judged.iter().filter_map(|judged| judged.as_ref().ok()).max().copied();
        let explained = all.into_iter().zip(judged).map(|(index, judged)| {
            let verdict = match (judged, best) {
                (Err(mismatch), _) => Verdict::Unmatched(mismatch),
                (Ok(rank), Some(best)) if rank != best => {
                    Verdict::Behind { chosen: best.order.0.1, by: best.before(&rank) }
                }
                (Ok(_), _) => Verdict::Chosen,
            };
            let (route, rule) = self.name(index);
            Explained { index, route: route.to_owned(), rule, verdict }
        });
        explained.collect()
    }

    /// The route's name, and the rule's: its number if it has none.
    pub fn name(&self, rule: RuleIndex) -> (&str, String) {
        let (route, number) = self.place(rule);
        (&route.name, rule_name(&route.rules[number], number))
    }

    /// The rule's best rank for this request, or what the request lacks.
    fn judge<'a, F>(&self, rule: RuleIndex, request: &Request<'a, F>) -> Result<Rank, Mismatch>
    where
        F: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    {
        let (layer, local) = self.layer(rule);
        let target = &layer.compiled.rules_targets[local.0 as usize];
        let (route, number) = self.place(rule);
        if !layer.compiled.listener.covers(request.host) {
            return Err(Mismatch::Listener(layer.compiled.rules.hostname.clone().unwrap_or_default()));
        }
        let order = Reverse((layer.order(local), rule));
        let covering = route.hostnames.iter().map(|name| Hostname::new(name)).filter(|name| name.covers(request.host));
        let hostname = covering.map(|name| name.specificity()).max();
        let any = route.hostnames.is_empty().then(|| Hostname::Any.specificity());
        let Some(hostname) = hostname.or(any) else { return Err(Mismatch::Hostname(route.hostnames.clone())) };

        let every_request = [Match::default()];
        let matches = &route.rules[number].matches[..];
        let matches = if matches.is_empty() { &every_request[..] } else { matches };
        let mut best: Option<Rank> = None;
        let mut furthest: Option<(Reached, Mismatch)> = None;
        for (it, candidate) in matches.iter().zip(&layer.compiled.matches[target.matches.range()]) {
            let lack = if layer.path_fits(&it.path, candidate, request.path) {
                layer.lack(candidate, request).map(|lack| (Reached::Then(lack), mismatch(it, lack)))
            } else {
                Some((Reached::Path, Mismatch::Path(it.path.clone())))
            };
            match lack {
                None => best = best.max(Some(rank(hostname, it, candidate, order))),
                Some(lack) if furthest.as_ref().is_none_or(|(reached, _)| lack.0 > *reached) => furthest = Some(lack),
                Some(_) => {}
            }
        }
        match (best, furthest) {
            (Some(best), _) => Ok(best),
            (None, Some((_, mismatch))) => Err(mismatch),
            (None, None) => unreachable!("a rule has a match"),
        }
    }

    /// Rules that count, in the order of their routes.
    fn in_order(&self) -> Vec<RuleIndex> {
        let layers = std::iter::once(&self.base).chain(&self.over);
        let rules = layers.flat_map(|layer| {
            let all = (0..layer.compiled.rules_targets.len() as u32).map(RuleIndex);
            all.filter(|rule| !layer.is_masked(*rule)).map(|rule| (layer.order(rule), RuleIndex(layer.below + rule.0)))
        });
        let mut rules: Vec<_> = rules.collect();
        rules.sort_unstable();
        rules.into_iter().map(|(_, rule)| rule).collect()
    }
}

impl Layer {
    fn path_fits(&self, wanted: &PathMatch, candidate: &Candidate, path: &[u8]) -> bool {
        let value = wanted.value.as_bytes();
        match wanted.kind {
            PathKind::Exact => path == value,
            PathKind::PathPrefix => {
                let prefix = value.strip_suffix(b"/").unwrap_or(value);
                prefix.is_empty() || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
            }
            PathKind::RegularExpression => candidate.pattern.is_some_and(|pattern| self.terms().is_like(pattern, path)),
        }
    }
}

fn rank(hostname: (u8, usize), it: &Match, candidate: &Candidate, order: Reverse<(u64, RuleIndex)>) -> Rank {
    let (path_type, path_length) = match it.path.kind {
        PathKind::Exact => (2, it.path.value.len()),
        PathKind::RegularExpression => (1, it.path.value.len()),
        PathKind::PathPrefix => (0, it.path.value.trim_end_matches('/').len()),
    };
    Rank {
        hostname,
        path_type,
        path_length,
        method: it.method.is_some(),
        headers: candidate.headers,
        queries: candidate.queries,
        order,
    }
}

/// What a match asks for and the request lacks.
fn mismatch(it: &Match, lack: Lack) -> Mismatch {
    match lack {
        Lack::Method => Mismatch::Method(it.method.clone().unwrap_or_default()),
        Lack::Header(number) => Mismatch::Header(it.counted_headers().nth(number).expect("it was compiled").1.clone()),
        Lack::Query(number) => {
            Mismatch::QueryParam(it.counted_query_params().nth(number).expect("it was compiled").1.clone())
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen => f.write_str("chosen"),
            Self::Behind { by, .. } => write!(f, "matches, but the chosen rule {by}"),
            Self::Unmatched(mismatch) => mismatch.fmt(f),
        }
    }
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hostname => "has a more specific hostname",
            Self::PathType => "has a path of a type that comes first (Exact, RegularExpression, PathPrefix)",
            Self::PathLength => "has a longer path",
            Self::Method => "names the method",
            Self::Headers => "asks for more header fields",
            Self::QueryParams => "asks for more query parameters",
            Self::Order => "was given earlier",
        })
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(name) => write!(f, "the host is not the listener's, {name}"),
            Self::Hostname(names) => write!(f, "the host is none of {}", names.join(", ")),
            Self::Path(path) => write!(f, "the path is not {:?} {:?}", path.kind, path.value),
            Self::Method(method) if method.is_empty() => f.write_str("CONNECT needs a match that names it"),
            Self::Method(method) => write!(f, "the method is not {method}"),
            Self::Header(it) => write!(f, "header field {} is not {:?} {:?}", it.name, it.kind, it.value),
            Self::QueryParam(it) => write!(f, "query parameter {} is not {:?} {:?}", it.name, it.kind, it.value),
        }
    }
}
