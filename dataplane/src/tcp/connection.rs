//! One connection's state, by how often it is needed.
//!
//! ```text
//!   Hot     two cache lines: everything that a segment in order touches
//!   Cold    beside it, by the same index: the handshake's numbers, congestion, round trips, options, totals
//!   Flight  only while bytes are queued or unacknowledged (`flight`)
//!   held    only while data is out of order (`assembler`)
//! ```
//! LISTEN, SYN-RECEIVED of a passive open and TIME-WAIT are not here: a million of them must cost less (`listen`, `half_open`, `time_wait`).

use super::{
    assembler::AssemblerId,
    congestion::{Congestion, CongestionControl, Cubic, NewReno},
    listen::MSS_MIN,
    lone::Lone,
    options::{CongestionChoice, ConnectionOptions},
    recovery::Reordering,
    rtt::{RTO_MIN_US, Rtt},
    seq::Seq,
    stamp::Stamp,
    table::FlowKey,
};
use crate::{
    drops::{Drop, named},
    limits::TCP_WINDOW_INITIAL,
    net::InterfaceIndex,
    time::Instant,
};
use std::mem::offset_of;

/// Names a connection until its `Closed` event; an old name never means a new connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnectionId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl ConnectionId {
    /// Its place: small numbers, used again after its end. For tables beside the engine's.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// The states of RFC 9293 section 3.3.2 that a full connection can be in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum State {
    /// No connection: the place is free.
    Closed,
    /// A SYN of ours is on the way.
    SynSent,
    /// Both sides have sent a SYN (a simultaneous open; a passive one is a small record until its handshake is over).
    // rfc9293 3.5 MUST-11: so each is known for what it is.
    SynReceived,
    /// Open both ways.
    Established,
    /// The peer has closed its side.
    CloseWait,
    /// Our FIN is on the way.
    FinWait1,
    /// Our FIN was acknowledged.
    FinWait2,
    /// Both FINs crossed, ours is not acknowledged.
    Closing,
    /// The peer's FIN came first, ours is on the way.
    LastAck,
}

impl State {
    /// The name as RFC 9293 writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::SynSent => "SYN-SENT",
            Self::SynReceived => "SYN-RECEIVED",
            Self::Established => "ESTABLISHED",
            Self::CloseWait => "CLOSE-WAIT",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST-ACK",
        }
    }
    /// Handshake over.
    pub(super) fn is_synchronized(self) -> bool {
        self >= Self::Established
    }
    /// The peer may still send data.
    pub(super) fn receives(self) -> bool {
        matches!(self, Self::Established | Self::FinWait1 | Self::FinWait2)
    }
    /// We may still send data that was not sent before.
    pub(super) fn sends(self) -> bool {
        matches!(self, Self::Established | Self::CloseWait)
    }
}

named! {
    /// How a connection ended.
    End {
        /// Both sides closed it, and everything was acknowledged.
        Graceful = "graceful",
        /// The peer reset it.
        Reset = "reset",
        /// Nobody listens there: the peer reset our SYN.
        Refused = "refused",
        /// The peer acknowledged nothing for too long.
        TimedOut = "timed_out",
        /// The peer answered no keepalive probe.
        KeepaliveTimedOut = "keepalive_timed_out",
        /// The network says that the peer cannot be reached, and the handshake was not over.
        Unreachable = "unreachable",
        /// We aborted it.
        Aborted = "aborted",
        /// The peer sent data after the application had closed for good.
        DataAfterClose = "data_after_close",
        /// Closed, and the peer did not close its side in time.
        FinWaitTimedOut = "fin_wait_timed_out",
        /// Closed, and the rest was not acknowledged within the linger time.
        LingerTimedOut = "linger_timed_out",
        /// The peer took nothing for a while, or left a hole, and the frames that it held up were needed.
        Stalled = "stalled",
        /// A new SYN of the peer took the place of the old connection.
        Superseded = "superseded",
        /// The data plane stopped.
        Stopping = "stopping",
    }
}

/// Yes-or-no facts of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Marks(pub(super) u32);

