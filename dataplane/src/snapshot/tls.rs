//! TLS as a snapshot says it: certificates and authorities by name, and who uses them how.

use super::Snapshot;
use crate::{
    limits::{TLS_AUTHORITIES_MAX, TLS_CERTIFICATES_MAX},
    tls::{self, CertificateFiles, ClientAuth, ClientAuthorities, ClientPolicy, Expect, ServerPolicy, UnknownName},
};
use rustls::{CipherSuite, NamedGroup};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    fmt,
};
use zeroize::Zeroize;

/// A certificate with its key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Certificate {
    /// Unique among certificates.
    pub name: String,
    /// The chain as PEM, the certificate itself first.
    pub chain: String,
    /// The private key as PEM.
    pub key: Key,
    /// An OCSP response (RFC 6960) that is stapled, DER.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ocsp: Vec<u8>,
}

impl Certificate {
    /// Only a name: what it stands for is put in later.
    pub fn named(name: &str) -> Self {
        Self { name: name.into(), chain: String::new(), key: Key::new(String::new()), ocsp: Vec::new() }
    }

    /// As it was read from files.
    pub fn files(&self) -> CertificateFiles {
        let (chain, key) = (self.chain.clone().into_bytes(), self.key.0.clone().into_bytes());
        CertificateFiles { chain, key, ocsp: self.ocsp.clone() }
    }
}

/// A private key. It is not printed, and its bytes are zeroed when it goes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// Of this PEM.
    pub fn new(pem: String) -> Self {
        Self(pem)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Whom to trust.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Authorities {
    /// Unique among authorities.
    pub name: String,
    /// Certificates as PEM.
    pub roots: String,
    /// What they have revoked (RFC 5280 section 5), as PEM, which may hold several lists.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub revocation_lists: String,
}

impl Authorities {
    /// Only a name: what it stands for is put in later.
    pub fn named(name: &str) -> Self {
        Self { name: name.into(), roots: String::new(), revocation_lists: String::new() }
    }

    fn of_clients(&self) -> ClientAuthorities {
        let revocation_lists = pem_blocks(&self.revocation_lists);
        ClientAuthorities { roots: self.roots.clone().into_bytes(), revocation_lists }
    }

    /// Whether a listener could use them.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), String> {
        self.of_clients().check().map_err(|e| e.to_string())
    }
}

/// Versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

impl From<TlsVersion> for tls::Version {
    fn from(version: TlsVersion) -> Self {
        match version {
            TlsVersion::Tls12 => Self::Tls12,
            TlsVersion::Tls13 => Self::Tls13,
        }
    }
}

/// What is spoken. Names of suites and groups are IANA's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct TlsPolicy {
    /// The lowest version.
    pub version_min: TlsVersion,
    /// The highest version.
    pub version_max: TlsVersion,
    /// Suites, the best first; empty: all that are sound.
    pub suites: Vec<String>,
    /// Groups, the best first; empty: X25519MLKEM768, x25519, secp256r1.
    pub groups: Vec<String>,
    /// Protocols, the best first.
    pub alpn: Vec<String>,
}

impl Default for TlsPolicy {
    fn default() -> Self {
        Self {
            version_min: TlsVersion::Tls12,
            version_max: TlsVersion::Tls13,
            suites: Vec::new(),
            groups: Vec::new(),
            alpn: Vec::new(),
        }
    }
}

/// TLS on a listener.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ListenerTls {
    /// Names of certificates; the first one serves who asks for no name, or for one that none of them covers.
    pub certificates: Vec<String>,
    /// Whether who asks for a name that no certificate covers is refused rather than shown the first one.
    #[serde(default)]
    pub refuse_unknown_names: bool,
    /// Whether clients show who they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientValidation>,
    /// What is spoken.
    #[serde(default)]
    pub policy: TlsPolicy,
    /// A handshake that takes longer ends.
    #[serde(default = "handshake")]
    pub handshake_ms: u64,
}

fn handshake() -> u64 {
    10_000
}

/// How clients show who they are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ClientValidation {
    /// The name of those who are believed.
    pub authorities: String,
    /// Whether a client without a certificate is refused.
    pub is_required: bool,
}

/// TLS to a backend's endpoints.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BackendTls {
    /// The name of those who are believed.
    pub authorities: String,
    /// The name that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// DNS names or URIs, one of which the certificate must have; empty: `sni`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The name of the certificate that we show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// What is spoken.
    #[serde(default)]
    pub policy: TlsPolicy,
}

