//! What is said over the link.

use super::capture::{CaptureFilter, CapturedFrame};
use crate::snapshot::{Delta, Snapshot};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// The version of what is said here. A peer of another version is refused.
pub const PROTOCOL: u32 = 2;

/// A question with its number.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Question {
    /// Repeated by the answer.
    pub id: u64,
    /// What is asked for.
    pub ask: Ask,
}

/// What the daemon wants.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Ask {
    /// The first question. [`Answer::Welcome`].
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// Who asks, for the log.
        client: String,
    },
    /// From now on this is what is served. [`Answer::Applied`] when all workers have it, or [`Answer::Refused`].
    Replace {
        /// The `dataplane` block must be as it is.
        snapshot: Box<Snapshot>,
    },
    /// The same, as a difference.
    Change {
        /// From the revision that is served.
        delta: Box<Delta>,
    },
    /// What is served. [`Answer::Snapshot`].
    Snapshot,
    /// [`Answer::Meters`].
    Meters,
    /// [`Answer::Endpoints`].
    Endpoints,
    /// [`Answer::Connections`].
    Connections {
        /// At most so many.
        limit: u32,
    },
    /// Answers say that connections end behind them, so that clients go elsewhere; or no longer. [`Answer::Done`].
    Drain {
        /// Whether.
        drains: bool,
    },
    /// [`Event::Health`] from now on. [`Answer::Done`].
    WatchHealth,
    /// [`Event::Exchange`] for each exchange that ends, as far as they are wanted. [`Answer::Done`].
    Tap {
        /// Which.
        filter: TapFilter,
    },
    /// No more of them. [`Answer::Done`].
    Untap,
    /// [`Event::Frame`] for each frame that passes, as far as they are wanted, until [`Event::CaptureEnd`]. [`Answer::Capturing`].
    Capture {
        /// Which.
        filter: Box<CaptureFilter>,
    },
    /// No more of them. [`Answer::Done`].
    EndCapture,
}

/// Which exchanges are told.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct TapFilter {
    /// Of this route only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// To this backend only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// With at least this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_min: Option<u16>,
    /// With this method only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// To this host only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// With a path that begins so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// At most so many in a second; others are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<u32>,
}

/// What comes from the data plane.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum Said {
    /// To a question.
    Answer {
        /// The question's number.
        id: u64,
        /// What is answered.
        answer: Answer,
    },
    /// By itself.
    Event(Event),
}

/// What a question gets.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Answer {
    /// To Hello.
    Welcome(Welcome),
    /// It is in force in every worker.
    Applied {
        /// Which.
        revision: u64,
        /// From the question's arrival, in microseconds.
        took_us: u64,
    },
    /// Nothing has changed.
    Refused(Refusal),
    /// What is served.
    Snapshot {
        /// It.
        snapshot: Box<Snapshot>,
    },
    /// What has been served.
    Meters {
        /// Each listener, route, backend and endpoint that has had an exchange.
        meters: Vec<Meter>,
        /// Exchanges that found no room for a meter of their own.
        unmetered: u64,
    },
    /// All endpoints.
    Endpoints {
        /// In the snapshot's order.
        endpoints: Vec<EndpointState>,
    },
    /// Connections that are open.
    Connections {
        /// Some of them.
        connections: Vec<Connection>,
        /// How many there are.
        total: u64,
    },
    /// Frames are copied from now on.
    Capturing {
        /// The ports' names, in the order of their numbers.
        interfaces: Vec<String>,
    },
    /// It is done.
    Done,
}

/// Why something is refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", rename_all_fields = "camelCase", tag = "why")]
pub enum Refusal {
    /// The peer speaks another version.
    Protocol {
        /// What is spoken here.
        speaks: u32,
    },
    /// Hello comes first.
    Stranger,
    /// A delta for another revision than this, which is the one that is served.
    Revision {
        /// The one.
        serves: u64,
    },
    /// The `dataplane` block differs: that takes a restart.
    Restart,
    /// The snapshot is not sound, or cannot be served.
    Unsound {
        /// A sentence.
        reason: String,
    },
    /// A worker has not answered in time. What was asked for is not undone: it will be done when the worker is back.
    Stuck {
        /// Which worker.
        worker: u32,
        /// The snapshot that is, or will be, served.
        serves: u64,
    },
    /// There are as many streams of this kind as there may be.
    TooMany {
        /// `taps` or `captures`.
        of: String,
        /// How many there may be.
        most: u32,
    },
    /// A message that cannot be read.
    Unreadable {
        /// A sentence.
        reason: String,
    },
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Protocol { speaks } => write!(f, "the data plane speaks version {speaks} of the link"),
            Self::Stranger => f.write_str("the first question must be hello"),
            Self::Revision { serves } => write!(f, "the data plane serves revision {serves}"),
            Self::Restart => f.write_str("the dataplane block differs, which takes a restart of the data plane"),
            Self::Stuck { worker, serves } => {
                write!(f, "worker {worker} has not answered; revision {serves} is served when it is back")
            }
            Self::TooMany { of, most } => write!(f, "there are {most} {of} already, which is as many as there may be"),
            Self::Unsound { reason } | Self::Unreadable { reason } => f.write_str(reason),
        }
    }
}

