//! One form of each path, made once, before anything looks at it: what is matched is what is rewritten and what goes on.
//!
//! ```text
//!   /a/./b//%7Ec/%2e%2E/d%2fe;x   ->   escapes checked, those of unreserved bytes undone, others in capitals
//!                                 ->   escaped slashes as the listener says: refused, kept, or slashes
//!                                 ->   segments: empty ones merged, dot segments resolved; never above the root
//!   /a/b/d%2Fe;x
//! ```
//! The result is a fixed point: normalised again it is the same. Whatever rewrites a path has it normalised once more.

use super::{
    Refusal, Spans,
    head::{Form, Request},
};
use crate::limits::HTTP_HEAD_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// What a listener says about paths and names; the words of its configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// `normalizePath`: dot segments are resolved and escapes brought to one form. Without it the path goes on as it came, once it was found
    /// to hold nothing that is refused.
    pub normalize_path: bool,
    /// `mergeSlashes`: empty segments are taken away.
    pub merge_slashes: bool,
    /// `escapedSlashesAction`.
    pub escaped_slashes: EscapedSlashes,
    /// `headersWithUnderscores`.
    pub underscores: Underscores,
}

/// The safe ones.
impl Default for Options {
    fn default() -> Self {
        Self {
            normalize_path: true,
            merge_slashes: true,
            escaped_slashes: EscapedSlashes::Reject,
            underscores: Underscores::Reject,
        }
    }
}

/// What is done with `%2F` and `%5C`, which some backends undo before they look at segments, and others after that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum EscapedSlashes {
    /// Refused.
    Reject,
    /// Left as they are, in capitals.
    Keep,
    /// Made slashes before segments are looked at; the path goes on so.
    Unescape,
    /// The same, but the client is sent to the path that comes out.
    Redirect,
}

/// What is done with fields whose name holds an underscore: CGI and its heirs read `x_id` and `x-id` as one name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Underscores {
    /// The request is refused.
    Reject,
    /// The fields end here.
    Drop,
    /// They go on.
    Allow,
}

/// A path as it goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Path<'a> {
    /// Its bytes. They begin with a slash, but for `*` and for CONNECT, which has none.
    pub bytes: &'a [u8],
    /// The client is to be sent here instead: an escaped slash was undone, and that is what the listener wants.
    pub redirect: bool,
}

/// A worker's scratch for one path.
pub struct Normalizer {
    /// As long as the longest head: what comes out is never longer than what came in.
    buffer: Vec<u8>,
}

impl Default for Normalizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Normalizer {
    /// Takes all the memory that it will ever have.
    pub fn new() -> Self {
        Self { buffer: Vec::with_capacity(HTTP_HEAD_BYTES_MAX) }
    }

