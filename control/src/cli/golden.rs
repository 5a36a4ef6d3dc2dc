//! Golden signals: how many requests, how many of them well, how long they took.

use super::{
    human::{bytes, micros, percent, rate},
    style::Tone,
    table::{Cell, Table},
};
use crate::admin::api::{Meter, MeterOf, Meters};
use serde::Serialize;
use std::time::Duration;

/// What one listener, route, backend or endpoint has served, in a stretch of time or since the data plane's start.
#[derive(Serialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Signals {
    /// `listener`, `route`, `backend` or `endpoint`.
    pub(super) kind: String,
    pub(super) name: String,
    /// An endpoint's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) backend: Option<String>,
    /// The stretch; `None`: since the start.
    window_seconds: Option<f64>,
    pub(super) requests: u64,
    pub(super) requests_per_second: Option<f64>,
    /// The part of those with a status whose status is below 500; `None`: there were none.
    pub(super) success_rate: Option<f64>,
    by_class: ByClass,
    /// Estimates: durations are counted in buckets, and within one they are taken to be spread evenly.
    p50_us: Option<u64>,
    p90_us: Option<u64>,
    pub(super) p99_us: Option<u64>,
    request_bytes: u64,
    response_bytes: u64,
}

/// By the status that the client got.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
struct ByClass {
    /// It got nothing: it went away, or its connection was passed on as it was.
    none: u64,
    #[serde(rename = "1xx")]
    informational: u64,
    #[serde(rename = "2xx")]
    successful: u64,
    #[serde(rename = "3xx")]
    redirected: u64,
    #[serde(rename = "4xx")]
    client_error: u64,
    #[serde(rename = "5xx")]
    server_error: u64,
}

impl Signals {
    /// Of everything since the start.
    pub(super) fn of_total(meter: &Meter, bounds: &[u64]) -> Self {
        let class = |number: usize| meter.by_class.get(number).copied().unwrap_or(0);
        let by_class = ByClass {
            none: class(0),
            informational: class(1),
            successful: class(2),
            redirected: class(3),
            client_error: class(4),
            server_error: class(5),
        };
        let requests: u64 = meter.by_class.iter().sum();
        let told = requests - class(0);
        let quantile = |q| quantile(&meter.by_duration, bounds, q);
        let MeterOf { kind, name, backend } = meter.of.clone();
        Self {
            kind,
            name,
            backend,
            window_seconds: None,
            requests,
            requests_per_second: None,
            success_rate: (told > 0).then(|| (told - class(5)) as f64 / told as f64),
            by_class,
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            request_bytes: meter.request_bytes,
            response_bytes: meter.response_bytes,
        }
    }

    /// Of the time between two looks.
    fn of_window(before: Option<&Meter>, after: &Meter, bounds: &[u64], elapsed: Duration) -> Self {
        let meter = before.and_then(|before| difference(before, after)).unwrap_or_else(|| after.clone());
        let seconds = elapsed.as_secs_f64();
        let signals = Self::of_total(&meter, bounds);
        let requests_per_second = (seconds > 0.0).then(|| signals.requests as f64 / seconds);
        Self { window_seconds: Some(seconds), requests_per_second, ..signals }
    }

    /// Of all that the later look shows.
    pub(super) fn of_looks(before: &Meters, after: &Meters, elapsed: Duration) -> Vec<Self> {
        let earlier = |of: &MeterOf| before.meters.iter().find(|meter| meter.of == *of);
        let signals = |meter: &Meter| Self::of_window(earlier(&meter.of), meter, &after.duration_bounds_us, elapsed);
        after.meters.iter().map(signals).collect()
    }

    /// A row for each; rates only where a stretch of time is known.
    pub(super) fn table(all: &[Self], has_rates: bool) -> Table {
        let (requests, input, output) =
            if has_rates { (">RPS", ">IN/S", ">OUT/S") } else { (">REQUESTS", ">IN", ">OUT") };
        let mut table =
            Table::new(&["NAME", requests, ">SUCCESS", ">P50", ">P90", ">P99", ">5XX", ">NONE", input, output]);
        for it in all {
            table.row(it.cells());
        }
        table
    }

    pub(super) fn cells(&self) -> Vec<Cell> {
        let took = |us: Option<u64>| Cell::from(us.map_or("-".into(), micros));
        let amount = |all: u64| match self.window_seconds {
            Some(seconds) if seconds > 0.0 => bytes((all as f64 / seconds) as u64),
            _ => bytes(all),
        };
        vec![
            self.shown_name().into(),
            self.requests_per_second.map_or_else(|| self.requests.to_string(), rate).into(),
            self.success(),
            took(self.p50_us),
            took(self.p90_us),
            took(self.p99_us),
            Cell::new(
                if self.by_class.server_error > 0 { Tone::Bad } else { Tone::Plain },
                self.by_class.server_error.to_string(),
            ),
            self.by_class.none.into(),
            amount(self.request_bytes).into(),
            amount(self.response_bytes).into(),
        ]
    }

