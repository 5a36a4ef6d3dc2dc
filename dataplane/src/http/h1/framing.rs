//! Where a message ends (RFC 9112 section 6), whether another may follow it (section 9), and for whom it is (RFC 9110 section 7.2).
//!
//! The fields that say so are read once, here. They never go on: whoever writes the message to the other leg says the same in its own words.

use super::super::{
    Refusal, Spans, Version,
    authority::Authority,
    elements,
    head::{Form, Name, Role, Scheme, lower},
    is_token,
};
use crate::limits::{HTTP_CONNECTION_OPTIONS_MAX, HTTP_CONTENT_LENGTH_MAX};

/// What follows a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// Nothing.
    None,
    /// So many bytes. Zero is not none: it was said.
    Length(u64),
    /// Chunks, and perhaps trailers.
    Chunked,
    /// Everything until the peer closes; responses only.
    UntilClose,
    /// Bytes that are not HTTP: after CONNECT or a change of protocols, and in requests only once that was granted.
    Tunnel,
}

/// What a head says about its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Framing {
    /// What follows.
    pub body: Body,
    /// What Content-Length says. Where there is no body (HEAD, 304), it tells how long another answer would have been.
    pub content_length: Option<u64>,
    /// Another message may follow on the connection.
    pub persistent: bool,
    /// The client waits for a 100 before it sends the content (RFC 9110 section 10.1.1).
    pub expects_continue: bool,
    /// A request that asks for another protocol and may get it, or the response that grants it (RFC 9110 section 7.8).
    pub switches: bool,
    /// Connection names fields, which might be in the trailer section too: it must not go on (RFC 9110 section 7.6.1).
    pub ends_trailers: bool,
}

/// What a response answers, as far as its framing depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Anything that is none of the others.
    Content,
    /// HEAD: the response has no content, whatever it says.
    Head,
    /// CONNECT: a 2xx makes a tunnel.
    Connect,
    /// A request with an Upgrade that we passed on: a 101 makes a tunnel.
    Upgrade,
}

/// What was found in a head's fields.
#[derive(Default)]
struct Found {
    /// Host's place.
    host: Option<usize>,
    length: Option<u64>,
    codings: Codings,
    close: bool,
    keep_alive: bool,
    /// Connection says that Upgrade is meant for us.
    upgrade_option: bool,
    /// Upgrade names one protocol, and one that we would pass on.
    upgrade: Option<bool>,
    /// Expect says 100-continue.
    expects: bool,
    /// Options in Connection.
    options: usize,
    /// Some of them name fields that are not known to end here.
    options_name_fields: bool,
}

/// Frames a request, and finds whom it is for.
pub(super) fn request(bytes: &[u8], spans: &mut Spans) -> Result<Framing, Refusal> {
    let found = collect(spans, Of::Request)?;
    if found.options_name_fields {
        end_named_fields(spans, true)?;
    }
    let version = spans.line.version;
    find_host(bytes, spans, found.host)?;
    let method = spans.line.word.slice(bytes);
    // rfc9112 6.3: without length and coding there is no content.
    let body = match (found.codings.read(version)?, found.length) {
        // rfc9112 6.1, 6.3: both together may be an attempt at smuggling.
        (true, Some(_)) => return Err(Refusal::ContentLengthAndTransferEncoding),
        (true, None) => Body::Chunked,
        (false, Some(length)) => Body::Length(length),
        (false, None) => Body::None,
    };
    let is_connect = spans.line.form == Form::Authority;
    // rfc9110 9.3.6: content of CONNECT means nothing; what follows it is the tunnel's or a request, and nobody can know which.
    if is_connect && body != Body::None {
        return Err(Refusal::ConnectContent);
    }
    // rfc9110 9.3.8 (MUST NOT).
    if method == b"TRACE" && !matches!(body, Body::None | Body::Length(0)) {
        return Err(Refusal::TraceContent);
    }
    // rfc9110 7.8 (MUST): ignored on HTTP/1.0. With content, or another method than those of today's protocols (GET), it is ignored as well:
    // whoever asks must live with that.
    let switches =
        found.offers_upgrade() && version == Version::Http11 && matches!(body, Body::None) && method == b"GET";
    Ok(Framing {
        body: if is_connect { Body::Tunnel } else { body },
        content_length: found.length,
        persistent: found.persistent(version),
        // rfc9110 10.1.1 (MUST): ignored on HTTP/1.0. Without content there is nothing to wait for.
        expects_continue: found.expects
            && version == Version::Http11
            && matches!(body, Body::Chunked | Body::Length(1..)),
        switches,
        ends_trailers: found.options_name_fields,
    })
}

