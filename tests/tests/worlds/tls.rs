//! TLS of the worlds' peers: rustls's own connections, with a seed's randomness.

use crate::seeded;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SerialNumber, date_time_ymd};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime, pem::PemObject},
    time_provider::TimeProvider,
};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    sync::{Arc, LazyLock},
};
use weirgate_dataplane::{
    exchange::Planner,
    snapshot::{Authorities, BackendTls, Certificate, Key, ListenerTls, Snapshot, TlsPolicy, TlsVersion},
};
use weirgate_tests::exchange::{Conn, Legs, TIME_OF_DAY};

/// Where peers begin to speak it, and with what.
pub(crate) struct Tls {
    pub(crate) clients: bool,
    pub(crate) endpoints: bool,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    sessions: BTreeMap<Conn, Session>,
}

struct Session {
    rustls: rustls::Connection,
    /// Bytes of what was heard that it has seen.
    taken: usize,
    plain: Vec<u8>,
    /// Somebody has spoilt it: whatever it says now is all right.
    spoilt: bool,
    failed: bool,
}

/// Of 32 bytes; signatures with it have one length, and are the same each time.
fn key(seed: u8) -> KeyPair {
    let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let der = PrivatePkcs8KeyDer::from([&prefix[..], &[seed; 32]].concat());
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519).expect("a key of Ed25519")
}

struct Pki {
    root: String,
    /// Chains and keys: the first two are the gateway's, the third the endpoints'.
    issued: [(String, String); 3],
}

static PKI: LazyLock<Pki> = LazyLock::new(|| {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    params.serial_number = Some(SerialNumber::from(1u64));
    let ca = key(1);
    let root = params.self_signed(&ca).unwrap().pem();
    let issuer = Issuer::new(params, ca);
    let issue = |n: u8, names: &[&str]| {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1));
        params.serial_number = Some(SerialNumber::from(u64::from(n)));
        let key = key(n);
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    };
    Pki { root, issued: [issue(2, &["a"]), issue(3, &["a", "b"]), issue(4, &["u", "v"])] }
});

#[derive(Debug)]
struct Then;
impl TimeProvider for Then {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(TIME_OF_DAY)))
    }
}

/// A planner whose contexts draw from this seed.
pub(crate) fn planner(seed: u64) -> Planner {
    Planner::new(Arc::new(seeded::provider(seed).0))
}

