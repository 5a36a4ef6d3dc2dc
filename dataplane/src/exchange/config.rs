//! A snapshot's listeners and backends, compiled for one worker.

use super::meters::RouteKey;
use crate::{
    filters::Filters,
    http::{Side, forward, h1::Limits, normalize},
    net::Cidr,
    route::{self, Backend as Share, BackendIndex, Numbers, RuleIndex, Table},
    snapshot::{HashOn, HttpListener, HttpTimeouts, ProxyProtocol, TcpListener},
    time::{Duration, Instant},
};
use std::{
    collections::HashMap,
    hash::Hasher,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// An HTTP listener. Clones share what does not change.
#[derive(Clone)]
pub(super) struct Http {
    pub(super) port: u16,
    pub(super) proxy: Option<ProxyProtocol>,
    pub(super) limits: Limits,
    pub(super) normalize: normalize::Options,
    name: Box<[u8]>,
    x_forwarded: bool,
    forwarded: bool,
    trusted: Vec<Cidr>,
    pub(super) forward_expect: bool,
    pub(super) timeouts: Timeouts,
    pub(super) table: Table,
    /// By [`route::RuleIndex`]: those of the table's base, and those of the layer over it.
    rules: [Arc<[Rule]>; 2],
}

/// What happens to a rule's requests.
pub(super) struct Rule {
    pub(super) route: RouteKey,
    pub(super) filters: Filters,
    pub(super) request: Option<Duration>,
    pub(super) backend_request: Option<Duration>,
}

#[derive(Clone)]
pub(super) struct Timeouts {
    pub(super) request_headers: Duration,
    pub(super) request_body: Duration,
    pub(super) stream_idle: Duration,
    pub(super) connection_idle: Duration,
    pub(super) connection_age: Option<Duration>,
}

impl Http {
    /// `before` is an earlier version of it, if there is one.
    ///
    /// # Errors
    /// What is wrong with its rules.
    pub(super) fn compile(
        listener: &HttpListener,
        before: Option<&Self>,
        numbers: &Numbers<'_>,
        keys: &mut dyn FnMut(&str) -> RouteKey,
    ) -> Result<Self, String> {
        let options = &listener.options;
        let HttpTimeouts { request_headers_ms, request_body_ms, stream_idle_ms, connection_idle_ms, connection_age_ms } =
            options.timeouts;
        let said = |faults: Vec<route::Fault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let changed = before.and_then(|it| Some((it, it.table.changed(&listener.rules, numbers)?)));
        let (table, rules) = match changed {
            Some((before, table)) => {
                let table = table.map_err(said)?;
                let over = rules_of(table.routes_over(), keys)?;
                (table, [Arc::clone(&before.rules[0]), over])
            }
            None => {
                let table = route::compile(listener.rules.clone(), numbers).map_err(said)?;
                (table, [rules_of(&listener.rules.routes, keys)?, Arc::new([])])
            }
        };
        Ok(Self {
            port: listener.port,
            proxy: listener.proxy_protocol.clone(),
            limits: options.limits(),
            normalize: options.normalize(),
            name: options.name.as_bytes().into(),
            x_forwarded: options.x_forwarded,
            forwarded: options.forwarded,
            trusted: options.trusted.clone(),
            forward_expect: options.forward_expect,
            timeouts: Timeouts {
                request_headers: Duration::from_ms(request_headers_ms),
                request_body: Duration::from_ms(request_body_ms),
                stream_idle: Duration::from_ms(stream_idle_ms),
                connection_idle: Duration::from_ms(connection_idle_ms),
                connection_age: connection_age_ms.map(Duration::from_ms),
            },
            rules,
            table,
        })
    }

    #[inline]
    pub(super) fn rule(&self, rule: RuleIndex) -> &Rule {
        let [base, over] = &self.rules;
        let place = rule.0 as usize;
        base.get(place).unwrap_or_else(|| &over[place - base.len()])
    }

    pub(super) fn forward(&self) -> forward::Options<'_> {
        forward::Options { via: &self.name, x_forwarded: self.x_forwarded, forwarded: self.forwarded }
    }
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }
    /// Whether a field may stand behind content, too: what this listener and this rule let go on in front of it. `name` is in lower case.
    pub(super) fn passes_trailer(&self, rule: Option<RuleIndex>, name: &[u8], from: Side) -> bool {
        let filters = rule.map(|rule| &self.rule(rule).filters);
        let modifier = filters.and_then(|filters| match from {
            Side::Server => filters.request_headers.as_ref(),
            Side::Client => filters.response_headers.as_ref(),
        });
        let is_strange = from == Side::Server
            && (forward::is_about_client(name)
                || self.normalize.underscores != normalize::Underscores::Allow && name.contains(&b'_'));
        !is_strange && modifier.is_none_or(|modifier| modifier.keeps(name))
    }
    /// Whether a connection takes no further requests.
    pub(super) fn is_old(&self, now: Instant, began: Instant) -> bool {
        self.timeouts.connection_age.is_some_and(|age| now >= began + age)
    }
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        contains(&self.trusted, address)
    }
}

