//! Revisions, bounds, endpoints' health and discovery.

use super::{
    Input,
    family::{Family, Labels, Value},
};
use crate::config::Label;
use std::{collections::BTreeMap, time::Duration};
use weirgate_dataplane::{
    limits::{BACKENDS_MAX, ENDPOINTS_MAX},
    snapshot::Snapshot,
};

/// The daemon's own state.
#[derive(Clone, Default, Debug)]
pub struct DaemonState {
    /// Its version.
    pub version: String,
    /// Those of the node, by the configuration.
    pub labels: BTreeMap<String, String>,
    /// When it started, since 1970.
    pub started: Duration,
    /// The revision that is in force.
    pub revision: u64,
    /// When a revision was last put in force, since 1970.
    pub applied: Option<Duration>,
    /// When one was last refused.
    pub refused: Option<Duration>,
    /// Revisions put in force, since it started.
    pub applies: u64,
    /// Revisions refused, since it started.
    pub refusals: u64,
    /// Whether the data plane answers.
    pub dataplane_up: bool,
    /// How often the data plane had to be started again.
    pub dataplane_restarts: u64,
    /// Whether connections are to be drained.
    pub draining: bool,
    /// Whether they are; `None`: that is not known.
    pub drains: Option<bool>,
    /// Whether nothing can be changed.
    pub read_only: bool,
}

/// A certificate, or authorities.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SecretState {
    /// Its name.
    pub name: String,
    /// Until when it holds, in seconds since 1970.
    pub not_after: Option<u64>,
    /// Until when the first list of what is revoked holds.
    pub next_update: Option<u64>,
    /// What is on disk is refused.
    pub refused: bool,
    /// New ones that were put in force.
    pub updates: u64,
    /// New ones that were refused.
    pub refusals: u64,
}

/// How much there can be, and how much is configured.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Bounds {
    /// TCP connections of all workers.
    pub connections_max: u64,
    /// Packet memory, in bytes.
    pub packet_bytes: u64,
    /// Backends.
    pub backends: u64,
    /// Endpoints of all backends.
    pub endpoints: u64,
}

impl Bounds {
    /// Those of a snapshot.
    pub fn of(snapshot: &Snapshot) -> Self {
        let workers = snapshot.dataplane.cores.len();
        Self {
            connections_max: (snapshot.dataplane.connections_per_worker() * workers) as u64,
            packet_bytes: snapshot.dataplane.packet_bytes() as u64,
            backends: snapshot.backends.len() as u64,
            endpoints: snapshot.backends.iter().map(|backend| backend.endpoints.len() as u64).sum(),
        }
    }
}

