//! What goes on in the data plane.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weirgate_dataplane::link::message;

/// How many connections are wanted.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct ConnectionsQuery {
    /// At most so many; without it, 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Connections that are open.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connections {
    /// Some of them.
    pub connections: Vec<Connection>,
    /// How many there are.
    pub total: u64,
}

/// A connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// The worker that has it.
    pub worker: u32,
    /// Our address and port.
    pub local: String,
    /// The peer's.
    pub remote: String,
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

impl From<message::Connection> for Connection {
    fn from(it: message::Connection) -> Self {
        Self {
            worker: it.worker,
            local: it.local.to_string(),
            remote: it.remote.to_string(),
            side: it.side,
            state: it.state,
            busy: it.busy,
            srtt_us: it.srtt_us,
            cwnd: it.cwnd,
            in_flight: it.in_flight,
            age_ms: it.age_ms,
        }
    }
}

/// What has been served.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Meters {
    /// Upper bounds of [`Meter::by_duration`], in microseconds; what is longer goes into one more.
    pub duration_bounds_us: Vec<u64>,
    /// Each listener, route, backend and endpoint that has had an exchange.
    pub meters: Vec<Meter>,
    /// Exchanges that found no room for a meter of their own.
    pub unmetered: u64,
}

/// What exchanges came to. Everything only grows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Meter {
    /// Whose.
    pub of: MeterOf,
    /// By the status that the client got: none, 1xx to 5xx.
    pub by_class: Vec<u64>,
    /// By duration; see `durationBoundsUs`.
    pub by_duration: Vec<u64>,
    /// The sum of durations.
    pub duration_us: u64,
    /// Content of requests.
    pub request_bytes: u64,
    /// Content of answers.
    pub response_bytes: u64,
}

/// Whose exchanges are counted together.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeterOf {
    /// `listener`, `route`, `backend` or `endpoint`.
    pub kind: String,
    /// Its name; an endpoint's is its address and port.
    pub name: String,
    /// An endpoint's backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
}

impl From<message::Of> for MeterOf {
    fn from(it: message::Of) -> Self {
        let of = |kind: &str, name| Self { kind: kind.into(), name, backend: None };
        match it {
            message::Of::Listener { listener } => of("listener", listener),
            message::Of::Route { route } => of("route", route),
            message::Of::Backend { backend } => of("backend", backend),
            message::Of::Endpoint { backend, address } => {
                Self { backend: Some(backend), ..of("endpoint", address.to_string()) }
            }
        }
    }
}

impl From<message::Meter> for Meter {
    fn from(it: message::Meter) -> Self {
        Self {
            of: it.of.into(),
            by_class: it.by_class.to_vec(),
            by_duration: it.by_duration.to_vec(),
            duration_us: it.duration_us,
            request_bytes: it.request_bytes,
            response_bytes: it.response_bytes,
        }
    }
}

/// The data plane's counters, one column for each worker and port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// The node's name.
    pub name: String,
    /// The data plane's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Whether it runs; else these are its last values.
    pub alive: bool,
    /// One for each worker and port.
    pub columns: Vec<CounterColumn>,
}

/// The counters of one worker or port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CounterColumn {
    /// `worker` or `port`.
    pub scope: String,
    /// Which one.
    pub name: String,
    /// In the data plane's order.
    pub values: Vec<Counter>,
}

/// One counter or gauge.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counter {
    /// Its name.
    pub name: String,
    /// `counter`, `drop`, `end` or `gauge`.
    pub kind: String,
    /// What it is now.
    pub value: u64,
    /// What it means.
    pub help: String,
}

/// Which exchanges are told.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct TapQuery {
    /// Of this route only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// To this backend only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// With at least this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_min: Option<u16>,
    /// With this method only, in any case of its letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// To this host only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// With a path that begins so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// At most so many in a second; others are counted. Without it, 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<u32>,
}

/// A line of the stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum TapLine {
    /// An exchange has ended.
    Exchange(Box<Exchange>),
    /// Exchanges that were wanted, and found no room or were too many, since the last of these.
    Missed {
        /// How many.
        count: u64,
    },
    /// The stream ends.
    End {
        /// Why.
        reason: String,
    },
}

/// An exchange that has ended. Paths come without their query, and segments that look like secrets are redacted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exchange {
    /// When.
    pub at: String,
    /// The client.
    pub client: String,
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
    pub endpoint: Option<String>,
    /// The request's method.
    pub method: String,
    /// Its host.
    pub host: String,
    /// Its path.
    pub path: String,
    /// What the client got; 0: nothing.
    pub status: u16,
    /// How it ended.
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
    /// Until its end, in microseconds.
    pub total_us: u64,
}

/// Which frames are captured: those that fit everything that is said.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct CaptureRequest {
    /// Through this port only, or (`NAME.ID`) through this VLAN of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Which way.
    pub direction: CaptureDirection,
    /// From or to this address, or about it (ARP).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// From or to this port of TCP or UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Of this protocol only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<CaptureProtocol>,
    /// Keep so many bytes of each frame; without it, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snap_len: Option<u16>,
    /// End after so many frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// End after so many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

/// Which way captured frames go.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "camelCase")]
pub enum CaptureDirection {
    /// They come in.
    In,
    /// They go out.
    Out,
    /// Either.
    #[default]
    Both,
}

/// What captured frames carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "camelCase")]
pub enum CaptureProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP or ICMPv6, neighbour discovery with it.
    Icmp,
    /// ARP.
    Arp,
}
