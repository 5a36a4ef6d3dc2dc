//! The receiving half: frames of records to frames of plaintext.
//!
//! ```text
//!   frame:  ..end of A | B whole | C whole | beginning of D..
//!             |            opened in place     |
//!        to the buffer     B C moved together  to the buffer, until more comes
//!        opened there
//!        -> fresh frames   -> the same frame
//! ```
//! So a record that crosses frames costs two copies, and one that does not costs none.

use super::{
    Room, TlsRefusal, Version,
    record::{ContentType, HEADER, Header, Open},
    room::Buffer,
    sealing::Sealer,
};
use crate::{
    limits::{
        TLS_EMPTY_RECORDS_MAX, TLS_FRAME_BYTES, TLS_KEY_UPDATES_MAX, TLS_LATE_MESSAGE_MAX, TLS_SPEC_CHANGES_MAX,
        TLS_TICKETS_MAX, TLS_WARNINGS_MAX,
    },
    outbox::Outbox,
    port::Frame,
};
use std::{collections::VecDeque, ops::Range};

/// What has come and is not content yet.
pub(super) struct Receiver {
    open: Open,
    /// Ciphertext that crosses frames, from `at` on, and plaintext that waits for frames, before it: `plain.end <= at <= bytes.len()`.
    buffer: Buffer,
    plain: Range<usize>,
    at: usize,
    /// Frames behind that; of the first one, bytes before `held_at` are dealt with.
    held: VecDeque<Frame>,
    held_at: usize,
    /// The beginning of a handshake message that is not whole.
    message: Vec<u8>,
    overhead: u32,
    /// The transport has ended.
    is_ended: bool,
    /// How the peer's records have ended.
    end: Option<bool>,
    /// It is over for a reason: nothing is opened any more.
    is_refused: bool,
    empties: u8,
    key_updates: u8,
    warnings: u8,
    tickets: u8,
    spec_changes: u8,
}

/// What a record came to.
enum Took {
    /// Content.
    Content(Range<usize>),
    /// Something else.
    Control,
    /// The peer's end.
    Close,
}

impl Receiver {
    /// `buffer` is what came behind the handshake.
    pub(super) fn new(open: Open, buffer: Buffer) -> Self {
        Self {
            open,
            buffer,
            plain: 0..0,
            at: 0,
            held: VecDeque::new(),
            held_at: 0,
            message: Vec::new(),
            overhead: 0,
            is_ended: false,
            end: None,
            is_refused: false,
            empties: 0,
            key_updates: 0,
            warnings: 0,
            tickets: 0,
            spec_changes: 0,
        }
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }
    #[inline]
    pub(super) fn touch(&self) -> u64 {
        self.open.opened()
            ^ (self.buffer.bytes.len() ^ self.held.len() ^ self.message.len()) as u64
            ^ u64::from(self.empties)
    }
    /// Whether something may be done without anything new: there was no frame for what it has.
    #[inline]
    pub(super) fn is_behind(&self) -> bool {
        !self.held.is_empty() || !self.plain.is_empty()
    }
    pub(super) fn push(&mut self, frame: Frame) {
        self.held.push_back(frame);
    }

    /// Takes the next frame, as [`Self::push`] and [`Self::advance`] would. Mostly nothing waits, and it is opened at once.
    pub(super) fn take(
        &mut self,
        frame: Frame,
        sealer: &mut Sealer,
        ready: &mut VecDeque<Frame>,
        room: &mut Room,
        out: &mut Outbox,
    ) -> Result<Option<bool>, TlsRefusal> {
        if self.is_refused || self.is_ended || self.end.is_some() || self.is_behind() || !self.buffer.bytes.is_empty() {
            self.push(frame);
            return self.advance(sealer, ready, room, out);
        }
        let result = self.open_frame(frame, sealer, ready, room, out);
        if result.is_ok() && self.held.is_empty() && self.end.is_none() && self.buffer.bytes.is_empty() {
            return Ok(None);
        }
        if result.is_err() {
            self.is_refused = true;
            self.drain(out);
            return result.map(|()| None);
        }
        self.advance(sealer, ready, room, out)
    }
    pub(super) fn end(&mut self) {
        self.is_ended = true;
    }
    pub(super) fn take_overhead(&mut self) -> u32 {
        std::mem::take(&mut self.overhead)
    }

    #[cfg(test)]
    pub(super) fn skip_to(&mut self, seq: u64) {
        self.open.skip_to(seq);
    }

