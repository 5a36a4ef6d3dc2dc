//! TLS on both legs, with rustls's own connections as foreign peers.

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    time_provider::TimeProvider,
};
use std::{
    io::{Read, Write},
    sync::Arc,
};
use weirgate_dataplane::{
    counters::Counter,
    exchange::Ended,
    snapshot::{
        Authorities, Backend, BackendTls, Certificate, ClientValidation, Key, ListenerTls, NameRoute, Snapshot,
        TlsPolicy,
    },
    time::Duration,
    tls::TlsRefused,
};
use weirgate_tests::exchange::{Conn, TIME_OF_DAY, Talk, endpoint, over};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// An authority.
struct Pki {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Pki {
    fn new() -> Self {
        Self::named("corp")
    }
    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Chain and key as PEM.
    fn issue(&self, names: &[&str], until: i32) -> (String, String) {
        let (uris, names): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains("://"));
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(until, 1, 1));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn certificate(&self, name: &str, names: &[&str]) -> Certificate {
        let (chain, key) = self.issue(names, 2040);
        Certificate { name: name.into(), chain, key: Key::new(key), ocsp: Vec::new() }
    }

    fn authorities(&self) -> Authorities {
        Authorities { name: "ca".into(), roots: self.pem.clone(), revocation_lists: String::new() }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        Arc::new(roots)
    }
}

#[derive(Debug)]
struct Then;
impl TimeProvider for Then {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(TIME_OF_DAY)))
    }
}

fn own(pem: &(String, String)) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(pem.0.as_bytes()).map(Result::unwrap).collect();
    (chain, PrivateKeyDer::from_pem_slice(pem.1.as_bytes()).unwrap())
}

type Versions<'a> = &'a [&'static SupportedProtocolVersion];

fn client_config(pki: &Pki, versions: Versions<'_>, identity: Option<&(String, String)>) -> ClientConfig {
    let builder = ClientConfig::builder_with_details(Arc::new(aws_lc_rs::default_provider()), Arc::new(Then))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(pki.roots());
    match identity.map(own) {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    }
}

fn server_config(pki: &Pki, names: &[&str]) -> ServerConfig {
    let (chain, key) = own(&pki.issue(names, 2040));
    ServerConfig::builder_with_details(Arc::new(aws_lc_rs::default_provider()), Arc::new(Then))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

/// A foreign peer's end of a connection.
struct Peer {
    conn: Conn,
    session: rustls::Connection,
    taken: usize,
    plain: Vec<u8>,
    fault: Option<rustls::Error>,
}

impl Peer {
    fn client(conn: Conn, config: &ClientConfig, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Self::of(conn, ClientConnection::new(Arc::new(config.clone()), name).unwrap().into())
    }
    fn server(conn: Conn, config: ServerConfig) -> Self {
        Self::of(conn, ServerConnection::new(Arc::new(config)).unwrap().into())
    }
    fn of(conn: Conn, session: rustls::Connection) -> Self {
        Self { conn, session, taken: 0, plain: Vec::new(), fault: None }
    }

    /// Says and hears whatever there is, until nothing moves.
    fn runs(&mut self, talk: &mut Talk) {
        loop {
            let says = self.says_tls(talk);
            talk.legs.runs();
            if !self.hears_tls(talk) && !says {
                return;
            }
        }
    }

    /// Says what TLS has to say, if anything.
    fn says_tls(&mut self, talk: &mut Talk) -> bool {
        let mut out = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut out).unwrap();
        }
        talk.legs.says(self.conn, &out);
        !out.is_empty()
    }

    /// Hears what has come, if anything.
    fn hears_tls(&mut self, talk: &mut Talk) -> bool {
        let heard = &talk.legs.ends().known(self.conn).heard;
        let mut new = &heard[self.taken..];
        let is_quiet = new.is_empty();
        self.taken = heard.len();
        while !new.is_empty() && self.fault.is_none() {
            self.session.read_tls(&mut new).unwrap();
            match self.session.process_new_packets() {
                Ok(state) => {
                    let mut plain = vec![0; state.plaintext_bytes_to_read()];
                    self.session.reader().read_exact(&mut plain).unwrap();
                    self.plain.extend(plain);
                }
                Err(fault) => self.fault = Some(fault),
            }
        }
        !is_quiet
    }

    fn says(&mut self, talk: &mut Talk, text: &[u8]) {
        let mut left = text;
        while !left.is_empty() {
            let n = self.session.writer().write(left).unwrap();
            left = &left[n..];
            self.runs(talk);
        }
    }

    /// What came since it was last asked.
    fn heard(&mut self, talk: &mut Talk) -> String {
        self.runs(talk);
        String::from_utf8_lossy(&std::mem::take(&mut self.plain)).replace("\r\n", "|")
    }
}

