//! Lines, and the tokens in them.
//!
//! [`Scan`] finds the lines, keeps its place between calls and looks at no byte twice; once a section is there as a whole its fields are read, and
//! written as they go on, in one pass ([`Spans`]). Everything that is not exactly what RFC 9112 has (bare LF, white space where none belongs, any
//! byte in a target, spellings of methods) is refused, and only then somebody looks for the reason. In this crate's tests a foreign reader
//! has to agree with whatever is taken.

use super::super::{
    Refusal, Spans, Version,
    authority::Authority,
    head::{Form, Line, Scheme, Span},
    is_token, is_token_byte, is_value,
};
use crate::limits::HTTP_METHOD_MAX;

/// Where the reading of a head or trailer section stands.
///
/// ```text
///   |<- lines that were found ->|<- no LF in here ->|<- not looked at ->|
///   0                         line_at            searched            input's end
/// ```
/// Invariant: `line_at <= searched <= input.len()`.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Scan {
    line_at: u16,
    searched: u16,
    /// Fields that were found.
    pub(super) fields: u16,
}

/// A line's place, without its CRLF; or there is none yet.
enum Found {
    Line {
        at: usize,
        end: usize,
    },
    More,
    /// There is none, and `max` bytes have been looked at.
    Long,
}

impl Scan {
    /// Where the next line begins.
    pub(super) fn line_at(&self) -> usize {
        usize::from(self.line_at)
    }
    /// Whether nothing was looked at at all.
    pub(super) fn is_fresh(&self) -> bool {
        (self.line_at, self.searched) == (0, 0)
    }
    /// Whether nothing was looked at that belongs to a message.
    pub(super) fn is_between(&self) -> bool {
        self.searched == self.line_at
    }
    /// Passes over an empty line.
    pub(super) fn skip_crlf(&mut self) {
        (self.line_at, self.searched) = (self.line_at + 2, self.line_at + 2);
    }

    /// The next line that ends within the first `max` bytes.
    fn next(&mut self, input: &[u8], max: usize) -> Result<Found, Refusal> {
        let searched = usize::from(self.searched);
        let seen = &input[..input.len().min(max)];
        let Some(lf) = seen.get(searched..).and_then(|new| memchr::memchr(b'\n', new)).map(|n| searched + n) else {
            self.searched = self.searched.max(seen.len() as u16);
            return Ok(if seen.len() == max { Found::Long } else { Found::More });
        };
        let at = self.line_at();
        // rfc9112 2.2 (MAY): a recipient may take a bare LF for a line's end. We do not: somebody else might not.
        if lf == at || input[lf - 1] != b'\r' {
            return Err(Refusal::BareLf);
        }
        (self.line_at, self.searched) = (lf as u16 + 1, lf as u16 + 1);
        Ok(Found::Line { at, end: lf - 1 })
    }

    /// The first line of a head.
    pub(super) fn start_line(
        &mut self,
        input: &[u8],
        max: usize,
        long: Refusal,
    ) -> Result<Option<(usize, usize)>, Refusal> {
        match self.next(input, max)? {
            Found::Line { at, end } => Ok(Some((at, end))),
            Found::More => Ok(None),
            Found::Long => Err(long),
        }
    }

    /// Where a section of fields ends, its empty line included, once that is there; `long` when it does not within `bytes_max`.
    pub(super) fn section(
        &mut self,
        input: &[u8],
        bytes_max: usize,
        fields_max: usize,
        long: Refusal,
    ) -> Result<Option<usize>, Refusal> {
        loop {
            let line = match self.next(input, bytes_max)? {
                Found::Line { at, end } => &input[at..end],
                Found::More => return Ok(None),
                Found::Long => return Err(long),
            };
            match line {
                [] => return Ok(Some(self.line_at())),
                // rfc9112 2.2: white space between the start line and the first field is refused, or the line is; 5.2: so is a folded one.
                [b' ' | b'\t', ..] if self.fields == 0 => return Err(Refusal::LeadingSpace),
                [b' ' | b'\t', ..] => return Err(Refusal::ObsFold),
                _ => self.fields += 1,
            }
            if usize::from(self.fields) > fields_max {
                return Err(Refusal::FieldsMany);
            }
        }
    }
}