    /// A request's path in its one form.
    ///
    /// # Errors
    /// What backends could read in different ways.
    pub fn request<'a>(&'a mut self, options: Options, request: Request<'_>) -> Result<Path<'a>, Refusal> {
        let path = request.path();
        let bytes: &'static [u8] = match request.form() {
            // rfc9112 3.2.4: OPTIONS for an absolute form without path and query is for the server as a whole.
            Form::Absolute if path.is_empty() && request.method() == b"OPTIONS" && request.query().is_none() => b"*",
            // rfc9110 4.2.3: otherwise an empty path is `/`.
            Form::Absolute if path.is_empty() => b"/",
            Form::Asterisk => b"*",
            Form::Authority => b"",
            Form::Origin | Form::Absolute => return self.path(options, path),
        };
        Ok(Path { bytes, redirect: false })
    }

    /// A path, without query, in its one form; of a rewrite's result, too.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    ///
    /// # Panics
    /// When it does not begin with a slash, or is longer than any head.
    pub fn path<'a>(&'a mut self, options: Options, path: &[u8]) -> Result<Path<'a>, Refusal> {
        assert!(path.starts_with(b"/") && path.len() <= HTTP_HEAD_BYTES_MAX, "an absolute path");
        self.buffer.clear();
        if is_normal(path) {
            self.buffer.extend_from_slice(path);
            return Ok(Path { bytes: &self.buffer, redirect: false });
        }
        let undone = self.escapes(options, path)?;
        self.segments(options)?;
        Ok(Path { bytes: &self.buffer, redirect: undone && options.escaped_slashes == EscapedSlashes::Redirect })
    }

    /// Fills the buffer with the path, its escapes in one form; whether an escaped slash was undone.
    fn escapes(&mut self, options: Options, path: &[u8]) -> Result<bool, Refusal> {
        let mut undone = false;
        let mut rest = path;
        while let [byte, after @ ..] = rest {
            rest = after;
            match byte {
                // rfc3986 3.3 does not have it, and WHATWG's URLs read it as a slash.
                b'\\' => return Err(Refusal::Backslash),
                b'%' => {
                    let [high, low, after @ ..] = rest else { return Err(Refusal::Escape) };
                    rest = after;
                    undone |= self.escape(options, [*high, *low])?;
                }
                _ => self.buffer.push(*byte),
            }
        }
        Ok(undone)
    }

    fn escape(&mut self, options: Options, digits: [u8; 2]) -> Result<bool, Refusal> {
        let digit = |d: u8| char::from(d).to_digit(16).ok_or(Refusal::Escape);
        let value = (digit(digits[0])? << 4 | digit(digits[1])?) as u8;
        match (value, options.escaped_slashes) {
            (0, _) => return Err(Refusal::EscapedNul),
            (b'/' | b'\\', EscapedSlashes::Reject) => return Err(Refusal::EscapedSlash),
            (b'/' | b'\\', EscapedSlashes::Unescape | EscapedSlashes::Redirect) => {
                self.buffer.push(b'/');
                return Ok(true);
            }
            _ => {}
        }
        if !options.normalize_path {
            self.buffer.extend([b'%', digits[0], digits[1]]);
        } else if value.is_ascii_alphanumeric() || matches!(value, b'-' | b'.' | b'_' | b'~') {
            // rfc3986 6.2.2.2: unreserved bytes are the same escaped or not; `%2e%2e` is `..`.
            self.buffer.push(value);
        } else {
            // rfc3986 6.2.2.1: capitals.
            self.buffer.extend([b'%', digits[0].to_ascii_uppercase(), digits[1].to_ascii_uppercase()]);
        }
        Ok(false)
    }

    /// Resolves the buffer's segments in place.
    ///
    /// ```text
    ///   |<- resolved ->|<- free ->|/segment|<- not looked at ->|
    ///   0            len         at       end
    /// ```
    /// Invariant: `len <= at`, and `at == len` or something is there to be overwritten.
    fn segments(&mut self, options: Options) -> Result<(), Refusal> {
        let (mut at, mut len) = (0, 0);
        while at < self.buffer.len() {
            let start = at + 1;
            let end = memchr::memchr(b'/', &self.buffer[start..]).map_or(self.buffer.len(), |n| start + n);
            let is_last = end == self.buffer.len();
            let (keeps, ends_in_slash) = match kind(&self.buffer[start..end])? {
                Segment::Empty => (is_last || !options.merge_slashes, false),
                // rfc3986 5.2.4: a last dot segment leaves its slash.
                Segment::Dot if options.normalize_path => (false, is_last),
                Segment::DotDot if options.normalize_path => {
                    // rfc3986 5.2.4 stops at the root. Whoever goes beyond it means to.
                    len = memchr::memrchr(b'/', &self.buffer[..len]).ok_or(Refusal::AboveRoot)?;
                    (false, is_last)
                }
                Segment::Dot | Segment::DotDot | Segment::Name => (true, false),
            };
            if keeps {
                self.buffer.copy_within(at..end, len);
                len += end - at;
            } else if ends_in_slash {
                self.buffer[len] = b'/';
                len += 1;
            }
            at = end;
        }
        self.buffer.truncate(len);
        Ok(())
    }
}

/// Whether nothing about a path wants a second look; most are so.
fn is_normal(path: &[u8]) -> bool {
    let mut after_slash = false;
    path.iter().all(|&byte| {
        let is_odd = matches!(byte, b'%' | b'\\') || after_slash && matches!(byte, b'/' | b'.');
        after_slash = byte == b'/';
        !is_odd
    })
}

enum Segment {
    Empty,
    Dot,
    DotDot,
    Name,
}

fn kind(segment: &[u8]) -> Result<Segment, Refusal> {
    match segment {
        b"" => Ok(Segment::Empty),
        b"." => Ok(Segment::Dot),
        b".." => Ok(Segment::DotDot),
        // Some backends take parameters away and resolve dots then: `/..;/` would lead them where we have not been.
        [b'.', b';', ..] | [b'.', b'.', b';', ..] => Err(Refusal::DotParameters),
        _ => Ok(Segment::Name),
    }
}

