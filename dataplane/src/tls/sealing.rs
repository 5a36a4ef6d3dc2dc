//! The sending half: content to records, and what is owed to the peer between them.
//!
//! How long records are: a receiver can use none of a record before all of it is there. So a burst begins with records that fit one segment each
//! while the congestion window is small, and goes on with long ones, which cost less; after a second of silence it begins anew. (Grigorik,
//! "Optimizing TLS Record Size & Buffering Latency", 2013; Krasnov, "Optimizing TLS over TCP to reduce latency", Cloudflare 2016: small records of
//! 1,369 bytes, a timeout of one second.)

use super::{
    Room, TlsRefusal, Version,
    record::{ContentType, Open, Seal},
};
use crate::{
    limits::{
        HEADERS_MAX, TLS_BURST_IDLE, TLS_BURST_SMALL, TLS_FRAME_BYTES, TLS_OVERHEAD_MAX, TLS_PLAINTEXT_MAX,
        TLS_RECORD_SMALL,
    },
    outbox::Outbox,
    port::Frame,
    time::Instant,
};
use arrayvec::ArrayVec;
use rustls::{client::ClientConnectionData, kernel::KernelConnection, server::ServerConnectionData};
use std::collections::VecDeque;

/// Frames of the longest record.
const RECORD_FRAMES: usize = (TLS_PLAINTEXT_MAX + TLS_OVERHEAD_MAX).div_ceil(TLS_FRAME_BYTES);
/// Records that are left for KeyUpdate, alerts and close_notify when a key is spent.
const RECORDS_SPARED: u64 = 64;

/// What rustls leaves of a connection: the secrets that the next ones are derived from, and where a client keeps tickets.
pub(super) enum Kernel {
    Server(KernelConnection<ServerConnectionData>),
    Client(KernelConnection<ClientConnectionData>),
}

/// The sending half.
pub(super) struct Sealer {
    seal: Seal,
    kernel: Box<Kernel>,
    owed: Owed,
    /// Plaintext bytes of this burst, and when the last record was made.
    burst: u32,
    burst_at: Instant,
    /// Our last record is made.
    is_over: bool,
}

/// Records that the peer is owed, in this order.
#[derive(Default)]
struct Owed {
    no_renegotiation: bool,
    key_update: bool,
    /// The last record: a fatal alert, or close_notify.
    last: Option<u8>,
}

const CLOSE_NOTIFY: u8 = 0;
const NO_RENEGOTIATION: u8 = 100;

impl Sealer {
    pub(super) fn new(seal: Seal, kernel: Kernel) -> Self {
        let (burst, burst_at) = (0, Instant::ZERO);
        Self { seal, kernel: Box::new(kernel), owed: Owed::default(), burst, burst_at, is_over: false }
    }

    pub(super) fn is_client(&self) -> bool {
        matches!(*self.kernel, Kernel::Client(_))
    }
    /// The session was refused, and the alert is out.
    pub(super) fn is_over(&self) -> bool {
        self.is_over && self.owed.last.is_none_or(|alert| alert != CLOSE_NOTIFY)
    }

    /// Whether a record is owed that was not polled.
    pub(super) fn owes(&self) -> bool {
        let Owed { no_renegotiation, key_update, last } = &self.owed;
        !self.is_over && (*no_renegotiation || *key_update || last.is_some())
    }
    #[inline]
    pub(super) fn touch(&self) -> u64 {
        self.seal.left() ^ self.burst_at.as_ns() ^ u64::from(self.is_over)
    }

    #[cfg(test)]
    pub(super) fn skip_to(&mut self, seq: u64) {
        self.seal.skip_to(seq);
    }

