//! Regular expressions: linear in the text whatever an operator writes (the `regex` crate), bounded in size, over bytes and ASCII, and always for
//! the whole of the text, as Envoy has it: a pattern that is meant for `/v1` must not take `/x/v1/y`.

use crate::limits::{HTTP_PATTERN_BYTES, HTTP_PATTERNS_MAX};
use regex::bytes::{Regex, RegexBuilder};
use std::collections::HashMap;

/// A pattern's place in a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PatternIndex(pub(super) u32);

/// Patterns while they are collected: equal ones are kept once.
pub(super) struct Patterns {
    compiled: Vec<Regex>,
    indices: HashMap<String, PatternIndex, ahash::RandomState>,
}

impl Patterns {
    pub(super) fn new(hash: &ahash::RandomState) -> Self {
        Self { compiled: Vec::new(), indices: HashMap::with_hasher(hash.clone()) }
    }

    pub(super) fn add(&mut self, pattern: &str) -> Result<PatternIndex, String> {
        if let Some(&index) = self.indices.get(pattern) {
            return Ok(index);
        }
        if self.compiled.len() == HTTP_PATTERNS_MAX {
            return Err(format!("more than {HTTP_PATTERNS_MAX} different patterns for one listener"));
        }
        let index = PatternIndex(self.compiled.len() as u32);
        self.compiled.push(whole(pattern)?);
        self.indices.insert(pattern.to_owned(), index);
        Ok(index)
    }

    pub(super) fn finish(self) -> Box<[Regex]> {
        self.compiled.into()
    }
}

/// The pattern for whole texts.
fn whole(pattern: &str) -> Result<Regex, String> {
    // Alone first: `a)|(b` must not become sensible by what is put around it.
    build(pattern)?;
    build(&format!(r"\A(?:{pattern})\z")).map_err(|_| "cannot be anchored: end it without a comment".to_owned())
}

fn build(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .unicode(false)
        .size_limit(HTTP_PATTERN_BYTES)
        .dfa_size_limit(HTTP_PATTERN_BYTES)
        .nest_limit(64)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                format!("the pattern needs more than {HTTP_PATTERN_BYTES} bytes: use smaller repetitions")
            }
            error => format!("not a regular expression: {error}"),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_for_the_whole_text() {
        let is = |pattern: &str, text: &[u8]| whole(pattern).unwrap().is_match(text);
        assert!(is("/v[0-9]+", b"/v12") && !is("/v[0-9]+", b"/v12/x") && !is("/v[0-9]+", b"x/v12"));
        assert!(is("a|bc", b"a") && is("a|bc", b"bc") && !is("a|bc", b"ac"));
        assert!(is("a$", b"a") && !is("a$", b"a\n") && !is("(?m)a$", b"a\nb"));
        assert!(is(".*", b"\xff\xfe") && is("(?i)abc", b"ABC") && !is("abc", b"ABC"));
    }

    #[test]
    fn what_is_no_pattern_or_too_large_is_refused_with_the_reason() {
        for (pattern, reason) in [
            ("a)|(b", "not a regular expression"),
            ("(", "not a regular expression"),
            ("a(?=b)", "look-around"),
            (r"(a)\1", "backreferences"),
            ("(?x) a # b", "comment"),
            ("(?:(?:a{100}){100}){100}", "bytes"),
        ] {
            let error = whole(pattern).unwrap_err();
            assert!(error.contains(reason), "{pattern}: {error}");
        }
        assert!(whole(&format!("{}a{}", "(".repeat(100), ")".repeat(100))).is_err(), "nested too deep");
    }

    #[test]
    fn equal_patterns_are_kept_once_and_different_ones_are_bounded() {
        let mut patterns = Patterns::new(&ahash::RandomState::with_seeds(1, 2, 3, 4));
        assert_eq!(patterns.add("a"), patterns.add("a"));
        for number in 1..HTTP_PATTERNS_MAX {
            patterns.add(&format!("a{number}")).unwrap();
        }
        assert!(patterns.add("b").is_err() && patterns.add("a1").is_ok());
        assert_eq!(patterns.finish().len(), HTTP_PATTERNS_MAX);
    }
}
