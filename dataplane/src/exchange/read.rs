//! What comes next on a leg, and content on its way to the other.

use super::{
    Gateway,
    leg::{Io, Role, share},
    record::Ended,
};
use crate::{
    drops::Drop,
    http::{
        Refusal, Side,
        h1::{
            Body, Framing, Step,
            write::{Sink, WriteError},
        },
    },
    limits::{
        HTTP_BODY_STEP, HTTP_COPY_MAX, HTTP_HEAD_BYTES_MAX, HTTP_PARTIAL_BYTES_MAX, HTTP_PARTIAL_PART,
        HTTP_PARTIAL_SMALL,
    },
    port::Frame,
    proxy_protocol::{self, Accept, Parsed, ProxyRefusal},
    tcp::cut_front,
    time::Instant,
};

/// Whether there may be more to do on a leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    Again,
    Wait,
}

/// What came next, and in which bytes.
pub(super) enum Came {
    /// Nothing.
    Nothing,
    Head {
        bytes: HeadBytes,
        framing: Framing,
    },
    /// Content, at the front of the frame.
    Body {
        frame: Frame,
        skip: usize,
        len: usize,
    },
    /// Trailers are in the spans, over these bytes.
    Trailers {
        bytes: HeadBytes,
    },
    End,
    Await,
}

/// A head, in the frame that it came in, or in a copy if it came in several.
pub(super) struct HeadBytes {
    frame: Option<Frame>,
    copy: Vec<u8>,
    at: usize,
    len: usize,
    /// Bytes of the frame that it uses up.
    used: usize,
}

impl HeadBytes {
    pub(super) fn get(&self) -> &[u8] {
        let bytes = if self.copy.is_empty() { self.frame.as_ref().map_or(&[][..], Frame::head) } else { &self.copy };
        &bytes[self.at..self.at + self.len]
    }
    /// What stands behind it in its frame's first segment.
    pub(super) fn rest(&self) -> &[u8] {
        self.frame.as_ref().and_then(|frame| frame.head().get(self.used..)).unwrap_or(&[])
    }
    /// Of the rest so many bytes were read, too.
    pub(super) fn use_up(&mut self, bytes: usize) {
        self.used += bytes;
    }
}

/// Bytes that were refused.
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    /// They begin as a HEAD does, whose answer has no content.
    pub(super) is_head: bool,
}

impl Refused {
    fn of(refusal: Refusal, bytes: &[u8]) -> Self {
        Self { refusal, is_head: is_head(bytes) }
    }
}

impl Gateway {
    /// Takes what comes next. Whoever gets bytes gives them back with [`Self::used`].
    pub(super) fn read(&mut self, io: &mut Io<'_>, i: usize) -> Result<Came, Refused> {
        let leg = &mut self.legs[i];
        let frame = leg.input.pop();
        self.held -= usize::from(frame.is_some());
        let Some(frame) = frame else {
            let step = leg.step(&[], &mut self.spans).map_err(|refusal| Refused::of(refusal, &[]))?;
            return Ok(match step {
                Step::End { .. } => Came::End,
                Step::Await => Came::Await,
                _ => Came::Nothing,
            });
        };
        if !leg.partial.is_empty() {
            return self.read_on(io, i, frame);
        }
        let step = match leg.step(frame.head(), &mut self.spans) {
            Ok(step) => step,
            Err(refusal) => {
                let refused = Refused::of(refusal, frame.head());
                self.spend(io, i, frame);
                return Err(refused);
            }
        };
        let used = step.used();
        Ok(match step {
            Step::Head { len, framing } => {
                Came::Head { bytes: HeadBytes { frame: Some(frame), copy: Vec::new(), at: 0, len, used }, framing }
            }
            Step::Trailers { skip, len } => {
                Came::Trailers { bytes: HeadBytes { frame: Some(frame), copy: Vec::new(), at: skip, len, used } }
            }
            Step::Body { skip, len } => Came::Body { frame, skip, len },
            Step::End { .. } => {
                self.used(io, i, frame, used);
                Came::End
            }
            Step::Await => {
                self.used(io, i, frame, 0);
                Came::Await
            }
            Step::NeedMore { skip } => {
                let left = frame.head().len() - skip;
                if left > 0 {
                    if !self.may_keep(left) {
                        let refused = Refused::of(Refusal::PartialMany, frame.head());
                        self.spend(io, i, frame);
                        return Err(refused);
                    }
                    let leg = &mut self.legs[i];
                    leg.partial.extend_from_slice(&frame.head()[skip..]);
                    self.partial_bytes += left;
                    self.head_began(i, io);
                }
                let all = frame.head().len();
                self.used(io, i, frame, all);
                Came::Nothing
            }
        })
    }

