//! Who is who: certificates by name, clients' certificates, servers' names.

use super::{
    pki::{Authority, NOW, Wanted},
    talk::{Cast, NAME, Talk},
};
use crate::tls::{
    Certificate, CertificateError, CertificateFiles, ClientAuth, ClientAuthorities, ClientContext, ContextError, Event,
    Expect, ServerContext, Session, TicketKey, TicketKeys, TlsRefusal, Version, provider,
};
use rustls::{ClientConnection, pki_types::ServerName};
use std::sync::Arc;

fn client_talk(cast: &Cast, certificate: Option<&CertificateFiles>) -> Talk {
    let config = cast.foreign_client_config(certificate);
    Talk::new(Session::server(&cast.server_context()), Cast::foreign_client(&Arc::new(config)))
}

fn authorities(cast: &Cast) -> ClientAuthorities {
    ClientAuthorities { roots: cast.authority.pem.clone().into(), revocation_lists: Vec::new() }
}

/// What a server of ours says to a client with this certificate.
fn outcome(cast: &Cast, certificate: Option<&CertificateFiles>) -> Result<Talk, TlsRefusal> {
    let mut talk = client_talk(cast, certificate);
    talk.pump();
    talk.settle();
    match talk.events[..] {
        [Event::Established] => Ok(talk),
        [.., Event::Refused(refusal)] => Err(refusal),
        _ => panic!("{:?}, {:?}", talk.events, talk.peer_error),
    }
}

#[test]
fn clients_are_who_their_certificates_say_or_refused() {
    for version in [Version::Tls12, Version::Tls13] {
        let mut cast = Cast::new().only(version);
        let stranger = Authority::new("stranger").named("client.test");
        let good =
            Wanted { names: &["client.test"], uris: &["spiffe://test/ns/a/sa/b"], serial: 7, ..Wanted::default() };
        let good = cast.authority.issue(&good);
        let old = cast.authority.issue(&Wanted { names: &["client.test"], years: (2020, 2025), ..Wanted::default() });
        let new = cast.authority.issue(&Wanted { names: &["client.test"], years: (2035, 2040), ..Wanted::default() });

        cast.server.client_auth = ClientAuth::Required(authorities(&cast));
        let talk = outcome(&cast, Some(&good)).unwrap();
        let peer = talk.ours.info().unwrap().peer.as_ref().unwrap();
        assert_eq!(peer.dns_names, ["client.test".into()]);
        assert_eq!(peer.uris, ["spiffe://test/ns/a/sa/b".into()]);
        assert_eq!(outcome(&cast, None).err(), Some(TlsRefusal::CertificateMissing));
        assert_eq!(outcome(&cast, Some(&stranger)).err(), Some(TlsRefusal::CertificateUntrusted));
        assert_eq!(outcome(&cast, Some(&old)).err(), Some(TlsRefusal::CertificateExpired));
        assert_eq!(outcome(&cast, Some(&new)).err(), Some(TlsRefusal::CertificateNotYetValid));

        cast.server.client_auth = ClientAuth::Optional(authorities(&cast));
        assert!(outcome(&cast, None).unwrap().ours.info().unwrap().peer.is_none());
        assert!(outcome(&cast, Some(&good)).unwrap().ours.info().unwrap().peer.is_some());
        assert_eq!(outcome(&cast, Some(&stranger)).err(), Some(TlsRefusal::CertificateUntrusted));

        let mut listed = authorities(&cast);
        listed.revocation_lists = vec![cast.authority.revoke(7, 2040)];
        cast.server.client_auth = ClientAuth::Required(listed.clone());
        assert_eq!(outcome(&cast, Some(&good)).err(), Some(TlsRefusal::CertificateRevoked));
        listed.revocation_lists = vec![cast.authority.revoke(8, 2040)];
        cast.server.client_auth = ClientAuth::Required(listed.clone());
        assert!(outcome(&cast, Some(&good)).is_ok());
        listed.revocation_lists = vec![cast.authority.revoke(8, 2025)];
        cast.server.client_auth = ClientAuth::Required(listed.clone());
        assert_eq!(outcome(&cast, Some(&good)).err(), Some(TlsRefusal::RevocationUnknown), "the list is out of date");
    }
}

