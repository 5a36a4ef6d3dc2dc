//! What Prometheus gets, line by line; [`prometheus`] asks a real one.

mod prometheus;
mod sample;

use super::{
    family::{Family, Value},
    *,
};
use crate::config::Label;
use axum::http::{HeaderMap, header::ACCEPT};
use proptest::prelude::*;
use sample::sample;
use std::collections::{BTreeMap, BTreeSet};

/// A line that is no comment, read by the format's rules: name, labels, value.
fn read_line(line: &str) -> Option<(String, BTreeMap<String, String>, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        loop {
            let (label, value) = inside.split_once("=\"")?;
            let (mut text, mut chars) = (String::new(), value.char_indices());
            let end = loop {
                match chars.next()? {
                    (at, '"') => break at,
                    (_, '\\') => match chars.next()?.1 {
                        'n' => text.push('\n'),
                        c @ ('\\' | '"') => text.push(c),
                        _ => return None,
                    },
                    (_, c) => text.push(c),
                }
            };
            labels.insert(label.to_owned(), text);
            match value[end + 1..].strip_prefix(',') {
                Some(more) => inside = more,
                None => break rest = value[end + 1..].strip_prefix('}')?,
            }
        }
    }
    Some((name.to_owned(), labels, rest.strip_prefix(' ')?.parse().ok()?))
}

fn values(text: &str) -> Vec<(String, BTreeMap<String, String>, f64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| read_line(line).unwrap_or_else(|| panic!("no such line: {line}"))).collect()
}

/// The value of the only series with this name and these labels among others.
fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let has = |of: &BTreeMap<String, String>| labels.iter().all(|&(l, v)| of.get(l).is_some_and(|have| have == v));
    let all: Vec<_> = values(text).into_iter().filter(|(n, of, _)| n == name && has(of)).collect();
    assert_eq!(all.len(), 1, "{name} {labels:?}: {all:?}");
    all[0].2
}

fn plain(input: &Input, options: &Metrics) -> String {
    encode(input, options, Format::Plain)
}

#[test]
fn golden_signals_are_those_of_the_meters() {
    let text = plain(&sample(1), &Metrics::default());
    let web = ("listener", "web");
    assert_eq!(value(&text, "weirgate_http_requests_total", &[web, ("code_class", "2xx")]), 90.0);
    assert_eq!(value(&text, "weirgate_http_requests_total", &[web, ("code_class", "1xx")]), 0.0);
    assert_eq!(value(&text, "weirgate_http_request_duration_seconds_bucket", &[web, ("le", "0.0005")]), 50.0);
    assert_eq!(value(&text, "weirgate_http_request_duration_seconds_bucket", &[web, ("le", "0.001")]), 90.0);
    assert_eq!(value(&text, "weirgate_http_request_duration_seconds_bucket", &[web, ("le", "+Inf")]), 100.0);
    assert_eq!(value(&text, "weirgate_http_request_duration_seconds_count", &[web]), 100.0);
    assert_eq!(value(&text, "weirgate_http_request_duration_seconds_sum", &[web]), 0.25);
    assert_eq!(value(&text, "weirgate_http_response_bytes_total", &[web]), 30_000.0);
    let endpoint = [("backend", "cart"), ("endpoint", "10.1.0.21:8080")];
    assert_eq!(
        value(&text, "weirgate_endpoint_http_requests_total", &[endpoint[0], endpoint[1], ("code_class", "5xx")]),
        4.0
    );
    assert_eq!(value(&text, "weirgate_endpoint_healthy", &[("endpoint", "[fd00::22]:8080")]), 0.0);
    assert_eq!(value(&text, "weirgate_backend_endpoints", &[("backend", "cart"), ("state", "healthy")]), 1.0);
}