/// Certificates and authorities of a snapshot, by name.
#[derive(Default)]
pub(crate) struct Secrets<'a> {
    certificates: HashMap<&'a str, &'a Certificate>,
    authorities: HashMap<&'a str, &'a Authorities>,
}

impl<'a> Secrets<'a> {
    /// Those of a snapshot.
    pub(crate) fn of(snapshot: &'a Snapshot) -> Self {
        let certificates = snapshot.certificates.iter().map(|it| (it.name.as_str(), it)).collect();
        let authorities = snapshot.authorities.iter().map(|it| (it.name.as_str(), it)).collect();
        Self { certificates, authorities }
    }

    fn certificate(&self, name: &str) -> Option<&'a Certificate> {
        self.certificates.get(name).copied()
    }
    fn authorities(&self, name: &str) -> Option<&'a Authorities> {
        self.authorities.get(name).copied()
    }
    fn files(&self, name: &str) -> Result<CertificateFiles, String> {
        let it = self.certificate(name).ok_or_else(|| format!("there is no certificate {name:?}"))?;
        Ok(it.files())
    }
    fn trusted(&self, name: &str) -> Result<&'a Authorities, String> {
        self.authorities(name).ok_or_else(|| format!("there are no authorities {name:?}"))
    }
}

/// Names are unique, there are not too many, and what is used is there.
///
/// # Errors
/// What is wrong.
pub(super) fn check(snapshot: &Snapshot) -> Result<(), String> {
    let Snapshot { certificates, authorities, http, tcp, backends, .. } = snapshot;
    let mut seen = HashSet::new();
    if let Some(twice) = certificates.iter().find(|it| !seen.insert(&it.name)) {
        return Err(format!("two certificates are named {:?}", twice.name));
    }
    seen.clear();
    if let Some(twice) = authorities.iter().find(|it| !seen.insert(&it.name)) {
        return Err(format!("two authorities are named {:?}", twice.name));
    }
    if certificates.len() > TLS_CERTIFICATES_MAX || authorities.len() > TLS_AUTHORITIES_MAX {
        return Err(format!("there may be {TLS_CERTIFICATES_MAX} certificates and {TLS_AUTHORITIES_MAX} authorities"));
    }
    let secrets = Secrets::of(snapshot);
    let listeners = http.iter().map(|it| (&it.name, &it.tls)).chain(tcp.iter().map(|it| (&it.name, &it.tls)));
    for (name, tls) in listeners.filter_map(|(name, tls)| Some((name, tls.as_ref()?))) {
        tls.check(&secrets).map_err(|e| format!("listener {name:?}: {e}"))?;
    }
    for (name, tls) in backends.iter().filter_map(|it| Some((&it.name, it.tls.as_ref()?))) {
        tls.check(&secrets).map_err(|e| format!("backend {name:?}: {e}"))?;
    }
    Ok(())
}

impl TlsPolicy {
    /// Names of suites that may be asked for.
    pub fn suite_names() -> impl Iterator<Item = &'static str> {
        SUITES.iter().map(|(name, _)| *name)
    }
    /// Names of groups that may be asked for.
    pub fn group_names() -> impl Iterator<Item = &'static str> {
        GROUPS.iter().map(|(name, _)| *name)
    }
    fn policy(&self) -> Result<tls::Policy, String> {
        let find = |name: &String, all: &[(&'static str, u16)]| {
            let found = all.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, number)| *number);
            found.ok_or_else(|| {
                let known: Vec<_> = all.iter().map(|(known, _)| *known).collect();
                format!("{name:?} is none of {}", known.join(", "))
            })
        };
        let suites = self.suites.iter().map(|it| find(it, SUITES).map(CipherSuite::from));
        let groups = self.groups.iter().map(|it| find(it, GROUPS).map(NamedGroup::from));
        Ok(tls::Policy {
            version_min: self.version_min.into(),
            version_max: self.version_max.into(),
            suites: suites.collect::<Result<_, _>>()?,
            groups: groups.collect::<Result<_, _>>()?,
            alpn: self.alpn.iter().map(|it| it.clone().into_bytes()).collect(),
            // A worker makes steps when it has time for them.
            offload: tls::Offload::Always,
        })
    }
}

impl ListenerTls {
    fn check(&self, secrets: &Secrets<'_>) -> Result<(), String> {
        if self.handshake_ms == 0 {
            return Err("a handshake of 0 ms leaves no time for anything".into());
        }
        self.certificates.iter().try_for_each(|name| secrets.files(name).map(|_| ()))?;
        self.clients.iter().try_for_each(|it| secrets.trusted(&it.authorities).map(|_| ()))?;
        self.policy.policy().map(|_| ())
    }

