//! The round trip and the retransmission timeout (RFC 6298), with the minimum of the last minutes that loss detection asks for
//! (RFC 8985 section 6.2). Every connection keeps one, in 24 bytes.

use super::stamp::Stamp;

/// The least time beyond the round trip that is waited before everything counts as lost.
///
/// A deviation: RFC 6298 (2.4) says that the timeout SHOULD be a second at least. Today's clocks and round trips are a thousand times finer
/// than those it was measured with; what is left of its reason is the peer's delayed acknowledgement, 200 ms where it is long. That delay
/// comes on top of the round trip, so the minimum does too.
pub(super) const RTO_MIN_US: u32 = 200_000;
/// rfc6298 2.5: an upper bound may be set, not below 60 s.
const RTO_MAX_US: u32 = 120_000_000;
/// rfc6298 2.1 a: before the first sample.
const RTO_INITIAL_US: u32 = 1_000_000;
/// rfc6298 5.7 a: when data begins after a SYN was lost.
const RTO_AFTER_LOST_SYN_US: u32 = 3_000_000;
/// Doublings beyond which even the least timeout is over the maximum: 200 ms * 2^10.
const BACKOFF_MAX: u8 = 10;
/// A minimum is forgotten after one to two of these.
const MIN_WINDOW_US: u32 = 150_000_000;

/// What is known of a connection's round trip.
#[derive(Clone, Debug)]
pub(super) struct Rtt {
    /// Eight times SRTT, so that an eighth of a microsecond is not lost at each step; 0 before the first sample.
    srtt_us_x8: u32,
    /// Four times RTTVAR.
    rttvar_us_x4: u32,
    /// The least sample of this window and the one before.
    min_us: u32,
    /// The least sample of this window.
    min_next_us: u32,
    /// When this window began.
    min_since: Stamp,
    /// How often the timeout has been doubled.
    backoff: u8,
    syn_lost: bool,
}

impl Rtt {
    /// Before the first sample.
    pub(super) const fn new() -> Self {
        Self {
            srtt_us_x8: 0,
            rttvar_us_x4: 0,
            min_us: u32::MAX,
            min_next_us: u32::MAX,
            min_since: Stamp(0),
            backoff: 0,
            syn_lost: false,
        }
    }

    /// A round trip that was measured, of a segment that was sent once or whose acknowledgement names the transmission (RFC 6298 section 3).
    #[inline]
    pub(super) fn sample(&mut self, us: u32, now: Stamp) {
        let us = us.clamp(1, RTO_MAX_US);
        if self.srtt_us_x8 == 0 {
            // rfc6298 2.2 a: SRTT = R, RTTVAR = R/2.
            self.srtt_us_x8 = us * 8;
            self.rttvar_us_x4 = us * 2;
        } else {
            // rfc6298 2.3 a, b, c: first RTTVAR (beta 1/4), from the old SRTT, then SRTT (alpha 1/8).
            self.rttvar_us_x4 = self.rttvar_us_x4 - self.rttvar_us_x4 / 4 + us.abs_diff(self.srtt_us_x8 / 8);
            self.srtt_us_x8 = self.srtt_us_x8 - self.srtt_us_x8 / 8 + us;
        }
        // rfc6298 5.7: a timeout computed anew replaces the one that was backed off.
        self.backoff = 0;
        self.syn_lost = false;
        // rfc8985 6.2 a: the least of a recent time.
        if self.min_next_us == u32::MAX {
            self.min_since = now;
        } else if now.since_past(self.min_since) >= MIN_WINDOW_US {
            self.min_since = now;
            self.min_us = self.min_next_us;
            self.min_next_us = us;
        }
        self.min_next_us = self.min_next_us.min(us);
        self.min_us = self.min_us.min(us);
    }

    /// The smoothed round trip, once there was a sample.
    #[inline]
    pub(super) fn srtt_us(&self) -> Option<u32> {
        (self.srtt_us_x8 != 0).then_some(self.srtt_us_x8 / 8)
    }

    /// The mean deviation.
    pub(super) fn rttvar_us(&self) -> u32 {
        self.rttvar_us_x4 / 4
    }

    /// The least round trip of the last minutes; 0 before the first sample.
    #[inline]
    pub(super) fn min_us(&self) -> u32 {
        if self.min_us == u32::MAX { 0 } else { self.min_us }
    }

