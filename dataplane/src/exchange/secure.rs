//! TLS between a leg and its connection.
//!
//! ```text
//!   TCP -> received -> session: opens -> leg.input -> read                leg without TLS: received -> leg.input -> read
//!   TCP <- wire <- session: seals <- leg.output <- send_staged            leg without TLS: TCP <- send_staged
//! ```
//! Above the leg nobody knows of it: content is content, a peer's close_notify is its close. What was sealed has its number and is sent whatever
//! happens, so bytes are sealed only when there is room for them.

use super::{
    Gateway,
    contexts::Terminates,
    health::Found,
    leg::{Io, Leg, Role},
    record::Ended,
    response::Gone,
};
use crate::{
    counters::Counter,
    drops::Drop,
    http::{forward::Client, head::Scheme},
    limits::{TLS_IDENTITY_BYTES_MAX, TLS_STEP_PRESSED, TLS_STEPS_PASSED_MAX, TLS_STEPS_WAITING_MAX},
    outbox::Outbox,
    port::Frame,
    tcp::{ConnectionId, Tcp},
    time::Instant,
    tls::{ClientContext, Done, Event, Peer, Room, ServerContext, Session, TlsRefusal, Work},
};
use std::{collections::VecDeque, fmt::Write, net::IpAddr, sync::Arc};

/// A leg's session.
pub(super) struct Secure {
    pub(super) session: Session,
    /// Sealed, and to be sent before anything else.
    wire: VecDeque<Frame>,
    /// That the handshake is over was told.
    is_told: bool,
    /// Of a server's: what it was made with.
    context: Option<Arc<ServerContext>>,
}

impl Secure {
    pub(super) fn held(&self) -> usize {
        self.session.held() + self.wire.len()
    }
    /// Whether everything that it was given is TCP's.
    pub(super) fn is_flushed(&self) -> bool {
        self.wire.is_empty() && !self.session.waits_to_send()
    }
    /// Reads something of each of its cache lines.
    #[inline]
    pub(super) fn touch(&self) -> u64 {
        self.session.touch() ^ self.wire.len() as u64
    }
    /// Whether content may be sealed and sent.
    pub(super) fn may_write(&self) -> bool {
        self.wire.is_empty() && self.session.is_established()
    }
    /// Whether a request for this host may come over it: a certificate that the client was shown covers it (RFC 9110 section 15.5.20).
    pub(super) fn covers(&self, host: &[u8]) -> bool {
        let sni = self.session.info().and_then(|info| info.sni.as_deref());
        let host = std::str::from_utf8(host).ok();
        // Nobody can ask for an address by name, and HTTP/1.0 may say none.
        let is_name = |host: &&str| !host.is_empty() && !host.starts_with('[') && host.parse::<IpAddr>().is_err();
        self.context.as_ref().zip(host.filter(is_name)).is_none_or(|(context, host)| context.covers(sni, host))
    }
    /// Ends what waits.
    pub(super) fn clear(&mut self, out: &mut Outbox) {
        self.wire.drain(..).for_each(|frame| out.drop(frame, Drop::ExchangeOver));
        self.session.end(out);
    }
}

/// Where content is sealed: empty between two times.
#[derive(Default)]
pub(super) struct Sealing {
    plain: VecDeque<Frame>,
    sealed: VecDeque<Frame>,
}

/// Steps of handshakes that wait to be made. Ours towards endpoints come first and are never shed: what strangers ask for must not keep us from those
/// whom we ask.
#[derive(Default)]
pub(super) struct Steps {
    /// These, and clients' that end what was begun.
    first: VecDeque<(ConnectionId, Work)>,
    waiting: VecDeque<(ConnectionId, Work)>,
    /// For somebody else.
    heavy: VecDeque<(ConnectionId, Work)>,
    /// There is somebody.
    gives: bool,
    made_at: Instant,
}

