//! What measurements share: how a result is written down.

use serde::Serialize;

/// One figure of a benchmark, as `./scripts/bench --json` lists them.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Such as `port.memif_vs_testpmd`.
    pub name: String,
    /// The median of its runs.
    pub value: f64,
    /// Such as `packets/s` or `ratio`.
    pub unit: String,
    /// What it must reach, if something was promised.
    pub reach: Option<f64>,
    /// Whether it does.
    pub met: Option<bool>,
}

impl Figure {
    /// A figure that must be at least `reach`.
    pub fn at_least(name: &str, value: f64, unit: &str, reach: f64) -> Self {
        Self { name: name.into(), value, unit: unit.into(), reach: Some(reach), met: Some(value >= reach) }
    }
    /// A figure that is only shown.
    pub fn shown(name: &str, value: f64, unit: &str) -> Self {
        Self { name: name.into(), value, unit: unit.into(), reach: None, met: None }
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
        assert_eq!(Figure::shown("a", 1.0, "ns").met, None);
    }
}