    /// Opens what is there and puts content behind what is in `ready`. Says how the peer has ended, once all before it is there: with
    /// close_notify or without.
    pub(super) fn advance(
        &mut self,
        sealer: &mut Sealer,
        ready: &mut VecDeque<Frame>,
        room: &mut Room,
        out: &mut Outbox,
    ) -> Result<Option<bool>, TlsRefusal> {
        if self.is_refused {
            self.drain(out);
            return Ok(None);
        }
        let result = self.open_all(sealer, ready, room, out);
        if result.is_err() {
            self.is_refused = true;
            self.drain(out);
        }
        result
    }

    fn open_all(
        &mut self,
        sealer: &mut Sealer,
        ready: &mut VecDeque<Frame>,
        room: &mut Room,
        out: &mut Outbox,
    ) -> Result<Option<bool>, TlsRefusal> {
        loop {
            if !self.empty_buffer(sealer, ready, room, out)? {
                return Ok(None);
            }
            if self.end.is_some() {
                self.drain(out);
                return Ok(self.end);
            }
            let Some(frame) = self.held.pop_front() else { break };
            self.open_frame(frame, sealer, ready, room, out)?;
        }
        if self.held.capacity() > 8 {
            self.held = VecDeque::new();
        }
        if self.is_ended {
            self.end = Some(false);
            self.drain(out);
        }
        Ok(self.end)
    }

    /// Opens the records in the buffer, as far as they are whole, and gives their plaintext. Says false when there was no frame for it.
    fn empty_buffer(
        &mut self,
        sealer: &mut Sealer,
        ready: &mut VecDeque<Frame>,
        room: &mut Room,
        out: &mut Outbox,
    ) -> Result<bool, TlsRefusal> {
        loop {
            while !self.plain.is_empty() {
                let Some(mut frame) = out.make() else { return Ok(false) };
                let end = self.plain.end.min(self.plain.start + TLS_FRAME_BYTES);
                let part = &self.buffer.bytes[self.plain.start..end];
                frame.append_slice(part).expect("a fresh frame has room for a segment");
                self.plain.start = end;
                ready.push_back(frame);
            }
            let unread = &mut self.buffer.bytes[self.at..];
            if self.end.is_some() || unread.is_empty() {
                self.overhead += unread.len() as u32;
                self.at = 0;
                self.plain = 0..0;
                if self.buffer.bytes.capacity() > 0 {
                    room.give_back(std::mem::take(&mut self.buffer));
                }
                return Ok(true);
            }
            let header = Header::read(unread, Some(self.open.version()))?;
            let Some(header) = header.filter(|h| HEADER + h.len <= unread.len()) else {
                self.buffer.bytes.drain(..self.at);
                self.at = 0;
                self.plain = 0..0;
                return Ok(true);
            };
            let begin = self.at;
            self.at += HEADER + header.len;
            let mut buffer = std::mem::take(&mut self.buffer);
            let took = self.open_record(header, &mut buffer.bytes[begin..self.at], sealer);
            self.buffer = buffer;
            let (content, result) = match took {
                Ok(Took::Content(plain)) => (plain, Ok(())),
                Ok(Took::Control) => (0..0, Ok(())),
                Ok(Took::Close) => {
                    self.end = Some(true);
                    (0..0, Ok(()))
                }
                Err(refusal) => (0..0, Err(refusal)),
            };
            self.overhead += (HEADER + header.len - content.len()) as u32;
            self.plain = begin + content.start..begin + content.end;
            result?;
        }
    }

    /// Takes a frame: what completes the buffer's record goes there; if there is none, whole records are opened where they lie, and what is left
    /// goes to the buffer. What cannot be dealt with now is held.
    fn open_frame(
        &mut self,
        mut frame: Frame,
        sealer: &mut Sealer,
        ready: &mut VecDeque<Frame>,
        room: &mut Room,
        out: &mut Outbox,
    ) -> Result<(), TlsRefusal> {
        if !self.buffer.bytes.is_empty() || frame.segment_count() > 1 || frame.is_shared() {
            let filled = self.fill(&frame, room);
            if filled == Ok(true) {
                self.held_at = 0;
                out.consume(frame);
            } else {
                self.held.push_front(frame);
            }
            return filled.map(|_| ());
        }
        frame.trim_front(std::mem::take(&mut self.held_at));
        let (content, result) = self.open_whole(frame.head_mut(), sealer, room);
        if content.is_empty() {
            out.consume(frame);
        } else {
            frame.trim_front(content.start);
            frame.truncate(content.len());
            ready.push_back(frame);
        }
        result
    }

