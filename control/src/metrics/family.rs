//! Metrics before they are text.

use std::borrow::Cow;

/// All series of one name.
#[derive(Clone, PartialEq, Debug)]
pub struct Family {
    /// Without `_total`.
    pub name: Cow<'static, str>,
    /// What it means, in a sentence.
    pub help: Cow<'static, str>,
    /// What the values are.
    pub kind: Kind,
    /// One for each set of labels.
    pub series: Vec<(Labels, Value)>,
}

/// What the values of a family are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// They only grow.
    Counter,
    /// They go up and down.
    Gauge,
    /// Observations by their size.
    Histogram,
}

/// Names with values, in order.
pub type Labels = Vec<(&'static str, String)>;

/// One series' value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// A count, or a level.
    Whole(u64),
    /// A level that is not whole.
    Real(f64),
    /// Observations.
    Histogram(Histogram),
}

/// Observations by their size.
#[derive(Clone, PartialEq, Debug)]
pub struct Histogram {
    /// Upper bounds, in seconds, and how many lie below each and above the one before.
    pub buckets: Vec<(f64, u64)>,
    /// How many lie above them all.
    pub above: u64,
    /// The sum of all, in seconds.
    pub sum: f64,
}

impl Value {
    /// Lines that it takes, which are series to Prometheus.
    fn lines(&self) -> usize {
        match self {
            Self::Whole(_) | Self::Real(_) => 1,
            Self::Histogram(histogram) => histogram.buckets.len() + 3,
        }
    }
}

impl Family {
    pub(super) fn new(kind: Kind, name: impl Into<Cow<'static, str>>, help: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), help: help.into(), kind, series: Vec::new() }
    }
    pub(super) fn counter(name: impl Into<Cow<'static, str>>, help: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Counter, name, help)
    }
    pub(super) fn gauge(name: impl Into<Cow<'static, str>>, help: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Gauge, name, help)
    }
    /// With one more series.
    pub(super) fn with(mut self, labels: Labels, value: Value) -> Self {
        self.series.push((labels, value));
        self
    }
    /// With the only series.
    pub(super) fn only(self, value: u64) -> Self {
        self.with(Vec::new(), Value::Whole(value))
    }
    /// The same, where there may be none.
    pub(super) fn maybe(self, value: Option<f64>) -> Self {
        match value {
            Some(value) => self.with(Vec::new(), Value::Real(value)),
            None => self,
        }
    }
}

const DROPPED: &str = "weirgate_metrics_series_dropped";
const DROPPED_HELP: &str = "Series that are left out, because there are more than observability.metrics.maxSeries.";

/// Leaves out what does not fit into `max` series, and says how many those are. A histogram stays whole or goes whole.
pub(super) fn bound(families: &mut Vec<Family>, max: usize) {
    let mut room = max.saturating_sub(1); // this one's own
    let mut dropped = 0;
    for family in families.iter_mut() {
        let mut full = false;
        family.series.retain(|(_, value)| {
            let lines = value.lines();
            full |= lines > room;
            if full {
                dropped += lines;
            } else {
                room -= lines;
            }
            !full
        });
    }
    families.push(Family::gauge(DROPPED, DROPPED_HELP).only(dropped as u64));
}
