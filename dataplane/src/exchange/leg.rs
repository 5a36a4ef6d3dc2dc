//! One connection of an exchange: what was received and not used yet, and what was written and has no room yet.

use super::secure::Secure;
use crate::{
    counters::Counter,
    drops::Drop,
    http::{
        Refusal, Side, Spans,
        forward::Client,
        h1::{
            Limits, Receiver, Step,
            write::{Content, Sink, WriteError},
        },
        head::Scheme,
    },
    limits::{HTTP_COPY_MAX, HTTP_WRITTEN_MAX},
    outbox::Outbox,
    port::Frame,
    proxy_protocol::Accept,
    snapshot::ProxyVersion,
    tcp::{ConnectionId, Tcp},
    time::Instant,
    tls::{ClientContext, hello},
    upstream::pool::MemberId,
};
use std::collections::VecDeque;
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

/// TCP, and where frames end.
pub(super) struct Io<'a> {
    pub(super) now: Instant,
    pub(super) tcp: &'a mut Tcp,
    pub(super) out: &'a mut Outbox,
}

/// Frames in order. Most of the time there is one or none.
#[derive(Default)]
pub(super) struct Queue {
    first: Option<Frame>,
    rest: VecDeque<Frame>,
}

impl Queue {
    pub(super) fn push(&mut self, frame: Frame) {
        if self.first.is_none() {
            self.first = Some(frame);
        } else {
            self.rest.push_back(frame);
        }
    }
    /// The same, behind the last one's bytes if they are few and there is room: single bytes that wait must not hold a frame each.
    pub(super) fn push_or_append(&mut self, frame: Frame, out: &mut Outbox) {
        let last = self.rest.back_mut().or(self.first.as_mut());
        if frame.len() <= HTTP_COPY_MAX
            && frame.head().len() == frame.len()
            && let Some(last) = last
            && !last.is_shared()
            && last.head().len() == last.len()
            && last.tailroom() >= frame.len()
        {
            last.append_slice(frame.head()).expect("as much as there is room for");
            return out.consume(frame);
        }
        self.push(frame);
    }
    pub(super) fn push_front(&mut self, frame: Frame) {
        if let Some(second) = self.first.replace(frame) {
            self.rest.push_front(second);
        }
    }
    pub(super) fn pop(&mut self) -> Option<Frame> {
        let frame = self.first.take();
        self.first = self.rest.pop_front();
        if self.first.is_none() && self.rest.capacity() > 0 {
            // Whoever is idle has no memory here.
            self.rest = VecDeque::new();
        }
        frame
    }
    pub(super) fn iter(&self) -> impl Iterator<Item = &Frame> {
        self.first.iter().chain(&self.rest)
    }
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }
}

/// What a connection is to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// The place is free.
    Vacant,
    /// A client, waiting for its PROXY header, its next request, or in an exchange.
    Client,
    /// A client that has its last answer: what it still sends is thrown away until it closes, for a while (RFC 9112 section 9.6).
    Leaving,
    /// An endpoint.
    Upstream(MemberId),
    /// An endpoint that is asked whether it is well, by this probe.
    Probe(u32),
}

/// One connection.
pub(super) struct Leg {
    pub(super) id: Option<ConnectionId>,
    pub(super) role: Role,
    /// A PROXY header comes first.
    pub(super) awaits_proxy: Option<Accept>,
    /// Between it and its connection.
    pub(super) tls: Option<Box<Secure>>,
    /// Its bytes are passed on as they are,
    pub(super) is_raw: bool,
    /// where they say so themselves: by a hello that is not whole yet.
    pub(super) awaits_hello: Option<Box<hello::Reader>>,
    /// What comes is not read any more: its connection was aborted, and its end is still to be told.
    pub(super) is_cut: bool,
    pub(super) exchange: Option<u32>,
    pub(super) receiver: Receiver,

    // Received.
    pub(super) input: Queue,
    /// The beginning of what must be there as a whole, copied.
    pub(super) partial: Vec<u8>,
    /// So many bytes of content come first, which the receiver has counted already.
    pub(super) known_body: usize,
    pub(super) peer_closed: bool,
    /// Its TLS did not end as it must: somebody may have cut it off.
    pub(super) is_truncated: bool,

    // Written.
    pub(super) output: Queue,
    /// What the head promised that was written last.
    pub(super) content: Option<Content>,
    /// Our side is closed when the output is out.
    pub(super) closes: bool,

