//! Golden signals: how many exchanges, how they ended, how long they took.

use super::{
    Input,
    family::{Family, Histogram, Kind, Labels, Value},
};
use crate::config::Label;
use std::collections::BTreeMap;
use weirgate_dataplane::link::message::{DURATION_BOUNDS_US, Meter, Of};

/// Whose exchanges a group of metrics counts: its prefix, and how its help calls it.
struct Group {
    prefix: &'static str,
    whose: &'static str,
    /// One of them must be wanted, or the group would only repeat the whole. None: it is the whole.
    labels: &'static [Label],
}

const GROUPS: [Group; 4] = [
    Group { prefix: "weirgate_http", whose: "at a listener", labels: &[] },
    Group { prefix: "weirgate_route_http", whose: "of a route", labels: &[Label::Route] },
    Group { prefix: "weirgate_backend_http", whose: "to a backend", labels: &[Label::Backend] },
    Group { prefix: "weirgate_endpoint_http", whose: "to an endpoint", labels: &[Label::Endpoint] },
];
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// What exchanges with the same labels came to.
#[derive(Default)]
struct Sum {
    by_class: [u64; 6],
    by_duration: [u64; DURATION_BOUNDS_US.len() + 1],
    duration_us: u64,
    request_bytes: u64,
    response_bytes: u64,
}

pub(super) fn of(input: &Input, wanted: &[Label]) -> Vec<Family> {
    let mut sums: [BTreeMap<Labels, Sum>; GROUPS.len()] = Default::default();
    for meter in &input.meters {
        let (group, labels) = place(&meter.of, wanted);
        sums[group].entry(labels).or_default().add(meter);
    }
    let mut all = Vec::new();
    for (group, sums) in GROUPS.iter().zip(sums) {
        if group.labels.iter().all(|label| wanted.contains(label)) {
            all.extend(families(group, &sums, wanted.contains(&Label::CodeClass)));
        }
    }
    let unmetered = "Exchanges that are in no metric, because there was no room to count them apart.";
    all.push(Family::counter("weirgate_http_requests_unmetered", unmetered).only(input.unmetered));
    all
}

/// The group, and the labels that are wanted.
fn place(of: &Of, wanted: &[Label]) -> (usize, Labels) {
    let (group, labels) = match of {
        Of::Listener { listener } => (0, vec![(Label::Listener, "listener", listener.clone())]),
        Of::Route { route } => (1, vec![(Label::Route, "route", route.clone())]),
        Of::Backend { backend } => (2, vec![(Label::Backend, "backend", backend.clone())]),
        Of::Endpoint { backend, address } => {
            (3, vec![(Label::Backend, "backend", backend.clone()), (Label::Endpoint, "endpoint", address.to_string())])
        }
    };
    let labels = labels.into_iter().filter(|(label, ..)| wanted.contains(label));
    (group, labels.map(|(_, name, value)| (name, value)).collect())
}

impl Sum {
    fn add(&mut self, meter: &Meter) {
        self.by_class.iter_mut().zip(meter.by_class).for_each(|(sum, n)| *sum += n);
        self.by_duration.iter_mut().zip(meter.by_duration).for_each(|(sum, n)| *sum += n);
        self.duration_us += meter.duration_us;
        self.request_bytes += meter.request_bytes;
        self.response_bytes += meter.response_bytes;
    }

    fn histogram(&self) -> Histogram {
        let bounds = DURATION_BOUNDS_US.map(|us| us as f64 / 1e6);
        let (above, below) = self.by_duration.split_last().expect("one more than bounds");
        let buckets = bounds.into_iter().zip(below.iter().copied()).collect();
        Histogram { buckets, above: *above, sum: self.duration_us as f64 / 1e6 }
    }
}

fn families(group: &Group, sums: &BTreeMap<Labels, Sum>, by_class: bool) -> Vec<Family> {
    let Group { prefix, whose, .. } = group;
    let name = |what: &str| format!("{prefix}_{what}");
    let classes = if by_class { ", by the status that the client got" } else { "" };
    let mut requests = Family::counter(name("requests"), format!("Exchanges {whose} that have ended{classes}."));
    let mut durations = Family::new(
        Kind::Histogram,
        name("request_duration_seconds"),
        format!("How long exchanges {whose} took, from the request's first byte to the answer's last."),
    );
    let mut request = Family::counter(name("request_bytes"), format!("Content of requests {whose}."));
    let mut response = Family::counter(name("response_bytes"), format!("Content of answers {whose}."));
    for (labels, sum) in sums {
        if by_class {
            // All classes from the start: a rate needs a zero to begin with.
            for (class, &count) in CLASSES.iter().zip(&sum.by_class) {
                let mut labels = labels.clone();
                labels.push(("code_class", (*class).to_owned()));
                requests.series.push((labels, Value::Whole(count)));
            }
        } else {
            requests.series.push((labels.clone(), Value::Whole(sum.by_class.iter().sum())));
        }
        durations.series.push((labels.clone(), Value::Histogram(sum.histogram())));
        request.series.push((labels.clone(), Value::Whole(sum.request_bytes)));
        response.series.push((labels.clone(), Value::Whole(sum.response_bytes)));
    }
    vec![requests, durations, request, response]
}
