//! How fast data arrives at the peer, estimated from each acknowledgement: the bytes that arrived between the sending of a segment and its
//! acknowledgement, over that time or the time it took to send them, whichever is longer (acknowledgements may come in a bunch).

use crate::tcp::{scoreboard::Sent, stamp::Stamp};

/// A connection's count of what arrived.
#[derive(Clone, Debug, Default)]
pub(in crate::tcp) struct Delivery {
    /// Bytes that arrived, modulo 2^32.
    delivered: u32,
    /// When it was counted last.
    at: Stamp,
    /// When the segment was sent that arrived last; the sending of the next sample begins there.
    first_sent_at: Stamp,
    /// The application had nothing to send: samples until `delivered` passes this say little.
    limited_until: Option<u32>,
    /// The last sample.
    rate: (u32, u32),
}

impl Delivery {
    /// The first segment after none was outstanding.
    #[inline]
    pub(super) fn begin(&mut self, now: Stamp) {
        (self.at, self.first_sent_at) = (now, now);
    }

    #[inline]
    pub(super) fn stamp(&self, sent: &mut Sent) {
        (sent.delivered, sent.delivered_at, sent.first_sent_at) = (self.delivered, self.at, self.first_sent_at);
    }

    /// The application has nothing more to send, and `in_flight` bytes are on their way.
    pub(super) fn on_app_limited(&mut self, in_flight: u32) {
        self.limited_until = Some(self.delivered.wrapping_add(in_flight));
    }

    /// `bytes` arrived, `newest` of them sent last.
    #[inline]
    pub(super) fn on_ack(&mut self, now: Stamp, bytes: u32, newest: &Arrived, min_rtt_us: u32) {
        self.delivered = self.delivered.wrapping_add(bytes);
        self.at = now;
        self.first_sent_at = newest.at;
        let ack_us = now.since(newest.delivered_at);
        let send_us = newest.at.since(newest.first_sent_at);
        let us = ack_us.max(send_us);
        let limited = self.limited_until.is_some_and(|until| (until.wrapping_sub(newest.delivered) as i32) >= 0);
        if !limited {
            self.limited_until = None;
        }
        // Shorter than any round trip: the times are of different transmissions.
        if us == 0 || us < min_rtt_us {
            return;
        }
        let sample = (self.delivered.wrapping_sub(newest.delivered), us);
        let (rate, sampled) = (self.rate, u64::from(sample.0) * u64::from(self.rate.1));
        // What an idle application left over counts only as proof of more.
        if !limited || sampled >= u64::from(rate.0) * u64::from(sample.1) {
            self.rate = sample;
        }
    }

    /// Bytes a second.
    pub(in crate::tcp) fn rate(&self) -> u64 {
        if self.rate.1 == 0 { 0 } else { u64::from(self.rate.0) * 1_000_000 / u64::from(self.rate.1) }
    }
}

/// What a record said of a segment that arrived.
#[derive(Clone, Copy)]
pub(super) struct Arrived {
    at: Stamp,
    delivered: u32,
    delivered_at: Stamp,
    first_sent_at: Stamp,
}

impl Arrived {
    #[inline]
    pub(super) fn of(sent: &Sent) -> Self {
        Self {
            at: sent.at,
            delivered: sent.delivered,
            delivered_at: sent.delivered_at,
            first_sent_at: sent.first_sent_at,
        }
    }
    #[inline]
    pub(super) fn is_newer(&self, other: &Self) -> bool {
        self.at.is_after(other.at)
    }
}