    /// The same when its beginning has come before.
    fn read_on(&mut self, io: &mut Io<'_>, i: usize, frame: Frame) -> Result<Came, Refused> {
        let leg = &mut self.legs[i];
        let mut partial = std::mem::take(&mut leg.partial);
        self.partial_bytes -= partial.len();
        let before = partial.len();
        // A step beyond the longest head is enough to see that it is too long.
        let taken = frame.head().len().min((HTTP_HEAD_BYTES_MAX + 4).saturating_sub(before));
        partial.extend_from_slice(&frame.head()[..taken]);
        let step = leg.step(&partial, &mut self.spans);
        let step = match step {
            Ok(Step::NeedMore { skip }) if !self.may_keep(partial.len() - skip) => Err(Refusal::PartialMany),
            step => step,
        };
        let step = match step {
            Ok(step) => step,
            Err(refusal) => {
                self.spend(io, i, frame);
                return Err(Refused::of(refusal, &partial));
            }
        };
        let used = step.used().saturating_sub(before);
        let whole = |at, len| HeadBytes { frame: Some(frame), copy: partial, at, len, used };
        match step {
            Step::Head { len, framing } => Ok(Came::Head { bytes: whole(0, len), framing }),
            Step::Trailers { skip, len } => Ok(Came::Trailers { bytes: whole(skip, len) }),
            Step::End { .. } => {
                let HeadBytes { frame, .. } = whole(0, 0);
                self.used(io, i, frame.expect("just put there"), used);
                Ok(Came::End)
            }
            Step::NeedMore { skip } => {
                let HeadBytes { frame, mut copy, .. } = whole(0, 0);
                copy.drain(..skip);
                self.partial_bytes += copy.len();
                self.legs[i].partial = copy;
                self.head_began(i, io);
                self.used(io, i, frame.expect("just put there"), taken);
                Ok(Came::Nothing)
            }
            Step::Body { .. } | Step::Await => unreachable!("only what must be whole is kept"),
        }
    }

    /// Whether so much of a head may be kept until the rest has come.
    fn may_keep(&self, len: usize) -> bool {
        let spare = HTTP_PARTIAL_BYTES_MAX - self.partial_bytes;
        len <= spare && len <= HTTP_PARTIAL_SMALL.max(spare / HTTP_PARTIAL_PART)
    }

    /// A frame goes nowhere, but TCP has it off its hands: bytes that nobody consumes would make a reset of our close (RFC 9293 section 3.6.1).
    pub(super) fn spend(&mut self, io: &mut Io<'_>, i: usize, frame: Frame) {
        if let Some(id) = self.legs[i].id {
            io.tcp.consume(id, frame.len() as u32);
        }
        io.out.consume(frame);
    }

    /// Ends a connection at once. What still comes of it before its end is told is nobody's, and not looked at.
    pub(super) fn cut(&mut self, io: &mut Io<'_>, i: usize) {
        self.legs[i].is_cut = true;
        if let Some(id) = self.legs[i].id {
            io.tcp.abort(io.now, id, io.out);
        }
    }

