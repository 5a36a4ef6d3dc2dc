//! Certificates and authorities as they are on disk: read, checked as the data plane checks them, and what they say. No word of a private key is in
//! anything that is told.

use crate::config::{Material, Secret, SecretSource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    fmt, fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt,
    path::Path,
};
use weirgate_dataplane::{
    snapshot::{Authorities, Certificate, Key},
    tls::{self, CertificateError},
};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, pem::Pem, prelude::FromDer, public_key::PublicKey,
    revocation_list::CertificateRevocationList, x509::SubjectPublicKeyInfo,
};

/// Bytes of one file; lists of what is revoked are the longest.
const FILE_MAX: u64 = 16 << 20;

/// What a secret stands for, and what that says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// For the data plane.
    pub material: Material,
    /// For people.
    pub facts: Facts,
}

/// What a certificate says, or authorities and their lists.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Facts {
    /// The certificate that is shown; `None`: there are only authorities.
    pub certificate: Option<Said>,
    /// Authorities.
    pub authorities: Vec<Said>,
    /// Until when each list of what is revoked holds, in seconds since 1970; `None`: it does not say.
    pub lists: Vec<Option<u64>>,
}

/// What one certificate says.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Said {
    /// Names that it is for; of an authority, its own.
    pub names: Vec<String>,
    /// Who has signed it.
    pub issuer: String,
    /// Its number, in hexadecimal digits.
    pub serial: String,
    /// The first second in which it holds, since 1970.
    pub not_before: u64,
    /// The last one.
    pub not_after: u64,
    /// The kind of its key, such as `ECDSA P-256`.
    pub key: String,
}

impl Loaded {
    /// With what it says.
    pub fn new(material: Material) -> Self {
        Self { facts: Facts::of(&material), material }
    }
}

/// Why what is there cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unusable {
    /// A word for programs.
    pub reason: Reason,
    /// A sentence for people.
    pub message: String,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Why what is there cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// A file is not there, or cannot be read.
    Unreadable,
    /// A file is not what it should be, or only a part of it.
    Invalid,
    /// The key is another certificate's.
    Mismatch,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// The data plane refuses it.
    Refused,
    /// It cannot be noted in the audit log.
    Unnoted,
}

/// Reads a secret's files, and checks them as the data plane does. `now` is in seconds since 1970.
///
/// # Errors
/// Why they cannot be used. For what came within a document there are none.
pub fn read(secret: &Secret, now: u64) -> Result<Loaded, Unusable> {
    let name = &secret.name;
    let material = match &secret.source {
        SecretSource::Certificate { cert, key, ocsp } => {
            let ocsp = ocsp.as_deref().map(bytes_of).transpose()?.unwrap_or_default();
            let (chain, key) = (text_of(cert)?, Key::new(text_of(key)?));
            Material { certificate: Some(Certificate { name: name.clone(), chain, key, ocsp }), authorities: None }
        }
        SecretSource::Authorities { ca, crl } => {
            let revocation_lists = crl.as_deref().map(text_of).transpose()?.unwrap_or_default();
            let authorities = Authorities { name: name.clone(), roots: text_of(ca)?, revocation_lists };
            Material { certificate: None, authorities: Some(authorities) }
        }
        SecretSource::Document { .. } => {
            let message = "it came within a document, and that is not kept: apply its files again".into();
            return Err(Unusable { reason: Reason::Unreadable, message });
        }
    };
    check(&material, now)?;
    Ok(Loaded::new(material))
}

/// Whether the data plane could use it now.
///
/// # Errors
/// Why not.
pub fn check(material: &Material, now: u64) -> Result<(), Unusable> {
    if let Some(certificate) = &material.certificate {
        let files = certificate.files();
        // rfc6960 4.2.1: an OCSPResponse is a SEQUENCE.
        if !files.ocsp.is_empty() && files.ocsp[0] != 0x30 {
            let message = "the OCSP response is not DER".into();
            return Err(Unusable { reason: Reason::Invalid, message });
        }
        tls::Certificate::read(&files, &tls::provider(), now)?;
    }
    if let Some(authorities) = &material.authorities {
        if !authorities.revocation_lists.is_empty()
            && !authorities.revocation_lists.contains("-----BEGIN X509 CRL-----")
        {
            let message = "there is no revocation list in the file; is it PEM?".into();
            return Err(Unusable { reason: Reason::Invalid, message });
        }
        authorities.check().map_err(|message| Unusable { reason: Reason::Invalid, message })?;
    }
    Ok(())
}

impl From<CertificateError> for Unusable {
    fn from(error: CertificateError) -> Self {
        let (reason, message) = match &error {
            CertificateError::Expired(at) => (Reason::Expired, format!("the certificate expired at {}", time(*at))),
            CertificateError::NotYetValid(at) => {
                (Reason::NotYetValid, format!("the certificate is valid from {} on", time(*at)))
            }
            CertificateError::KeyMismatch => (Reason::Mismatch, error.to_string()),
            _ => (Reason::Invalid, error.to_string()),
        };
        Self { reason, message }
    }
}

