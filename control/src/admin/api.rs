//! Paths, requests and responses of the admin API. Both ends use these types, and the OpenAPI description is generated from them, so that none of the
//! three can differ from the others.
//!
//! Everything is JSON with names in camelCase. Times are RFC 3339 in UTC. Whatever fails has a status above 399 and an [`ErrorBody`].
//!
//! | who asks | what is asked |
//! | --- | --- |
//! | a person at a desk | [`APPLY`], [`CONFIRM`], [`ROLLBACK`], [`DIFF`], [`REVISIONS`] |
//! | a person who looks for something | [`STATUS`], [`LISTENERS`] and its like, [`CERTIFICATES`], [`EXPLAIN`], [`TAP`], [`PCAP`], [`CONNECTIONS`], [`COUNTERS`] |
//! | machines | [`HEALTHZ`], [`READYZ`], [`METRICS`], [`OPENAPI`] |

mod certificates;
mod changes;
mod objects;
mod traffic;

pub use certificates::*;
pub use changes::*;
pub use objects::*;
pub use traffic::*;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the admin socket is when nobody says otherwise.
pub const SOCKET: &str = "/run/weirgate/admin.sock";

/// GET: 200 while the daemon lives. Plain text.
pub const HEALTHZ: &str = "/healthz";
/// GET: 200 when a data plane is connected, a revision is in force, and nothing drains; else 503 and [`ErrorBody`].
pub const READYZ: &str = "/readyz";
/// GET: metrics in Prometheus' text format.
pub const METRICS: &str = "/metrics";
/// GET: the OpenAPI description.
pub const OPENAPI: &str = "/v1/openapi.json";
/// GET [`Status`].
pub const STATUS: &str = "/v1/status";
/// POST [`ApplyRequest`], get [`Applied`]. `If-Match: "12"` is the same as `base: 12`.
pub const APPLY: &str = "/v1/apply";
/// POST [`ConfirmRequest`], get [`Applied`].
pub const CONFIRM: &str = "/v1/confirm";
/// POST [`RollbackRequest`], get [`Applied`]. `If-Match` as for [`APPLY`].
pub const ROLLBACK: &str = "/v1/rollback";
/// GET [`Difference`] between revisions, with [`DiffQuery`]; POST [`DiffRequest`] for files against a revision.
pub const DIFF: &str = "/v1/diff";
/// GET [`History`], the newest first, with [`HistoryQuery`].
pub const REVISIONS: &str = "/v1/revisions";
/// GET [`RevisionDetails`]. `{number}` is a number, or `current`.
pub const REVISION: &str = "/v1/revisions/{number}";
/// GET [`Listeners`].
pub const LISTENERS: &str = "/v1/listeners";
/// GET [`Described`].
pub const LISTENER: &str = "/v1/listeners/{name}";
/// GET [`Routes`].
pub const ROUTES: &str = "/v1/routes";
/// GET [`Described`].
pub const ROUTE: &str = "/v1/routes/{name}";
/// GET [`Backends`].
pub const BACKENDS: &str = "/v1/backends";
/// GET [`Described`].
pub const BACKEND: &str = "/v1/backends/{name}";
/// GET [`Certificates`].
pub const CERTIFICATES: &str = "/v1/certificates";
/// GET [`Endpoints`], with [`EndpointsQuery`].
pub const ENDPOINTS: &str = "/v1/endpoints";
/// POST [`DrainEndpointRequest`], get [`Done`].
pub const DRAIN_ENDPOINT: &str = "/v1/endpoints/drain";
/// POST [`DrainRequest`], get [`Done`]: all of the gateway.
pub const DRAIN: &str = "/v1/drain";
/// POST [`ExplainRequest`], get [`Explained`].
pub const EXPLAIN: &str = "/v1/explain";
/// GET [`Connections`], with [`ConnectionsQuery`].
pub const CONNECTIONS: &str = "/v1/connections";
/// GET [`Meters`].
pub const METERS: &str = "/v1/meters";
/// GET [`Counters`]: what the data plane publishes in its run directory.
pub const COUNTERS: &str = "/v1/counters";
/// GET: a stream of lines, each a [`TapLine`], with [`TapQuery`]. It ends when the client goes.
pub const TAP: &str = "/v1/tap";
/// POST [`CaptureRequest`], get a capture in pcapng, as it comes. It ends when the client goes, or with what was asked for; its last block has the
/// statistics. Who may only look may not do this.
pub const PCAP: &str = "/v1/pcap";
/// GET or PUT [`LogLevel`].
pub const LOG: &str = "/v1/log";