impl Marks {
    /// Timestamps are on.
    // rfc7323 3.2 f: this remembers what was agreed.
    pub(super) const TIMESTAMPS: u32 = 1;
    /// SACK is on.
    pub(super) const SACK: u32 = 1 << 1;
    /// ECN is on.
    pub(super) const ECN: u32 = 1 << 2;
    /// An acknowledgment leaves with the next flush.
    pub(super) const ACK_NOW: u32 = 1 << 3;
    /// An acknowledgment leaves at `ack_at` at the latest.
    pub(super) const ACK_DELAYED: u32 = 1 << 4;
    /// `transmit_at` stands.
    pub(super) const TRANSMIT_ARMED: u32 = 1 << 5;
    /// Waits for the next flush.
    pub(super) const TOUCHED: u32 = 1 << 6;
    /// The application was told that there is no room, and wants to know when there is.
    pub(super) const WANTS_ROOM: u32 = 1 << 7;
    /// The application has closed: a FIN follows what is queued.
    pub(super) const CLOSED: u32 = 1 << 8;
    /// The application wants nothing more: data that still comes is answered with a reset.
    pub(super) const RELEASED: u32 = 1 << 9;
    /// Congestion was met: ECE until the peer says CWR.
    pub(super) const ECE: u32 = 1 << 10;
    /// The window was reduced for the peer's ECE: the next new data says CWR.
    pub(super) const CWR: u32 = 1 << 11;
    /// The peer's window is closed and data waits: `transmit_at` is the persist timer's.
    pub(super) const PERSIST: u32 = 1 << 12;
    /// One byte was sent beyond the window, to probe it.
    pub(super) const PROBED: u32 = 1 << 13;
    /// Keepalive is on.
    pub(super) const KEEPALIVE: u32 = 1 << 14;
    /// Small segments wait for the acknowledgment of others (RFC 9293 section 3.7.4).
    pub(super) const NAGLE: u32 = 1 << 15;
    /// Over, and its flow is nobody's; the application hears of it when it has consumed everything.
    pub(super) const UNREAD: u32 = 1 << 16;
    /// The peer's FIN has come in order.
    pub(super) const PEER_CLOSED: u32 = 1 << 17;
    /// The FIN was sent.
    pub(super) const FIN_SENT: u32 = 1 << 18;
    /// The window is to be announced though nothing else is to be said.
    pub(super) const WINDOW_UPDATE: u32 = 1 << 19;
    /// A duplicate came: the next acknowledgment says so (RFC 2883).
    pub(super) const DSACK: u32 = 1 << 20;
    /// Opened by us.
    pub(super) const ACTIVE: u32 = 1 << 21;
    /// The application has heard of it, so it hears of its end.
    pub(super) const ANNOUNCED: u32 = 1 << 22;
    /// `wake_at` stands.
    pub(super) const WAKES: u32 = 1 << 25;
    /// A small segment is under way, or will be, with nothing else.
    pub(super) const LONE: u32 = 1 << 24;
    /// The path carries less than the interface, as far as we know.
    pub(super) const NARROW: u32 = 1 << 23;
    /// Waits to be told that there are frames again.
    pub(super) const STARVED: u32 = 1 << 26;
    /// Frames were short, and nothing was consumed since.
    pub(super) const STANDING: u32 = 1 << 28;
    /// All that the application has not consumed came in this turn.
    pub(super) const FRESH: u32 = 1 << 27;

    /// Whether any of these is set.
    #[inline]
    pub(super) fn has(self, mark: u32) -> bool {
        self.0 & mark != 0
    }
    #[inline]
    pub(super) fn set(&mut self, mark: u32) {
        self.0 |= mark;
    }
    #[inline]
    pub(super) fn clear(&mut self, mark: u32) {
        self.0 &= !mark;
    }
    pub(super) fn put(&mut self, mark: u32, on: bool) {
        if on { self.set(mark) } else { self.clear(mark) }
    }
}

/// An index that may be absent, in four bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct MaybeIndex(u32);

