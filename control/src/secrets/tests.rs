//! Secrets that others make, and how they are judged.

use super::*;
use crate::daemon::tests::Dir;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, RevokedCertParams, SerialNumber, date_time_ymd,
};
use std::{os::unix::fs::PermissionsExt, path::PathBuf};

/// The time by which all of them are judged: 2026-06-01.
pub(crate) const NOW: u64 = 1_780_272_000;

/// Somebody who signs.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2045, 1, 1));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    /// A certificate for a name that holds in these years, with its key.
    pub(crate) fn issue(&self, name: &str, (from, to): (i32, i32)) -> (String, String) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        params.serial_number = Some(SerialNumber::from_slice(&[0x1f, 0x2e]));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let pem = params.signed_by(&key, &issuer).unwrap().pem();
        (pem, key.serialize_pem())
    }

    /// One that holds.
    pub(crate) fn good(&self, name: &str) -> (String, String) {
        self.issue(name, (2020, 2045))
    }

    fn list(&self) -> String {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2027, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(7),
                revocation_time: date_time_ymd(2026, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&Issuer::from_params(&self.params, &self.key)).unwrap().pem().unwrap()
    }
}

/// Writes a pair into a directory, the key for its owner only.
pub(crate) fn write(dir: &Path, (chain, key): &(String, String)) -> Secret {
    let (cert, path) = (dir.join("a.pem"), dir.join("a.key"));
    fs::write(&cert, chain).unwrap();
    fs::write(&path, key).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    Secret { name: "a".into(), source: SecretSource::Certificate { cert, key: path, ocsp: None }, watch: true }
}

fn authorities(ca: PathBuf, crl: Option<PathBuf>) -> Secret {
    Secret { name: "m".into(), source: SecretSource::Authorities { ca, crl }, watch: true }
}

#[test]
fn what_a_certificate_says_is_read() {
    let dir = Dir::new("secrets-facts");
    let authority = Authority::new("Test CA");
    let secret = write(dir.path(), &authority.good("shop.example"));
    let loaded = read(&secret, NOW).unwrap();
    let wanted = Said {
        names: vec!["shop.example".into()],
        issuer: "CN=Test CA".into(),
        serial: "1f2e".into(),
        not_before: 1_577_836_800,
        not_after: 2_366_841_600,
        key: "ECDSA P-256".into(),
    };
    assert_eq!(loaded.facts.certificate, Some(wanted));
    assert_eq!((time(loaded.facts.not_after().unwrap()).as_str(), warnings(&secret)), ("2045-01-01T00:00:00Z", vec![]));
    let (ca, crl) = (dir.path().join("ca.pem"), dir.path().join("ca.crl"));
    fs::write(&ca, format!("{}{}", authority.pem, Authority::new("Other CA").pem)).unwrap();
    fs::write(&crl, authority.list()).unwrap();
    let loaded = read(&authorities(ca, Some(crl)), NOW).unwrap();
    let names: Vec<_> = loaded.facts.authorities.iter().map(|it| it.names[0].as_str()).collect();
    assert_eq!(names, ["CN=Test CA", "CN=Other CA"]);
    assert_eq!(loaded.facts.next_update().map(time).as_deref(), Some("2027-01-01T00:00:00Z"));
}

#[test]
fn what_cannot_be_used_is_refused_by_name() {
    let dir = Dir::new("secrets-refused");
    let authority = Authority::new("Test CA");
    let good = authority.good("a.example");
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let rows = [
        ((half(&good.0), good.1.clone()), Reason::Invalid, "the chain cannot be read"),
        ((String::new(), good.1.clone()), Reason::Invalid, "there is no certificate in the file"),
        ((good.0.clone(), half(&good.1)), Reason::Invalid, "there is no private key that can be read"),
        (
            (good.0.clone(), authority.good("a.example").1),
            Reason::Mismatch,
            "the key does not belong to the certificate",
        ),
        (
            authority.issue("a.example", (2020, 2026)),
            Reason::Expired,
            "the certificate expired at 2026-01-01T00:00:00Z",
        ),
        (
            authority.issue("a.example", (2027, 2030)),
            Reason::NotYetValid,
            "the certificate is valid from 2027-01-01T00:00:00Z on",
        ),
    ];
    for (pair, reason, wanted) in rows {
        let error = read(&write(dir.path(), &pair), NOW).unwrap_err();
        assert!(error.reason == reason && error.message.starts_with(wanted), "{wanted}: {error:?}");
        let key = pair.1.lines().nth(1).unwrap_or("no key");
        assert!(!error.message.contains(key), "{error:?}");
    }
    let secret = write(dir.path(), &good);
    fs::remove_file(dir.path().join("a.key")).unwrap();
    let error = read(&secret, NOW).unwrap_err();
    assert!(error.reason == Reason::Unreadable && error.message.contains("a.key cannot be read"), "{error:?}");
    let ca = dir.path().join("ca.pem");
    fs::write(&ca, "").unwrap();
    assert_eq!(read(&authorities(ca.clone(), None), NOW).unwrap_err().reason, Reason::Invalid);
    fs::write(&ca, &authority.pem).unwrap();
    assert_eq!(read(&authorities(ca.clone(), Some(ca.clone())), NOW).unwrap_err().reason, Reason::Invalid);
    assert!(read(&authorities(dir.path().to_owned(), None), NOW).unwrap_err().message.contains("it is no file"));
}

#[test]
fn a_key_that_others_may_read_is_told() {
    let dir = Dir::new("secrets-mode");
    let secret = write(dir.path(), &Authority::new("Test CA").good("a.example"));
    fs::set_permissions(dir.path().join("a.key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(warnings(&secret)[0].contains("a.key (mode 0644): chmod 600"), "{:?}", warnings(&secret));
}
