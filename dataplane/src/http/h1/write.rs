//! The send half: heads and what frames a body, into whatever takes bytes.
//!
//! ```text
//!   Head::request | Head::response  --field, field, ..-->  end(Body)  -->  Content   --before(len)--> [payload] ..  --end(trailers)-->
//! ```
//! The fields that frame a message are written by [`Head::end`] and by nothing else, from the same word that the [`Content`] then keeps to:
//! so what is said and what is sent cannot differ. A byte that would end a line early is refused, whoever put it there (CVE-2023-27493).

#[cfg(test)]
mod tests;

use super::{
    super::{
        Version,
        head::{Fields, Name, Role},
        is_token, is_value,
    },
    framing::Body,
};
use crate::port::{Frame, Pool};
use arrayvec::ArrayVec;

/// Where bytes go. What is half written when there is no more room is to be thrown away by whoever owns it.
pub trait Sink {
    /// Takes all of them.
    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError>;
}

/// Why something was not written. It is our own doing, or that of another part of the gateway: peers' bytes were looked at before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteError {
    /// The sink has no more room.
    Full,
    /// A name, a value, a method or a target that would not be read as it is meant.
    Unsound,
    /// A field that is written by [`Head::end`] only.
    Framing,
    /// More content than was said, or less, or some where there is none.
    Content,
}

impl<const N: usize> Sink for ArrayVec<u8, N> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.try_extend_from_slice(bytes).map_err(|_| WriteError::Full)
    }
}

/// Frames of a pool, filled one after the other: a head may be longer than any one of them.
pub struct Frames<'p, const N: usize> {
    pool: &'p Pool,
    frames: ArrayVec<Frame, N>,
}

impl<'p, const N: usize> Frames<'p, N> {
    /// None yet.
    pub fn new(pool: &'p Pool) -> Self {
        Self { pool, frames: ArrayVec::new() }
    }
    /// Those that were filled, in order.
    pub fn into_inner(self) -> ArrayVec<Frame, N> {
        self.frames
    }
}

impl<const N: usize> Sink for Frames<'_, N> {
    fn put(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            let room = self.frames.last().map_or(0, Frame::tailroom);
            if room == 0 {
                let frame = self.pool.alloc().ok_or(WriteError::Full)?;
                self.frames.try_push(frame).map_err(|_| WriteError::Full)?;
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            let last = self.frames.last_mut().expect("one with room");
            last.append_slice(now).expect("as much as there is room for");
            bytes = later;
        }
        Ok(())
    }
}

/// A head that is being written.
#[must_use = "a head ends with `end`"]
pub struct Head<'s, S> {
    sink: &'s mut S,
    kind: Kind,
    /// The client takes trailers.
    te: bool,
    /// An Upgrade was written.
    upgrade: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Request,
    /// With what the peer speaks.
    Response {
        status: u16,
        peer: Version,
    },
}

impl<'s, S: Sink> Head<'s, S> {
    /// A request's first line and its Host. The target comes in parts (path, `?`, query): in origin form, `*`, or for CONNECT the authority.
    pub fn request(
        sink: &'s mut S,
        method: &[u8],
        target: &[&[u8]],
        host: &[u8],
        port: Option<u16>,
    ) -> Result<Self, WriteError> {
        let is_target = target.iter().any(|part| !part.is_empty()) && target.iter().all(|part| is_graphic(part));
        if !is_token(method) || !is_target || !is_graphic(host) {
            return Err(WriteError::Unsound);
        }
        sink.put(method)?;
        sink.put(b" ")?;
        target.iter().try_for_each(|part| sink.put(part))?;
        // rfc9112 3.2 (MUST): every request has a Host, even an empty one; rfc9110 7.2 (SHOULD): it comes first.
        sink.put(b" HTTP/1.1\r\nhost: ")?;
        sink.put(host)?;
        if let Some(port) = port {
            sink.put(b":")?;
            put_number(sink, u64::from(port), b"")?;
        }
        sink.put(CRLF)?;
        Ok(Self { sink, kind: Kind::Request, te: false, upgrade: false })
    }