impl MaybeIndex {
    pub(super) const NONE: Self = Self(0);
    pub(super) fn some(index: u32) -> Self {
        Self(index + 1)
    }
    #[inline]
    pub(super) fn get(self) -> Option<usize> {
        (self.0 as usize).checked_sub(1)
    }
    #[inline]
    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// What each segment needs.
///
/// ```text
///   received:  ..acknowledged..|rcv_nxt ......... may come ......... rcv_adv|   never moves left
///   sent:      ..acknowledged..|snd_una .. on the way .. snd_nxt .. may be sent .. snd_una + snd_wnd|
/// ```
#[repr(C, align(64))]
pub(super) struct Hot {
    // First line: who it is, and where both directions stand.
    // rfc9293 3.9.1.1 MUST-45: it never changes.
    pub(super) key: FlowKey,
    /// The next number that is expected.
    pub(super) rcv_nxt: Seq,
    /// The right edge of the largest window that was announced.
    pub(super) rcv_adv: Seq,
    /// The oldest number that is not acknowledged.
    pub(super) snd_una: Seq,
    /// The next number to be sent for the first time.
    pub(super) snd_nxt: Seq,
    /// What the peer takes from `snd_una` on, in bytes.
    // rfc9293 3.1 REC-1: in 32 bits, like all windows here.
    pub(super) snd_wnd: u32,
    pub(super) marks: Marks,

    // Second line: what is written at each segment.
    /// The timestamp to echo.
    pub(super) ts_recent: u32,
    /// What our timestamps are ahead of the clock.
    pub(super) ts_offset: u32,
    /// Numbers and acknowledgment of the segment that last set `snd_wnd`.
    pub(super) snd_wl1: Seq,
    pub(super) snd_wl2: Seq,
    /// What our last acknowledgment said.
    pub(super) last_ack_sent: Seq,
    pub(super) ack_at: Stamp,
    pub(super) transmit_at: Stamp,
    pub(super) flight: MaybeIndex,
    pub(super) assembler: Option<AssemblerId>,
    pub(super) generation: u32,
    /// Bytes that the application has got and not consumed.
    pub(super) rcv_unconsumed: u32,
    /// The window that we open to the peer at most.
    pub(super) rcv_buffer: u32,
    /// Payload of a full segment, options that each segment has taken off.
    pub(super) mss: u16,
    pub(super) snd_wscale: u8,
    pub(super) rcv_wscale: u8,
    /// Where segments to the peer leave.
    pub(super) interface: InterfaceIndex,
    pub(super) state: State,
    /// DSCP in the upper six bits; ECN goes into the others.
    pub(super) traffic_class: u8,
    pub(super) hop_limit: u8,
    /// With [`Marks::WAKES`]: the wheel wakes it at this time, or before.
    pub(super) wake_at: Stamp,
}

const _: () = assert!(size_of::<Hot>() == 128, "two cache lines");

/// What an exchange needs comes first, and what few segments need after that.
#[repr(C, align(64))]
pub(super) struct Cold {
    // First line: what is under way.
    pub(super) lone: Lone,
    pub(super) rtt: Rtt,
    /// When new data was last sent.
    pub(super) sent_at: Instant,
    /// The largest window of the peer so far, in bytes.
    pub(super) snd_wnd_max: u32,
    /// The furthest number that any window of the peer has allowed.
    pub(super) snd_limit: Seq,
    /// SYNs, retransmission timeouts or window probes in a row.
    pub(super) retries: u8,
    /// Keepalive probes in a row.
    pub(super) keepalive_probes: u8,
    /// What this path was seen to do with the order of segments.
    pub(super) reordering: Reordering,

    // Second line.
    pub(super) congestion: Congestion,
    /// When the last segment came.
    pub(super) heard_at: Instant,

    // Third line.
    /// Since when the peer has acknowledged nothing of what it should.
    pub(super) stalled_at: Instant,
    pub(super) received_bytes: u64,
    pub(super) acked_bytes: u64,
    /// Receive buffer tuning: a round trip began here.
    pub(super) tune_seq: Seq,
    pub(super) tune_at: Stamp,

