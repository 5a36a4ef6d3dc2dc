//! From rules to a table: checked, then every match placed at each of its hostnames, then sorted by precedence.
//!
//! ```text
//!   rules ---> check ---> candidates, one a match ---> places: (hostname, path) of each ---> sorted, grouped ---> table
//! ```

use super::{
    check::{self, Fault, Faults},
    conditions::{Condition, Wanted},
    hosts::{HostIndex, HostMap, Hostname},
    index::Index,
    layers,
    patterns::{PatternIndex, Patterns},
    rules::{Backend, BackendIndex, HeaderKind, Match, PathKind, QueryKind, Route, Rule, RuleIndex, Rules},
    table::{
        Candidate, Compiled, Crowd, HostPaths, Layer, PathEntry, Paths, RuleTarget, Share, Span, Table, Text, path_hash,
    },
};
use crate::limits::{HTTP_PATH_PATTERNS_MAX, HTTP_PLACES_MAX, HTTP_RULES_MAX, HTTP_SAME_PATH_MAX};
use ahash::RandomState;
use std::{
    cmp::{Ordering, Reverse},
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// A backend's number by its name; `None` if there is none.
pub type Numbers<'a> = dyn Fn(&str) -> Option<BackendIndex> + 'a;

/// Checks the rules and makes a table of them.
///
/// # Errors
///
/// Everything that is wrong, each thing with its route, rule and field.
pub fn compile(rules: Rules, numbers: &Numbers<'_>) -> Result<Table, Vec<Fault>> {
    let order = (0..rules.routes.len() as u64).map(layers::order).collect();
    Ok(Table { base: compile_layer(rules, order, 0, numbers)?, over: None })
}

/// The same for one layer: `order` of each route, and how many rules there are in the layers below.
pub(super) fn compile_layer(
    rules: Rules,
    order: Box<[u64]>,
    below: u32,
    numbers: &Numbers<'_>,
) -> Result<Layer, Vec<Fault>> {
    // Only the operator's names are kept in tables, never a client's: their hashes need no secret, and two runs are alike.
    let hash = RandomState::with_seeds(0x6c1b, 0x9e37, 0x79b9, 0x7f4a);
    let mut compiler = Compiler::new(hash, numbers);
    compiler.add_all(&rules);
    if compiler.faults.found.is_empty() { compiler.finish(rules, order, below) } else { Err(compiler.faults.found) }
}

struct Compiler<'a> {
    numbers: &'a Numbers<'a>,
    faults: Faults,
    hash: RandomState,
    listener: Hostname,
    patterns: Patterns,
    bytes: Vec<u8>,
    texts: HashMap<String, Text, RandomState>,
    conditions: Vec<Condition>,
    targets: Vec<RuleTarget>,
    matches: Vec<Candidate>,
    shares: Vec<Share>,

    hosts: Vec<Hostname>,
    hosts_indices: HashMap<Hostname, HostIndex, RandomState>,
    places: Vec<Place>,
}

/// A match at one of its route's hostnames.
#[derive(Clone, Copy)]
struct Place {
    host: HostIndex,
    kind: PathKind,
    /// A pattern has its text here only to be sorted by its length.
    path: Text,
    candidate: Candidate,
}

impl<'a> Compiler<'a> {
    fn new(hash: RandomState, numbers: &'a Numbers<'a>) -> Self {
        Self {
            numbers,
            faults: Faults::default(),
            listener: Hostname::Any,
            patterns: Patterns::new(&hash),
            bytes: Vec::new(),
            texts: HashMap::with_hasher(hash.clone()),
            conditions: Vec::new(),
            targets: Vec::new(),
            matches: Vec::new(),
            shares: Vec::new(),
            hosts: Vec::new(),
            hosts_indices: HashMap::with_hasher(hash.clone()),
            places: Vec::new(),
            hash,
        }
    }

