//! Short times inside a connection: microseconds in 32 bits, half the size of an [`Instant`], twice as many in a cache line.

use crate::time::{Duration, Instant};

/// A moment, in microseconds of the driver's clock, modulo 2^32 (71 minutes). It is only ever compared with moments less than half of that
/// away: round trips, retransmission timers (at most two minutes), delayed acknowledgements. Longer times are [`Instant`]s.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Stamp(pub(super) u32);

impl Stamp {
    /// The moment `now`.
    #[inline]
    pub(super) fn of(now: Instant) -> Self {
        Self((now.as_ns() / 1_000) as u32)
    }
    /// Microseconds since `earlier`; zero if that is still to come.
    #[inline]
    pub(super) fn since(self, earlier: Self) -> u32 {
        let us = self.0.wrapping_sub(earlier.0);
        if us > u32::MAX / 2 { 0 } else { us }
    }
    /// The same of an `earlier` that surely was: so twice as much is told apart.
    #[inline]
    pub(super) fn since_past(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
    /// Whether this comes after `other`.
    #[inline]
    pub(super) fn is_after(self, other: Self) -> bool {
        (other.0.wrapping_sub(self.0) as i32) < 0
    }
    /// `us` microseconds later.
    #[inline]
    pub(super) fn plus_us(self, us: u32) -> Self {
        Self(self.0.wrapping_add(us))
    }
    /// As an instant, seen from `now`, which is near it.
    #[inline]
    pub(super) fn near(self, now: Instant) -> Instant {
        let ahead = self.0.wrapping_sub(Self::of(now).0) as i32;
        // From the whole microsecond that `now` lies in.
        let base = Instant::from_ns(now.as_ns() / 1_000 * 1_000);
        if ahead >= 0 {
            base + Duration::from_us(ahead as u64)
        } else {
            base - Duration::from_us(u64::from(ahead.unsigned_abs()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_survive_the_wrap() {
        let wrap = Instant::from_ns((1 << 32) * 1_000);
        let (before, after) = (wrap - Duration::from_us(3), wrap + Duration::from_us(4));
        let (a, b) = (Stamp::of(before), Stamp::of(after));
        assert_eq!((b.since(a), a.since(b)), (7, 0));
        let hour = Stamp::of(before + Duration::from_secs(3_600));
        assert_eq!((hour.since(a), hour.since_past(a)), (0, 3_600_000_000));
        assert!(b.is_after(a) && !a.is_after(b) && !a.is_after(a));
        assert_eq!((b.near(before), a.near(after)), (after, before));
        assert_eq!(a.plus_us(7), b);
    }
}
