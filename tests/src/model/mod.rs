//! What one flow owes its peer, written from RFC 9293 section 3.10 with RFC 5961, RFC 7323 and RFC 6191: slow, plain, to be compared with the engine.
//!
//! ```text
//!   CLOSED, LISTEN, SYN-SENT   opening.rs        3.10.7.1 to 3.10.7.3
//!   all others                 synchronized.rs   3.10.7.4: believed? -> RST, SYN -> acknowledgment -> text -> FIN
//!   the peer's stream          stream.rs         a map of places
//!   on purpose otherwise       differences.rs    a table
//! ```
//! It shares nothing with the engine. What is the engine's own choice it is told: where its window ends, which numbers it begins with, when it
//! acknowledges what need not be acknowledged at once, and what it sends again ([`Model::sent`]). The engine's sending is followed, not examined:
//! the peer's window never closes, and there is one message under way at most. Where the RFCs say nothing or two things, it reads them so:
//!
//! * At a closed window a segment with the next number counts, but for its text ("valid ACKs, URGs and RSTs", 3.10.7.4).
//! * Of two bytes for one place the first stays. Of a FIN and of text behind it, or of two FINs, the first that is held stays; a FIN in order
//!   ends the stream, whatever is held behind it, unless a byte is held in its place.
//! * A FIN that comes again in TIME-WAIT begins the wait anew although it lies outside the window.
//! * Data that was not read, also if it is still out of order, makes a CLOSE without further reading a reset (3.6.1 SHLD-3).

mod differences;
mod opening;
mod stream;
mod synchronized;

pub use differences::{DIFFERENCES, Difference, What};

use crate::wire::flag;
use stream::Stream;

/// A segment that comes.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Its first number.
    pub seq: u32,
    /// What it acknowledges, with the flag.
    pub ack: u32,
    /// Bits of [`flag`].
    pub flags: u8,
    /// As it stands there.
    pub window: u16,
    /// TSval.
    pub timestamp: Option<u32>,
    /// The window scale, in a SYN.
    pub scale: Option<u8>,
    /// Its text.
    pub text: Vec<u8>,
}

impl Heard {
    /// Whether it has one of these flags.
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }
    /// The numbers that it takes.
    pub fn len(&self) -> u32 {
        self.text.len() as u32 + u32::from(self.has(flag::SYN)) + u32::from(self.has(flag::FIN))
    }
    /// It takes none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The number after its last.
    pub fn end(&self) -> u32 {
        self.seq.wrapping_add(self.len())
    }
}

/// What must be answered in the same turn.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Reply {
    /// Nothing.
    #[default]
    Nothing,
    /// `<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>`, alone or with data.
    Ack,
    /// The same, or later.
    MayAck,
    /// `<SEQ=ISS><ACK=RCV.NXT><CTL=SYN,ACK>`.
    SynAck,
    /// A reset with this number, and this acknowledgment if it has one.
    Reset(u32, Option<u32>),
}

/// How a connection ended, for the application.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    /// The peer has reset it.
    Reset,
    /// The peer has refused our SYN.
    Refused,
    /// Both sides have closed it.
    Graceful,
    /// We have ended it.
    Aborted,
}

/// What comes of a segment or a call.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Outcome {
    /// What is answered.
    pub reply: Reply,
    /// Bytes of new data that are sent.
    pub data: u32,
    /// Our FIN is sent.
    pub fin: bool,
    /// The connection is open.
    pub opened: bool,
    /// What the application reads.
    pub text: Vec<u8>,
    /// The application is told of urgent text.
    pub urgent: bool,
    /// The peer's FIN came next.
    pub peer_closed: bool,
    /// The connection ends.
    pub over: Option<Over>,
}

impl Outcome {
    fn of(reply: Reply) -> Self {
        Self { reply, ..Self::default() }
    }
}

/// RFC 9293 section 3.3.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // they are the RFC's
pub enum State {
    Closed,
    Listen,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
}

impl State {
    /// As the RFC writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN-SENT",
            Self::SynReceived => "SYN-RECEIVED",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::CloseWait => "CLOSE-WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST-ACK",
            Self::TimeWait => "TIME-WAIT",
        }
    }
    /// There is a connection that the application may speak to.
    pub fn is_open(self) -> bool {
        !matches!(self, Self::Closed | Self::Listen | Self::TimeWait)
    }
    /// The handshake is over.
    pub fn is_synchronized(self) -> bool {
        !matches!(self, Self::Closed | Self::Listen | Self::SynSent | Self::SynReceived)
    }
    /// The peer's FIN may still come.
    pub fn receives(self) -> bool {
        matches!(self, Self::Established | Self::FinWait1 | Self::FinWait2)
    }
}

