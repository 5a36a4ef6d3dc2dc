//! Reads a ClientHello without answering it (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2): for those who pass TLS through by its name,
//! and for a server that wants to know what it is about to be asked.
//!
//! ```text
//!   record | record | record ..         each: header 5, part of the message, not empty
//!          |        |
//!   1, length u24 | version, random 32, session <u8>, suites <u16>, compressions <u8>, extensions <u16>
//! ```

use super::{
    TlsRefusal,
    record::{ContentType, HEADER, Header},
};
use crate::limits::TLS_HELLO_MAX;
use rustls::pki_types::{DnsName, ServerName};
use std::borrow::Cow;

/// What a client asks for.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Hello {
    /// The server's name, in lower case (RFC 6066 section 3). An address is no name.
    pub sni: Option<Box<str>>,
    /// Protocols, the client's favourite first (RFC 7301).
    pub alpn: Vec<Box<[u8]>>,
    /// It takes signatures with ECDSA or EdDSA.
    pub(super) takes_ec: bool,
}

/// What there is to say about the bytes so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A whole ClientHello. More bytes may be behind it.
    Done(Hello),
    /// The beginning of one, perhaps.
    Partial,
    /// It will never be one.
    Invalid(TlsRefusal),
}

/// Where reading has come to, so that records that were read are not read again.
#[derive(Clone, Default, Debug)]
pub struct Reader {
    /// Bytes of whole records: `at <= bytes.len()`.
    at: usize,
    /// Bytes of the message in them.
    message: usize,
    /// The message's header, as far as it is there.
    head: [u8; 4],
}

impl Reader {
    /// Bytes of whole records that belong to the hello.
    pub(super) fn whole(&self) -> usize {
        self.at
    }

    /// Looks at all `bytes` of a connection so far: those of the last call, and more.
    pub fn read(&mut self, bytes: &[u8]) -> Answer {
        loop {
            let header = match Header::read(&bytes[self.at..], None) {
                Ok(Some(header)) => header,
                Ok(None) => return Answer::Partial,
                Err(refusal) => return Answer::Invalid(refusal),
            };
            // rfc8446 5.1: parts of handshake messages are not empty, and nothing comes between them.
            if header.kind != ContentType::Handshake {
                return Answer::Invalid(TlsRefusal::UnexpectedMessage);
            }
            if header.len == 0 {
                return Answer::Invalid(TlsRefusal::RecordInvalid);
            }
            let Some(part) = bytes[self.at + HEADER..].get(..header.len) else {
                // A message that is too long is known by its first bytes.
                return match self.peek_head(&bytes[self.at + HEADER..]) {
                    Err(refusal) => Answer::Invalid(refusal),
                    Ok(_) => Answer::Partial,
                };
            };
            let whole = match self.peek_head(part) {
                Ok(whole) => whole,
                Err(refusal) => return Answer::Invalid(refusal),
            };
            for (head, &byte) in self.head.iter_mut().skip(self.message).zip(part) {
                *head = byte;
            }
            self.message += part.len();
            self.at += HEADER + header.len;
            if whole.is_some_and(|whole| self.message >= whole) {
                return match parse(&gather(&bytes[..self.at])[4..whole.expect("it was just compared")]) {
                    Some(hello) => Answer::Done(hello),
                    None => Answer::Invalid(TlsRefusal::MessageInvalid),
                };
            }
        }
    }

    /// How long the message will be with its header, if that is known with what comes next.
    fn peek_head(&self, next: &[u8]) -> Result<Option<usize>, TlsRefusal> {
        let mut head = self.head;
        let known = self.message.min(4);
        let more = next.len().min(4 - known);
        head[known..known + more].copy_from_slice(&next[..more]);
        if known + more > 0 && head[0] != 1 {
            return Err(TlsRefusal::UnexpectedMessage);
        }
        if known + more < 4 {
            return Ok(None);
        }
        let len = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
        if len + 4 > TLS_HELLO_MAX { Err(TlsRefusal::HandshakeTooLong) } else { Ok(Some(len + 4)) }
    }
}

