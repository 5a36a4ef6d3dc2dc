//! Authorities and certificates that live as long as a test.

use crate::tls::{CertificateFiles, Clock};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber, SignatureAlgorithm, date_time_ymd,
};

/// 2030-03-17: within what authorities and certificates are valid for, unless they say otherwise.
pub(super) const NOW: u64 = 1_900_000_000;

pub(super) fn clock() -> Clock {
    let clock = Clock::default();
    clock.set(NOW);
    clock
}

pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

/// What is to be in a certificate.
pub(super) struct Wanted<'a> {
    pub(super) names: &'a [&'a str],
    pub(super) uris: &'a [&'a str],
    pub(super) years: (i32, i32),
    pub(super) serial: u64,
    pub(super) algorithm: &'static SignatureAlgorithm,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self { names: &[], uris: &[], years: (2020, 2040), serial: 1, algorithm: &rcgen::PKCS_ED25519 }
    }
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(super) fn issue(&self, wanted: &Wanted<'_>) -> CertificateFiles {
        let names: Vec<String> = wanted.names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        for uri in wanted.uris {
            params.subject_alt_names.push(SanType::URI((*uri).try_into().unwrap()));
        }
        params.not_before = date_time_ymd(wanted.years.0, 1, 1);
        params.not_after = date_time_ymd(wanted.years.1, 1, 1);
        params.serial_number = Some(SerialNumber::from(wanted.serial));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate_for(wanted.algorithm).unwrap();
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        CertificateFiles { chain: chain.into(), key: key.serialize_pem().into(), ocsp: Vec::new() }
    }

    pub(super) fn named(&self, name: &str) -> CertificateFiles {
        self.issue(&Wanted { names: &[name], ..Wanted::default() })
    }

    pub(super) fn revoke(&self, serial: u64, next_update: i32) -> Vec<u8> {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(next_update, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: date_time_ymd(2021, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap().into()
    }
}