    /// What a server of it is made of.
    ///
    /// # Errors
    /// What is not there, or not known.
    pub(crate) fn policy(&self, secrets: &Secrets<'_>) -> Result<ServerPolicy, String> {
        let clients = self.clients.as_ref().map(|clients| {
            let authorities = secrets.trusted(&clients.authorities)?.of_clients();
            Ok::<_, String>(if clients.is_required {
                ClientAuth::Required(authorities)
            } else {
                ClientAuth::Optional(authorities)
            })
        });
        let files = self.certificates.iter().map(|name| Ok((secrets.files(name)?, Vec::new())));
        Ok(ServerPolicy {
            policy: self.policy.policy()?,
            certificates: files.collect::<Result<_, String>>()?,
            unknown_name: if self.refuse_unknown_names { UnknownName::Refuse } else { UnknownName::First },
            client_auth: clients.transpose()?.unwrap_or(ClientAuth::None),
            tickets: None,
        })
    }

    /// Whether what it names is the same in both.
    pub(crate) fn is_same(&self, before: &Secrets<'_>, now: &Secrets<'_>) -> bool {
        let authorities = self.clients.as_ref().map(|it| it.authorities.as_str());
        self.certificates.iter().all(|name| before.certificate(name) == now.certificate(name))
            && authorities.is_none_or(|name| before.authorities(name) == now.authorities(name))
    }
}

impl BackendTls {
    fn check(&self, secrets: &Secrets<'_>) -> Result<(), String> {
        self.policy(secrets).map(|_| ())
    }

    /// What a client of it is made of.
    ///
    /// # Errors
    /// What is not there, or not known.
    pub(crate) fn policy(&self, secrets: &Secrets<'_>) -> Result<ClientPolicy, String> {
        let roots = secrets.trusted(&self.authorities)?.roots.clone().into_bytes();
        let (uris, names): (Vec<_>, Vec<_>) = self.names.iter().cloned().partition(|name| name.contains("://"));
        let expect = match &self.sni {
            Some(sni) if self.names.is_empty() => Expect::Name(sni.clone()),
            None if self.names.is_empty() => {
                return Err("neither sni nor names say which server is to be believed".into());
            }
            _ => Expect::AnyOf { names, uris },
        };
        Ok(ClientPolicy {
            policy: self.policy.policy()?,
            roots,
            sni: self.sni.clone(),
            expect,
            certificate: self.certificate.as_ref().map(|name| secrets.files(name)).transpose()?,
        })
    }

    /// Whether those who are believed are the same in both: connections that were made to others are not used for one another.
    pub(crate) fn trusts_same(&self, before: &Secrets<'_>, now: &Secrets<'_>) -> bool {
        before.authorities(&self.authorities) == now.authorities(&self.authorities)
    }
    /// Whether everything that it names is the same in both.
    pub(crate) fn is_same(&self, before: &Secrets<'_>, now: &Secrets<'_>) -> bool {
        let certificate = self.certificate.as_deref();
        self.trusts_same(before, now)
            && certificate.is_none_or(|name| before.certificate(name) == now.certificate(name))
    }
}

/// Each block of a PEM text by itself.
fn pem_blocks(text: &str) -> Vec<Vec<u8>> {
    let ends = text.match_indices("-----END ").map(|(at, _)| text[at..].find('\n').map_or(text.len(), |n| at + n + 1));
    let mut begin = 0;
    let block = |end| {
        let block = text.as_bytes()[begin..end].to_vec();
        begin = end;
        block
    };
    ends.map(block).collect()
}

/// Suites that may be asked for, by IANA's names and numbers.
const SUITES: &[(&str, u16)] = &[
    ("TLS_AES_128_GCM_SHA256", 0x1301),
    ("TLS_AES_256_GCM_SHA384", 0x1302),
    ("TLS_CHACHA20_POLY1305_SHA256", 0x1303),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", 0xc02b),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", 0xc02c),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", 0xc02f),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", 0xc030),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", 0xcca8),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", 0xcca9),
];

/// The same of groups.
const GROUPS: &[(&str, u16)] =
    &[("X25519MLKEM768", 0x11ec), ("x25519", 0x001d), ("secp256r1", 0x0017), ("secp384r1", 0x0018)];