/// What whole records have in them, together.
fn gather(records: &[u8]) -> Cow<'_, [u8]> {
    let len = |at: usize| usize::from(u16::from_be_bytes([records[at + 3], records[at + 4]]));
    if HEADER + len(0) == records.len() {
        return Cow::Borrowed(&records[HEADER..]);
    }
    let (mut message, mut at) = (Vec::with_capacity(records.len()), 0);
    while at < records.len() {
        let end = at + HEADER + len(at);
        message.extend_from_slice(&records[at + HEADER..end]);
        at = end;
    }
    Cow::Owned(message)
}

/// Bytes that are read from the front.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }
    pub(super) fn u8(&mut self) -> Option<usize> {
        self.take(1).map(|b| usize::from(b[0]))
    }
    fn u16(&mut self) -> Option<usize> {
        self.take(2).map(|b| usize::from(u16::from_be_bytes([b[0], b[1]])))
    }
    fn vec8(&mut self) -> Option<&'a [u8]> {
        let n = self.u8()?;
        self.take(n)
    }
    fn vec16(&mut self) -> Option<Bytes<'a>> {
        let n = self.u16()?;
        self.take(n).map(Bytes)
    }
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// A ClientHello without its header.
fn parse(message: &[u8]) -> Option<Hello> {
    let mut at = Bytes(message);
    at.take(2 + 32)?;
    if at.vec8()?.len() > 32 {
        return None;
    }
    at.vec16()?;
    at.vec8()?;
    let mut hello = Hello::default();
    if at.is_empty() {
        return Some(hello); // TLS 1.2 without extensions
    }
    let mut extensions = at.vec16()?;
    if !at.is_empty() {
        return None;
    }
    let mut seen = [false; 3];
    while !extensions.is_empty() {
        let (kind, body) = (extensions.u16()?, extensions.vec16()?);
        let Some(place) = [0, 13, 16].iter().position(|&k| k == kind) else { continue };
        // rfc8446 4.2: each at most once.
        if std::mem::replace(&mut seen[place], true) {
            return None;
        }
        match kind {
            0 => hello.sni = server_name(body)?,
            13 => hello.takes_ec = takes_ec(body)?,
            _ => hello.alpn = protocols(body)?,
        }
    }
    Some(hello)
}

/// rfc6066 3: one name, of type host_name.
fn server_name(mut body: Bytes<'_>) -> Option<Option<Box<str>>> {
    let mut list = body.vec16()?;
    let (kind, name) = (list.u8()?, list.vec16()?);
    if kind != 0 || !list.is_empty() || !body.is_empty() {
        return None;
    }
    let name = std::str::from_utf8(name.0).ok()?;
    match ServerName::try_from(name) {
        Ok(ServerName::DnsName(_)) => {
            DnsName::try_from(name).ok().map(|name| Some(name.to_lowercase_owned().as_ref().into()))
        }
        Ok(_) => Some(None),
        Err(_) => None,
    }
}

/// rfc8446 4.2.3: ECDSA is 0x??03 and EdDSA 0x0807 and 0x0808.
fn takes_ec(mut body: Bytes<'_>) -> Option<bool> {
    let mut list = body.vec16()?;
    let mut found = false;
    while !list.is_empty() {
        let scheme = list.u16()?;
        found |= matches!(scheme, 0x0403 | 0x0503 | 0x0603 | 0x0807 | 0x0808);
    }
    body.is_empty().then_some(found)
}

/// rfc7301 3.1: names that are not empty.
fn protocols(mut body: Bytes<'_>) -> Option<Vec<Box<[u8]>>> {
    let mut list = body.vec16()?;
    let mut names = Vec::new();
    while !list.is_empty() {
        let name = list.vec8().filter(|name| !name.is_empty())?;
        names.push(name.into());
    }
    (body.is_empty() && !names.is_empty()).then_some(names)
}
