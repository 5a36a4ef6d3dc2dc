//! RACK (RFC 8985 section 6): a segment is lost when one that was sent after it has arrived and reordering explains no more.
//!
//! ```text
//!   sent      1    2    3    4                                  at the ACK of 3: RACK.xmit_ts is when 3 was sent,
//!   ----------+----+----+----+-----------------+----------->    RACK.rtt is how long 3 took; 1 and 2 are lost once
//!             |    |    |<------ RACK.rtt ---->|<-reo_wnd->     their age is over RACK.rtt + reo_wnd
//! ```

use crate::tcp::{rtt::Rtt, scoreboard::Sent, seq::Seq, stamp::Stamp};

/// rfc8985 6.2 step 4: recoveries without DSACK after which the window is as at first.
const REO_WND_PERSIST: u8 = 16;
/// Segments that count as three duplicate acknowledgements did (RFC 5681).
pub(super) const DUP_THRESH: u32 = 3;

/// What a connection has learned about its path's reordering. It outlives the flight: the connection keeps it and gives it back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::tcp) struct Reordering {
    /// RACK.reordering_seen.
    pub(super) seen: bool,
    /// RACK.reo_wnd_mult: quarters of the least round trip.
    pub(super) mult: u8,
    /// RACK.reo_wnd_persist.
    pub(super) persist: u8,
}

impl Default for Reordering {
    fn default() -> Self {
        Self { seen: false, mult: 1, persist: REO_WND_PERSIST }
    }
}

/// RFC 8985 section 5.2.
#[derive(Clone, Debug)]
pub(super) struct Rack {
    /// RACK.xmit_ts and RACK.end_seq: the segment that was sent last of those that arrived.
    xmit_ts: Stamp,
    end_seq: Seq,
    /// It had been sent before.
    resent: bool,
    /// RACK.rtt: its round trip.
    pub(super) rtt_us: u32,
    /// RACK.fack: behind the highest number that arrived.
    pub(super) fack: Seq,
    pub(super) reordering: Reordering,
    /// RACK.dsack_round: no DSACK counts until this is acknowledged.
    dsack_round: Option<Seq>,
}

impl Rack {
    pub(super) fn new(reordering: Reordering) -> Self {
        Self {
            xmit_ts: Stamp(0),
            end_seq: Seq(0),
            resent: false,
            rtt_us: 0,
            fack: Seq(0),
            reordering,
            dsack_round: None,
        }
    }

    /// The first segment after none was outstanding: what arrived before has no bearing on it.
    #[inline]
    pub(super) fn begin(&mut self, now: Stamp, una: Seq) {
        (self.xmit_ts, self.end_seq, self.fack) = (now, una, una);
        self.resent = false;
        self.dsack_round = None;
    }

    /// rfc8985 6.2 step 2, for a segment that arrived. `echo` as in [`AckInfo`](super::AckInfo).
    #[inline]
    pub(super) fn on_delivered(&mut self, sent: &Sent, now: Stamp, echo: Option<Stamp>, min_rtt_us: u32) {
        let rtt_us = now.since(sent.at);
        // Of a segment that was sent twice it must be clear that the second arrived.
        if sent.resent && (echo.is_some_and(|echo| sent.at.is_after(echo)) || rtt_us < min_rtt_us) {
            return;
        }
        self.rtt_us = rtt_us;
        if sent.at.is_after(self.xmit_ts) || (sent.at == self.xmit_ts && sent.end.after(self.end_seq)) {
            (self.xmit_ts, self.end_seq, self.resent) = (sent.at, sent.end, sent.resent);
        }
    }

    /// Whether the segment was sent before the last one that arrived (RACK_sent_after).
    ///
    /// A deviation: all that one burst of received packets makes us send has the same time. Within it new data has an order, and so has
    /// what is sent again, but not the one with the other: limited transmit sends new data before the hole is found lost.
    #[inline]
    pub(super) fn is_overtaken(&self, sent: &Sent) -> bool {
        self.xmit_ts.is_after(sent.at)
            || (self.xmit_ts == sent.at && self.end_seq.after(sent.end) && self.resent == sent.resent)
    }

    /// No segment that is overtaken now is waited for longer than until then.
    pub(super) fn waits_until(&self, reo_wnd_us: u32) -> Stamp {
        self.xmit_ts.plus_us(self.rtt_us.saturating_add(reo_wnd_us))
    }

    /// rfc8985 3.3.2 c, 4 d: a retransmission was for nothing. Once a round trip, the window grows by a quarter of the least round trip.
    pub(super) fn on_dsack(&mut self, una: Seq, nxt: Seq) {
        if self.dsack_round.is_some_and(|round| una.from(round)) {
            self.dsack_round = None;
        }
        if self.dsack_round.is_none() {
            self.dsack_round = Some(nxt);
            self.reordering.mult = self.reordering.mult.saturating_add(1);
            self.reordering.persist = REO_WND_PERSIST;
        }
    }

    /// rfc8985 6.2 step 4: a recovery ends.
    pub(super) fn on_recovered(&mut self) {
        self.reordering.persist = self.reordering.persist.saturating_sub(1);
        if self.reordering.persist == 0 {
            self.reordering.mult = 1;
        }
    }

    /// RACK.reo_wnd: how much longer than RACK.rtt a segment may take.
    #[inline]
    pub(super) fn reo_wnd_us(&self, rtt: &Rtt, recovering: bool, sacked_segments: u32) -> u32 {
        // rfc8985 3.3.2 a: on a path that keeps order nothing is waited for once a loss is likely.
        if !self.reordering.seen && (recovering || sacked_segments >= DUP_THRESH) {
            return 0;
        }
        // rfc8985 3.3.2 b: a quarter of the least round trip at first, and zero before there is one.
        let wnd_us = u64::from(rtt.min_us()) * u64::from(self.reordering.mult) / 4;
        // rfc8985 3.3.2 d, e: bounded by SRTT.
        wnd_us.min(u64::from(rtt.srtt_us().unwrap_or(0))) as u32
    }
}
