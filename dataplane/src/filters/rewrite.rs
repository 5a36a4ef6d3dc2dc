//! Another path, another host (Gateway API: `URLRewrite`).

use super::{FilterError, Target, TargetError, error, put};
use serde::{Deserialize, Serialize};

/// What becomes of the path.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum PathSpec {
    /// All of it is replaced.
    #[serde(rename_all = "camelCase")]
    ReplaceFullPath {
        /// By this.
        replace_full_path: String,
    },
    /// The prefix that the rule has matched is replaced. Only for rules with a `PathPrefix` match.
    #[serde(rename_all = "camelCase")]
    ReplacePrefixMatch {
        /// By this.
        replace_prefix_match: String,
    },
}

/// What the configuration says.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct UrlRewriteSpec {
    /// Another Host.
    pub hostname: Option<String>,
    /// Another path.
    pub path: Option<PathSpec>,
}

/// A path's change, compiled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PathRewrite {
    /// All of it.
    Full(Vec<u8>),
    /// The matched prefix. Without a slash at its end; empty for `/`.
    Prefix(Vec<u8>),
}

/// The filter, compiled.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct UrlRewrite {
    /// The Host that goes upstream, in lower case.
    pub hostname: Option<Vec<u8>>,
    /// The path that does.
    pub path: Option<PathRewrite>,
}

impl UrlRewrite {
    /// Compiles it.
    ///
    /// # Errors
    /// A host that is none, or a path that no request could have.
    pub fn compile(spec: &UrlRewriteSpec) -> Result<Self, FilterError> {
        let hostname = spec.hostname.as_deref().map(|host| hostname("hostname", host)).transpose()?;
        Ok(Self { hostname, path: spec.path.as_ref().map(PathRewrite::compile).transpose()? })
    }
}

impl PathRewrite {
    /// Compiles it.
    ///
    /// # Errors
    /// A path that no request could have.
    pub fn compile(spec: &PathSpec) -> Result<Self, FilterError> {
        match spec {
            PathSpec::ReplaceFullPath { replace_full_path } => {
                check("path.replaceFullPath", replace_full_path)?;
                Ok(Self::Full(replace_full_path.as_bytes().to_vec()))
            }
            PathSpec::ReplacePrefixMatch { replace_prefix_match } => {
                check("path.replacePrefixMatch", replace_prefix_match)?;
                Ok(Self::Prefix(replace_prefix_match.trim_end_matches('/').as_bytes().to_vec()))
            }
        }
    }

    /// Writes the new path. `prefix`: bytes of the path that a `PathPrefix` match has matched, without a slash at their end.
    ///
    /// # Errors
    /// [`TargetError`]: it is too long, or its joint makes a segment that nobody had (`/a` + `/../b`): what was normalised stays so.
    pub fn write(&self, path: &[u8], prefix: usize, target: &mut Target) -> Result<(), TargetError> {
        target.clear();
        match self {
            Self::Full(full) => put(target, full),
            Self::Prefix(new) => {
                let rest = path.get(prefix..).ok_or(TargetError::Unsafe)?;
                put(target, new)?;
                // Gateway API: `/foo` replaced by `/xyz` in `/foo/bar` is `/xyz/bar`, by `/` it is `/bar`.
                if rest.first().is_some_and(|&b| b != b'/') {
                    put(target, b"/")?;
                }
                put(target, rest)?;
                if target.is_empty() {
                    put(target, b"/")?;
                }
                if is_normal(target) || !is_normal(path) { Ok(()) } else { Err(TargetError::Unsafe) }
            }
        }
    }
}

/// Without dot segments and without empty ones but the last.
fn is_normal(path: &[u8]) -> bool {
    let Some(rest) = path.strip_prefix(b"/") else { return false };
    let mut segments = rest.split(|&b| b == b'/').peekable();
    while let Some(segment) = segments.next() {
        if matches!(segment, b"." | b"..") || (segment.is_empty() && segments.peek().is_some()) {
            return false;
        }
    }
    true
}

