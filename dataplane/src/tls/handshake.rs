//! The handshake: rustls, fed record by record, until it can be let go of.

use super::{
    ClientContext, Info, Offload, Peer, Room, ServerContext, TlsRefusal, Version, certificate,
    hello::{Answer, Hello, Reader},
    receive::Receiver,
    record::{HEADER, Header, Open, Seal},
    room::Buffer,
    sealing::{Kernel, Sealer},
};
use crate::limits::{TLS_HANDSHAKE_MAX, TLS_HELLO_MAX};
use rustls::{
    CommonState, Error, HandshakeKind, ProtocolVersion,
    client::UnbufferedClientConnection,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, UnbufferedStatus},
};
use std::{ops::Deref, sync::Arc};

/// A step of a handshake, to be made wherever there is time. It owns all that it needs.
pub struct Work {
    pub(super) handshake: Box<Handshake>,
}

/// A step that was made; for [`Session::handle_done`](super::Session::handle_done) of the session that gave it away.
pub struct Done {
    pub(super) handshake: Box<Handshake>,
    pub(super) step: Step,
}

impl Work {
    /// Whether it may sign with an RSA key of ours, which takes half a millisecond and more.
    pub fn is_heavy(&self) -> bool {
        self.handshake.signs_with_rsa()
    }
    /// Whether the peer had an answer to its hello: what is left of a handshake takes little, and all that was done for it is lost without.
    pub fn is_answer(&self) -> bool {
        self.handshake.side.negotiated_key_exchange_group().is_some()
    }
    /// Makes the step.
    pub fn run(self) -> Done {
        let mut handshake = self.handshake;
        let step = handshake.step();
        Done { handshake, step }
    }
}

/// What a step came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// It needs more from the peer.
    Blocked,
    /// It is over: [`Handshake::into_parts`].
    Established,
    /// It failed. What the peer is told is written.
    Refused(TlsRefusal),
}

/// A handshake under way.
pub(super) struct Handshake {
    side: Side,
    /// Received and not discarded by rustls. The first `fed` bytes, whole records, it has seen; the first `settled` are certainly no content:
    /// `fed <= settled <= bytes.len()`.
    input: Buffer,
    fed: usize,
    settled: usize,
    /// Bytes that were ever received.
    received: usize,
    /// Settled bytes that nobody has taken account of.
    overhead: u32,
    written: Vec<u8>,
}

enum Side {
    Server { connection: UnbufferedServerConnection, context: Arc<ServerContext>, reader: Reader, hello: Option<Hello> },
    Client { connection: UnbufferedClientConnection, context: Arc<ClientContext> },
}

impl Deref for Side {
    type Target = CommonState;

    fn deref(&self) -> &CommonState {
        match self {
            Self::Server { connection, .. } => connection,
            Self::Client { connection, .. } => connection,
        }
    }
}

impl Handshake {
    pub(super) fn server(context: &Arc<ServerContext>) -> Result<Self, TlsRefusal> {
        let connection = UnbufferedServerConnection::new(Arc::clone(context.config()));
        let connection = connection.map_err(|e| TlsRefusal::from(&e))?;
        Ok(Self::new(Side::Server { connection, context: Arc::clone(context), reader: Reader::default(), hello: None }))
    }

    pub(super) fn client(context: &Arc<ClientContext>) -> Result<Self, TlsRefusal> {
        let connection = UnbufferedClientConnection::new(Arc::clone(context.config()), context.name().clone());
        let connection = connection.map_err(|e| TlsRefusal::from(&e))?;
        Ok(Self::new(Side::Client { connection, context: Arc::clone(context) }))
    }

    fn new(side: Side) -> Self {
        let input = Buffer::default();
        Self { side, input, fed: 0, settled: 0, received: 0, overhead: 0, written: Vec::new() }
    }