    /// A response's first line. `peer` is the version of the request.
    pub fn response(sink: &'s mut S, status: u16, peer: Version) -> Result<Self, WriteError> {
        if !(100..600).contains(&status) {
            return Err(WriteError::Unsound);
        }
        // rfc9110 15.2 (MUST NOT): no informational responses to HTTP/1.0.
        if status < 200 && peer < Version::Http11 {
            return Err(WriteError::Content);
        }
        // rfc9110 2.5 (SHOULD): our own version, whatever the request's was.
        if status == 200 {
            sink.put(b"HTTP/1.1 200 OK\r\n")?;
        } else {
            sink.put(b"HTTP/1.1 ")?;
            put_number(sink, u64::from(status), b"")?;
            // rfc9112 4 (MUST): the space, even without a reason.
            sink.put(b" ")?;
            sink.put(reason(status).as_bytes())?;
            sink.put(CRLF)?;
        }
        Ok(Self { sink, kind: Kind::Response { status, peer }, te: false, upgrade: false })
    }

    /// A field. Names that frame the message, or speak about this connection, are not taken.
    pub fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), WriteError> {
        self.field_in_parts(name, [value])
    }

    /// The same, of several parts that follow each other.
    pub fn field_in_parts<'v>(
        &mut self,
        name: &[u8],
        value: impl IntoIterator<Item = &'v [u8], IntoIter: Clone>,
    ) -> Result<(), WriteError> {
        match find(name) {
            Some(Name::Expect | Name::Trailer | Name::ProxyAuthenticate | Name::ProxyAuthorization) => {}
            Some(name) if matches!(name.role(), Role::Framing | Role::Hop) => return Err(WriteError::Framing),
            _ => {}
        }
        put_field(self.sink, name, value)
    }

    /// All fields of another head that go on, as they are. They were looked at when they were read.
    pub fn pass(&mut self, fields: Fields<'_>) -> Result<(), WriteError> {
        fields.lines().try_for_each(|lines| self.sink.put(lines))
    }

    /// Whole lines that were looked at when they were made: pieces that a gateway writes with every message.
    pub(in crate::http) fn lines<const N: usize>(&mut self, pieces: [&[u8]; N]) -> Result<(), WriteError> {
        pieces.into_iter().try_for_each(|piece| self.sink.put(piece))
    }

    /// Says that trailers are welcome.
    pub fn te_trailers(&mut self) {
        self.te = true;
    }

    /// What a server would rather speak than what was asked.
    pub fn upgrade(&mut self, protocols: &[u8]) -> Result<(), WriteError> {
        self.upgrade = true;
        put_field(self.sink, b"upgrade", [protocols])
    }

    /// The fields that frame the message, and the end of the head. Unless the connection `persists`, no other message follows on it.
    /// `Body::Tunnel` is for CONNECT and its answer.
    pub fn end(mut self, body: Body, persists: bool) -> Result<Content, WriteError> {
        let left = match self.kind {
            Kind::Request => self.frame_request(body)?,
            Kind::Response { status, peer } => self.frame_response(body, status, peer)?,
        };
        self.close(persists && left != Left::UntilClose)?;
        Ok(Content { left, is_between: false })
    }

    /// The same for a response that has no content but tells how long another's would have been: to HEAD, or 304.
    pub fn end_without_content(mut self, length: Option<u64>, persists: bool) -> Result<Content, WriteError> {
        if let Some(length) = length {
            self.put_length(length)?;
        }
        self.close(persists)?;
        Ok(Content { left: Left::Length(0), is_between: false })
    }

    /// The same for a request that asks for another protocol, or the 101 that grants it. What follows is not HTTP.
    pub fn end_with_upgrade(self, protocol: &[u8]) -> Result<Content, WriteError> {
        // rfc9110 7.8 (MUST): with the option, for it is for this hop.
        put_field(self.sink, b"connection", [&b"upgrade"[..]])?;
        put_field(self.sink, b"upgrade", [protocol])?;
        self.sink.put(CRLF)?;
        Ok(Content { left: Left::Tunnel, is_between: false })
    }

    fn frame_request(&mut self, body: Body) -> Result<Left, WriteError> {
        match body {
            // rfc9112 6.3: without a length and a coding there is no content.
            Body::None => Ok(Left::Length(0)),
            Body::Length(length) => self.put_length(length),
            Body::Chunked => self.put_chunked(),
            Body::Tunnel => Ok(Left::Tunnel),
            // rfc9112 6.3: no request lasts until the connection's end.
            Body::UntilClose => Err(WriteError::Content),
        }
    }

    fn frame_response(&mut self, body: Body, status: u16, peer: Version) -> Result<Left, WriteError> {
        let has_content = !matches!(status, 100..200 | 204 | 304);
        match body {
            // rfc9110 9.3.6: any 2xx to CONNECT makes a tunnel.
            Body::Tunnel => Ok(Left::Tunnel),
            // rfc9110 8.6, rfc9112 6.1 (MUST NOT): neither length nor coding.
            Body::None | Body::Length(0) if !has_content => Ok(Left::Length(0)),
            _ if !has_content => Err(WriteError::Content),
            // rfc9112 6.3 rule 8: without a length it would last until the connection's end.
            Body::None => self.put_length(0),
            Body::Length(length) => self.put_length(length),
            // rfc9112 6.1 (MUST NOT): no coding for HTTP/1.0; such content ends with the connection.
            Body::Chunked | Body::UntilClose if peer >= Version::Http11 => self.put_chunked(),
            Body::Chunked | Body::UntilClose => Ok(Left::UntilClose),
        }
    }

    fn put_length(&mut self, length: u64) -> Result<Left, WriteError> {
        self.sink.put(b"content-length: ")?;
        put_number(self.sink, length, CRLF)?;
        Ok(Left::Length(length))
    }

    fn put_chunked(&mut self) -> Result<Left, WriteError> {
        self.sink.put(b"transfer-encoding: chunked\r\n")?;
        Ok(Left::Chunks)
    }

    /// What is said about the connection, and the empty line.
    fn close(self, persists: bool) -> Result<(), WriteError> {
        // rfc9112 9.3, C.2.2: 1.0 persists if both say so.
        let is_old = matches!(self.kind, Kind::Response { peer: Version::Http10, .. });
        if self.te {
            self.sink.put(b"te: trailers\r\n")?;
        }
        let mut options: ArrayVec<&[u8], 5> = ArrayVec::new();
        match (persists, is_old) {
            (false, _) => options.push(b"close"),
            (true, true) => options.push(b"keep-alive"),
            (true, false) => {}
        }
        // rfc9110 10.1.4, 7.8 (MUST): with the option.
        for (is_said, option) in [(self.te, &b"te"[..]), (self.upgrade, b"upgrade")] {
            if is_said && !options.is_empty() {
                options.push(b", ");
            }
            if is_said {
                options.push(option);
            }
        }
        if !options.is_empty() {
            put_field(self.sink, b"connection", options.iter().copied())?;
        }
        self.sink.put(CRLF)
    }
}

