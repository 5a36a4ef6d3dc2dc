//! What a match asks of header fields and query parameters, and whether a request has it. Nothing is allocated: texts are compared piece by piece,
//! and only patterns on a repeated field or an encoded parameter need the bytes in a row, on the stack.
//!
//! * A repeated field is one value, its lines joined with `, ` (RFC 9110 section 5.3). Neither the first line nor any line will do: `x-role: guest`
//!   twice with different values would take the route of the one and reach the backend as the other.
//! * A query parameter is compared percent-decoded. The Gateway API wants exact comparison and points to RFC 7230 section 2.7.3, by which
//!   `%62ob` and `bob` are the same; and a backend will decode it. `+` stays what it is: that it means a space is no rule of URIs.
//! * Of a repeated parameter the first counts, as the Gateway API recommends.

use super::{Request, patterns::PatternIndex, table::Text};
use crate::limits::HTTP_VALUE_JOINED_MAX;
use arrayvec::ArrayVec;
use regex::bytes::Regex;

/// One of them. Names of header fields are in lower case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Condition {
    pub(super) name: Text,
    pub(super) value: Wanted,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    Anything,
    Exactly(Text),
    Like(PatternIndex),
}

/// What conditions refer to.
#[derive(Clone, Copy)]
pub(super) struct Terms<'t> {
    pub(super) bytes: &'t [u8],
    pub(super) patterns: &'t [Regex],
}

impl<'t> Terms<'t> {
    pub(super) fn text(self, text: Text) -> &'t [u8] {
        &self.bytes[text.start as usize..][..text.len as usize]
    }

    /// Whether the text is one of the pattern's.
    pub(super) fn is_like(self, pattern: PatternIndex, text: &[u8]) -> bool {
        self.patterns[pattern.0 as usize].is_match(text)
    }

    /// Whether the request's header has it.
    pub(super) fn header_has<'a, F>(self, condition: &Condition, request: &Request<'a, F>) -> bool
    where
        F: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    {
        let name = self.text(condition.name);
        let mut lines = request.fields.clone().filter(|(field, _)| *field == name).map(|(_, value)| value);
        match condition.value {
            Wanted::Anything => lines.next().is_some(),
            Wanted::Exactly(value) => joined_is(lines, self.text(value)),
            Wanted::Like(pattern) => {
                let Some(first) = lines.next() else { return false };
                match lines.next() {
                    None => self.is_like(pattern, first),
                    Some(second) => joined([first, second].into_iter().chain(lines))
                        .is_some_and(|joined| self.is_like(pattern, &joined)),
                }
            }
        }
    }

    /// Whether the request's query has it.
    pub(super) fn query_has(self, condition: &Condition, query: Option<&[u8]>) -> bool {
        let Some(value) = query.and_then(|query| parameter(query, self.text(condition.name))) else { return false };
        match condition.value {
            Wanted::Anything => true,
            Wanted::Exactly(wanted) => decoded_is(value, self.text(wanted)),
            Wanted::Like(pattern) if value.contains(&b'%') => {
                let mut decoded = ArrayVec::<u8, HTTP_VALUE_JOINED_MAX>::new();
                Decoded(value).all(|byte| decoded.try_push(byte).is_ok()) && self.is_like(pattern, &decoded)
            }
            Wanted::Like(pattern) => self.is_like(pattern, value),
        }
    }
}

const COMMA: &[u8] = b", ";

/// Whether the lines, joined, are exactly this; no lines are nothing.
fn joined_is<'a>(lines: impl Iterator<Item = &'a [u8]>, wanted: &[u8]) -> bool {
    let mut rest = None;
    for line in lines {
        let here = match rest {
            None => Some(wanted),
            Some(rest) => <[u8]>::strip_prefix(rest, COMMA),
        };
        rest = here.and_then(|here| here.strip_prefix(line));
        if rest.is_none() {
            return false;
        }
    }
    rest.is_some_and(<[u8]>::is_empty)
}