    /// Copies what the buffer's record lacks, and says whether the frame is used up.
    fn fill(&mut self, frame: &Frame, room: &mut Room) -> Result<bool, TlsRefusal> {
        let mut skip = self.held_at;
        for segment in frame.segments() {
            let mut left = &segment[skip.min(segment.len())..];
            skip = skip.saturating_sub(segment.len());
            while !left.is_empty() {
                let have = self.buffer.bytes.len();
                let whole = match Header::read(&self.buffer.bytes, Some(self.open.version()))? {
                    Some(header) => HEADER + header.len,
                    None => HEADER,
                };
                let more = (whole - have).min(left.len());
                if more == 0 {
                    return Ok(false);
                }
                if !room.reserve(&mut self.buffer, more, whole) {
                    return Err(TlsRefusal::OutOfMemory);
                }
                self.buffer.bytes.extend_from_slice(&left[..more]);
                self.held_at += more;
                left = &left[more..];
            }
        }
        Ok(true)
    }

    /// Opens the whole records of a frame and moves their content together; says where it is. Content before what is wrong is good.
    fn open_whole(
        &mut self,
        bytes: &mut [u8],
        sealer: &mut Sealer,
        room: &mut Room,
    ) -> (Range<usize>, Result<(), TlsRefusal>) {
        let (mut at, mut content) = (0, 0..0);
        let mut result = Ok(());
        while at < bytes.len() && self.end.is_none() {
            let header = match Header::read(&bytes[at..], Some(self.open.version())) {
                Ok(header) => header,
                Err(refusal) => {
                    result = Err(refusal);
                    break;
                }
            };
            let end = at + header.map_or(HEADER, |h| HEADER + h.len);
            let Some(header) = header.filter(|_| end <= bytes.len()) else {
                let left = &bytes[at..];
                if room.reserve(&mut self.buffer, left.len(), end - at) {
                    self.buffer.bytes.extend_from_slice(left);
                    self.overhead += (at - content.len()) as u32;
                    return (content, Ok(()));
                }
                result = Err(TlsRefusal::OutOfMemory);
                break;
            };
            match self.open_record(header, &mut bytes[at..end], sealer) {
                Ok(Took::Content(plain)) if content.is_empty() => content = at + plain.start..at + plain.end,
                Ok(Took::Content(plain)) => {
                    bytes.copy_within(at + plain.start..at + plain.end, content.end);
                    content.end += plain.len();
                }
                Ok(Took::Control) => {}
                Ok(Took::Close) => self.end = Some(true),
                Err(refusal) => {
                    result = Err(refusal);
                    break;
                }
            }
            at = end;
        }
        self.overhead += (bytes.len() - content.len()) as u32;
        (content, result)
    }

    /// Opens one whole record and does what it says.
    fn open_record(&mut self, header: Header, record: &mut [u8], sealer: &mut Sealer) -> Result<Took, TlsRefusal> {
        if header.kind == ContentType::ChangeCipherSpec && self.open.version() == Version::Tls13 {
            return self.handle_spec_change(&record[HEADER..]);
        }
        let opened = self.open.open(header, record)?;
        // rfc8446 5.1: nothing between the parts of a message.
        if !self.message.is_empty() && opened.kind != ContentType::Handshake {
            return Err(TlsRefusal::UnexpectedMessage);
        }
        let plain = &record[opened.plain.clone()];
        match opened.kind {
            ContentType::ApplicationData if plain.is_empty() => {
                self.empties += 1;
                if self.empties > TLS_EMPTY_RECORDS_MAX {
                    Err(TlsRefusal::TooManyEmptyRecords)
                } else {
                    Ok(Took::Control)
                }
            }
            ContentType::ApplicationData => {
                (self.empties, self.key_updates, self.warnings) = (0, 0, 0);
                Ok(Took::Content(opened.plain))
            }
            ContentType::Alert => self.handle_alert(plain),
            ContentType::Handshake if self.open.version() == Version::Tls13 => {
                self.handle_messages(plain, sealer).map(|()| Took::Control)
            }
            ContentType::Handshake => self.handle_renegotiation(plain, sealer),
            ContentType::ChangeCipherSpec => Err(TlsRefusal::UnexpectedMessage),
        }
    }

    /// rfc8446 5: one byte, 1, in the clear, before the peer's first protected record at the latest; later ones have no reason.
    fn handle_spec_change(&mut self, body: &[u8]) -> Result<Took, TlsRefusal> {
        self.spec_changes += 1;
        if body != [1] || self.open.opened() > 0 || self.spec_changes > TLS_SPEC_CHANGES_MAX {
            return Err(TlsRefusal::UnexpectedMessage);
        }
        Ok(Took::Control)
    }

