//! Certificates with their keys, as they are given, and what they say.

use super::hello::Bytes;
use crate::limits::TLS_CHAIN_MAX;
use rustls::{
    SignatureAlgorithm,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use std::sync::Arc;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A certificate's files, as they were read.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct CertificateFiles {
    /// PEM: the certificate, then those that lead to an authority.
    #[zeroize(skip)]
    pub chain: Vec<u8>,
    /// PEM: its private key (PKCS #8, PKCS #1 or SEC 1). Zeroed when this is dropped.
    pub key: Vec<u8>,
    /// DER: an OCSP response that is given with it; none if empty.
    #[zeroize(skip)]
    pub ocsp: Vec<u8>,
}

/// A certificate with its key, ready for handshakes.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) dns_names: Vec<Box<str>>,
    validity: Validity,
}

/// Why a certificate cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CertificateError {
    /// There is none in the file.
    ChainEmpty,
    /// More than anybody would send.
    ChainTooLong,
    /// What is there cannot be read; in the reader's words.
    ChainInvalid(String),
    /// No private key that can be read.
    KeyInvalid(String),
    /// The key is another certificate's.
    KeyMismatch,
    /// It was valid until then (seconds since 1970).
    Expired(u64),
    /// It will be valid from then on.
    NotYetValid(u64),
    /// The name to serve is not in it.
    NameMissing(String),
}

impl std::fmt::Display for CertificateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ChainEmpty => write!(f, "there is no certificate in the file; is it PEM?"),
            Self::ChainTooLong => write!(f, "the chain has more than {TLS_CHAIN_MAX} certificates"),
            Self::ChainInvalid(why) => write!(f, "the chain cannot be read: {why}"),
            Self::KeyInvalid(why) => write!(f, "there is no private key that can be read: {why}"),
            Self::KeyMismatch => {
                write!(f, "the key does not belong to the certificate; was only one of them replaced?")
            }
            Self::Expired(at) => write!(f, "the certificate expired at {at} (seconds since 1970)"),
            Self::NotYetValid(at) => write!(f, "the certificate is valid from {at} on (seconds since 1970)"),
            Self::NameMissing(name) => write!(f, "the certificate is not for {name}"),
        }
    }
}

impl std::error::Error for CertificateError {}

impl Certificate {
    /// Reads a certificate with its key. `now` is in seconds since 1970.
    pub fn read(files: &CertificateFiles, provider: &CryptoProvider, now: u64) -> Result<Self, CertificateError> {
        let read = Self::read_undated(files, provider)?;
        let Validity { not_before, not_after } = read.validity;
        if now > not_after {
            return Err(CertificateError::Expired(not_after));
        }
        if now < not_before {
            return Err(CertificateError::NotYetValid(not_before));
        }
        Ok(read)
    }

    /// The same at any time. What was in force goes on when its time is over, also after a restart: clients judge it, and one certificate takes no
    /// other listener down.
    pub(super) fn read_undated(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&files.chain).collect();
        let chain = chain.map_err(|e| CertificateError::ChainInvalid(e.to_string()))?;
        let leaf = chain.first().ok_or(CertificateError::ChainEmpty)?;
        if chain.len() > TLS_CHAIN_MAX {
            return Err(CertificateError::ChainTooLong);
        }
        let invalid = || CertificateError::ChainInvalid("not an X.509 certificate".into());
        for certificate in &chain {
            webpki::EndEntityCert::try_from(certificate)
                .map_err(|e| CertificateError::ChainInvalid(format!("{e:?}")))?;
        }
        let validity = Validity::read(leaf).ok_or_else(invalid)?;
        let (dns_names, _) = names(leaf);
        let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(|e| CertificateError::KeyInvalid(e.to_string()))?;
        let key = CertifiedKey::from_der(chain, key, provider);
        let mut key = key.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => CertificateError::KeyMismatch,
            error => CertificateError::KeyInvalid(error.to_string()),
        })?;
        key.ocsp = Some(files.ocsp.clone()).filter(|ocsp| !ocsp.is_empty());
        Ok(Self { key: Arc::new(key), dns_names, validity })
    }

    /// DNS names in it; a wildcard's begins with `*.`.
    pub fn dns_names(&self) -> &[Box<str>] {
        &self.dns_names
    }
    /// The first second of its validity, since 1970.
    pub fn not_before(&self) -> u64 {
        self.validity.not_before
    }
    /// The last second of its validity, since 1970.
    pub fn not_after(&self) -> u64 {
        self.validity.not_after
    }
    /// Whether it is good for this name (RFC 9525 section 6.3: exact, or a wildcard as the whole first label).
    pub fn covers(&self, name: &str) -> bool {
        self.dns_names.iter().any(|pattern| is_covered(name, pattern))
    }

    pub(super) fn is_rsa(&self) -> bool {
        self.key.key.algorithm() == SignatureAlgorithm::RSA
    }
}

fn is_covered(name: &str, pattern: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(rest) => name.split_once('.').is_some_and(|(first, n)| !first.is_empty() && n.eq_ignore_ascii_case(rest)),
        None => name.eq_ignore_ascii_case(pattern),
    }
}