/// Who answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Welcome {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The data plane's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The node's name.
    pub name: String,
    /// What is served.
    pub revision: u64,
    /// How many workers there are.
    pub workers: u32,
}

/// Whose exchanges are counted together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum Of {
    /// Of a listener.
    Listener {
        /// Its name.
        listener: String,
    },
    /// Of a route.
    Route {
        /// Its name.
        route: String,
    },
    /// Of a backend.
    Backend {
        /// Its name.
        backend: String,
    },
    /// Of an endpoint.
    Endpoint {
        /// Its backend's name.
        backend: String,
        /// Where it listens.
        address: SocketAddr,
    },
}

/// Upper bounds of the durations that are counted together, in microseconds; what is longer goes into one more.
pub const DURATION_BOUNDS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// What exchanges came to. Everything only grows, while its subject is configured.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Meter {
    /// Whose.
    pub of: Of,
    /// By the status that the client got: none, 1xx to 5xx.
    pub by_class: [u64; 6],
    /// By duration; see [`DURATION_BOUNDS_US`].
    pub by_duration: [u64; DURATION_BOUNDS_US.len() + 1],
    /// The sum of durations.
    pub duration_us: u64,
    /// Content of requests.
    pub request_bytes: u64,
    /// Content of answers.
    pub response_bytes: u64,
}

/// An endpoint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EndpointState {
    /// Its backend's name.
    pub backend: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its weight.
    pub weight: u32,
    /// Whether it gets requests.
    pub healthy: bool,
    /// Why it does not, or what was found last: a word of [`Event::Health`].
    pub health: String,
    /// Requests that it has now.
    pub active: u64,
    /// Connections to it, kept ones included.
    pub connections: u64,
}

/// A connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Connection {
    /// The worker that has it.
    pub worker: u32,
    /// Ours.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// `client` or `upstream`.
    pub side: String,
    /// RFC 9293's word.
    pub state: String,
    /// Whether an exchange is under way on it.
    pub busy: bool,
    /// The smoothed round trip, in microseconds; 0: not measured yet.
    pub srtt_us: u64,
    /// The congestion window, in bytes.
    pub cwnd: u64,
    /// Bytes sent and not acknowledged.
    pub in_flight: u64,
    /// Since when, in milliseconds.
    pub age_ms: u64,
}

/// What is told unasked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// An endpoint has become well, or is no longer.
    Health {
        /// Its backend's name.
        backend: String,
        /// Where it listens.
        address: SocketAddr,
        /// Whether it gets requests from now on.
        healthy: bool,
        /// What its last probe found.
        reason: String,
    },
    /// An exchange has ended.
    Exchange(Box<ExchangeRecord>),
    /// Exchanges that were wanted, and found no room or were too many, since the last of these.
    Missed {
        /// How many.
        count: u64,
    },
    /// A frame has passed.
    Frame(Box<CapturedFrame>),
    /// No more of them come: there were as many as were asked for, or it took as long.
    CaptureEnd {
        /// Frames that were wanted and found no room, since the last one.
        lost: u64,
    },
}

/// An exchange that has ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExchangeRecord {
    /// When, in microseconds of 1970.
    pub at_us: u64,
    /// The client.
    pub client: IpAddr,
    /// The listener's name.
    pub listener: String,
    /// The route's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The rule's name, or its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The backend's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The last endpoint that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<SocketAddr>,
    /// The request's method, as far as it was kept.
    pub method: String,
    /// Its host.
    pub host: String,
    /// Its path, without the query, which may hold secrets.
    pub path: String,
    /// What the client got; 0: nothing.
    pub status: u16,
    /// How it ended: a word of the counters `http_end.*`.
    pub ended: String,
    /// Content of the request.
    pub request_bytes: u64,
    /// Content of the answer.
    pub response_bytes: u64,
    /// Endpoints that were tried.
    pub attempts: u8,
    /// Until the answer's first byte, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_us: Option<u64>,
    /// Until its end.
    pub total_us: u64,
}
