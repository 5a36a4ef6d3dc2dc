//! What workers and ports count, under names that Prometheus' users expect.

use super::family::{Family, Kind, Labels, Value};
use crate::stat::{ColumnValues, Statistics};
use std::collections::BTreeMap;

/// Words that many cells begin with: the metric that they make together, the label that tells them apart, and what it means.
const SPLIT: [(&str, &str, &str, &str); 8] = [
    ("drop.", "frame_drops", "reason", "Frames that ended early, by reason."),
    ("tcp_end.", "tcp_ends", "reason", "TCP connections that have ended, by how."),
    ("http_end.", "http_ends", "reason", "Exchanges that have ended, by how."),
    ("http_refused.", "http_refused", "reason", "Requests that were refused, by reason."),
    ("tls_refused.", "tls_refused", "reason", "TLS sessions that were refused or broken off, by reason."),
    ("upstream_refused.", "upstream_refused", "reason", "Answers of upstreams that were refused, by reason."),
    ("refused.", "proxy_protocol_refused", "reason", "PROXY headers that were refused, by reason."),
    ("http_", "http_responses", "code_class", "Answers to clients, by their status; informational ones too."),
];
/// What a label of the last of them may be; `http_requests` is no class.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Cells whose names have no base unit, or mean something else elsewhere: how the metric is called, and what one of the cell's units is.
const RENAMED: [(&str, &str, f64); 4] = [
    ("http_requests", "http_request_heads", 1.0), // an exchange is counted when it has ended
    ("turn_us_max", "turn_max_seconds", 1e-6),
    ("turn_started_ns", "turn_started_seconds", 1e-9),
    ("link_mbps", "link_speed_bytes", 1e6 / 8.0), // a second; as node_network_speed_bytes
];
/// Cells that only repeat others.
const SUMS: [&str; 1] = ["dropped_frames"];
/// Cells of ports that go up and down.
const LEVELS: [&str; 2] = ["link_up", "link_mbps"];

pub(super) fn of(statistics: &Statistics) -> Vec<Family> {
    let mut all: BTreeMap<String, Family> = BTreeMap::new();
    for column in &statistics.columns {
        add(column, &mut all);
    }
    all.into_values().collect()
}

fn add(column: &ColumnValues, all: &mut BTreeMap<String, Family>) {
    let (scope, prefix) = match column.scope.as_str() {
        "worker" => ("worker", "weirgate"),
        "port" => ("port", "weirgate_port"),
        _ => return, // a newer data plane's
    };
    for cell in column.values.iter().filter(|cell| !SUMS.contains(&cell.name.as_str())) {
        let mut labels: Labels = vec![(scope, column.name.clone())];
        let level = cell.kind == "gauge" || LEVELS.contains(&cell.name.as_str());
        let kind = if level { Kind::Gauge } else { Kind::Counter };
        let (name, help, value) = if let Some((name, label, word, help)) = split(&cell.name) {
            labels.push((label, word.to_owned()));
            (name, help, Value::Whole(cell.value))
        } else if let Some((_, name, unit)) = RENAMED.iter().find(|(cell_name, ..)| cell.name == *cell_name) {
            (*name, cell.help.as_str(), Value::Real(cell.value as f64 * unit))
        } else {
            (cell.name.as_str(), cell.help.as_str(), Value::Whole(cell.value))
        };
        let name = format!("{prefix}_{}", plain(name));
        let family = all.entry(name.clone()).or_insert_with(|| Family::new(kind, name, help.to_owned()));
        family.series.push((labels, value));
    }
}

/// Metric, label, its value and help of a cell that is one of several.
fn split(cell: &str) -> Option<(&'static str, &'static str, &str, &'static str)> {
    SPLIT.iter().find_map(|&(prefix, name, label, help)| {
        let word = cell.strip_prefix(prefix)?;
        (label != "code_class" || CLASSES.contains(&word)).then_some((name, label, word, help))
    })
}

/// A metric's name may have these only. The cells' names have no others; a file may lie.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
