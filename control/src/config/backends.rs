//! `backends`: where requests and connections go.

use super::{
    Discovery, DnsKind, Finding, Lost, Source,
    control::absolute,
    findings::{At, Findings},
    names, place_of,
    raw::{RawBackend, RawDns, RawEndpoint, RawHashOn, RawHealthCheck, RawLoadBalancing, RawPool},
    read::{Read, Spanned},
    secrets::Secrets,
    tls,
};
use std::collections::{BTreeMap, BTreeSet};
use weirgate_dataplane::{
    snapshot::{Backend, Endpoint, HashOn, HealthCheck, PoolConfig, Probe, ProxyVersion},
    upstream::balance::{Policy, PolicyKind},
};

/// All backends, those of wrong ones too, so that routes can name them.
#[derive(Default)]
pub(super) struct Backends<'a> {
    pub(super) list: Vec<Backend>,
    pub(super) discoveries: Vec<Discovery>,
    numbers: BTreeMap<&'a str, usize>,
    lost: Option<&'a Lost>,
}

impl Backends<'_> {
    /// The one with this name.
    pub(super) fn get(&self, name: &str) -> Option<&Backend> {
        self.numbers.get(name).map(|&number| &self.list[number])
    }
    /// The ports of its endpoints, as far as they are written: none, if they are found elsewhere.
    pub(super) fn ports(&self, name: &str) -> BTreeSet<u16> {
        self.get(name).into_iter().flat_map(|backend| &backend.endpoints).map(|it| it.address.port()).collect()
    }
    /// What is wrong with a name that refers to none. One that could not be read is there all the same.
    pub(super) fn find(&self, name: &str) -> Result<(), String> {
        let is_lost = || self.lost.is_some_and(|lost| lost.may_be(RawBackend::TABLE, name));
        if self.numbers.contains_key(name) || is_lost() {
            return Ok(());
        }
        Err(format!("there is no backend {name:?}{}", names::hint(name, self.numbers.keys().copied())))
    }
}

/// Compiles those of all files.
pub(super) fn compile<'a>(
    sources: &'a [Source<'a>],
    secrets: &Secrets<'_>,
    lost: &'a Lost,
    found: &mut Vec<Finding>,
) -> Backends<'a> {
    let mut backends = Backends { lost: Some(lost), ..Backends::default() };
    for Source { file, raw } in sources {
        let findings = &mut Findings { file, found };
        for backend in &raw.backends {
            let raw = &backend.value;
            let name = raw.name.value.as_str();
            let at = At::new(format!("backends[{name}]"), place_of(backend));
            if backends.numbers.contains_key(name) {
                findings.say(&at.said("name", &raw.name), format!("another backend is named {name:?}"));
                continue;
            }
            backends.numbers.insert(name, backends.list.len());
            backends.list.push(backend_of(raw, secrets, &at, findings));
            backends.discoveries.extend(discovery_of(raw, &at, findings));
        }
    }
    backends
}

fn backend_of(raw: &RawBackend, secrets: &Secrets<'_>, at: &At, findings: &mut Findings<'_>) -> Backend {
    let before = findings.found.len();
    if let Some(said) = &raw.protocol {
        findings.choose(&at.said("protocol", said), &said.value, &[("http1", ())], &["h2c", "h2", "grpc"]);
    }
    let versions = [("v1", ProxyVersion::V1), ("v2", ProxyVersion::V2)];
    let default = Backend::new(&raw.name.value, &[]);
    let balancing = at.field("loadBalancing");
    let backend = Backend {
        endpoints: endpoints_of(raw, at, findings),
        load_balancing: policy_of(&raw.load_balancing, &balancing, findings).unwrap_or(default.load_balancing),
        hash_on: hash_on_of(raw.load_balancing.hash_on.as_ref(), &balancing, findings).unwrap_or_default(),
        panic_threshold: raw.load_balancing.panic_threshold.as_ref().map_or(default.panic_threshold, |said| said.value),
        connect_ms: findings.time(at, "timeouts.connect", raw.timeouts.connect.as_ref()).unwrap_or(default.connect_ms),
        pool: pool_of(&raw.connection_pool, &at.field("connectionPool"), findings),
        proxy_protocol: findings.choice(at, "proxyProtocol", raw.proxy_protocol.as_ref(), &versions),
        health_checks: raw.health_checks.iter().filter_map(|said| health_check_of(said, at, findings)).collect(),
        tls: raw.tls.as_ref().map(|said| tls::of_backend(said, secrets, at, findings)),
        ..default
    };
    // Its own part of the snapshot's check, while the place is known.
    if findings.found.len() == before
        && let Err(error) = backend.check()
    {
        let own = format!("backend {:?}: ", backend.name);
        findings.say(at, error.strip_prefix(&own).unwrap_or(&error));
    }
    backend
}