    // Clients.
    pub(super) client: Client,
    pub(super) address: IpAddr,
    /// Its port: a PROXY header says that, too.
    pub(super) port: u16,
    pub(super) listener: u16,
    pub(super) began: Instant,
    /// Of what it waits for: a head, the next request, the peer's close.
    pub(super) deadline: Instant,

    // Endpoints.
    pub(super) connected: bool,
    /// What comes before anything else: a PROXY header of this version, then TLS.
    pub(super) introduces: Option<ProxyVersion>,
    pub(super) secures: Option<Arc<ClientContext>>,
}

impl Leg {
    pub(super) fn vacant() -> Self {
        Self {
            id: None,
            role: Role::Vacant,
            awaits_proxy: None,
            tls: None,
            is_raw: false,
            awaits_hello: None,
            is_cut: false,
            exchange: None,
            receiver: Receiver::new(Side::Server, Limits::default()),
            input: Queue::default(),
            partial: Vec::new(),
            known_body: 0,
            peer_closed: false,
            is_truncated: false,
            output: Queue::default(),
            content: None,
            closes: false,
            client: Client::unknown(Scheme::Http),
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 0,
            listener: 0,
            began: Instant::ZERO,
            deadline: Instant::NEVER,
            connected: false,
            introduces: None,
            secures: None,
        }
    }

    /// Reads something of each of its cache lines.
    #[inline]
    pub(super) fn touch(&self) -> u64 {
        let Self { input, output, partial, receiver, client, deadline, connected, .. } = self;
        (input.len() ^ output.len() ^ partial.len()) as u64
            ^ u64::from(receiver.persists())
            ^ u64::from(client.is_trusted())
            ^ deadline.as_ns()
            ^ u64::from(*connected)
    }
    /// The same of what is between it and its connection.
    #[inline]
    pub(super) fn touch_tls(&self) -> u64 {
        self.tls.as_ref().map_or(0, |it| it.touch())
    }

    /// What comes next in `input`.
    pub(super) fn step(&mut self, input: &[u8], spans: &mut Spans) -> Result<Step, Refusal> {
        if self.known_body > 0 && !input.is_empty() {
            let len = self.known_body.min(input.len());
            self.known_body -= len;
            return Ok(Step::Body { skip: 0, len });
        }
        match (self.is_raw, input.len()) {
            (false, _) => self.receiver.step(input, spans),
            (true, 0) => Ok(Step::NeedMore { skip: 0 }),
            (true, len) => Ok(Step::Body { skip: 0, len }),
        }
    }

    /// The peer has closed, and everything was read.
    pub(super) fn peer_ended(&mut self) -> Result<Option<Step>, Refusal> {
        let ended = if self.is_raw { Ok(Some(Step::End { skip: 0 })) } else { self.receiver.peer_closed() };
        // What ends with its connection has no end if that was cut off.
        if self.is_truncated && matches!(ended, Ok(Some(_))) { Err(Refusal::Truncated) } else { ended }
    }

    /// Whether some of a head has come. An empty line before it is nothing yet (RFC 9112 section 2.2).
    pub(super) fn has_begun_head(&self) -> bool {
        self.partial.iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
    }

    /// Whether the peer has closed and everything that came was read.
    pub(super) fn is_read_out(&self) -> bool {
        self.peer_closed && self.input.is_empty()
    }

