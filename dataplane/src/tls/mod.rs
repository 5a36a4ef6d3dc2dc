//! TLS 1.2 and 1.3 for both sides of a connection, sans-io.
//!
//! ```text
//!            handshake                                   afterwards
//!   frames -> handshake -> rustls (unbuffered)           frames -> receive -> record::Open -> plaintext frames
//!                |  secrets, a small KernelConnection       ^ KeyUpdate, tickets, alerts
//!                +--------------------------------------->  sealing <- record::Seal <- plaintext frames
//! ```
//!
//! rustls makes the handshake and nothing else. Its `kernel` interface, made for kernel TLS, then gives both directions' secrets with their
//! sequence numbers, and a small object that derives the next secrets for KeyUpdate and takes tickets. How that fits together:
//!
//! * Everything rustls wants to send is drained first, a server's tickets too (it makes them when it takes the client's Finished), so the
//!   sequence number that we go on with counts them.
//! * rustls is fed one whole record at a time, and is let go of as soon as it is not handshaking any more. So nothing behind the peer's
//!   Finished has reached it: what came in the same bytes is opened by us, from record 0 (TLS 1.3) or 1 (TLS 1.2).
//! * 0-RTT is off on both sides: nothing is offered or taken before the handshake is over.
//! * A TLS 1.3 server may write before the client's Finished (rustls says `WriteTraffic`); we do not, and wait until both may.
//! * The exporter and what rustls knew of the handshake end there; what anybody may want to know is in [`Info`].
//!
//! Why not all of rustls: its records cost an allocation each and are never opened where they lie, and its connection keeps kilobytes while it is
//! idle. An idle session here is two cipher contexts, the secrets for KeyUpdate, and [`Info`].
//!
//! [`Session`] is the core. [`ServerContext`] and [`ClientContext`] are what it is configured with; [`Room`] is the worker's memory;
//! [`hello`] reads a ClientHello without a handshake, for those who pass TLS through.

mod certificate;
mod client;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod handshake;
pub mod hello;
mod receive;
pub mod record;
mod refusal;
mod refused;
mod room;
mod sealing;
#[cfg(any(test, fuzzing))]
pub mod seeded;
mod server;
mod session;
mod tickets;
mod verify;

#[cfg(test)]
mod tests;

pub use certificate::{Certificate, CertificateError, CertificateFiles};
pub use client::{ClientContext, ClientPolicy, Expect};
pub use handshake::{Done, Work};
pub use record::Version;
pub use refusal::TlsRefusal;
pub use refused::TlsRefused;
pub use room::Room;
pub use server::{ClientAuth, ClientAuthorities, ServerContext, ServerPolicy, UnknownName};
pub use session::{Event, Session};
pub use tickets::{TicketKey, TicketKeys};

use rustls::{
    CipherSuite, NamedGroup,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::UnixTime,
    time_provider::TimeProvider,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The wall's time, which the loop sets and handshakes read. Clones are the same clock.
#[derive(Clone, Default, Debug)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    /// It is so many seconds after the beginning of 1970.
    pub fn set(&self, unix_seconds: u64) {
        self.0.store(unix_seconds, Ordering::Relaxed);
    }
    /// What was said last.
    pub fn unix_seconds(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = self.unix_seconds();
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

/// The ciphers, groups and randomness of production.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// When a handshake's next step is given away by [`Session::poll_work`] instead of being made at once.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Offload {
    /// Never.
    Never,
    /// When it may sign with an RSA key of ours (2048 bits: half a millisecond; P-256 takes 20 us).
    #[default]
    Rsa,
    /// Always.
    Always,
}

/// What versions, suites and groups a context takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// The lowest version.
    pub version_min: Version,
    /// The highest version.
    pub version_max: Version,
    /// Suites, the best first; empty: those of the provider.
    pub suites: Vec<CipherSuite>,
    /// Groups, the best first; empty: X25519MLKEM768, X25519, P-256.
    pub groups: Vec<NamedGroup>,
    /// Protocols, the best first (RFC 7301); empty: none is agreed on.
    pub alpn: Vec<Vec<u8>>,
    /// Which steps are given away.
    pub offload: Offload,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            version_min: Version::Tls12,
            version_max: Version::Tls13,
            suites: Vec::new(),
            groups: Vec::new(),
            alpn: Vec::new(),
            offload: Offload::default(),
        }
    }
}

