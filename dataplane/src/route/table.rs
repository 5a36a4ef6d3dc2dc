//! The compiled rules, and the way of a request through them.
//!
//! Everything lies in a few flat arrays that refer to each other by number: a lookup touches few lines of cache however many routes there are, and
//! a table that differs in one route from its predecessor can be made by copying memory.

use super::{
    Request,
    conditions::{Condition, Terms},
    hosts::{HostIndex, HostMap, Hostname},
    index::Index,
    patterns::PatternIndex,
    rules::{BackendIndex, Route, RuleIndex, Rules},
};
use crate::limits::{HTTP_PATH_MATCH_MAX, HTTP_PREFIX_SEGMENTS_MAX};
use ahash::RandomState;
use regex::bytes::Regex;
use std::{
    hash::{BuildHasher, Hasher},
    iter,
    ops::Range,
    sync::Arc,
};

/// The routes of one listener, compiled. Clones share everything but what patterns need while they run: give each worker a clone of its own, and
/// no worker waits for another.
///
/// Most tables are one layer. Where a few routes of many were changed, a second layer lies over the first and holds just these, and the first one's
/// rules of the same routes are masked: see [`Self::changed`](super::layers).
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) base: Layer,
    pub(super) over: Option<Layer>,
}

/// A set of routes that was compiled together.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) compiled: Arc<Compiled>,
    pub(super) patterns: Box<[Regex]>,
    /// Rules in the layers below.
    pub(super) below: u32,
    /// Bit n of word n / 64: rule n is another's now.
    pub(super) masked: Option<Arc<[u64]>>,
}

#[derive(Debug)]
pub(super) struct Compiled {
    /// As they were given.
    pub(super) rules: Rules,
    pub(super) crowd: Crowd,
    /// By route: what is equal in everything else goes by that.
    pub(super) order: Box<[u64]>,
    /// The listener's name.
    pub(super) listener: Hostname,
    pub(super) hash: RandomState,

    // By number.
    pub(super) candidates: Box<[Candidate]>,
    pub(super) conditions: Box<[Condition]>,
    pub(super) rules_targets: Box<[RuleTarget]>,
    pub(super) matches: Box<[Candidate]>,
    pub(super) shares: Box<[Share]>,

    // By key.
    pub(super) hosts: HostMap<HostPaths>,
    pub(super) exact: Paths,
    pub(super) prefixes: Paths,

    /// What [`Text`]s refer to.
    pub(super) bytes: Box<[u8]>,
}

/// What has bounds.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Crowd {
    /// Matches with one path at one hostname, at most.
    pub(super) same_path: usize,
    /// Matches with a pattern as path at one hostname, at most.
    pub(super) path_patterns: usize,
    /// Matches, counted for each hostname.
    pub(super) places: usize,
    /// Patterns of all kinds.
    pub(super) patterns: usize,
}

/// A stretch of the table's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Text {
    pub(super) start: u32,
    pub(super) len: u32,
}

/// A stretch of one of the table's arrays.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// What is known of a host beside the hashed paths.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostPaths {
    pub(super) host: HostIndex,
    pub(super) specificity: (u8, usize),
    /// Candidates with patterns, in order of precedence.
    pub(super) patterns: Span,
    /// Bit n: some prefix has n segments.
    pub(super) depths: u64,
    /// Some path is exact.
    pub(super) has_exact: bool,
}

/// Paths of all hosts, each with its host.
#[derive(Debug)]
pub(super) struct Paths {
    pub(super) index: Index,
    pub(super) entries: Box<[PathEntry]>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct PathEntry {
    pub(super) host: HostIndex,
    /// A prefix has no slash at its end.
    pub(super) path: Text,
    /// Most paths have one candidate; it is here so that it need not be fetched.
    pub(super) first: Candidate,
    /// The others, in order of precedence.
    pub(super) others: Span,
}

/// A match of a rule, with what is left to look at when host and path fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) rule: RuleIndex,
    /// For a path that is a pattern.
    pub(super) pattern: Option<PatternIndex>,
    /// Empty for any.
    pub(super) method: Text,
    /// The first of the conditions: those on header fields, then those on the query.
    pub(super) conditions: u32,
    pub(super) headers: u8,
    pub(super) queries: u8,
    /// Bytes of the path, of a prefix without a slash at its end, or of the pattern.
    pub(super) path_len: u16,
}

/// Where a rule is and where its requests go.
#[derive(Clone, Copy, Debug)]
pub(super) struct RuleTarget {
    /// The route's number, and the rule's in it.
    pub(super) place: (u32, u32),
    /// As they were given.
    pub(super) matches: Span,
    pub(super) shares: Span,
}

/// A backend takes the numbers below `below` that no earlier one takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) below: u64,
    pub(super) backend: BackendIndex,
}

