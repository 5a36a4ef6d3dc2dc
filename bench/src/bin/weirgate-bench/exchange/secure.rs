//! Clients that speak TLS 1.3, AES-128-GCM. rustls makes their handshakes; then each keeps its secrets only, and makes its cipher's context anew for
//! each record. So a client takes little of the cache that the gateway's side of it is to have.

use anyhow::{Context, ensure};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    time_provider::TimeProvider,
};
use std::{io::Read, sync::Arc};
use weirgate_dataplane::{
    snapshot::{Certificate, Key},
    tls::{
        Version,
        record::{ContentType, HEADER, Header, Open, Seal},
    },
};

/// When it is: 2030-03-17.
pub(super) const TIME_OF_DAY: u64 = 1_900_000_000;
const NAME: &str = "shop.example.com";
/// Bytes of a record of TLS 1.3 beyond its plaintext.
const EXPANSION: usize = HEADER + 1 + 16;

/// A certificate for the gateway, with an ECDSA P-256 key.
pub(super) fn certificate() -> anyhow::Result<Certificate> {
    let params = CertificateParams::new(vec![NAME.to_owned()])?;
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let chain = params.self_signed(&key)?.pem();
    Ok(Certificate { name: "shop".into(), chain, key: Key::new(key.serialize_pem()), ocsp: Vec::new() })
}

/// What clients have in common, and each one's secrets.
pub(super) struct Secure {
    config: Arc<ClientConfig>,
    keys: Vec<Option<Keys>>,
}

struct Keys {
    seal: ConnectionTrafficSecrets,
    sealed: u64,
    open: ConnectionTrafficSecrets,
    opened: u64,
}

impl Secure {
    /// So many clients who trust this certificate.
    pub(super) fn new(clients: usize, certificate: &Certificate) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certificate.chain.as_bytes())?)?;
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
        provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
        let mut config = ClientConfig::builder_with_details(Arc::new(provider), Arc::new(Then))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_secret_extraction = true;
        let keys = (0..clients).map(|_| None).collect();
        Ok(Self { config: Arc::new(config), keys })
    }

    /// A client's handshake.
    pub(super) fn begin(&self) -> anyhow::Result<Shake> {
        Ok(Shake(ClientConnection::new(Arc::clone(&self.config), ServerName::try_from(NAME)?)?))
    }
    /// It is over.
    pub(super) fn end(&mut self, client: usize, shake: Shake) -> anyhow::Result<()> {
        let secrets = shake.0.dangerous_extract_secrets()?;
        let ((sealed, seal), (opened, open)) = (secrets.tx, secrets.rx);
        self.keys[client] = Some(Keys { seal, sealed, open, opened });
        Ok(())
    }

    /// A client's next record.
    pub(super) fn seal(&mut self, client: usize, plain: &[u8]) -> Vec<u8> {
        let keys = self.keys[client].as_mut().expect("its handshake is over");
        let mut record = vec![0; plain.len() + EXPANSION];
        record[HEADER..][..plain.len()].copy_from_slice(plain);
        Seal::new(Version::Tls13, keys.sealed, &keys.seal).seal(ContentType::ApplicationData, &mut record);
        keys.sealed += 1;
        record
    }

    /// Opens what came to a client; gives the plaintext's length.
    pub(super) fn open(&mut self, client: usize, bytes: &[u8]) -> anyhow::Result<usize> {
        let keys = self.keys[client].as_mut().context("an answer before the handshake's end")?;
        let header = Header::read(bytes, Some(Version::Tls13)).ok().flatten().context("no record")?;
        ensure!(HEADER + header.len == bytes.len(), "an answer is one record in one segment");
        let mut open = Open::new(Version::Tls13, keys.opened, &keys.open);
        let opened = open.open(header, &mut bytes.to_vec()).ok().context("a record that does not open")?;
        keys.opened += 1;
        ensure!(opened.kind == ContentType::ApplicationData, "no answer");
        Ok(opened.plain.len())
    }
}

#[derive(Debug)]
struct Then;
impl TimeProvider for Then {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(TIME_OF_DAY)))
    }
}

/// A client's handshake under way.
pub(super) struct Shake(ClientConnection);

impl Shake {
    /// What it says next.
    pub(super) fn says(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut bytes)?;
        }
        Ok(bytes)
    }
    pub(super) fn hears(&mut self, mut bytes: &[u8]) -> anyhow::Result<()> {
        while !bytes.is_empty() {
            self.0.read_tls(&mut bytes.by_ref())?;
            self.0.process_new_packets()?;
        }
        Ok(())
    }
    pub(super) fn is_over(&self) -> bool {
        !self.0.is_handshaking()
    }
}
