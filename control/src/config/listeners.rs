//! `listeners`: where connections come in, and how we speak there.

use super::{
    Declared, Finding, Lost, Place,
    findings::{At, Findings},
    names, place_of,
    raw::{RawHttp, RawListener, RawProxyProtocol, RawTimeouts, ServiceName},
    read::{Read, Spanned},
    secrets::Secrets,
    tls::{self, Secured},
};
use std::{collections::BTreeMap, net::IpAddr};
use weirgate_dataplane::{
    http::normalize::{EscapedSlashes, Underscores},
    proxy_protocol::Accept,
    route::Rules,
    services::{Service, ServiceListener},
    snapshot::{BackendNames, HttpListener, HttpOptions, HttpTimeouts, ListenerTls, ProxyProtocol, TcpListener},
};

/// All listeners, those of wrong ones too, so that routes can name them.
#[derive(Default)]
pub(super) struct Listeners<'a> {
    pub(super) services: Vec<ServiceListener>,
    pub(super) http: Vec<HttpListener>,
    pub(super) tcp: Vec<TcpListener>,
    /// Names in their order, with the files, paths and places.
    pub(super) places: Vec<(&'a str, &'a str, &'a str, Place)>,
    kinds: BTreeMap<&'a str, Kind>,
    lost: Option<&'a Lost>,
}

/// What a listener is to a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Its place in the list of those.
    Http(usize),
    /// Its place in the list of those.
    Tcp(usize),
    /// TLS goes on as it is, by its name; its place among those of TCP.
    PassesThrough(usize),
    /// It serves by itself.
    Service,
    /// It is refused for itself; nothing more is to be said about it.
    Refused,
}

impl Listeners<'_> {
    /// The one with this name, or what is wrong with the name.
    pub(super) fn find(&self, name: &str) -> Result<Kind, String> {
        let missing = || format!("there is no listener {name:?}{}", names::hint(name, self.kinds.keys().copied()));
        let lost = || self.lost.is_some_and(|lost| lost.may_be(RawListener::TABLE, name)).then_some(Kind::Refused);
        self.kinds.get(name).copied().or_else(lost).ok_or_else(missing)
    }
    /// Where a listener stands.
    pub(super) fn at(&self, name: &str) -> (&str, At) {
        let found = self.places.iter().find(|(other, ..)| *other == name);
        found.map_or(("", At::new("listeners", None)), |&(_, file, path, place)| (file, At::new(path, place)))
    }
}

/// Compiles all that are declared.
pub(super) fn compile<'a>(
    declared: &'a [Declared<'a, RawListener>],
    secrets: &Secrets<'_>,
    lost: &'a Lost,
    found: &mut Vec<Finding>,
) -> Listeners<'a> {
    let mut listeners = Listeners { lost: Some(lost), ..Listeners::default() };
    for Declared { file, path, raw: listener, .. } in declared {
        let findings = &mut Findings { file, found };
        let (raw, place) = (&listener.value, place_of(listener));
        let name = raw.name.value.as_str();
        let at = At::new(path, place);
        if listeners.kinds.contains_key(name) {
            findings.say(&at.said("name", &raw.name), format!("another listener is named {name:?}"));
            continue;
        }
        let kind = listeners.add(raw, secrets, &at, findings).unwrap_or(Kind::Refused);
        listeners.kinds.insert(name, kind);
        listeners.places.push((name, file, path, place));
    }
    listeners
}

/// What is spoken on a listener.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// Bytes.
    Tcp,
    /// Bytes over TLS.
    Tls,
}

impl Protocol {
    fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
    /// Whether it is over TLS.
    pub(super) fn is_secure(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }
}