    /// Frames that wait here.
    pub(super) fn held(&self) -> usize {
        self.input.len() + self.output.len() + self.tls.as_ref().map_or(0, |it| it.held())
    }
    /// Whether everything that was written is TCP's, and its end if that was wanted.
    pub(super) fn is_flushed(&self) -> bool {
        self.output.is_empty() && self.tls.as_ref().is_none_or(|it| it.is_flushed()) && !self.closes
    }
    /// What its peer speaks.
    pub(super) fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::Https } else { Scheme::Http }
    }

    /// Ends what waits here.
    pub(super) fn clear(&mut self, out: &mut Outbox) {
        self.partial = Vec::new();
        if let Some(mut secure) = self.tls.take() {
            secure.clear(out);
        }
        while let Some(frame) = self.input.pop() {
            out.drop(frame, Drop::ExchangeOver);
        }
        while let Some(frame) = self.output.pop() {
            out.drop(frame, Drop::ExchangeOver);
        }
    }

    /// Whether something may be written now. If not, [`Event::Writable`](crate::tcp::Event::Writable) will come.
    pub(super) fn may_write(&self, io: &mut Io<'_>) -> bool {
        let Some(id) = self.id else { return false };
        if !self.output.is_empty() || self.closes {
            return false;
        }
        if !self.tls.as_ref().is_none_or(|it| it.may_write()) {
            return false;
        }
        let room = io.tcp.send_room(id) > 0;
        if !room {
            io.tcp.wants_room(id);
        }
        room
    }

    /// Sends what waits, and closes behind it if that is wanted; says whether all of it went. To be counted: see [`Gateway::flush`](super::Gateway).
    pub(super) fn flush(&mut self, io: &mut Io<'_>) -> bool {
        let Some(id) = self.id else { return true };
        while let Some(frame) = self.output.pop() {
            if let Err(frame) = io.tcp.send(id, frame, io.out) {
                self.output.push_front(frame);
                return false;
            }
        }
        if std::mem::take(&mut self.closes) {
            io.tcp.close(id, io.out);
        }
        true
    }

    /// Keeps what was written. To be counted.
    pub(super) fn keep(&mut self, staged: &mut Staged) {
        staged.is_open = false;
        staged.frames.drain(..).for_each(|frame| self.output.push(frame));
    }

    /// Sends what was written, or keeps it until there is room. To be counted: see [`Gateway::send_staged`](super::Gateway).
    pub(super) fn send(&mut self, staged: &mut Staged, io: &mut Io<'_>) {
        staged.is_open = false;
        let Some(id) = self.id else {
            return staged.frames.drain(..).for_each(|frame| io.out.drop(frame, Drop::ExchangeOver));
        };
        if staged.frames.len() == 1
            && self.output.is_empty()
            && let Some(frame) = staged.frames.pop()
        {
            // Mostly it is one, and goes at once.
            if let Err(frame) = io.tcp.send(id, frame, io.out) {
                self.output.push(frame);
            }
            return;
        }
        for frame in staged.frames.drain(..) {
            if !self.output.is_empty() {
                self.output.push(frame);
            } else if let Err(frame) = io.tcp.send(id, frame, io.out) {
                self.output.push(frame);
            }
        }
    }
}

/// What is being written to a leg in one go: fresh frames that are filled, and others that go as they are.
#[derive(Default)]
pub(super) struct Staged {
    frames: Vec<Frame>,
    /// The last one is fresh.
    is_open: bool,
}

impl Staged {
    /// A sink for heads and framing.
    pub(super) fn sink<'a>(&'a mut self, out: &'a mut Outbox) -> StagedSink<'a> {
        StagedSink { staged: self, out }
    }
    /// A frame that goes as it is.
    pub(super) fn push(&mut self, frame: Frame) {
        self.frames.push(frame);
        self.is_open = false;
    }
    /// Throws it away.
    pub(super) fn clear(&mut self, out: &mut Outbox) {
        self.is_open = false;
        self.frames.drain(..).for_each(|frame| out.consume(frame));
    }
}

pub(super) struct StagedSink<'a> {
    staged: &'a mut Staged,
    out: &'a mut Outbox,
}

impl Sink for StagedSink<'_> {
    fn put(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        let Self { staged, out } = self;
        while !bytes.is_empty() {
            let room = if staged.is_open { staged.frames.last().map_or(0, Frame::tailroom) } else { 0 };
            if room == 0 {
                let frame = out.make().ok_or(WriteError::Full)?;
                staged.frames.push(frame);
                staged.is_open = true;
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            staged.frames.last_mut().expect("one with room").append_slice(now).expect("as much as there is room for");
            bytes = later;
        }
        Ok(())
    }
}

/// A head that may have to be sent more than once.
#[derive(Default)]
pub(super) struct Kept(pub(super) Vec<u8>);

impl Sink for Kept {
    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if self.0.len() + bytes.len() > HTTP_WRITTEN_MAX {
            return Err(WriteError::Full);
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// A second frame over `frame[skip..][..len]`, which counts as made.
pub(super) fn share(frame: &Frame, skip: usize, len: usize, out: &mut Outbox) -> Option<Frame> {
    let share = frame.share(&out.pool);
    out.counters.count(if share.is_some() { Counter::MadeFrames } else { Counter::PoolEmpty });
    let mut share = share?;
    share.trim_front(skip);
    share.truncate(len);
    Some(share)
}