#[test]
fn a_ticket_does_not_lead_past_what_is_asked_of_clients_now() {
    for version in [Version::Tls12, Version::Tls13] {
        let mut cast = Cast::new().only(version);
        let key = TicketKey { name: [1; 16], key: [1; 32] };
        cast.server.tickets = Some(TicketKeys { current: key, next: None, previous: None, lifetime: 600_000 });
        cast.server.client_auth = ClientAuth::Required(authorities(&cast));
        let soon = Wanted { names: &["client.test"], serial: 7, years: (2020, 2031), ..Wanted::default() };
        let client = cast.authority.issue(&soon);
        let config = Arc::new(cast.foreign_client_config(Some(&client)));
        let connect = |cast: &Cast| {
            let mut talk = Talk::new(Session::server(&cast.server_context()), Cast::foreign_client(&config));
            talk.pump();
            talk
        };
        assert!(!connect(&cast).ours.info().unwrap().is_resumed);
        let resumed = connect(&cast);
        let info = resumed.ours.info().unwrap();
        assert!(info.is_resumed && info.peer.is_some(), "{version:?}: who it is comes with the ticket");
        // A list is added that has the client's certificate.
        let mut listed = authorities(&cast);
        listed.revocation_lists = vec![cast.authority.revoke(7, 2040)];
        cast.server.client_auth = ClientAuth::Required(listed);
        let refused = connect(&cast);
        assert_eq!(refused.events.last(), Some(&Event::Refused(TlsRefusal::CertificateRevoked)));
    }
}

#[test]
fn a_resumed_client_is_refused_when_its_certificate_has_expired() {
    let mut cast = Cast::new().only(Version::Tls13);
    let key = TicketKey { name: [1; 16], key: [1; 32] };
    cast.server.tickets = Some(TicketKeys { current: key, next: None, previous: None, lifetime: 600_000 });
    cast.server.client_auth = ClientAuth::Required(authorities(&cast));
    let client = cast.authority.issue(&Wanted { names: &["c.test"], years: (2020, 2031), ..Wanted::default() });
    let config = Arc::new(cast.foreign_client_config(Some(&client)));
    // 2031-01-01 00:00:00, an hour before.
    cast.clock.set(1_924_992_000 - 3_600);
    for refusal in [None, Some(Event::Refused(TlsRefusal::CertificateExpired))] {
        let mut talk = Talk::new(Session::server(&cast.server_context()), Cast::foreign_client(&config));
        talk.pump();
        let last = *talk.events.last().unwrap();
        assert_eq!(last, refusal.unwrap_or(Event::Established));
        talk.settle();
        cast.clock.set(1_924_992_000 + 3_600);
    }
}

#[test]
fn names_choose_certificates() {
    let mut cast = Cast::new();
    let names: [&[&str]; 4] = [&[NAME], &["*.wild.test"], &["one.wild.test"], &["both.test"]];
    cast.server.certificates =
        names.iter().map(|names| (cast.authority.issue(&Wanted { names, ..Wanted::default() }), Vec::new())).collect();
    let config = Arc::new(cast.foreign_client_config(None));
    let context = cast.server_context();
    for (asked, good) in [
        (NAME, true),
        ("a.wild.test", true),
        ("one.wild.test", true),
        ("Both.Test", true),
        ("a.b.wild.test", false),
        ("wild.test", false),
    ] {
        let name = ServerName::try_from(asked).unwrap();
        let peer = ClientConnection::new(Arc::clone(&config), name).unwrap().into();
        let mut talk = Talk::new(Session::server(&context), peer);
        talk.pump();
        assert_eq!(talk.peer_error.is_none(), good, "{asked}");
        if !good {
            assert_eq!(talk.events, [Event::Refused(TlsRefusal::PeerAlert(42))], "{asked}");
        }
    }
    for (sni, host, covered) in [
        (Some("a.wild.test"), "b.wild.test", true),
        (Some("one.wild.test"), "b.wild.test", false),
        (Some(NAME), NAME, true),
        (Some(NAME), "both.test", false),
        (None, NAME, true),
    ] {
        assert_eq!(context.covers(sni, host), covered, "{sni:?} {host}");
    }
}