fn check(field: &str, path: &str) -> Result<(), FilterError> {
    if !path.starts_with('/') {
        return error(field, format!("{path:?} does not begin with a slash"));
    }
    if path.bytes().any(|b| !(b'!'..=b'~').contains(&b) || b"?#\\\"<>^`{|}".contains(&b)) {
        return error(field, format!("{path:?} holds what a path cannot (RFC 3986 section 3.3)"));
    }
    let escapes = path.split('%').skip(1);
    if escapes
        .into_iter()
        .any(|rest| !rest.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)))
    {
        return error(field, format!("{path:?} has a percent sign without two hexadecimal digits"));
    }
    if !is_normal(path.as_bytes()) {
        return error(field, format!("{path:?} has dot segments or empty ones"));
    }
    Ok(())
}

/// A name of hosts, without a wildcard (RFC 1123), in lower case.
pub(super) fn hostname(field: &str, host: &str) -> Result<Vec<u8>, FilterError> {
    let lower = host.to_ascii_lowercase();
    let label = |label: &str| {
        let inner = label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        inner && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    if lower.len() > 253 || !lower.split('.').all(label) {
        return error(field, format!("{host:?} is not a host name (RFC 1123 section 2.1)"));
    }
    Ok(lower.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(path: &str) -> PathSpec {
        PathSpec::ReplaceFullPath { replace_full_path: path.into() }
    }
    fn prefix(path: &str) -> PathSpec {
        PathSpec::ReplacePrefixMatch { replace_prefix_match: path.into() }
    }
    fn write(spec: &PathSpec, path: &str, matched: &str) -> Result<String, TargetError> {
        let mut target = Target::new();
        PathRewrite::compile(spec).unwrap().write(path.as_bytes(), matched.len(), &mut target)?;
        Ok(String::from_utf8(target.to_vec()).unwrap())
    }

    #[test]
    fn prefixes_are_replaced_as_gateway_api_tables_them() {
        // Request path, prefix match, replacement, result.
        for (path, matched, new, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo/bar", "/foo", "/", "/bar"),
            ("/foo", "", "/xyz", "/xyz/foo"),
        ] {
            assert_eq!(write(&prefix(new), path, matched).as_deref(), Ok(expected), "{path} {matched} {new}");
        }
        assert_eq!(write(&full("/all"), "/foo/bar", "").as_deref(), Ok("/all"));
    }

    #[test]
    fn a_joint_makes_no_segment_that_was_not_there() {
        // Only a path that was not normalised can bring these; then they are not the rewrite's.
        assert_eq!(write(&prefix("/a"), "/foo/../x", "/foo").as_deref(), Ok("/a/../x"));
        assert_eq!(write(&prefix("/a"), "/foo", "/foo/bar"), Err(TargetError::Unsafe), "shorter than its prefix");
        let long = format!("/foo/{}", "x".repeat(crate::limits::FILTER_TARGET_MAX));
        assert_eq!(write(&prefix("/a"), &long, "/foo"), Err(TargetError::Long));
    }

    #[test]
    fn what_is_no_path_or_host_is_refused_by_name() {
        for path in ["", "a", "/a?b", "/a#b", "/a b", "/a/../b", "/a//b", "/./", "/%", "/%4", "/%zz", "/\u{e9}", "/\\"]
        {
            assert!(PathRewrite::compile(&full(path)).is_err(), "{path:?}");
            assert!(PathRewrite::compile(&prefix(path)).is_err(), "{path:?}");
        }
        assert!(PathRewrite::compile(&full("/a%20b/")).is_ok());
        let compile = |host: &str| {
            UrlRewrite::compile(&UrlRewriteSpec { hostname: Some(host.into()), path: None })
                .map(|r| r.hostname.unwrap())
        };
        assert_eq!(compile("Shop.Example").unwrap(), b"shop.example");
        for host in ["", "*.example", "a..b", "-a", "a_b", "a:80", "a.", &"x".repeat(64)] {
            assert_eq!(compile(host).unwrap_err().field, "hostname", "{host:?}");
        }
    }
}
