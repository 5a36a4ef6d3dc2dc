//! Rules as data: what a snapshot carries, in the words of the Gateway API's HTTPRoute. Nothing here is checked yet; [`compile`](super::compile)
//! does that and makes the [`Table`](super::Table) of it.

use crate::{filters::FilterSpec, limits::HTTP_CONDITIONS_MAX};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The routes of one listener.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rules {
    /// The listener's own hostname, exact or `*.`: other hosts find nothing here. `None` takes any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// In order of creation: what is equal in everything else goes by that. Shared, so that a snapshot that differs in one of many is cheap to make
    /// and to compare.
    #[serde(default)]
    pub routes: Vec<Arc<Route>>,
}

/// One HTTPRoute.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Route {
    /// Unique among the routes.
    pub name: String,
    /// Exact, or `*.` before a suffix that any number of labels may precede. None at all takes any host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// At least one.
    pub rules: Vec<Rule>,
}

/// What happens to requests that match.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rule {
    /// Unique in its route; without one it is called by its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// One of them is enough. None at all takes every request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<Match>,
    /// Where requests go, each by its weight. None at all, or weights that are all zero, leave it to filters or to status 500.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<Backend>,
    /// What is done to them, in this order; each kind at most once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<FilterSpec>,
    /// How long they may take.
    #[serde(default, skip_serializing_if = "RuleTimeouts::is_none")]
    pub timeouts: RuleTimeouts,
}

/// How long a rule's requests may take, in milliseconds (GEP-1742).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RuleTimeouts {
    /// From the request's head to the end of its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_ms: Option<u64>,
    /// From the choice of an endpoint to the end of its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_request_ms: Option<u64>,
}

impl RuleTimeouts {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Everything in it must hold.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Match {
    /// Every path, if it is not said.
    #[serde(default)]
    pub path: PathMatch,
    /// The method, letter for letter. If it is not said: every method but CONNECT, for a tunnel passes all other rules by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Of several with one name only the first counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderMatch>,
    /// Of several with one name only the first counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query_params: Vec<QueryMatch>,
}

impl Match {
    /// The header fields that count, with their numbers.
    pub(super) fn counted_headers(&self) -> impl Iterator<Item = (usize, &HeaderMatch)> {
        counted(&self.headers, |header| header.name.to_ascii_lowercase())
    }

    /// The query parameters that count, with their numbers.
    pub(super) fn counted_query_params(&self) -> impl Iterator<Item = (usize, &QueryMatch)> {
        counted(&self.query_params, |query| query.name.clone())
    }
}

/// The elements that count, with their numbers: of several with one name the first, and no more than are looked at.
fn counted<T, K: PartialEq>(all: &[T], name: impl Fn(&T) -> K) -> impl Iterator<Item = (usize, &T)> {
    let all = &all[..all.len().min(HTTP_CONDITIONS_MAX)];
    all.iter().enumerate().filter(move |(number, it)| !all[..*number].iter().any(|earlier| name(earlier) == name(it)))
}

/// What the path must be. It is compared after normalisation, with case.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PathMatch {
    /// How `value` is meant.
    #[serde(rename = "type", default)]
    pub kind: PathKind,
    /// An absolute path, or a pattern.
    #[serde(default = "root")]
    pub value: String,
}

impl Default for PathMatch {
    fn default() -> Self {
        Self { kind: PathKind::default(), value: root() }
    }
}

fn root() -> String {
    "/".to_owned()
}

/// How a path is compared.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub enum PathKind {
    /// The same bytes.
    Exact,
    /// The same first segments: `/abc` and `/abc/` both take `/abc`, `/abc/` and `/abc/d`, not `/abcd`.
    #[default]
    PathPrefix,
    /// The whole path is in the pattern's language.
    RegularExpression,
}

/// What a header field must be. A repeated field is one value, its lines joined with `, ` (RFC 9110 section 5.3).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HeaderMatch {
    /// How `value` is meant.
    #[serde(rename = "type", default)]
    pub kind: HeaderKind,
    /// The field's name, in any case.
    pub name: String,
    /// The value or a pattern; nothing for [`HeaderKind::Present`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// How a field's value is compared.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub enum HeaderKind {
    /// The same bytes.
    #[default]
    Exact,
    /// Whatever it is.
    Present,
    /// The whole value is in the pattern's language.
    RegularExpression,
}

/// What a query parameter must be: the first one with this name, percent-decoded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct QueryMatch {
    /// How `value` is meant.
    #[serde(rename = "type", default)]
    pub kind: QueryKind,
    /// The name, letter for letter, decoded.
    pub name: String,
    /// The value, decoded, or a pattern for it.
    pub value: String,
}

/// How a parameter's value is compared.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub enum QueryKind {
    /// The same bytes.
    #[default]
    Exact,
    /// The whole value is in the pattern's language.
    RegularExpression,
}

/// A share of a rule's requests.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Backend {
    /// The backend's name.
    pub backend: String,
    /// Its part of the sum of the rule's weights; zero gets nothing.
    #[serde(default = "one")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

/// A backend's number, by which compiled rules refer to it. Who compiles them gives numbers to names; a backend keeps its number while it lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BackendIndex(pub u32);

/// A rule's place among all rules of a table, in the order given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleIndex(pub u32);