impl Steps {
    pub(super) fn new(gives: bool) -> Self {
        Self { gives, ..Self::default() }
    }
    /// When the next one is made: at once.
    pub(super) fn next_deadline(&self) -> Instant {
        if self.is_idle() { Instant::NEVER } else { Instant::from_ns(1) }
    }
    fn is_idle(&self) -> bool {
        self.first.is_empty() && self.waiting.is_empty()
    }
    /// Takes a step, unless there are too many of its kind.
    fn push(&mut self, id: ConnectionId, work: Work, is_ours: bool) -> bool {
        let is_first = is_ours || work.is_answer();
        let line = match (is_first, work.is_heavy() && self.gives) {
            (_, true) => &mut self.heavy,
            (true, false) => &mut self.first,
            (false, false) => &mut self.waiting,
        };
        if !is_first && line.len() >= TLS_STEPS_WAITING_MAX {
            return false;
        }
        line.push_back((id, work));
        true
    }
    fn pop(&mut self) -> Option<(ConnectionId, Work)> {
        self.first.pop_front().or_else(|| self.waiting.pop_front())
    }
    pub(super) fn clear(&mut self) {
        [&mut self.first, &mut self.waiting, &mut self.heavy].into_iter().for_each(VecDeque::clear);
    }
}

impl Gateway {
    /// A client's handshake is to come.
    pub(super) fn await_hello(&mut self, io: &Io<'_>, i: usize, context: &Terminates) {
        let session = Session::server(&context.context);
        let leg = &mut self.legs[i];
        leg.tls = Some(Box::new(Secure {
            session,
            wire: VecDeque::new(),
            is_told: false,
            context: Some(Arc::clone(&context.context)),
        }));
        leg.deadline = io.now + context.patience;
    }

    /// Begins a handshake with an endpoint, behind what goes before it in the clear.
    pub(super) fn say_hello(&mut self, io: &mut Io<'_>, j: usize, context: &Arc<ClientContext>, before: Option<&[u8]>) {
        let mut wire = VecDeque::new();
        if let Some(bytes) = before {
            let Some(mut frame) = io.out.make() else { return self.cut(io, j) };
            frame.append_slice(bytes).expect("a PROXY header fits a frame");
            wire.push_back(frame);
            self.held += 1;
        }
        self.legs[j].tls =
            Some(Box::new(Secure { session: Session::client(context), wire, is_told: false, context: None }));
        self.run_session(io, j);
    }

    /// Bytes came on a leg with TLS.
    pub(super) fn open(&mut self, io: &mut Io<'_>, i: usize, frame: Frame) {
        let before = self.legs[i].held();
        let Some(secure) = &mut self.legs[i].tls else { return io.out.drop(frame, Drop::ExchangeOver) };
        secure.session.handle_frame(frame, &mut self.tls_room, io.out);
        self.held = self.held - before + self.legs[i].held();
        self.run_session(io, i);
    }

    /// What came before the session did is its, too.
    pub(super) fn open_input(&mut self, io: &mut Io<'_>, i: usize) {
        while self.legs[i].tls.is_some()
            && let Some(frame) = self.legs[i].input.pop()
        {
            self.held -= 1;
            self.open(io, i, frame);
        }
    }

    /// The peer's side of a connection with TLS is closed.
    pub(super) fn secure_ended(&mut self, io: &mut Io<'_>, i: usize) {
        let before = self.legs[i].held();
        let Some(secure) = &mut self.legs[i].tls else { return };
        secure.session.handle_end(&mut self.tls_room, io.out);
        self.held = self.held - before + self.legs[i].held();
        self.run_session(io, i);
    }

    /// Makes a step of a handshake, if one waits: one in a turn, behind everything else of it, so that what is established waits for one step at most. As
    /// long as frames come faster than they are dealt with, that is so rare that it takes a small part of the core. Says whether there was one.
    pub(super) fn make_step(&mut self, io: &mut Io<'_>, is_pressed: bool) -> bool {
        if self.steps.is_idle() || is_pressed && io.now < self.steps.made_at + TLS_STEP_PRESSED {
            return false;
        }
        for _ in 0..TLS_STEPS_PASSED_MAX {
            let Some((id, work)) = self.steps.pop() else { break };
            if self.leg(id).is_none() {
                continue;
            }
            self.steps.made_at = io.now;
            self.step_made(io, id, work.run());
            break;
        }
        true
    }