fn endpoints_of(raw: &RawBackend, at: &At, findings: &mut Findings<'_>) -> Vec<Endpoint> {
    let at = at.said("discovery", &raw.discovery);
    let all = raw.discovery.value.fixed.iter().flatten();
    all.filter_map(|said| endpoint_of(said, &at, findings)).collect()
}

/// Where the control daemon finds endpoints that are not written here.
fn discovery_of(raw: &RawBackend, at: &At, findings: &mut Findings<'_>) -> Option<Discovery> {
    let at = at.said("discovery", &raw.discovery);
    let of = &raw.discovery.value;
    for (field, said) in [("xds", &of.xds), ("consul", &of.consul)] {
        if let Some(said) = said {
            let at = at.said(field, said);
            findings.add_of(at.place, at.path, " is not supported in this version");
        }
    }
    let later = of.xds.is_some() || of.consul.is_some();
    match (&of.fixed, &of.dns, &of.file) {
        (None, None, None) if !later => {
            findings.say(
                &at,
                "says nothing: write {static: [\"ADDRESS:PORT\"]}, {dns: {name: NAME, port: PORT}} or {file: PATH}",
            );
            None
        }
        (Some(_), None, None) | (None, None, None) => None,
        (None, Some(dns), None) => {
            let at = at.said("dns", dns);
            dns_of(&dns.value, &raw.name.value, &at, findings)
        }
        (None, None, Some(file)) => {
            let path = absolute(file, &at.said("file", file), findings)?;
            Some(Discovery::File { backend: raw.name.value.clone(), path })
        }
        _ => {
            findings.say(&at, "one of static, dns and file");
            None
        }
    }
}

fn dns_of(raw: &RawDns, backend: &str, at: &At, findings: &mut Findings<'_>) -> Option<Discovery> {
    let name = raw.name.value.strip_suffix('.').unwrap_or(&raw.name.value);
    if !is_domain(name) {
        findings.say(&at.said("name", &raw.name), format!("{:?} is not a name in the DNS", raw.name.value));
    }
    let kinds = [("Address", DnsKind::Address), ("SRV", DnsKind::Srv)];
    let kind = match &raw.kind {
        None => DnsKind::default(),
        said => findings.choice(at, "type", said.as_ref(), &kinds)?,
    };
    match (kind, &raw.port) {
        (DnsKind::Address, None) => findings.say(&at.field("port"), "missing: addresses have none in the DNS"),
        (DnsKind::Srv, Some(said)) => findings.say(&at.said("port", said), "SRV records say it"),
        (_, Some(said)) if said.value == 0 => findings.say(&at.said("port", said), "port 0 is no port"),
        _ => {}
    }
    let refresh_ms = findings.time(at, "refresh", raw.refresh.as_ref());
    let port = raw.port.as_ref().map(|said| said.value);
    Some(Discovery::Dns { backend: backend.into(), name: name.into(), kind, port, refresh_ms })
}