#[test]
fn the_client_s_schemes_choose_among_certificates_of_a_name() {
    let mut cast = Cast::new();
    let make =
        |algorithm| (cast.authority.issue(&Wanted { names: &[NAME], algorithm, ..Wanted::default() }), Vec::new());
    let certificates = vec![make(&rcgen::PKCS_RSA_SHA256), make(&rcgen::PKCS_ECDSA_P256_SHA256)];
    cast.server.certificates = certificates;
    for (suite, is_rsa) in [
        (rustls::CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, true),
        (rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, false),
        (rustls::CipherSuite::TLS13_AES_128_GCM_SHA256, false),
    ] {
        cast.suites = vec![suite];
        let mut talk = cast.serve();
        talk.pump();
        assert_eq!(talk.events, [Event::Established], "{suite:?}");
        let leaf = talk.peer.peer_certificates().unwrap()[0].clone();
        let own = cast.server_context().certificates()[usize::from(!is_rsa)].key.cert[0].clone();
        assert_eq!(leaf, own, "{suite:?}");
    }
}

#[test]
fn servers_must_be_the_ones_we_mean() {
    let mut cast = Cast::new();
    let spiffe = "spiffe://test/ns/a/sa/server";
    let other = "spiffe://test/ns/a/sa/other";
    let plain = cast.authority.named(NAME);
    let workload = cast.authority.issue(&Wanted { uris: &[spiffe], ..Wanted::default() });
    let both = cast.authority.issue(&Wanted { uris: &[spiffe, other], ..Wanted::default() });
    let strange = Authority::new("stranger").named(NAME);
    let old = cast.authority.issue(&Wanted { names: &[NAME], years: (2020, 2025), ..Wanted::default() });
    let name = |name: &str| Expect::Name(name.into());
    let uri = |uri: &str| Expect::AnyOf { names: Vec::new(), uris: vec![uri.into()] };
    for (server, expect, refusal) in [
        (&plain, name(NAME), None),
        (&plain, name("other.test"), Some(TlsRefusal::CertificateWrongName)),
        (&plain, uri(spiffe), Some(TlsRefusal::CertificateWrongName)),
        (&workload, uri(spiffe), None),
        (&workload, uri(other), Some(TlsRefusal::CertificateWrongName)),
        (&workload, name(NAME), Some(TlsRefusal::CertificateWrongName)),
        (&both, uri(spiffe), Some(TlsRefusal::CertificateWrongName)),
        (&strange, name(NAME), Some(TlsRefusal::CertificateUntrusted)),
        (&old, name(NAME), Some(TlsRefusal::CertificateExpired)),
    ] {
        cast.server.certificates = vec![(server.clone(), Vec::new())];
        cast.client.expect = expect.clone();
        let mut talk = cast.call();
        talk.pump();
        let last = talk.events.last().copied();
        assert_eq!(last, Some(refusal.map_or(Event::Established, Event::Refused)), "{expect:?}");
        talk.settle();
    }
}

#[test]
fn a_server_that_asks_gets_our_certificate() {
    for version in [Version::Tls12, Version::Tls13] {
        for algorithm in [&rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256] {
            let mut cast = Cast::new().only(version);
            let own = Wanted { uris: &["spiffe://test/gateway"], algorithm, ..Wanted::default() };
            cast.client.certificate = Some(cast.authority.issue(&own));
            cast.server.client_auth = ClientAuth::Required(authorities(&cast));
            // Both sides are ours here.
            let (server, client) = (cast.server_context(), cast.client_context());
            let (mut a, mut b) = (Session::client(&client), Session::server(&server));
            let mut talk = cast.serve();
            for _ in 0..4 {
                for (from, to) in [(true, false), (false, true)] {
                    let (from, to) = if from && !to { (&mut a, &mut b) } else { (&mut b, &mut a) };
                    while let Some(frame) = from.poll_output(&mut talk.out) {
                        to.handle_frame(frame, &mut talk.room, &mut talk.out);
                    }
                    if let Some(work) = to.poll_work() {
                        to.handle_done(work.run(), &mut talk.room, &mut talk.out);
                    }
                }
            }
            assert!(a.is_established() && b.is_established(), "{:?} {:?}", a.refusal(), b.refusal());
            assert_eq!(b.info().unwrap().peer.as_ref().unwrap().uris, ["spiffe://test/gateway".into()]);
        }
    }
}

fn read(files: &CertificateFiles) -> Result<Certificate, CertificateError> {
    Certificate::read(files, &provider(), NOW)
}

