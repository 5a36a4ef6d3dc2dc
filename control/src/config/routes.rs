//! `routes`: which listeners' requests and connections go to which backends.

use super::{
    Declared, Finding, Lost,
    backends::{Backends, is_domain},
    filters::filters_of,
    findings::{At, Findings},
    listeners::{Kind, Listeners},
    place_of,
    raw::{RawBackendRef, RawCondition, RawMatch, RawPath, RawRoute, RawRule},
    read::{Read, Spanned},
};
use std::{collections::BTreeMap, sync::Arc};
use weirgate_dataplane::{
    filters::FilterSpec,
    limits::HTTP_WEIGHT_MAX,
    route::{
        self, Backend as Share, BackendIndex, Fault, HeaderKind, HeaderMatch, Match, PathKind, PathMatch, QueryKind,
        QueryMatch, Route, Rule, RuleTimeouts,
    },
    snapshot::{HashOn, NameRoute},
};

/// Where each route stands, for what is found later.
type Origins<'a> = BTreeMap<&'a str, &'a Declared<'a, RawRoute>>;

#[derive(Clone, Copy)]
enum RouteKind {
    Http,
    Tcp,
    Tls,
}

/// Compiles those of all files into their listeners.
pub(super) fn compile(
    declared: &[Declared<'_, RawRoute>],
    lost: &Lost,
    backends: &Backends<'_>,
    listeners: &mut Listeners<'_>,
    found: &mut Vec<Finding>,
) {
    let mut origins = Origins::new();
    // The TCPRoute of each TCP listener.
    let mut routed = vec![None; listeners.tcp.len()];
    for route in declared {
        let findings = &mut Findings { file: route.file, found };
        let raw = &route.raw.value;
        let at = At::new(&route.path, place_of(route.raw));
        if origins.insert(&raw.name.value, route).is_some() {
            findings.say(&at.said("name", &raw.name), format!("another route is named {:?}", raw.name.value));
            continue;
        }
        let works = [("HTTPRoute", RouteKind::Http), ("TCPRoute", RouteKind::Tcp), ("TLSRoute", RouteKind::Tls)];
        let later = ["GRPCRoute"];
        match findings.choose(&at.said("kind", &raw.kind), &raw.kind.value, &works, &later) {
            Some(RouteKind::Http) => add_http(route, &at, backends, listeners, findings),
            Some(RouteKind::Tcp) => add_tcp(route, &at, backends, listeners, &mut routed, findings),
            Some(RouteKind::Tls) => add_tls(route, &at, backends, listeners, &mut routed, findings),
            // What it is for may be any of its listeners: they are not told to need another.
            None => {
                for parent in &raw.parent_refs {
                    if let Ok(Kind::Tcp(n) | Kind::PassesThrough(n)) = listeners.find(&parent.value.name) {
                        routed[n] = Some(raw.name.value.as_str());
                    }
                }
            }
        }
    }
    // One that could not be read may name any of them.
    let is_whole = !lost.any_of(RawRoute::TABLE);
    for (listener, _) in listeners.tcp.iter().zip(&routed).filter(|(_, route)| is_whole && route.is_none()) {
        let (file, at) = listeners.at(&listener.name);
        let message = match &listener.tls {
            _ if listeners.find(&listener.name).is_ok_and(|kind| matches!(kind, Kind::PassesThrough(_))) => {
                "a TLS listener with mode: Passthrough needs a TLSRoute that names it"
            }
            None => "a TCP listener needs a service (echo, discard, chargen, quote), or a TCPRoute that names it",
            Some(_) => "a TLS listener needs a TCPRoute that names it",
        };
        Findings { file, found }.say(&at, message);
    }
    check_rules(listeners, &origins, found);
}

/// The listeners that a route names and that fit its kind.
fn parents_of(
    declared: &Declared<'_, RawRoute>,
    at: &At,
    listeners: &Listeners<'_>,
    findings: &mut Findings<'_>,
) -> Vec<(Kind, At)> {
    let raw = &declared.raw.value;
    if raw.parent_refs.is_empty() && declared.is_ours {
        findings.say(&at.field("parentRefs"), "missing: they name the listeners that the route is for");
    }
    let mut parents: Vec<(Kind, At)> = Vec::new();
    for said in &raw.parent_refs {
        let at = at.said("parentRefs", said);
        let name = &said.value.name;
        if findings.is_full() {
            break;
        }
        let Some(kind) = findings.keep(&at, listeners.find(name)) else { continue };
        if kind != Kind::Refused && parents.iter().any(|(other, _)| *other == kind && kind != Kind::Service) {
            findings.say(&at, format!("listener {name:?} stands there twice"));
            continue;
        }
        let message = match (&*raw.kind.value, kind) {
            (_, Kind::Service) => format!("listener {name:?} has a service, which leaves nothing for a route"),
            ("HTTPRoute", Kind::Tcp(_)) => format!("listener {name:?} speaks TCP; an HTTPRoute needs protocol: HTTP"),
            ("TLSRoute", Kind::Http(_) | Kind::Tcp(_)) => {
                format!(
                    "listener {name:?} passes no TLS through; a TLSRoute needs protocol: TLS with mode: Passthrough"
                )
            }
            ("HTTPRoute" | "TCPRoute", Kind::PassesThrough(_)) => {
                format!("listener {name:?} passes TLS through by its name; it needs a TLSRoute")
            }
            ("TCPRoute", Kind::Http(_)) => format!("listener {name:?} speaks HTTP; a TCPRoute needs protocol: TCP"),
            _ => {
                parents.push((kind, at));
                continue;
            }
        };
        findings.say(&at, message);
    }
    parents
}

fn add_http(
    declared: &Declared<'_, RawRoute>,
    at: &At,
    backends: &Backends<'_>,
    listeners: &mut Listeners<'_>,
    findings: &mut Findings<'_>,
) {
    let raw = &declared.raw.value;
    let parents = parents_of(declared, at, listeners, findings);
    let rules = raw.rules.iter().map(|said| {
        let at = At::new(rule_path(&at.path, said), place_of(said));
        rule_of(&said.value, &at, backends, findings)
    });
    let route = Route { name: raw.name.value.clone(), hostnames: raw.hostnames.clone(), rules: rules.collect() };
    let route = Arc::new(route);
    for (kind, _) in parents {
        if let Kind::Http(n) = kind {
            listeners.http[n].rules.routes.push(Arc::clone(&route));
        }
    }
}

fn add_tcp<'a>(
    declared: &Declared<'a, RawRoute>,
    at: &At,
    backends: &Backends<'_>,
    listeners: &mut Listeners<'_>,
    routed: &mut [Option<&'a str>],
    findings: &mut Findings<'_>,
) {
    let raw = &declared.raw.value;
    let parents = parents_of(declared, at, listeners, findings);
    if !raw.hostnames.is_empty() {
        findings.say(&at.field("hostnames"), "TCP says none; they are for an HTTPRoute");
    }
    let shares = match &raw.rules[..] {
        [rule] => {
            let at = At::new(rule_path(&at.path, rule), place_of(rule));
            tcp_shares(&rule.value, &at, backends, findings)
        }
        rules => {
            findings.say(&at.field("rules"), format!("{} of them; a TCPRoute has one", rules.len()));
            Vec::new()
        }
    };
    for (kind, at) in parents {
        let Kind::Tcp(n) = kind else { continue };
        if let Some(other) = routed[n].replace(&raw.name.value) {
            let name = &listeners.tcp[n].name;
            findings.say(&at, format!("listener {name:?} has the TCPRoute {other:?} already; it takes one"));
        }
        listeners.tcp[n].backends.clone_from(&shares);
    }
}

fn add_tls<'a>(
    declared: &Declared<'a, RawRoute>,
    at: &At,
    backends: &Backends<'_>,
    listeners: &mut Listeners<'_>,
    routed: &mut [Option<&'a str>],
    findings: &mut Findings<'_>,
) {
    let raw = &declared.raw.value;
    let parents = parents_of(declared, at, listeners, findings);
    for name in &raw.hostnames {
        if !is_domain(name.strip_prefix("*.").unwrap_or(name)) {
            findings.say(&at.field("hostnames"), format!("{name:?} is neither a DNS name nor *. and a domain"));
        }
    }
    let shares = match &raw.rules[..] {
        [rule] => {
            let at = At::new(rule_path(&at.path, rule), place_of(rule));
            tcp_shares(&rule.value, &at, backends, findings)
        }
        rules => {
            findings.say(&at.field("rules"), format!("{} of them; a TLSRoute has one", rules.len()));
            Vec::new()
        }
    };
    for (kind, at) in parents {
        let Kind::PassesThrough(n) = kind else { continue };
        routed[n] = Some(&raw.name.value);
        let listener = &mut listeners.tcp[n];
        let has = |name: &String| {
            let mut all = listener.names.iter().flat_map(|it| &it.hostnames);
            all.any(|other| other.eq_ignore_ascii_case(name))
        };
        if let Some(twice) = raw.hostnames.iter().find(|name| has(name)) {
            let message = format!("another TLSRoute of listener {:?} is for {twice:?}", listener.name);
            findings.say(&at, message);
        } else if raw.hostnames.is_empty() && !listener.backends.is_empty() {
            let message = format!("another TLSRoute of listener {:?} is for every name, too", listener.name);
            findings.say(&at, message);
        } else if raw.hostnames.is_empty() {
            listener.backends.clone_from(&shares);
        } else {
            listener.names.push(NameRoute { hostnames: raw.hostnames.clone(), backends: shares.clone() });
        }
    }
}

fn tcp_shares(rule: &RawRule, at: &At, backends: &Backends<'_>, findings: &mut Findings<'_>) -> Vec<Share> {
    let others = [
        ("matches", rule.matches.is_empty()),
        ("filters", rule.filters.is_empty()),
        ("timeouts", rule.timeouts.is_none()),
    ];
    for (field, _) in others.iter().filter(|(_, absent)| !absent) {
        findings.say(&at.field(field), "not in a TCPRoute or TLSRoute, which see no requests");
    }
    let shares = shares_of(&rule.backend_refs, at, backends, findings);
    if shares.iter().all(|share| share.weight == 0) {
        findings.say(&at.field("backendRefs"), "no backend with a weight above 0: connections would go nowhere");
    }
    for (share, said) in shares.iter().zip(&rule.backend_refs) {
        let at = at.said("backendRefs", said);
        if share.weight > HTTP_WEIGHT_MAX {
            findings.say(&at, format!("weight: {} is more than {HTTP_WEIGHT_MAX}", share.weight));
        }
        if backends.get(&share.backend).is_some_and(|backend| backend.hash_on != HashOn::Source) {
            let name = &said.value.name;
            findings.say(&at, format!("backend {name:?} hashes a header field or cookie, and TCP has neither"));
        }
    }
    shares
}

/// One for each of them, so that their numbers hold: what is not there has been found.
fn shares_of(
    refs: &[Spanned<RawBackendRef>],
    at: &At,
    backends: &Backends<'_>,
    findings: &mut Findings<'_>,
) -> Vec<Share> {
    let share = |said: &Spanned<RawBackendRef>| {
        if !findings.is_full() {
            findings.keep(&at.said("backendRefs", said), backends.find(&said.value.name));
        }
        Share { backend: said.value.name.clone(), weight: said.value.weight.unwrap_or(1) }
    };
    refs.iter().map(share).collect()
}

fn rule_path(route: &str, rule: &Spanned<RawRule>) -> String {
    match &rule.value.name {
        Some(name) => format!("{route}.rules[{name}]"),
        None => format!("{route}.rules[{}]", rule.number),
    }
}

fn rule_of(raw: &RawRule, at: &At, backends: &Backends<'_>, findings: &mut Findings<'_>) -> Rule {
    let matches = raw.matches.iter().map(|said| {
        let at = at.said(&format!("matches[{}]", said.number), said);
        match_of(&said.value, &at, findings)
    });
    let matches = matches.collect();
    let filters = filters_of(raw, at, findings);
    let backends = shares_of(&raw.backend_refs, at, backends, findings);
    let answers = |it: &FilterSpec| matches!(it, FilterSpec::Redirect(_) | FilterSpec::DirectResponse(_));
    if filters.iter().any(answers) && !backends.is_empty() {
        findings.say(&at.field("backendRefs"), "a filter answers in their place: take one of the two away");
    }
    Rule { name: raw.name.clone(), matches, backends, filters, timeouts: timeouts_of(raw, at, findings) }
}

/// Gateway API: a timeout of zero is none.
fn timeouts_of(raw: &RawRule, at: &At, findings: &mut Findings<'_>) -> RuleTimeouts {
    let Some(said) = &raw.timeouts else { return RuleTimeouts::default() };
    let at = at.said("timeouts", said);
    let request_ms = findings.duration(&at, "request", said.value.request.as_ref()).filter(|&ms| ms > 0);
    let backend_request_ms =
        findings.duration(&at, "backendRequest", said.value.backend_request.as_ref()).filter(|&ms| ms > 0);
    if let (Some(whole), Some(part)) = (request_ms, backend_request_ms)
        && part > whole
    {
        findings.say(&at.field("backendRequest"), "longer than the request, of which it is a part");
    }
    RuleTimeouts { request_ms, backend_request_ms }
}

fn match_of(raw: &RawMatch, at: &At, findings: &mut Findings<'_>) -> Match {
    let headers = [
        ("Exact", HeaderKind::Exact),
        ("Present", HeaderKind::Present),
        ("RegularExpression", HeaderKind::RegularExpression),
    ];
    let queries = [("Exact", QueryKind::Exact), ("RegularExpression", QueryKind::RegularExpression)];
    let mut of = Match {
        path: raw.path.as_ref().map(|said| path_of(said, at, findings)).unwrap_or_default(),
        method: raw.method.clone(),
        ..Match::default()
    };
    for (n, said) in raw.headers.iter().enumerate() {
        let RawCondition { kind, name, value } = &said.value;
        let kind = findings.choice(&at.said(&format!("headers[{n}]"), said), "type", kind.as_ref(), &headers);
        of.headers.push(HeaderMatch { kind: kind.unwrap_or_default(), name: name.clone(), value: value.clone() });
    }
    for (n, said) in raw.query_params.iter().enumerate() {
        let RawCondition { kind, name, value } = &said.value;
        let kind = findings.choice(&at.said(&format!("queryParams[{n}]"), said), "type", kind.as_ref(), &queries);
        of.query_params.push(QueryMatch { kind: kind.unwrap_or_default(), name: name.clone(), value: value.clone() });
    }
    of
}

fn path_of(said: &Spanned<RawPath>, at: &At, findings: &mut Findings<'_>) -> PathMatch {
    let kinds = [
        ("Exact", PathKind::Exact),
        ("PathPrefix", PathKind::PathPrefix),
        ("RegularExpression", PathKind::RegularExpression),
    ];
    let at = at.said("path", said);
    let kind = match &said.value.kind {
        None => Some(PathKind::default()),
        Some(said) => findings.choice(&at, "type", Some(said), &kinds),
    };
    match (kind, &said.value.value) {
        (Some(kind), Some(value)) => PathMatch { kind, value: value.clone() },
        (Some(PathKind::PathPrefix), None) | (None, _) => PathMatch::default(),
        (Some(_), None) => {
            findings.say(&at.field("value"), "missing: only a PathPrefix is / without one");
            PathMatch::default()
        }
    }
}

/// What the data plane's own compiler says of each listener's rules, at the places where they were written.
fn check_rules(listeners: &Listeners<'_>, origins: &Origins<'_>, found: &mut Vec<Finding>) {
    let mut faults = Vec::new();
    // Names that lead nowhere have been found.
    let any = |_: &str| Some(BackendIndex(0));
    for listener in &listeners.http {
        for fault in route::compile(listener.rules.clone(), &any).err().unwrap_or_default() {
            let (file, at) = match origins.get(fault.route.as_str()) {
                Some(route) => (route.file, place_in_route(&fault, &listener.name, route)),
                None => {
                    let (file, at) = listeners.at(&listener.name);
                    (file, at.field(&fault.field))
                }
            };
            Findings { file, found: &mut faults }.say(&at, &fault.problem);
        }
    }
    // A route of several listeners has its faults in each.
    for fault in faults {
        if !found.contains(&fault) {
            found.push(fault);
        }
    }
}

/// Where a fault lies, in the words of the configuration.
fn place_in_route(fault: &Fault, listener: &str, route: &Declared<'_, RawRoute>) -> At {
    let raw = &route.raw.value;
    let at = At::new(&route.path, place_of(route.raw));
    if fault.field == "hostnames"
        && let Some(parent) = raw.parent_refs.iter().find(|parent| parent.value.name == listener)
    {
        return At { path: format!("{}.hostnames, on listener {listener:?}", at.path), place: place_of(parent) };
    }
    let named = |&(n, rule): &(usize, &Spanned<RawRule>)| match &rule.value.name {
        Some(name) => *name == fault.rule,
        None => fault.rule == format!("#{n}"),
    };
    let Some((_, rule)) = raw.rules.iter().enumerate().find(named) else { return at.field(&fault.field) };
    let at = At::new(rule_path(&at.path, rule), place_of(rule));
    let number = |list: &str| {
        let (number, _) = fault.field.strip_prefix(list)?.strip_prefix('[')?.split_once(']')?;
        number.parse::<usize>().ok()
    };
    if let Some(it) = number("matches").and_then(|n| rule.value.matches.get(n)) {
        return at.said(&fault.field, it);
    }
    if let Some(it) = number("backends").and_then(|n| rule.value.backend_refs.get(n)) {
        return at.said(&fault.field.replacen("backends", "backendRefs", 1), it);
    }
    at.field(&fault.field)
}