    /// rfc8446 6: level and description; close_notify is the end, user_canceled comes before it, everything else is fatal. In TLS 1.2 the level
    /// counts (rfc5246 7.2).
    fn handle_alert(&mut self, body: &[u8]) -> Result<Took, TlsRefusal> {
        const CLOSE_NOTIFY: u8 = 0;
        const USER_CANCELED: u8 = 90;
        let &[level, description] = body else { return Err(TlsRefusal::MessageInvalid) };
        let is_warning = match self.open.version() {
            Version::Tls12 => level == 1,
            Version::Tls13 => description == USER_CANCELED,
        };
        match description {
            CLOSE_NOTIFY => Ok(Took::Close),
            _ if !is_warning => Err(TlsRefusal::PeerAlert(description)),
            _ => {
                self.warnings += 1;
                if self.warnings > TLS_WARNINGS_MAX { Err(TlsRefusal::TooManyWarnings) } else { Ok(Took::Control) }
            }
        }
    }

    /// Handshake messages after the handshake: KeyUpdate, and tickets for a client.
    fn handle_messages(&mut self, body: &[u8], sealer: &mut Sealer) -> Result<(), TlsRefusal> {
        if body.is_empty() {
            return Err(TlsRefusal::UnexpectedMessage);
        }
        self.message.extend_from_slice(body);
        let messages = std::mem::take(&mut self.message);
        let mut left = &messages[..];
        while let Some((&[kind, high, mid, low], rest)) = left.split_first_chunk::<4>() {
            let len = u32::from_be_bytes([0, high, mid, low]) as usize;
            let is_known = kind == KEY_UPDATE || kind == NEW_SESSION_TICKET && sealer.is_client();
            if !is_known || len > TLS_LATE_MESSAGE_MAX {
                return Err(TlsRefusal::UnexpectedMessage);
            }
            let Some((message, behind)) = rest.split_at_checked(len) else { break };
            if kind == KEY_UPDATE {
                self.handle_key_update(message, behind.is_empty(), sealer)?;
            } else {
                self.tickets += 1;
                if self.tickets > TLS_TICKETS_MAX {
                    return Err(TlsRefusal::TooManyTickets);
                }
                sealer.handle_ticket(message)?;
            }
            left = behind;
        }
        if !left.is_empty() {
            self.message = left.to_vec();
        }
        Ok(())
    }

    /// rfc8446 4.6.3, 5.1: the last message of its record, because the next record has the next key.
    fn handle_key_update(&mut self, message: &[u8], is_last: bool, sealer: &mut Sealer) -> Result<(), TlsRefusal> {
        let is_requested = match message {
            [0] => false,
            [1] => true,
            _ => return Err(TlsRefusal::MessageInvalid),
        };
        if !is_last {
            return Err(TlsRefusal::UnexpectedMessage);
        }
        self.key_updates += 1;
        if self.key_updates > TLS_KEY_UPDATES_MAX {
            return Err(TlsRefusal::TooManyKeyUpdates);
        }
        self.open = sealer.next_open(is_requested)?;
        Ok(())
    }

    /// rfc5246 7.2.2: a renegotiation may be declined with a warning. Nothing else of a handshake has a place here.
    fn handle_renegotiation(&mut self, body: &[u8], sealer: &mut Sealer) -> Result<Took, TlsRefusal> {
        let asks = if sealer.is_client() { HELLO_REQUEST } else { CLIENT_HELLO };
        if body.first() != Some(&asks) {
            return Err(TlsRefusal::UnexpectedMessage);
        }
        self.warnings += 1;
        if self.warnings > TLS_WARNINGS_MAX {
            return Err(TlsRefusal::Renegotiation);
        }
        sealer.decline_renegotiation();
        Ok(Took::Control)
    }

    /// Lets go of everything that was not opened.
    pub(super) fn drain(&mut self, out: &mut Outbox) {
        let plain = self.plain.len();
        self.overhead += (self.buffer.bytes.len() - self.at + plain) as u32;
        self.buffer = Buffer::default();
        (self.at, self.plain) = (0, 0..0);
        for frame in std::mem::take(&mut self.held) {
            self.overhead += (frame.len() - std::mem::take(&mut self.held_at)) as u32;
            out.consume(frame);
        }
    }
}

const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;