/// rfc1035 2.3.4, rfc2782: labels of up to 63 bytes, 253 in all; services have underscores.
pub(super) fn is_domain(name: &str) -> bool {
    let is_label = |label: &str| {
        let inside = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(inside) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

fn endpoint_of(said: &Spanned<RawEndpoint>, at: &At, findings: &mut Findings<'_>) -> Option<Endpoint> {
    let RawEndpoint { address, weight } = &said.value;
    let such = "an address and port, such as 10.1.0.21:8080 or [2001:db8::21]:8080";
    let parsed = address.parse().map_err(|_| format!("{:?} is not {such}", &**address));
    let address = findings.keep(&at.said("static", said), parsed)?;
    Some(Endpoint { address, weight: weight.unwrap_or(1) })
}

fn policy_of(raw: &RawLoadBalancing, at: &At, findings: &mut Findings<'_>) -> Option<PolicyKind> {
    let known = ["RoundRobin", "LeastRequest", "Random", "RingHash", "Maglev"].map(|name| (name, name));
    let policy = match &raw.policy {
        Some(said) => findings.choose(&at.said("policy", said), &said.value, &known, &["PeakEwma"])?,
        None => "RoundRobin",
    };
    let number = |said: &Option<Spanned<u32>>| said.as_ref().map(|said| (place_of(said), Some(said.value)));
    let choices = raw.choices.as_ref().map(|said| (place_of(said), Some(u32::from(said.value))));
    let rows = [
        ("choices", choices, &["LeastRequest"][..]),
        ("pointsMin", number(&raw.points_min), &["RingHash"]),
        ("pointsMax", number(&raw.points_max), &["RingHash"]),
        ("places", number(&raw.places), &["Maglev"]),
        ("hashOn", raw.hash_on.as_ref().map(|said| (place_of(said), None)), &["RingHash", "Maglev"]),
    ];
    // As data, so that what is not said is left to the policy's own defaults.
    let mut spec = serde_json::json!({ "policy": policy });
    let mut place = at.place;
    for (field, said, owners) in rows {
        let Some((said_at, value)) = said else { continue };
        if !owners.contains(&policy) {
            let at = At { place: said_at, ..at.field(field) };
            findings.say(&at, format!("a parameter of {}, not of {policy}", owners.join(" and ")));
        } else if let Some(value) = value {
            spec[field] = value.into();
            place = said_at;
        }
    }
    let kind: PolicyKind = serde_json::from_value(spec).expect("parameters of this policy only");
    findings.take(place, &at.path, Policy::new(kind).map(|_| kind).map_err(|fault| fault.to_string()))
}

fn hash_on_of(said: Option<&Spanned<RawHashOn>>, at: &At, findings: &mut Findings<'_>) -> Option<HashOn> {
    let said = said?;
    let result = match &said.value {
        RawHashOn { source: Some(true), header: None, cookie: None } => Ok(HashOn::Source),
        RawHashOn { source: None, header: Some(name), cookie: None } if is_token(name) => {
            Ok(HashOn::Header(name.to_ascii_lowercase()))
        }
        RawHashOn { source: None, header: None, cookie: Some(name) } if is_token(name) => {
            Ok(HashOn::Cookie(name.clone()))
        }
        _ => Err("one of {source: true}, {header: NAME} and {cookie: NAME}, with a name that can be one".into()),
    };
    findings.keep(&at.said("hashOn", said), result)
}

/// rfc9110 5.6.2: what names of fields and of cookies are made of.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn pool_of(raw: &RawPool, at: &At, findings: &mut Findings<'_>) -> PoolConfig {
    let default = PoolConfig::default();
    for (field, said) in [("maxConnections", &raw.max_connections), ("maxRequests", &raw.max_requests)] {
        if let Some(said) = said
            && said.value == 0
        {
            findings.say(&at.said(field, said), "0 leaves no connection to use");
        }
    }
    PoolConfig {
        connections_max: raw.max_connections.as_ref().map_or(default.connections_max, |said| said.value),
        idle_ms: findings.time(at, "idle", raw.idle.as_ref()).unwrap_or(default.idle_ms),
        age_ms: findings.time(at, "maxAge", raw.max_age.as_ref()),
        requests_max: raw.max_requests.as_ref().map(|said| said.value),
    }
}

/// What is not said of a health check.
pub(super) const HEALTH_CHECK: HealthCheck =
    HealthCheck { probe: Probe::Tcp, interval_ms: 5_000, timeout_ms: 1_000, healthy: 2, unhealthy: 3 };

fn health_check_of(said: &Spanned<RawHealthCheck>, at: &At, findings: &mut Findings<'_>) -> Option<HealthCheck> {
    let (raw, at) = (&said.value, at.said(&format!("healthChecks[{}]", said.number), said));
    let probe = match (&raw.http, &raw.tcp, &raw.grpc) {
        (Some(http), None, None) => {
            let (http, at) = (&http.value, at.said("http", http));
            findings.choice(&at, "method", http.method.as_ref(), &[("GET", ())]);
            let expect = http.expect.clone().unwrap_or_else(|| vec![200]);
            Some(Probe::Http { path: http.path.clone(), host: http.host.clone(), expect })
        }
        (None, Some(_), None) => Some(Probe::Tcp),
        (None, None, Some(said)) => {
            let at = at.said("grpc", said);
            findings.add_of(at.place, at.path, " is not supported in this version");
            None
        }
        _ => {
            findings.say(&at, "one of http: {path: PATH} and tcp: {}");
            None
        }
    };
    for (field, said) in [("healthy", &raw.healthy), ("unhealthy", &raw.unhealthy)] {
        if let Some(said) = said
            && said.value == 0
        {
            findings.say(&at.said(field, said), "0 answers say nothing");
        }
    }
    let check = HealthCheck {
        probe: probe?,
        interval_ms: findings.time(&at, "interval", raw.interval.as_ref()).unwrap_or(HEALTH_CHECK.interval_ms),
        timeout_ms: findings.time(&at, "timeout", raw.timeout.as_ref()).unwrap_or(HEALTH_CHECK.timeout_ms),
        healthy: raw.healthy.as_ref().map_or(HEALTH_CHECK.healthy, |said| said.value),
        unhealthy: raw.unhealthy.as_ref().map_or(HEALTH_CHECK.unhealthy, |said| said.value),
    };
    Some(check)
}
