//! What Prometheus reads.
//!
//! ```text
//!   Input ---+-- golden: what exchanges came to, by listener, route, backend, endpoint ---.
//!            +-- counters: what workers and ports count ---------------------------------+--> families ---> text ---> GET /metrics
//!            +-- state: revisions, bounds, endpoints' health, discovery -----------------'    (bounded)
//! ```
//! Names follow the ecosystem's conventions: `weirgate_` first, `_total` last for what only grows, seconds and bytes. Each exchange is counted
//! once in a metric, so that a sum over its labels is right: routes, backends and endpoints have metrics of their own. No label's value
//! comes from a client: they are names of the configuration, addresses of endpoints, and words of ours.

mod counters;
mod family;
mod golden;
mod serve;
mod state;
mod text;

pub use family::{Family, Labels};
pub use serve::{Gather, response, router};
pub use state::{Bounds, DaemonState, SecretState};
pub use text::Format;

use crate::{config::Metrics, discovery, stat::Statistics};
use weirgate_dataplane::link::message::{EndpointState, Meter};

/// Everything that is told, as it is at one moment.
#[derive(Default, Debug)]
pub struct Input {
    /// The daemon's own.
    pub daemon: DaemonState,
    /// What there can be of things, by the configuration that is served; `None`: none is.
    pub bounds: Option<Bounds>,
    /// The data plane's counters; `None`: it does not run.
    pub statistics: Option<Statistics>,
    /// What exchanges came to; see [`Answer::Meters`](weirgate_dataplane::link::message::Answer).
    pub meters: Vec<Meter>,
    /// Exchanges that found no room for a meter of their own.
    pub unmetered: u64,
    /// All endpoints.
    pub endpoints: Vec<EndpointState>,
    /// Certificates and authorities, one of each name.
    pub secrets: Vec<SecretState>,
    /// Where endpoints come from.
    pub discoveries: Vec<discovery::Status>,
}

/// The metrics' text.
pub fn encode(input: &Input, options: &Metrics, format: Format) -> String {
    text::encode(&families(input, options), format)
}

/// What is small and always the same comes first: it is what stays if there are too many series.
fn families(input: &Input, options: &Metrics) -> Vec<Family> {
    let mut all = state::of(input);
    all.extend(input.statistics.iter().flat_map(counters::of));
    all.extend(golden::of(input, &options.labels));
    all.extend(state::of_secrets(input));
    all.extend(state::of_endpoints(input, &options.labels));
    family::bound(&mut all, options.max_series);
    all
}

#[cfg(test)]
mod tests;
