//! How an exchange ended, and what is kept of it.

use crate::{
    drops::named,
    route::{BackendIndex, RuleIndex},
    time::{Duration, Instant},
};
use std::net::{IpAddr, SocketAddr};

named! {
    /// How a request and its answer, or a connection that was passed on, ended. Each ends once.
    Ended {
        /// The answer was handed over whole.
        Complete = "complete",
        /// Answered here, by a rule.
        Answered = "answered",
        /// The request was refused: see `http_refused`.
        Refused = "refused",
        /// A head had begun and did not come in time.
        HeadTimeout = "head_timeout",
        /// No rule takes it.
        NoRoute = "no_route",
        /// The rule has no backend.
        NoBackend = "no_backend",
        /// The request has been here before (RFC 9110 section 7.6.3).
        Loop = "loop",
        /// A rewrite or redirect led to a target that cannot be.
        Target = "target",
        /// The backend has no endpoint that may be chosen.
        NoEndpoint = "no_endpoint",
        /// The endpoint has as many connections as it may have.
        ConnectionsFull = "connections_full",
        /// There was no connection to be had: no route, no source port, or as many as can be.
        ConnectImpossible = "connect_impossible",
        /// The endpoints that were tried refused the connection.
        ConnectFailed = "connect_failed",
        /// The endpoints that were tried did not answer in time.
        ConnectTimeout = "connect_timeout",
        /// The endpoints that were tried made no TLS connection: see `tls_refused`.
        ConnectInsecure = "connect_insecure",
        /// The certificate that the client was shown is not for this host (RFC 9110 section 15.5.20).
        Misdirected = "misdirected",
        /// The client's TLS connection broke.
        ClientInsecure = "client_insecure",
        /// The backend closed or reset before it had answered.
        BackendClosed = "backend_closed",
        /// The backend closed or reset within its answer.
        BackendTruncated = "backend_truncated",
        /// The answer was refused: see `upstream_refused`.
        BackendRefused = "backend_refused",
        /// The client was gone before the answer was.
        ClientGone = "client_gone",
        /// The request took longer than its rule allows.
        RequestTimeout = "request_timeout",
        /// The backend took longer than the rule allows.
        BackendTimeout = "backend_timeout",
        /// Nothing moved for too long.
        StreamIdle = "stream_idle",
        /// The client sent its content too slowly.
        BodySlow = "body_slow",
        /// No frame, or no room for what had to be written.
        NoFrame = "no_frame",
        /// The data plane stopped.
        Stopping = "stopping",
    }
}

/// What is kept of an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// The client.
    pub client: IpAddr,
    /// The listener's number among those of its kind.
    pub listener: u16,
    /// The rule that it took.
    pub rule: Option<RuleIndex>,
    /// The backend that was chosen.
    pub backend: Option<BackendIndex>,
    /// The last endpoint that was tried.
    pub endpoint: Option<SocketAddr>,
    /// The status that the client got; 0: none.
    pub status: u16,
    /// How it ended.
    pub ended: Ended,
    /// Content of the request.
    pub request_bytes: u64,
    /// Content of the answer.
    pub response_bytes: u64,
    /// Endpoints that were tried, and the same one once more.
    pub attempts: u8,
    /// When the request's head was there.
    pub began: Instant,
    /// From there until a connection was there.
    pub connect: Option<Duration>,
    /// Until the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// Until the end.
    pub total: Duration,
}
