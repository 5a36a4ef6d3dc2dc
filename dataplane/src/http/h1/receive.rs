//! One connection's receive half: requests on the server's side, responses on the client's.
//!
//! ```text
//!   Server   Head --+--> Length, Chunked (-> Trailers) --> End --+--> Head ..        persistent
//!     ^             +--> Await --- answered(true)  --> Tunnel    +--> Done           everything else is thrown away
//!     |                        \-- answered(false) --> End --> Done
//!   Client   Idle -- expect() --> Head --> the same, or UntilClose, Tunnel --> End --> Idle | Done
//!                                 ^  | 1xx
//!                                 +--+
//! ```
//! A body that nobody wants is still framed: the next head is never looked for inside it (CVE-2025-4366).

#[cfg(any(test, fuzzing))]
pub(crate) mod driver;
#[cfg(test)]
mod tests;

use super::{
    super::{Refusal, Side, Spans},
    chunked::{Chunk, Chunked},
    framing::{self, Asked, Body, Framing},
    head::{self, Scan},
};
use crate::limits::{
    HTTP_FIELDS, HTTP_FIELDS_MAX, HTTP_HEAD_BYTES_MAX, HTTP_INTERIM_MAX, HTTP_REQUEST_LINE, HTTP_TRAILER_BYTES_MAX,
    HTTP_TRAILER_FIELDS_MAX,
};

/// What a head may take. Count and bytes: either alone can be got round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    line_bytes: u16,
    head_bytes: u16,
    fields: u16,
}

impl Limits {
    /// Bytes of the first line with its CRLF, bytes of the whole head, and its fields; never beyond what the data plane allows.
    pub const fn new(line_bytes: usize, head_bytes: usize, fields: usize) -> Self {
        const fn within(value: usize, max: usize) -> u16 {
            if value < max { value as u16 } else { max as u16 }
        }
        let head_bytes = within(head_bytes, HTTP_HEAD_BYTES_MAX);
        Self {
            line_bytes: within(line_bytes, head_bytes as usize),
            head_bytes,
            fields: within(fields, HTTP_FIELDS_MAX),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(HTTP_REQUEST_LINE, HTTP_HEAD_BYTES_MAX, HTTP_FIELDS)
    }
}

/// What came next in the input. `skip` and `len` count its bytes that are used up: first those that are framing, then those that are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing more. Call again with the rest, once there is more after it.
    NeedMore {
        /// Framing.
        skip: usize,
    },
    /// A head: [`Spans::request`] or [`Spans::response`] over `input[..len]`.
    Head {
        /// The head, and an empty line before it.
        len: usize,
        /// What it says about the message.
        framing: Framing,
    },
    /// Content, or a tunnel's bytes: `input[skip..][..len]`, never empty.
    Body {
        /// Framing.
        skip: usize,
        /// Content.
        len: usize,
    },
    /// A trailer section that is not empty: [`Spans::trailers`] over `input[skip..][..len]`.
    Trailers {
        /// Framing.
        skip: usize,
        /// The section.
        len: usize,
    },
    /// The message is over.
    End {
        /// Framing.
        skip: usize,
    },
    /// A request for a tunnel: how to read what follows depends on the answer, see [`Receiver::answered`].
    Await,
}

impl Step {
    /// Bytes of the input that are used up.
    pub const fn used(self) -> usize {
        match self {
            Self::NeedMore { skip } | Self::End { skip } => skip,
            Self::Head { len, .. } => len,
            Self::Body { skip, len } | Self::Trailers { skip, len } => skip + len,
            Self::Await => 0,
        }
    }
}