/// What a request takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// The rule.
    pub rule: RuleIndex,
    /// How its path matched.
    pub path: PathFound,
}

/// How a path matched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathFound {
    /// The whole path, byte for byte.
    Exact,
    /// These first bytes of it, without a slash at their end: what a rewrite may replace. None for `/`.
    Prefix {
        /// How many.
        len: usize,
    },
    /// A pattern.
    Pattern,
}

/// What is left to look at of a candidate, and did not hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Lack {
    Method,
    /// The number of the header condition.
    Header(usize),
    /// The number of the query condition.
    Query(usize),
}

impl Table {
    /// The rule that this request takes.
    #[inline]
    pub fn find<'a, F>(&self, request: &Request<'a, F>) -> Option<Found>
    where
        F: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    {
        match &self.over {
            None => self.base.find(request, |layer, _, candidate, path| layer.found(candidate, path)),
            Some(over) => self.find_in_layers(over, request),
        }
    }

    /// A backend of the rule by weight. `random` is uniform over all its values; whoever keeps it keeps the backend. `None` if the rule
    /// gives none any weight.
    pub fn backend(&self, rule: RuleIndex, random: u64) -> Option<BackendIndex> {
        let (layer, rule) = self.layer(rule);
        let shares = &layer.compiled.shares[layer.compiled.rules_targets[rule.0 as usize].shares.range()];
        let sum = shares.last()?.below;
        let drawn = ((u128::from(random) * u128::from(sum)) >> 64) as u64;
        Some(shares[shares.partition_point(|share| share.below <= drawn)].backend)
    }

    /// The route and the rule's number in it.
    pub fn place(&self, rule: RuleIndex) -> (&Arc<Route>, usize) {
        let (layer, rule) = self.layer(rule);
        let (route, rule) = layer.compiled.rules_targets[rule.0 as usize].place;
        (&layer.compiled.rules.routes[route as usize], rule as usize)
    }

    /// A rule's layer, and its number there.
    #[inline]
    pub(super) fn layer(&self, rule: RuleIndex) -> (&Layer, RuleIndex) {
        match &self.over {
            Some(over) if rule.0 >= over.below => (over, RuleIndex(rule.0 - over.below)),
            _ => (&self.base, rule),
        }
    }
}

