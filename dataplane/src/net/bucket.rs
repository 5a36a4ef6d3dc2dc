//! A token bucket: so many a second, so many at once.

use crate::time::Instant;

/// Allows `rate` events a second on average and `burst` at once.
#[derive(Debug)]
pub struct Bucket {
    rate: u32,
    burst: u32,
    /// `0 <= tokens_ns <= burst * 10^9 / rate`, in nanoseconds of saved time.
    tokens_ns: u64,
    filled_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: u32, burst: u32) -> Self {
        let mut bucket = Self { rate, burst, tokens_ns: 0, filled_at: Instant::ZERO };
        bucket.tokens_ns = bucket.full_ns();
        bucket
    }

    fn cost_ns(&self) -> u64 {
        1_000_000_000 / u64::from(self.rate)
    }
    fn full_ns(&self) -> u64 {
        self.cost_ns() * u64::from(self.burst)
    }

    /// Takes a token if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let saved = now.since(self.filled_at).as_ns();
        self.tokens_ns = self.full_ns().min(self.tokens_ns.saturating_add(saved));
        self.filled_at = now;
        let cost = self.cost_ns();
        let enough = self.tokens_ns >= cost;
        if enough {
            self.tokens_ns -= cost;
        }
        enough
    }

    /// Spends up to `extra` more tokens that nobody asked for, so that outsiders cannot read the bucket's exact fill (the side channel of
    /// CVE-2020-25705).
    pub fn blur(&mut self, extra: u32) {
        self.tokens_ns = self.tokens_ns.saturating_sub(self.cost_ns() * u64::from(extra));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    #[test]
    fn so_many_at_once_and_so_many_a_second() {
        let mut bucket = Bucket::new(10, 3);
        let mut now = Instant::from_ns(5_000_000_000);
        assert_eq!((0..9).filter(|_| bucket.take(now)).count(), 3);
        now = now + Duration::from_ms(100);
        assert_eq!((0..9).filter(|_| bucket.take(now)).count(), 1);
        now = now + Duration::from_secs(60);
        assert_eq!((0..9).filter(|_| bucket.take(now)).count(), 3);
        assert!(!bucket.take(Instant::ZERO), "a clock that goes back gives nothing");
    }
}