pub(super) fn of(input: &Input) -> Vec<Family> {
    let DaemonState { version, started, revision, applied, refused, applies, refusals, .. } = &input.daemon;
    let daemon = &input.daemon;
    let dataplane = input.statistics.as_ref().map_or("", |statistics| &statistics.version);
    let node = input.statistics.as_ref().map_or("", |statistics| &statistics.name);
    let info = [("version", version.as_str()), ("dataplane_version", dataplane), ("node", node)];
    let info = info.map(|(label, value)| (label, value.to_owned())).to_vec();
    let seconds = |since: &Option<Duration>| since.map(|since| since.as_secs_f64());
    let gauge = |name: &'static str, help: &'static str| Family::gauge(name, help);
    let counter = |name: &'static str, help: &'static str| Family::counter(name, help);
    let mut labels = gauge("weirgate_node_labels", "Labels of the node, by metadata.labels; always 1.");
    labels.series.extend(daemon.labels.iter().map(|(label, value)| {
        let labels = vec![("label", label.clone()), ("value", value.clone())];
        (labels, Value::Whole(1))
    }));
    let mut all = vec![
        gauge("weirgate_build_info", "What runs; always 1.").with(info, Value::Whole(1)),
        gauge("weirgate_start_time_seconds", "When the daemon started, since 1970.").maybe(Some(started.as_secs_f64())),
        gauge("weirgate_config_revision", "The revision of the configuration that is in force.").only(*revision),
        gauge(
            "weirgate_config_last_apply_success_timestamp_seconds",
            "When a revision was last put in force, since 1970.",
        )
        .maybe(seconds(applied)),
        gauge("weirgate_config_last_apply_failure_timestamp_seconds", "When a revision was last refused, since 1970.")
            .maybe(seconds(refused)),
        counter("weirgate_config_applies", "Revisions put in force or refused, since the daemon started.")
            .with(vec![("result", "applied".into())], Value::Whole(*applies))
            .with(vec![("result", "refused".into())], Value::Whole(*refusals)),
        gauge("weirgate_dataplane_up", "1 while the data plane answers.").only(daemon.dataplane_up.into()),
        counter("weirgate_dataplane_restarts", "How often the data plane had to be started again.")
            .only(daemon.dataplane_restarts),
        gauge("weirgate_draining", "1 while the gateway is to drain.").only(daemon.draining.into()),
        gauge("weirgate_dataplane_draining", "1 while clients are sent elsewhere, by the data plane's word.")
            .maybe(daemon.drains.map(|drains| f64::from(u8::from(drains)))),
        gauge("weirgate_read_only", "1 while nothing can be changed, for want of an audit log.")
            .only(daemon.read_only.into()),
        labels,
    ];
    if let Some(bounds) = &input.bounds {
        all.extend([
            gauge("weirgate_tcp_connections_max", "TCP connections that there can be.").only(bounds.connections_max),
            gauge("weirgate_packet_memory_bytes", "Memory for frames.").only(bounds.packet_bytes),
            gauge("weirgate_backends", "Backends that are configured.").only(bounds.backends),
            gauge("weirgate_backends_max", "Backends that there can be.").only(BACKENDS_MAX as u64),
            gauge("weirgate_endpoints", "Endpoints that are known.").only(bounds.endpoints),
            gauge("weirgate_backend_endpoints_max", "Endpoints that a backend can have.").only(ENDPOINTS_MAX as u64),
        ]);
    }
    all
}

/// Certificates and authorities: a few series for each.
pub(super) fn of_secrets(input: &Input) -> Vec<Family> {
    let mut not_after = Family::gauge(
        "weirgate_certificate_not_after_timestamp_seconds",
        "Until when a secret's certificate holds, since 1970; of authorities, until the last of them ends.",
    );
    let mut next_update = Family::gauge(
        "weirgate_crl_next_update_timestamp_seconds",
        "Until when a secret's first revocation list holds, since 1970; afterwards no client is believed whom it is about.",
    );
    let mut refused =
        Family::gauge("weirgate_secret_refused", "1 while a secret's files cannot be used, and what was before is.");
    let mut changes = Family::counter(
        "weirgate_secret_changes",
        "Changes of a secret's files, put in force or refused, since the daemon started.",
    );
    for secret in &input.secrets {
        let labels: Labels = vec![("secret", secret.name.clone())];
        not_after.series.extend(secret.not_after.map(|at| (labels.clone(), Value::Whole(at))));
        next_update.series.extend(secret.next_update.map(|at| (labels.clone(), Value::Whole(at))));
        refused.series.push((labels.clone(), Value::Whole(secret.refused.into())));
        for (result, count) in [("applied", secret.updates), ("refused", secret.refusals)] {
            let mut labels = labels.clone();
            labels.push(("result", result.into()));
            changes.series.push((labels, Value::Whole(count)));
        }
    }
    vec![not_after, next_update, refused, changes]
}

/// Health of endpoints, and where they come from: one series or more for each.
pub(super) fn of_endpoints(input: &Input, wanted: &[Label]) -> Vec<Family> {
    let mut all = Vec::new();
    if wanted.contains(&Label::Backend) {
        all.extend(backends(input));
        all.extend(discoveries(input));
        if wanted.contains(&Label::Endpoint) {
            all.extend(endpoints(input));
        }
    }
    all
}