/// The path of one of several: `of(ROUTE, "shop")`. Whatever is no plain character is escaped.
pub fn of(path: &str, name: &str) -> String {
    let (base, _) = path.rsplit_once('/').expect("a path of one of several");
    format!("{base}/{}", escaped(name))
}

/// Text as a part of a path or a query.
pub(super) fn escaped(text: &str) -> String {
    let escape = |b: u8| match b {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// What went wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// A sentence for people.
    pub error: String,
    /// A word for programs.
    pub code: Code,
    /// What is wrong in the configuration, in the order of files and lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What to do or to look at next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Why something failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Code {
    /// 400: the request cannot be read.
    BadRequest,
    /// 403: who asks may not.
    Forbidden,
    /// 404: there is no such thing.
    NotFound,
    /// 405: not with this method.
    MethodNotAllowed,
    /// 408: the request did not come in time.
    Timeout,
    /// 409: another change came in between, or one waits to be confirmed.
    Conflict,
    /// 413: the request is too large.
    TooLarge,
    /// 422: the configuration has findings.
    Invalid,
    /// 422: the data plane refused the change.
    Refused,
    /// 422: the change takes a restart of the data plane, and the request did not allow it.
    NeedsRestart,
    /// 429: too many of these at a time.
    TooMany,
    /// 503: draining, or nothing is in force.
    NotReady,
    /// 503: no data plane is connected.
    NoDataplane,
    /// 507: the change could not be written, to the state directory or the audit log.
    Storage,
    /// 500: a fault of the daemon.
    Internal,
}

impl Code {
    /// The status that it comes with.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Timeout => 408,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::Invalid | Self::Refused | Self::NeedsRestart => 422,
            Self::TooMany => 429,
            Self::NotReady | Self::NoDataplane => 503,
            Self::Storage => 507,
            Self::Internal => 500,
        }
    }
}

/// What is wrong in a configuration, and where.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The file.
    pub file: String,
    /// Its line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Its column, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// The path of the field that it is about, if it is about one: `listeners[web].port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong, with the path of the field.
    pub message: String,
}

/// How the daemon is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since when it runs.
    pub started: String,
    /// The node's name.
    pub node: String,
    /// What is in force; `None`: nothing yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionHead>,
    /// A change that goes back by itself unless it is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconfirmed: Option<Unconfirmed>,
    /// Whether [`READYZ`] would say 200.
    pub ready: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready: Option<String>,
    /// Whether the gateway is to drain. `dataplane.drains` says whether it does.
    pub draining: bool,
    /// Why nothing can be changed now, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<String>,
    /// The data plane.
    pub dataplane: DataplaneStatus,
    /// The files that are watched.
    pub files: Vec<String>,
    /// What was wrong with them when they were read last; then the revision above is not what they say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What came of them when they were read last, if it was not put in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_refused: Option<String>,
}

/// How the data plane is.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataplaneStatus {
    /// Whether the link to it stands.
    pub connected: bool,
    /// Whether the daemon starts it, and starts it again.
    pub supervised: bool,
    /// Its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How many workers it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<u32>,
    /// The number of the snapshot that it serves: a million times the revision, and what endpoint changes came since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serves: Option<u64>,
    /// Whether it sends clients elsewhere, by its own word; `None`: that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drains: Option<bool>,
    /// How often it was started again after it had died.
    pub restarts: u64,
    /// Why there is no link, or what was wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// How much is logged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LogLevel {
    /// `error`, `warn`, `info`, `debug`, `trace`, or by module: `info,weirgate_control::daemon=debug`.
    pub filter: String,
}

/// It is done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// Whether anything is different now.
    pub changed: bool,
    /// Noted, but the data plane has not been reached: why. It gets it as soon as it can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_paths_are_escaped() {
        assert_eq!(of(ROUTE, "shop"), "/v1/routes/shop");
        assert_eq!(of(REVISION, "7"), "/v1/revisions/7");
        assert_eq!(of(BACKEND, "a/b c%"), "/v1/backends/a%2Fb%20c%25");
    }
}