fn rules_of(routes: &[Arc<route::Route>], keys: &mut dyn FnMut(&str) -> RouteKey) -> Result<Arc<[Rule]>, String> {
    let mut rules = Vec::new();
    for route in routes {
        let key = keys(&route.name);
        for (n, rule) in route.rules.iter().enumerate() {
            rules.push(Rule::compile(rule, key).map_err(|e| format!("route {:?}, rule {n}: {e}", route.name))?);
        }
    }
    Ok(rules.into())
}

impl Rule {
    fn compile(rule: &route::Rule, route: RouteKey) -> Result<Self, String> {
        let filters = Filters::compile(&rule.filters).map_err(|e| e.to_string())?;
        if filters.answer.is_some() && !rule.backends.is_empty() {
            return Err("answers by itself and has backends".into());
        }
        Ok(Self {
            route,
            filters,
            request: rule.timeouts.request_ms.map(Duration::from_ms),
            backend_request: rule.timeouts.backend_request_ms.map(Duration::from_ms),
        })
    }
}

/// A listener whose bytes are passed on.
#[derive(Clone)]
pub(super) struct Raw {
    pub(super) proxy: Option<ProxyProtocol>,
    pub(super) idle: Duration,
    shares: Shares,
    /// By a client's name for the server; `None`: nobody looks at what is passed on.
    names: Option<Arc<HashMap<Box<str>, Shares>>>,
}

/// Backends by weight.
type Shares = Vec<(BackendIndex, u32)>;

impl Raw {
    /// # Errors
    /// A backend that there is not.
    pub(super) fn compile(listener: &TcpListener, numbers: &Numbers<'_>) -> Result<Self, String> {
        let missing = |name: &String| format!("there is no backend {name:?}");
        let share =
            |Share { backend, weight }: &Share| Ok((numbers(backend).ok_or_else(|| missing(backend))?, *weight));
        let shares = |list: &[Share]| list.iter().map(share).collect::<Result<Shares, String>>();
        let mut names = HashMap::new();
        for route in &listener.names {
            let shares = shares(&route.backends)?;
            names.extend(route.hostnames.iter().map(|name| (name.to_ascii_lowercase().into(), shares.clone())));
        }
        Ok(Self {
            proxy: listener.proxy_protocol.clone(),
            idle: Duration::from_ms(listener.idle_ms),
            shares: shares(&listener.backends)?,
            names: (!names.is_empty()).then(|| Arc::new(names)),
        })
    }

    /// Whether a client's name for the server says where its connection goes.
    pub(super) fn is_by_name(&self) -> bool {
        self.names.is_some()
    }

