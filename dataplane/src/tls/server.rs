//! What a server is configured with.

use super::{
    Certificate, Clock, ContextError, Offload, Policy, TicketKeys,
    certificate::{self, CertificateError, CertificateFiles},
    tickets::Ticketer,
};
use rustls::{
    KeyLog, ServerConfig, SignatureAlgorithm,
    crypto::CryptoProvider,
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
};
use std::{collections::HashMap, sync::Arc};

/// What a server's context is made of.
pub struct ServerPolicy {
    /// Versions, suites, groups and protocols.
    pub policy: Policy,
    /// Certificates, and the names that each is for: exact, or `*.` and a domain. Without names, those in the certificate. Several may have the same
    /// name: the client's signature schemes choose.
    pub certificates: Vec<(CertificateFiles, Vec<String>)>,
    /// What a client gets that asks for no name, or one that no certificate is for.
    pub unknown_name: UnknownName,
    /// Whether clients are asked for certificates.
    pub client_auth: ClientAuth,
    /// Keys of resumption; without, nothing is resumed.
    pub tickets: Option<TicketKeys>,
}

/// What a client gets that asks for no name, or an unknown one.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum UnknownName {
    /// The first certificate, and those with the same names.
    #[default]
    First,
    /// An alert.
    Refuse,
}

/// Whether clients show certificates.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// They are asked; who has none is nobody, who has a bad one is refused.
    Optional(ClientAuthorities),
    /// Who has none is refused.
    Required(ClientAuthorities),
}

/// Whom clients' certificates come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientAuthorities {
    /// PEM: authorities.
    pub roots: Vec<u8>,
    /// Revocation lists, PEM or DER. If there is any, each issuer of clients' certificates must have one that still holds, as with other gateways.
    pub revocation_lists: Vec<Vec<u8>>,
}

impl ClientAuthorities {
    /// Whether clients could be judged by them.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), ContextError> {
        verifier(&ClientAuth::Required(self.clone()), &super::provider()).map(|_| ())
    }
}

/// A server's configuration, ready for handshakes. Immutable; a change is a new context, and sessions finish on theirs.
pub struct ServerContext {
    config: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
    provider: Arc<CryptoProvider>,
    clock: Clock,
    offload: Offload,
    /// Tickets of another policy are not taken: they would bring a client past this one's.
    fingerprint: [u8; 32],
}

impl ServerContext {
    /// Checks and compiles. The clock must have been set.
    pub fn new(policy: &ServerPolicy, provider: &CryptoProvider, clock: &Clock) -> Result<Arc<Self>, ContextError> {
        let (provider, versions) = policy.policy.apply(provider)?;
        let provider = Arc::new(provider);
        let resolver = Arc::new(Resolver::new(policy, &provider)?);
        let unusable = |e: rustls::Error| ContextError::PolicyUnusable(e.to_string());
        let builder = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(clock.clone()))
            .with_protocol_versions(&versions)
            .map_err(unusable)?
            .with_client_cert_verifier(verifier(&policy.client_auth, &provider)?);
        let mut config = builder.with_cert_resolver(Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = alpn(&policy.policy)?;
        config.enable_secret_extraction = true;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        config.send_tls13_tickets = 0;
        let fingerprint = fingerprint(&policy.client_auth);
        let offload = policy.policy.offload;
        let context = Self { config: Arc::new(config), resolver, provider, clock: clock.clone(), offload, fingerprint };
        Ok(match &policy.tickets {
            Some(keys) => context.with_tickets(keys),
            None => Arc::new(context),
        })
    }

    /// The same with other keys for tickets.
    pub fn with_tickets(&self, keys: &TicketKeys) -> Arc<Self> {
        let ticketer = Ticketer::new(keys, self.fingerprint, self.provider.secure_random, &self.clock);
        let mut config = ServerConfig::clone(&self.config);
        config.ticketer = Arc::new(ticketer);
        // One is what resumption takes; a second serves browsers that open connections side by side and may use each ticket once only.
        config.send_tls13_tickets = 2;
        self.with_config(config)
    }

