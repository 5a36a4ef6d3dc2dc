//! One connection: a handshake, then records, then nothing.

use super::{
    ClientContext, Done, Info, Room, ServerContext, TlsRefusal, Work,
    handshake::{Handshake, Step},
    receive::Receiver,
    room::Buffer,
    sealing::Sealer,
};
use crate::{
    limits::{TLS_FRAME_BYTES, TLS_HANDSHAKE_MAX},
    outbox::Outbox,
    port::Frame,
    time::Instant,
};
use std::{collections::VecDeque, sync::Arc};

/// What became of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The handshake is over: [`Session::info`] tells, and content may be sealed.
    Established,
    /// The peer sends nothing more, and all that it sent was given by [`Session::poll_plaintext`].
    PeerClosed {
        /// It has said so under its key (close_notify). Otherwise somebody may have cut the end off.
        clean: bool,
    },
    /// It is over. Once [`Session::poll_output`] gives nothing more, close the connection.
    Refused(TlsRefusal),
}

/// A TLS connection of either side, without its transport.
///
/// **Input.** [`handle_frame`](Self::handle_frame) takes received bytes in order, [`handle_end`](Self::handle_end) that there are no more,
/// [`handle_done`](Self::handle_done) a step that somebody else has made.
///
/// **Output.** After any input, poll until there is nothing:
/// * [`poll_work`](Self::poll_work): a step of the handshake to be run elsewhere. While it is out, input is gathered only.
/// * [`poll_output`](Self::poll_output): frames to send. They and those of [`seal`](Self::seal) must be sent in the order in which they were given:
///   each record has taken a sequence number.
/// * [`poll_plaintext`](Self::poll_plaintext): received content. `None` may also mean that there was no frame to put it into; poll again later.
/// * [`poll_event`](Self::poll_event): what it has come to. Each event comes once; `Established` before any plaintext, `PeerClosed` after all of it.
/// * [`take_overhead`](Self::take_overhead): received bytes that are nobody's content. They are to be consumed at once, so that the window opens.
///   What becomes plaintext is consumed by whoever reads it: all bytes of all frames are, in the end, either overhead or plaintext.
///
/// **Commands.** [`seal`](Self::seal) makes records of content; [`close`](Self::close) says that no more will come.
///
/// A session that is over (refused, or closed from both sides) takes what comes as overhead and gives nothing.
///
/// Dropping a session frees everything. It holds frames only while there is plaintext to be polled.
pub struct Session {
    state: State,
    /// Records of the handshake that wait for frames: `sent <= bytes.len()`.
    written: Vec<u8>,
    sent: usize,
    /// Plaintext that nobody has polled.
    ready: VecDeque<Frame>,
    overhead: u32,
    /// How the peer's bytes ended, and whether that was told.
    end: Option<bool>,
    told_end: bool,
    refusal: Option<TlsRefusal>,
    told_refusal: bool,
    /// The handshake was over once, and whether that was told.
    was_established: bool,
    told_established: bool,
    /// We have said close_notify, or will.
    is_closing: bool,
}

enum State {
    Handshaking(Box<Handshaking>),
    Open(Box<Opened>),
    Closed,
}

struct Handshaking {
    /// `None` while a step of it is made elsewhere.
    handshake: Option<Box<Handshake>>,
    /// What came meanwhile.
    gathered: Buffer,
    /// The next step is to be made elsewhere.
    is_work: bool,
    is_ended: bool,
}

/// Both halves of an established connection, which share what derives their next secrets.
struct Opened {
    receiver: Receiver,
    sealer: Sealer,
    info: Info,
}

impl Session {
    /// Waits for a client's hello.
    pub fn server(context: &Arc<ServerContext>) -> Self {
        Self::new(Handshake::server(context))
    }
    /// Begins with a hello, which [`Self::poll_output`] gives.
    pub fn client(context: &Arc<ClientContext>) -> Self {
        Self::new(Handshake::client(context))
    }

    fn new(handshake: Result<Handshake, TlsRefusal>) -> Self {
        let mut session = Self {
            state: State::Closed,
            written: Vec::new(),
            sent: 0,
            ready: VecDeque::new(),
            overhead: 0,
            end: None,
            told_end: false,
            refusal: None,
            told_refusal: false,
            was_established: false,
            told_established: false,
            is_closing: false,
        };
        match handshake {
            Ok(handshake) => {
                session.state = State::Handshaking(Box::new(Handshaking {
                    handshake: Some(Box::new(handshake)),
                    gathered: Buffer::default(),
                    is_work: false,
                    is_ended: false,
                }));
                session.advance();
            }
            Err(refusal) => session.refusal = Some(refusal),
        }
        session
    }