/// What is worth saying about files that can be used: private keys that others may read.
pub fn warnings(secret: &Secret) -> Vec<String> {
    let SecretSource::Certificate { key, .. } = &secret.source else { return Vec::new() };
    let mode = fs::metadata(key).map_or(0, |it| it.mode() & 0o777);
    let open = mode & 0o077 != 0;
    let key = key.display();
    open.then(|| format!("others may read or write the private key {key} (mode {mode:04o}): chmod 600 {key}"))
        .into_iter()
        .collect()
}

/// Seconds since 1970 as RFC 3339 has them.
pub fn time(seconds: u64) -> String {
    let text = crate::daemon::clock::rfc3339(seconds.saturating_mul(1_000));
    text.replace(".000Z", "Z")
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, Unusable> {
    let unreadable = |why: String| Unusable {
        reason: Reason::Unreadable,
        message: format!("{} cannot be read: {why}", path.display()),
    };
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| {
        // A pipe would be waited for.
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        file.take(FILE_MAX + 1).read_to_end(&mut bytes)
    });
    match read {
        Err(error) => Err(unreadable(error.to_string())),
        Ok(_) if bytes.len() as u64 > FILE_MAX => Err(unreadable(format!("it has more than {FILE_MAX} bytes"))),
        Ok(_) => Ok(bytes),
    }
}

fn text_of(path: &Path) -> Result<String, Unusable> {
    String::from_utf8(bytes_of(path)?)
        .map_err(|_| Unusable { reason: Reason::Invalid, message: format!("{} is not PEM", path.display()) })
}

impl Facts {
    /// What it says, as far as it can be read.
    pub fn of(material: &Material) -> Self {
        let chain = material.certificate.as_ref().map(|it| it.chain.as_str()).unwrap_or_default();
        let certificate = material.certificate.as_ref().and_then(|_| all_of(chain, false).into_iter().next());
        let (roots, lists) = material.authorities.as_ref().map_or(("", ""), |it| (&it.roots, &it.revocation_lists));
        let lists = Pem::iter_from_buffer(lists.as_bytes()).filter_map(Result::ok).filter_map(|pem| {
            let (_, list) = CertificateRevocationList::from_der(&pem.contents).ok()?;
            Some(list.next_update().and_then(|at| u64::try_from(at.timestamp()).ok()))
        });
        Self { certificate, authorities: all_of(roots, true), lists: lists.collect() }
    }

    /// The last second in which all of it holds, and what ends then. Of authorities the last one counts: those before it are replaced by it.
    pub fn not_after(&self) -> Option<u64> {
        let authorities = self.authorities.iter().map(|it| it.not_after).max();
        self.certificate.as_ref().map(|it| it.not_after).or(authorities)
    }

    /// Until when the first list holds that ends.
    pub fn next_update(&self) -> Option<u64> {
        self.lists.iter().flatten().min().copied()
    }
}

fn all_of(pem: &str, is_authority: bool) -> Vec<Said> {
    let blocks = Pem::iter_from_buffer(pem.as_bytes()).filter_map(Result::ok).filter(|it| it.label == "CERTIFICATE");
    blocks.filter_map(|pem| Some(Said::of(&X509Certificate::from_der(&pem.contents).ok()?.1, is_authority))).collect()
}

impl Said {
    fn of(certificate: &X509Certificate<'_>, is_authority: bool) -> Self {
        let seconds = |at: x509_parser::time::ASN1Time| u64::try_from(at.timestamp()).unwrap_or(0);
        let others = certificate.subject_alternative_name().ok().flatten();
        let mut names: Vec<String> = others.iter().flat_map(|it| &it.value.general_names).filter_map(name_of).collect();
        if names.is_empty() || is_authority {
            names = vec![printable(&certificate.subject().to_string())];
        }
        Self {
            names,
            issuer: printable(&certificate.issuer().to_string()),
            serial: certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
            not_before: seconds(certificate.validity().not_before),
            not_after: seconds(certificate.validity().not_after),
            key: key_of(certificate.public_key()),
        }
    }
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) => Some(printable(name)),
        GeneralName::IPAddress([a, b, c, d]) => Some(std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string()),
        GeneralName::IPAddress(bytes) => {
            <[u8; 16]>::try_from(*bytes).ok().map(|it| std::net::Ipv6Addr::from(it).to_string())
        }
        _ => None,
    }
}

/// It is shown on terminals.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn key_of(key: &SubjectPublicKeyInfo<'_>) -> String {
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => format!("RSA {}", rsa.key_size()),
        Ok(PublicKey::EC(point)) => format!("ECDSA P-{}", if point.key_size() > 512 { 521 } else { point.key_size() }),
        _ if key.algorithm.algorithm.to_id_string() == "1.3.101.112" => "Ed25519".into(),
        _ => key.algorithm.algorithm.to_id_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