    /// A backend by weight, for a client that asks for this name, in lower case.
    pub(super) fn backend(&self, name: Option<&str>, random: u64) -> Option<BackendIndex> {
        let shares = name.and_then(|name| self.shares_of(name)).unwrap_or(&self.shares);
        let sum: u64 = shares.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut drawn = ((u128::from(random) * u128::from(sum)) >> 64) as u64;
        shares.iter().find_map(|&(backend, weight)| match drawn.checked_sub(u64::from(weight)) {
            Some(rest) => {
                drawn = rest;
                None
            }
            None => Some(backend),
        })
    }

    /// The longest of its names that fits.
    fn shares_of(&self, name: &str) -> Option<&Shares> {
        let names = self.names.as_ref()?;
        let exact = names.get(name);
        exact.or_else(|| name.match_indices('.').find_map(|(at, _)| names.get(format!("*{}", &name[at..]).as_str())))
    }
}

/// A port in decimal.
pub(super) struct Digits(arrayvec::ArrayVec<u8, 5>);

impl Digits {
    pub(super) fn of(number: u16) -> Self {
        use std::io::Write;
        let mut digits = arrayvec::ArrayVec::new();
        write!(digits, "{number}").expect("five digits at most");
        Self(digits)
    }
    pub(super) fn get(&self) -> &[u8] {
        &self.0
    }
}

pub(super) fn contains(networks: &[Cidr], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// What tells one client from another; the same in every worker and process, so that hashes lead to the same endpoint.
pub(super) fn hash<'a>(on: &HashOn, address: IpAddr, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> u64 {
    let found = match on {
        HashOn::Source => None,
        HashOn::Header(name) => { fields }.find(|(n, _)| *n == name.as_bytes()).map(|(_, value)| value),
        HashOn::Cookie(name) => { fields }.filter(|(n, _)| *n == b"cookie").find_map(|(_, value)| cookie(value, name)),
    };
    found.map_or_else(|| hash_address(address), hash_bytes)
}

/// rfc6265 4.2.1: the first cookie of that name.
fn cookie<'a>(value: &'a [u8], name: &str) -> Option<&'a [u8]> {
    value.split(|&b| b == b';').find_map(|pair| {
        pair.trim_ascii().strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=".as_slice()))
    })
}

pub(super) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hasher = siphasher::sip::SipHasher13::new_with_keys(0x7765_6972, 0x6761_7465);
    hasher.write(bytes);
    hasher.finish()
}

/// An endpoint's: not its text, for there may be many.
pub(super) fn hash_endpoint(address: SocketAddr) -> u64 {
    let mut bytes = arrayvec::ArrayVec::<u8, 18>::new();
    match address.ip() {
        IpAddr::V4(v4) => bytes.extend(v4.octets()),
        IpAddr::V6(v6) => bytes.extend(v6.octets()),
    }
    bytes.extend(address.port().to_be_bytes());
    hash_bytes(&bytes)
}

pub(super) fn hash_address(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => hash_bytes(&v4.octets()),
        IpAddr::V6(v6) => hash_bytes(&v6.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_by_what_was_asked_for() {
        let address = "192.0.2.1".parse().unwrap();
        let fields = [(&b"cookie"[..], &b"a=1; sid=xyz;b=2"[..]), (b"x-user", b"u7")];
        let of = |on: HashOn| hash(&on, address, fields.into_iter());
        assert_eq!(of(HashOn::Cookie("sid".into())), hash_bytes(b"xyz"));
        assert_eq!(of(HashOn::Header("x-user".into())), hash_bytes(b"u7"));
        assert_eq!(of(HashOn::Source), hash_address(address));
        assert_eq!(of(HashOn::Cookie("si".into())), hash_address(address), "no cookie of that name");
    }

    #[test]
    fn weights_share_out() {
        let share = |backend, weight| (BackendIndex(backend), weight);
        let shares = vec![share(0, 1), share(1, 0), share(2, 3)];
        let raw = Raw { proxy: None, idle: Duration::ZERO, shares, names: None };
        let at = |quarter: u64| raw.backend(None, quarter << 62).map(|b| b.0);
        assert_eq!([at(0), at(1), at(2), at(3)], [Some(0), Some(2), Some(2), Some(2)]);
    }
}