/// How an engine is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Somebody listens; otherwise the application connects.
    pub listens: bool,
    /// Milliseconds between two challenges.
    pub challenge_ms: u64,
    /// A difference that is left out, as if the engine were to follow the RFC.
    pub without: Option<What>,
}

/// TIME-WAIT, in milliseconds: twice the MSL.
const TIME_WAIT_MS: u64 = 2 * 2 * 60_000;
/// The same, by [`What::TimeWaitIsShort`].
const TIME_WAIT_SHORT_MS: u64 = 60_000;

/// A flow between two ends.
pub struct Model {
    setup: Setup,
    now_ms: u64,
    /// Where it stands.
    pub state: State,
    // What was agreed.
    passive: bool,
    iss: Option<u32>,
    irs: u32,
    scaled: bool,
    shift: u8,
    /// TS.Recent, where timestamps are on.
    pub ts_recent: Option<u32>,
    // Sending.
    snd_una: u32,
    snd_nxt: u32,
    snd_wnd: u32,
    snd_wl1: u32,
    snd_wl2: u32,
    max_snd_wnd: u32,
    /// The number after our FIN.
    our_fin: Option<u32>,
    closing: bool,
    released: bool,
    /// Our numbers begin above this one.
    iss_above: Option<u32>,
    // Receiving.
    rcv_nxt: u32,
    edge: u32,
    last_ack_sent: u32,
    stream: Stream,
    peer_closed: bool,
    unread: u32,
    challenged_at: Option<u64>,
    time_wait_until: u64,
}

fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

/// Half a circle away is neither.
fn after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

impl Model {
    /// Nothing has happened yet.
    pub fn new(setup: Setup) -> Self {
        Self {
            setup,
            now_ms: 0,
            state: if setup.listens { State::Listen } else { State::Closed },
            passive: false,
            iss: None,
            irs: 0,
            scaled: false,
            shift: 0,
            ts_recent: None,
            snd_una: 0,
            snd_nxt: 0,
            snd_wnd: 0,
            snd_wl1: 0,
            snd_wl2: 0,
            max_snd_wnd: 0,
            our_fin: None,
            closing: false,
            released: false,
            iss_above: None,
            rcv_nxt: 0,
            edge: 0,
            last_ack_sent: 0,
            stream: Stream::default(),
            peer_closed: false,
            unread: 0,
            challenged_at: None,
            time_wait_until: 0,
        }
    }

    /// The next number that is expected.
    pub fn rcv_nxt(&self) -> u32 {
        self.rcv_nxt
    }
    /// The number after all that may come.
    pub fn edge(&self) -> u32 {
        self.edge
    }
    /// The next number that we send.
    pub fn snd_nxt(&self) -> u32 {
        self.snd_nxt
    }
    /// The oldest number of ours that is not acknowledged.
    pub fn snd_una(&self) -> u32 {
        self.snd_una
    }
    /// The oldest acknowledgment that may be meant (RFC 5961 section 5.2).
    pub fn oldest_ack(&self) -> u32 {
        self.snd_una.wrapping_sub(self.max_snd_wnd)
    }
    /// Our first number, once it is known.
    pub fn iss(&self) -> Option<u32> {
        self.iss
    }
    /// The number after our FIN, once it is sent.
    pub fn our_fin(&self) -> Option<u32> {
        self.our_fin
    }
    /// What the peer still takes.
    pub fn snd_room(&self) -> u32 {
        let edge = self.snd_una.wrapping_add(self.snd_wnd);
        if before(edge, self.snd_nxt) { 0 } else { edge.wrapping_sub(self.snd_nxt) }
    }
    /// Bytes that the application was given and has not consumed.
    pub fn unread(&self) -> u32 {
        self.unread
    }
    /// Something came that no acknowledgment has named.
    pub fn owes(&self) -> bool {
        self.state.is_open() && self.rcv_nxt != self.last_ack_sent
    }
    /// The application may send: nothing is under way, and it has not closed.
    pub fn may_send(&self) -> bool {
        matches!(self.state, State::Established | State::CloseWait) && self.snd_una == self.snd_nxt
    }
    /// The application may still close.
    pub fn may_close(&self) -> bool {
        matches!(self.state, State::SynSent | State::SynReceived | State::Established | State::CloseWait)
            && !self.closing
            && (self.state != State::SynReceived || !self.passive)
    }
    /// There is a connection that the application has a name for.
    pub fn is_known(&self) -> bool {
        self.state.is_open() && (self.state != State::SynReceived || !self.passive)
    }

