//! A server and a client of ours, and what they are made of.

use rcgen::{CertificateParams, KeyPair};
use std::sync::Arc;
use weirgate_dataplane::{
    outbox::Outbox,
    port::Pool,
    tls::{
        CertificateFiles, ClientAuth, ClientContext, ClientPolicy, Clock, Expect, Offload, Policy, Room, ServerContext,
        ServerPolicy, Session, TicketKey, TicketKeys, UnknownName, Version, provider,
    },
};

const NAME: &str = "bench.test";

/// Contexts with an ECDSA P-256 certificate, TLS 1.3, X25519 and AES-128-GCM.
pub(super) struct Contexts {
    pub(super) server: Arc<ServerContext>,
    pub(super) client: Arc<ClientContext>,
}

impl Contexts {
    pub(super) fn new(resumes: bool, group: rustls::NamedGroup) -> Self {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
        params.is_ca = rcgen::IsCa::ExplicitNoCa;
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let chain = params.self_signed(&key).expect("a certificate").pem();
        let clock = Clock::default();
        clock.set(1_900_000_000);
        let policy = Policy {
            version_min: Version::Tls13,
            suites: vec![rustls::CipherSuite::TLS13_AES_128_GCM_SHA256],
            groups: vec![group],
            offload: Offload::Never,
            ..Policy::default()
        };
        let files = CertificateFiles { chain: chain.clone().into(), key: key.serialize_pem().into(), ocsp: Vec::new() };
        let ticket = TicketKey { name: [1; 16], key: [2; 32] };
        let server = ServerPolicy {
            policy: policy.clone(),
            certificates: vec![(files, Vec::new())],
            unknown_name: UnknownName::First,
            client_auth: ClientAuth::None,
            tickets: resumes.then_some(TicketKeys { current: ticket, next: None, previous: None, lifetime: 86_400 }),
        };
        let client = ClientPolicy {
            policy,
            roots: chain.into(),
            sni: Some(NAME.into()),
            expect: Expect::Name(NAME.into()),
            certificate: None,
        };
        Self {
            server: ServerContext::new(&server, &provider(), &clock).expect("a context"),
            client: ClientContext::new(&client, &provider(), &clock).expect("a context"),
        }
    }
}

/// What both sides share here.
pub(super) struct Place {
    pub(super) room: Room,
    pub(super) out: Outbox,
}

impl Place {
    pub(super) fn new(pool: &Pool) -> Self {
        Self { room: Room::default(), out: Outbox::new(pool.clone(), 1, true) }
    }

    /// A whole handshake.
    pub(super) fn shake_hands(&mut self, contexts: &Contexts) -> (Session, Session) {
        let mut server = Session::server(&contexts.server);
        let mut client = Session::client(&contexts.client);
        for _ in 0..3 {
            while let Some(frame) = client.poll_output(&mut self.out) {
                server.handle_frame(frame, &mut self.room, &mut self.out);
            }
            while let Some(frame) = server.poll_output(&mut self.out) {
                client.handle_frame(frame, &mut self.room, &mut self.out);
            }
        }
        self.out.free_discards();
        assert!(server.is_established() && client.is_established());
        (server, client)
    }
}