impl Policy {
    /// The provider with these suites and groups, and the versions.
    fn apply(
        &self,
        provider: &CryptoProvider,
    ) -> Result<(CryptoProvider, Vec<&'static rustls::SupportedProtocolVersion>), ContextError> {
        let mut provider = provider.clone();
        if !self.suites.is_empty() {
            let find = |suite: &CipherSuite| provider.cipher_suites.iter().find(|s| s.suite() == *suite).copied();
            let suites = self.suites.iter().map(|s| find(s).ok_or(ContextError::SuiteUnknown(*s)));
            provider.cipher_suites = suites.collect::<Result<_, _>>()?;
        }
        let default = [NamedGroup::X25519MLKEM768, NamedGroup::X25519, NamedGroup::secp256r1];
        let groups = if self.groups.is_empty() { &default[..] } else { &self.groups };
        let find = |group: &NamedGroup| provider.kx_groups.iter().find(|g| g.name() == *group).copied();
        let mut found = Vec::new();
        for group in groups {
            match find(group) {
                Some(group) => found.push(group),
                // A provider of tests may have fewer.
                None if self.groups.is_empty() => {}
                None => return Err(ContextError::GroupUnknown(*group)),
            }
        }
        provider.kx_groups = found;
        let versions = match (self.version_min, self.version_max) {
            (Version::Tls12, Version::Tls12) => vec![&rustls::version::TLS12],
            (Version::Tls12, Version::Tls13) => vec![&rustls::version::TLS13, &rustls::version::TLS12],
            (Version::Tls13, Version::Tls13) => vec![&rustls::version::TLS13],
            (Version::Tls13, Version::Tls12) => return Err(ContextError::VersionsEmpty),
        };
        Ok((provider, versions))
    }
}

/// Why no context can be made of what was given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ContextError {
    /// The lowest version is above the highest.
    VersionsEmpty,
    /// A suite that the provider does not have.
    SuiteUnknown(CipherSuite),
    /// A group that the provider does not have.
    GroupUnknown(NamedGroup),
    /// Versions, suites and groups that cannot be together; in rustls's words.
    PolicyUnusable(String),
    /// A server without certificates.
    NoCertificates,
    /// One of them, by its number.
    Certificate(usize, CertificateError),
    /// A protocol's name that is empty or longer than 255 bytes.
    AlpnInvalid,
    /// A bundle of authorities without any that can be read.
    RootsEmpty,
    /// An authority that cannot be read; in rustls's words.
    RootInvalid(String),
    /// A revocation list that cannot be read, or is of nobody.
    RevocationListInvalid(String),
    /// What is neither a DNS name nor an IP address.
    NameInvalid(String),
    /// Nothing that the server's certificate is to say.
    ExpectsNothing,
}

impl std::fmt::Display for ContextError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::VersionsEmpty => write!(f, "the lowest TLS version is above the highest"),
            Self::SuiteUnknown(suite) => write!(f, "cipher suite {suite:?} is not supported"),
            Self::GroupUnknown(group) => write!(f, "group {group:?} is not supported"),
            Self::PolicyUnusable(why) => write!(f, "versions, suites and groups do not go together: {why}"),
            Self::NoCertificates => write!(f, "a server needs a certificate"),
            Self::Certificate(index, why) => write!(f, "certificate {index}: {why}"),
            Self::AlpnInvalid => write!(f, "a protocol's name has 1 to 255 bytes"),
            Self::RootsEmpty => write!(f, "the bundle has no certificate of an authority"),
            Self::RootInvalid(why) => write!(f, "a certificate of an authority cannot be read: {why}"),
            Self::RevocationListInvalid(why) => write!(f, "a revocation list cannot be read: {why}"),
            Self::NameInvalid(name) => write!(f, "{name:?} is neither a DNS name nor an IP address"),
            Self::ExpectsNothing => write!(f, "nothing says which server is to be trusted: give a name or a URI"),
        }
    }
}

impl std::error::Error for ContextError {}

/// What the handshake came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Info {
    /// The version.
    pub version: Version,
    /// The suite.
    pub suite: CipherSuite,
    /// The group of the key exchange; a resumed TLS 1.2 session has none.
    pub group: Option<NamedGroup>,
    /// The protocol.
    pub alpn: Option<Box<[u8]>>,
    /// The name that the client asked for, in lower case.
    pub sni: Option<Box<str>>,
    /// The session goes on from an earlier one.
    pub is_resumed: bool,
    /// Who the peer has shown to be.
    pub peer: Option<Box<Peer>>,
}

/// A peer's certificate, which was verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// The certificate itself, without those above it.
    pub leaf: Box<[u8]>,
    /// DNS names in it.
    pub dns_names: Vec<Box<str>>,
    /// URIs in it; one with the scheme `spiffe` is a workload's identity.
    pub uris: Vec<Box<str>>,
}