/// The content that a head has promised, and the framing around it. The payload itself goes its own way, by reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "content ends with `end`"]
pub struct Content {
    left: Left,
    /// A chunk was written, and its end was not.
    is_between: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Left {
    /// So many bytes.
    Length(u64),
    Chunks,
    UntilClose,
    Tunnel,
}

impl Content {
    /// Whether nothing more is to be written, not even an end.
    pub fn ends_by_itself(&self) -> bool {
        matches!(self.left, Left::Length(0) | Left::UntilClose | Left::Tunnel)
    }

    /// What stands before `len` bytes of payload.
    ///
    /// # Errors
    /// [`WriteError::Content`]: that is more than the head has said. The connection is lost, for the peer cannot tell where the message ends.
    pub fn before<S: Sink>(&mut self, sink: &mut S, len: u64) -> Result<(), WriteError> {
        match &mut self.left {
            // rfc9110 8.6: as long as was said; the rest would be read as the next message (CVE-2019-18801).
            Left::Length(left) => *left = left.checked_sub(len).ok_or(WriteError::Content)?,
            // An empty chunk would be the last one.
            Left::Chunks if len > 0 => {
                self.end_chunk(sink)?;
                put_hexadecimal(sink, len)?;
                sink.put(CRLF)?;
                self.is_between = true;
            }
            Left::Chunks | Left::UntilClose | Left::Tunnel => {}
        }
        Ok(())
    }