/// Frames a response.
pub(super) fn response(spans: &mut Spans, asked: Asked) -> Result<Framing, Refusal> {
    let (version, status) = (spans.line.version, spans.line.status);
    let is_tunnel = asked == Asked::Connect && (200..300).contains(&status);
    let found = collect(spans, if is_tunnel { Of::Tunnel } else { Of::Response })?;
    if found.options_name_fields {
        end_named_fields(spans, false)?;
    }
    let mut framing = Framing {
        body: Body::None,
        content_length: None,
        persistent: found.persistent(version),
        expects_continue: false,
        switches: false,
        ends_trailers: found.options_name_fields,
    };
    if is_tunnel {
        (framing.body, framing.persistent) = (Body::Tunnel, false);
        return Ok(framing);
    }
    let is_chunked = found.codings.read(version)?;
    if is_chunked && found.length.is_some() {
        return Err(Refusal::ContentLengthAndTransferEncoding);
    }
    framing.content_length = found.length;
    match status {
        // rfc9110 15.2.2 (MUST): it says what follows. And it follows only a request for it.
        101 if asked != Asked::Upgrade || version != Version::Http11 || !found.offers_upgrade() => {
            return Err(Refusal::Switch);
        }
        // rfc9110 8.6, rfc9112 6.1 (MUST NOT): no length and no codings in these. A length of zero is said by many, and harmless.
        100..200 | 204 if is_chunked || found.length.is_some_and(|l| l > 0) => return Err(Refusal::StatusContent),
        101 => (framing.body, framing.persistent, framing.switches) = (Body::Tunnel, false, true),
        // rfc9112 6.3 rule 1: these have no content, whatever they say it would have been.
        100..200 | 204 | 304 => {}
        _ if asked == Asked::Head => {}
        _ => {
            framing.body = match (is_chunked, found.length) {
                (true, _) => Body::Chunked,
                (false, Some(length)) => Body::Length(length),
                // rfc9112 6.3 rule 8.
                (false, None) => Body::UntilClose,
            };
            framing.persistent &= framing.body != Body::UntilClose;
        }
    }
    Ok(framing)
}

/// Looks through a trailer section.
pub(super) fn trailers(spans: &Spans) -> Result<(), Refusal> {
    // rfc9110 6.5.1 (MUST NOT): no fields there that framing or routing depend on. Others that do not belong there are left out later.
    let is_about_framing = |name: Name| matches!(name.role(), Role::Framing | Role::Hop);
    if spans.fields.iter().any(|field| field.known.is_some_and(is_about_framing)) {
        return Err(Refusal::TrailerField);
    }
    Ok(())
}

impl Found {
    /// rfc9112 9.3: 1.1 persists unless it says close; 1.0 only if it asks to.
    fn persistent(&self, version: Version) -> bool {
        !self.close && (version >= Version::Http11 || self.keep_alive)
    }

    fn offers_upgrade(&self) -> bool {
        self.upgrade == Some(true) && self.upgrade_option
    }

    fn read_connection(&mut self, value: &[u8], is_request: bool) -> Result<(), Refusal> {
        // What most say.
        if value.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
            self.options += 1;
            return if self.options > HTTP_CONNECTION_OPTIONS_MAX { Err(Refusal::Connection) } else { Ok(()) };
        }
        // rfc9110 5.6.1.2 (MUST): empty elements are ignored.
        for option in elements(value).filter(|option| !option.is_empty()) {
            self.options += 1;
            if self.options > HTTP_CONNECTION_OPTIONS_MAX || !is_token(option) {
                return Err(Refusal::Connection);
            }
            // rfc9110 7.6.1: options are compared without case.
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade_option = true;
            } else if !(is_request && option.eq_ignore_ascii_case(b"te")) {
                self.options_name_fields = true;
            }
        }
        Ok(())
    }
}

/// Whose fields are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Request,
    Response,
    /// The successful answer to CONNECT.
    Tunnel,
}

/// Reads what this layer has to know from a head's fields.
fn collect(spans: &Spans, of: Of) -> Result<Found, Refusal> {
    let mut found = Found::default();
    let is_request = of == Of::Request;
    for (index, field) in spans.fields.iter().enumerate() {
        let Some(name) = field.known else { continue };
        let value = spans.value(index);
        match name {
            // rfc9112 3.2 (MUST): a request with several is refused.
            Name::Host if is_request && found.host.replace(index).is_some() => return Err(Refusal::HostSeveral),
            // rfc9112 6.3 rule 2 (MUST): there length and codings are ignored, whatever they are.
            Name::ContentLength | Name::TransferEncoding if of == Of::Tunnel => {}
            // rfc9112 6.3 rule 5 lets equal ones pass. We do not.
            Name::ContentLength if found.length.replace(content_length(value)?).is_some() => {
                return Err(Refusal::ContentLengthSeveral);
            }
            Name::TransferEncoding => found.codings.add(value)?,
            Name::Connection => found.read_connection(value, is_request)?,
            Name::Upgrade => found.upgrade = Some(is_switchable(value) && found.upgrade.is_none()),
            // rfc9110 10.1.1 (MAY): 417 for everything but 100-continue.
            Name::Expect if is_request => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Refusal::Expectation);
                }
                found.expects = true;
            }
            _ => {}
        }
    }
    Ok(found)
}