/// The receive half of a connection.
///
/// [`step`](Self::step) takes the bytes that were not used up before, together with all that have come since, in one slice: a head and a
/// trailer section must be there as a whole, everything else may be cut anywhere. However it is cut, the same comes out; and no byte is
/// looked for a line's end twice.
#[derive(Debug)]
pub struct Receiver {
    side: Side,
    limits: Limits,
    state: State,
    scan: Scan,
    /// Another message may follow this one.
    persistent: bool,
    asked: Asked,
    /// Informational responses to the current request.
    interim: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// A client's: no request is under way.
    Idle,
    /// The first line, which an empty one may precede.
    StartLine,
    /// The fields, which begin there.
    Fields {
        at: u16,
    },
    /// So many bytes of content are left.
    Length(u64),
    Chunked(Chunked),
    Trailers,
    UntilClose,
    Tunnel,
    /// The tunnel is not granted yet.
    Await,
    /// All bytes of the message were read.
    End,
    /// Nothing that comes is for us.
    Done,
    Refused(Refusal),
}

impl Receiver {
    /// The receive half of a new connection.
    pub fn new(side: Side, limits: Limits) -> Self {
        let state = if side == Side::Server { State::StartLine } else { State::Idle };
        Self { side, limits, state, scan: Scan::default(), persistent: true, asked: Asked::Content, interim: 0 }
    }

    /// What comes next in `input`. After an error every call gives the same one.
    ///
    /// # Errors
    /// What cannot be understood in exactly one way.
    pub fn step(&mut self, input: &[u8], spans: &mut Spans) -> Result<Step, Refusal> {
        let step = match self.state {
            State::StartLine | State::Fields { .. } => self.head(input, spans),
            State::Length(left) => Ok(self.length(left, input)),
            State::Chunked(chunked) => self.chunked(chunked, input, spans),
            State::Trailers => self.trailers(0, input, spans),
            State::UntilClose | State::Tunnel if !input.is_empty() => Ok(Step::Body { skip: 0, len: input.len() }),
            State::Await => Ok(Step::Await),
            State::End => Ok(self.end(0)),
            // rfc9112 9.2 (MUST NOT): it is not the answer to a request that is yet to be sent.
            State::Idle if !input.is_empty() => Err(Refusal::Unasked),
            State::UntilClose | State::Tunnel | State::Idle => Ok(Step::NeedMore { skip: 0 }),
            // rfc9112 9.6 (MUST NOT): after close, no further requests are looked at.
            State::Done => Ok(Step::NeedMore { skip: input.len() }),
            State::Refused(refusal) => Err(refusal),
        };
        step.inspect_err(|&refusal| self.state = State::Refused(refusal))
    }

    /// A client has begun to send a request: one response is expected, perhaps after informational ones.
    ///
    /// # Panics
    /// When another is under way, or the connection does not persist.
    pub fn expect(&mut self, asked: Asked) {
        assert_eq!((self.side, self.state), (Side::Client, State::Idle), "one request at a time");
        (self.asked, self.interim, self.scan) = (asked, 0, Scan::default());
        self.state = State::StartLine;
    }

    /// A server has answered a request for a tunnel: with a 101, or a 2xx to CONNECT (`granted`), or with anything else. In that case the
    /// connection ends: whether what follows is a request, or meant for the tunnel by somebody who did not wait, cannot be known.
    ///
    /// # Panics
    /// When no tunnel was asked for.
    pub fn answered(&mut self, granted: bool) {
        if let State::Refused(_) = self.state {
            return;
        }
        assert_eq!(self.state, State::Await, "a tunnel was asked for");
        self.persistent = false;
        self.state = if granted { State::Tunnel } else { State::End };
    }

    /// The peer has closed its side, and everything before that was taken. `None`: between messages, as it should be.
    ///
    /// # Errors
    /// [`Refusal::Truncated`]: inside of a message.
    pub fn peer_closed(&mut self) -> Result<Option<Step>, Refusal> {
        match self.state {
            State::Refused(refusal) => Err(refusal),
            // rfc9112 6.3 rule 8; a tunnel ends as well.
            State::UntilClose | State::Tunnel | State::End => Ok(Some(self.end(0))),
            State::Idle | State::Done | State::Await => Ok(None),
            State::StartLine if self.side == Side::Server && self.scan.is_between() => Ok(None),
            // rfc9112 8 (MUST): such a message is incomplete.
            _ => {
                self.state = State::Refused(Refusal::Truncated);
                Err(Refusal::Truncated)
            }
        }
    }