    /// Of a frame that was read so many bytes are used up; what is left comes first again.
    pub(super) fn used(&mut self, io: &mut Io<'_>, i: usize, frame: Frame, bytes: usize) {
        let leg = &self.legs[i];
        // What was read may have ended the leg: then the rest is nobody's, and least of all whoever's has its place next.
        let Some(id) = leg.id else { return io.out.drop(frame, Drop::ExchangeOver) };
        if leg.role == Role::Leaving || leg.is_cut {
            return self.spend(io, i, frame);
        }
        io.tcp.consume(id, bytes as u32);
        if bytes == frame.len() {
            return io.out.consume(frame);
        }
        let rest = if bytes < frame.head().len() {
            let mut frame = frame;
            frame.trim_front(bytes);
            Some(frame)
        } else {
            cut_front(frame, bytes, io.out)
        };
        match rest {
            Some(rest) => {
                self.legs[i].input.push_front(rest);
                self.held += 1;
            }
            // TCP has acknowledged it: the connection cannot go on without it.
            None => self.cut(io, i),
        }
    }

    /// The same for a head.
    pub(super) fn head_used(&mut self, io: &mut Io<'_>, i: usize, bytes: HeadBytes) {
        if let Some(frame) = bytes.frame {
            self.used(io, i, frame, bytes.used);
        }
    }

    /// Reads what a client sends, as far as it goes now.
    pub(super) fn advance_client(&mut self, io: &mut Io<'_>, i: usize) {
        while self.client_step(io, i) == Next::Again {}
    }

    fn client_step(&mut self, io: &mut Io<'_>, i: usize) -> Next {
        let leg = &self.legs[i];
        if leg.role != Role::Client || leg.is_cut {
            return Next::Wait;
        }
        let Some(x) = leg.exchange else {
            return match (leg.awaits_proxy, leg.is_raw) {
                (Some(accept), _) => self.read_proxy(io, i, accept),
                (None, true) if leg.awaits_hello.is_some() => self.read_hello(io, i),
                // What would be answered here needs room as much as what comes from an endpoint.
                (None, false) if leg.may_write(io) => self.read_request(io, i),
                (None, _) => Next::Wait,
            };
        };
        let exchange = &self.exchanges[x as usize];
        if exchange.request_done {
            return Next::Wait;
        }
        let to = exchange.upstream.map(|j| j as usize);
        if exchange.is_tunnel && leg.is_read_out() && to.is_some_and(|j| self.legs[j].connected) {
            // An end takes no room, and must not wait for any: what comes next is that the connection is over.
            return self.client_ended(io, i, x, to);
        }
        match to {
            _ if exchange.discards || exchange.body == Body::None && !exchange.begun => {}
            Some(j) if self.legs[j].connected && self.legs[j].may_write(io) => {}
            _ => return Next::Wait,
        }
        self.read_content(io, i, x, to)
    }

    /// A request's content, or the bytes of a tunnel.
    fn read_content(&mut self, io: &mut Io<'_>, i: usize, x: u32, to: Option<usize>) -> Next {
        match self.read(io, i) {
            Ok(Came::Body { frame, skip, len }) => {
                let Some(j) = to.filter(|_| !self.exchanges[x as usize].discards) else {
                    self.note_request_body(io, x, len);
                    self.used(io, i, frame, skip + len);
                    return self.discarded(io, x);
                };
                let next = self.forward(io, i, j, frame, skip, len);
                // What found no frame comes again.
                if next == Next::Again {
                    self.note_request_body(io, x, len);
                    self.exchanges[x as usize].body_sent = true;
                }
                next
            }
            Ok(Came::Trailers { bytes }) => {
                if let Some(j) = to.filter(|_| !self.exchanges[x as usize].discards) {
                    self.exchanges[x as usize].body_sent = true;
                    let wanted = !self.exchanges[x as usize].ends_trailers;
                    let ended = self.write_end(io, x, j, Some((&bytes, Side::Server)).filter(|_| wanted));
                    if !ended {
                        self.fail(io, x, 503, Ended::NoFrame);
                    }
                }
                self.head_used(io, i, bytes);
                Next::Again
            }
            Ok(Came::End) => {
                self.request_ended(io, x, to);
                Next::Again
            }
            Ok(Came::Await) => {
                self.exchanges[x as usize].request_done = true;
                Next::Again
            }
            Ok(Came::Nothing) if self.legs[i].peer_closed && self.legs[i].input.is_empty() => {
                self.client_ended(io, i, x, to)
            }
            Ok(Came::Nothing) if self.legs[i].input.is_empty() => Next::Wait,
            Ok(Came::Nothing) => Next::Again,
            Ok(Came::Head { .. }) => unreachable!("content precedes the next head"),
            Err(Refused { refusal, .. }) => self.refuse_content(io, i, x, refusal),
        }
    }

