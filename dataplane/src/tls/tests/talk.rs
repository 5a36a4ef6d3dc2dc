//! A conversation between a session of ours and a connection of rustls's.

use super::pki::{Authority, clock};
use crate::{
    limits::FRAME_ROOM,
    outbox::Outbox,
    port::{Frame, Pool},
    time::{Duration, Instant},
    tls::{
        ClientAuth, ClientContext, ClientPolicy, Clock, Event, Expect, Policy, Room, ServerContext, ServerPolicy,
        Session, UnknownName, Version, provider,
    },
};
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use std::{
    collections::VecDeque,
    io::{Read, Write},
    sync::Arc,
};

/// How the peer's bytes are cut into frames.
#[derive(Clone)]
pub(super) enum Cut {
    /// Full segments.
    Segments,
    /// Single bytes.
    Bytes,
    /// Between one byte and a frame's room.
    Random(fastrand::Rng),
    /// Chains of two short segments.
    Chains,
}

impl Cut {
    fn next(&mut self) -> usize {
        match self {
            Self::Segments => 1_448,
            Self::Bytes => 1,
            Self::Random(random) => random.usize(1..=FRAME_ROOM),
            Self::Chains => 700,
        }
    }
}

pub(super) struct Talk {
    pub(super) ours: Session,
    pub(super) peer: Connection,
    pub(super) room: Room,
    pub(super) out: Outbox,
    /// Where the peer's frames come from.
    pub(super) wire: Pool,
    pub(super) cut: Cut,
    pub(super) now: Instant,
    /// Plaintext that we received, and that the peer did.
    pub(super) received: Vec<u8>,
    pub(super) peer_received: Vec<u8>,
    pub(super) events: Vec<Event>,
    /// What the peer says is wrong.
    pub(super) peer_error: Option<rustls::Error>,
    /// Each record that we sent: type and length.
    pub(super) sent: Vec<u8>,
    bytes_in: usize,
    overhead: usize,
}

impl Talk {
    pub(super) fn new(ours: Session, peer: Connection) -> Self {
        let mut out = Outbox::new(Pool::heap(512), 1, true);
        out.free_discards();
        Self {
            ours,
            peer,
            room: Room::default(),
            out,
            wire: Pool::heap(4_096),
            cut: Cut::Segments,
            now: Instant::from_ns(1),
            received: Vec::new(),
            peer_received: Vec::new(),
            events: Vec::new(),
            peer_error: None,
            sent: Vec::new(),
            bytes_in: 0,
            overhead: 0,
        }
    }

    /// Until nobody has anything to say.
    pub(super) fn pump(&mut self) {
        loop {
            let theirs = self.peer_says();
            let is_quiet = theirs.is_empty();
            self.hear(&theirs);
            if self.say() == 0 && is_quiet && !self.peer.wants_write() {
                return;
            }
        }
    }

