//! What measurements share: how a result is written down.

use serde::Serialize;
use std::fmt;

/// One figure of a benchmark, as `./scripts/bench --json` lists them.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Such as `port.memif_vs_testpmd`.
    pub name: String,
    /// The median of its runs.
    pub value: f64,
    /// Such as `packets/s` or `ratio`.
    pub unit: String,
    /// What was promised, if something was.
    pub reach: Option<f64>,
    /// Which side of `reach` is the good one.
    pub bound: Option<Bound>,
    /// Whether it does.
    pub met: Option<bool>,
}

/// Which side of a promise keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// More is better.
    AtLeast,
    /// Less is better.
    AtMost,
}

impl Figure {
    /// A figure that must be at least `reach`.
    pub fn at_least(name: &str, value: f64, unit: &str, reach: f64) -> Self {
        Self::bounded(name, value, unit, Some((Bound::AtLeast, reach)))
    }
    /// A figure that must be at most `reach`.
    pub fn at_most(name: &str, value: f64, unit: &str, reach: f64) -> Self {
        Self::bounded(name, value, unit, Some((Bound::AtMost, reach)))
    }
    /// A figure that is only shown.
    pub fn shown(name: &str, value: f64, unit: &str) -> Self {
        Self::bounded(name, value, unit, None)
    }

    fn bounded(name: &str, value: f64, unit: &str, promise: Option<(Bound, f64)>) -> Self {
        // Neither holds for a value that is not a number.
        let met = promise.map(|(bound, reach)| match bound {
            Bound::AtLeast => value >= reach,
            Bound::AtMost => value <= reach,
        });
        let (bound, reach) = promise.unzip();
        Self { name: name.into(), value, unit: unit.into(), reach, bound, met }
    }
}

/// One line of a report: `port.memif_vs_testpmd  0.712 ratio  (at least 0.7: met)`.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:40} {:>14.3} {}", self.name, self.value, self.unit)?;
        let (Some(bound), Some(reach), Some(met)) = (self.bound, self.reach, self.met) else { return Ok(()) };
        let bound = match bound {
            Bound::AtLeast => "at least",
            Bound::AtMost => "at most",
        };
        write!(f, "  ({bound} {reach}: {})", if met { "met" } else { "MISSED" })
    }
}

/// The middle value (of an even number, the lower of the two).
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.0));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn a_figure_says_whether_it_is_met() {
        assert_eq!(Figure::at_least("a", 0.7, "ratio", 0.7).met, Some(true));
        assert_eq!(Figure::at_least("a", 0.69, "ratio", 0.7).met, Some(false));
        assert_eq!(Figure::at_most("a", 0.7, "ratio", 0.7).met, Some(true));
        assert_eq!(Figure::at_most("a", 0.71, "ratio", 0.7).met, Some(false));
        assert_eq!(Figure::at_most("a", f64::NAN, "ratio", 0.7).met, Some(false));
        assert_eq!(Figure::shown("a", 1.0, "ns").met, None);
    }

    #[test]
    fn a_line_of_a_report_names_a_promise_and_whether_it_is_kept() {
        let line = Figure::at_most("tcp.idle_bytes", 600.0, "bytes", 512.0).to_string();
        assert!(line.ends_with("600.000 bytes  (at most 512: MISSED)"), "{line}");
        assert!(Figure::shown("a", 1.0, "ns").to_string().ends_with("1.000 ns"));
    }
}