    /// What stands after all payload. Trailers go with chunks only, and without those that do not belong there.
    ///
    /// # Errors
    /// [`WriteError::Content`]: that was less than the head has said. The connection is to be closed.
    pub fn end<'f, S: Sink>(
        mut self,
        sink: &mut S,
        trailers: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    ) -> Result<(), WriteError> {
        match self.left {
            Left::Length(0) | Left::UntilClose | Left::Tunnel => Ok(()),
            Left::Length(_) => Err(WriteError::Content),
            Left::Chunks => {
                self.end_chunk(sink)?;
                sink.put(b"0\r\n")?;
                // rfc9110 6.5.1 (MUST NOT): nothing about framing, routing, requests or content.
                for (name, value) in trailers.filter(|(name, _)| find(name).is_none()) {
                    put_field(sink, name, [value])?;
                }
                sink.put(CRLF)
            }
        }
    }

    fn end_chunk<S: Sink>(&mut self, sink: &mut S) -> Result<(), WriteError> {
        if std::mem::take(&mut self.is_between) { sink.put(CRLF) } else { Ok(()) }
    }
}

const CRLF: &[u8] = b"\r\n";

fn put_field<'v>(
    sink: &mut impl Sink,
    name: &[u8],
    value: impl IntoIterator<Item = &'v [u8], IntoIter: Clone>,
) -> Result<(), WriteError> {
    let mut value = value.into_iter();
    // rfc9110 5.5: what would end the line is never written.
    if !is_token(name) || !value.clone().all(is_value) {
        return Err(WriteError::Unsound);
    }
    sink.put(name)?;
    sink.put(b": ")?;
    value.try_for_each(|part| sink.put(part))?;
    sink.put(CRLF)
}

/// A known name, in any letters; all of them are short.
fn find(name: &[u8]) -> Option<Name> {
    let mut lower = ArrayVec::<u8, 32>::new();
    lower.try_extend_from_slice(name).ok()?;
    lower.make_ascii_lowercase();
    Name::find(&lower)
}

fn is_graphic(bytes: &[u8]) -> bool {
    // All of them in one go: this has no early end to be mispredicted.
    bytes.iter().fold(true, |all, byte| all & byte.is_ascii_graphic())
}

/// A number, and what stands behind it.
fn put_number(sink: &mut impl Sink, mut number: u64, end: &[u8]) -> Result<(), WriteError> {
    let (mut digits, mut at) = ([0; 22], 22 - end.len());
    digits[at..].copy_from_slice(end);
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return sink.put(&digits[at..]);
        }
    }
}

fn put_hexadecimal(sink: &mut impl Sink, mut number: u64) -> Result<(), WriteError> {
    let (mut digits, mut at) = ([0; 16], 16);
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
        if number == 0 {
            return sink.put(&digits[at..]);
        }
    }
}

/// rfc9110 15, rfc6585: for people who look at the wire.
fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