    /// The same, and secrets are told to `log`: whoever reads them reads all traffic. For debugging.
    pub fn with_key_log(&self, log: Arc<dyn KeyLog>) -> Arc<Self> {
        let mut config = ServerConfig::clone(&self.config);
        config.key_log = log;
        self.with_config(config)
    }

    fn with_config(&self, config: ServerConfig) -> Arc<Self> {
        Arc::new(Self {
            config: Arc::new(config),
            resolver: Arc::clone(&self.resolver),
            provider: Arc::clone(&self.provider),
            clock: self.clock.clone(),
            offload: self.offload,
            fingerprint: self.fingerprint,
        })
    }

    /// Whether a connection made for `sni` may be asked for `host` (RFC 9110 section 15.5.20): a certificate that the client may have seen covers it.
    pub fn covers(&self, sni: Option<&str>, host: &str) -> bool {
        self.resolver.candidates(sni).is_some_and(|c| c.iter().any(|certificate| certificate.covers(host)))
    }
    /// All certificates, in the order in which they were given.
    pub fn certificates(&self) -> &[Certificate] {
        &self.resolver.all
    }

    pub(super) fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }
    pub(super) fn offload(&self) -> Offload {
        self.offload
    }
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }
    /// Whether there is a certificate for this name.
    pub(super) fn serves(&self, sni: Option<&str>) -> bool {
        self.resolver.candidates(sni).is_some()
    }
    /// Whether a handshake for this name would sign with an RSA key. A resumed one would not; nobody knows before.
    pub(super) fn signs_with_rsa(&self, sni: Option<&str>, takes_ec: bool) -> bool {
        let Some(candidates) = self.resolver.candidates(sni) else { return false };
        let first = candidates.iter().find(|certificate| takes_ec || certificate.is_rsa());
        first.is_some_and(Certificate::is_rsa)
    }
}

pub(super) fn alpn(policy: &Policy) -> Result<Vec<Vec<u8>>, ContextError> {
    let is_valid = |name: &Vec<u8>| (1..=255).contains(&name.len());
    if policy.alpn.iter().all(is_valid) { Ok(policy.alpn.clone()) } else { Err(ContextError::AlpnInvalid) }
}

