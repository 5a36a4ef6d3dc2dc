//! Records: bytes to plaintext and back (RFC 8446 section 5, RFC 5246 section 6.2).
//!
//! ```text
//!             type  version  length
//!   TLS 1.3:   23    0303     u16   | plaintext, type, zeros      encrypted | tag 16 |
//!   TLS 1.2:   any   0303     u16   | explicit nonce 8 (GCM) | plaintext encrypted | tag 16 |
//! ```
//!
//! [`Seal`] and [`Open`] are the two halves of a connection: a key and a sequence number each. Nothing is allocated for a record. Each
//! record that is sealed or opened takes a sequence number that never comes back.

use super::TlsRefusal;
use crate::limits::{TLS_PLAINTEXT_MAX, TLS_RECORDS_MAX, TLS12_EXPANSION_MAX, TLS13_EXPANSION_MAX};
use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;
use std::ops::Range;

/// Bytes of a record's header.
pub const HEADER: usize = 5;
const TAG: usize = 16;
const EXPLICIT_NONCE: usize = 8;

/// What a record is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ContentType {
    /// Nothing any more; middleboxes want to see it.
    ChangeCipherSpec = 20,
    /// A warning, or the end.
    Alert = 21,
    /// Handshake messages, or parts of them.
    Handshake = 22,
    /// Content.
    ApplicationData = 23,
}

impl ContentType {
    fn read(byte: u8) -> Option<Self> {
        Some(match byte {
            20 => Self::ChangeCipherSpec,
            21 => Self::Alert,
            22 => Self::Handshake,
            23 => Self::ApplicationData,
            _ => return None,
        })
    }
}

/// The two ways to lay out a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// A header that may stand where it was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The type in the clear.
    pub kind: ContentType,
    /// Bytes after the header.
    pub len: usize,
}

impl Header {
    /// The header at the beginning of `bytes`; `None` while fewer than [`HEADER`] are there. `version` is what was agreed on, if anything was.
    pub fn read(bytes: &[u8], version: Option<Version>) -> Result<Option<Self>, TlsRefusal> {
        let Some(&[kind, major, _, high, low]) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
        let kind = ContentType::read(kind).ok_or(TlsRefusal::RecordInvalid)?;
        // rfc8446 5.1: the version is 0x0303, or 0x0301 in a first hello, and "MUST be ignored for all purposes"; others still are no TLS.
        if major != 3 {
            return Err(TlsRefusal::RecordInvalid);
        }
        let len = usize::from(u16::from_be_bytes([high, low]));
        let most = match version {
            Some(Version::Tls13) => TLS_PLAINTEXT_MAX + TLS13_EXPANSION_MAX,
            Some(Version::Tls12) | None => TLS_PLAINTEXT_MAX + TLS12_EXPANSION_MAX,
        };
        if len > most {
            return Err(TlsRefusal::RecordTooLong);
        }
        Ok(Some(Self { kind, len }))
    }
}

/// A key, its initial vector and the number of the next record.
struct Half {
    key: LessSafeKey,
    iv: [u8; aead::NONCE_LEN],
    seq: u64,
    version: Version,
    is_gcm: bool,
}

impl Half {
    fn new(version: Version, seq: u64, secrets: &ConnectionTrafficSecrets) -> Self {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&aead::AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&aead::AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&aead::CHACHA20_POLY1305, key, iv),
            _ => unreachable!("a context has only suites with these ciphers"),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).expect("rustls gives keys of the right length");
        let iv = iv.as_ref().try_into().expect("rustls gives vectors of 12 bytes");
        Self { key: LessSafeKey::new(key), iv, seq, version, is_gcm: *algorithm != aead::CHACHA20_POLY1305 }
    }

    fn has_explicit_nonce(&self) -> bool {
        self.version == Version::Tls12 && self.is_gcm
    }

    /// rfc8446 5.3: the sequence number, padded on the left and XORed with the vector. rfc7905 2 says the same for TLS 1.2, and rfc5288 3 leaves
    /// the explicit nonce to the sender.
    fn nonce(&self) -> [u8; aead::NONCE_LEN] {
        let mut nonce = self.iv;
        for (n, s) in nonce[4..].iter_mut().zip(self.seq.to_be_bytes()) {
            *n ^= s;
        }
        nonce
    }

    /// rfc8446 5.2: the header as it is sent. rfc5246 6.2.3.3: number, type, version and the plaintext's length.
    fn aad(&self, kind: ContentType, len: usize, plain: usize) -> ([u8; 13], usize) {
        let mut aad = [0; 13];
        if self.version == Version::Tls13 {
            aad[..HEADER].copy_from_slice(&header(kind, len));
            return (aad, HEADER);
        }
        aad[..8].copy_from_slice(&self.seq.to_be_bytes());
        aad[8..].copy_from_slice(&header(kind, plain));
        (aad, 13)
    }
}

fn header(kind: ContentType, len: usize) -> [u8; HEADER] {
    let [high, low] = u16::try_from(len).expect("a record's length").to_be_bytes();
    [kind as u8, 3, 3, high, low]
}

/// The half that sends.
pub struct Seal(Half);