    /// The peer has a new key from its next record on; if it asks for the same of us, it is owed. One answer is enough for any number of requests
    /// (rfc8446 4.6.3).
    pub(super) fn next_open(&mut self, is_requested: bool) -> Result<Open, TlsRefusal> {
        self.owed.key_update |= is_requested;
        let secrets = match &mut *self.kernel {
            Kernel::Server(kernel) => kernel.update_rx_secret(),
            Kernel::Client(kernel) => kernel.update_rx_secret(),
        };
        let (seq, secrets) = secrets.map_err(|_| TlsRefusal::Internal)?;
        Ok(Open::new(self.seal.version(), seq, &secrets))
    }

    pub(super) fn handle_ticket(&mut self, message: &[u8]) -> Result<(), TlsRefusal> {
        match &mut *self.kernel {
            Kernel::Client(kernel) => kernel.handle_new_session_ticket(message).map_err(|e| TlsRefusal::from(&e)),
            Kernel::Server(_) => Err(TlsRefusal::UnexpectedMessage),
        }
    }

    pub(super) fn decline_renegotiation(&mut self) {
        self.owed.no_renegotiation = true;
    }

    /// No more content.
    pub(super) fn close(&mut self) {
        self.owed.last.get_or_insert(CLOSE_NOTIFY);
    }

    /// It is over; the peer is told with this alert.
    pub(super) fn refuse(&mut self, alert: Option<u8>) {
        match (self.is_over, alert) {
            (false, Some(alert)) => self.owed.last = Some(alert),
            // Nobody hears it, or close_notify was the last word.
            _ => (self.is_over, self.owed.last) = (true, None),
        }
    }

    /// The next record that is owed.
    pub(super) fn poll_owed(&mut self, out: &mut Outbox) -> Option<Frame> {
        if self.is_over {
            return None;
        }
        if self.owed.no_renegotiation {
            let frame = self.small(ContentType::Alert, &[1, NO_RENEGOTIATION], out)?;
            self.owed.no_renegotiation = false;
            return Some(frame);
        }
        if self.owed.key_update && self.owed.last.is_none() {
            return self.key_update(out);
        }
        let alert = self.owed.last?;
        let level = if alert == CLOSE_NOTIFY { 1 } else { 2 };
        let frame = self.small(ContentType::Alert, &[level, alert], out)?;
        self.is_over = true;
        Some(frame)
    }

    /// rfc8446 4.6.3: the last record under the old key says that a new one follows, and asks for none in return.
    fn key_update(&mut self, out: &mut Outbox) -> Option<Frame> {
        const UPDATE_NOT_REQUESTED: [u8; 5] = [24, 0, 0, 1, 0];
        let frame = self.small(ContentType::Handshake, &UPDATE_NOT_REQUESTED, out)?;
        let secrets = match &mut *self.kernel {
            Kernel::Server(kernel) => kernel.update_tx_secret(),
            Kernel::Client(kernel) => kernel.update_tx_secret(),
        };
        let (seq, secrets) = secrets.expect("a TLS 1.3 connection has next secrets");
        self.seal = Seal::new(Version::Tls13, seq, &secrets);
        self.owed.key_update = false;
        Some(frame)
    }

    /// A record of a few bytes in a frame of its own.
    pub(super) fn small(&mut self, kind: ContentType, plain: &[u8], out: &mut Outbox) -> Option<Frame> {
        if self.seal.left() == 0 {
            return None;
        }
        let mut frame = out.make()?;
        let whole = frame.append(self.seal.front() + plain.len() + self.seal.back()).expect("a fresh frame has room");
        whole[self.seal.front()..][..plain.len()].copy_from_slice(plain);
        self.seal.seal(kind, whole);
        Some(frame)
    }