/// Reads the fields in `bytes[at..]`, which [`Scan::section`] has found to be `count`.
pub(super) fn fields(bytes: &[u8], at: usize, count: usize, spans: &mut Spans) -> Result<(), Refusal> {
    spans.clear_fields();
    let section = &bytes[at..];
    let mut rest = section;
    for _ in 0..count {
        match spans.push_line(rest) {
            Some(len) => rest = &rest[len..],
            None => return Err(blame(section)),
        }
    }
    if rest != b"\r\n" {
        return Err(Refusal::FieldSection);
    }
    #[cfg(test)]
    foreign::reads_the_same_fields(section, spans);
    Ok(())
}

/// The same where nobody has looked yet. Where the section ends, its empty line included; `None`: it is not there as a whole, or something is wrong.
pub(super) fn plain_fields(bytes: &[u8], at: usize, max: usize, spans: &mut Spans) -> Option<usize> {
    spans.clear_fields();
    let mut end = at;
    while !bytes[end..].starts_with(b"\r\n") {
        if spans.fields.len() == max {
            return None;
        }
        end += spans.push_line(&bytes[end..])?;
    }
    #[cfg(test)]
    foreign::reads_the_same_fields(&bytes[at..end + 2], spans);
    Some(end + 2)
}

/// What is wrong with a section: its first line that is not a field.
#[cold]
fn blame(section: &[u8]) -> Refusal {
    let lines = section.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.take_while(|line| !line.is_empty()).find_map(blame_line).unwrap_or(Refusal::FieldSection)
}

