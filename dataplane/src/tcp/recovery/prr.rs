//! Proportional rate reduction (RFC 6937): through a recovery, segments leave in proportion to those that arrive, so that the window's
//! reduction is spread over the round trip and the ACK clock never stops.

/// One recovery. All are bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Prr {
    /// RecoverFS: FlightSize when it began.
    recover_fs: u32,
    /// Arrived since.
    delivered: u32,
    /// Sent since.
    out: u32,
    /// sndcnt: what may be sent now.
    pub(super) budget: u32,
}

impl Prr {
    /// rfc6937 3: before the first retransmission, which `forced` allows in any case.
    pub(super) fn new(recover_fs: u32) -> Self {
        Self { recover_fs: recover_fs.max(1), ..Self::default() }
    }

    /// rfc8985 9.3 b; rfc6937 3: `delivered` bytes arrived. `safe`: SND.UNA advanced and no further loss was found, so that slow start up to the
    /// threshold (SSRB) does no harm; otherwise as many bytes leave as arrive (CRB).
    pub(super) fn on_ack(&mut self, delivered: u32, in_flight: u32, ssthresh: u32, mss: u32, safe: bool) {
        if delivered == 0 {
            return;
        }
        self.delivered = self.delivered.saturating_add(delivered);
        self.budget = if in_flight > ssthresh {
            let allowed = (u64::from(self.delivered) * u64::from(ssthresh)).div_ceil(u64::from(self.recover_fs));
            allowed.saturating_sub(u64::from(self.out)).min(u64::from(u32::MAX)) as u32
        } else {
            let conserving = self.delivered.saturating_sub(self.out);
            let limit = if safe { conserving.max(delivered) + mss } else { conserving };
            limit.min(ssthresh - in_flight)
        };
    }

    pub(super) fn on_sent(&mut self, bytes: u32) {
        self.out = self.out.saturating_add(bytes);
        self.budget = self.budget.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments of 1,000 bytes; what is allowed is sent.
    fn send(prr: &mut Prr) -> u32 {
        let segments = prr.budget / 1_000;
        prr.on_sent(segments * 1_000);
        segments
    }

    #[test]
    fn a_reduction_is_spread_over_the_round_trip() {
        // 20 segments in flight, the first is lost, the threshold is 14.
        let mut prr = Prr::new(20_000);
        let (mut pipe, mut sent) = (19, 0);
        for _ in 0..19 {
            pipe -= 1;
            prr.on_ack(1_000, pipe * 1_000, 14_000, 1_000, false);
            let now = send(&mut prr);
            assert!(now <= 1, "never a burst");
            (pipe, sent) = (pipe + now, sent + now);
        }
        assert_eq!((pipe, sent), (14, 14), "0 + 19 - 5: the window is where it has to be");
    }

    #[test]
    fn heavy_losses_are_made_up_for_in_slow_start_but_not_while_they_go_on() {
        for (safe, expected) in [(false, 4), (true, 8)] {
            let mut prr = Prr::new(20_000);
            let (mut pipe, mut sent) = (4, 0);
            for _ in 0..4 {
                pipe -= 1;
                prr.on_ack(1_000, pipe * 1_000, 10_000, 1_000, safe);
                let now = send(&mut prr);
                (pipe, sent) = (pipe + now, sent + now);
            }
            assert_eq!(sent, expected);
        }
    }

    #[test]
    fn the_window_is_never_beyond_the_threshold() {
        let mut prr = Prr::new(20_000);
        prr.on_ack(15_000, 9_500, 10_000, 1_000, true);
        assert_eq!(prr.budget, 500);
        prr.on_ack(0, 9_500, 10_000, 1_000, true);
        assert_eq!(prr.budget, 500, "an acknowledgement of nothing changes nothing");
    }
}