#[test]
fn files_that_do_not_fit_are_refused_by_name() {
    let authority = Authority::new("authority");
    let good = authority.named(NAME);
    assert_eq!(read(&good).unwrap().dns_names(), [NAME.into()]);
    let other = authority.named(NAME);
    let with = |chain: &[u8], key: &[u8]| CertificateFiles { chain: chain.into(), key: key.into(), ocsp: Vec::new() };
    assert_eq!(read(&with(&good.chain, &other.key)).unwrap_err(), CertificateError::KeyMismatch);
    assert_eq!(read(&with(b"", &good.key)).unwrap_err(), CertificateError::ChainEmpty);
    assert!(matches!(
        read(&with(&good.chain[..200], &good.key)),
        Err(CertificateError::ChainInvalid(_) | CertificateError::ChainEmpty)
    ));
    assert!(matches!(read(&with(&good.chain, &good.key[..60])), Err(CertificateError::KeyInvalid(_))));
    assert!(matches!(read(&with(&good.chain, &good.chain)), Err(CertificateError::KeyInvalid(_))));
    let old = authority.issue(&Wanted { names: &[NAME], years: (2020, 2025), ..Wanted::default() });
    assert_eq!(read(&old).unwrap_err(), CertificateError::Expired(1_735_689_600));
    let new = authority.issue(&Wanted { names: &[NAME], years: (2035, 2040), ..Wanted::default() });
    assert_eq!(read(&new).unwrap_err(), CertificateError::NotYetValid(2_051_222_400));
    // A context takes both: what was in force goes on over a restart.
    for files in [&old, &new] {
        assert!(Certificate::read_undated(files, &provider()).is_ok());
    }
    let long = good.chain.repeat(17);
    assert_eq!(read(&with(&long, &good.key)).unwrap_err(), CertificateError::ChainTooLong);
}

#[test]
fn contexts_that_cannot_work_are_refused_by_name() {
    let server = |change: fn(&mut Cast)| {
        let mut cast = Cast::new();
        change(&mut cast);
        ServerContext::new(&cast.server, &provider(), &cast.clock).err()
    };
    assert_eq!(server(|_| {}), None);
    assert_eq!(server(|c| c.server.certificates.clear()), Some(ContextError::NoCertificates));
    assert_eq!(
        server(|c| c.server.certificates[0].1 = vec!["other.test".into()]),
        Some(ContextError::Certificate(0, CertificateError::NameMissing("other.test".into())))
    );
    assert_eq!(server(|c| c.server.policy.alpn = vec![Vec::new()]), Some(ContextError::AlpnInvalid));
    assert_eq!(
        server(|c| (c.server.policy.version_min, c.server.policy.version_max) = (Version::Tls13, Version::Tls12)),
        Some(ContextError::VersionsEmpty)
    );
    let suite = rustls::CipherSuite::TLS_RSA_WITH_AES_128_CBC_SHA;
    assert_eq!(
        server(|c| c.server.policy.suites = vec![rustls::CipherSuite::TLS_RSA_WITH_AES_128_CBC_SHA]),
        Some(ContextError::SuiteUnknown(suite))
    );
    assert!(matches!(
        server(|c| {
            c.server.policy.suites = vec![rustls::CipherSuite::TLS13_AES_128_GCM_SHA256];
            c.server.policy.version_max = Version::Tls12;
        }),
        Some(ContextError::PolicyUnusable(_))
    ));
    let empty = || ClientAuthorities { roots: Vec::new(), revocation_lists: Vec::new() };
    let mut cast = Cast::new();
    cast.server.client_auth = ClientAuth::Required(empty());
    assert_eq!(ServerContext::new(&cast.server, &provider(), &cast.clock).err(), Some(ContextError::RootsEmpty));

    let client = |change: fn(&mut Cast)| {
        let mut cast = Cast::new();
        change(&mut cast);
        ClientContext::new(&cast.client, &provider(), &cast.clock).err()
    };
    assert_eq!(client(|_| {}), None);
    assert_eq!(client(|c| c.client.roots.clear()), Some(ContextError::RootsEmpty));
    assert_eq!(client(|c| c.client.sni = Some("no name".into())), Some(ContextError::NameInvalid("no name".into())));
    assert_eq!(
        client(|c| c.client.expect = Expect::AnyOf { names: Vec::new(), uris: Vec::new() }),
        Some(ContextError::ExpectsNothing)
    );
}

#[test]
fn an_ocsp_response_is_given_with_its_certificate() {
    let mut cast = Cast::new();
    cast.server.certificates[0].0.ocsp = b"a response".to_vec();
    let context = cast.server_context();
    assert_eq!(context.certificates()[0].key.ocsp.as_deref(), Some(&b"a response"[..]));
}