    /// No further message shall follow the current one.
    pub fn close_after(&mut self) {
        self.persistent = false;
        if matches!(self.state, State::Idle) || self.state == State::StartLine && self.scan.is_between() {
            self.state = State::Done;
        }
    }

    /// Whether another message may follow, as far as this half knows.
    pub fn persists(&self) -> bool {
        self.persistent && !matches!(self.state, State::Done | State::Refused(_))
    }

    /// Whether no message is under way: a client may [`expect`](Self::expect) one, a server has read nothing of the next request.
    pub fn is_between(&self) -> bool {
        match self.state {
            State::Idle => true,
            State::StartLine => self.side == Side::Server && self.scan.is_between(),
            _ => false,
        }
    }

    fn head(&mut self, input: &[u8], spans: &mut Spans) -> Result<Step, Refusal> {
        let Some(len) = self.head_len(input, spans)? else { return Ok(Step::NeedMore { skip: 0 }) };
        self.scan = Scan::default();
        let framing = match self.side {
            Side::Server => framing::request(&input[..len], spans)?,
            Side::Client => framing::response(spans, self.asked)?,
        };
        self.follow(framing, spans.line.status)?;
        Ok(Step::Head { len, framing })
    }

    /// Reads a head into the spans; `None`: it is not there as a whole.
    fn head_len(&mut self, input: &[u8], spans: &mut Spans) -> Result<Option<usize>, Refusal> {
        let (line_bytes, head_bytes) = (usize::from(self.limits.line_bytes), usize::from(self.limits.head_bytes));
        let mut line_was_read = false;
        if self.state == State::StartLine {
            if self.scan.is_fresh()
                && let Some(len) = self.plain_head(&input[..input.len().min(head_bytes)], line_bytes, spans)
            {
                return Ok(Some(len));
            }
            if !self.begin(input)? {
                return Ok(None);
            }
            let long = if self.side == Side::Server { Refusal::TargetLong } else { Refusal::HeadLong };
            let Some((at, end)) = self.scan.start_line(input, line_bytes, long)? else { return Ok(None) };
            spans.line = self.start_line(input, at, end)?;
            line_was_read = true;
            self.state = State::Fields { at: end as u16 + 2 };
        }
        let State::Fields { at } = self.state else { unreachable!("a start line precedes the fields") };
        let fields_max = usize::from(self.limits.fields);
        let Some(len) = self.scan.section(input, head_bytes, fields_max, Refusal::HeadLong)? else { return Ok(None) };
        if !line_was_read {
            // Other connections have used the scratch since.
            let line_at = if input.starts_with(b"\r\n") { 2 } else { 0 };
            spans.line = self.start_line(input, line_at, usize::from(at) - 2)?;
        }
        head::fields(&input[..len], usize::from(at), usize::from(self.scan.fields), spans)?;
        Ok(Some(len))
    }

    /// The same for a head that is there as a whole and has nothing that somebody would have to be told about: most are so. `None`: the longer way
    /// says what there is.
    fn plain_head(&self, input: &[u8], line_bytes: usize, spans: &mut Spans) -> Option<usize> {
        let lf = memchr::memchr(b'\n', &input[..input.len().min(line_bytes)])?;
        let end = lf.checked_sub(1).filter(|&end| input[end] == b'\r')?;
        spans.line = self.start_line(input, 0, end).ok()?;
        head::plain_fields(input, lf + 1, usize::from(self.limits.fields), spans)
    }