    // What few segments need.
    pub(super) iss: Seq,
    pub(super) irs: Seq,
    pub(super) options: ConnectionOptions,
    pub(super) opened_at: Instant,
    /// When a linger, FIN-WAIT-2 or SYN-RECEIVED time is over.
    pub(super) close_at: Instant,
    /// When a path that was found narrow is tried wider again.
    pub(super) widen_at: Instant,
    /// No challenge before that.
    pub(super) challenge_at: Stamp,
    /// A duplicate that came, for the next acknowledgment.
    pub(super) dsack: (Seq, Seq),
    /// Where the newest out-of-order data lies.
    pub(super) newest_held: Seq,
    pub(super) resent_segments: u32,
    /// Bytes per second, as acknowledgments came in.
    pub(super) delivery_rate: u32,
    /// The peer's limit on segments, from its SYN.
    pub(super) mss_peer: u16,
    /// The largest packet that the path carries, as far as we know.
    pub(super) path_mtu: u16,
    /// Whom it came to.
    pub(super) listener: u16,
    pub(super) last_drop: Option<Drop>,
    pub(super) closed_by: Option<End>,
}

const _: () = assert!(offset_of!(Cold, congestion) == 64, "the first line");

impl Cold {
    /// New data follows when nothing is under way.
    #[inline(always)]
    pub(super) fn restart(&mut self, now: Instant) {
        // rfc5681 4.1 a: after a silence nobody knows what the path still carries. A `Stamp` would forget the silence after half an hour.
        let idle_us = u32::try_from(now.since(self.sent_at).as_us()).unwrap_or(u32::MAX);
        // Mostly it was none, shorter than any timeout.
        if idle_us > RTO_MIN_US && idle_us > self.rtt.rto_us() {
            self.congestion.on_idle(Stamp::of(now), idle_us, &self.rtt);
        }
    }

    /// Reads each line that an exchange needs, so that the misses of a whole burst overlap. What is read means nothing.
    #[inline]
    pub(super) fn touch(&self) -> u64 {
        u64::from(self.snd_wnd_max) ^ self.heard_at.as_ns() ^ self.acked_bytes
    }
}

impl Hot {
    /// Whether the application had not consumed everything before this turn.
    #[inline(always)]
    pub(super) fn is_behind(&self) -> bool {
        self.rcv_unconsumed > 0 && !self.marks.has(Marks::FRESH)
    }

    /// The same.
    #[inline]
    pub(super) fn touch(&self) -> u64 {
        u64::from(self.key.ports ^ u32::from(self.mss))
    }

    /// A connection at its beginning; its numbers follow.
    pub(super) fn new(key: FlowKey, interface: InterfaceIndex, state: State, now: Stamp) -> Self {
        Self {
            key,
            rcv_nxt: Seq(0),
            rcv_adv: Seq(0),
            snd_una: Seq(0),
            snd_nxt: Seq(0),
            snd_wnd: 0,
            marks: Marks::default(),
            ts_recent: 0,
            ts_offset: 0,
            snd_wl1: Seq(0),
            snd_wl2: Seq(0),
            last_ack_sent: Seq(0),
            ack_at: now,
            transmit_at: now,
            flight: MaybeIndex::NONE,
            assembler: None,
            generation: 0,
            rcv_unconsumed: 0,
            rcv_buffer: TCP_WINDOW_INITIAL,
            mss: 0,
            snd_wscale: 0,
            rcv_wscale: 0,
            interface,
            state,
            traffic_class: 0,
            hop_limit: 0,
            wake_at: now,
        }
    }
}

impl Cold {
    /// The same.
    pub(super) fn new(congestion: CongestionChoice, options: ConnectionOptions, now: Instant, mtu: u16) -> Self {
        let stamp = Stamp::of(now);
        Self {
            lone: Lone::Nothing,
            congestion: match congestion {
                CongestionChoice::Cubic => Congestion::Cubic(Cubic::new(MSS_MIN)),
                CongestionChoice::NewReno => Congestion::NewReno(NewReno::new(MSS_MIN)),
            },
            rtt: Rtt::new(),
            reordering: Reordering::default(),
            iss: Seq(0),
            irs: Seq(0),
            options,
            opened_at: now,
            stalled_at: now,
            heard_at: now,
            close_at: Instant::NEVER,
            widen_at: Instant::NEVER,
            received_bytes: 0,
            acked_bytes: 0,
            tune_seq: Seq(0),
            tune_at: stamp,
            challenge_at: stamp,
            sent_at: now,
            snd_wnd_max: 0,
            snd_limit: Seq(0),
            dsack: (Seq(0), Seq(0)),
            newest_held: Seq(0),
            resent_segments: 0,
            delivery_rate: 0,
            mss_peer: 0,
            path_mtu: mtu,
            listener: 0,
            retries: 0,
            keepalive_probes: 0,
            last_drop: None,
            closed_by: None,
        }
    }
}