fn backends(input: &Input) -> Vec<Family> {
    let mut counts: BTreeMap<&str, [u64; 4]> = BTreeMap::new();
    for endpoint in &input.endpoints {
        let [well, ill, active, connections] = counts.entry(&endpoint.backend).or_default();
        *(if endpoint.healthy { well } else { ill }) += 1;
        *active += endpoint.active;
        *connections += endpoint.connections;
    }
    let mut health =
        Family::gauge("weirgate_backend_endpoints", "Endpoints of a backend, by whether they get requests.");
    let mut active = Family::gauge("weirgate_backend_active_requests", "Requests that a backend has now.");
    let mut open = Family::gauge("weirgate_backend_connections", "Connections to a backend, kept ones included.");
    for (backend, [well, ill, requests, connections]) in counts {
        let labels: Labels = vec![("backend", backend.to_owned())];
        for (state, count) in [("healthy", well), ("unhealthy", ill)] {
            let mut labels = labels.clone();
            labels.push(("state", state.to_owned()));
            health.series.push((labels, Value::Whole(count)));
        }
        active.series.push((labels.clone(), Value::Whole(requests)));
        open.series.push((labels, Value::Whole(connections)));
    }
    vec![health, active, open]
}

fn endpoints(input: &Input) -> Vec<Family> {
    let mut healthy = Family::gauge("weirgate_endpoint_healthy", "1 while an endpoint gets requests.");
    let mut active = Family::gauge("weirgate_endpoint_active_requests", "Requests that an endpoint has now.");
    let mut open = Family::gauge("weirgate_endpoint_connections", "Connections to an endpoint, kept ones included.");
    for endpoint in &input.endpoints {
        let labels: Labels = vec![("backend", endpoint.backend.clone()), ("endpoint", endpoint.address.to_string())];
        healthy.series.push((labels.clone(), Value::Whole(endpoint.healthy.into())));
        active.series.push((labels.clone(), Value::Whole(endpoint.active)));
        open.series.push((labels, Value::Whole(endpoint.connections)));
    }
    vec![healthy, active, open]
}

fn discoveries(input: &Input) -> Vec<Family> {
    let mut age = Family::gauge("weirgate_discovery_age_seconds", "How old the last good answer of a source is.");
    let mut known = Family::gauge("weirgate_discovery_endpoints", "Endpoints that a source has found.");
    let mut failing = Family::gauge("weirgate_discovery_failing", "1 while something is wrong with a source.");
    let mut failures = Family::counter("weirgate_discovery_failures", "Bad answers of a source.");
    let mut pending =
        Family::gauge("weirgate_discovery_pending", "1 while a source has not answered: its backend has no endpoints.");
    let mut left_out = Family::gauge(
        "weirgate_discovery_endpoints_left_out",
        "Endpoints that are not served, being addresses of the gateway itself.",
    );
    let mut refused =
        Family::gauge("weirgate_discovery_refused", "1 while the data plane refuses what a source has found.");
    for status in &input.discoveries {
        let labels: Labels = vec![("backend", status.backend.clone()), ("kind", status.kind.to_owned())];
        age.series.extend(status.age_ms.map(|ms| (labels.clone(), Value::Real(ms as f64 / 1e3))));
        known.series.push((labels.clone(), Value::Whole(status.endpoints as u64)));
        failing.series.push((labels.clone(), Value::Whole(status.error.is_some().into())));
        pending.series.push((labels.clone(), Value::Whole(status.pending.into())));
        left_out.series.push((labels.clone(), Value::Whole(status.left_out.len() as u64)));
        refused.series.push((labels.clone(), Value::Whole(status.refused.is_some().into())));
        failures.series.push((labels, Value::Whole(status.failures)));
    }
    vec![age, known, failing, pending, left_out, refused, failures]
}