impl Seal {
    /// Goes on with another number.
    #[cfg(test)]
    pub(super) fn skip_to(&mut self, seq: u64) {
        self.0.seq = seq;
    }
    /// Begins with record `seq` under these secrets.
    pub fn new(version: Version, seq: u64, secrets: &ConnectionTrafficSecrets) -> Self {
        Self(Half::new(version, seq, secrets))
    }
    /// Which layout.
    pub fn version(&self) -> Version {
        self.0.version
    }
    /// Bytes before the plaintext.
    pub fn front(&self) -> usize {
        HEADER + if self.0.has_explicit_nonce() { EXPLICIT_NONCE } else { 0 }
    }
    /// Bytes after the plaintext.
    pub fn back(&self) -> usize {
        TAG + usize::from(self.0.version == Version::Tls13)
    }
    /// Records that may still be sealed under this key.
    pub fn left(&self) -> u64 {
        // ChaCha20-Poly1305 has no bound that matters; its numbers must not wrap.
        let most = if self.0.is_gcm { TLS_RECORDS_MAX } else { u64::MAX };
        most.saturating_sub(self.0.seq)
    }
    /// Makes `record`, which has the plaintext between [`Self::front`] and [`Self::back`], a record. It is final: the number is used, so the record
    /// must be sent, and before any later one.
    ///
    /// # Panics
    /// When the plaintext is too long, or no record is [left](Self::left).
    pub fn seal(&mut self, kind: ContentType, record: &mut [u8]) {
        assert!(self.left() > 0, "sequence numbers do not wrap");
        let (front, back) = (self.front(), self.back());
        let plain = record.len() - front - back;
        assert!(plain <= TLS_PLAINTEXT_MAX, "a record's plaintext is bounded");
        let len = record.len() - HEADER;
        let nonce = self.0.nonce();
        let (before, rest) = record.split_at_mut(front);
        let (text, tag) = rest.split_at_mut(plain + back - TAG);
        let outer = if self.0.version == Version::Tls13 {
            text[plain] = kind as u8;
            ContentType::ApplicationData
        } else {
            kind
        };
        before[..HEADER].copy_from_slice(&header(outer, len));
        before[HEADER..].copy_from_slice(&nonce[aead::NONCE_LEN - (front - HEADER)..]);
        let (aad, aad_len) = self.0.aad(outer, len, plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let made = self.0.key.seal_in_place_separate_tag(nonce, Aad::from(&aad[..aad_len]), text);
        tag.copy_from_slice(made.expect("lengths are within the cipher's").as_ref());
        self.0.seq += 1;
    }
}

/// What a record had in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// What it is about; in TLS 1.3 the type within.
    pub kind: ContentType,
    /// Where in the record its plaintext is.
    pub plain: Range<usize>,
}

/// The half that receives.
pub struct Open(Half);

impl Open {
    /// Goes on with another number.
    #[cfg(test)]
    pub(super) fn skip_to(&mut self, seq: u64) {
        self.0.seq = seq;
    }
    /// Begins with record `seq` under these secrets.
    pub fn new(version: Version, seq: u64, secrets: &ConnectionTrafficSecrets) -> Self {
        Self(Half::new(version, seq, secrets))
    }
    /// Which layout.
    pub fn version(&self) -> Version {
        self.0.version
    }
    /// Records that were opened under this key, and those before it that its number counts.
    pub fn opened(&self) -> u64 {
        self.0.seq
    }

    /// Opens `record`, header and all of what the header says, in place.
    pub fn open(&mut self, header: Header, record: &mut [u8]) -> Result<Opened, TlsRefusal> {
        assert_eq!(record.len(), HEADER + header.len, "a whole record");
        // rfc8446 5.2: a protected record says application_data; anything else in the clear has no place any more.
        if self.0.version == Version::Tls13 && header.kind != ContentType::ApplicationData {
            return Err(TlsRefusal::UnexpectedMessage);
        }
        let front = HEADER + if self.0.has_explicit_nonce() { EXPLICIT_NONCE } else { 0 };
        let inner = usize::from(self.0.version == Version::Tls13);
        if record.len() < front + inner + TAG {
            return Err(TlsRefusal::BadRecordMac);
        }
        let text = record.len() - front - TAG;
        let mut nonce = self.0.nonce();
        nonce[aead::NONCE_LEN - (front - HEADER)..].copy_from_slice(&record[HEADER..front]);
        let (aad, aad_len) = self.0.aad(header.kind, header.len, text);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = self.0.key.open_in_place(nonce, Aad::from(&aad[..aad_len]), &mut record[front..]);
        let text = opened.map_err(|_| TlsRefusal::BadRecordMac)?;
        self.0.seq = self.0.seq.checked_add(1).ok_or(TlsRefusal::KeysSpent)?;
        if self.0.version == Version::Tls12 {
            let len = text.len();
            return checked(header.kind, front, len);
        }
        // rfc8446 5.4: the type is the last byte that is not zero; there must be one.
        let last = text.iter().rposition(|&b| b != 0).ok_or(TlsRefusal::UnexpectedMessage)?;
        let kind = ContentType::read(text[last]).ok_or(TlsRefusal::UnexpectedMessage)?;
        // rfc8446 5.2: type and padding count, too: at most 2^14 + 1 bytes.
        if text.len() > TLS_PLAINTEXT_MAX + 1 {
            return Err(TlsRefusal::RecordTooLong);
        }
        checked(kind, front, last)
    }
}

fn checked(kind: ContentType, front: usize, len: usize) -> Result<Opened, TlsRefusal> {
    if len > TLS_PLAINTEXT_MAX {
        return Err(TlsRefusal::RecordTooLong);
    }
    Ok(Opened { kind, plain: front..front + len })
}