    /// What the peer has to send.
    pub(super) fn peer_says(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.peer.wants_write() {
            self.peer.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// We receive.
    pub(super) fn hear(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(self.cut.next().min(bytes.len()));
            bytes = later;
            self.hear_frame(now);
        }
    }

    pub(super) fn hear_frame(&mut self, bytes: &[u8]) {
        let frame = self.frame(bytes);
        self.bytes_in += bytes.len();
        self.ours.handle_frame(frame, &mut self.room, &mut self.out);
        self.poll();
    }

    fn frame(&self, bytes: &[u8]) -> Frame {
        let (first, second) =
            bytes.split_at(if matches!(self.cut, Cut::Chains) { bytes.len() / 2 } else { bytes.len() });
        let mut frame = self.wire.alloc().unwrap();
        frame.append_slice(first).unwrap();
        if !second.is_empty() {
            let mut tail = self.wire.alloc().unwrap();
            tail.append_slice(second).unwrap();
            frame.chain(tail);
        }
        frame
    }

    /// Takes work, plaintext and events, and looks after the window: everything is overhead, plaintext, or still inside.
    pub(super) fn poll(&mut self) {
        while let Some(work) = self.ours.poll_work() {
            assert!(self.ours.is_away());
            let done = std::thread::spawn(move || work.run()).join().unwrap();
            self.ours.handle_done(done, &mut self.room, &mut self.out);
        }
        while let Some(frame) = self.ours.poll_plaintext(&mut self.room, &mut self.out) {
            self.received.extend(frame.to_vec());
            self.out.consume(frame);
        }
        while let Some(event) = self.ours.poll_event() {
            self.events.push(event);
        }
        self.overhead += self.ours.take_overhead() as usize;
        assert!(self.overhead + self.received.len() <= self.bytes_in, "no byte counts twice");
        self.out.free_discards();
    }

    /// All bytes that came are accounted for, and nothing is held.
    pub(super) fn settle(&mut self) {
        self.poll();
        assert_eq!(self.overhead + self.received.len(), self.bytes_in, "every byte counts");
        assert_eq!((self.ours.held(), self.wire.in_use(), self.out.pool.in_use()), (0, 0, 0), "no frame is held");
        assert_eq!(self.room.used(), 0, "no memory is held");
    }

    /// The peer hears what we have to say; says how many bytes.
    pub(super) fn say(&mut self) -> usize {
        let mut said = 0;
        while let Some(frame) = self.ours.poll_output(&mut self.out) {
            said += frame.len();
            self.tell(frame);
        }
        self.poll();
        said
    }

    pub(super) fn tell(&mut self, frame: Frame) {
        let bytes = frame.to_vec();
        self.out.consume(frame);
        self.sent.extend_from_slice(&bytes);
        let mut left = &bytes[..];
        while !left.is_empty() && self.peer_error.is_none() {
            if self.peer.read_tls(&mut left).unwrap() == 0 {
                break;
            }
            match self.peer.process_new_packets() {
                Ok(_) => {
                    let _ = self.peer.reader().read_to_end(&mut self.peer_received);
                }
                Err(error) => self.peer_error = Some(error),
            }
        }
        self.out.free_discards();
    }

    /// We seal frames with these contents, and the peer hears them.
    pub(super) fn send(&mut self, contents: &[&[u8]]) {
        let mut plain: VecDeque<Frame> = contents.iter().map(|bytes| self.plain(bytes)).collect();
        let mut sealed = VecDeque::new();
        while !plain.is_empty() {
            let before = plain.len();
            self.ours.seal(self.now, &mut plain, &mut sealed, &mut self.room, &mut self.out);
            assert!(!sealed.is_empty() || plain.len() < before, "sealing goes on");
            sealed.drain(..).collect::<Vec<_>>().into_iter().for_each(|frame| self.tell(frame));
        }
    }

    /// A frame as one that was received: with the room of its headers before it.
    pub(super) fn plain(&self, bytes: &[u8]) -> Frame {
        let mut frame = self.wire.alloc().unwrap();
        frame.append_slice(&[0; 66]).unwrap();
        frame.append_slice(bytes).unwrap();
        frame.trim_front(66);
        frame
    }

    /// The peer sends content, and we hear it.
    pub(super) fn peer_sends(&mut self, bytes: &[u8]) {
        self.peer.set_buffer_limit(None);
        self.peer.writer().write_all(bytes).unwrap();
        let theirs = self.peer_says();
        self.hear(&theirs);
    }

    pub(super) fn wait(&mut self, duration: Duration) {
        self.now = Instant::from_ns(self.now.as_ns() + duration.as_ns());
    }

    /// Types and lengths of the records that we sent since the last call.
    pub(super) fn records(&mut self) -> Vec<(u8, usize)> {
        let (mut records, mut left) = (Vec::new(), &self.sent[..]);
        while let [kind, 3, _, high, low, rest @ ..] = left {
            let len = usize::from(u16::from_be_bytes([*high, *low]));
            records.push((*kind, len));
            left = &rest[len..];
        }
        assert!(left.is_empty(), "records are whole");
        self.sent.clear();
        records
    }
}

/// Who talks: an authority, a server's name, and what each side is made of.
pub(super) struct Cast {
    pub(super) authority: Authority,
    pub(super) clock: Clock,
    pub(super) server: ServerPolicy,
    pub(super) client: ClientPolicy,
    /// Suites of the foreign peer; empty: all.
    pub(super) suites: Vec<rustls::CipherSuite>,
}

pub(super) const NAME: &str = "gateway.test";

impl Cast {
    pub(super) fn new() -> Self {
        let authority = Authority::new("authority");
        let certificate = authority.named(NAME);
        let server = ServerPolicy {
            policy: Policy::default(),
            certificates: vec![(certificate, Vec::new())],
            unknown_name: UnknownName::First,
            client_auth: ClientAuth::None,
            tickets: None,
        };
        let client = ClientPolicy {
            policy: Policy::default(),
            roots: authority.pem.clone().into(),
            sni: Some(NAME.into()),
            expect: Expect::Name(NAME.into()),
            certificate: None,
        };
        Self { authority, clock: clock(), server, client, suites: Vec::new() }
    }