impl Tls {
    pub(crate) fn new(seed: u64, clients: bool, endpoints: bool) -> Self {
        let provider: Arc<CryptoProvider> = Arc::new(seeded::provider(!seed).0);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(PKI.root.as_bytes()).unwrap()).unwrap();
        let client = ClientConfig::builder_with_details(Arc::clone(&provider), Arc::new(Then))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (chain, key) = &PKI.issued[2];
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        let server = ServerConfig::builder_with_details(provider, Arc::new(Then))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
            .unwrap();
        let sessions = BTreeMap::new();
        Self { clients, endpoints, client: Arc::new(client), server: Arc::new(server), sessions }
    }

    /// What the gateway is told of it.
    pub(crate) fn apply(&self, snapshot: &mut Snapshot) {
        let names = ["one", "two"];
        if self.clients {
            snapshot.certificates = names.iter().zip(&PKI.issued).map(|(name, pem)| certificate(name, pem)).collect();
            snapshot.http[0].tls = Some(ListenerTls {
                certificates: vec!["one".into()],
                refuse_unknown_names: false,
                clients: None,
                policy: TlsPolicy::default(),
                handshake_ms: 20_000,
            });
        }
        if self.endpoints {
            snapshot.authorities =
                vec![Authorities { name: "ca".into(), roots: PKI.root.clone(), revocation_lists: String::new() }];
            snapshot.backends[0].tls = Some(BackendTls {
                authorities: "ca".into(),
                sni: Some("u".into()),
                names: Vec::new(),
                certificate: None,
                policy: TlsPolicy::default(),
            });
        }
    }

    /// Another certificate, or another policy, that everybody can live with.
    pub(crate) fn change(&self, snapshot: &mut Snapshot, random: &mut fastrand::Rng) {
        use TlsVersion::{Tls12, Tls13};
        let (version_min, version_max) = [(Tls12, Tls13), (Tls12, Tls12), (Tls13, Tls13)][random.usize(0..3)];
        let policy = TlsPolicy { version_min, version_max, ..TlsPolicy::default() };
        if let Some(tls) = snapshot.http[0].tls.as_mut().filter(|_| random.bool()) {
            match random.u8(0..3) {
                0 => tls.certificates = vec![["one", "two"][random.usize(0..2)].into()],
                1 => tls.policy = policy,
                // A pair that is renewed under its name.
                _ => snapshot.certificates[0] = certificate("one", &PKI.issued[random.usize(0..2)]),
            }
        } else if let Some(tls) = &mut snapshot.backends[0].tls {
            if random.bool() {
                tls.policy = policy;
            } else {
                tls.sni = Some(["u", "v"][random.usize(0..2)].into());
            }
        }
    }

    /// A client's connection speaks it, if clients do.
    pub(crate) fn begin(&mut self, conn: Conn) {
        if self.clients {
            let name = ServerName::try_from("a").unwrap();
            let session = ClientConnection::new(Arc::clone(&self.client), name).unwrap();
            self.add(conn, session.into());
        }
    }

    fn add(&mut self, conn: Conn, mut rustls: rustls::Connection) {
        rustls.set_buffer_limit(None);
        self.sessions.insert(conn, Session { rustls, taken: 0, plain: Vec::new(), spoilt: false, failed: false });
    }

    /// Hears and answers on every connection what its TLS has to; says whether anything was sent.
    pub(crate) fn pump(&mut self, legs: &mut Legs) -> bool {
        if self.endpoints {
            for conn in legs.ends().accepted(0).collect::<Vec<_>>() {
                if !self.sessions.contains_key(&conn) {
                    let session = ServerConnection::new(Arc::clone(&self.server)).unwrap();
                    self.add(conn, session.into());
                }
            }
        }
        let mut any = false;
        for (conn, session) in &mut self.sessions {
            session.hear(&legs.ends().known(*conn).heard);
            let out = session.out();
            any |= !out.is_empty();
            if !out.is_empty() {
                legs.says(*conn, &out);
            }
        }
        any
    }

    /// Says plaintext.
    pub(crate) fn says(&mut self, legs: &mut Legs, conn: Conn, bytes: &[u8]) {
        let Some(session) = self.sessions.get_mut(&conn) else { return legs.says(conn, bytes) };
        session.rustls.writer().write_all(bytes).unwrap();
        legs.says(conn, &session.out());
    }

    /// Closes the peer's side, behind close_notify.
    pub(crate) fn closes(&mut self, legs: &mut Legs, conn: Conn) {
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.rustls.send_close_notify();
            legs.says(conn, &session.out());
        }
        legs.closes(conn);
    }

    /// Says what is no TLS, or spoils a record. `false`: there is no TLS on this connection.
    pub(crate) fn spoils(&mut self, legs: &mut Legs, conn: Conn, random: &mut fastrand::Rng) -> bool {
        let Some(session) = self.sessions.get_mut(&conn) else { return false };
        session.spoilt = true;
        let kind = if random.bool() { random.u8(..) } else { 23 };
        let bytes: Vec<u8> = [kind, 3, 3, 0, 40].into_iter().chain((0..40).map(|_| random.u8(..))).collect();
        legs.says(conn, &bytes);
        true
    }

    /// All plaintext that came.
    pub(crate) fn heard<'a>(&'a self, legs: &'a mut Legs, conn: Conn) -> &'a [u8] {
        match self.sessions.get(&conn) {
            Some(session) => &session.plain,
            None => &legs.ends().known(conn).heard,
        }
    }
}

fn certificate(name: &str, (chain, key): &(String, String)) -> Certificate {
    Certificate { name: name.into(), chain: chain.clone(), key: Key::new(key.clone()), ocsp: Vec::new() }
}

impl Session {
    fn out(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.rustls.wants_write() {
            self.rustls.write_tls(&mut out).unwrap();
        }
        out
    }

    fn hear(&mut self, heard: &[u8]) {
        let mut new = &heard[self.taken..];
        self.taken = heard.len();
        while !new.is_empty() && !self.failed {
            if self.rustls.read_tls(&mut new).unwrap() == 0 {
                break;
            }
            match self.rustls.process_new_packets() {
                Ok(state) => {
                    let mut plain = vec![0; state.plaintext_bytes_to_read()];
                    self.rustls.reader().read_exact(&mut plain).unwrap();
                    self.plain.extend(plain);
                }
                Err(fault) => {
                    assert!(self.spoilt, "the gateway's TLS is sound: {fault:?}");
                    self.failed = true;
                }
            }
        }
    }
}