fn listens(snapshot: &mut Snapshot, certificates: Vec<Certificate>) {
    let names = certificates.iter().map(|it| it.name.clone()).collect();
    let (policy, handshake_ms) = (TlsPolicy::default(), 10_000);
    snapshot.http[0].tls =
        Some(ListenerTls { certificates: names, refuse_unknown_names: false, clients: None, policy, handshake_ms });
    snapshot.certificates = certificates;
}

fn get(host: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes()
}

#[test]
fn requests_over_tls_are_served_in_both_versions() {
    let pki = Pki::new();
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let mut snapshot = over(1);
        listens(&mut snapshot, vec![pki.certificate("c", &["a"])]);
        let mut talk = Talk::new(&snapshot);
        let mut client = Peer::client(talk.client, &client_config(&pki, versions, None), "a");
        for _ in 0..2 {
            client.says(&mut talk, &get("a"));
            if talk.legs.ends().accepted(0).count() == 1 {
                let conn = talk.legs.ends().accepted(0).next().unwrap();
                let asked = talk.heard(conn);
                assert!(asked.contains("x-forwarded-proto: https|"), "{asked}");
                talk.answers(conn, OK);
            }
            let heard = client.heard(&mut talk);
            assert!(heard.starts_with("HTTP/1.1 200 OK|") && heard.ends_with("|ok"), "{heard}");
            assert_eq!(talk.ended(), Ended::Complete);
        }
        client.session.send_close_notify();
        client.runs(&mut talk);
        assert!(client.fault.is_none());
        assert_eq!(talk.legs.gateway().counters().counter(Counter::TlsHandshakes), 1);
        talk.legs.ends_clean();
    }
}

#[test]
fn handshakes_that_were_begun_end_before_others_begin() {
    const COUNT: usize = 300;
    let pki = Pki::new();
    let mut snapshot = over(1);
    listens(&mut snapshot, vec![pki.certificate("c", &["a"])]);
    let mut talk = Talk::new(&snapshot);
    let config = client_config(&pki, &[&rustls::version::TLS13], None);
    let conns: Vec<_> = (0..COUNT).map(|_| talk.legs.client(80)).collect();
    talk.legs.runs();
    let mut peers: Vec<_> = conns.into_iter().map(|conn| Peer::client(conn, &config, "a")).collect();
    let done = |talk: &Talk| talk.legs.gateway().counters().counter(Counter::TlsHandshakes);
    let (begun, others) = peers.split_at_mut(20);
    begun.iter_mut().for_each(|peer| _ = peer.says_tls(&mut talk));
    talk.legs.runs();
    begun.iter_mut().for_each(|peer| assert!(peer.hears_tls(&mut talk)));
    // All others' hellos are there before what ends these, and a turn makes one step.
    others.iter_mut().chain(begun).for_each(|peer| _ = peer.says_tls(&mut talk));
    let until = talk.legs.now() + Duration::from_secs(1);
    let mut turns = 0;
    while done(&talk) < 20 {
        assert!(talk.legs.now() < until);
        talk.legs.step(until);
        turns += 1;
    }
    assert!(turns < COUNT / 2, "{turns} turns, as if others had gone first");
}

