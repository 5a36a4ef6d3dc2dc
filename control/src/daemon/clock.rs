//! The time: asked for here and nowhere else.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::Instant;

/// A time of day, which somebody may set at any moment. What is only waited for goes by [`monotonic`].
#[derive(Clone)]
pub struct TimeOfDay(Arc<dyn Fn() -> u64 + Send + Sync>);

impl TimeOfDay {
    /// One that says what this does, in milliseconds of 1970.
    pub fn of(clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(clock))
    }

    /// Milliseconds of 1970.
    pub fn now_ms(&self) -> u64 {
        (self.0)()
    }
}

impl Default for TimeOfDay {
    fn default() -> Self {
        Self::of(now_ms)
    }
}

impl fmt::Debug for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.now_ms())
    }
}

/// A time that only goes on.
#[allow(clippy::disallowed_methods, reason = "the daemon is an edge: it waits in real time")]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Milliseconds of 1970.
#[allow(clippy::disallowed_methods, reason = "the daemon is an edge: what it writes down has a time of day")]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds of 1970 as RFC 3339 has them, in UTC: `2026-11-29T14:00:00.125Z`.
pub fn rfc3339(ms: u64) -> String {
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", in_day % 1_000)
}

/// Days of 1970 as a date of the Gregorian calendar, whose years are counted from March here, so that a leap day is a year's last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc3339() {
        for (seconds, wanted) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_709_251_200, "2024-03-01T00:00:00.000Z"),
            (4_102_444_800, "2100-01-01T00:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(seconds * 1_000), wanted);
        }
        assert!(rfc3339(1_125).ends_with("01.125Z"));
    }
}
