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

use std::fmt;

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
