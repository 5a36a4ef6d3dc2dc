//! What both legs of a request must know of each other.

use super::{listeners::Edition, meters::RouteKey, record::Ended, upstreams::At};
use crate::{
    http::{
        Version,
        h1::{Asked, Body, write::Content},
    },
    route::RuleIndex,
    time::{Duration, Instant},
};

/// A request and its answer, or a connection that is passed on.
pub(super) struct Exchange {
    pub(super) client: u32,
    pub(super) upstream: Option<u32>,
    /// Where it counts as a request that is under way.
    pub(super) at: Option<At>,
    /// The last endpoint that was chosen.
    pub(super) last: Option<At>,
    /// Its bytes were never HTTP.
    pub(super) is_raw: bool,
    /// Its bytes are not HTTP, or no longer.
    pub(super) is_tunnel: bool,
    /// How its listener spoke when it began.
    pub(super) edition: Edition,
    /// For how long nothing may move.
    pub(super) idle: Duration,
    pub(super) rule: Option<RuleIndex>,
    pub(super) route: RouteKey,
    pub(super) hash: Option<u64>,
    pub(super) attempts: u8,
    /// On a connection that was kept.
    pub(super) reused: bool,

    // The request.
    pub(super) version: Version,
    pub(super) asked: Asked,
    pub(super) content: Option<Content>,
    /// It may be sent once more (RFC 9110 section 9.2.2).
    pub(super) idempotent: bool,
    pub(super) body: Body,
    /// The client waits for a 100.
    pub(super) awaits_continue: bool,
    pub(super) accepts_trailers: bool,
    /// Those of the request do not go on.
    pub(super) ends_trailers: bool,
    /// Content goes nowhere.
    pub(super) discards: bool,
    /// Something of its content has gone on.
    pub(super) body_sent: bool,
    pub(super) request_done: bool,
    pub(super) request_bytes: u64,

    // The answer.
    /// A byte of it has come.
    pub(super) answered: bool,
    /// Its head was handed to the client.
    pub(super) begun: bool,
    /// It ends with the connection, so that nothing but a reset tells that it is cut short.
    pub(super) until_close: bool,
    pub(super) response_done: bool,
    pub(super) status: u16,
    pub(super) response_bytes: u64,
    /// The client's connection takes another request after this one.
    pub(super) persists: bool,
    pub(super) ended: Ended,

    // Time.
    pub(super) began: Instant,
    pub(super) connected_at: Option<Instant>,
    pub(super) first_byte_at: Option<Instant>,
    pub(super) request_at: Instant,
    pub(super) backend_at: Instant,
    pub(super) connect_at: Instant,
    pub(super) body_at: Instant,
    pub(super) moved_at: Instant,
}

impl Exchange {
    #[inline]
    pub(super) fn new(now: Instant, client: usize, edition: Edition, idle: Duration) -> Self {
        Self {
            client: client as u32,
            upstream: None,
            at: None,
            last: None,
            is_raw: false,
            is_tunnel: false,
            edition,
            idle,
            rule: None,
            route: RouteKey::NONE,
            hash: None,
            attempts: 0,
            reused: false,
            version: Version::Http11,
            asked: Asked::Content,
            content: None,
            idempotent: false,
            body: Body::None,
            awaits_continue: false,
            accepts_trailers: false,
            ends_trailers: false,
            discards: false,
            body_sent: false,
            request_done: false,
            request_bytes: 0,
            answered: false,
            begun: false,
            until_close: false,
            response_done: false,
            status: 0,
            response_bytes: 0,
            persists: true,
            ended: Ended::Complete,
            began: now,
            connected_at: None,
            first_byte_at: None,
            request_at: Instant::NEVER,
            backend_at: Instant::NEVER,
            connect_at: Instant::NEVER,
            body_at: Instant::NEVER,
            moved_at: now,
        }
    }
}
