//! What is served and where it goes: listeners, their routes, and backends. Times are milliseconds.

use super::{BackendTls, Cidr, ListenerTls, cidrs};
use crate::{
    filters::Filters,
    http::{
        h1::Limits,
        normalize::{self, EscapedSlashes, Underscores},
    },
    limits::{
        BACKENDS_MAX, ENDPOINT_WEIGHT_MAX, ENDPOINTS_MAX, HEALTH_PATH_MAX, HOSTNAME_MAX, HTTP_FIELDS, HTTP_FIELDS_MAX,
        HTTP_HEAD_BYTES_MAX, HTTP_REQUEST_LINE,
    },
    proxy_protocol::Accept,
    route::{self, Backend as Share, BackendIndex, Rules},
    time::Duration,
    upstream::{
        balance::{Policy, PolicyKind},
        pool::PoolOptions,
    },
};
use rustls::pki_types::DnsName;
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

/// A listener that speaks HTTP.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HttpListener {
    /// Unique among all listeners.
    pub name: String,
    /// One of our addresses; `None`: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// Whether its peers are proxies that say who the client is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// TLS, if it speaks that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// How it speaks.
    #[serde(default)]
    pub options: HttpOptions,
    /// Where requests go.
    #[serde(default)]
    pub rules: Rules,
}

/// A listener whose bytes are passed on as they are.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TcpListener {
    /// Unique among all listeners.
    pub name: String,
    /// One of our addresses; `None`: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// Whether its peers are proxies that say who the client is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// TLS, if it speaks that: it is terminated here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// A connection over which nothing goes for so long ends.
    #[serde(default = "stream_idle")]
    pub idle_ms: u64,
    /// TLS that is not terminated here goes where the client's name for the server (SNI) says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NameRoute>,
    /// Where connections go, each by its weight; with `names`, those of no name or an unknown one.
    #[serde(default)]
    pub backends: Vec<Share>,
}

/// Where connections go that ask for one of these names.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NameRoute {
    /// DNS names, or `*.` and a domain: any number of labels before it. The longest one counts.
    pub hostnames: Vec<String>,
    /// Where they go, each by its weight.
    pub backends: Vec<Share>,
}

/// The PROXY protocol on a listener. Connections of others than those who are trusted are closed: they could not be told from their own words.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ProxyProtocol {
    /// Versions that are taken.
    pub accept: Accept,
    /// Who may send it.
    #[serde(with = "cidrs")]
    pub trusted: Vec<Cidr>,
}

/// How a listener speaks HTTP.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct HttpOptions {
    /// See [`normalize::Options`].
    pub normalize_path: bool,
    /// See [`normalize::Options`].
    pub merge_slashes: bool,
    /// See [`normalize::Options`].
    pub escaped_slashes: EscapedSlashes,
    /// See [`normalize::Options`].
    pub underscores: Underscores,
    /// Bytes of a request line.
    pub request_line_bytes: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Fields of a request's head.
    pub fields: usize,
    /// Our name in `Via` and `Server`; empty: neither is written.
    pub name: String,
    /// Whether `X-Forwarded-For`, `-Proto` and `-Host` are added.
    pub x_forwarded: bool,
    /// Whether `Forwarded` (RFC 7239) is added.
    pub forwarded: bool,
    /// Who is believed when it says who was before it.
    #[serde(with = "cidrs")]
    pub trusted: Vec<Cidr>,
    /// Whether `Expect: 100-continue` is passed on, rather than answered here once the backend is there.
    pub forward_expect: bool,
    /// How long things may take.
    pub timeouts: HttpTimeouts,
}

impl Default for HttpOptions {
    fn default() -> Self {
        let normalize::Options { normalize_path, merge_slashes, escaped_slashes, underscores } =
            normalize::Options::default();
        Self {
            normalize_path,
            merge_slashes,
            escaped_slashes,
            underscores,
            request_line_bytes: HTTP_REQUEST_LINE,
            head_bytes: HTTP_HEAD_BYTES_MAX,
            fields: HTTP_FIELDS,
            name: "weirgate".into(),
            x_forwarded: true,
            forwarded: false,
            trusted: Vec::new(),
            forward_expect: false,
            timeouts: HttpTimeouts::default(),
        }
    }
}