    /// Makes records of content; see [`Session::seal`](super::Session::seal).
    pub(super) fn seal(
        &mut self,
        now: Instant,
        plain: &mut VecDeque<Frame>,
        sealed: &mut VecDeque<Frame>,
        room: &mut Room,
        out: &mut Outbox,
    ) -> Result<(), TlsRefusal> {
        if now.since(self.burst_at) >= TLS_BURST_IDLE {
            self.burst = 0;
        }
        self.burst_at = now;
        let mut left: usize = plain.iter().map(Frame::len).sum();
        while !plain.is_empty() && self.owed.last.is_none() {
            if self.seal.left() <= RECORDS_SPARED {
                if self.seal.version() == Version::Tls12 {
                    return Err(TlsRefusal::KeysSpent);
                }
                let Some(frame) = self.key_update(out) else { return Ok(()) };
                sealed.push_back(frame);
            }
            let Some(taken) = self.seal_one(left, plain, sealed, room, out) else { return Ok(()) };
            left -= taken;
            self.burst = self.burst.saturating_add(taken as u32);
        }
        Ok(())
    }

    /// Makes one record of what is first in `plain`, of `total` bytes; says how many it took. `None`: there were no frames.
    fn seal_one(
        &mut self,
        total: usize,
        plain: &mut VecDeque<Frame>,
        sealed: &mut VecDeque<Frame>,
        room: &mut Room,
        out: &mut Outbox,
    ) -> Option<usize> {
        let first = plain.front()?;
        let len = first.len();
        if len == 0 {
            out.consume(plain.pop_front()?);
            return Some(0);
        }
        if first.segment_count() > 1 {
            flatten(plain, out)?;
            return Some(0);
        }
        let most = if self.burst < TLS_BURST_SMALL { TLS_RECORD_SMALL } else { TLS_PLAINTEXT_MAX };
        // Where it is, if it is a record's worth: alone, or most of one, with a next one that would not fit.
        let next = plain.get(1).map_or(0, Frame::len);
        if len <= most
            && (total == len || most == TLS_RECORD_SMALL && 2 * len >= most && len + next > most)
            && self.fits(first)
        {
            let mut frame = plain.pop_front()?;
            frame.append(self.seal.back()).expect("it was just looked at");
            let record = frame.prepend(self.seal.front()).expect("it was just looked at");
            self.seal.seal(ContentType::ApplicationData, record);
            sealed.push_back(frame);
            return Some(len);
        }
        if most == TLS_PLAINTEXT_MAX
            && total > TLS_RECORD_SMALL
            && let Some(taken) = self.seal_long(total.min(most), plain, sealed, room, out)
        {
            return Some(taken);
        }
        // Also when there are not so many frames: perhaps there is one.
        self.seal_copy(total.min(TLS_RECORD_SMALL), plain, sealed, out)
    }

    /// Whether a frame has room for a record around its bytes, and for the headers before that.
    fn fits(&self, frame: &Frame) -> bool {
        !frame.is_shared()
            && frame.headroom() >= HEADERS_MAX + self.seal.front()
            && frame.tailroom() >= self.seal.back()
    }

    /// One record in one fresh frame.
    fn seal_copy(
        &mut self,
        len: usize,
        plain: &mut VecDeque<Frame>,
        sealed: &mut VecDeque<Frame>,
        out: &mut Outbox,
    ) -> Option<usize> {
        if !is_flat(plain, len) {
            flatten(plain, out)?;
            return Some(0);
        }
        let mut frame = out.make()?;
        let whole =
            frame.append(self.seal.front() + len + self.seal.back()).expect("a fresh frame has room for a segment");
        copy(plain, &mut whole[self.seal.front()..][..len], None, out);
        self.seal.seal(ContentType::ApplicationData, whole);
        sealed.push_back(frame);
        Some(len)
    }