    /// The client's side is closed.
    fn client_ended(&mut self, io: &mut Io<'_>, i: usize, x: u32, to: Option<usize>) -> Next {
        match self.legs[i].peer_ended() {
            Ok(Some(_)) => self.request_ended(io, x, to),
            Ok(None) => self.exchanges[x as usize].request_done = true,
            Err(refusal) => {
                io.out.counters.count_refusal(Side::Server, refusal);
                self.give_up(io, x, Ended::ClientGone);
            }
        }
        Next::Wait
    }

    fn request_ended(&mut self, io: &mut Io<'_>, x: u32, to: Option<usize>) {
        let exchange = &mut self.exchanges[x as usize];
        exchange.request_done = true;
        // An end that was written cannot be written again.
        exchange.body_sent |= exchange.body == Body::Chunked;
        exchange.body_at = Instant::NEVER;
        let tunnel = exchange.is_tunnel;
        if let Some(j) = to.filter(|_| !exchange.discards) {
            if tunnel {
                self.close(io, j);
            } else if !self.write_end(io, x, j, None) {
                return self.fail(io, x, 503, Ended::NoFrame);
            }
        }
        self.settle(io, x);
    }

    fn note_request_body(&mut self, io: &Io<'_>, x: u32, len: usize) {
        let exchange = &mut self.exchanges[x as usize];
        let before = exchange.request_bytes;
        exchange.request_bytes += len as u64;
        exchange.moved_at = io.now;
        if exchange.body_at != Instant::NEVER && before / HTTP_BODY_STEP != exchange.request_bytes / HTTP_BODY_STEP {
            exchange.body_at = io.now + self.listeners.edition(exchange.edition).timeouts.request_body;
        }
    }

    /// Hands content on: copied behind what precedes it if it is short, otherwise the frame itself, or a share of it.
    pub(super) fn forward(
        &mut self,
        io: &mut Io<'_>,
        from: usize,
        to: usize,
        frame: Frame,
        skip: usize,
        len: usize,
    ) -> Next {
        let mut staged = std::mem::take(&mut self.staged);
        let mut content = self.legs[to].content;
        let mut sink = staged.sink(io.out);
        let mut written = content.as_mut().map_or(Ok(()), |content| content.before(&mut sink, len as u64));
        let mut whole = None;
        if written.is_ok() {
            if len <= HTTP_COPY_MAX {
                written = sink.put(&frame.head()[skip..skip + len]);
                whole = Some(frame);
            } else if skip + len == frame.len() {
                let mut frame = frame;
                frame.trim_front(skip);
                staged.push(frame);
            } else {
                match share(&frame, skip, len, io.out) {
                    Some(part) => staged.push(part),
                    None => written = Err(WriteError::Full),
                }
                whole = Some(frame);
            }
        } else {
            whole = Some(frame);
        }
        let next = match written {
            Ok(()) => {
                self.legs[to].content = content;
                self.send_staged(io, to, &mut staged);
                match whole {
                    Some(frame) => self.used(io, from, frame, skip + len),
                    None => {
                        if let Some(id) = self.legs[from].id {
                            io.tcp.consume(id, (skip + len) as u32);
                        }
                    }
                }
                Next::Again
            }
            // No frame is to be had: the content stays, already known as such, until there is one.
            Err(WriteError::Full) => {
                staged.clear(io.out);
                let frame = whole.expect("a frame that goes as it is needs no other");
                self.legs[from].known_body = len;
                self.used(io, from, frame, skip);
                if let Some(id) = self.legs[to].id {
                    io.tcp.wants_room(id);
                }
                Next::Wait
            }
            Err(_) => unreachable!("the receiver counts the same bytes"),
        };
        self.staged = staged;
        next
    }