    pub(super) fn is_client(&self) -> bool {
        matches!(self.side, Side::Client { .. })
    }
    /// Nothing of the peer's has reached rustls, so nothing is encrypted.
    pub(super) fn is_clear(&self) -> bool {
        self.received == self.input.bytes.len() && self.fed == 0
    }
    pub(super) fn take_written(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.written)
    }
    /// Bytes since the last call that are no content.
    pub(super) fn take_overhead(&mut self) -> u32 {
        std::mem::take(&mut self.overhead)
    }
    /// Bytes that nobody has taken account of, when this is the end.
    pub(super) fn unsettled(&self) -> u32 {
        (self.input.bytes.len() - self.settled) as u32
    }

    /// Takes received bytes.
    pub(super) fn append(&mut self, bytes: &[u8], room: &mut Room) -> Result<(), TlsRefusal> {
        self.received += bytes.len();
        if self.received > TLS_HANDSHAKE_MAX {
            return Err(TlsRefusal::HandshakeTooLong);
        }
        if !room.reserve_for_handshake(&mut self.input, bytes.len()) {
            return Err(TlsRefusal::OutOfMemory);
        }
        self.input.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether there is anything new for the next step.
    pub(super) fn ready(&mut self) -> Result<bool, TlsRefusal> {
        if let Side::Server { context, reader, hello: hello @ None, .. } = &mut self.side {
            let answer = reader.read(&self.input.bytes);
            self.overhead += (reader.whole() - self.settled) as u32;
            self.settled = reader.whole();
            match answer {
                Answer::Partial if self.input.bytes.len() > 2 * TLS_HELLO_MAX => {
                    return Err(TlsRefusal::HandshakeTooLong);
                }
                Answer::Partial => return Ok(false),
                Answer::Invalid(refusal) => return Err(refusal),
                Answer::Done(found) if !context.serves(found.sni.as_deref()) => {
                    return Err(TlsRefusal::NoCertificateForName);
                }
                Answer::Done(found) => *hello = Some(found),
            }
            return Ok(true);
        }
        Ok(self.next_record()?.is_some())
    }

    /// The end of the record behind those that rustls has seen, if all of it is there.
    fn next_record(&self) -> Result<Option<usize>, TlsRefusal> {
        let unfed = &self.input.bytes[self.fed..];
        let header = Header::read(unfed, None)?;
        Ok(header.map(|h| HEADER + h.len).filter(|&len| len <= unfed.len()).map(|len| self.fed + len))
    }

    /// Whether the next step is one that should be made elsewhere.
    pub(super) fn is_work(&self) -> bool {
        match &self.side {
            Side::Server { context, .. } => match context.offload() {
                Offload::Never => false,
                Offload::Always => true,
                Offload::Rsa => self.signs_with_rsa(),
            },
            Side::Client { context, .. } => match context.offload() {
                Offload::Never => false,
                Offload::Always => true,
                Offload::Rsa => self.signs_with_rsa(),
            },
        }
    }

    /// Whether the next step may sign with an RSA key of ours.
    fn signs_with_rsa(&self) -> bool {
        match &self.side {
            Side::Server { context, hello, .. } => {
                let signs = |h: &Hello| context.signs_with_rsa(h.sni.as_deref(), h.takes_ec);
                // Both versions sign when they have the hello that they answer, which may be the second one. The group is known behind that (TLS
                // 1.3), or one step later.
                self.side.negotiated_key_exchange_group().is_none() && hello.as_ref().is_some_and(signs)
            }
            Side::Client { context, .. } => context.signs_with_rsa(),
        }
    }

    /// Goes on as far as the bytes that are there carry.
    pub(super) fn step(&mut self) -> Step {
        loop {
            match self.process() {
                Next::Again => {}
                Next::Failed(refusal) => {
                    // What it wants the peer to be told comes first when it is asked again. It must not be asked once more: it would read
                    // the same bytes anew.
                    while self.side.wants_write() {
                        self.process();
                    }
                    return Step::Refused(refusal);
                }
                Next::Idle if !self.side.is_handshaking() => return Step::Established,
                Next::Idle => match self.next_record() {
                    Err(refusal) => return Step::Refused(refusal),
                    Ok(None) => return Step::Blocked,
                    Ok(Some(end)) => {
                        self.fed = end;
                        self.overhead += end.saturating_sub(self.settled) as u32;
                        self.settled = self.settled.max(end);
                    }
                },
            }
        }
    }

    /// Lets rustls look at what it was fed. It remembers places in these bytes, so it must see the same ones until it discards them.
    fn process(&mut self) -> Next {
        let bytes = &mut self.input.bytes[..self.fed];
        let (discard, next) = match &mut self.side {
            Side::Server { connection, .. } => advance(connection.process_tls_records(bytes), &mut self.written),
            Side::Client { connection, .. } => advance(connection.process_tls_records(bytes), &mut self.written),
        };
        self.input.bytes.drain(..discard);
        self.fed -= discard;
        self.settled = self.settled.saturating_sub(discard).max(self.fed);
        next
    }

    /// The established connection: both halves, and what was agreed on.
    pub(super) fn into_parts(self) -> Result<(Receiver, Sealer, Info), TlsRefusal> {
        let Self { side, mut input, fed, .. } = self;
        debug_assert_eq!(fed, 0, "rustls has discarded what it has seen");
        input.bytes.drain(..fed);
        let info = side.info().ok_or(TlsRefusal::Internal)?;
        let (secrets, kernel) = match side {
            Side::Server { connection, .. } => {
                let (secrets, kernel) = connection.dangerous_into_kernel_connection().map_err(internal)?;
                (secrets, Kernel::Server(kernel))
            }
            Side::Client { connection, .. } => {
                let (secrets, kernel) = connection.dangerous_into_kernel_connection().map_err(internal)?;
                (secrets, Kernel::Client(kernel))
            }
        };
        let open = Open::new(info.version, secrets.rx.0, &secrets.rx.1);
        let seal = Seal::new(info.version, secrets.tx.0, &secrets.tx.1);
        Ok((Receiver::new(open, input), Sealer::new(seal, kernel), info))
    }

    /// rfc8446 4.6.1 lets a session go on that began with a certificate; it must not outlive it.
    pub(super) fn peer_refusal(&self) -> Option<TlsRefusal> {
        let Side::Server { context, .. } = &self.side else { return None };
        let leaf = self.side.peer_certificates()?.first()?;
        let validity = certificate::Validity::read(leaf)?;
        (context.clock().unix_seconds() > validity.not_after).then_some(TlsRefusal::CertificateExpired)
    }
}