    /// The next step of a handshake that is to be made elsewhere.
    pub fn poll_work(&mut self) -> Option<(ConnectionId, Work)> {
        while let Some((id, work)) = self.steps.heavy.pop_front() {
            if self.leg(id).is_some() {
                return Some((id, work));
            }
        }
        None
    }
    /// Whether there is one.
    pub fn has_work(&self) -> bool {
        !self.steps.heavy.is_empty()
    }

    /// A step of a handshake that was made elsewhere comes back.
    pub fn handle_done(&mut self, now: Instant, id: ConnectionId, done: Done, tcp: &mut Tcp, out: &mut Outbox) {
        self.step_made(&mut Io { now, tcp, out }, id, done);
    }

    fn step_made(&mut self, io: &mut Io<'_>, id: ConnectionId, done: Done) {
        let Some(i) = self.leg(id) else { return };
        let before = self.legs[i].held();
        let Some(secure) = &mut self.legs[i].tls else { return };
        secure.session.handle_done(done, &mut self.tls_room, io.out);
        self.held = self.held - before + self.legs[i].held();
        self.run_session(io, i);
    }

    /// Takes from a session what it has, and acts on it.
    pub(super) fn run_session(&mut self, io: &mut Io<'_>, i: usize) {
        let Some(id) = self.legs[i].id else { return };
        if let Some(work) = self.legs[i].tls.as_mut().and_then(|it| it.session.poll_work()) {
            let is_ours = self.legs[i].role != Role::Client;
            if !self.steps.push(id, work, is_ours) {
                io.out.counters.count(Counter::TlsHandshakesShed);
                return self.cut(io, i);
            }
        }
        let came = self.poll_session(io, i, id);
        if self.legs[i].has_to_send() {
            self.flush(io, i);
        }
        self.tell_session(io, i, came);
    }

    /// Output to the wire, plaintext to the input; says whether any of the latter came.
    fn poll_session(&mut self, io: &mut Io<'_>, i: usize, id: ConnectionId) -> bool {
        let leg = &mut self.legs[i];
        let before = leg.held();
        let Some(secure) = &mut leg.tls else { return false };
        let mut came = false;
        while let Some(frame) = secure.session.poll_plaintext(&mut self.tls_room, io.out) {
            came = true;
            leg.input.push_or_append(frame, io.out);
        }
        io.tcp.consume(id, secure.session.take_overhead());
        self.held = self.held - before + self.legs[i].held();
        came
    }

    fn tell_session(&mut self, io: &mut Io<'_>, i: usize, came: bool) {
        let id = self.legs[i].id;
        if self.next_is_established(i) {
            self.secured(io, i);
        }
        // What came is told before how it ended.
        if came && self.legs[i].id == id {
            match (self.legs[i].role, self.legs[i].exchange) {
                (Role::Client, _) => self.advance_client(io, i),
                (Role::Upstream(_), Some(_)) => self.advance_upstream(io, i),
                (Role::Upstream(_), None) => self.end_idle(io, i),
                (Role::Probe(place), _) => self.probe_opened(io, i, place),
                (Role::Leaving | Role::Vacant, _) => {}
            }
        }
        if self.legs[i].id != id || self.legs[i].is_cut {
            return;
        }
        match self.legs[i].tls.as_mut().and_then(|it| it.session.poll_event()) {
            Some(Event::PeerClosed { clean }) => {
                self.legs[i].is_truncated = !clean;
                self.peer_closed(io, i);
            }
            Some(Event::Refused(refusal)) => self.insecure(io, i, refusal),
            Some(Event::Established) | None => {}
        }
    }

    /// Whether the handshake is over and nobody has been told.
    fn next_is_established(&mut self, i: usize) -> bool {
        let Some(secure) = self.legs[i].tls.as_mut().filter(|it| !it.is_told && it.session.is_established()) else {
            return false;
        };
        secure.is_told = true;
        matches!(secure.session.poll_event(), Some(Event::Established))
    }