impl HttpOptions {
    /// What a request's head may take.
    pub fn limits(&self) -> Limits {
        Limits::new(self.request_line_bytes, self.head_bytes, self.fields)
    }
    /// What becomes of paths.
    pub fn normalize(&self) -> normalize::Options {
        let Self { normalize_path, merge_slashes, escaped_slashes, underscores, .. } = *self;
        normalize::Options { normalize_path, merge_slashes, escaped_slashes, underscores }
    }
}

/// How long a client may take, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct HttpTimeouts {
    /// From a head's first byte to its last; of a new connection, from its beginning.
    pub request_headers_ms: u64,
    /// For each 16 KiB of a request's content: whoever sends more slowly is cut off.
    pub request_body_ms: u64,
    /// In which nothing moves between client and backend.
    pub stream_idle_ms: u64,
    /// Between requests.
    pub connection_idle_ms: u64,
    /// A connection takes no further requests from this age on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_age_ms: Option<u64>,
}

impl Default for HttpTimeouts {
    fn default() -> Self {
        Self {
            request_headers_ms: 10_000,
            request_body_ms: 30_000,
            stream_idle_ms: stream_idle(),
            connection_idle_ms: 60_000,
            connection_age_ms: None,
        }
    }
}

fn stream_idle() -> u64 {
    300_000
}

/// A group of endpoints that do the same.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Backend {
    /// Unique among backends.
    pub name: String,
    /// Where it runs.
    pub endpoints: Vec<Endpoint>,
    /// Which endpoint takes a request.
    #[serde(default = "round_robin")]
    pub load_balancing: PolicyKind,
    /// What is hashed, for the policies that hash.
    #[serde(default)]
    pub hash_on: HashOn,
    /// With fewer healthy endpoints than this part in a hundred, health is ignored.
    #[serde(default = "panic_threshold")]
    pub panic_threshold: u8,
    /// How long a connection may take to open.
    #[serde(default = "connect")]
    pub connect_ms: u64,
    /// Which connections are kept for the next request.
    #[serde(default)]
    pub pool: PoolConfig,
    /// Whether its connections begin with a PROXY header that says who the client is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyVersion>,
    /// How its endpoints are asked whether they are well. One that fails any of them gets no requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health_checks: Vec<HealthCheck>,
    /// TLS to its endpoints, if they speak that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<BackendTls>,
}

/// How an endpoint is asked whether it is well, from the data plane's own addresses.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// From the end of one probe to the beginning of the next, in milliseconds; up to a tenth of it less, by chance.
    pub interval_ms: u64,
    /// For a probe, from its beginning to its answer.
    pub timeout_ms: u64,
    /// So many good answers in a row make it healthy.
    pub healthy: u32,
    /// So many bad ones make it unhealthy.
    pub unhealthy: u32,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Probe {
    /// Whether a connection can be opened.
    Tcp,
    /// A GET, whose answer must have one of these statuses.
    Http {
        /// What is asked for.
        path: String,
        /// The `Host` field; without it, the endpoint's address and port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// Statuses of the well.
        expect: Vec<u16>,
    },
}

/// One server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its part of the sum of weights.
    #[serde(default = "one")]
    pub weight: u32,
}

/// What tells one client from another.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HashOn {
    /// Its address.
    #[default]
    Source,
    /// The value of a header field, in lower case; its address where there is none.
    Header(String),
    /// A cookie; its address where there is none.
    Cookie(String),
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProxyVersion {
    /// A line.
    V1,
    /// Binary.
    V2,
}

/// As [`PoolOptions`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct PoolConfig {
    /// Connections of one worker to one endpoint.
    pub connections_max: u32,
    /// An idle one is closed after this time.
    pub idle_ms: u64,
    /// None is used beyond this age.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// Nor for more requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_max: Option<u32>,
}

impl Default for PoolConfig {
    fn default() -> Self {
        let PoolOptions { connections_max, idle_timeout, .. } = PoolOptions::default();
        Self { connections_max, idle_ms: idle_timeout.as_us() / 1_000, age_ms: None, requests_max: None }
    }
}

impl PoolConfig {
    /// For [`Pool`](crate::upstream::pool::Pool).
    pub fn options(&self) -> PoolOptions {
        PoolOptions {
            connections_max: self.connections_max,
            idle_timeout: Duration::from_ms(self.idle_ms),
            age_max: self.age_ms.map(Duration::from_ms),
            requests_max: self.requests_max,
        }
    }
}