    /// Whether the handshake is over, and the session is not.
    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Open(_)) && self.refusal.is_none()
    }
    /// Whether a step of the handshake is made elsewhere.
    pub fn is_away(&self) -> bool {
        matches!(&self.state, State::Handshaking(h) if h.handshake.is_none())
    }
    /// What the handshake came to, from its end until the session's: ask when [`Event::Established`] comes.
    pub fn info(&self) -> Option<&Info> {
        match &self.state {
            State::Open(opened) => Some(&opened.info),
            State::Handshaking(_) | State::Closed => None,
        }
    }
    /// Why it is over, if it is.
    pub fn refusal(&self) -> Option<TlsRefusal> {
        self.refusal
    }
    /// Frames that it holds.
    pub fn held(&self) -> usize {
        let unopened = if let State::Open(opened) = &self.state { opened.receiver.held() } else { 0 };
        self.ready.len() + unopened
    }

    /// Reads something of each of its cache lines, the ciphers' own not: they are the library's.
    #[inline]
    pub fn touch(&self) -> u64 {
        let Self { written, ready, is_closing, state, .. } = self;
        let open = if let State::Open(it) = state { it.receiver.touch() ^ it.sealer.touch() } else { 0 };
        open ^ (written.len() ^ ready.len()) as u64 ^ u64::from(*is_closing)
    }

    /// Received bytes, in order.
    pub fn handle_frame(&mut self, frame: Frame, room: &mut Room, out: &mut Outbox) {
        match &mut self.state {
            State::Closed => {
                self.overhead += frame.len() as u32;
                out.consume(frame);
            }
            State::Open(opened) => {
                let Opened { receiver, sealer, .. } = &mut **opened;
                let result = receiver.take(frame, sealer, &mut self.ready, room, out);
                self.received(result);
            }
            State::Handshaking(handshaking) => {
                let taken = handshaking.gather(&frame, room);
                match taken {
                    Ok(()) => self.step(room, out),
                    Err(refusal) => self.refuse(refusal),
                }
                out.consume(frame);
            }
        }
    }

    /// The peer's bytes have ended.
    pub fn handle_end(&mut self, room: &mut Room, out: &mut Outbox) {
        match &mut self.state {
            State::Handshaking(h) if h.handshake.is_none() => h.is_ended = true,
            State::Handshaking(_) => self.refuse(TlsRefusal::HandshakeCut),
            State::Open(opened) => {
                opened.receiver.end();
                self.receive(room, out);
            }
            State::Closed => {}
        }
    }

    /// A step that was made elsewhere.
    ///
    /// # Panics
    /// When it is not this session's, or of the past.
    pub fn handle_done(&mut self, done: Done, room: &mut Room, out: &mut Outbox) {
        let State::Handshaking(handshaking) = &mut self.state else { return };
        assert!(handshaking.handshake.is_none(), "a step comes back to the session that gave it away");
        let Done { mut handshake, step } = done;
        let late = std::mem::take(&mut handshaking.gathered);
        let is_ended = handshaking.is_ended;
        let taken = handshake.append(&late.bytes, room);
        room.give_back(late);
        handshaking.handshake = Some(handshake);
        self.conclude(step, room, out);
        match taken {
            Ok(()) => self.step(room, out),
            Err(refusal) if self.refusal.is_none() => self.refuse(refusal),
            Err(_) => {}
        }
        if is_ended {
            match &mut self.state {
                // The rest of the handshake is there, and its next step goes away, too.
                State::Handshaking(handshaking) if handshaking.is_work => handshaking.is_ended = true,
                _ => self.handle_end(room, out),
            }
        }
    }

    /// A step of the handshake that is to be made elsewhere.
    pub fn poll_work(&mut self) -> Option<Work> {
        let State::Handshaking(handshaking) = &mut self.state else { return None };
        if !std::mem::take(&mut handshaking.is_work) {
            return None;
        }
        handshaking.handshake.take().map(|handshake| Work { handshake })
    }

    /// The next frame to send that is not content: handshake, KeyUpdate, alerts. `None` also when there is no frame for it.
    pub fn poll_output(&mut self, out: &mut Outbox) -> Option<Frame> {
        if self.sent < self.written.len() {
            return self.poll_written(out);
        }
        let State::Open(opened) = &mut self.state else { return None };
        let frame = opened.sealer.poll_owed(out);
        if frame.is_none() && opened.sealer.is_over() {
            self.close_up(out);
        }
        frame
    }

    fn poll_written(&mut self, out: &mut Outbox) -> Option<Frame> {
        let mut frame = out.make()?;
        let left = &self.written[self.sent..];
        let part = &left[..left.len().min(TLS_FRAME_BYTES)];
        frame.append_slice(part).expect("a fresh frame has room for a segment");
        self.sent += part.len();
        if self.sent == self.written.len() {
            self.written = Vec::new();
            self.sent = 0;
        }
        Some(frame)
    }

    /// The next frame of received content.
    pub fn poll_plaintext(&mut self, room: &mut Room, out: &mut Outbox) -> Option<Frame> {
        if self.ready.is_empty() && matches!(&self.state, State::Open(it) if it.receiver.is_behind()) {
            self.receive(room, out);
        }
        let frame = self.ready.pop_front();
        if self.ready.is_empty() && self.ready.capacity() > 8 {
            self.ready = VecDeque::new();
        }
        frame
    }

    /// What became of the session since the last call.
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.was_established && !std::mem::replace(&mut self.told_established, true) {
            return Some(Event::Established);
        }
        if !self.ready.is_empty() {
            return None;
        }
        if let Some(refusal) = self.refusal {
            return (!std::mem::replace(&mut self.told_refusal, true)).then_some(Event::Refused(refusal));
        }
        let clean = self.end?;
        (!std::mem::replace(&mut self.told_end, true)).then_some(Event::PeerClosed { clean })
    }

    /// Received bytes that are no content, since the last call.
    pub fn take_overhead(&mut self) -> u32 {
        std::mem::take(&mut self.overhead)
    }

    /// Makes records of `plain`, in order, and puts their frames behind those in `sealed`; first whatever [`Self::poll_output`] would give. What
    /// remains in `plain` had no frames: try again later. Nothing is taken before the handshake is over, and after [`Self::close`].
    ///
    /// What is sealed is final. Its number cannot be used again, and the peer refuses a connection with a record missing: call this only with
    /// what will be sent, and send all of it.
    ///
    /// A frame of its own, not shared, in one segment and with room around it, is sealed where it is. Others are copied: into fresh frames, or, for
    /// long records, into the frames that they came in, cut anew into full segments. Long content becomes records of up to 16 KiB once the burst has lasted [`TLS_BURST_SMALL`](crate::limits::TLS_BURST_SMALL) bytes.
    pub fn seal(
        &mut self,
        now: Instant,
        plain: &mut VecDeque<Frame>,
        sealed: &mut VecDeque<Frame>,
        room: &mut Room,
        out: &mut Outbox,
    ) {
        while let Some(frame) = self.poll_output(out) {
            sealed.push_back(frame);
        }
        if self.sent < self.written.len() || self.is_closing {
            return;
        }
        let State::Open(opened) = &mut self.state else { return };
        if let Err(refusal) = opened.sealer.seal(now, plain, sealed, room, out) {
            self.refuse(refusal);
        }
    }

    /// No more content will be sealed: close_notify comes from [`Self::poll_output`]. Before the handshake is over there is nobody to tell.
    pub fn close(&mut self) {
        self.is_closing = true;
        match &mut self.state {
            State::Open(opened) => opened.sealer.close(),
            State::Handshaking(_) => self.end_handshake(),
            State::Closed => {}
        }
    }

    /// Whether it has received content for which it found no frame. Who gives it more polls it again.
    pub fn waits_for_frames(&self) -> bool {
        matches!(&self.state, State::Open(opened) if opened.receiver.is_behind())
    }

    /// Whether [`Self::poll_output`] has something to say.
    pub fn waits_to_send(&self) -> bool {
        self.sent < self.written.len() || matches!(&self.state, State::Open(opened) if opened.sealer.owes())
    }

    /// What the peer still sends is of no interest: what has come of it is overhead now.
    pub fn hear_no_more(&mut self, out: &mut Outbox) {
        while let Some(frame) = self.ready.pop_front() {
            self.overhead += frame.len() as u32;
            out.consume(frame);
        }
        if let State::Open(opened) = &mut self.state {
            opened.receiver.drain(out);
            self.overhead += opened.receiver.take_overhead();
        }
    }

    /// Lets go of everything at once; whoever sends nothing more calls this.
    pub fn end(&mut self, out: &mut Outbox) {
        while let Some(frame) = self.ready.pop_front() {
            out.drop(frame, crate::drops::Drop::ExchangeOver);
        }
        self.end_handshake();
        self.close_up(out);
    }

    /// A record of any kind under our key, as a peer could make one.
    #[cfg(any(test, fuzzing))]
    pub(super) fn forge(&mut self, kind: super::record::ContentType, plain: &[u8], out: &mut Outbox) -> Option<Frame> {
        let State::Open(opened) = &mut self.state else { return None };
        opened.sealer.small(kind, plain, out)
    }

    /// Goes on as if so many records had been sent and received.
    #[cfg(test)]
    pub(super) fn skip_to(&mut self, sent: u64, received: u64) {
        let State::Open(opened) = &mut self.state else { return };
        opened.sealer.skip_to(sent);
        opened.receiver.skip_to(received);
    }

    /// Makes the next step here, or marks it as work.
    fn step(&mut self, room: &mut Room, out: &mut Outbox) {
        let State::Handshaking(handshaking) = &mut self.state else { return };
        let Some(handshake) = &mut handshaking.handshake else { return };
        let ready = handshake.ready();
        self.overhead += handshake.take_overhead();
        match ready {
            Err(refusal) => self.refuse(refusal),
            Ok(false) => {}
            Ok(true) if handshake.is_work() => handshaking.is_work = true,
            Ok(true) => {
                let step = handshake.step();
                self.conclude(step, room, out);
            }
        }
    }

    /// The first step of a client needs nobody's bytes.
    fn advance(&mut self) {
        let State::Handshaking(handshaking) = &mut self.state else { return };
        let Some(handshake) = &mut handshaking.handshake else { return };
        if handshake.is_client() {
            if let Step::Refused(refusal) = handshake.step() {
                self.refusal = Some(refusal);
            }
            self.written = handshake.take_written();
        }
    }

    /// What a step came to.
    fn conclude(&mut self, step: Step, room: &mut Room, out: &mut Outbox) {
        let State::Handshaking(handshaking) = &mut self.state else { return };
        let handshake = handshaking.handshake.as_mut().expect("the step is over");
        self.written.append(&mut handshake.take_written());
        self.overhead += handshake.take_overhead();
        match step {
            Step::Blocked => {}
            Step::Refused(refusal) => {
                self.refusal = Some(refusal);
                self.end_handshake();
            }
            Step::Established => {
                let handshake = handshaking.handshake.take().expect("the step is over");
                let late = handshake.peer_refusal();
                match handshake.into_parts() {
                    Ok((receiver, sealer, info)) => {
                        self.state = State::Open(Box::new(Opened { receiver, sealer, info }));
                        match late {
                            Some(refusal) => self.refuse(refusal),
                            None => {
                                self.was_established = true;
                                self.receive(room, out);
                            }
                        }
                    }
                    Err(refusal) => {
                        self.refusal = Some(refusal);
                        self.state = State::Closed;
                    }
                }
            }
        }
    }

    /// Lets go of a handshake that came to nothing.
    fn end_handshake(&mut self) {
        if let State::Handshaking(mut handshaking) = std::mem::replace(&mut self.state, State::Closed) {
            self.overhead += handshaking.gathered.bytes.len() as u32;
            if let Some(handshake) = &mut handshaking.handshake {
                self.overhead += handshake.take_overhead() + handshake.unsettled();
            }
        }
    }

    /// Opens what has come.
    fn receive(&mut self, room: &mut Room, out: &mut Outbox) {
        let State::Open(opened) = &mut self.state else { return };
        let Opened { receiver, sealer, .. } = &mut **opened;
        let result = receiver.advance(sealer, &mut self.ready, room, out);
        self.received(result);
    }

    /// What has come is opened as far as it can be.
    fn received(&mut self, result: Result<Option<bool>, TlsRefusal>) {
        let State::Open(opened) = &mut self.state else { return };
        let receiver = &mut opened.receiver;
        self.overhead += receiver.take_overhead();
        match result {
            Ok(None) => {}
            Ok(Some(clean)) => self.end = Some(clean),
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// It is over, and the peer is told.
    fn refuse(&mut self, refusal: TlsRefusal) {
        self.refusal.get_or_insert(refusal);
        match &mut self.state {
            State::Open(opened) => opened.sealer.refuse(refusal.alert()),
            State::Handshaking(handshaking) => {
                if let Some(handshake) = &mut handshaking.handshake {
                    self.written.append(&mut handshake.take_written());
                    if let Some(alert) = refusal.alert().filter(|_| handshake.is_clear()) {
                        self.written.extend_from_slice(&[21, 3, 3, 0, 2, 2, alert]);
                    }
                }
                self.end_handshake();
            }
            State::Closed => {}
        }
    }

    /// Lets go of everything; the alert is out.
    fn close_up(&mut self, out: &mut Outbox) {
        if let State::Open(mut opened) = std::mem::replace(&mut self.state, State::Closed) {
            opened.receiver.drain(out);
            self.overhead += opened.receiver.take_overhead();
        }
    }
}

impl Handshaking {
    /// Keeps a frame's bytes, within bounds.
    fn gather(&mut self, frame: &Frame, room: &mut Room) -> Result<(), TlsRefusal> {
        for bytes in frame.segments() {
            match &mut self.handshake {
                Some(handshake) => handshake.append(bytes, room)?,
                None => {
                    if self.gathered.bytes.len() + bytes.len() > TLS_HANDSHAKE_MAX {
                        return Err(TlsRefusal::HandshakeTooLong);
                    }
                    if !room.reserve_for_handshake(&mut self.gathered, bytes.len()) {
                        return Err(TlsRefusal::OutOfMemory);
                    }
                    self.gathered.bytes.extend_from_slice(bytes);
                }
            }
        }
        Ok(())
    }
}