fn verifier(auth: &ClientAuth, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, ContextError> {
    let (authorities, is_required) = match auth {
        ClientAuth::None => return Ok(WebPkiClientVerifier::no_client_auth()),
        ClientAuth::Optional(authorities) => (authorities, false),
        ClientAuth::Required(authorities) => (authorities, true),
    };
    let roots = Arc::new(certificate::roots(&authorities.roots)?);
    let lists = certificate::revocation_lists(&authorities.revocation_lists)?;
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
        .with_crls(lists)
        .only_check_end_entity_revocation()
        .enforce_revocation_expiration();
    if !is_required {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|e| ContextError::RevocationListInvalid(e.to_string()))
}

/// What a resumed session skips: tickets carry the client's certificate, which is not verified again.
fn fingerprint(auth: &ClientAuth) -> [u8; 32] {
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut add = |bytes: &[u8]| {
        digest.update(&(bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    let (kind, authorities) = match auth {
        ClientAuth::None => (0, None),
        ClientAuth::Optional(authorities) => (1, Some(authorities)),
        ClientAuth::Required(authorities) => (2, Some(authorities)),
    };
    add(&[kind]);
    if let Some(authorities) = authorities {
        add(&authorities.roots);
        authorities.revocation_lists.iter().for_each(|list| add(list));
    }
    digest.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Certificates by name: exact, then the wildcard of one label, then the first one's.
#[derive(Debug)]
struct Resolver {
    all: Vec<Certificate>,
    by_name: HashMap<Box<str>, Vec<Certificate>, ahash::RandomState>,
    default: Option<Vec<Certificate>>,
}

impl Resolver {
    fn new(policy: &ServerPolicy, provider: &CryptoProvider) -> Result<Self, ContextError> {
        // Names come from the operator, not from the network: the seed may be known.
        let mut by_name =
            HashMap::<Box<str>, Vec<Certificate>, _>::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4));
        let mut all = Vec::new();
        let mut first_names = Vec::new();
        for (index, (files, names)) in policy.certificates.iter().enumerate() {
            let wrong = |why| ContextError::Certificate(index, why);
            let certificate = Certificate::read_undated(files, provider).map_err(wrong)?;
            let given: Vec<Box<str>> = names.iter().map(|name| name.to_ascii_lowercase().into()).collect();
            if let Some(name) = given.iter().find(|name| !is_for(&certificate, name)) {
                return Err(wrong(CertificateError::NameMissing(name.to_string())));
            }
            let own = certificate.dns_names.iter().map(|name| name.to_ascii_lowercase().into());
            let served = if given.is_empty() { own.collect() } else { given };
            if index == 0 {
                first_names.clone_from(&served);
            }
            for name in served {
                by_name.entry(name).or_default().push(certificate.clone());
            }
            all.push(certificate);
        }
        let Some(first) = all.first() else { return Err(ContextError::NoCertificates) };
        by_name.values_mut().for_each(|certificates| sort(certificates));
        let default = match policy.unknown_name {
            UnknownName::Refuse => None,
            // An ECDSA and an RSA certificate for the same name are one choice.
            UnknownName::First => Some(first_names.first().map_or(vec![first.clone()], |name| by_name[name].clone())),
        };
        Ok(Self { all, by_name, default })
    }

    /// Those for a name, the best first.
    fn candidates(&self, sni: Option<&str>) -> Option<&Vec<Certificate>> {
        let found = sni.and_then(|name| {
            let wildcard = || {
                let (_, domain) = name.split_once('.')?;
                self.by_name.get(format!("*.{domain}").as_str())
            };
            self.by_name.get(name).or_else(wildcard)
        });
        found.or(self.default.as_ref())
    }
}

/// A wildcard is for a wildcard; a name is for what covers it.
fn is_for(certificate: &Certificate, name: &str) -> bool {
    certificate.dns_names.iter().any(|own| own.eq_ignore_ascii_case(name)) || certificate.covers(name)
}

/// ECDSA before EdDSA, which fewer can read, before RSA, which costs twenty times as much.
fn sort(certificates: &mut [Certificate]) {
    certificates.sort_by_key(|certificate| match certificate.key.key.algorithm() {
        SignatureAlgorithm::ECDSA => 0,
        SignatureAlgorithm::ED25519 | SignatureAlgorithm::ED448 => 1,
        _ => 2,
    });
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let sni = hello.server_name().map(str::to_ascii_lowercase);
        let candidates = self.candidates(sni.as_deref())?;
        let suites = hello.cipher_suites();
        let is_tls13 = suites.iter().any(|suite| u16::from(*suite) >> 8 == 0x13);
        // In TLS 1.2 the suite says how the server signs (rfc8422 2): a client may read ECDSA and have no such suite.
        let takes = |algorithm: SignatureAlgorithm| {
            let is_rsa = |suite: u16| matches!(suite, 0xc02f | 0xc030 | 0xcca8);
            let is_ecdsa = |suite: u16| matches!(suite, 0xc02b | 0xc02c | 0xcca9);
            let wanted =
                |suite: u16| if algorithm == SignatureAlgorithm::RSA { is_rsa(suite) } else { is_ecdsa(suite) };
            is_tls13 || suites.iter().any(|suite| wanted(u16::from(*suite)))
        };
        let schemes = hello.signature_schemes();
        let fits = |c: &&Certificate| takes(c.key.key.algorithm()) && c.key.key.choose_scheme(schemes).is_some();
        // Without any that fits rustls says what is missing.
        candidates.iter().find(fits).or(candidates.first()).map(|certificate| Arc::clone(&certificate.key))
    }
}