fn round_robin() -> PolicyKind {
    PolicyKind::RoundRobin
}
fn panic_threshold() -> u8 {
    50
}
fn connect() -> u64 {
    5_000
}
fn one() -> u32 {
    1
}

impl Backend {
    /// A backend of these endpoints, everything else by default.
    pub fn new(name: &str, endpoints: &[SocketAddr]) -> Self {
        let endpoints = endpoints.iter().map(|&address| Endpoint { address, weight: 1 }).collect();
        Self {
            name: name.into(),
            endpoints,
            load_balancing: round_robin(),
            hash_on: HashOn::default(),
            panic_threshold: panic_threshold(),
            connect_ms: connect(),
            pool: PoolConfig::default(),
            proxy_protocol: None,
            health_checks: Vec::new(),
            tls: None,
        }
    }

    /// Everything that can be checked of it alone; the error names it.
    pub fn check(&self) -> Result<(), String> {
        let Self { name, endpoints, .. } = self;
        if endpoints.len() > ENDPOINTS_MAX {
            return Err(format!("backend {name:?}: {} endpoints; there may be {ENDPOINTS_MAX}", endpoints.len()));
        }
        if let Some(one) = endpoints.iter().find(|one| one.weight > ENDPOINT_WEIGHT_MAX) {
            return Err(format!("backend {name:?}: endpoint {}: a weight above {ENDPOINT_WEIGHT_MAX}", one.address));
        }
        if let Some(one) = endpoints.iter().find(|one| one.address.port() == 0) {
            return Err(format!("backend {name:?}: endpoint {}: port 0 is no port", one.address));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = endpoints.iter().find(|one| !seen.insert(one.address)) {
            return Err(format!("backend {name:?}: endpoint {} stands there twice", twice.address));
        }
        if self.panic_threshold > 100
            || self.connect_ms == 0
            || self.pool.connections_max == 0
            || self.pool.idle_ms == 0
        {
            return Err(format!("backend {name:?}: panicThreshold is 0 to 100, connect, connections and idle above 0"));
        }
        self.health_checks.iter().try_for_each(HealthCheck::check).map_err(|e| format!("backend {name:?}: {e}"))?;
        Policy::new(self.load_balancing).map(|_| ()).map_err(|e| format!("backend {name:?}: {e}"))
    }
}

impl HealthCheck {
    fn check(&self) -> Result<(), String> {
        if [self.interval_ms, self.timeout_ms].contains(&0) || [self.healthy, self.unhealthy].contains(&0) {
            return Err("a health check: interval, timeout, healthy and unhealthy are above 0".into());
        }
        let Probe::Http { path, host, expect } = &self.probe else { return Ok(()) };
        let is_plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        if !path.starts_with('/') || !is_plain(path) || path.len() > HEALTH_PATH_MAX {
            return Err(format!("a health check: {path:?} is not a path of at most {HEALTH_PATH_MAX} bytes"));
        }
        if let Some(host) = host
            && (host.is_empty() || !is_plain(host) || host.len() > HOSTNAME_MAX + 6)
        {
            return Err(format!("a health check: {host:?} is not a host"));
        }
        if expect.is_empty() || expect.iter().any(|status| !(200..600).contains(status)) {
            return Err("a health check: it expects one or more statuses from 200 to 599".into());
        }
        Ok(())
    }
}

impl NameRoute {
    fn check(&self, backends: &BackendNames<'_>) -> Result<(), String> {
        if self.hostnames.is_empty() || self.backends.iter().all(|share| share.weight == 0) {
            return Err("a route by name without a name, or without a backend with a weight".into());
        }
        let is_name = |name: &str| DnsName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_ok();
        if let Some(name) = self.hostnames.iter().find(|name| !is_name(name)) {
            return Err(format!("{name:?} is neither a DNS name nor `*.` and a domain"));
        }
        check_shares(&self.backends, backends)
    }
}

impl HttpListener {
    /// A listener at every address, everything else by default.
    pub fn new(name: &str, port: u16, rules: Rules) -> Self {
        let options = HttpOptions::default();
        Self { name: name.into(), address: None, port, proxy_protocol: None, tls: None, options, rules }
    }