#[test]
fn much_content_goes_both_ways() {
    let pki = Pki::new();
    let mut snapshot = over(1);
    listens(&mut snapshot, vec![pki.certificate("c", &["a"])]);
    let mut talk = Talk::new(&snapshot);
    let mut client = Peer::client(talk.client, &client_config(&pki, rustls::ALL_VERSIONS, None), "a");
    let content: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    client
        .says(&mut talk, format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", content.len()).as_bytes());
    client.says(&mut talk, &content);
    let conn = talk.endpoint();
    assert!(talk.legs.ends().known(conn).heard.ends_with(&content));
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", content.len());
    talk.legs.says(conn, head.as_bytes());
    talk.legs.says(conn, &content);
    client.runs(&mut talk);
    assert!(client.plain.ends_with(&content) && client.plain.len() < content.len() + 400);
    talk.legs.ends_clean();
}

#[test]
fn a_host_that_the_certificate_does_not_cover_is_misdirected() {
    let pki = Pki::new();
    let mut snapshot = over(1);
    listens(&mut snapshot, vec![pki.certificate("c", &["a.example", "*.b.example"]), pki.certificate("d", &["d"])]);
    let mut talk = Talk::new(&snapshot);
    let config = client_config(&pki, rustls::ALL_VERSIONS, None);
    let mut client = Peer::client(talk.client, &config, "x.b.example");
    for (host, ended) in [("d", Ended::Misdirected), ("y.z.b.example", Ended::Misdirected)] {
        client.says(&mut talk, &get(host));
        let heard = client.heard(&mut talk);
        assert!(heard.starts_with("HTTP/1.1 421 "), "{host}: {heard}");
        assert_eq!(talk.ended(), ended);
    }
    client.says(&mut talk, &get("A.example:443"));
    let conn = talk.endpoint();
    talk.answers(conn, OK);
    assert!(client.heard(&mut talk).starts_with("HTTP/1.1 200 "));
    talk.legs.ends_clean();
}

#[test]
fn clients_show_who_they_are() {
    let (pki, strangers) = (Pki::new(), Pki::named("strangers"));
    let mut snapshot = over(1);
    listens(&mut snapshot, vec![pki.certificate("c", &["a"])]);
    snapshot.authorities = vec![pki.authorities()];
    let clients = ClientValidation { authorities: "ca".into(), is_required: true };
    snapshot.http[0].tls.as_mut().unwrap().clients = Some(clients);
    // Believed about others, but not about what we know ourselves.
    snapshot.http[0].options.trusted = vec!["10.0.0.0/8".parse().unwrap()];
    let good = pki.issue(&["spiffe://corp.example/ns/a"], 2040);
    let (stranger, old) = (strangers.issue(&["me"], 2040), pki.issue(&["me"], 2021));
    let cases = [
        (Some(&good), None),
        (None, Some(TlsRefused::CertificateMissing)),
        (Some(&stranger), Some(TlsRefused::CertificateUntrusted)),
        (Some(&old), Some(TlsRefused::CertificateExpired)),
    ];
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        for (identity, refused) in cases {
            let mut talk = Talk::new(&snapshot);
            let config = client_config(&pki, versions, identity);
            let mut client = Peer::client(talk.client, &config, "a");
            let forged = "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-client-cert: Hash=forged\r\n\r\n";
            client.says(&mut talk, forged.as_bytes());
            match refused {
                None => {
                    let conn = talk.endpoint();
                    let asked = talk.heard(conn);
                    assert!(asked.contains("|x-forwarded-client-cert: Hash="), "{asked}");
                    assert!(asked.contains(";URI=spiffe://corp.example/ns/a|") && !asked.contains("forged"), "{asked}");
                    talk.answers(conn, OK);
                    assert!(client.heard(&mut talk).ends_with("|ok"));
                }
                Some(refused) => {
                    assert!(client.fault.is_some());
                    let counters = talk.legs.gateway().counters();
                    let said: Vec<_> = TlsRefused::ALL.iter().filter(|it| counters.tls_refusals(**it) > 0).collect();
                    assert_eq!(said, [&refused]);
                    assert!(talk.legs.ends().accepted(0).next().is_none());
                }
            }
            talk.legs.ends_clean();
        }
    }
}

fn to_endpoints(snapshot: &mut Snapshot, pki: &Pki, names: &[&str]) {
    snapshot.authorities = vec![pki.authorities()];
    snapshot.backends[0].tls = Some(BackendTls {
        authorities: "ca".into(),
        sni: Some("upstream".into()),
        names: names.iter().map(ToString::to_string).collect(),
        certificate: None,
        policy: TlsPolicy::default(),
    });
}

#[test]
fn endpoints_show_who_they_are() {
    let (pki, strangers) = (Pki::new(), Pki::named("strangers"));
    let cases: [(&Pki, &[&str], &[&str], bool); 5] = [
        (&pki, &["upstream"], &[], true),
        (&pki, &["other"], &[], false),
        (&strangers, &["upstream"], &[], false),
        (&pki, &["spiffe://corp.example/ns/a"], &["spiffe://corp.example/ns/a"], true),
        (&pki, &["spiffe://corp.example/ns/b", "upstream"], &["spiffe://corp.example/ns/a"], false),
    ];
    for (signs, has, expects, is_good) in cases {
        let mut snapshot = over(1);
        to_endpoints(&mut snapshot, &pki, expects);
        let mut talk = Talk::new(&snapshot);
        talk.says("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        if is_good {
            let mut endpoint = Peer::server(talk.endpoint(), server_config(signs, has));
            let asked = endpoint.heard(&mut talk);
            assert!(asked.starts_with("GET / HTTP/1.1|"), "{asked}");
            endpoint.says(&mut talk, OK.as_bytes());
            assert!(talk.heard(talk.client).ends_with("|ok"));
            // The connection is kept.
            talk.says("GET /2 HTTP/1.1\r\nhost: a\r\n\r\n");
            assert!(endpoint.heard(&mut talk).starts_with("GET /2 HTTP/1.1|"));
            endpoint.says(&mut talk, OK.as_bytes());
            assert!(talk.heard(talk.client).ends_with("|ok"));
        } else {
            // It is tried three times.
            for _ in 0..3 {
                let mut endpoint = Peer::server(talk.endpoint(), server_config(signs, has));
                endpoint.runs(&mut talk);
                assert!(endpoint.fault.is_some() && endpoint.plain.is_empty());
            }
            assert!(talk.heard(talk.client).starts_with("HTTP/1.1 503 "));
            assert_eq!(talk.ended(), Ended::ConnectInsecure);
        }
        talk.legs.ends_clean();
    }
}