fn internal(_: Error) -> TlsRefusal {
    TlsRefusal::Internal
}

/// What rustls wants next.
enum Next {
    Again,
    Idle,
    Failed(TlsRefusal),
}

/// Takes what rustls says, and says how many bytes it is done with.
fn advance<Data>(status: UnbufferedStatus<'_, '_, Data>, written: &mut Vec<u8>) -> (usize, Next) {
    let UnbufferedStatus { discard, state, .. } = status;
    let next = match state {
        Err(error) => Next::Failed(TlsRefusal::from(&error)),
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let begin = written.len();
            // It tells how much it needs when there is not enough.
            if let Err(rustls::unbuffered::EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
                written.resize(begin + size.required_size, 0);
                match data.encode(&mut written[begin..]) {
                    Ok(len) => written.truncate(begin + len),
                    Err(_) => return (discard, Next::Failed(TlsRefusal::Internal)),
                }
            }
            Next::Again
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Next::Again
        }
        Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => Next::Idle,
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Next::Failed(TlsRefusal::HandshakeCut),
        // Nothing behind the Finished is fed, and 0-RTT is off.
        Ok(_) => Next::Failed(TlsRefusal::Internal),
    };
    (discard, next)
}

impl Side {
    fn info(&self) -> Option<Info> {
        let version = match self.protocol_version()? {
            ProtocolVersion::TLSv1_3 => Version::Tls13,
            _ => Version::Tls12,
        };
        let peer = self.peer_certificates().and_then(|chain| chain.first()).map(|leaf| Box::new(Peer::read(leaf)));
        let sni = match self {
            Self::Server { hello, .. } => hello.as_ref()?.sni.clone(),
            Self::Client { context, .. } => context.sni(),
        };
        Some(Info {
            version,
            suite: self.negotiated_cipher_suite()?.suite(),
            group: self.negotiated_key_exchange_group().map(rustls::crypto::SupportedKxGroup::name),
            alpn: self.alpn_protocol().map(Into::into),
            sni,
            is_resumed: self.handshake_kind() == Some(HandshakeKind::Resumed),
            peer,
        })
    }
}

impl Peer {
    fn read(leaf: &rustls::pki_types::CertificateDer<'_>) -> Self {
        let (dns_names, uris) = certificate::names(leaf);
        Self { leaf: leaf.as_ref().into(), dns_names, uris }
    }
}