    fn add_all(&mut self, rules: &Rules) {
        if let Some(name) = &rules.hostname {
            self.faults.check(|| "hostname".into(), check::hostname(name));
            self.listener = Hostname::new(name);
        }
        if rules.routes.iter().map(|route| route.rules.len()).sum::<usize>() > HTTP_RULES_MAX {
            self.faults.add("routes", format!("more than {HTTP_RULES_MAX} rules for one listener"));
            return;
        }
        let mut names = HashSet::with_hasher(self.hash.clone());
        for (number, route) in rules.routes.iter().enumerate() {
            self.faults.in_route(&route.name);
            if route.name.is_empty() {
                self.faults.add(format!("routes[{number}].name"), "a route needs a name");
            } else if !names.insert(&route.name) {
                self.faults.add("name", "another route has the same name");
            }
            self.add_route(number, route);
            if self.places.len() > HTTP_PLACES_MAX {
                self.faults.add("hostnames", format!("more than {HTTP_PLACES_MAX} matches, counted for each hostname"));
                return;
            }
        }
    }

    fn add_route(&mut self, number: usize, route: &Route) {
        let hosts = self.hosts_of(route);
        if route.rules.is_empty() {
            self.faults.add("rules", "a route needs a rule");
        }
        let mut names = HashSet::with_hasher(self.hash.clone());
        for (at, rule) in route.rules.iter().enumerate() {
            self.faults.in_rule(rule, at);
            if rule.name.as_ref().is_some_and(|name| name.is_empty() || !names.insert(name)) {
                self.faults.add("name", "empty, or another rule of the route has the same name");
            }
            self.add_rule((number as u32, at as u32), rule, &hosts);
        }
    }