#[test]
fn an_answer_that_is_cut_off_is_not_taken_for_whole() {
    let pki = Pki::new();
    for clean in [true, false] {
        let mut snapshot = over(1);
        to_endpoints(&mut snapshot, &pki, &[]);
        let mut talk = Talk::new(&snapshot);
        talk.says("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut endpoint = Peer::server(talk.endpoint(), server_config(&pki, &["upstream"]));
        endpoint.runs(&mut talk);
        endpoint.says(&mut talk, b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nsome of it");
        if clean {
            endpoint.session.send_close_notify();
            endpoint.runs(&mut talk);
        }
        talk.legs.closes(endpoint.conn);
        talk.legs.runs();
        assert_eq!(talk.ended(), if clean { Ended::Complete } else { Ended::BackendTruncated });
        talk.legs.ends_clean();
    }
}

#[test]
fn who_does_not_go_on_with_a_handshake_is_let_go() {
    let pki = Pki::new();
    let mut snapshot = over(1);
    listens(&mut snapshot, vec![pki.certificate("c", &["a"])]);
    let mut talk = Talk::new(&snapshot);
    talk.legs.settles(Duration::from_secs(11));
    assert!(talk.legs.ends().known(talk.client).ended.is_some());
    assert_eq!(talk.legs.gateway().counters().counter(Counter::TlsHandshakeTimeouts), 1);
    let mut plain = Talk::new(&snapshot);
    plain.says("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(plain.legs.gateway().counters().tls_refusals(TlsRefused::RecordInvalid), 1);
    talk.legs.ends_clean();
    plain.legs.ends_clean();
}

#[test]
fn a_target_may_say_the_scheme_and_no_other() {
    let pki = Pki::new();
    let mut snapshot = over(1);
    listens(&mut snapshot, vec![pki.certificate("c", &["a"])]);
    let mut talk = Talk::new(&snapshot);
    let config = client_config(&pki, rustls::ALL_VERSIONS, None);
    let mut client = Peer::client(talk.client, &config, "a");
    client.says(&mut talk, b"GET https://a/x HTTP/1.1\r\nhost: a\r\n\r\n");
    let conn = talk.endpoint();
    talk.answers(conn, OK);
    assert!(client.heard(&mut talk).starts_with("HTTP/1.1 200 "));
    client.says(&mut talk, b"GET http://a/x HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.heard(&mut talk).starts_with("HTTP/1.1 421 "));
    talk.legs.ends_clean();
}

#[test]
fn a_tunnel_that_is_cut_off_is_not_told_as_whole() {
    let pki = Pki::new();
    for clean in [true, false] {
        let mut snapshot = over(1);
        to_endpoints(&mut snapshot, &pki, &[]);
        let mut talk = Talk::new(&snapshot);
        let client = talk.legs.client(9_000);
        talk.legs.runs();
        let mut endpoint = Peer::server(talk.endpoint(), server_config(&pki, &["upstream"]));
        endpoint.says(&mut talk, b"some of it");
        if clean {
            endpoint.session.send_close_notify();
            endpoint.runs(&mut talk);
        }
        talk.legs.closes(endpoint.conn);
        talk.legs.runs();
        let known = talk.legs.ends().known(client);
        assert_eq!(known.heard, b"some of it");
        assert_eq!((known.peer_closed, known.ended.is_some()), (clean, !clean));
        talk.legs.ends_clean();
    }
}

#[test]
fn a_connection_is_secured_as_was_meant_when_it_was_begun() {
    let pki = Pki::new();
    let mut snapshot = over(1);
    to_endpoints(&mut snapshot, &pki, &[]);
    let mut talk = Talk::new(&snapshot);
    talk.legs.says(talk.client, &get("a"));
    while talk.legs.exchanges() == 0 {
        let until = talk.legs.now() + Duration::from_ms(1);
        talk.legs.step(until);
    }
    // Its SYN is under way.
    snapshot.backends[0].tls = None;
    snapshot.backends[0].endpoints[0].address = endpoint(1);
    talk.legs.serves(&snapshot).unwrap();
    talk.legs.runs();
    let mut endpoint = Peer::server(talk.endpoint(), server_config(&pki, &["upstream"]));
    assert!(endpoint.heard(&mut talk).starts_with("GET / HTTP/1.1|"));
    endpoint.says(&mut talk, OK.as_bytes());
    assert!(talk.heard(talk.client).ends_with("|ok"));
    talk.legs.ends_clean();
}

#[test]
fn what_is_passed_through_goes_where_its_name_says() {
    let pki = Pki::new();
    let mut snapshot = over(1);
    snapshot.backends.push(Backend::new("other", &[endpoint(1)]));
    let to = |backend: &str| serde_json::from_str(&format!(r#"[{{"backend": "{backend}", "weight": 1}}]"#)).unwrap();
    let route = |hostnames: &[&str], backend| NameRoute {
        hostnames: hostnames.iter().map(ToString::to_string).collect(),
        backends: to(backend),
    };
    snapshot.tcp[0].names =
        vec![route(&["a.example", "*.wild.example"], "b"), route(&["*.deep.wild.example"], "other")];
    snapshot.tcp[0].backends = Vec::new();
    let config = client_config(&pki, rustls::ALL_VERSIONS, None);
    let cases = [
        ("a.example", Some(endpoint(0))),
        ("x.y.wild.example", Some(endpoint(0))),
        ("X.deep.wild.example", Some(endpoint(1))),
        ("deep.wild.example", Some(endpoint(0))),
        ("wild.example", None),
        ("192.0.2.1", None),
    ];
    for (name, goes_to) in cases {
        let mut talk = Talk::new(&snapshot);
        let conn = talk.legs.client(9_000);
        talk.legs.runs();
        let mut client = Peer::client(conn, &config, name);
        // Byte by byte: nothing goes on before the name is known.
        let mut hello = Vec::new();
        client.session.write_tls(&mut hello).unwrap();
        for byte in hello.chunks(97) {
            assert!(talk.legs.ends().accepted(0).next().is_none());
            talk.legs.says(conn, byte);
            talk.legs.runs();
        }
        client.runs(&mut talk);
        match goes_to {
            Some(address) => {
                let mut endpoint = Peer::server(talk.endpoint(), server_config(&pki, &[name]));
                assert_eq!(talk.legs.ends().known(endpoint.conn).local, Some(address), "{name}");
                for _ in 0..3 {
                    endpoint.runs(&mut talk);
                    client.runs(&mut talk);
                }
                client.says(&mut talk, b"hello");
                assert_eq!(endpoint.heard(&mut talk), "hello");
            }
            None => {
                let alert = rustls::AlertDescription::UnrecognisedName;
                assert_eq!(client.fault, Some(rustls::Error::AlertReceived(alert)), "{name}");
                let counters = talk.legs.gateway().counters();
                assert_eq!(counters.tls_refusals(TlsRefused::NoCertificateForName), 1);
            }
        }
        talk.legs.ends_clean();
    }
}

#[test]
fn certificates_change_under_requests() {
    let pki = Pki::new();
    let mut snapshot = over(1);
    listens(&mut snapshot, vec![pki.certificate("c", &["a"])]);
    let mut talk = Talk::new(&snapshot);
    let config = client_config(&pki, rustls::ALL_VERSIONS, None);
    let mut client = Peer::client(talk.client, &config, "a");
    client.says(&mut talk, &get("a"));
    let conn = talk.endpoint();
    let next = pki.certificate("c", &["b"]);
    snapshot.certificates = vec![next];
    talk.legs.serves(&snapshot).unwrap();
    talk.answers(conn, OK);
    assert!(client.heard(&mut talk).ends_with("|ok"));
    let other = talk.legs.client(80);
    talk.legs.runs();
    let mut other = Peer::client(other, &config, "b");
    other.says(&mut talk, &get("b"));
    talk.answers(conn, OK);
    assert!(other.heard(&mut talk).ends_with("|ok"));
    // What is no pair is refused, and the old one stays.
    snapshot.certificates[0].key = Key::new(pki.issue(&["b"], 2040).1);
    let refused = format!("{:?}", talk.legs.serves(&snapshot).unwrap_err());
    assert!(refused.contains("certificate \\\"c\\\""), "{refused}");
    other.says(&mut talk, &get("b"));
    talk.answers(conn, OK);
    assert!(other.heard(&mut talk).ends_with("|ok"));
    talk.legs.ends_clean();
}
