//! Which rule a request takes. Rules come as data in the Gateway API's words ([`Rules`]); [`compile`] checks them and makes a [`Table`], which never
//! changes and which a worker asks for each request ([`Table::find`]). [`Table::explain`] says of every rule why it was or was not taken.
//!
//! ```text
//!   host  ---> hosts: exact, longest wildcard .., any              a.example.com   *.example.com   *
//!                 |       (the next one if nothing here matches)
//!   path  ---> exact path           hash of (host, path)           ---> candidates in order of precedence
//!              patterns             one after the other            ---> method, header fields, query parameters
//!              longest prefix ..    hash of (host, prefix),             the first that has them all
//!                                   only lengths that occur
//! ```
//! # Precedence
//!
//! As the Gateway API states it for HTTPRoute, each criterion deciding among those that are equal in the ones before it:
//! host: exact, then the longest wildcard, then any; path: exact, then patterns, then the longest prefix; a match with a method; most header
//! fields; most query parameters; the older route; the earlier rule. Hostnames are those of the route, not what they have in common
//! with the listener's.
//!
//! *Where patterns stand* is left to implementations. Envoy Gateway and Cilium put them between exact paths and prefixes, as nginx does with plain
//! prefixes; Istio puts them last. Here they stand between: nearly every host has a prefix `/`, and behind it no pattern would ever be tried. Among
//! patterns the longer text comes first, as the three controllers have it.
//!
//! *If a host has routes and none of them matches*, less specific hosts are tried. The Gateway API gives rules of routes with more specific
//! hostnames precedence, which is an order and excludes nobody, and wants status 404 only when no matching rule is attached; just listeners are
//! isolated from each other by hostname, which [`Rules::hostname`] does. (Envoy Gateway, on virtual hosts, answers 404 here.)

mod check;
mod compile;
mod conditions;
mod explain;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod hosts;
mod index;
mod layers;
mod patterns;
#[cfg(any(test, fuzzing))]
mod reference;
mod rules;
mod table;
#[cfg(test)]
mod tests;

pub use check::Fault;
pub use compile::{Numbers, compile};
pub use explain::{Criterion, Explained, Mismatch, Verdict};
pub use rules::{
    Backend, BackendIndex, HeaderKind, HeaderMatch, Match, PathKind, PathMatch, QueryKind, QueryMatch, Route, Rule,
    RuleIndex, RuleTimeouts, Rules,
};
pub use table::{Found, PathFound, Table};

/// What routing looks at of a request's head, and of its path in its one form.
pub fn asked<'a>(
    head: crate::http::Request<'a>,
    path: &'a [u8],
) -> Request<'a, impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone> {
    let (method, host, query) = (head.method(), head.host(), head.query());
    Request { method, host, path, query, fields: head.fields.iter() }
}

/// What routing looks at: a request's head after normalisation.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a, F> {
    /// As it was received.
    pub method: &'a [u8],
    /// In lower case, without port or trailing dot; empty if there is none.
    pub host: &'a [u8],
    /// Normalised, without the query. `*` and nothing (CONNECT, which wants a match that names it) match what takes every path.
    pub path: &'a [u8],
    /// What stands after `?`.
    pub query: Option<&'a [u8]>,
    /// The fields in order: the name in lower case, the value without white space around it. It is gone through for each field that is asked for.
    pub fields: F,
}