/// A single protocol which is not HTTP itself: `h2c` would begin a second life of the same request (CVE-2026-2833).
fn is_switchable(value: &[u8]) -> bool {
    let mut parts = value.splitn(2, |&b| b == b'/');
    let (name, version) = (parts.next().unwrap_or_default(), parts.next());
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    is_token(name) && version.is_none_or(is_token) && !is(b"h2c") && !is(b"h2") && !is(b"http") && !is(b"tls")
}

fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    // Most have few digits, which cannot overflow.
    if matches!(value.len(), 1..=9) && value.iter().all(u8::is_ascii_digit) {
        return Ok(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')));
    }
    // rfc9110 8.6: digits and nothing else; a list, though it be of equal numbers, is refused.
    if value.contains(&b',') {
        return Err(Refusal::ContentLengthSeveral);
    }
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::ContentLength);
    }
    // rfc9110 8.6 (MUST): no overflow (CVE-2021-40346).
    value
        .iter()
        .try_fold(0u64, |length, digit| length.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .filter(|&length| length <= HTTP_CONTENT_LENGTH_MAX)
        .ok_or(Refusal::ContentLengthLarge)
}

/// The transfer codings of a head, in all its fields together.
#[derive(Clone, Copy, Default)]
struct Codings {
    any: bool,
    chunked: bool,
    unknown: bool,
}

impl Codings {
    fn add(&mut self, value: &[u8]) -> Result<(), Refusal> {
        self.any = true;
        for coding in elements(value) {
            // Stricter than rfc9110 5.6.1.2: an empty element here is somebody's attempt.
            if !is_token(coding) {
                return Err(Refusal::TransferEncoding);
            }
            // rfc9112 6.1 (MUST NOT): chunked is there once, and last.
            if self.chunked {
                return Err(Refusal::ChunkedNotFinal);
            }
            // rfc9112 7: names of codings are compared without case.
            if coding.eq_ignore_ascii_case(b"chunked") { self.chunked = true } else { self.unknown = true }
        }
        Ok(())
    }

    /// Whether the content is chunked.
    fn read(self, version: Version) -> Result<bool, Refusal> {
        match self {
            Self { any: false, .. } => Ok(false),
            // rfc9112 6.1: on HTTP/1.0 its framing is faulty (CVE-2026-2835).
            _ if version == Version::Http10 => Err(Refusal::TransferEncodingOn10),
            // rfc9112 6.3 rule 4.3 (MUST): 400, for nobody knows where it ends. In a response it would end with the connection: refused too.
            Self { chunked: false, .. } => Err(Refusal::ChunkedNotFinal),
            // rfc9112 6.1 (SHOULD): 501.
            Self { unknown: true, .. } => Err(Refusal::TransferCodingUnknown),
            _ => Ok(true),
        }
    }
}

/// rfc9110 7.6.1 (MUST): fields that Connection names end here. They do so before anything decides on the request, so that what was decided
/// on is what goes on (CVE-2021-29492).
fn end_named_fields(spans: &mut Spans, is_request: bool) -> Result<(), Refusal> {
    for index in 0..spans.fields.len() {
        if spans.fields[index].known != Some(Name::Connection) {
            continue;
        }
        // rfc9110 7.6.1 (MUST NOT): no client may name what is meant for everybody. Some servers name Transfer-Encoding.
        spans.end_listed(index, |name| {
            if is_request && name.role() != Role::Hop { Err(Refusal::ConnectionNames) } else { Ok(()) }
        })?;
    }
    Ok(())
}

/// rfc9112 3.2, 3.3: whom a request is for.
fn find_host(bytes: &[u8], spans: &mut Spans, host_field: Option<usize>) -> Result<(), Refusal> {
    let Spans { line, fields, text, names, host, port, .. } = spans;
    let field = host_field.map(|index| Authority::parse(fields[index].value.slice(text))).transpose()?;
    let target = match line.form {
        Form::Absolute | Form::Authority => Some(Authority::parse(line.authority.slice(bytes))?),
        Form::Origin | Form::Asterisk => None,
    };
    let authority = match (target, field) {
        // rfc9112 3.2 (MUST): 1.1 has one.
        (_, None) if line.version >= Version::Http11 => return Err(Refusal::HostMissing),
        // rfc9112 3.2.2 has the target win. Two hosts in one request are refused: somebody behind us might take the other (CVE-2023-45539).
        (Some(target), Some(field)) => {
            let default = line.scheme.map_or(target.port, |scheme: Scheme| Some(scheme.port()));
            if !target.is_same(&field, default) {
                return Err(Refusal::HostMismatch);
            }
            target
        }
        (Some(authority), None) | (None, Some(authority)) => authority,
        (None, None) => return Ok(()),
    };
    (*host, *port) = (lower(names, authority.host), authority.port);
    Ok(())
}
