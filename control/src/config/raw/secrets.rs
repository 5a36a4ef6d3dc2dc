//! `secrets` and TLS as they are written.

use super::{Duration, Ignored, Spanned, raw, text};

raw! {
    /// A certificate with its key, or authorities.
    RawSecret ["name"] {
        /// Unique among secrets.
        required name "name": Spanned<String>,
        /// In files: cert and key, or ca.
        optional file "file": Spanned<RawSecretFiles>,
        /// Whether files that change are taken by themselves; true if it is not said.
        optional watch "watch": bool,
        /// It is refused where the field is looked for.
        refused spiffe "spiffe": Ignored,
    }

    /// Files of a secret, PEM, relative to this file: cert and key, or ca.
    RawSecretFiles {
        /// The certificate, then those that lead to an authority.
        optional cert "cert": Spanned<String>,
        /// Its private key.
        optional key "key": Spanned<String>,
        /// An OCSP response that is stapled, DER. For cert.
        optional ocsp "ocsp": Spanned<String>,
        /// Authorities.
        optional ca "ca": Spanned<String>,
        /// What they have revoked. For ca.
        optional crl "crl": Spanned<String>,
    }

    /// TLS on a listener.
    RawListenerTls {
        /// Terminate if it is not said.
        optional mode "mode": Spanned<TlsMode>,
        /// Secrets with certificates; the first one serves who asks for no name, or for one that none of them covers.
        default certificate_refs "certificateRefs": Vec<Spanned<String>>,
        /// Whether clients show certificates.
        optional frontend_validation "frontendValidation": Spanned<RawFrontendValidation>,
        /// The lowest version; 1.2 if it is not said.
        optional min_version "minVersion": Spanned<TlsVersionName>,
        /// The highest version; 1.3 if it is not said.
        optional max_version "maxVersion": Spanned<TlsVersionName>,
        /// Suites by their IANA names, the best first; all that are sound if none is said.
        default cipher_suites "cipherSuites": Vec<Spanned<CipherSuite>>,
        /// Groups by their IANA names, the best first; X25519MLKEM768, x25519 and secp256r1 if none is said.
        default groups "groups": Vec<Spanned<KeyExchangeGroup>>,
        /// A handshake that takes longer ends; 10s if it is not said.
        optional handshake_timeout "handshakeTimeout": Spanned<Duration>,
        /// What clients get that ask for a name that no certificate covers, or for none; First if it is not said.
        optional unknown_name "unknownName": Spanned<UnknownNameAction>,
    }

    /// How clients show who they are.
    RawFrontendValidation {
        /// The secret with those who are believed: one.
        required ca_refs "caRefs": Vec<Spanned<String>>,
        /// Whether a client without a certificate is refused; Required if it is not said.
        optional mode "mode": Spanned<FrontendValidationMode>,
    }

    /// TLS to a backend's endpoints.
    RawBackendTls {
        /// The secret with those who are believed.
        required ca_ref "caRef": Spanned<String>,
        /// The name that is asked for, and that the certificate must have if no subjectAltNames are said.
        optional sni "sni": Spanned<String>,
        /// DNS names or URIs, one of which the certificate must have.
        default subject_alt_names "subjectAltNames": Vec<Spanned<String>>,
        /// The secret with the certificate that is shown.
        optional client_cert_ref "clientCertRef": Spanned<String>,
        /// The lowest version; 1.2 if it is not said.
        optional min_version "minVersion": Spanned<TlsVersionName>,
        /// The highest version; 1.3 if it is not said.
        optional max_version "maxVersion": Spanned<TlsVersionName>,
        /// Suites by their IANA names, the best first; all that are sound if none is said.
        default cipher_suites "cipherSuites": Vec<Spanned<CipherSuite>>,
        /// Groups by their IANA names, the best first; X25519MLKEM768, x25519 and secp256r1 if none is said.
        default groups "groups": Vec<Spanned<KeyExchangeGroup>>,
    }
}

text! {
    /// What becomes of TLS.
    TlsMode: { "enum": ["Terminate", "Passthrough"] }
    /// A version of TLS.
    TlsVersionName: { "enum": ["1.2", "1.3", 1.2, 1.3] }
    /// Whether clients must show certificates.
    FrontendValidationMode: { "enum": ["Required", "Optional"] }
    /// What clients get whose name no certificate covers.
    UnknownNameAction: { "enum": ["First", "Refuse"] }
    /// A cipher suite by its IANA name.
    CipherSuite: { "enum": [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
    ] }
    /// A group by its IANA name.
    KeyExchangeGroup: { "enum": ["X25519MLKEM768", "x25519", "secp256r1", "secp384r1"] }
}
