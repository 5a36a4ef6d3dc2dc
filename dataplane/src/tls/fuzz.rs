//! Targets for [`crate::fuzz`]: any bytes into a ClientHello's reader, into a session that waits for one, and into an established one.

use super::{
    CertificateFiles, ClientAuth, ClientContext, ClientPolicy, Clock, Event, Expect, Offload, Policy, Room,
    ServerContext, ServerPolicy, Session, UnknownName, Version,
    hello::{Answer, Reader},
    record::ContentType,
    seeded,
};
use crate::{
    outbox::Outbox,
    port::{Frame, Pool},
    time::Instant,
};
use rustls::server::Acceptor;
use std::{collections::VecDeque, sync::Arc, sync::OnceLock};

/// A certificate of its own authority, valid from 2026 to 2126, and its key, which protects nothing.
const CERTIFICATE: &[u8] = include_bytes!("fuzz/certificate.pem");
const KEY: &[u8] = include_bytes!("fuzz/key.pem");
/// 2030-03-17.
const NOW: u64 = 1_900_000_000;
const SEED: u64 = 0x5eed;

/// Bytes are read the same in one piece and byte by byte, and as rustls reads them.
pub fn tls_hello(data: &[u8]) {
    let whole = Reader::default().read(data);
    let mut reader = Reader::default();
    let mut last = Answer::Partial;
    for n in 0..=data.len() {
        last = reader.read(&data[..n]);
        if last != Answer::Partial {
            break;
        }
    }
    assert_eq!(last, whole, "pieces do not matter");
    let mut acceptor = Acceptor::default();
    let mut left = data;
    if !matches!(acceptor.read_tls(&mut left), Ok(1..)) {
        return;
    }
    if let (Answer::Done(ours), Ok(Some(theirs))) = (whole, acceptor.accept()) {
        let theirs = theirs.client_hello();
        assert_eq!(ours.sni.as_deref(), theirs.server_name().map(str::to_ascii_lowercase).as_deref());
    }
}

/// The first byte says who is spoken to; then come instructions: a byte with what and how long, and so many bytes.
///
/// ```text
///   0..63  raw bytes, as many as it says       64..127  a frame of them sealed by the peer as content
///   128..191  as a handshake record            192..255  as an alert
/// ```
pub fn tls_records(data: &[u8]) {
    let Some((&first, mut left)) = data.split_first() else { return };
    let mut scene = Scene::new(if first & 1 == 0 { Version::Tls12 } else { Version::Tls13 });
    if first & 2 != 0 {
        scene.shake_hands();
    }
    let is_server = first & 4 != 0;
    let limit = if first & 8 != 0 { 2 } else { usize::MAX };
    while let Some((&what, rest)) = left.split_first() {
        let (bytes, rest) = rest.split_at(usize::from(what & 63).min(rest.len()));
        left = rest;
        let kind = match what >> 6 {
            0 => None,
            1 => Some(ContentType::ApplicationData),
            2 => Some(ContentType::Handshake),
            _ => Some(ContentType::Alert),
        };
        scene.speak(is_server, kind, bytes, limit);
    }
    scene.end(is_server);
}

struct Contexts {
    source: seeded::Source,
    servers: [Arc<ServerContext>; 2],
    clients: [Arc<ClientContext>; 2],
}

fn contexts() -> &'static Contexts {
    static CONTEXTS: OnceLock<Contexts> = OnceLock::new();
    CONTEXTS.get_or_init(|| {
        let (provider, source) = seeded::provider(SEED);
        let clock = Clock::default();
        clock.set(NOW);
        let policy = |version| Policy {
            version_min: version,
            version_max: version,
            offload: Offload::Never,
            ..Policy::default()
        };
        let server = |version| {
            let files = CertificateFiles { chain: CERTIFICATE.to_vec(), key: KEY.to_vec(), ocsp: Vec::new() };
            let server = ServerPolicy {
                policy: policy(version),
                certificates: vec![(files, Vec::new())],
                unknown_name: UnknownName::First,
                client_auth: ClientAuth::None,
                tickets: None,
            };
            ServerContext::new(&server, &provider, &clock).expect("the certificate is good")
        };
        let client = |version| {
            let client = ClientPolicy {
                policy: policy(version),
                roots: CERTIFICATE.to_vec(),
                sni: Some("fuzz.test".into()),
                expect: Expect::Name("fuzz.test".into()),
                certificate: None,
            };
            ClientContext::new(&client, &provider, &clock).expect("the authority is good")
        };
        let servers = [server(Version::Tls12), server(Version::Tls13)];
        Contexts { source, servers, clients: [client(Version::Tls12), client(Version::Tls13)] }
    })
}