#[test]
fn certificates_are_told_by_their_secrets() {
    let (text, shop) = (plain(&sample(1), &Metrics::default()), ("secret", "shop"));
    assert_eq!(value(&text, "weirgate_certificate_not_after_timestamp_seconds", &[shop]), 1_800_000_000.0);
    assert_eq!(value(&text, "weirgate_crl_next_update_timestamp_seconds", &[shop]), 1_790_000_000.0);
    assert_eq!(value(&text, "weirgate_secret_refused", &[shop]), 1.0);
    assert_eq!(value(&text, "weirgate_secret_changes_total", &[shop, ("result", "applied")]), 2.0);
    for reason in ["no_shared_version", "peer_alert"] {
        value(&text, "weirgate_tls_refused_total", &[("worker", "0"), ("reason", reason)]);
    }
    value(&text, "weirgate_tls_handshakes_total", &[("worker", "0")]);
}

#[test]
fn counters_have_their_own_names_and_early_ends_one_with_reasons() {
    let text = plain(&sample(1), &Metrics::default());
    for worker in ["0", "1"] {
        assert!(value(&text, "weirgate_rx_frames_total", &[("worker", worker)]) > 0.0);
        assert!(value(&text, "weirgate_frame_drops_total", &[("worker", worker), ("reason", "runt")]) > 0.0);
        assert!(value(&text, "weirgate_frames_capacity", &[("worker", worker)]) > 0.0);
        assert!(value(&text, "weirgate_http_responses_total", &[("worker", worker), ("code_class", "2xx")]) > 0.0);
    }
    assert_eq!(value(&text, "weirgate_turn_max_seconds", &[("worker", "0")]), 0.0015);
    assert_eq!(value(&text, "weirgate_port_link_up", &[("port", "p0")]), 1.0);
    assert_eq!(value(&text, "weirgate_port_link_speed_bytes", &[("port", "p0")]), 1_250_000_000.0);
    // Every cell is told, but for the sum of all drops.
    let statistics = sample(1).statistics.unwrap();
    let cells: usize = statistics.columns.iter().map(|column| column.values.len()).sum();
    let told: usize = counters::of(&statistics).iter().map(|family| family.series.len()).sum();
    assert_eq!(told, cells - 2, "each of two workers has one sum");
}