    /// Everything that can be checked without the other listeners; the error names it.
    pub fn check(&self, backends: &BackendNames<'_>) -> Result<(), String> {
        self.check_options()?;
        let fault = |e: String| format!("listener {:?}: {e}", self.name);
        route::compile(self.rules.clone(), &|name| backends.number(name))
            .map_err(|faults| fault(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
        for route in &self.rules.routes {
            for (n, rule) in route.rules.iter().enumerate() {
                let at = |e: String| fault(format!("route {:?}, rule {n}: {e}", route.name));
                let filters = Filters::compile(&rule.filters).map_err(|e| at(e.to_string()))?;
                if filters.answer.is_some() && !rule.backends.is_empty() {
                    return Err(at("answers by itself and has backends".into()));
                }
            }
        }
        Ok(())
    }

    /// The same without its rules, which may be many and are checked by whoever compiles them.
    pub(crate) fn check_options(&self) -> Result<(), String> {
        let fault = |e: String| format!("listener {:?}: {e}", self.name);
        let HttpOptions { request_line_bytes, head_bytes, fields, timeouts, name, .. } = &self.options;
        if *head_bytes > HTTP_HEAD_BYTES_MAX || *fields > HTTP_FIELDS_MAX || request_line_bytes > head_bytes {
            let max = format!("{HTTP_HEAD_BYTES_MAX} bytes and {HTTP_FIELDS_MAX} fields");
            return Err(fault(format!("a head may have {max}, and its first line no more than the whole")));
        }
        let HttpTimeouts { request_headers_ms, request_body_ms, stream_idle_ms, connection_idle_ms, .. } = timeouts;
        if [request_headers_ms, request_body_ms, stream_idle_ms, connection_idle_ms].contains(&&0) {
            return Err(fault("a timeout of 0 ms leaves no time for anything".into()));
        }
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
            return Err(fault(format!("the name {name:?} is not of letters, digits, hyphens and dots")));
        }
        Ok(())
    }
}

/// Backends by name.
pub struct BackendNames<'a>(HashMap<&'a str, BackendIndex>);

impl<'a> BackendNames<'a> {
    /// Those of a list, numbered in its order.
    pub fn of(backends: &'a [Backend]) -> Self {
        Self(backends.iter().map(|backend| backend.name.as_str()).zip((0..).map(BackendIndex)).collect())
    }
    /// A backend's place in the list.
    pub fn number(&self, name: &str) -> Option<BackendIndex> {
        self.0.get(name).copied()
    }
}

fn check_shares(shares: &[Share], backends: &BackendNames<'_>) -> Result<(), String> {
    match shares.iter().find(|share| backends.number(&share.backend).is_none()) {
        Some(share) => Err(format!("there is no backend {:?}", share.backend)),
        None => Ok(()),
    }
}

/// Checks all of it.
pub(super) fn check(http: &[HttpListener], tcp: &[TcpListener], backends: &[Backend]) -> Result<(), String> {
    check_frame(tcp, backends)?;
    let names = BackendNames::of(backends);
    backends.iter().try_for_each(Backend::check)?;
    http.iter().try_for_each(|listener| listener.check(&names))
}

/// What is left beside each listener's and each backend's own.
pub(super) fn check_frame(tcp: &[TcpListener], backends: &[Backend]) -> Result<(), String> {
    if backends.len() > BACKENDS_MAX {
        return Err(format!("{} backends; there may be {BACKENDS_MAX}", backends.len()));
    }
    let names = BackendNames::of(backends);
    for (backend, n) in backends.iter().zip((0..).map(BackendIndex)) {
        if names.number(&backend.name) != Some(n) {
            return Err(format!("two backends are named {:?}", backend.name));
        }
    }
    for listener in tcp {
        let fault = |e: String| format!("listener {:?}: {e}", listener.name);
        let has_none = |shares: &[Share]| shares.iter().all(|share| share.weight == 0);
        let needs = listener.names.is_empty() || !listener.backends.is_empty();
        if listener.idle_ms == 0 || needs && has_none(&listener.backends) {
            return Err(fault("no idle time, or no backend with a weight".into()));
        }
        if listener.tls.is_some() && !listener.names.is_empty() {
            return Err(fault("TLS is terminated there, or passed on by name, but not both".into()));
        }
        check_shares(&listener.backends, &names).map_err(fault)?;
        listener.names.iter().try_for_each(|it| it.check(&names)).map_err(fault)?;
        let mut seen = HashSet::new();
        let all = listener.names.iter().flat_map(|it| &it.hostnames);
        if let Some(twice) = { all }.find(|it| !seen.insert(it.to_ascii_lowercase())) {
            return Err(fault(format!("two routes are for {twice:?}")));
        }
    }
    Ok(())
}