impl Listeners<'_> {
    fn add(&mut self, raw: &RawListener, secrets: &Secrets<'_>, at: &At, findings: &mut Findings<'_>) -> Option<Kind> {
        let works =
            [("HTTP", Protocol::Http), ("TCP", Protocol::Tcp), ("HTTPS", Protocol::Https), ("TLS", Protocol::Tls)];
        let protocol = findings.choose(&at.said("protocol", &raw.protocol), &raw.protocol.value, &works, &["UDP"]);
        let address = raw.address.as_ref().and_then(|said| {
            let parsed = said.value.parse().map_err(|_| format!("{:?} is not an address", &*said.value));
            findings.keep(&at.said("address", said), parsed)
        });
        if raw.port == 0 {
            findings.say(&at.field("port"), "port 0 is no port");
        }
        let protocol = protocol?;
        refuse_others(raw, protocol, at, findings);
        let secured = tls::of_listener(raw, protocol, secrets, at, findings)?;
        let tls = match secured {
            Secured::PassesThrough => {
                self.tcp.push(tcp_of(raw, address, None, at, findings));
                return Some(Kind::PassesThrough(self.tcp.len() - 1));
            }
            Secured::Terminates(tls) => Some(tls),
            Secured::Plain => None,
        };
        match (protocol, &raw.service) {
            (Protocol::Http | Protocol::Https, _) => {
                self.http.push(http_of(raw, address, tls, at, findings));
                Some(Kind::Http(self.http.len() - 1))
            }
            (Protocol::Tcp, Some(service)) => {
                let service = service_of(service, at, findings)?;
                self.services.push(ServiceListener { name: raw.name.value.clone(), address, port: raw.port, service });
                Some(Kind::Service)
            }
            (Protocol::Tcp | Protocol::Tls, _) => {
                self.tcp.push(tcp_of(raw, address, tls, at, findings));
                Some(Kind::Tcp(self.tcp.len() - 1))
            }
        }
    }
}

/// Fields of the other kinds of listener.
fn refuse_others(raw: &RawListener, protocol: Protocol, at: &At, findings: &mut Findings<'_>) {
    let (http, secure) = (protocol.is_http(), protocol.is_secure());
    let service = raw.service.is_some() && !secure;
    let no_tls = "for HTTPS and TLS listeners";
    let rows = [
        ("service", raw.service.as_ref().map(place_of), !http, "an HTTP listener has routes, not a service"),
        ("service", raw.service.as_ref().map(place_of), http || !secure, "a service is served without TLS"),
        ("tls", raw.tls.as_ref().map(place_of), secure, no_tls),
        ("alpn", raw.alpn.as_ref().map(|_| at.place), secure, no_tls),
        ("tcp", raw.tcp.as_ref().map(place_of), !http && !service, "for TCP listeners without a service"),
        ("http", raw.http.as_ref().map(place_of), http, "for HTTP listeners"),
        ("hostname", raw.hostname.as_ref().map(place_of), http, "TCP says no hostname; it is for HTTP listeners"),
        ("proxyProtocol", raw.proxy_protocol.as_ref().map(place_of), http || !service, "a service does not take it"),
    ];
    for (field, said, fits, message) in rows {
        if let Some(place) = said
            && !fits
        {
            findings.say(&At { place, ..at.field(field) }, message);
        }
    }
}

fn service_of(said: &Spanned<ServiceName>, at: &At, findings: &mut Findings<'_>) -> Option<Service> {
    let works = [
        ("echo", Service::Echo),
        ("discard", Service::Discard),
        ("chargen", Service::Chargen),
        ("quote", Service::Quote),
    ];
    findings.choose(&at.said("service", said), &said.value, &works, &[])
}

fn http_of(
    raw: &RawListener,
    address: Option<IpAddr>,
    tls: Option<ListenerTls>,
    at: &At,
    findings: &mut Findings<'_>,
) -> HttpListener {
    let before = findings.found.len();
    let http_at = raw.http.as_ref().map_or(at.clone(), |http| at.said("http", http));
    let options =
        raw.http.as_ref().map_or_else(HttpOptions::default, |raw| http_options(&raw.value, &http_at, findings));
    let listener = HttpListener {
        name: raw.name.value.clone(),
        address,
        port: raw.port,
        proxy_protocol: proxy_protocol_of(raw.proxy_protocol.as_ref(), at, findings),
        tls,
        options,
        rules: Rules::default(),
    };
    // Its own part of the snapshot's check, while the place is known. The rules are looked at with the routes.
    if findings.found.len() == before
        && let Err(error) = listener.check(&BackendNames::of(&[]))
    {
        let own = format!("listener {:?}: ", listener.name);
        findings.say(&http_at, error.strip_prefix(&own).unwrap_or(&error));
    }
    let hostname = raw.hostname.as_ref().map(|said| said.value.clone());
    HttpListener { rules: Rules { hostname, routes: Vec::new() }, ..listener }
}

