//! HTTP as both legs speak it: bytes to events, events to bytes, and what may go on from one leg to the other.
//!
//! ```text
//!              Side::Server                                       Side::Client
//!   bytes  -> h1::Receiver ->  Head, Body, Trailers, End  ->  h1::write  -> bytes      a request
//!   bytes  <-   h1::write  <-  Head, Body, Trailers, End  <- h1::Receiver <- bytes     its response
//!                                |            ^
//!                            normalize     forward
//! ```
//! * [`refusal`]: what is ambiguous is refused by name and never repaired.
//! * [`head`]: views over a head's bytes. A worker has one [`Spans`] of scratch for all its connections.
//! * [`authority`]: hosts and ports.
//! * [`h1`]: RFC 9112, both halves of both sides.
//! * [`normalize`]: one form of each path, made once, before anything looks at it.
//! * [`admit`]: what every head goes through before anything decides on it.
//! * [`forward`]: whom to believe, and what is added for the next hop.
//!
//! Nothing here allocates, reads a clock or keeps bytes: whoever owns the frames slices them.

pub mod authority;
pub mod head;
pub mod refusal;

pub mod admit;
pub mod forward;
pub mod h1;
pub mod normalize;

pub use head::{Request, Response, Spans};
pub use refusal::Refusal;

/// Which end of a connection we are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// We read requests and write responses.
    Server,
    /// We write requests and read responses.
    Client,
}

/// A version of HTTP, in the order of their age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    /// RFC 1945, with persistent connections where both ask for them.
    Http10,
    /// RFC 9112.
    Http11,
    /// RFC 9113.
    Http2,
}

impl Version {
    /// As `Via` says it (RFC 9110 section 7.6.3).
    pub const fn number(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2.0",
        }
    }
}

/// rfc9110 5.6.2: what names of methods, fields and codings are made of.
#[inline]
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    lower_of_token(byte) != 0
}

/// Such a byte, in lower case; 0 for any other.
#[inline]
pub(crate) const fn lower_of_token(byte: u8) -> u8 {
    const TABLE: &[u8; 256] = &TOKEN_BYTES;
    TABLE[byte as usize]
}

const TOKEN_BYTES: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < table.len() {
        let byte = at as u8;
        let is_token = matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
            || byte.is_ascii_alphanumeric();
        table[at] = if is_token { byte.to_ascii_lowercase() } else { 0 };
        at += 1;
    }
    table
};

/// rfc9110 5.5: what a field's value may hold: no controls but tabs. Bytes beyond ASCII are nobody's, and pass.
#[inline]
pub(crate) const fn is_value_byte(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f || byte == b'\t'
}

/// How many such bytes come first.
#[inline]
pub(crate) fn value_len(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (words, rest) = bytes.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        // Eight at a time: each byte below a space, or DEL, sets its highest bit; so may some above such a one, and tabs.
        let word = u64::from_le_bytes(*word);
        let below = word.wrapping_sub(ONES * 0x20) & !word;
        let del = word ^ (ONES * 0x7f);
        let mut suspects = (below | del.wrapping_sub(ONES) & !del) & (ONES * 0x80);
        while suspects != 0 {
            let at = n * 8 + suspects.trailing_zeros() as usize / 8;
            if !is_value_byte(bytes[at]) {
                return at;
            }
            suspects &= suspects - 1;
        }
    }
    let rest_len = rest.iter().position(|&byte| !is_value_byte(byte)).unwrap_or(rest.len());
    bytes.len() - rest.len() + rest_len
}

/// Whether all of them are such.
#[inline]
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    value_len(bytes) == bytes.len()
}

/// A token: one such byte or more.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is_token_byte(b))
}

/// The elements of a comma separated list, without the white space around them.
pub(crate) fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&b| b == b',').map(trim)
}

/// Without optional white space (RFC 9110 section 5.6.3) at both ends.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}