impl Layer {
    /// What `of` makes of the candidate that this request takes here.
    #[inline]
    pub(super) fn find<'a, F, T>(
        &self,
        request: &Request<'a, F>,
        of: impl Fn(&Self, &HostPaths, &Candidate, PathFound) -> T,
    ) -> Option<T>
    where
        F: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    {
        let compiled = &*self.compiled;
        if !compiled.listener.covers(request.host) {
            return None;
        }
        compiled.hosts.find_map(request.host, |host| {
            let found = self.exact(host, request).or_else(|| self.pattern(host, request));
            let (candidate, path) = found.or_else(|| self.prefix(host, request))?;
            Some(of(self, host, candidate, path))
        })
    }

    #[inline]
    fn found(&self, candidate: &Candidate, path: PathFound) -> Found {
        Found { rule: RuleIndex(self.below + candidate.rule.0), path }
    }

    /// Whether a rule counts, and the request has all that it asks for beside host and path.
    #[inline]
    fn takes<'a, F>(&self, candidate: &Candidate, request: &Request<'a, F>) -> bool
    where
        F: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    {
        !self.is_masked(candidate.rule) && self.lack(candidate, request).is_none()
    }

    #[inline]
    pub(super) fn is_masked(&self, rule: RuleIndex) -> bool {
        self.masked.as_ref().is_some_and(|masked| masked[rule.0 as usize / 64] >> (rule.0 % 64) & 1 != 0)
    }

    pub(super) fn terms(&self) -> Terms<'_> {
        Terms { bytes: &self.compiled.bytes, patterns: &self.patterns }
    }

    fn exact<'a, F>(&self, host: &HostPaths, request: &Request<'a, F>) -> Option<(&Candidate, PathFound)>
    where
        F: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    {
        if !host.has_exact || request.path.len() > HTTP_PATH_MATCH_MAX {
            return None;
        }
        let entry = self.compiled.entry(&self.compiled.exact, host.host, request.path)?;
        self.first_of(entry, request, PathFound::Exact)
    }

    fn pattern<'a, F>(&self, host: &HostPaths, request: &Request<'a, F>) -> Option<(&Candidate, PathFound)>
    where
        F: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    {
        let candidates = &self.compiled.candidates[host.patterns.range()];
        let found = candidates.iter().find(|candidate| {
            // The pattern last: it costs the most.
            self.takes(candidate, request)
                && candidate.pattern.is_some_and(|pattern| self.terms().is_like(pattern, request.path))
        })?;
        Some((found, PathFound::Pattern))
    }

    fn prefix<'a, F>(&self, host: &HostPaths, request: &Request<'a, F>) -> Option<(&Candidate, PathFound)>
    where
        F: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    {
        let mut depths = host.depths;
        let segments = Segments::of(request.path, depths);
        depths &= segments.depths();
        while let Some(deepest) = depths.checked_ilog2() {
            depths &= !(1 << deepest);
            let len = segments.end(deepest as usize);
            let found = self
                .compiled
                .entry(&self.compiled.prefixes, host.host, &request.path[..len])
                .and_then(|entry| self.first_of(entry, request, PathFound::Prefix { len }));
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn first_of<'t, 'a, F>(
        &'t self,
        entry: &'t PathEntry,
        request: &Request<'a, F>,
        path: PathFound,
    ) -> Option<(&'t Candidate, PathFound)>
    where
        F: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    {
        let others = &self.compiled.candidates[entry.others.range()];
        let mut candidates = iter::once(&entry.first).chain(others);
        Some((candidates.find(|candidate| self.takes(candidate, request))?, path))
    }

    /// The first thing that the request lacks beside host and path.
    pub(super) fn lack<'a, F>(&self, candidate: &Candidate, request: &Request<'a, F>) -> Option<Lack>
    where
        F: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    {
        let terms = self.terms();
        let names_it = if candidate.method.len > 0 {
            terms.text(candidate.method) == request.method
        } else {
            // A tunnel passes all other rules by: only who names it may make one.
            request.method != b"CONNECT"
        };
        if !names_it {
            return Some(Lack::Method);
        }
        let conditions = &self.compiled.conditions[candidate.conditions as usize..];
        let (headers, rest) = conditions.split_at(usize::from(candidate.headers));
        if let Some(number) = headers.iter().position(|condition| !terms.header_has(condition, request)) {
            return Some(Lack::Header(number));
        }
        let queries = &rest[..usize::from(candidate.queries)];
        queries.iter().position(|condition| !terms.query_has(condition, request.query)).map(Lack::Query)
    }
}

impl Compiled {
    /// What there is of a host with exactly this path or prefix.
    #[inline]
    fn entry<'t>(&self, paths: &'t Paths, host: HostIndex, path: &[u8]) -> Option<&'t PathEntry> {
        let entry = paths.index.find(path_hash(&self.hash, host, path), |entry| {
            let entry = &paths.entries[entry as usize];
            entry.host == host && self.bytes[entry.path.start as usize..][..entry.path.len as usize] == *path
        })?;
        Some(&paths.entries[entry as usize])
    }
}

pub(super) fn path_hash(hash: &RandomState, host: HostIndex, path: &[u8]) -> u64 {
    let mut hasher = hash.build_hasher();
    hasher.write_u32(host.0);
    hasher.write(path);
    hasher.finish()
}

/// Where the first segments of a path end.
///
/// ```text
///    /abc/de/f        ends: 0, 4, 7, 9       /abc/     ends: 0, 4, 5
///   0    4  7 9       depths: 1111           0    45   depths: 111
/// ```
struct Segments {
    ends: [u16; HTTP_PREFIX_SEGMENTS_MAX + 1],
    count: usize,
}

const _: () = assert!(HTTP_PATH_MATCH_MAX < u16::MAX as usize);

impl Segments {
    /// As far as prefixes with these numbers of segments are concerned.
    fn of(path: &[u8], depths: u64) -> Self {
        let mut segments = Self { ends: [0; HTTP_PREFIX_SEGMENTS_MAX + 1], count: 1 };
        let deepest = depths.checked_ilog2().unwrap_or(0) as usize;
        // `*` and nothing have no segments, but every path is below `/`.
        if deepest == 0 || path.first() != Some(&b'/') {
            return segments;
        }
        // The last of these bytes ends the longest prefix; one more tells whether a segment ends there.
        let looked_at = &path[..path.len().min(HTTP_PATH_MATCH_MAX + 1)];
        for (at, _) in looked_at.iter().enumerate().skip(1).filter(|&(_, &byte)| byte == b'/') {
            segments.push(at);
            if segments.count > deepest {
                return segments;
            }
        }
        if path.len() <= HTTP_PATH_MATCH_MAX {
            segments.push(path.len());
        }
        segments
    }

    fn push(&mut self, end: usize) {
        self.ends[self.count] = end as u16;
        self.count += 1;
    }

    /// Bit n: n segments have an end.
    fn depths(&self) -> u64 {
        u64::MAX >> (64 - self.count)
    }

    fn end(&self, depth: usize) -> usize {
        usize::from(self.ends[depth])
    }
}