    /// A handshake is over.
    fn secured(&mut self, io: &mut Io<'_>, i: usize) {
        io.out.counters.count(Counter::TlsHandshakes);
        let resumed = self.legs[i].tls.as_ref().and_then(|it| it.session.info()).is_some_and(|info| info.is_resumed);
        io.out.counters.add(Counter::TlsResumed, u64::from(resumed));
        match self.legs[i].role {
            Role::Client => self.client_secured(io, i),
            Role::Upstream(_) | Role::Probe(_) => self.ready(io, i),
            Role::Leaving | Role::Vacant => {}
        }
    }

    fn client_secured(&mut self, io: &mut Io<'_>, i: usize) {
        let leg = &mut self.legs[i];
        leg.client = Client::new(leg.address, Scheme::Https, leg.client.is_trusted());
        let info = leg.tls.as_ref().and_then(|it| it.session.info());
        if let Some(peer) = info.and_then(|info| info.peer.as_deref()) {
            leg.client = leg.client.clone().with_certificate(&identity(peer));
        }
        if leg.is_raw {
            return self.begin_raw(io, i, None);
        }
        leg.deadline = io.now + self.listeners.http(leg.listener).timeouts.request_headers;
        self.arm(i);
    }

    /// A session is over that must not be.
    fn insecure(&mut self, io: &mut Io<'_>, i: usize, refusal: TlsRefusal) {
        io.out.counters.count_tls_refusal(refusal);
        let Some(id) = self.legs[i].id else { return };
        match self.legs[i].role {
            Role::Client => {
                if let Some(x) = self.legs[i].exchange {
                    self.abandon(io, x, Ended::ClientInsecure);
                }
                if self.legs[i].role == Role::Client {
                    // Nothing can be sealed any more.
                    while let Some(frame) = self.legs[i].output.pop() {
                        self.held -= 1;
                        io.out.drop(frame, Drop::ExchangeOver);
                    }
                    self.leave(io, i);
                }
            }
            // The alert is out, if there was room for it.
            Role::Upstream(member) => {
                let (connected, exchange) = (self.legs[i].connected, self.legs[i].exchange);
                self.upstreams.pool.ended(member);
                self.vacate(io, i);
                io.tcp.release(id, io.out);
                if let Some(x) = exchange {
                    let gone = if connected { Gone::Lost } else { Gone::Unreached(Ended::ConnectInsecure) };
                    self.upstream_closed(io, x, gone);
                }
            }
            Role::Probe(place) => self.end_probe(io, i, place, Found::Insecure),
            Role::Leaving | Role::Vacant => {}
        }
    }

    /// Seals and sends what waits on a leg with TLS, and closes behind it if that is wanted. Says whether all of it went.
    pub(super) fn flush_secure(&mut self, io: &mut Io<'_>, i: usize) -> bool {
        let before = self.legs[i].held();
        let flushed = self.legs[i].flush_secure(io, &mut self.sealing, &mut self.tls_room);
        self.held = self.held - before + self.legs[i].held();
        flushed
    }
}

impl Gateway {
    /// What came of a session and was not read is of no interest any more, nor is what still comes.
    pub(super) fn hear_no_more(&mut self, io: &mut Io<'_>, i: usize, id: ConnectionId) {
        let before = self.legs[i].held();
        let Some(secure) = &mut self.legs[i].tls else { return };
        secure.session.hear_no_more(io.out);
        io.tcp.consume(id, secure.session.take_overhead());
        self.held = self.held - before + self.legs[i].held();
    }
}

impl Leg {
    fn has_to_send(&self) -> bool {
        let says = |it: &Secure| !it.is_flushed() || it.session.waits_for_frames();
        !self.output.is_empty() || self.closes || self.tls.as_deref().is_some_and(says)
    }