#[test]
fn names_are_unique_and_conventional_and_each_has_help() {
    let families = families(&sample(1), &Metrics::default());
    let names: BTreeSet<_> = families.iter().map(|family| &family.name).collect();
    assert_eq!(names.len(), families.len(), "a name stands for one family");
    for Family { name, help, series, .. } in &families {
        assert!(name.starts_with("weirgate_") && !name.ends_with("_total"), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
        assert!(help.trim_end().ends_with('.'), "{name}: {help}");
        assert!(!series.is_empty(), "the sample has everything: {name}");
        let labels: BTreeSet<_> = series.iter().map(|(labels, _)| labels).collect();
        assert_eq!(labels.len(), series.len(), "{name}: two series with the same labels");
    }
}

#[test]
fn formats_differ_in_names_of_counters_and_the_end() {
    let (input, options) = (sample(1), Metrics::default());
    let (plain, open) = (plain(&input, &options), encode(&input, &options, Format::OpenMetrics));
    assert!(plain.contains("\n# TYPE weirgate_http_requests_total counter\n"));
    assert!(open.contains("\n# TYPE weirgate_http_requests counter\n"));
    assert!(open.ends_with("\n# EOF\n") && !plain.contains("EOF"));
    assert_eq!(values(&plain), values(&open));
}

#[test]
fn labels_that_are_not_wanted_are_summed_over() {
    let only = |labels: &[Label]| Metrics { labels: labels.to_vec(), ..Metrics::default() };
    let text = plain(&sample(1), &only(&[Label::CodeClass]));
    assert_eq!(value(&text, "weirgate_http_requests_total", &[("code_class", "2xx")]), 120.0, "both listeners");
    for gone in ["weirgate_route_", "weirgate_endpoint_", "weirgate_backend_http", "listener=", "backend="] {
        assert!(!text.contains(gone), "{gone}");
    }
    let text = plain(&sample(1), &only(&[Label::Endpoint]));
    assert_eq!(value(&text, "weirgate_endpoint_http_requests_total", &[("endpoint", "10.1.0.21:8080")]), 40.0);
    assert!(!text.contains("code_class=\"2xx\"} 90"));
}

#[test]
fn series_beyond_the_bound_are_left_out_and_counted() {
    let input = sample(1);
    let all = values(&plain(&input, &Metrics::default())).len();
    for max in [1, 2, 10, 100, all - 1, all, all + 1] {
        let text = plain(&input, &Metrics { max_series: max, ..Metrics::default() });
        let told = values(&text).len();
        assert!(told <= max, "{told} of {max}");
        let dropped = value(&text, "weirgate_metrics_series_dropped", &[]);
        assert_eq!(told + dropped as usize, all);
    }
    let text = plain(&input, &Metrics { max_series: 30, ..Metrics::default() });
    assert_eq!(value(&text, "weirgate_config_revision", &[]), 7.0, "what matters most is the last to go");
}

#[test]
fn without_a_data_plane_the_daemon_still_tells_of_itself() {
    let text = plain(&Input::default(), &Metrics::default());
    assert_eq!(value(&text, "weirgate_dataplane_up", &[]), 0.0);
    assert!(!text.contains("weirgate_rx_frames"));
}

#[test]
fn the_format_is_what_the_client_likes_best() {
    use Format::{OpenMetrics, Plain};
    for (accept, wants) in [
        (None, Plain),
        (Some("*/*"), Plain),
        (Some("text/html"), Plain),
        (Some("application/openmetrics-text"), OpenMetrics),
        // What Prometheus 2.42 sends.
        (
            Some(
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            ),
            OpenMetrics,
        ),
        (Some("application/openmetrics-text;q=0.2, text/plain;q=0.9"), Plain),
        (Some("application/openmetrics-text;version=2.0.0"), Plain),
        (Some("application/openmetrics-text;q=0"), Plain),
        (Some("application/openmetrics-text;q=bananas"), Plain),
    ] {
        assert_eq!(Format::wanted(accept), wants, "{accept:?}");
    }
    let mut fields = HeaderMap::new();
    fields.insert(ACCEPT, "application/openmetrics-text".parse().unwrap());
    let answer = response(&fields, &sample(1), &Metrics::default());
    assert_eq!(answer.headers()["content-type"], OpenMetrics.content_type());
}

proptest! {
    /// Whatever names a configuration has: one line stays one line, and what is read is what was meant.
    #[test]
    fn no_label_breaks_out(values_said in prop::collection::vec(any::<String>(), 1..4), help in any::<String>()) {
        let mut family = Family::counter("weirgate_x", help);
        for (n, text) in (0_u64..).zip(&values_said) {
            let labels = vec![("a", text.clone()), ("b", format!("{text}\"}} 9\nweirgate_y 1\\"))];
            family = family.with(labels, Value::Whole(n));
        }
        for format in [Format::Plain, Format::OpenMetrics] {
            let text = text::encode(std::slice::from_ref(&family), format);
            // A carriage return may stand in a value: only line feeds end lines.
            let lines: Vec<_> = text.split('\n').filter(|line| !line.is_empty() && !line.starts_with("# ")).collect();
            prop_assert_eq!(lines.len(), values_said.len());
            for (n, (line, said)) in lines.iter().zip(&values_said).enumerate() {
                let (name, labels, value) = read_line(line).expect("a line of the format");
                prop_assert_eq!(name, "weirgate_x_total");
                prop_assert_eq!(&labels["a"], said);
                prop_assert_eq!(value, n as f64);
                prop_assert_eq!(labels.len(), 2);
            }
        }
    }
}
