//! Handshakes of each version and suite, in all sizes of pieces, and what they come to.

use super::talk::{Cast, Cut, NAME, Talk, pattern};
use crate::tls::{Event, Offload, TicketKey, TicketKeys, TlsRefusal, UnknownName, Version};
use rustls::{CipherSuite, ClientConnection, HandshakeKind, NamedGroup, pki_types::ServerName};
use std::sync::Arc;

const SUITES: [(Version, CipherSuite); 6] = [
    (Version::Tls13, CipherSuite::TLS13_AES_128_GCM_SHA256),
    (Version::Tls13, CipherSuite::TLS13_AES_256_GCM_SHA384),
    (Version::Tls13, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    (Version::Tls12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    (Version::Tls12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    (Version::Tls12, CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
];

fn cuts() -> [Cut; 5] {
    let random = |seed| Cut::Random(fastrand::Rng::with_seed(seed));
    [Cut::Segments, Cut::Bytes, random(1), random(2), Cut::Chains]
}

fn exchange(talk: &mut Talk, version: Version, suite: CipherSuite) {
    talk.pump();
    assert_eq!(talk.events, [Event::Established], "{:?}", talk.peer_error);
    let info = talk.ours.info().unwrap();
    assert_eq!((info.version, info.suite), (version, suite));
    assert_eq!(info.sni.as_deref(), Some(NAME));
    let group = if version == Version::Tls13 { NamedGroup::X25519MLKEM768 } else { NamedGroup::X25519 };
    assert_eq!(info.group, Some(group));
    talk.peer_sends(b"question");
    assert_eq!(talk.received, b"question");
    talk.send(&[b"ans", b"wer"]);
    assert_eq!(talk.peer_received, b"answer");
    let long = pattern(100_000);
    talk.peer_sends(&long);
    assert_eq!(talk.received[8..], long);
    talk.send(&long.chunks(1_000).collect::<Vec<_>>());
    assert_eq!(talk.peer_received[6..], long);
    talk.ours.close();
    talk.pump();
    talk.peer.send_close_notify();
    talk.pump();
    assert_eq!(talk.events, [Event::Established, Event::PeerClosed { clean: true }]);
    talk.settle();
}

#[test]
fn each_version_and_suite_in_all_pieces_on_both_sides() {
    for (version, suite) in SUITES {
        let mut cast = Cast::new().only(version);
        cast.suites = vec![suite];
        for cut in cuts() {
            for is_server in [true, false] {
                let mut talk = cast.either(is_server);
                talk.cut = cut.clone();
                exchange(&mut talk, version, suite);
            }
        }
    }
}

#[test]
fn content_right_behind_the_handshake_is_not_lost() {
    for version in [Version::Tls12, Version::Tls13] {
        let mut talk = Cast::new().only(version).serve();
        // The client writes before it knows whether the handshake is over, and closes at once.
        let hello = talk.peer_says();
        talk.hear(&hello);
        talk.say();
        if version == Version::Tls12 {
            let theirs = talk.peer_says();
            talk.hear(&theirs);
            talk.say();
        }
        std::io::Write::write_all(&mut talk.peer.writer(), b"early bird").unwrap();
        talk.peer.send_close_notify();
        let theirs = talk.peer_says();
        talk.hear(&theirs);
        assert_eq!(talk.received, b"early bird");
        assert_eq!(talk.events, [Event::Established, Event::PeerClosed { clean: true }]);
        talk.pump();
        talk.settle();
    }
}

fn tickets(current: u8, previous: Option<u8>) -> Option<TicketKeys> {
    let key = |n: u8| TicketKey { name: [n; 16], key: [n; 32] };
    Some(TicketKeys { current: key(current), next: None, previous: previous.map(key), lifetime: 3_600 })
}

/// A handshake with this client's configuration; says whether it was resumed.
fn is_resumed(cast: &Cast, config: &Arc<rustls::ClientConfig>) -> bool {
    let session = crate::tls::Session::server(&cast.server_context());
    let mut talk = Talk::new(session, Cast::foreign_client(config));
    talk.pump();
    assert_eq!(talk.events, [Event::Established], "{:?}", talk.peer_error);
    let ours = talk.ours.info().unwrap().is_resumed;
    assert_eq!(ours, talk.peer.handshake_kind() == Some(HandshakeKind::Resumed));
    ours
}

#[test]
fn tickets_resume_until_their_key_or_their_time_is_over() {
    for version in [Version::Tls12, Version::Tls13] {
        let mut cast = Cast::new().only(version);
        cast.server.tickets = tickets(1, None);
        let config = Arc::new(cast.foreign_client_config(None));
        assert!(!is_resumed(&cast, &config));
        assert!(is_resumed(&cast, &config), "another context with the same keys, as another node has");
        cast.server.tickets = tickets(2, Some(1));
        assert!(is_resumed(&cast, &config), "the previous key still opens");
        cast.server.tickets = tickets(3, None);
        let config = Arc::new(cast.foreign_client_config(None));
        assert!(!is_resumed(&cast, &config));
        cast.server.tickets = tickets(4, None);
        assert!(!is_resumed(&cast, &config), "no key opens it any more");
        let config = Arc::new(cast.foreign_client_config(None));
        assert!(!is_resumed(&cast, &config));
        cast.clock.set(cast.clock.unix_seconds() + 3_601);
        assert!(!is_resumed(&cast, &config), "its time is over");
    }
}

#[test]
fn a_client_of_ours_resumes_too() {
    for version in [Version::Tls12, Version::Tls13] {
        let cast = Cast::new().only(version);
        let mut foreign = cast.foreign_server_config();
        foreign.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
        let (foreign, context) = (Arc::new(foreign), cast.client_context());
        for resumed in [false, true] {
            let peer = rustls::ServerConnection::new(Arc::clone(&foreign)).unwrap().into();
            let mut talk = Talk::new(crate::tls::Session::client(&context), peer);
            talk.pump();
            assert_eq!(talk.events, [Event::Established]);
            assert_eq!(talk.ours.info().unwrap().is_resumed, resumed, "{version:?}");
            talk.settle();
        }
    }
}

#[test]
fn steps_are_made_elsewhere_with_the_same_outcome() {
    for version in [Version::Tls12, Version::Tls13] {
        for is_server in [true, false] {
            let mut cast = Cast::new().only(version);
            cast.server.policy.offload = Offload::Always;
            cast.client.policy.offload = Offload::Always;
            for cut in cuts() {
                let mut talk = cast.either(is_server);
                talk.cut = cut;
                talk.pump();
                assert_eq!(talk.events, [Event::Established], "{:?}", talk.peer_error);
                talk.peer_sends(b"question");
                assert_eq!(talk.received, b"question");
                talk.settle();
            }
        }
    }
}

#[test]
fn only_rsa_keys_make_work() {
    let mut cast = Cast::new();
    assert!(!has_work(&cast));
    let rsa = super::pki::Wanted { names: &[NAME], algorithm: &rcgen::PKCS_RSA_SHA256, ..Default::default() };
    let rsa = cast.authority.issue(&rsa);
    cast.server.certificates.push((rsa.clone(), Vec::new()));
    assert!(!has_work(&cast), "the client can read the other one");
    cast.server.certificates.remove(0);
    assert!(has_work(&cast));
    cast.server.policy.offload = Offload::Never;
    assert!(!has_work(&cast));
}

#[test]
fn a_second_hello_makes_work_too() {
    let mut cast = Cast::new();
    let rsa = super::pki::Wanted { names: &[NAME], algorithm: &rcgen::PKCS_RSA_SHA256, ..Default::default() };
    cast.server.certificates = vec![(cast.authority.issue(&rsa), Vec::new())];
    // The client has no share for it, so the server asks for another hello (rfc8446 4.1.4), and signs when it comes.
    cast.server.policy.groups = vec![NamedGroup::secp256r1];
    let mut talk = cast.serve();
    for hello in 1..=2 {
        let mut work = None;
        for part in talk.peer_says().chunks(1_400) {
            let frame = talk.plain(part);
            talk.ours.handle_frame(frame, &mut talk.room, &mut talk.out);
            work = work.or(talk.ours.poll_work());
        }
        let done = work.unwrap_or_else(|| panic!("hello {hello} is answered elsewhere")).run();
        talk.ours.handle_done(done, &mut talk.room, &mut talk.out);
        while let Some(frame) = talk.ours.poll_output(&mut talk.out) {
            talk.tell(frame);
        }
    }
    assert_eq!((talk.peer_error, talk.peer.handshake_kind()), (None, Some(HandshakeKind::FullWithHelloRetryRequest)));
}

fn has_work(cast: &Cast) -> bool {
    let mut talk = cast.serve();
    let hello = talk.peer_says();
    let mut has_work = false;
    for part in hello.chunks(1_000) {
        let mut frame = talk.wire.alloc().unwrap();
        frame.append_slice(part).unwrap();
        talk.ours.handle_frame(frame, &mut talk.room, &mut talk.out);
        if let Some(work) = talk.ours.poll_work() {
            has_work = true;
            assert!(talk.ours.poll_output(&mut talk.out).is_none());
            // What comes meanwhile is gathered.
            talk.ours.handle_done(work.run(), &mut talk.room, &mut talk.out);
        }
    }
    let mut ended = talk.ours.poll_output(&mut talk.out).is_some();
    ended &= talk.ours.poll_event().is_none();
    assert!(ended, "the flight is there");
    has_work
}

#[test]
fn what_comes_while_a_step_is_away_is_kept_and_bounded() {
    let mut cast = Cast::new();
    cast.server.policy.offload = Offload::Always;
    let mut talk = cast.serve();
    let hello = talk.peer_says();
    for part in hello.chunks(1_400) {
        let mut frame = talk.wire.alloc().unwrap();
        frame.append_slice(part).unwrap();
        talk.ours.handle_frame(frame, &mut talk.room, &mut talk.out);
    }
    let work = talk.ours.poll_work().unwrap();
    for _ in 0..200 {
        let mut frame = talk.wire.alloc().unwrap();
        frame.append_slice(&[0; 1_400]).unwrap();
        talk.ours.handle_frame(frame, &mut talk.room, &mut talk.out);
    }
    assert_eq!(talk.ours.poll_event(), Some(Event::Refused(TlsRefusal::HandshakeTooLong)));
    talk.ours.handle_done(work.run(), &mut talk.room, &mut talk.out);
    assert!(talk.ours.poll_work().is_none() && talk.ours.poll_event().is_none());
    talk.out.free_discards();
    assert_eq!((talk.room.used(), talk.wire.in_use()), (0, 0));
}

/// The refusal of a talk that comes to nothing, and what the peer hears of it.
fn refusal(mut talk: Talk) -> (TlsRefusal, Option<u8>) {
    talk.pump();
    let heard = match &talk.peer_error {
        Some(rustls::Error::AlertReceived(alert)) => Some(u8::from(*alert)),
        _ => None,
    };
    talk.settle();
    match talk.events[..] {
        [.., Event::Refused(refusal)] => (refusal, heard),
        _ => panic!("{:?}, {:?}", talk.events, talk.peer_error),
    }
}

#[test]
fn peers_that_do_not_fit_are_refused_by_name() {
    let mut cast = Cast::new().only(Version::Tls13);
    cast.suites = vec![CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256];
    let mut config = cast.foreign_client_config(None);
    config.alpn_protocols = vec![b"h3".to_vec()];
    assert_eq!(refusal(cast.serve()), (TlsRefusal::NoSharedVersion, Some(70)));

    let mut cast = Cast::new();
    cast.server.policy.suites = vec![CipherSuite::TLS13_AES_256_GCM_SHA384];
    cast.server.policy.version_min = Version::Tls13;
    cast.suites = vec![CipherSuite::TLS13_AES_128_GCM_SHA256];
    assert_eq!(refusal(cast.serve()), (TlsRefusal::NoSharedSuite, Some(40)));

    let mut cast = Cast::new();
    cast.server.policy.groups = vec![NamedGroup::secp384r1];
    let mut provider = rustls::crypto::CryptoProvider::clone(&crate::tls::provider());
    provider.kx_groups.retain(|group| group.name() == NamedGroup::X25519);
    let config = rustls::ClientConfig::builder_with_details(Arc::new(provider), Arc::new(cast.clock.clone()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let session = crate::tls::Session::server(&cast.server_context());
    let talk = Talk::new(session, Cast::foreign_client(&Arc::new(config)));
    assert_eq!(refusal(talk), (TlsRefusal::NoSharedGroup, Some(40)));

    let mut cast = Cast::new();
    cast.server.policy.alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut config = cast.foreign_client_config(None);
    config.alpn_protocols = vec![b"h3".to_vec()];
    let session = crate::tls::Session::server(&cast.server_context());
    let talk = Talk::new(session, Cast::foreign_client(&Arc::new(config)));
    assert_eq!(refusal(talk), (TlsRefusal::NoSharedProtocol, Some(120)));

    let mut cast = Cast::new();
    cast.server.unknown_name = UnknownName::Refuse;
    let name = ServerName::try_from("other.test").unwrap();
    let peer = ClientConnection::new(Arc::new(cast.foreign_client_config(None)), name).unwrap().into();
    let talk = Talk::new(crate::tls::Session::server(&cast.server_context()), peer);
    assert_eq!(refusal(talk), (TlsRefusal::NoCertificateForName, Some(112)));
}

#[test]
fn the_best_common_protocol_is_ours_to_choose() {
    let mut cast = Cast::new();
    cast.server.policy.alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut config = cast.foreign_client_config(None);
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    let session = crate::tls::Session::server(&cast.server_context());
    let mut talk = Talk::new(session, Cast::foreign_client(&Arc::new(config)));
    talk.pump();
    assert_eq!(talk.ours.info().unwrap().alpn.as_deref(), Some(&b"h2"[..]));
}

#[test]
fn what_is_no_tls_is_refused_at_its_first_bytes() {
    for (bytes, expected) in [
        (&b"GET / HTTP/1.1\r\n"[..], TlsRefusal::RecordInvalid),
        (&[22, 3, 1, 0xff, 0xff], TlsRefusal::RecordTooLong),
        (&[22, 3, 1, 0, 0], TlsRefusal::RecordInvalid),
        (&[22, 3, 1, 0, 4, 2, 0, 0, 1], TlsRefusal::UnexpectedMessage),
        (&[22, 3, 1, 0, 4, 1, 1, 0, 0], TlsRefusal::HandshakeTooLong),
        (&[23, 3, 3, 0, 1, 0], TlsRefusal::UnexpectedMessage),
        (&[22, 3, 1, 0, 5, 1, 0, 0, 1, 0], TlsRefusal::MessageInvalid),
    ] {
        let mut talk = Cast::new().serve();
        talk.hear(bytes);
        assert_eq!(talk.events, [Event::Refused(expected)], "{bytes:?}");
        let alert = talk.ours.poll_output(&mut talk.out).unwrap().to_vec();
        assert_eq!(alert, [21, 3, 3, 0, 2, 2, expected.alert().unwrap()]);
        talk.settle();
    }
}

#[test]
fn a_handshake_that_is_cut_is_told_from_one_that_is_closed() {
    let mut talk = Cast::new().serve();
    let hello = talk.peer_says();
    talk.hear(&hello[..100]);
    talk.ours.handle_end(&mut talk.room, &mut talk.out);
    talk.poll();
    assert_eq!(talk.events, [Event::Refused(TlsRefusal::HandshakeCut)]);
    talk.settle();

    let mut talk = Cast::new().serve();
    let hello = talk.peer_says();
    talk.hear(&hello);
    talk.hear(&[21, 3, 3, 0, 2, 1, 0]);
    assert_eq!(talk.events, [Event::Refused(TlsRefusal::HandshakeCut)], "close_notify right behind the hello");
    talk.pump();
    talk.settle();
}

#[test]
fn no_frames_for_the_flight_only_delay_it() {
    for is_server in [true, false] {
        let mut talk = Cast::new().either(is_server);
        let mut taken: Vec<_> = std::iter::from_fn(|| talk.out.pool.alloc()).collect();
        let theirs = talk.peer_says();
        talk.hear(&theirs);
        assert!(talk.ours.poll_output(&mut talk.out).is_none());
        // One frame at a time is enough.
        taken.pop();
        while !talk.ours.is_established() {
            let said = talk.say();
            let theirs = talk.peer_says();
            talk.hear(&theirs);
            assert!(said > 0 || !theirs.is_empty() || talk.ours.is_established(), "it goes on");
        }
        talk.pump();
        talk.peer_sends(b"question");
        assert_eq!(talk.received, b"question");
        drop(taken);
        talk.settle();
    }
}