/// Two sessions of ours, one of which is spoken to.
struct Scene {
    server: Session,
    client: Session,
    room: Room,
    out: Outbox,
    wire: Pool,
    /// Received and accounted for.
    received: usize,
    settled: usize,
}

impl Scene {
    fn new(version: Version) -> Self {
        let contexts = contexts();
        contexts.source.reset(SEED);
        let index = usize::from(version == Version::Tls13);
        Self {
            server: Session::server(&contexts.servers[index]),
            client: Session::client(&contexts.clients[index]),
            room: Room::default(),
            out: Outbox::new(Pool::heap(64), 1, true),
            wire: Pool::heap(256),
            received: 0,
            settled: 0,
        }
    }

    fn shake_hands(&mut self) {
        for _ in 0..3 {
            let Self { server, client, room, out, .. } = self;
            while let Some(frame) = client.poll_output(out) {
                server.handle_frame(frame, room, out);
            }
            while let Some(frame) = server.poll_output(out) {
                client.handle_frame(frame, room, out);
            }
        }
        assert!(self.server.is_established() && self.client.is_established());
        self.server.take_overhead();
        self.client.take_overhead();
    }

    /// Bytes to one side, raw or as a record of the other one's.
    fn speak(&mut self, is_server: bool, kind: Option<ContentType>, bytes: &[u8], limit: usize) {
        let Self { server, client, out, wire, .. } = self;
        let (to, from) = if is_server { (server, client) } else { (client, server) };
        let record = kind.and_then(|kind| from.forge(kind, bytes, out)).map(|frame| {
            let record = frame.to_vec();
            out.consume(frame);
            record
        });
        let bytes = record.as_deref().unwrap_or(bytes);
        if bytes.is_empty() {
            return;
        }
        let Some(mut frame) = wire.alloc() else { return };
        frame.append_slice(bytes).expect("instructions are short");
        self.received += bytes.len();
        to.handle_frame(frame, &mut self.room, &mut self.out);
        self.poll(is_server, limit);
    }

    fn poll(&mut self, is_server: bool, limit: usize) {
        let to = if is_server { &mut self.server } else { &mut self.client };
        for _ in 0..limit {
            let Some(frame) = to.poll_plaintext(&mut self.room, &mut self.out) else { break };
            self.settled += frame.len();
            self.out.consume(frame);
        }
        let (mut plain, mut sealed): (VecDeque<Frame>, _) = (VecDeque::new(), VecDeque::new());
        to.seal(Instant::from_ns(1), &mut plain, &mut sealed, &mut self.room, &mut self.out);
        sealed.drain(..).for_each(|frame| self.out.consume(frame));
        self.settled += to.take_overhead() as usize;
        assert!(self.settled <= self.received, "no byte counts twice");
        self.out.free_discards();
    }

    /// After the end everything is accounted for, events come in their order, and nothing is held.
    fn end(mut self, is_server: bool) {
        let to = if is_server { &mut self.server } else { &mut self.client };
        to.handle_end(&mut self.room, &mut self.out);
        self.poll(is_server, usize::MAX);
        let to = if is_server { &mut self.server } else { &mut self.client };
        let events: Vec<Event> = std::iter::from_fn(|| to.poll_event()).collect();
        assert!(matches!(events.last(), Some(Event::PeerClosed { .. } | Event::Refused(_))), "{events:?}");
        assert_eq!(self.settled, self.received, "every byte counts");
        assert_eq!((to.held(), self.wire.in_use(), self.room.used()), (0, 0, 0));
    }
}
