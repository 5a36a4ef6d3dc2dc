//! The window that we open to the peer: what the buffer has room for, opened in steps that are worth a segment, and a buffer that grows with
//! what the path and the application turn out to carry.
//!
//! ```text
//!   consumed | unconsumed: the application has it |rcv_nxt     free room      |
//!            |<---------------------- rcv_buffer ---------------------------->|
//!                                                             rcv_adv: announced so far, never moves left
//! ```

use super::{Tcp, connection::Marks, stamp::Stamp};
use crate::{limits::TCP_WINDOW_MAX, time::Instant};

impl Tcp {
    /// The scale of the windows that we announce: the smallest that can say the largest one.
    // rfc7323 2.3 f: the shift is at most 14; see the constant's assertion.
    pub(super) fn rcv_wscale(&self) -> u8 {
        WSCALE
    }

    /// Moves the announced edge if that is worth a segment, and says whether it should be announced at once.
    #[inline(always)]
    pub(super) fn open_window(&mut self, i: usize) {
        let spare = self.spare_to_hold();
        let hot = &mut self.connections.hot[i];
        if hot.marks.has(Marks::PEER_CLOSED) {
            return; // nothing comes any more
        }
        // Who consumes at once holds nothing, so what little it needs to go on is not worth refusing.
        let share = u32::try_from(spare).map_or(u32::MAX, |spare| spare.saturating_mul(hot.mss.into()));
        // In whole units of the scale, so that the peer reads the very edge that we keep.
        let unit = 1 << hot.rcv_wscale;
        let least = if hot.rcv_unconsumed == 0 { (2 * u32::from(hot.mss)).max(unit) } else { 0 };
        let room = hot.rcv_buffer.min(share.max(least)).saturating_sub(hot.rcv_unconsumed) & !(unit - 1);
        let edge = hot.rcv_nxt + room;
        let gain = edge.since(hot.rcv_adv);
        // rfc9293 3.8.6.2.2 MUST-39: by a full segment or half the buffer at least, or a slow reader would be sent crumbs.
        // rfc9293 3.8.6 SHLD-14; rfc7323 2.4 c: never to the left; the furthest edge that was offered is remembered.
        let step = u32::from(hot.mss).min(hot.rcv_buffer / 2);
        if gain < step {
            return;
        }
        let before = hot.rcv_adv.since(hot.rcv_nxt);
        hot.rcv_adv = hot.rcv_adv.max(edge);
        // Who was nearly shut out waits for this; others learn it with the next acknowledgment.
        if before < 2 * u32::from(hot.mss) || gain >= hot.rcv_buffer / 2 {
            hot.marks.set(Marks::WINDOW_UPDATE);
        }
    }

    /// The buffer follows what came within a round trip: twice that much, so that the sender's window can double (dynamic right-sizing).
    #[inline(always)]
    pub(super) fn tune_window(&mut self, now: Instant, i: usize, len: u32) {
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        cold.received_bytes += u64::from(len);
        let came = hot.rcv_nxt - cold.tune_seq;
        // Nothing to decide before a good part of the present window has come.
        if came < hot.rcv_buffer / 4 {
            return;
        }
        let stamp = Stamp::of(now);
        let took = stamp.since_past(cold.tune_at);
        let round_trip = cold.rtt.srtt_us().unwrap_or(0).max(1_000);
        // In a longer time it says nothing of what the path carries.
        // rfc7323 2.2: without a scale no more can be said than 16 bits hold.
        let max = if hot.rcv_wscale == 0 { 0xffff } else { TCP_WINDOW_MAX };
        if took <= round_trip.saturating_mul(2) && hot.rcv_buffer < max {
            let wanted = came.saturating_mul(4).min(max);
            hot.rcv_buffer = hot.rcv_buffer.max(wanted);
        }
        if took >= round_trip {
            (cold.tune_seq, cold.tune_at) = (hot.rcv_nxt, stamp);
        }
    }

    /// What a connection may have queued: twice what the network takes in a round trip, so that it never runs dry.
    pub(super) fn send_buffer(&self, i: usize) -> u32 {
        use super::congestion::CongestionControl;
        use crate::limits::{TCP_SEND_BUFFER_MAX, TCP_SEND_BUFFER_MIN};
        let cwnd = self.connections.cold[i].congestion.cwnd();
        cwnd.saturating_mul(2).clamp(TCP_SEND_BUFFER_MIN, TCP_SEND_BUFFER_MAX)
    }
}

/// 2^9 bytes a unit: 16 bits then say up to 32 MiB.
const WSCALE: u8 = 9;
const _: () = assert!(WSCALE <= 14 && TCP_WINDOW_MAX <= 0xffff << WSCALE && TCP_WINDOW_MAX > 0xffff << (WSCALE - 1));
