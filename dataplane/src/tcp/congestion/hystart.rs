//! HyStart++ (RFC 9406): the first slow start ends when round trips become longer, not when the queue at the bottleneck overflows.
//!
//! ```text
//!   slow start -- the round's least RTT rose by an eighth (4..16 ms) --> conservative slow start -- 5 rounds --> congestion avoidance
//!       ^                                                                         |
//!       +------------------- it fell below what it was at the change -------------+
//! ```

use super::Acked;
use crate::tcp::seq::Seq;

// rfc9406 4.3 (SHOULD): the constants.
const MIN_RTT_THRESH_US: u32 = 4_000;
const MAX_RTT_THRESH_US: u32 = 16_000;
const MIN_RTT_DIVISOR: u32 = 8;
const N_RTT_SAMPLE: u8 = 8;
const CSS_GROWTH_DIVISOR: u32 = 4;
const CSS_ROUNDS: u8 = 5;
/// Segments by which one acknowledgement may open the window of a sender that does not pace.
const L: u32 = 8;

/// "No sample": longer than any round trip.
const NONE: u32 = u32::MAX;

/// One slow start.
#[derive(Clone, Debug)]
pub(super) struct HyStart {
    /// The round ends when this is acknowledged.
    round_end: Seq,
    last_round_min_us: u32,
    current_round_min_us: u32,
    /// The round's least round trip when conservative slow start began; `NONE` outside of it.
    css_baseline_us: u32,
    samples: u8,
    css_rounds: u8,
}

impl HyStart {
    pub(super) fn new() -> Self {
        Self {
            round_end: Seq(0),
            last_round_min_us: NONE,
            current_round_min_us: NONE,
            css_baseline_us: NONE,
            samples: 0,
            css_rounds: 0,
        }
    }

    /// Bytes by which the window grows, or `None` when slow start is over.
    #[inline]
    pub(super) fn on_ack(&mut self, ack: &Acked, mss: u32) -> Option<u32> {
        let is_first = self.samples == 0 && self.current_round_min_us == NONE && self.last_round_min_us == NONE;
        if is_first {
            self.round_end = ack.nxt;
        } else if ack.una.from(self.round_end) {
            // rfc9406 4.2: a round is a round trip: it ends with the last byte that was in flight when it began.
            self.round_end = ack.nxt;
            self.last_round_min_us = self.current_round_min_us;
            self.current_round_min_us = NONE;
            self.samples = 0;
            if self.is_conservative() {
                // The round in which it began counts, although it was not a whole one.
                self.css_rounds += 1;
                if self.css_rounds >= CSS_ROUNDS {
                    return None;
                }
            }
        }
        if let Some(rtt_us) = ack.rtt_us {
            self.current_round_min_us = self.current_round_min_us.min(rtt_us);
            self.samples = self.samples.saturating_add(1);
            self.judge();
        }
        let growth = ack.bytes.min(L * mss);
        Some(if self.is_conservative() { growth / CSS_GROWTH_DIVISOR } else { growth })
    }

    fn is_conservative(&self) -> bool {
        self.css_baseline_us != NONE
    }

    fn judge(&mut self) {
        if self.samples < N_RTT_SAMPLE {
            return;
        }
        if self.is_conservative() {
            if self.current_round_min_us < self.css_baseline_us {
                self.css_baseline_us = NONE;
            }
        } else if self.last_round_min_us != NONE {
            let thresh_us = (self.last_round_min_us / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH_US, MAX_RTT_THRESH_US);
            if self.current_round_min_us >= self.last_round_min_us.saturating_add(thresh_us) {
                self.css_baseline_us = self.current_round_min_us;
                self.css_rounds = 0;
            }
        }
    }
}
