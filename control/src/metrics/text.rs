//! Families as text: Prometheus' own format and OpenMetrics.
//!
//! Written here because the usual crate (prometheus-client 0.24) writes labels' values as they are: one with a quotation mark or a line break
//! makes lines of its own. And it writes OpenMetrics only.

use super::family::{Family, Histogram, Kind, Value};
use std::fmt::{self, Write};

/// How it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Prometheus' text format, version 0.0.4.
    Plain,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What a client wants, by its `Accept` field: OpenMetrics only if it says so, and does not like the other better.
    pub fn wanted(accept: Option<&str>) -> Self {
        let mut best = (0.0, Self::Plain);
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let format = match parts.next().unwrap_or_default() {
                "application/openmetrics-text" => Self::OpenMetrics,
                "text/plain" | "text/*" | "*/*" => Self::Plain,
                _ => continue,
            };
            let mut quality = 1.0;
            let mut known = true;
            for parameter in parts {
                if let Some(q) = parameter.strip_prefix("q=") {
                    quality = q.parse().unwrap_or(0.0);
                } else if let Some(version) = parameter.strip_prefix("version=") {
                    // Later versions are compatible by their own rules.
                    known = format == Self::Plain || version.trim_matches('"').starts_with("1.") || version == "0.0.1";
                }
            }
            if known && quality > best.0 {
                best = (quality, format);
            }
        }
        best.1
    }
}

/// The text of all families that have series.
pub(super) fn encode(families: &[Family], format: Format) -> String {
    let mut text = String::new();
    for family in families.iter().filter(|family| !family.series.is_empty()) {
        write_family(&mut text, family, format).expect("strings take everything");
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn write_family(to: &mut String, family: &Family, format: Format) -> fmt::Result {
    let total = if family.kind == Kind::Counter { "_total" } else { "" };
    // OpenMetrics names the family, the older format its series.
    let shown = if format == Format::Plain { total } else { "" };
    let name = &family.name;
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    write!(to, "# HELP {name}{shown} ")?;
    escape(to, &family.help, format == Format::OpenMetrics);
    writeln!(to, "\n# TYPE {name}{shown} {kind}")?;
    for (labels, value) in &family.series {
        let mut line = |suffix: &str, le: Option<&str>, value: &dyn fmt::Display| {
            write!(to, "{name}{suffix}")?;
            let le = le.map(|le| ("le", le));
            let mut before = '{';
            for (label, value) in labels.iter().map(|(label, value)| (*label, value.as_str())).chain(le) {
                write!(to, "{before}{label}=\"")?;
                escape(to, value, true);
                to.push('"');
                before = ',';
            }
            writeln!(to, "{} {value}", if before == ',' { "}" } else { "" })
        };
        match value {
            Value::Whole(value) => line(total, None, value)?,
            Value::Real(value) => line(total, None, value)?,
            Value::Histogram(Histogram { buckets, above, sum }) => {
                let mut below = 0;
                for (bound, count) in buckets {
                    below += count;
                    line("_bucket", Some(&decimal(*bound)), &below)?;
                }
                let all = below + above;
                line("_bucket", Some("+Inf"), &all)?;
                line("_sum", None, sum)?;
                line("_count", None, &all)?;
            }
        }
    }
    Ok(())
}

/// A bound as OpenMetrics wants it: always with a point, so that both formats make the same label.
fn decimal(bound: f64) -> String {
    format!("{bound:?}")
}

/// What ends a value or a line does not get there as it is.
fn escape(to: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '"' if quotes => to.push_str("\\\""),
            c => to.push(c),
        }
    }
}