    fn flush_secure(&mut self, io: &mut Io<'_>, sealing: &mut Sealing, room: &mut Room) -> bool {
        let Some(id) = self.id else { return true };
        loop {
            if !self.flush_wire(io, id) {
                return false;
            }
            let Some(secure) = &mut self.tls else { return true };
            if self.output.is_empty() {
                break;
            }
            if secure.session.refusal().is_some() {
                while let Some(frame) = self.output.pop() {
                    io.out.drop(frame, Drop::ExchangeOver);
                }
                break;
            }
            if io.tcp.send_room(id) == 0 || !secure.session.is_established() {
                io.tcp.wants_room(id);
                return false;
            }
            let Sealing { plain, sealed } = sealing;
            while let Some(frame) = self.output.pop() {
                plain.push_back(frame);
            }
            secure.session.seal(io.now, plain, sealed, room, io.out);
            let is_stuck = sealed.is_empty();
            while let Some(frame) = plain.pop_back() {
                self.output.push_front(frame);
            }
            while let Some(frame) = sealed.pop_front() {
                if let Err(frame) = io.tcp.send(id, frame, io.out) {
                    secure.wire.push_back(frame);
                    secure.wire.append(sealed);
                    return false;
                }
            }
            if is_stuck {
                io.tcp.wants_room(id);
                return false;
            }
        }
        if self.closes {
            if let Some(secure) = &mut self.tls {
                secure.session.close();
            }
            if !self.flush_wire(io, id) {
                return false;
            }
            self.closes = false;
            io.tcp.close(id, io.out);
        }
        true
    }

    /// Sends what was sealed, and then what the session has to say: no sooner, for a peer that makes it say much and reads nothing would have all
    /// frames.
    fn flush_wire(&mut self, io: &mut Io<'_>, id: ConnectionId) -> bool {
        let Some(secure) = &mut self.tls else { return true };
        loop {
            while let Some(frame) = secure.wire.pop_front() {
                if let Err(frame) = io.tcp.send(id, frame, io.out) {
                    secure.wire.push_front(frame);
                    return false;
                }
            }
            if !secure.session.waits_to_send() && !secure.session.waits_for_frames() {
                return true;
            }
            if secure.session.waits_to_send()
                && io.tcp.send_room(id) > 0
                && let Some(frame) = secure.session.poll_output(io.out)
            {
                secure.wire.push_back(frame);
                continue;
            }
            // There is no room, or no frame: for what it has to say, or for what it has to tell us.
            io.tcp.wants_room(id);
            return !secure.session.waits_to_send();
        }
    }
}

/// Who a client is by its certificate, as the value of `x-forwarded-client-cert`: the words that Envoy made usual, the certificate's hash, its URIs and its
/// names. A value is of the certificate's, so what would end it is written as a percent sign and two digits.
fn identity(peer: &Peer) -> Vec<u8> {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &peer.leaf);
    let mut text = String::from("Hash=");
    for byte in hash.as_ref() {
        let _ = write!(text, "{byte:02x}");
    }
    let values = peer.uris.iter().map(|it| ("URI", it)).chain(peer.dns_names.iter().map(|it| ("DNS", it)));
    for (key, value) in values {
        // Some hundred names are a certificate that nobody meant for this.
        if text.len() + value.len() > TLS_IDENTITY_BYTES_MAX {
            break;
        }
        let _ = write!(text, ";{key}=");
        for byte in value.bytes() {
            match byte {
                b';' | b',' | b'"' | b'=' | b'%' | b'\\' | ..=b' ' | 0x7f.. => _ = write!(text, "%{byte:02X}"),
                byte => text.push(char::from(byte)),
            }
        }
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_cannot_add_to_what_is_said_of_it() {
        let peer = Peer {
            leaf: (*b"leaf").into(),
            uris: vec!["spiffe://corp.example/ns/a".into(), "urn:x;DNS=admin,By=\"me\"\r\n".into()],
            dns_names: vec!["a.example".into()],
        };
        let text = String::from_utf8(identity(&peer)).unwrap();
        let (hash, rest) = text.split_once(';').unwrap();
        assert_eq!(hash.len(), "Hash=".len() + 64);
        assert_eq!(rest, "URI=spiffe://corp.example/ns/a;URI=urn:x%3BDNS%3Dadmin%2CBy%3D%22me%22%0D%0A;DNS=a.example");
    }
}
