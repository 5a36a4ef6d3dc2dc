//! What a client, towards an upstream, is configured with.

use super::{
    Certificate, Clock, ContextError, Offload, Policy,
    certificate::{self, CertificateFiles},
    server::alpn,
    verify::ServerVerifier,
};
use crate::limits::TLS_RESUMPTIONS_MAX;
use rustls::{
    ClientConfig, KeyLog, SignatureScheme,
    client::{ClientSessionMemoryCache, ResolvesClientCert, Resumption},
    crypto::CryptoProvider,
    pki_types::ServerName,
    sign::CertifiedKey,
};
use std::sync::Arc;

/// What a client's context is made of.
pub struct ClientPolicy {
    /// Versions, suites, groups and protocols.
    pub policy: Policy,
    /// PEM: authorities that servers are trusted by.
    pub roots: Vec<u8>,
    /// The name that is asked for (SNI); an IP address, or nothing, asks for none.
    pub sni: Option<String>,
    /// What the server's certificate must say.
    pub expect: Expect,
    /// Our own certificate, for servers that ask.
    pub certificate: Option<CertificateFiles>,
}

/// What a server's certificate must say, apart from coming from an authority.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expect {
    /// This DNS name or IP address.
    Name(String),
    /// One of these DNS names, or one of these URIs (SPIFFE: `spiffe://trust-domain/path`), whatever name was asked for.
    AnyOf {
        /// DNS names or IP addresses.
        names: Vec<String>,
        /// URIs, compared byte by byte.
        uris: Vec<String>,
    },
}

/// A client's configuration with its own store of sessions to resume. Make one for each worker, so that nobody waits for the store.
pub struct ClientContext {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    sni: Option<Box<str>>,
    offload: Offload,
    is_rsa: bool,
}

impl ClientContext {
    /// Checks and compiles. The clock must have been set.
    pub fn new(policy: &ClientPolicy, provider: &CryptoProvider, clock: &Clock) -> Result<Arc<Self>, ContextError> {
        let (provider, versions) = policy.policy.apply(provider)?;
        let provider = Arc::new(provider);
        let own = match &policy.certificate {
            Some(files) => {
                Some(Certificate::read_undated(files, &provider).map_err(|why| ContextError::Certificate(0, why))?)
            }
            None => None,
        };
        let is_rsa = own.as_ref().is_some_and(Certificate::is_rsa);
        let verifier = ServerVerifier::new(certificate::roots(&policy.roots)?, &policy.expect, &provider)?;
        let sni = policy.sni.as_deref().map(server_name).transpose()?;
        // rustls names its sessions so; without a name to ask for, any will do, since a context is for one upstream.
        let is_named = matches!(sni, Some(ServerName::DnsName(_)));
        let name = sni.unwrap_or_else(|| ServerName::try_from("upstream.invalid").expect("a DNS name"));
        let unusable = |e: rustls::Error| ContextError::PolicyUnusable(e.to_string());
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(clock.clone()))
            .with_protocol_versions(&versions)
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(Own(own.map(|certificate| certificate.key))));
        config.alpn_protocols = alpn(&policy.policy)?;
        config.enable_secret_extraction = true;
        config.enable_sni = is_named;
        config.enable_early_data = false;
        config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(TLS_RESUMPTIONS_MAX)));
        let sni = match &name {
            ServerName::DnsName(name) if is_named => Some(name.to_lowercase_owned().as_ref().into()),
            _ => None,
        };
        Ok(Arc::new(Self { config: Arc::new(config), name, sni, offload: policy.policy.offload, is_rsa }))
    }

    /// The same, and secrets are told to `log`: whoever reads them reads all traffic. For debugging. The store of sessions is shared.
    pub fn with_key_log(&self, log: Arc<dyn KeyLog>) -> Arc<Self> {
        let mut config = ClientConfig::clone(&self.config);
        config.key_log = log;
        let (name, sni) = (self.name.clone(), self.sni.clone());
        Arc::new(Self { config: Arc::new(config), name, sni, offload: self.offload, is_rsa: self.is_rsa })
    }

    pub(super) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }
    pub(super) fn name(&self) -> &ServerName<'static> {
        &self.name
    }
    pub(super) fn sni(&self) -> Option<Box<str>> {
        self.sni.clone()
    }
    pub(super) fn offload(&self) -> Offload {
        self.offload
    }
    pub(super) fn signs_with_rsa(&self) -> bool {
        self.is_rsa
    }
}

pub(super) fn server_name(name: &str) -> Result<ServerName<'static>, ContextError> {
    ServerName::try_from(name.to_owned()).map_err(|_| ContextError::NameInvalid(name.to_owned()))
}

/// Our certificate, if we have one and the server can read its signatures.
#[derive(Debug)]
struct Own(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Own {
    fn resolve(&self, _authorities: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.as_ref().filter(|key| key.key.choose_scheme(schemes).is_some()).cloned()
    }
    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}
