//! ClientHellos, read by us and by rustls.

use super::talk::Cast;
use crate::tls::{
    TlsRefusal,
    hello::{Answer, Hello, Reader},
};
use rustls::{ClientConnection, pki_types::ServerName, server::Acceptor};
use std::sync::Arc;

fn hello(name: &str, alpn: &[&[u8]]) -> Vec<u8> {
    let mut config = Cast::new().foreign_client_config(None);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// The same message in records of other sizes.
fn cut(hello: &[u8], mut size: impl FnMut() -> usize) -> Vec<u8> {
    let (mut left, mut bytes) = (&hello[5..], Vec::new());
    while !left.is_empty() {
        let (part, rest) = left.split_at(size().clamp(1, left.len()));
        bytes.extend([22, 3, 1, (part.len() >> 8) as u8, part.len() as u8]);
        bytes.extend_from_slice(part);
        left = rest;
    }
    bytes
}

/// What rustls makes of it: `None` while it wants more.
fn accept(bytes: &[u8]) -> Option<Result<(Option<String>, Vec<Vec<u8>>), ()>> {
    let mut acceptor = Acceptor::default();
    let mut left = bytes;
    while !left.is_empty() {
        if acceptor.read_tls(&mut left).is_err() {
            return Some(Err(()));
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let alpn = hello.alpn().map(|names| names.map(<[u8]>::to_vec).collect()).unwrap_or_default();
                return Some(Ok((hello.server_name().map(str::to_ascii_lowercase), alpn)));
            }
            Err(_) => return Some(Err(())),
        }
    }
    None
}

fn pair(hello: &Hello) -> (Option<String>, Vec<Vec<u8>>) {
    (hello.sni.as_deref().map(str::to_owned), hello.alpn.iter().map(|name| name.to_vec()).collect())
}

#[test]
fn names_and_protocols_are_read_as_rustls_reads_them() {
    for (name, alpn) in [
        ("a.test", &[][..]),
        ("MiXed.Test", &[&b"h2"[..], b"http/1.1"]),
        ("192.0.2.1", &[b"h2"]),
        ("xn--bcher-kva.test", &[b"x"]),
    ] {
        let whole = hello(name, alpn);
        assert!(whole.len() > 1_300, "a post-quantum key share is in it");
        let mut random = fastrand::Rng::with_seed(7);
        for bytes in [whole.clone(), cut(&whole, || 1), cut(&whole, || 100), cut(&whole, || random.usize(1..600))] {
            let Answer::Done(read) = Reader::default().read(&bytes) else { panic!("{name}") };
            assert_eq!(Some(Ok(pair(&read))), accept(&bytes), "{name}");
            // Byte by byte it is partial until the end.
            let mut reader = Reader::default();
            for n in 0..bytes.len() {
                assert_eq!(reader.read(&bytes[..n]), Answer::Partial, "{name}, {n} bytes");
            }
            assert_eq!(reader.read(&bytes), Answer::Done(read));
        }
    }
}

#[test]
fn what_is_behind_it_does_not_matter() {
    let mut bytes = hello("a.test", &[]);
    bytes.extend([20, 3, 3, 0, 1, 1]);
    assert!(matches!(Reader::default().read(&bytes), Answer::Done(_)));
}

#[test]
fn one_that_is_too_long_is_refused_at_its_head() {
    for (len, refusal) in [(0xffff - 3, None), (0xffff, Some(TlsRefusal::HandshakeTooLong))] {
        let bytes = [22, 3, 1, 0x40, 0, 1, 0, (len >> 8) as u8, len as u8];
        let expected = refusal.map_or(Answer::Partial, Answer::Invalid);
        assert_eq!(Reader::default().read(&bytes), expected);
    }
}

#[test]
fn damaged_ones_are_read_as_rustls_does_or_not_at_all() {
    let whole = hello("damaged.test", &[b"h2", b"http/1.1"]);
    let mut random = fastrand::Rng::with_seed(0x5eed);
    let mut agreed = 0;
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len().min(400));
            bytes[at] = random.u8(..);
        }
        let ours = Reader::default().read(&bytes);
        // rustls looks at more than we do, so it refuses more; but it lets a list of names end anywhere, and we do not.
        if let (Some(Ok(theirs)), Answer::Done(ours)) = (accept(&bytes), &ours) {
            assert_eq!(pair(ours), theirs);
            agreed += 1;
        }
    }
    assert!(agreed > 1_000, "{agreed} were good");
}

fn seeds() -> std::path::PathBuf {
    std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds/tls_hello")
}

#[test]
#[ignore = "writes into tests/fuzz/seeds"]
fn write_the_seeds() {
    let whole = hello("seed.test", &[b"h2", b"http/1.1"]);
    std::fs::create_dir_all(seeds()).unwrap();
    for (name, bytes) in [
        ("records", cut(&whole, || 300)),
        ("whole", whole),
        ("without_alpn", hello("a.b.c.seed.test", &[])),
        ("address", hello("192.0.2.1", &[])),
    ] {
        std::fs::write(seeds().join(name), bytes).unwrap();
    }
}

#[test]
fn seeds_of_hellos_are_hellos() {
    for entry in std::fs::read_dir(seeds()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(matches!(Reader::default().read(&bytes), Answer::Done(_)));
    }
}

#[test]
fn a_seed_makes_the_same_bytes_each_time() {
    let run = || {
        let (provider, _) = crate::tls::seeded::provider(42);
        let cast = Cast::new();
        let client = crate::tls::ClientContext::new(&cast.client, &provider, &cast.clock).unwrap();
        let mut session = crate::tls::Session::client(&client);
        let mut out = crate::outbox::Outbox::new(crate::port::Pool::heap(8), 1, true);
        session.poll_output(&mut out).unwrap().to_vec()
    };
    assert_eq!(run(), run());
}