fn blame_line(line: &[u8]) -> Option<Refusal> {
    let Some(colon) = memchr::memchr(b':', line) else {
        return Some(if line.contains(&b'\r') { Refusal::BareCr } else { Refusal::FieldColon });
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    match name {
        [] => return Some(Refusal::FieldNameEmpty),
        // rfc9112 5.1 (MUST): a request with white space before the colon is refused. Responses are, too.
        [token @ .., b' ' | b'\t'] if is_token(super::super::trim(token)) => return Some(Refusal::FieldNameSpace),
        _ if name.contains(&b'\r') => return Some(Refusal::BareCr),
        _ if !is_token(name) => return Some(Refusal::FieldName),
        _ => {}
    }
    if value.contains(&b'\r') {
        return Some(Refusal::BareCr);
    }
    // rfc9110 5.5: CR, LF and NUL are dangerous; other controls are invalid, and refused as well.
    value.iter().any(|&b| b < b' ' && b != b'\t' || b == 0x7f).then_some(Refusal::FieldValue)
}

/// Whether a head of this side may begin with this byte; a TLS ClientHello on a plain port ends here.
pub(super) fn may_begin_request(byte: u8) -> bool {
    is_token_byte(byte)
}

/// Reads a request line: `bytes[at..end]`, after which there is a CRLF.
pub(super) fn request_line(bytes: &[u8], at: usize, end: usize) -> Result<Line, Refusal> {
    let line = &bytes[at..end];
    // rfc9112 3: method, target and version, with one space between them.
    let method_end = line.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(line.len());
    let (method, rest) = line.split_at(method_end);
    let target_end = rest.len().saturating_sub(VERSION_LEN + 1).max(1);
    let (target, word) = rest.split_at(target_end.min(rest.len()));
    let (Some(target), Some(version)) =
        (target.strip_prefix(b" ").filter(|target| !target.is_empty()), word.strip_prefix(b" ").and_then(version))
    else {
        return Err(blame_request_line(line));
    };
    if method.is_empty() || memchr::memchr(b' ', target).is_some() {
        return Err(blame_request_line(line));
    }
    check_method(method)?;
    let mut read = Line::new(version);
    read.word = Span::of(method, bytes);
    read_target(method, target, bytes, &mut read)?;
    #[cfg(test)]
    foreign::reads_the_same_request(&bytes[at..end + 2], method, target);
    Ok(read)
}

/// Of `HTTP/1.1`.
const VERSION_LEN: usize = 8;

/// A version that is spoken here. rfc9110 2.5 (SHOULD): a minor version that is not known is read as the highest that is.
fn version(word: &[u8]) -> Option<Version> {
    match word {
        b"HTTP/1.1" => Some(Version::Http11),
        b"HTTP/1.0" => Some(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit() => Some(Version::Http11),
        _ => None,
    }
}

#[cold]
fn blame_request_line(line: &[u8]) -> Refusal {
    let mut words = line.split(|&b| b == b' ');
    let (method, target, version) = (words.next().unwrap_or_default(), words.next(), words.next());
    if !is_token(method) {
        return Refusal::Method;
    }
    let (Some(target), Some(version)) = (target, version) else { return Refusal::Http09 };
    // rfc9112 3.2: one space, and no white space in the target.
    if target.is_empty() {
        return Refusal::TargetForm;
    }
    if !target.iter().all(u8::is_ascii_graphic) {
        return Refusal::TargetByte;
    }
    if is_version(version) && words.next().is_none() { Refusal::VersionUnsupported } else { Refusal::Version }
}

/// rfc9112 2.3: `HTTP/` DIGIT `.` DIGIT, in capitals.
fn is_version(word: &[u8]) -> bool {
    matches!(word, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit())
}

fn check_method(method: &[u8]) -> Result<(), Refusal> {
    if method.len() > HTTP_METHOD_MAX {
        return Err(Refusal::MethodLong);
    }
    const KNOWN: [&[u8]; 10] =
        [b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE", b"PRI"];
    let Some(known) = KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(method)) else { return Ok(()) };
    match known {
        // rfc9113 11.6: reserved, so that HTTP/2's preface is no request to anybody.
        b"PRI" => Err(Refusal::VersionUnsupported),
        // rfc9110 9.1: methods are compared with case.
        _ if known != method => Err(Refusal::MethodCase),
        _ => Ok(()),
    }
}

/// Finds the form and the parts of a target, which holds no white space or controls.
fn read_target(method: &[u8], target: &[u8], bytes: &[u8], line: &mut Line) -> Result<(), Refusal> {
    let rest = match target {
        // rfc9112 3.2.3: authority form for CONNECT, and for CONNECT only.
        _ if method == b"CONNECT" => {
            // rfc9110 9.3.6: with a port.
            if Authority::parse(target)?.port.is_none() {
                return Err(Refusal::TargetForm);
            }
            (line.form, line.authority) = (Form::Authority, Span::of(target, bytes));
            return Ok(());
        }
        // rfc9112 3.2.4.
        b"*" if method == b"OPTIONS" => {
            (line.form, line.path) = (Form::Asterisk, Span::of(target, bytes));
            return Ok(());
        }
        [b'/', ..] => target,
        _ => {
            // rfc9112 3.2.2.
            let (scheme, rest) = split_scheme(target).ok_or(Refusal::TargetForm)?;
            let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
            let (authority, rest) = rest.split_at(end);
            Authority::parse(authority)?;
            (line.form, line.scheme, line.authority) = (Form::Absolute, Some(scheme), Span::of(authority, bytes));
            rest
        }
    };
    let query_at = memchr::memchr(b'?', rest);
    let (path, query) = match query_at {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    check_target_bytes(path)?;
    query.map_or(Ok(()), check_target_bytes)?;
    // rfc9110 4.2.3: an empty path is the same as `/`, which OPTIONS alone tells apart (rfc9112 3.2.4: it is `*` then).
    (line.path, line.query) = (Span::of(path, bytes), query.map(|query| Span::of(query, bytes)));
    Ok(())
}

/// The scheme, and what stands after `://`.
fn split_scheme(target: &[u8]) -> Option<(Scheme, &[u8])> {
    let is = |prefix: &str| target.get(..prefix.len()).is_some_and(|t| t.eq_ignore_ascii_case(prefix.as_bytes()));
    if is("http://") {
        Some((Scheme::Http, &target[7..]))
    } else if is("https://") {
        Some((Scheme::Https, &target[8..]))
    } else {
        None
    }
}

/// RFC 3986 has fewer bytes than we let pass: browsers send some of the others (`|`, `^`, `{`, `[`) as they are. Never those beyond ASCII,
/// those that end a URI in text, nor a fragment.
fn check_target_bytes(part: &[u8]) -> Result<(), Refusal> {
    const TABLE: &[bool; 256] = &TARGET_BYTES;
    if part.iter().fold(true, |all, &byte| all & TABLE[usize::from(byte)]) {
        return Ok(());
    }
    // rfc9112 3.2: no form of target has a fragment.
    Err(if memchr::memchr(b'#', part).is_some() { Refusal::TargetFragment } else { Refusal::TargetByte })
}

const TARGET_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < table.len() {
        let byte = at as u8;
        table[at] = byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'#');
        at += 1;
    }
    table
};

/// Reads a status line: `bytes[at..end]`, after which there is a CRLF.
pub(super) fn status_line(bytes: &[u8], at: usize, end: usize) -> Result<Line, Refusal> {
    let line = &bytes[at..end];
    let (word, rest) = line.split_at(VERSION_LEN.min(line.len()));
    let Some(version) = version(word) else {
        return Err(if is_version(word) { Refusal::VersionUnsupported } else { Refusal::StatusLine });
    };
    // rfc9112 4: three digits, a space, and a reason that may be empty. Many leave the space out with it.
    let (digits, reason) = match rest {
        [b' ', digits @ ..] if digits.len() == 3 => (digits, &[][..]),
        [b' ', a, b, c, b' ', reason @ ..] => (&[*a, *b, *c][..], reason),
        _ => return Err(Refusal::StatusLine),
    };
    if !digits.iter().all(u8::is_ascii_digit) || !is_value(reason) {
        return Err(Refusal::StatusLine);
    }
    let status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    // rfc9110 15: a status outside 100 to 599 is invalid.
    if !(100..600).contains(&status) {
        return Err(Refusal::Status);
    }
    let mut read = Line::new(version);
    read.status = status;
    if !reason.is_empty() {
        read.word = Span::of(reason, bytes);
    }
    Ok(read)
}

/// `httparse` has read heads for many years.
#[cfg(test)]
mod foreign {
    use super::*;

    pub(super) fn reads_the_same_fields(section: &[u8], spans: &Spans) {
        let mut table = vec![httparse::EMPTY_HEADER; spans.fields.len()];
        let read = httparse::parse_headers(section, &mut table);
        let Ok(httparse::Status::Complete((len, fields))) = read else {
            panic!("{read:?}: {}", section.escape_ascii())
        };
        assert_eq!((len, fields.len()), (section.len(), spans.fields.len()));
        for (index, field) in fields.iter().enumerate() {
            let ours = (spans.name(index), spans.value(index));
            assert_eq!(ours, (field.name.to_ascii_lowercase().as_bytes(), field.value), "{}", section.escape_ascii());
        }
    }

    pub(super) fn reads_the_same_request(line: &[u8], method: &[u8], target: &[u8]) {
        // It takes no other minor versions.
        let known = [&line[..line.len() - 3], b"1\r\n"].concat();
        let mut request = httparse::Request::new(&mut []);
        let read = request.parse(&known);
        assert_eq!(read, Ok(httparse::Status::Partial), "fields must follow: {}", line.escape_ascii());
        assert_eq!((request.method.unwrap().as_bytes(), request.path.unwrap().as_bytes()), (method, target));
    }
}