    /// Whether the engine is to do what this difference says.
    fn by_design(&self, what: What) -> bool {
        self.setup.without != Some(what)
    }

    /// A segment comes. `edge`: where the engine's window ends, by its own word.
    pub fn hear(&mut self, now_ms: u64, heard: &Heard, edge: Option<u32>) -> Outcome {
        self.pass(now_ms);
        self.note_edge(edge);
        let mut outcome = match self.state {
            State::Closed => Outcome::of(refusal(heard)),
            State::Listen => self.hear_listening(heard),
            State::SynSent => self.hear_syn_sent(heard),
            _ => self.hear_synchronized(heard),
        };
        if self.closing && self.our_fin.is_none() && matches!(self.state, State::Established | State::CloseWait) {
            self.begin_fin(&mut outcome);
        }
        self.unread += outcome.text.len() as u32;
        outcome
    }

    /// Time goes by.
    pub fn pass(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        if self.state == State::TimeWait && now_ms >= self.time_wait_until {
            self.forget();
        }
    }

    /// The engine's window is known to go so far.
    pub fn note_edge(&mut self, edge: Option<u32>) {
        if let Some(edge) = edge.filter(|edge| before(self.edge, *edge)) {
            self.edge = edge;
        }
    }

    /// A segment of ours has left. Resets are not told.
    pub fn sent(&mut self, seq: u32, flags: u8, len: u32, edge: u32) {
        if flags & flag::SYN != 0 {
            if self.iss.is_none() {
                self.iss = Some(seq);
                (self.snd_una, self.snd_nxt) = (seq, seq.wrapping_add(1));
            }
            if flags & flag::ACK == 0 {
                return;
            }
        }
        let end = seq.wrapping_add(len + u32::from(flags & flag::FIN != 0));
        if before(self.snd_nxt, end) {
            self.snd_nxt = end;
        }
        if flags & flag::FIN != 0 {
            self.our_fin = Some(end);
        }
        self.note_edge(Some(edge));
        self.last_ack_sent = self.rcv_nxt;
    }

    /// The application connects (3.10.1).
    pub fn connect(&mut self) {
        self.forget();
        (self.state, self.passive) = (State::SynSent, false);
    }

    /// The application sends (3.10.2).
    pub fn send(&mut self, len: u32) -> Outcome {
        Outcome { data: len, ..Outcome::default() }
    }

    /// The application has read (3.10.3).
    pub fn consume(&mut self, bytes: u32) {
        self.unread -= bytes;
    }

    /// The application closes (3.10.4).
    pub fn close(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        match self.state {
            State::SynSent => return self.over(Reply::Nothing, Over::Aborted),
            State::SynReceived if self.by_design(What::CloseInSynReceived) => self.closing = true,
            State::SynReceived | State::Established | State::CloseWait if !self.closing => {
                self.closing = true;
                self.begin_fin(&mut outcome);
            }
            _ => {}
        }
        outcome
    }

    /// The application closes, and reads no more (3.6.1).
    pub fn release(&mut self) -> Outcome {
        self.released = true;
        if self.state.is_synchronized() && (self.unread > 0 || self.stream.holds()) {
            return self.over(self.abort_reply(), Over::Aborted);
        }
        self.close()
    }

    /// The application aborts (3.10.5).
    pub fn abort(&mut self) -> Outcome {
        let silent = matches!(self.state, State::SynSent)
            || (matches!(self.state, State::Closing | State::LastAck) && !self.by_design(What::AbortAlwaysResets));
        let reply = if silent { Reply::Nothing } else { self.abort_reply() };
        self.over(reply, Over::Aborted)
    }

    fn abort_reply(&self) -> Reply {
        Reply::Reset(self.snd_nxt, Some(self.rcv_nxt))
    }

    fn begin_fin(&mut self, outcome: &mut Outcome) {
        self.state = if self.state == State::CloseWait { State::LastAck } else { State::FinWait1 };
        outcome.fin = true;
    }

    /// The connection ends.
    fn over(&mut self, reply: Reply, over: Over) -> Outcome {
        self.forget();
        Outcome { over: Some(over), ..Outcome::of(reply) }
    }

    /// As if nothing had been.
    fn forget(&mut self) {
        *self = Self { now_ms: self.now_ms, ..Self::new(self.setup) };
    }
}

/// RFC 9293 section 3.10.7.1: what is said to somebody whom nobody knows.
fn refusal(heard: &Heard) -> Reply {
    if heard.has(flag::RST) {
        Reply::Nothing
    } else if heard.has(flag::ACK) {
        Reply::Reset(heard.ack, None)
    } else {
        Reply::Reset(0, Some(heard.end()))
    }
}
