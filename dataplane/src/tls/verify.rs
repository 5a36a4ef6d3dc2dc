//! Whether a server is the one that we mean.

use super::{ContextError, Expect, certificate, client::server_name};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

/// The chain leads to an authority, and the certificate has one of the names, or one of the URIs and no other.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    roots: RootCertStore,
    names: Vec<ServerName<'static>>,
    uris: Vec<Box<str>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    pub(super) fn new(roots: RootCertStore, expect: &Expect, provider: &CryptoProvider) -> Result<Self, ContextError> {
        let (names, uris) = match expect {
            Expect::Name(name) => (std::slice::from_ref(name), &[][..]),
            Expect::AnyOf { names, uris } => (&names[..], &uris[..]),
        };
        if names.is_empty() && uris.is_empty() {
            return Err(ContextError::ExpectsNothing);
        }
        let names = names.iter().map(|name| server_name(name)).collect::<Result<_, _>>()?;
        let uris = uris.iter().map(|uri| uri.as_str().into()).collect();
        Ok(Self { roots, names, uris, algorithms: provider.signature_verification_algorithms })
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _asked_for: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        let has_name = self.names.iter().any(|name| verify_server_name(&parsed, name).is_ok());
        // SPIFFE X509-SVID 2: an identity's certificate has exactly one URI.
        let has_uri = || matches!(&certificate::names(end_entity).1[..], [uri] if self.uris.contains(uri));
        if has_name || has_uri() {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