    /// What stands after all content; trailers that came from this side. `false`: there was no frame for it, and without its end the message is
    /// cut short.
    #[must_use]
    pub(super) fn write_end(
        &mut self,
        io: &mut Io<'_>,
        x: u32,
        to: usize,
        trailers: Option<(&HeadBytes, Side)>,
    ) -> bool {
        let Some(content) = self.legs[to].content.take().filter(|content| !content.ends_by_itself()) else {
            return true;
        };
        let mut staged = std::mem::take(&mut self.staged);
        let mut sink = staged.sink(io.out);
        let ended = match trailers {
            Some((bytes, from)) => {
                let exchange = &self.exchanges[x as usize];
                let http = self.listeners.edition(exchange.edition);
                let fields = self.spans.trailers(bytes.get()).iter();
                content.end(&mut sink, fields.filter(|(name, _)| http.passes_trailer(exchange.rule, name, from)))
            }
            None => content.end(&mut sink, std::iter::empty()),
        };
        match ended {
            Ok(()) => self.send_staged(io, to, &mut staged),
            Err(_) => staged.clear(io.out),
        }
        self.staged = staged;
        ended.is_ok()
    }

    /// The header of a proxy before the connection's own bytes.
    fn read_proxy(&mut self, io: &mut Io<'_>, i: usize, accept: Accept) -> Next {
        let leg = &mut self.legs[i];
        let Some(frame) = leg.input.pop() else { return Next::Wait };
        self.held -= 1;
        let before = leg.partial.len();
        self.partial_bytes -= before;
        let mut bytes = std::mem::take(&mut leg.partial);
        let taken =
            frame.head().len().min(crate::limits::PROXY_HEADER_MAX + 1 - before.min(crate::limits::PROXY_HEADER_MAX));
        bytes.extend_from_slice(&frame.head()[..taken]);
        let is_raw = leg.is_raw;
        match proxy_protocol::parse(&bytes, accept) {
            Ok(Parsed::Partial) if self.partial_bytes + bytes.len() > HTTP_PARTIAL_BYTES_MAX => {
                self.refuse_proxy(io, i, frame, ProxyRefusal::Long);
                Next::Wait
            }
            Ok(Parsed::Partial) => {
                self.partial_bytes += bytes.len();
                self.legs[i].partial = bytes;
                self.used(io, i, frame, taken);
                if self.legs[i].input.is_empty() { Next::Wait } else { Next::Again }
            }
            Ok(Parsed::Done { len, addresses, .. }) => {
                let client = addresses.map(|a| (a.source.ip().to_canonical(), a.source.port()));
                self.used(io, i, frame, len - before);
                if let Some((address, port)) = client {
                    self.know_client(i, address, port);
                }
                self.legs[i].awaits_proxy = None;
                if self.legs[i].tls.is_some() {
                    self.open_input(io, i);
                } else if is_raw {
                    self.admit_raw(io, i);
                }
                Next::Again
            }
            Err(refusal) => {
                self.refuse_proxy(io, i, frame, refusal);
                Next::Wait
            }
        }
    }

    fn refuse_proxy(&mut self, io: &mut Io<'_>, i: usize, frame: Frame, refusal: ProxyRefusal) {
        io.out.counters.count_proxy_refusal(refusal);
        io.out.drop(frame, Drop::ExchangeOver);
        self.cut(io, i);
    }
}

/// Whether bytes begin as a HEAD does.
pub(super) fn is_head(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"HEAD ")
}