/// The lines in a row, if there is room for them.
fn joined<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<ArrayVec<u8, HTTP_VALUE_JOINED_MAX>> {
    let mut joined = ArrayVec::new();
    for (number, line) in lines.enumerate() {
        if number > 0 {
            joined.try_extend_from_slice(COMMA).ok()?;
        }
        joined.try_extend_from_slice(line).ok()?;
    }
    Some(joined)
}

/// The first parameter with this name, as it stands in the query. One without `=` has an empty value.
pub(super) fn parameter<'a>(query: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    query.split(|&byte| byte == b'&').find_map(|parameter| {
        let end = parameter.iter().position(|&byte| byte == b'=').unwrap_or(parameter.len());
        decoded_is(&parameter[..end], name).then(|| parameter.get(end + 1..).unwrap_or_default())
    })
}

fn decoded_is(text: &[u8], wanted: &[u8]) -> bool {
    // The encoded text is never the shorter one.
    text.len() >= wanted.len() && Decoded(text).eq(wanted.iter().copied())
}

/// The bytes of a percent-encoded text. What is not encoded properly stays as it is.
#[derive(Clone)]
pub(super) struct Decoded<'a>(pub(super) &'a [u8]);

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if let [b'%', high, low, rest @ ..] = self.0
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            self.0 = rest;
            return Some(high << 4 | low);
        }
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }
}

fn digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_repeated_field_are_one_value() {
        for (lines, wanted, expected) in [
            (&[][..], "", false),
            (&[""], "", true),
            (&["a"], "a", true),
            (&["a", "b"], "a, b", true),
            (&["a", "b"], "a", false),
            (&["a", "b"], "b", false),
            (&["a", "b"], "a,b", false),
            (&["a, b"], "a, b", true),
            (&["a", "b", "c"], "a, b, c", true),
            (&["a", "b"], "a, b, c", false),
            (&["", ""], ", ", true),
        ] {
            let bytes = || lines.iter().map(|line| line.as_bytes());
            assert_eq!(joined_is(bytes(), wanted.as_bytes()), expected, "{lines:?} {wanted:?}");
            if expected {
                assert_eq!(&joined(bytes()).unwrap()[..], wanted.as_bytes());
            }
        }
        assert!(joined([&[b'x'; HTTP_VALUE_JOINED_MAX / 2][..]; 2].into_iter()).is_none(), "no room for the comma");
    }

    #[test]
    fn the_first_parameter_of_a_name_counts_and_names_are_decoded() {
        for (query, value) in [
            ("a=1", Some("1")),
            ("b=2&a=1", Some("1")),
            ("a=1&a=2", Some("1")),
            ("a&a=2", Some("")),
            ("a=", Some("")),
            ("a=1=2", Some("1=2")),
            ("%61=1", Some("1")),
            ("aa=1&A=2&%41=3", None),
            ("", None),
            ("&&=&a=x", Some("x")),
            ("b=a=1", None),
            ("b;a=1", None),
        ] {
            assert_eq!(parameter(query.as_bytes(), b"a"), value.map(str::as_bytes), "{query}");
        }
    }

    #[test]
    fn decoding_leaves_what_is_not_encoded() {
        for (text, decoded) in [
            ("a%20b", "a b"),
            ("a+b", "a+b"),
            ("%", "%"),
            ("%4", "%4"),
            ("%4g%41", "%4gA"),
            ("%2541", "%41"),
            ("%%41", "%A"),
        ] {
            assert_eq!(Decoded(text.as_bytes()).collect::<Vec<_>>(), decoded.as_bytes(), "{text}");
            assert!(decoded_is(text.as_bytes(), decoded.as_bytes()));
        }
        assert!(!decoded_is(b"%41%41", b"%41%42") && !decoded_is(b"%41", b"%41") && decoded_is(b"%2541", b"%41"));
    }
}
