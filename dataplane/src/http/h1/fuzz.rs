//! The fuzz target of chunked bodies, and what it has in common with those of whole messages; see [`crate::fuzz`].
//!
//! ```text
//!   input:   flags  limits  acts (2)  step  cut (2)  bytes ..
//! ```
//! The bytes come whole, and once more in pieces: up to `cut`, then `step` by `step` (0: the rest). Both must give the same.

use super::{
    driver::{Act, Peer},
    write::{Head, Sink, WriteError},
    *,
};
use crate::{
    http::{Refusal, Side, Spans},
    limits::{HTTP_CONTENT_LENGTH_MAX, HTTP_FIELDS_MAX, HTTP_HEAD_BYTES_MAX},
};

/// What an input says beside the bytes of the peer.
pub(crate) struct Setup {
    pub(crate) flags: u8,
    pub(crate) acts: u16,
    pub(crate) limits: Limits,
    step: u8,
    cut: u16,
}

impl Setup {
    /// With the bytes of the peer.
    pub(crate) fn take(data: &[u8]) -> Option<(Self, &[u8])> {
        let (&[flags, limits, a, b, step, c, d], bytes) = data.split_first_chunk()?;
        let small = usize::from(limits >> 2);
        let limits = match limits & 3 {
            0 | 1 => Limits::default(),
            2 => Limits::new(16 + small, 32 + 2 * small, small / 4),
            _ => Limits::new(200, 32 + 16 * small, small),
        };
        let (acts, cut) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        Some((Self { flags, acts, limits, step, cut }, bytes))
    }

    /// Hears the bytes whole and in pieces.
    pub(crate) fn check_pieces(&self, side: Side, acts: &[Act], bytes: &[u8]) {
        let peer = Peer { side, limits: self.limits, acts, bytes };
        let (first, rest) = bytes.split_at(usize::from(self.cut) % (bytes.len() + 1));
        let step = if self.step == 0 { rest.len().max(1) } else { usize::from(self.step) };
        let pieces: Vec<_> = [first].into_iter().chain(rest.chunks(step)).collect();
        assert_eq!(peer.hear(&pieces), peer.hear(&[peer.bytes]));
    }
}

/// As much as there may be.
pub(crate) const NO_LIMITS: Limits = Limits::new(HTTP_HEAD_BYTES_MAX, HTTP_HEAD_BYTES_MAX, HTTP_FIELDS_MAX);

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

type Field = (Vec<u8>, Vec<u8>);

/// A chunked body: read as a whole it is what a slow reader makes of it, and what is written is read as it was meant.
pub fn http_chunks(data: &[u8]) {
    let Some((setup, bytes)) = Setup::take(data) else { return };
    let setup = Setup { limits: Limits::default(), ..setup };
    setup.check_pieces(Side::Server, &[], &[HEAD, bytes].concat());

    let read = read(&[HEAD, bytes].concat());
    match slow::body(bytes) {
        slow::Body::Whole { content, trailers, len } => match &read {
            Ok(Read { content: c, trailers: t, used: Some(used) }) => {
                assert_eq!((c, t, *used), (&content, &trailers, HEAD.len() + len));
            }
            // What is more than we take, and trailers that do not belong there.
            other => assert!(matches!(other, Err(r) if is_our_own(*r)), "{other:?}"),
        },
        slow::Body::Partial => {
            let ok = match &read {
                Ok(read) => read.used.is_none(),
                Err(_) => true,
            };
            assert!(ok, "it has no end: {read:?}");
        }
        slow::Body::Wrong => assert!(!matches!(read, Ok(Read { used: Some(_), .. })), "{read:?}"),
    }

    // The same the other way, with what was read or with the bytes as they are.
    let Read { content, trailers, .. } = read.unwrap_or_else(|_| Read { content: bytes.to_vec(), ..Read::default() });
    let mut wire = Vec::new();
    let head = Head::request(&mut wire, b"POST", &[b"/"], b"a", None).expect("it is sound");
    let mut body = head.end(Body::Chunked, true).expect("it is sound");
    let (first, rest) = content.split_at(usize::from(setup.cut) % (content.len() + 1));
    for piece in [first].into_iter().chain(rest.chunks(usize::from(setup.step) + 1)) {
        body.before(&mut wire, piece.len() as u64).expect("chunks have no end");
        wire.extend_from_slice(piece);
    }
    body.end(&mut wire, trailers.iter().map(|(name, value)| (&name[..], &value[..]))).expect("they were read");
    let trailers = trailers.into_iter().filter(|(name, _)| crate::http::head::Name::find(name).is_none()).collect();
    let used = Some(wire.len());
    assert_eq!(self::read(&wire).expect("our own is read"), Read { content, trailers, used });
}

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";

