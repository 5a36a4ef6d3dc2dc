//! When to ask again.

use std::time::Duration;

/// A TTL of 0 would have us ask all the time.
pub(super) const TTL_MIN: Duration = Duration::from_secs(1);
/// A TTL of a day would keep a mistake for a day.
pub(super) const TTL_MAX: Duration = Duration::from_secs(300);
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// How long one source waits. Never the same for two, so that a thousand backends do not ask at one moment.
pub(super) struct Pace {
    random: fastrand::Rng,
    failures: u32,
}

impl Pace {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), failures: 0 }
    }

    /// After a good answer: up to a tenth before it runs out, or before `refresh`, if that is sooner.
    pub(super) fn after_answer(&mut self, ttl: Duration, refresh: Option<Duration>) -> Duration {
        self.failures = 0;
        self.spread(holds(ttl, refresh), 10)
    }

    /// After one that is good in part: as after a bad one, unless the good part runs out before.
    pub(super) fn after_part(&mut self, ttl: Duration, refresh: Option<Duration>) -> Duration {
        self.after_failure().min(holds(ttl, refresh))
    }

    /// After a bad one: soon, then less and less often.
    pub(super) fn after_failure(&mut self) -> Duration {
        let whole = RETRY_MIN.saturating_mul(1 << self.failures.min(16)).min(RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        self.spread(whole, 2)
    }

    /// Less than `whole` by at most a part of it.
    fn spread(&mut self, whole: Duration, part: u32) -> Duration {
        whole - (whole / part).mul_f64(self.random.f64())
    }
}

fn holds(ttl: Duration, refresh: Option<Duration>) -> Duration {
    ttl.clamp(TTL_MIN, TTL_MAX).min(refresh.unwrap_or(TTL_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_ttl_is_honoured_within_bounds() {
        let mut pace = Pace::new(7);
        for (ttl, refresh, most) in [
            (SECOND * 30, None, SECOND * 30),
            (Duration::ZERO, None, TTL_MIN),
            (SECOND * 86_400, None, TTL_MAX),
            (SECOND * 60, Some(SECOND * 5), SECOND * 5),
            (SECOND * 2, Some(SECOND * 5), SECOND * 2),
        ] {
            let waits: Vec<_> = (0..100).map(|_| pace.after_answer(ttl, refresh)).collect();
            assert!(waits.iter().all(|wait| (most * 9 / 10..=most).contains(wait)), "{ttl:?} {refresh:?}: {waits:?}");
            assert!(waits.windows(2).any(|w| w[0] != w[1]), "spread");
        }
    }

    #[test]
    fn failures_are_followed_by_longer_and_longer_waits_until_an_answer() {
        let mut pace = Pace::new(7);
        for most in [1, 2, 4, 8, 16, 30, 30, 30].map(|n| SECOND * n) {
            let wait = pace.after_failure();
            assert!((most / 2..=most).contains(&wait), "{wait:?}, at most {most:?}");
        }
        assert!(pace.after_part(SECOND * 300, None) >= SECOND * 15, "half an answer is no better");
        assert!(pace.after_part(SECOND * 5, None) <= SECOND * 5);
        pace.after_answer(SECOND, None);
        assert!(pace.after_failure() <= SECOND);
        (0..100).for_each(|_| assert!(pace.after_failure() <= RETRY_MAX));
    }
}