/// Does what a listener says about names with underscores in the head that was read last.
///
/// # Errors
/// [`Refusal::FieldUnderscore`], if they are refused.
pub fn underscores(options: Options, spans: &mut Spans) -> Result<(), Refusal> {
    if options.underscores == Underscores::Allow {
        return Ok(());
    }
    let any = spans.end_where(|name| memchr::memchr(b'_', name).is_some());
    if any && options.underscores == Underscores::Reject { Err(Refusal::FieldUnderscore) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAFE: Options = Options {
        normalize_path: true,
        merge_slashes: true,
        escaped_slashes: EscapedSlashes::Reject,
        underscores: Underscores::Reject,
    };

    /// The path's one form, which has itself as its one form.
    fn normal(options: Options, path: &str) -> String {
        let mut normalizer = Normalizer::new();
        match normalizer.path(options, path.as_bytes()) {
            Err(refusal) => refusal.name().into(),
            Ok(path) => {
                let (text, redirect) = (String::from_utf8(path.bytes.to_vec()).unwrap(), path.redirect);
                let again = normalizer.path(options, text.as_bytes()).unwrap();
                assert_eq!((again.bytes, again.redirect), (text.as_bytes(), false), "once is enough");
                text + if redirect { " redirect" } else { "" }
            }
        }
    }

    #[test]
    fn a_path_has_one_form() {
        for (name, path, expected) in [
            ("the root", "/", "/"),
            ("nothing to do", "/a/b.c;d=e/", "/a/b.c;d=e/"),
            ("double slashes", "//a///b//", "/a/b/"),
            ("only slashes", "////", "/"),
            ("dot segments", "/a/./b/../c", "/a/c"),
            ("a last dot", "/a/.", "/a/"),
            ("a last pair of dots", "/a/b/..", "/a/"),
            ("up to the root", "/a/..", "/"),
            ("up to the root and down", "/a/../b", "/b"),
            ("dots over an empty segment", "/a//../b", "/b"),
            ("above the root", "/..", "above_root"),
            ("above the root and down", "/a/../../etc/passwd", "above_root"),
            ("above the root by escapes", "/%2e%2e/a", "above_root"),
            ("escaped dots", "/a/b/%2e%2E/c/%2e/d", "/a/c/d"),
            ("half escaped dots", "/a/.%2e/b", "/b"),
            ("three dots are a name", "/a/.../b", "/a/.../b"),
            ("dots in a name", "/a/..b/c..", "/a/..b/c.."),
            ("dots with parameters", "/a/..;/b", "dot_parameters"),
            ("a dot with parameters", "/a/.;x=y/b", "dot_parameters"),
            ("escaped dots with parameters", "/a/%2e%2e;/b", "dot_parameters"),
            ("escaped parameters stay escaped", "/a/..%3b/b", "/a/..%3B/b"),
            ("an escaped slash", "/a%2fb", "escaped_slash"),
            ("an escaped backslash", "/a%5Cb", "escaped_slash"),
            ("a backslash", "/a\\..\\b", "backslash"),
            ("an escaped NUL", "/a%00.png", "escaped_nul"),
            ("unreserved bytes", "/%41%7e%2D%5f%39", "/A~-_9"),
            ("reserved bytes", "/%3a%40%3F%23%c3%bc%0a", "/%3A%40%3F%23%C3%BC%0A"),
            ("an escape in an escape", "/%252e%252e/%252f", "/%252e%252e/%252f"),
            ("an escape that an escape makes", "/%25%32%66", "/%252f"),
            ("half an escape", "/a%2", "escape"),
            ("a percent sign", "/100%", "escape"),
            ("no digits", "/%zz", "escape"),
            ("a sign for a digit", "/%+1", "escape"),
            ("digits of IIS", "/%u002f", "escape"),
        ] {
            assert_eq!(normal(SAFE, path), expected, "{name}: {path}");
        }
    }

    #[test]
    fn a_listener_may_say_otherwise() {
        let unmerged = Options { merge_slashes: false, ..SAFE };
        let raw = Options { normalize_path: false, ..SAFE };
        let with = |escaped_slashes| Options { escaped_slashes, ..SAFE };
        for (options, path, expected) in [
            (unmerged, "//a//b//", "//a//b//"),
            (unmerged, "/a//../b", "/a/b"),
            (raw, "//a/../%2e%2e/%c3", "/a/../%2e%2e/%c3"),
            (raw, "/a/..;/b", "dot_parameters"),
            (raw, "/a%2fb", "escaped_slash"),
            (raw, "/a\\b", "backslash"),
            (with(EscapedSlashes::Keep), "/a%2f..%5cb", "/a%2F..%5Cb"),
            (with(EscapedSlashes::Unescape), "/a/b%2f..%5Cc", "/a/c"),
            (with(EscapedSlashes::Unescape), "/a%2f..%2f..%2fb", "above_root"),
            (with(EscapedSlashes::Unescape), "/%2f%2fa", "/a"),
            (with(EscapedSlashes::Redirect), "/a%2Fb", "/a/b redirect"),
            (with(EscapedSlashes::Redirect), "/a//b", "/a/b"),
        ] {
            assert_eq!(normal(options, path), expected, "{options:?}: {path}");
        }
    }
}