    /// The retransmission timeout as it is to be used now, doublings included.
    #[inline]
    pub(super) fn rto_us(&self) -> u32 {
        let mut rto_us = match self.srtt_us() {
            None => RTO_INITIAL_US,
            // rfc6298 2.3 d, 4 a: SRTT + max(G, 4 * RTTVAR); the clock's granularity G is within the minimum.
            Some(srtt_us) => srtt_us + self.rttvar_us_x4.max(RTO_MIN_US),
        };
        if self.syn_lost {
            rto_us = rto_us.max(RTO_AFTER_LOST_SYN_US);
        }
        (u64::from(rto_us) << self.backoff).min(u64::from(RTO_MAX_US)) as u32
    }

    /// How often the timeout has been doubled since the last sample.
    pub(super) fn backoff(&self) -> u8 {
        self.backoff
    }

    /// rfc6298 5.5 a; rfc9293 3.8.2 MUST-19: the timer expired; the timeout doubles.
    pub(super) fn back_off(&mut self) {
        self.backoff = (self.backoff + 1).min(BACKOFF_MAX);
    }

    /// The expiry was an error: the segment had not been lost.
    pub(super) fn reset_backoff(&mut self) {
        self.backoff = 0;
    }

    /// The connection is established, and its SYN or SYN-ACK had to be sent again.
    pub(super) fn syn_was_lost(&mut self) {
        self.syn_lost = true;
        self.backoff = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u32 = 1_000;

    #[test]
    fn samples_smooth_as_rfc_6298_computes_by_hand() {
        let mut rtt = Rtt::new();
        // (R, SRTT, RTTVAR, RTO), ms: RTTVAR = 3/4 RTTVAR + 1/4 |SRTT - R|, SRTT = 7/8 SRTT + 1/8 R
        for (sample, srtt, rttvar, rto) in [
            (400, 400_000, 200_000, 1_200_000),
            (400, 400_000, 150_000, 1_000_000),
            (800, 450_000, 212_500, 1_300_000),
            (50, 400_000, 259_375, 1_437_500),
        ] {
            rtt.sample(sample * MS, Stamp(0));
            assert_eq!((rtt.srtt_us(), rtt.rttvar_us(), rtt.rto_us()), (Some(srtt), rttvar, rto), "after {sample} ms");
        }
    }

    #[test]
    fn the_timeout_is_never_within_a_delayed_acknowledgement_of_the_round_trip() {
        let mut rtt = Rtt::new();
        for _ in 0..100 {
            rtt.sample(80, Stamp(0));
        }
        assert_eq!((rtt.srtt_us(), rtt.rto_us()), (Some(80), 200_080));
    }

    #[test]
    fn the_timeout_doubles_until_two_minutes_and_a_sample_ends_that() {
        let mut rtt = Rtt::new();
        let mut timeouts = Vec::new();
        for _ in 0..9 {
            timeouts.push(rtt.rto_us() / 1_000_000);
            rtt.back_off();
        }
        assert_eq!(timeouts, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
        for _ in 0..300 {
            rtt.back_off();
        }
        assert_eq!(rtt.rto_us(), 120_000_000);
        rtt.sample(100 * MS, Stamp(0));
        assert_eq!(rtt.rto_us(), 300 * MS);
    }

    #[test]
    fn after_a_lost_syn_data_waits_three_seconds_until_a_sample() {
        let mut rtt = Rtt::new();
        rtt.back_off();
        rtt.syn_was_lost();
        assert_eq!(rtt.rto_us(), 3_000 * MS);
        rtt.sample(10 * MS, Stamp(0));
        assert_eq!(rtt.rto_us(), 210 * MS);
    }

    #[test]
    fn the_minimum_follows_a_path_that_became_longer() {
        let mut rtt = Rtt::new();
        assert_eq!(rtt.min_us(), 0);
        let start = Stamp(u32::MAX - 7);
        rtt.sample(10 * MS, start);
        for second in 1..=300u32 {
            rtt.sample(50 * MS, start.plus_us(second * 1_000_000));
            assert_eq!(rtt.min_us(), if second < 300 { 10 * MS } else { 50 * MS }, "{second} s");
        }
        rtt.sample(20 * MS, start.plus_us(301_000_000));
        assert_eq!(rtt.min_us(), 20 * MS);
    }

    #[test]
    fn it_is_small() {
        assert_eq!(size_of::<Rtt>(), 24);
    }
}