    /// The route's hostnames, each once.
    fn hosts_of(&mut self, route: &Route) -> Vec<HostIndex> {
        let mut hosts = Vec::new();
        let mut names = Vec::new();
        for (number, name) in route.hostnames.iter().enumerate() {
            let field = || format!("hostnames[{number}]");
            let checked = check::hostname(name);
            if checked.is_ok() {
                names.push(Hostname::new(name));
            }
            self.faults.check(field, checked);
        }
        if route.hostnames.is_empty() {
            names.push(Hostname::Any);
        }
        // Gateway API: hostnames outside of the listener's are ignored; a route with none inside is not the listener's at all.
        if !names.is_empty() && !names.iter().any(|name| name.intersects(&self.listener)) {
            self.faults.add("hostnames", "none of them is within the listener's hostname: no request would come here");
        }
        for name in names {
            let next = HostIndex(self.hosts.len() as u32);
            let host = *self.hosts_indices.entry(name.clone()).or_insert(next);
            if host == next {
                self.hosts.push(name);
            }
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        hosts
    }

    fn add_rule(&mut self, place: (u32, u32), rule: &Rule, hosts: &[HostIndex]) {
        check::weights(&mut self.faults, rule);
        let index = RuleIndex(self.targets.len() as u32);
        let start = self.shares.len() as u32;
        let mut below = 0;
        for (at, Backend { backend, weight }) in rule.backends.iter().enumerate() {
            let Some(backend) = (self.numbers)(backend) else {
                self.faults.add(format!("backends[{at}]"), format!("there is no backend {backend:?}"));
                continue;
            };
            if *weight > 0 {
                below += u64::from(*weight);
                self.shares.push(Share { below, backend });
            }
        }
        let shares = Span { start, end: self.shares.len() as u32 };

        let every_request = [Match::default()];
        let matches = if rule.matches.is_empty() { &every_request[..] } else { &rule.matches };
        let start = self.matches.len() as u32;
        for (at, it) in matches.iter().enumerate() {
            check::a_match(&mut self.faults, at, it);
            if let Some((path, candidate)) = self.candidate(index, at, it) {
                let kind = it.path.kind;
                self.places.extend(hosts.iter().map(|&host| Place { host, kind, path, candidate }));
                self.matches.push(candidate);
            }
        }
        let matches = Span { start, end: self.matches.len() as u32 };
        self.targets.push(RuleTarget { place, matches, shares });
    }

    /// A match's path and what else it asks for, in the table's terms. `None` after a fault.
    fn candidate(&mut self, rule: RuleIndex, at: usize, it: &Match) -> Option<(Text, Candidate)> {
        let pattern = match it.path.kind {
            PathKind::RegularExpression => Some(self.pattern(|| format!("matches[{at}].path.value"), &it.path.value)?),
            PathKind::Exact | PathKind::PathPrefix => None,
        };
        // Gateway API: a slash at a prefix's end is ignored.
        let path = match it.path.kind {
            PathKind::PathPrefix => it.path.value.strip_suffix('/').unwrap_or(&it.path.value),
            PathKind::Exact | PathKind::RegularExpression => &it.path.value,
        };
        let (path, method) = (self.text(path), self.text(it.method.as_deref().unwrap_or_default()));
        let conditions = self.conditions.len();
        self.add_headers(at, it)?;
        let headers = (self.conditions.len() - conditions) as u8;
        self.add_queries(at, it)?;
        let queries = (self.conditions.len() - conditions) as u8 - headers;
        let (conditions, path_len) = (conditions as u32, path.len.min(u16::MAX.into()) as u16);
        Some((path, Candidate { rule, pattern, method, conditions, headers, queries, path_len }))
    }

    fn add_headers(&mut self, at: usize, it: &Match) -> Option<()> {
        for (number, header) in it.counted_headers() {
            let value = match header.kind {
                HeaderKind::Present => Wanted::Anything,
                HeaderKind::Exact => Wanted::Exactly(self.text(&header.value)),
                HeaderKind::RegularExpression => {
                    Wanted::Like(self.pattern(|| format!("matches[{at}].headers[{number}].value"), &header.value)?)
                }
            };
            let name = self.text(&header.name.to_ascii_lowercase());
            self.conditions.push(Condition { name, value });
        }
        Some(())
    }

    fn add_queries(&mut self, at: usize, it: &Match) -> Option<()> {
        for (number, query) in it.counted_query_params() {
            let value = match query.kind {
                QueryKind::Exact => Wanted::Exactly(self.text(&query.value)),
                QueryKind::RegularExpression => {
                    Wanted::Like(self.pattern(|| format!("matches[{at}].queryParams[{number}].value"), &query.value)?)
                }
            };
            let name = self.text(&query.name);
            self.conditions.push(Condition { name, value });
        }
        Some(())
    }

    fn pattern(&mut self, field: impl FnOnce() -> String, pattern: &str) -> Option<PatternIndex> {
        self.patterns.add(pattern).map_err(|problem| self.faults.add(field(), problem)).ok()
    }

    /// Equal texts are kept once: routes for many hosts often have the same paths, and then they stay in the cache.
    fn text(&mut self, text: &str) -> Text {
        if let Some(&known) = self.texts.get(text) {
            return known;
        }
        let start = self.bytes.len();
        if start + text.len() > u32::MAX as usize {
            self.faults.add("", "all rules together have more than four gigabytes of text");
            return Text::default();
        }
        self.bytes.extend_from_slice(text.as_bytes());
        let new = Text { start: start as u32, len: text.len() as u32 };
        self.texts.insert(text.to_owned(), new);
        new
    }

    fn finish(self, rules: Rules, order: Box<[u64]>, below: u32) -> Result<Layer, Vec<Fault>> {
        let Self { mut faults, hash, listener, patterns, bytes, conditions, targets, matches, shares, .. } = self;
        let mut sorter = Sorter::new(&bytes, &self.hosts);
        let mut places = self.places;
        places.sort_by(|a, b| sorter.order(a, b));
        let crowded = |group: &[Place], allowed: usize, what: &str| {
            let (route, rule) = targets[group[0].candidate.rule.0 as usize].place;
            faults.in_route(&rules.routes[route as usize].name);
            faults.in_rule(&rules.routes[route as usize].rules[rule as usize], rule as usize);
            let count = group.len();
            faults.add(
                "matches",
                format!("with those of other rules {count} for one hostname and {what}; at most {allowed}"),
            );
        };
        let (exact, prefixes) = sorter.group(&places, crowded);
        let places_count = places.len();
        if !faults.found.is_empty() {
            return Err(faults.found);
        }
        let paths = |entries: Vec<PathEntry>| {
            let text = |text: Text| &bytes[text.start as usize..][..text.len as usize];
            let hashes: Vec<_> = entries.iter().map(|entry| path_hash(&hash, entry.host, text(entry.path))).collect();
            Paths { index: Index::new(hashes.into_iter()), entries: entries.into() }
        };
        let (exact, prefixes) = (paths(exact), paths(prefixes));
        let Sorter { hosts, candidates, crowd, .. } = sorter;
        let patterns = patterns.finish();
        let crowd = Crowd { places: places_count, patterns: patterns.len(), ..crowd };
        let compiled = Compiled {
            rules,
            crowd,
            order,
            listener,
            hosts: HostMap::new(&hash, self.hosts.iter().zip(hosts)),
            candidates: candidates.into(),
            conditions: conditions.into(),
            rules_targets: targets.into(),
            matches: matches.into(),
            shares: shares.into(),
            exact,
            prefixes,
            hash,
            bytes: bytes.into(),
        };
        Ok(Layer { compiled: Arc::new(compiled), patterns, below, masked: None })
    }
}

/// Puts places in order and those together that are looked up together.
struct Sorter<'a> {
    bytes: &'a [u8],
    hosts: Vec<HostPaths>,
    candidates: Vec<Candidate>,
    crowd: Crowd,
}