    /// Whether the first line has begun.
    fn begin(&mut self, input: &[u8]) -> Result<bool, Refusal> {
        // rfc9112 2.2 (SHOULD): a server ignores an empty line before a request. One; and a client none before a response.
        if self.side == Side::Server && self.scan.line_at() == 0 {
            match input {
                [b'\n', ..] => return Err(Refusal::BareLf),
                [b'\r', b'\n', ..] => self.scan.skip_crlf(),
                [b'\r'] => return Ok(false),
                [b'\r', ..] => return Err(Refusal::BareCr),
                _ => {}
            }
        }
        match (self.side, input.get(self.scan.line_at())) {
            (_, None) => Ok(false),
            (Side::Server, Some(b'\r' | b'\n')) => Err(Refusal::EmptyLines),
            // A TLS ClientHello on a plain port need not be waited for.
            (Side::Server, Some(&byte)) if !head::may_begin_request(byte) => Err(Refusal::Method),
            (Side::Client, Some(&byte)) if byte != b'H' => Err(Refusal::StatusLine),
            _ => Ok(true),
        }
    }

    fn start_line(&self, input: &[u8], at: usize, end: usize) -> Result<super::super::head::Line, Refusal> {
        match self.side {
            Side::Server => head::request_line(input, at, end),
            Side::Client => head::status_line(input, at, end),
        }
    }

    /// Enters the state that a head leads to.
    fn follow(&mut self, framing: Framing, status: u16) -> Result<(), Refusal> {
        // rfc9110 15.2 (MUST): a client takes informational responses; but not without end.
        if self.side == Side::Client && status < 200 && !framing.switches {
            self.interim += 1;
            self.state = State::StartLine;
            return if self.interim > HTTP_INTERIM_MAX { Err(Refusal::InterimMany) } else { Ok(()) };
        }
        self.persistent &= framing.persistent;
        self.state = match framing.body {
            Body::Tunnel if self.side == Side::Server => State::Await,
            Body::None if self.side == Side::Server && framing.switches => State::Await,
            Body::None | Body::Length(0) => State::End,
            Body::Length(length) => State::Length(length),
            Body::Chunked => State::Chunked(Chunked::START),
            Body::UntilClose => State::UntilClose,
            Body::Tunnel => State::Tunnel,
        };
        Ok(())
    }

    fn length(&mut self, left: u64, input: &[u8]) -> Step {
        let len = left.min(input.len() as u64);
        if len == 0 {
            return Step::NeedMore { skip: 0 };
        }
        self.state = if len == left { State::End } else { State::Length(left - len) };
        Step::Body { skip: 0, len: len as usize }
    }

    fn chunked(&mut self, mut chunked: Chunked, input: &[u8], spans: &mut Spans) -> Result<Step, Refusal> {
        let step = chunked.step(input)?;
        self.state = State::Chunked(chunked);
        match step {
            Chunk::More { skip } => Ok(Step::NeedMore { skip }),
            Chunk::Data { skip, len } => Ok(Step::Body { skip, len }),
            Chunk::Last { skip } => {
                (self.state, self.scan) = (State::Trailers, Scan::default());
                self.trailers(skip, &input[skip..], spans)
            }
        }
    }

    fn trailers(&mut self, skip: usize, input: &[u8], spans: &mut Spans) -> Result<Step, Refusal> {
        // rfc9112 7.1.2: the section ends as a head does.
        let section =
            self.scan.section(input, HTTP_TRAILER_BYTES_MAX, HTTP_TRAILER_FIELDS_MAX, Refusal::TrailersLong)?;
        let Some(len) = section else { return Ok(Step::NeedMore { skip }) };
        if self.scan.fields == 0 {
            return Ok(self.end(skip + len));
        }
        head::fields(&input[..len], 0, usize::from(self.scan.fields), spans)?;
        framing::trailers(spans)?;
        self.state = State::End;
        Ok(Step::Trailers { skip, len })
    }

    fn end(&mut self, skip: usize) -> Step {
        self.scan = Scan::default();
        self.state = match self.side {
            _ if !self.persistent || matches!(self.state, State::UntilClose | State::Tunnel) => State::Done,
            Side::Server => State::StartLine,
            Side::Client => State::Idle,
        };
        Step::End { skip }
    }
}