/// Authorities of a PEM bundle.
pub(super) fn roots(pem: &[u8]) -> Result<rustls::RootCertStore, super::ContextError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|e| super::ContextError::RootInvalid(e.to_string()))?;
        roots.add(certificate).map_err(|e| super::ContextError::RootInvalid(e.to_string()))?;
    }
    if roots.is_empty() { Err(super::ContextError::RootsEmpty) } else { Ok(roots) }
}

/// Revocation lists, each PEM (any number of them) or DER.
pub(super) fn revocation_lists(
    files: &[Vec<u8>],
) -> Result<Vec<CertificateRevocationListDer<'static>>, super::ContextError> {
    let mut lists = Vec::new();
    for file in files {
        if file.starts_with(&[0x30]) {
            lists.push(CertificateRevocationListDer::from(file.clone()));
            continue;
        }
        let before = lists.len();
        for list in CertificateRevocationListDer::pem_slice_iter(file) {
            lists.push(list.map_err(|e| super::ContextError::RevocationListInvalid(e.to_string()))?);
        }
        if lists.len() == before {
            return Err(super::ContextError::RevocationListInvalid("there is no list in the file".into()));
        }
    }
    Ok(lists)
}

/// DNS names and URIs in a certificate, as far as they are valid.
pub(super) fn names(leaf: &CertificateDer<'_>) -> (Vec<Box<str>>, Vec<Box<str>>) {
    match webpki::EndEntityCert::try_from(leaf) {
        Ok(leaf) => {
            (leaf.valid_dns_names().map(Into::into).collect(), leaf.valid_uri_names().map(Into::into).collect())
        }
        Err(_) => (Vec::new(), Vec::new()),
    }
}

/// Seconds since 1970 within which a certificate is valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Validity {
    pub(super) not_before: u64,
    pub(super) not_after: u64,
}

impl Validity {
    /// rfc5280 4.1: SEQUENCE { SEQUENCE { [0] version?, serial, signature, issuer, SEQUENCE { notBefore, notAfter }, .. }, .. }.
    pub(super) fn read(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = element(&mut Bytes(certificate))?;
        let (_, tbs) = element(&mut Bytes(certificate))?;
        let mut tbs = Bytes(tbs);
        let (tag, _) = element(&mut tbs)?;
        if tag == 0xa0 {
            element(&mut tbs)?; // behind the version: the serial number
        }
        element(&mut tbs)?;
        element(&mut tbs)?;
        let mut validity = Bytes(element(&mut tbs)?.1);
        let not_before = time(element(&mut validity)?)?;
        Some(Self { not_before, not_after: time(element(&mut validity)?)? })
    }
}

/// A DER element: its tag and what is in it.
fn element<'a>(at: &mut Bytes<'a>) -> Option<(usize, &'a [u8])> {
    let (tag, first) = (at.u8()?, at.u8()?);
    let mut len = first;
    if first >= 0x80 {
        len = 0;
        for _ in 0x80..first {
            len = len.checked_mul(256)?.checked_add(at.u8()?)?;
        }
    }
    Some((tag, at.take(len)?))
}

/// rfc5280 4.1.2.5: UTCTime YYMMDDHHMMSSZ, where years below 50 are of this century, or GeneralizedTime YYYYMMDDHHMMSSZ.
fn time((tag, text): (usize, &[u8])) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (tag, text.len()) {
        (0x17, 12) => {
            let year: u64 = text[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        (0x18, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |i: usize| rest[2 * i..2 * i + 2].parse::<u64>().ok();
    let (month, day) = (part(0).filter(|m| (1..=12).contains(m))?, part(1)?);
    // Days since 0000-03-01, so that leap days are at a year's end; 719,468 of them before 1970.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day.checked_sub(1)?;
    Some(days.saturating_sub(719_468) * 86_400 + part(2)? * 3_600 + part(3)? * 60 + part(4)?)
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn times_are_seconds_since_1970() {
        for (tag, text, seconds) in [
            (0x17, "700101000000Z", Some(0)),
            (0x17, "491231235959Z", Some(2_524_607_999)),
            (0x18, "20000229120000Z", Some(951_825_600)),
            (0x18, "99991231235959Z", Some(253_402_300_799)),
            (0x18, "20001329120000Z", None),
            (0x17, "7001010000Z", None),
            (0x16, "700101000000Z", None),
        ] {
            assert_eq!(time((tag, text.as_bytes())), seconds, "{text}");
        }
    }

    #[test]
    fn wildcards_are_one_label() {
        for (name, pattern, covered) in [
            ("a.example.org", "a.example.org", true),
            ("A.Example.org", "a.example.org", true),
            ("a.example.org", "*.example.org", true),
            ("b.a.example.org", "*.example.org", false),
            ("example.org", "*.example.org", false),
            (".example.org", "*.example.org", false),
        ] {
            assert_eq!(is_covered(name, pattern), covered, "{name} {pattern}");
        }
    }
}