impl<'a> Sorter<'a> {
    fn new(bytes: &'a [u8], hosts: &[Hostname]) -> Self {
        let nothing = |(host, name): (u32, &Hostname)| {
            let (host, specificity) = (HostIndex(host), name.specificity());
            HostPaths { host, specificity, patterns: Span::default(), depths: 0, has_exact: false }
        };
        let hosts = (0..).zip(hosts).map(nothing).collect();
        Self { bytes, hosts, candidates: Vec::new(), crowd: Crowd::default() }
    }

    fn text(&self, text: Text) -> &[u8] {
        &self.bytes[text.start as usize..][..text.len as usize]
    }

    /// Exact paths, prefixes, patterns; in each by host and path, and then by precedence.
    fn order(&self, a: &Place, b: &Place) -> Ordering {
        let by_path = || match a.kind {
            // Gateway API leaves patterns open; the longer text first.
            PathKind::RegularExpression => b.path.len.cmp(&a.path.len),
            PathKind::Exact | PathKind::PathPrefix => self.text(a.path).cmp(self.text(b.path)),
        };
        let rest = |place: &Place| {
            let Candidate { method, headers, queries, rule, .. } = place.candidate;
            (Reverse(method.len > 0), Reverse(headers), Reverse(queries), rule)
        };
        let first = |place: &Place| (place.kind as u8, place.host);
        first(a).cmp(&first(b)).then_with(by_path).then_with(|| rest(a).cmp(&rest(b)))
    }

    /// The entries of exact paths and of prefixes. Calls `crowded` for places that would be tried one after the other and are too many.
    fn group(
        &mut self,
        places: &[Place],
        mut crowded: impl FnMut(&[Place], usize, &str),
    ) -> (Vec<PathEntry>, Vec<PathEntry>) {
        let (mut exact, mut prefixes) = (Vec::new(), Vec::new());
        let looked_up_together = |a: &Place, b: &Place| {
            let is_pattern = a.kind == PathKind::RegularExpression;
            (a.kind, a.host) == (b.kind, b.host)
                && (is_pattern || a.path.len == b.path.len && self.text(a.path) == self.text(b.path))
        };
        let groups: Vec<_> = places.chunk_by(looked_up_together).collect();
        for group in groups {
            let Place { host, kind, path, candidate: first } = group[0];
            let kept = if kind == PathKind::RegularExpression { group } else { &group[1..] };
            let start = self.candidates.len() as u32;
            self.candidates.extend(kept.iter().map(|place| place.candidate));
            let others = Span { start, end: self.candidates.len() as u32 };
            let entry = PathEntry { host, path, first, others };
            let paths = &mut self.hosts[host.0 as usize];
            match kind {
                PathKind::Exact => {
                    paths.has_exact = true;
                    exact.push(entry);
                }
                PathKind::PathPrefix => {
                    let path = &self.bytes[path.start as usize..][..path.len as usize];
                    paths.depths |= 1 << path.iter().filter(|&&byte| byte == b'/').count();
                    prefixes.push(entry);
                }
                PathKind::RegularExpression => paths.patterns = others,
            }
            let Crowd { same_path, path_patterns, .. } = &mut self.crowd;
            let (allowed, what, most) = match kind {
                PathKind::Exact | PathKind::PathPrefix => (HTTP_SAME_PATH_MAX, "the same path", same_path),
                PathKind::RegularExpression => (HTTP_PATH_PATTERNS_MAX, "any pattern as path", path_patterns),
            };
            *most = (*most).max(group.len());
            if group.len() > allowed {
                crowded(group, allowed, what);
            }
        }
        (exact, prefixes)
    }
}
