//! What a rule does to a request and its response, as Gateway API names it.
//!
//! ```text
//!   matched rule -+-> Redirect, DirectResponse       answered here: nothing goes upstream
//!                 +-> UrlRewrite                     path and host, before the request's head is written
//!                 +-> HeaderModifier                 fields, while a head is written
//! ```
//! Each is compiled from plain data: what cannot be right is an error with the name of the field there, and nothing is left to check for a
//! request. Nothing here allocates: fields pass through as an iterator, and a new target is written into the worker's scratch.

pub mod headers;
pub mod redirect;
pub mod rewrite;

pub use headers::{HeaderModifier, HeaderModifierSpec};
pub use redirect::{DirectResponse, Redirect, RedirectSpec};
pub use rewrite::{PathRewrite, UrlRewrite, UrlRewriteSpec};

use serde::{Deserialize, Serialize};
use std::fmt;

/// One filter of a rule, as plain data.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "type", content = "with")]
pub enum FilterSpec {
    /// Fields of the request that goes on.
    RequestHeaderModifier(HeaderModifierSpec),
    /// Fields of the response that comes back.
    ResponseHeaderModifier(HeaderModifierSpec),
    /// Another path or host.
    UrlRewrite(UrlRewriteSpec),
    /// Answered here.
    Redirect(RedirectSpec),
    /// Answered here.
    DirectResponse(DirectResponse),
}

/// A rule's filters, compiled.
#[derive(Clone, Default, Debug)]
pub struct Filters {
    /// Fields of the request that goes on.
    pub request_headers: Option<HeaderModifier>,
    /// Fields of the response that comes back.
    pub response_headers: Option<HeaderModifier>,
    /// Another path or host.
    pub rewrite: Option<UrlRewrite>,
    /// What answers in a backend's place.
    pub answer: Option<Answer>,
}

/// What answers in a backend's place.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Elsewhere.
    Redirect(Redirect),
    /// This.
    Direct(std::sync::Arc<DirectResponse>),
}

impl Filters {
    /// Compiles a rule's list.
    ///
    /// # Errors
    /// What one of them cannot be, or a second one of a kind.
    pub fn compile(specs: &[FilterSpec]) -> Result<Self, FilterError> {
        fn once<T>(place: &mut Option<T>, n: usize, value: Result<T, FilterError>) -> Result<(), FilterError> {
            let named = |e: FilterError| FilterError { field: format!("filters[{n}].{}", e.field), what: e.what };
            match place.replace(value.map_err(named)?) {
                None => Ok(()),
                Some(_) => error(format!("filters[{n}]"), "a second filter of this kind, or a second answer"),
            }
        }
        let mut filters = Self::default();
        for (n, spec) in specs.iter().enumerate() {
            match spec {
                FilterSpec::RequestHeaderModifier(spec) => {
                    once(&mut filters.request_headers, n, HeaderModifier::compile(spec))?;
                }
                FilterSpec::ResponseHeaderModifier(spec) => {
                    once(&mut filters.response_headers, n, HeaderModifier::compile(spec))?;
                }
                FilterSpec::UrlRewrite(spec) => once(&mut filters.rewrite, n, UrlRewrite::compile(spec))?,
                FilterSpec::Redirect(spec) => {
                    once(&mut filters.answer, n, Redirect::compile(spec).map(Answer::Redirect))?;
                }
                FilterSpec::DirectResponse(spec) => {
                    let checked = spec.check().map(|()| Answer::Direct(std::sync::Arc::new(spec.clone())));
                    once(&mut filters.answer, n, checked)?;
                }
            }
        }
        if filters.rewrite.is_some() && filters.answer.is_some() {
            return error("filters", "a rewrite beside a redirect or direct response: nothing goes upstream");
        }
        Ok(filters)
    }
}

/// Why a filter cannot be compiled: which of its fields, and what is wrong with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FilterError {
    /// The path of the field within the filter.
    pub field: String,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.what)
    }
}

fn error<T>(field: impl Into<String>, what: impl Into<String>) -> Result<T, FilterError> {
    Err(FilterError { field: field.into(), what: what.into() })
}

/// A new target does not fit, or is none: the request is refused with 400 or 500.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TargetError {
    /// Longer than a request line may be.
    Long,
    /// What was put together has dot segments or empty ones that were not there before, or is no path at all.
    Unsafe,
}

/// The worker's scratch for a target.
pub type Target = arrayvec::ArrayVec<u8, { crate::limits::FILTER_TARGET_MAX }>;

fn put(target: &mut Target, bytes: &[u8]) -> Result<(), TargetError> {
    target.try_extend_from_slice(bytes).map_err(|_| TargetError::Long)
}