/// What the receiver makes of one request.
#[derive(Default, PartialEq, Debug)]
struct Read {
    content: Vec<u8>,
    trailers: Vec<Field>,
    /// Its bytes, if it has an end.
    used: Option<usize>,
}

fn read(bytes: &[u8]) -> Result<Read, Refusal> {
    let (mut receiver, mut spans) = (Receiver::new(Side::Server, NO_LIMITS), Spans::new());
    let (mut read, mut at) = (Read::default(), 0);
    loop {
        let step = receiver.step(&bytes[at..], &mut spans)?;
        match step {
            Step::Body { skip, len } => read.content.extend_from_slice(&bytes[at + skip..][..len]),
            Step::Trailers { skip, len } => {
                let section = &bytes[at + skip..][..len];
                read.trailers.extend(spans.trailers(section).iter().map(|(n, v)| (n.to_vec(), v.to_vec())));
            }
            Step::Head { .. } => {}
            Step::NeedMore { .. } => return Ok(read),
            Step::End { .. } => read.used = Some(at + step.used()),
            Step::Await => unreachable!("nobody asked for a tunnel"),
        }
        if read.used.is_some() {
            return Ok(read);
        }
        at += step.used();
    }
}

/// Refusals of what RFC 9112 alone would let pass.
fn is_our_own(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::ChunkLarge
            | Refusal::ChunkLineLong
            | Refusal::TrailersLong
            | Refusal::FieldsMany
            | Refusal::TrailerField
    )
}

/// RFC 9112 section 7.1 with everything in memory, a line at a time.
mod slow {
    use super::{Field, HTTP_CONTENT_LENGTH_MAX};
    use crate::http::{is_token, trim};

    pub(super) enum Body {
        Whole { content: Vec<u8>, trailers: Vec<Field>, len: usize },
        Partial,
        Wrong,
    }

    /// The next line, without its CRLF, and what follows it. A LF that is no line's end makes it wrong.
    fn line(bytes: &[u8]) -> Result<(&[u8], &[u8]), Body> {
        let lf = bytes.iter().position(|&b| b == b'\n').ok_or(Body::Partial)?;
        let line = bytes[..lf].strip_suffix(b"\r").ok_or(Body::Wrong)?;
        if line.contains(&b'\r') { Err(Body::Wrong) } else { Ok((line, &bytes[lf + 1..])) }
    }

    fn is_text(bytes: &[u8]) -> bool {
        bytes.iter().all(|&b| b == b'\t' || b >= b' ' && b != 0x7f)
    }

    pub(super) fn body(bytes: &[u8]) -> Body {
        read(bytes).unwrap_or_else(|other| other)
    }

    fn read(bytes: &[u8]) -> Result<Body, Body> {
        let (mut rest, mut content) = (bytes, Vec::new());
        loop {
            let (head, after) = line(rest)?;
            let mut parts = head.splitn(2, |&b| b == b';');
            let size = parts.next().unwrap_or_default();
            let extension = parts.next();
            let digits = std::str::from_utf8(size).ok().filter(|s| s.bytes().all(|b| b.is_ascii_hexdigit()));
            // Zeros in front are no part of a size's length.
            let size = digits.filter(|s| !s.is_empty()).map(|s| s.trim_start_matches('0')).ok_or(Body::Wrong)?;
            if extension.is_some_and(|e| e.is_empty() || !is_text(e)) || size.len() > 16 {
                return Err(Body::Wrong);
            }
            let size = if size.is_empty() { 0 } else { u64::from_str_radix(size, 16).map_err(|_| Body::Wrong)? };
            if size > HTTP_CONTENT_LENGTH_MAX {
                return Err(Body::Wrong);
            }
            if size == 0 {
                rest = after;
                break;
            }
            if after.len() as u64 <= size {
                return Err(Body::Partial);
            }
            let (data, after) = after.split_at(size as usize);
            rest = match after {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => return Err(Body::Partial),
                _ => return Err(Body::Wrong),
            };
            content.extend_from_slice(data);
        }
        let mut trailers = Vec::new();
        loop {
            let (head, after) = line(rest)?;
            rest = after;
            if head.is_empty() {
                return Ok(Body::Whole { content, trailers, len: bytes.len() - rest.len() });
            }
            let colon = head.iter().position(|&b| b == b':').ok_or(Body::Wrong)?;
            let (name, value) = (&head[..colon], &head[colon + 1..]);
            if !is_token(name) || !is_text(value) {
                return Err(Body::Wrong);
            }
            trailers.push((name.to_ascii_lowercase(), trim(value).to_vec()));
        }
    }
}