    pub(super) fn only(mut self, version: Version) -> Self {
        for policy in [&mut self.server.policy, &mut self.client.policy] {
            (policy.version_min, policy.version_max) = (version, version);
        }
        self
    }

    pub(super) fn server_context(&self) -> Arc<ServerContext> {
        ServerContext::new(&self.server, &provider(), &self.clock).unwrap()
    }
    pub(super) fn client_context(&self) -> Arc<ClientContext> {
        ClientContext::new(&self.client, &provider(), &self.clock).unwrap()
    }

    fn foreign_provider(&self) -> Arc<rustls::crypto::CryptoProvider> {
        let mut provider = rustls::crypto::CryptoProvider::clone(&provider());
        provider.kx_groups.sort_by_key(|group| group.name() != rustls::NamedGroup::X25519MLKEM768);
        if !self.suites.is_empty() {
            provider.cipher_suites.retain(|suite| self.suites.contains(&suite.suite()));
        }
        Arc::new(provider)
    }

    /// rustls's client, which shows `certificate` when it is asked.
    pub(super) fn foreign_client_config(&self, certificate: Option<&crate::tls::CertificateFiles>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_details(self.foreign_provider(), Arc::new(self.clock.clone()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        match certificate {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let chain = CertificateDer::pem_slice_iter(&files.chain).map(Result::unwrap).collect();
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(&files.key).unwrap()).unwrap()
            }
        }
    }
    pub(super) fn foreign_client(config: &Arc<ClientConfig>) -> Connection {
        let name = ServerName::try_from(NAME).unwrap();
        ClientConnection::new(Arc::clone(config), name).unwrap().into()
    }

    /// rustls's server, with the first certificate.
    pub(super) fn foreign_server_config(&self) -> ServerConfig {
        let (files, _) = &self.server.certificates[0];
        let chain = CertificateDer::pem_slice_iter(&files.chain).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(&files.key).unwrap();
        ServerConfig::builder_with_details(self.foreign_provider(), Arc::new(self.clock.clone()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    }

    /// A server of ours and a client of rustls's.
    pub(super) fn serve(&self) -> Talk {
        let peer = Self::foreign_client(&Arc::new(self.foreign_client_config(None)));
        Talk::new(Session::server(&self.server_context()), peer)
    }
    /// A client of ours and a server of rustls's.
    pub(super) fn call(&self) -> Talk {
        let peer = ServerConnection::new(Arc::new(self.foreign_server_config())).unwrap().into();
        Talk::new(Session::client(&self.client_context()), peer)
    }
    /// Either.
    pub(super) fn either(&self, is_server: bool) -> Talk {
        if is_server { self.serve() } else { self.call() }
    }
}

/// Bytes that are all different from their neighbours.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
}