    fn success(&self) -> Cell {
        match self.success_rate {
            None => "-".into(),
            Some(part) if part >= 0.999 => Cell::new(Tone::Good, percent(part)),
            Some(part) if part >= 0.99 => Cell::new(Tone::Doubtful, percent(part)),
            Some(part) => Cell::new(Tone::Bad, percent(part)),
        }
    }

    pub(super) fn shown_name(&self) -> String {
        self.backend.as_ref().map_or_else(|| self.name.clone(), |backend| format!("{backend}/{}", self.name))
    }
}

/// What came between; `None`: the data plane has begun anew.
fn difference(before: &Meter, after: &Meter) -> Option<Meter> {
    let minus = |after: &[u64], before: &[u64]| -> Option<Vec<u64>> {
        let same = after.len() == before.len();
        same.then(|| after.iter().zip(before).map(|(a, b)| a.checked_sub(*b)).collect())?
    };
    Some(Meter {
        of: after.of.clone(),
        by_class: minus(&after.by_class, &before.by_class)?,
        by_duration: minus(&after.by_duration, &before.by_duration)?,
        duration_us: after.duration_us.checked_sub(before.duration_us)?,
        request_bytes: after.request_bytes.checked_sub(before.request_bytes)?,
        response_bytes: after.response_bytes.checked_sub(before.response_bytes)?,
    })
}

/// The duration that this part of all stays below, as Prometheus' `histogram_quantile` estimates it: what is above the last bound is given as the
/// last bound.
fn quantile(buckets: &[u64], bounds: &[u64], q: f64) -> Option<u64> {
    let all: u64 = buckets.iter().sum();
    if all == 0 || bounds.is_empty() {
        return None;
    }
    let rank = q * all as f64;
    let mut below = 0;
    for (number, &count) in buckets.iter().enumerate() {
        if count > 0 && (below + count) as f64 >= rank {
            let Some(&upper) = bounds.get(number) else { break };
            let lower = if number == 0 { 0 } else { bounds[number - 1] };
            let part = (rank - below as f64) / count as f64;
            return Some(lower + ((upper - lower) as f64 * part) as u64);
        }
        below += count;
    }
    bounds.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(by_class: [u64; 6], by_duration: [u64; 4]) -> Meter {
        Meter {
            of: MeterOf { kind: "route".into(), name: "shop".into(), backend: None },
            by_class: by_class.to_vec(),
            by_duration: by_duration.to_vec(),
            duration_us: 0,
            request_bytes: 0,
            response_bytes: 4_096,
        }
    }

    const BOUNDS: [u64; 3] = [1_000, 10_000, 100_000];

    #[test]
    fn quantiles_lie_within_their_bucket() {
        for (buckets, q, wanted) in [
            ([0, 0, 0, 0], 0.5, None),
            ([100, 0, 0, 0], 0.5, Some(500)),
            ([0, 100, 0, 0], 0.5, Some(5_500)),
            ([50, 50, 0, 0], 0.5, Some(1_000)),
            ([90, 9, 1, 0], 0.99, Some(10_000)),
            ([1, 0, 0, 99], 0.99, Some(100_000)),
        ] {
            assert_eq!(quantile(&buckets, &BOUNDS, q), wanted, "{buckets:?} {q}");
        }
        assert_eq!(quantile(&[1], &[], 0.5), None);
    }

    #[test]
    fn a_window_shows_what_came_in_it() {
        let (before, after) = (meter([1, 0, 10, 0, 0, 5], [0, 16, 0, 0]), meter([1, 0, 39, 0, 0, 6], [20, 26, 0, 0]));
        let signals = Signals::of_window(Some(&before), &after, &BOUNDS, Duration::from_secs(2));
        assert_eq!(signals.requests, 30);
        assert_eq!(signals.requests_per_second, Some(15.0));
        assert_eq!(signals.success_rate, Some(29.0 / 30.0));
        assert_eq!((signals.p50_us, signals.by_class.server_error), (Some(750), 1));
    }

    #[test]
    fn a_data_plane_that_began_anew_is_counted_from_zero() {
        let (before, after) =
            (meter([0, 0, 1_000, 0, 0, 0], [1_000, 0, 0, 0]), meter([0, 0, 8, 0, 0, 0], [8, 0, 0, 0]));
        assert_eq!(Signals::of_window(Some(&before), &after, &BOUNDS, Duration::from_secs(1)).requests, 8);
    }

    #[test]
    fn who_went_away_is_no_failure_of_ours() {
        let signals = Signals::of_total(&meter([10, 0, 9, 0, 0, 1], [20, 0, 0, 0]), &BOUNDS);
        assert_eq!((signals.requests, signals.success_rate), (20, Some(0.9)));
    }
}