fn tcp_of(
    raw: &RawListener,
    address: Option<IpAddr>,
    tls: Option<ListenerTls>,
    at: &At,
    findings: &mut Findings<'_>,
) -> TcpListener {
    let idle = raw.tcp.as_ref().and_then(|tcp| findings.time(at, "tcp.idle", tcp.value.idle.as_ref()));
    TcpListener {
        name: raw.name.value.clone(),
        address,
        port: raw.port,
        proxy_protocol: proxy_protocol_of(raw.proxy_protocol.as_ref(), at, findings),
        tls,
        names: Vec::new(),
        // As long as an HTTP stream.
        idle_ms: idle.unwrap_or(HttpTimeouts::default().stream_idle_ms),
        backends: Vec::new(),
    }
}

fn proxy_protocol_of(
    said: Option<&Spanned<RawProxyProtocol>>,
    at: &At,
    findings: &mut Findings<'_>,
) -> Option<ProxyProtocol> {
    let said = said?;
    let (raw, at) = (&said.value, at.said("proxyProtocol", said));
    let works = [("v1", Accept::V1), ("v2", Accept::V2), ("any", Accept::Any)];
    let accept = findings.choice(&at, "accept", Some(&raw.accept), &works);
    let trusted = findings.networks(&at, "trustedCIDRs", &raw.trusted_cidrs);
    if raw.trusted_cidrs.is_empty() {
        findings.say(&at.field("trustedCIDRs"), "empty: every connection would be closed");
    }
    Some(ProxyProtocol { accept: accept?, trusted })
}

fn http_options(raw: &RawHttp, at: &At, findings: &mut Findings<'_>) -> HttpOptions {
    let default = HttpOptions::default();
    let slashes = [
        ("Reject", EscapedSlashes::Reject),
        ("Keep", EscapedSlashes::Keep),
        ("UnescapeAndForward", EscapedSlashes::Unescape),
        ("UnescapeAndRedirect", EscapedSlashes::Redirect),
    ];
    let underscores = [("Reject", Underscores::Reject), ("Drop", Underscores::Drop), ("Allow", Underscores::Allow)];
    let slashes = findings.choice(at, "escapedSlashesAction", raw.escaped_slashes_action.as_ref(), &slashes);
    let underscores =
        findings.choice(at, "headersWithUnderscores", raw.headers_with_underscores.as_ref(), &underscores);
    let expect = [("Answer", false), ("Forward", true)];
    let forward_expect = findings.choice(at, "expectContinue", raw.expect_continue.as_ref(), &expect);
    let head = findings.bytes(at, "maxRequestHeaders.bytes", raw.max_request_headers.bytes.as_ref());
    let head_bytes = head.unwrap_or(default.head_bytes);
    let line = findings.bytes(at, "maxRequestLine", raw.max_request_line.as_ref());
    HttpOptions {
        normalize_path: raw.normalize_path.unwrap_or(default.normalize_path),
        merge_slashes: raw.merge_slashes.unwrap_or(default.merge_slashes),
        escaped_slashes: slashes.unwrap_or(default.escaped_slashes),
        underscores: underscores.unwrap_or(default.underscores),
        // Whoever only wants smaller heads has smaller lines, too.
        request_line_bytes: line.unwrap_or(default.request_line_bytes.min(head_bytes)),
        head_bytes,
        fields: raw.max_request_headers.count.unwrap_or(default.fields),
        name: raw.name.clone().unwrap_or(default.name),
        x_forwarded: raw.x_forwarded.unwrap_or(default.x_forwarded),
        forwarded: raw.forwarded.unwrap_or(default.forwarded),
        trusted: findings.networks(at, "trustedCIDRs", &raw.trusted_cidrs),
        forward_expect: forward_expect.unwrap_or(default.forward_expect),
        timeouts: http_timeouts(&raw.timeouts, at, findings),
    }
}

fn http_timeouts(raw: &RawTimeouts, at: &At, findings: &mut Findings<'_>) -> HttpTimeouts {
    let default = HttpTimeouts::default();
    let mut time = |field, said: &Option<_>| findings.time(at, field, said.as_ref());
    HttpTimeouts {
        request_headers_ms: time("timeouts.requestHeaders", &raw.request_headers).unwrap_or(default.request_headers_ms),
        request_body_ms: time("timeouts.requestBody", &raw.request_body).unwrap_or(default.request_body_ms),
        stream_idle_ms: time("timeouts.streamIdle", &raw.stream_idle).unwrap_or(default.stream_idle_ms),
        connection_idle_ms: time("timeouts.connectionIdle", &raw.connection_idle).unwrap_or(default.connection_idle_ms),
        connection_age_ms: time("timeouts.maxConnectionAge", &raw.max_connection_age),
    }
}