    /// One record, in the frames that its content came in, cut anew into full segments, and in fresh ones where those do not do. All of them
    /// are there before it is sealed.
    fn seal_long(
        &mut self,
        len: usize,
        plain: &mut VecDeque<Frame>,
        sealed: &mut VecDeque<Frame>,
        room: &mut Room,
        out: &mut Outbox,
    ) -> Option<usize> {
        if !is_flat(plain, len) {
            flatten(plain, out)?;
            return Some(0);
        }
        let whole = self.seal.front() + len + self.seal.back();
        let needed = whole.div_ceil(TLS_FRAME_BYTES).saturating_sub(spare_frames(plain, len));
        let mut frames: Frames = ArrayVec::new();
        for _ in 0..needed {
            match out.make() {
                Some(frame) => frames.push(frame),
                None => {
                    frames.into_iter().for_each(|frame| out.consume(frame));
                    return None;
                }
            }
        }
        let record = &mut room.scratch[..whole];
        copy(plain, &mut record[self.seal.front()..][..len], Some(&mut frames), out);
        self.seal.seal(ContentType::ApplicationData, record);
        let mut frames = frames.into_iter();
        for part in record.chunks(TLS_FRAME_BYTES) {
            let mut frame = frames.next().expect("as many as were counted");
            if frame.len() > part.len() {
                frame.truncate(part.len());
            } else {
                frame.append(part.len() - frame.len()).expect("it has room for a segment");
            }
            frame.head_mut().copy_from_slice(part);
            sealed.push_back(frame);
        }
        frames.for_each(|frame| out.consume(frame));
        Some(len)
    }
}

/// The frames of one long record.
type Frames = ArrayVec<Frame, RECORD_FRAMES>;

/// Whether a frame whose content was copied can take a segment of the record.
fn is_spare(frame: &Frame) -> bool {
    !frame.is_shared() && frame.headroom() >= HEADERS_MAX && frame.len() + frame.tailroom() >= TLS_FRAME_BYTES
}

/// How many of the frames that the first `len` bytes use up can.
fn spare_frames(plain: &VecDeque<Frame>, len: usize) -> usize {
    let mut before = 0;
    let used_up = plain.iter().take_while(|frame| {
        before += frame.len();
        before <= len
    });
    used_up.filter(|frame| is_spare(frame)).count()
}

/// Whether the frames of the first `len` bytes have one segment each. (The jumbo frames of a port have more.)
fn is_flat(plain: &VecDeque<Frame>, len: usize) -> bool {
    let mut before = 0;
    plain.iter().all(|frame| {
        let is_beyond = before >= len;
        before += frame.len();
        is_beyond || frame.segment_count() == 1
    })
}

/// Copies the first frame of several segments into fresh ones of one segment. Nothing happens when there are none.
fn flatten(plain: &mut VecDeque<Frame>, out: &mut Outbox) -> Option<()> {
    let index = plain.iter().position(|frame| frame.segment_count() > 1)?;
    let mut flat: ArrayVec<Frame, { crate::limits::SEGMENTS_MAX }> = ArrayVec::new();
    for segment in plain[index].segments() {
        match out.make() {
            Some(mut frame) => {
                frame.append_slice(segment).expect("a segment has no more than a fresh frame");
                flat.push(frame);
            }
            None => {
                flat.into_iter().for_each(|frame| out.consume(frame));
                return None;
            }
        }
    }
    out.consume(plain.remove(index)?);
    flat.into_iter().rev().for_each(|frame| plain.insert(index, frame));
    Some(())
}

/// Takes the first bytes of flat frames. Those that are used up and can be used again go to `spare` as long as it takes any.
fn copy(plain: &mut VecDeque<Frame>, mut into: &mut [u8], mut spare: Option<&mut Frames>, out: &mut Outbox) {
    while !into.is_empty() {
        let first = plain.front_mut().expect("as many bytes as were counted");
        let n = first.head().len().min(into.len());
        let (now, later) = into.split_at_mut(n);
        now.copy_from_slice(&first.head()[..n]);
        into = later;
        if n < first.head().len() {
            first.trim_front(n);
            continue;
        }
        let frame = plain.pop_front().expect("it was just looked at");
        match &mut spare {
            Some(spare) if !spare.is_full() && is_spare(&frame) => spare.push(frame),
            _ => out.consume(frame),
        }
    }
}
