//! Gateways, HTTPRoutes and ReferenceGrants of Kubernetes, as listeners and routes of ours.
//!
//! ```text
//!   Gateway NS/GW, its listener L      ->  listener NS/GW/L
//!   HTTPRoute NS/R                     ->  route NS/R, of the listeners that it names and that allow it
//!   certificateRef to Secret S         ->  secret NS/S; or secret S, if NS is `default` or the Gateway's
//!   backendRef to Service S, port P    ->  backend NS/S:P; or backend S, if NS is `default` or the Gateway's, and S has the port P
//! ```

use super::{
    Finding, Lost,
    backends::Backends,
    findings::{At, Findings},
    names::hint,
    place_of,
    raw::{
        KubeMetadata, RawBackendRef, RawFilter, RawGateway, RawGatewaySpec, RawHttpRoute, RawKubeBackendRef,
        RawKubeFilter, RawKubeListener, RawKubeParentRef, RawKubeRule, RawKubeSecret, RawKubeSecretRef, RawListener,
        RawListenerTls, RawParentRef, RawReferenceGrant, RawRoute, RawRule, RouteKind,
    },
    read::Spanned,
    secrets::Secrets,
    tree::Node,
};

use std::collections::{BTreeMap, BTreeSet};

/// The group of the Gateway API.
pub(super) const GROUP: &str = "gateway.networking.k8s.io";
/// The name that we answer to, if no other is said.
pub(super) const CLASS: &str = "weirgate";

/// The documents of all files.
#[derive(Default)]
pub(super) struct Kube<'a> {
    pub(super) gateways: Vec<Document<'a, RawGateway>>,
    pub(super) routes: Vec<Document<'a, RawHttpRoute>>,
    pub(super) grants: Vec<RawReferenceGrant>,
    pub(super) secrets: Vec<Document<'a, RawKubeSecret>>,
}

/// A document and where it is from.
pub(super) struct Document<'a, T> {
    pub(super) file: &'a str,
    pub(super) raw: T,
}

/// What a document of Kubernetes comes to.
pub(super) struct Converted<'a, T> {
    pub(super) file: &'a str,
    pub(super) path: String,
    pub(super) raw: Spanned<T>,
}

/// What findings call a document: `Gateway[NAMESPACE/NAME]`.
pub(super) fn label(root: &Node) -> String {
    let kind = root.get("kind").and_then(Node::text).unwrap_or_default();
    let metadata = |field| root.get("metadata").and_then(|it| it.get(field)).and_then(Node::text);
    match metadata("name") {
        Some(name) => format!("{kind}[{}/{name}]", metadata("namespace").unwrap_or("default")),
        None => kind.into(),
    }
}

/// The listeners of all Gateways; `classes` are the names that we answer to.
pub(super) fn listeners<'a>(
    kube: &Kube<'a>,
    classes: &[&str],
    secrets: &Secrets<'_>,
    lost: &Lost,
    found: &mut Vec<Finding>,
) -> Vec<Converted<'a, RawListener>> {
    let mut all = Vec::new();
    let mut names = BTreeSet::new();
    for Document { file, raw: RawGateway { metadata, spec } } in &kube.gateways {
        let findings = &mut Findings { file, found };
        let at = At::new(format!("Gateway[{}]", metadata.full_name()), place_of(&metadata.name));
        if !names.insert(metadata.full_name()) {
            findings.say(&at, "a second Gateway of this name in its namespace");
            continue;
        }
        let class = &spec.class;
        if !classes.contains(&class.value.as_str()) {
            let hint = hint(&class.value, classes.iter().copied());
            let message = format!("{:?} is none of {}, whose Gateways are ours{hint}", class.value, classes.join(", "));
            findings.say(&at.said("spec.gatewayClassName", class), message);
        }
        let address = address_of(spec, &at, findings);
        for said in &spec.listeners {
            let path = format!("{}.spec.listeners[{}]", at.path, said.value.name.value);
            let at = At::new(&path, said.place);
            let mut raw = listener_of(&said.value, metadata, address.clone());
            let to = Named { kube, secrets, lost, of: metadata };
            raw.tls = to.tls(&said.value, &at, findings);
            check_allowed(&said.value, &at, findings);
            all.push(Converted { file, path, raw: said.with(raw) });
        }
    }
    all
}

fn address_of(spec: &RawGatewaySpec, at: &At, findings: &mut Findings<'_>) -> Option<Spanned<super::raw::Address>> {
    for said in &spec.addresses {
        let at = at.said(&format!("spec.addresses[{}]", said.number), said);
        findings.choice(&at, "type", said.value.kind.as_ref(), &[("IPAddress", ())]);
    }
    if let [_, second, ..] = &spec.addresses[..] {
        let message = "a second address is not supported in this version: say one, or none for all of ours";
        findings.say(&at.said("spec.addresses[1]", second), message);
    }
    spec.addresses.first().map(|said| said.value.value.clone())
}

fn listener_of(raw: &RawKubeListener, of: &KubeMetadata, address: Option<Spanned<super::raw::Address>>) -> RawListener {
    RawListener {
        name: raw.name.with(format!("{}/{}", of.full_name(), raw.name.value)),
        port: raw.port,
        protocol: raw.protocol.clone(),
        address,
        hostname: raw.hostname.clone(),
        service: None,
        proxy_protocol: None,
        tls: None,
        alpn: None,
        http: None,
        tcp: None,
    }
}

/// Finds the secrets that a Gateway names.
struct Named<'a> {
    kube: &'a Kube<'a>,
    secrets: &'a Secrets<'a>,
    lost: &'a Lost,
    of: &'a KubeMetadata,
}

impl Named<'_> {
    fn tls(&self, raw: &RawKubeListener, at: &At, findings: &mut Findings<'_>) -> Option<Spanned<RawListenerTls>> {
        let said = raw.tls.as_ref()?;
        let at = at.said("tls", said);
        let certificate_refs = said.value.certificate_refs.iter().map(|said| {
            let at = at.said(&format!("certificateRefs[{}]", said.number), said);
            said.with(self.secret(&said.value, &at, findings))
        });
        let certificate_refs = certificate_refs.collect();
        Some(said.with(RawListenerTls {
            mode: said.value.mode.clone(),
            certificate_refs,
            frontend_validation: None,
            min_version: None,
            max_version: None,
            cipher_suites: Vec::new(),
            groups: Vec::new(),
            handshake_timeout: None,
            unknown_name: None,
        }))
    }

    /// The secret that stands for one of Kubernetes; whether it is there is looked at with those of other listeners.
    fn secret(&self, raw: &RawKubeSecretRef, at: &At, findings: &mut Findings<'_>) -> String {
        let kind = raw.kind.as_deref().unwrap_or("Secret");
        if kind != "Secret" || !raw.group.is_empty() {
            findings.say(at, format!("{kind} is not supported in this version: a Secret is"));
        }
        let namespace = raw.namespace.as_deref().unwrap_or(&self.of.namespace);
        let is_own = namespace == self.of.namespace;
        if !is_own
            && !is_granted(self.kube, "Gateway", &self.of.namespace, "Secret", namespace, &raw.name)
            && !self.lost.anything
        {
            let message = "no ReferenceGrant there lets Gateways of";
            let (secret, own) = (&raw.name, &self.of.namespace);
            findings.say(at, format!("Secret {namespace}/{secret}: {message} {own} refer to it"));
        }
        let full = format!("{namespace}/{}", raw.name);
        let is_alone = !self.secrets.has(&full) && self.secrets.has(&raw.name) && (is_own || namespace == "default");
        if is_alone { raw.name.clone() } else { full }
    }
}

/// Whether a ReferenceGrant lets one kind of a namespace refer to an object of another.
fn is_granted(kube: &Kube<'_>, from: &str, own: &str, to: &str, namespace: &str, name: &str) -> bool {
    kube.grants.iter().filter(|grant| grant.metadata.namespace == namespace).any(|grant| {
        let is_from = grant.spec.from.iter().any(|it| it.group == GROUP && it.kind == from && it.namespace == own);
        let is_named = |it: &Option<String>| it.as_ref().is_none_or(|it| it == name);
        is_from && grant.spec.to.iter().any(|it| it.group.is_empty() && it.kind == to && is_named(&it.name))
    })
}

fn check_allowed(raw: &RawKubeListener, at: &At, findings: &mut Findings<'_>) {
    let Some(allowed) = &raw.allowed_routes else { return };
    let at = at.said("allowedRoutes", allowed);
    if let Some(said) = &allowed.value.namespaces {
        let at = at.said("namespaces", said);
        let works = [("Same", ()), ("All", ())];
        match (&said.value.from, &said.value.selector) {
            (Some(from), _) if &*from.value == "Selector" => {
                findings.say(&at.said("from", from), "Selector is not supported in this version");
            }
            (_, Some(selector)) => findings.say(&at.said("selector", selector), "it is for from: Selector"),
            (from, None) => _ = findings.choice(&at, "from", from.as_ref(), &works),
        }
    }
    for said in &allowed.value.kinds {
        let at = at.said(&format!("kinds[{}]", said.number), said);
        if said.value.group.as_deref().is_some_and(|group| group != GROUP) {
            findings.say(&at.field("group"), format!("only kinds of {GROUP} are routes"));
        }
        let later = ["GRPCRoute", "TLSRoute", "UDPRoute"];
        findings.choose(&at.field("kind"), &said.value.kind, &[("HTTPRoute", ()), ("TCPRoute", ())], &later);
    }
}

/// The HTTPRoutes, with the listeners that they reach.
pub(super) fn routes<'a>(
    kube: &Kube<'a>,
    lost: &Lost,
    backends: &Backends<'_>,
    found: &mut Vec<Finding>,
) -> Vec<Converted<'a, RawRoute>> {
    let mut all = Vec::new();
    let mut bare = BTreeMap::new();
    let gateways = kube.gateways.iter().map(|it| (it.raw.metadata.full_name(), &it.raw)).collect();
    for Document { file, raw } in &kube.routes {
        let name = &raw.metadata.name;
        let path = format!("HTTPRoute[{}].spec", raw.metadata.full_name());
        let at = At::new(&path, place_of(name));
        let mut to = Resolver {
            gateways: &gateways,
            kube,
            lost,
            backends,
            of: &raw.metadata,
            homes: homes_of(raw),
            bare: &mut bare,
            findings: Findings { file, found },
        };
        let route = RawRoute {
            kind: name.with(RouteKind("HTTPRoute".into())),
            name: name.with(raw.metadata.full_name()),
            parent_refs: to.parents(raw, &at),
            hostnames: raw.spec.hostnames.clone(),
            rules: raw.spec.rules.iter().map(|said| said.with(to.rule(said, &at))).collect(),
        };
        all.push(Converted { file, path, raw: name.with(route) });
    }
    all
}

/// Finds what an HTTPRoute refers to.
struct Resolver<'a> {
    /// By their namespaces and names.
    gateways: &'a BTreeMap<String, &'a RawGateway>,
    kube: &'a Kube<'a>,
    lost: &'a Lost,
    backends: &'a Backends<'a>,
    of: &'a KubeMetadata,
    /// Namespaces whose Services may be called by their names alone.
    homes: BTreeSet<&'a str>,
    /// For which Service, with its namespace, each backend stands that has a name alone.
    bare: &'a mut BTreeMap<String, String>,
    findings: Findings<'a>,
}

/// The one that Kubernetes calls default, and those of the Gateways that a route names.
fn homes_of(raw: &RawHttpRoute) -> BTreeSet<&str> {
    let own = raw.metadata.namespace.as_str();
    let gateways = raw.spec.parent_refs.iter().map(|said| said.value.namespace.as_deref().unwrap_or(own));
    gateways.chain(["default"]).collect()
}

impl Resolver<'_> {
    fn parents(&mut self, raw: &RawHttpRoute, at: &At) -> Vec<Spanned<RawParentRef>> {
        if raw.spec.parent_refs.is_empty() {
            self.findings.say(&at.field("parentRefs"), "missing: they name the Gateways that the route is for");
        }
        let mut names = Vec::new();
        for said in &raw.spec.parent_refs {
            let at = at.said(&format!("parentRefs[{}]", said.number), said);
            for name in self.parent(&said.value, &raw.spec.hostnames, &at) {
                names.push(said.with(RawParentRef { name }));
            }
        }
        names
    }

    /// The listeners that one of them names.
    fn parent(&mut self, raw: &RawKubeParentRef, hostnames: &[String], at: &At) -> Vec<String> {
        let kind = raw.kind.as_deref().unwrap_or("Gateway");
        if kind != "Gateway" || raw.group.as_deref().is_some_and(|group| group != GROUP) {
            self.findings.say(at, format!("{kind} is not supported in this version: a Gateway of {GROUP} is"));
            return Vec::new();
        }
        let namespace = raw.namespace.as_deref().unwrap_or(&self.of.namespace);
        let full_name = format!("{namespace}/{}", raw.name);
        let Some(RawGateway { metadata, spec }) = self.gateways.get(&full_name) else {
            if !self.lost.anything && !self.findings.is_full() {
                let hint = hint(&full_name, self.gateways.keys().map(String::as_str));
                self.findings.say(at, format!("there is no Gateway {full_name:?}{hint}"));
            }
            return Vec::new();
        };
        let named = |it: &&Spanned<RawKubeListener>| {
            raw.section_name.as_ref().is_none_or(|name| *name == it.value.name.value)
                && raw.port.is_none_or(|port| port == it.value.port)
        };
        let named: Vec<_> = spec.listeners.iter().filter(named).collect();
        if named.is_empty() && !self.lost.any_of("RawKubeListener") {
            let all = spec.listeners.iter().map(|it| it.value.name.value.as_str());
            let hint = hint(raw.section_name.as_deref().unwrap_or_default(), all);
            self.findings.say(at, format!("Gateway {full_name:?} has no such listener{hint}"));
        }
        // Of one that is named, what does not fit is told further on; of several, those that fit are taken.
        let is_one = raw.section_name.is_some();
        let fits = |it: &&&Spanned<RawKubeListener>| {
            let hostname = it.value.hostname.as_ref().map(|said| said.value.as_str());
            is_one || !["TCP", "TLS"].contains(&&*it.value.protocol.value) && is_within(hostname, hostnames)
        };
        let fitting: Vec<_> = named.iter().filter(fits).collect();
        let allowed: Vec<_> = fitting.iter().filter(|it| self.is_allowed(&it.value, metadata)).collect();
        if allowed.is_empty() && !named.is_empty() {
            let why = if fitting.is_empty() {
                "speaks HTTP and takes one of its hostnames"
            } else {
                "allows it (allowedRoutes: its namespace, its kind)"
            };
            self.findings.say(at, format!("no listener of Gateway {full_name:?} that it names {why}"));
        }
        allowed.iter().map(|it| format!("{full_name}/{}", it.value.name.value)).collect()
    }

    fn is_allowed(&self, listener: &RawKubeListener, of: &KubeMetadata) -> bool {
        let Some(allowed) = &listener.allowed_routes else { return of.namespace == self.of.namespace };
        let from = allowed.value.namespaces.as_ref().and_then(|said| said.value.from.as_ref());
        let namespace = of.namespace == self.of.namespace || from.is_some_and(|from| &*from.value == "All");
        let kinds = &allowed.value.kinds;
        namespace && (kinds.is_empty() || kinds.iter().any(|said| said.value.kind == "HTTPRoute"))
    }

    fn rule(&mut self, said: &Spanned<RawKubeRule>, at: &At) -> RawRule {
        let raw = &said.value;
        let number = said.number.to_string();
        let at = at.said(&format!("rules[{}]", raw.name.as_ref().unwrap_or(&number)), said);
        let filters = raw.filters.iter().filter_map(|said| {
            let at = at.said(&format!("filters[{}]", said.number), said);
            filter_of(&said.value, &at, &mut self.findings).map(|filter| said.with(filter))
        });
        let filters = filters.collect();
        let backend_refs = raw.backend_refs.iter().map(|said| {
            let at = at.said(&format!("backendRefs[{}]", said.number), said);
            said.with(RawBackendRef { name: self.backend(&said.value, &at), weight: said.value.weight })
        });
        RawRule {
            name: raw.name.clone(),
            matches: raw.matches.clone(),
            backend_refs: backend_refs.collect(),
            filters,
            timeouts: raw.timeouts.clone(),
        }
    }

    /// The backend that stands for a Service; whether it is there is looked at with those of other routes.
    fn backend(&mut self, raw: &RawKubeBackendRef, at: &At) -> String {
        let kind = raw.kind.as_deref().unwrap_or("Service");
        if kind != "Service" || !raw.group.is_empty() {
            self.findings.say(at, format!("{kind} is not supported in this version: a Service is"));
        }
        let namespace = raw.namespace.as_deref().unwrap_or(&self.of.namespace);
        if namespace != self.of.namespace && !self.is_granted(namespace, &raw.name) && !self.lost.anything {
            let message = "no ReferenceGrant there lets HTTPRoutes of";
            let (service, own) = (&raw.name, &self.of.namespace);
            self.findings.say(at, format!("Service {namespace}/{service}: {message} {own} refer to it"));
        }
        let full = format!("{namespace}/{}:{}", raw.name, raw.port);
        if self.backends.get(&full).is_some() || self.backends.get(&raw.name).is_none() {
            return full;
        }
        if let Some(why) = self.not_alone(namespace, raw) {
            self.findings.say(at, format!("there is no backend {full:?}, and backend {:?} {why}", raw.name));
        }
        raw.name.clone()
    }

    /// Why the backend with a Service's name does not stand for it, if so.
    fn not_alone(&mut self, namespace: &str, raw: &RawKubeBackendRef) -> Option<String> {
        if !self.homes.contains(namespace) {
            let homes = self.homes.iter().copied().collect::<Vec<_>>().join(", ");
            return Some(format!("is for Services of other namespaces: {homes}"));
        }
        let ports = self.backends.ports(&raw.name);
        if !ports.is_empty() && !ports.contains(&raw.port) {
            let ports = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Some(format!("has only endpoints of port {ports}"));
        }
        let service = format!("{namespace}/{}", raw.name);
        let first = self.bare.entry(raw.name.clone()).or_insert_with(|| service.clone());
        (*first != service).then(|| format!("stands for Service {first} already"))
    }

    fn is_granted(&self, namespace: &str, service: &str) -> bool {
        is_granted(self.kube, "HTTPRoute", &self.of.namespace, "Service", namespace, service)
    }
}

fn filter_of(raw: &RawKubeFilter, at: &At, findings: &mut Findings<'_>) -> Option<RawFilter> {
    let works = ["RequestHeaderModifier", "ResponseHeaderModifier", "URLRewrite", "RequestRedirect"];
    let later = ["RequestMirror", "ExtensionRef", "CORS", "ExternalAuth"];
    findings.choose(&at.said("type", &raw.kind), &raw.kind.value, &works.map(|name| (name, ())), &later)?;
    let others = [
        ("requestMirror", &raw.request_mirror),
        ("extensionRef", &raw.extension_ref),
        ("cors", &raw.cors),
        ("externalAuth", &raw.external_auth),
    ];
    for (field, said) in others {
        if let Some(said) = said {
            findings.say(&at.said(field, said), format!("not a field of the type {}", &*raw.kind.value));
        }
    }
    Some(RawFilter {
        kind: raw.kind.with(super::raw::FilterType(raw.kind.value.to_string())),
        request_header_modifier: raw.request_header_modifier.clone(),
        response_header_modifier: raw.response_header_modifier.clone(),
        url_rewrite: raw.url_rewrite.clone(),
        request_redirect: raw.request_redirect.clone(),
        direct_response: None,
        request_mirror: None,
    })
}

/// Whether a listener takes one of a route's hosts: Gateway API, `Listener.hostname`.
fn is_within(listener: Option<&str>, hostnames: &[String]) -> bool {
    let Some(listener) = listener else { return true };
    let covers = |wide: &str, narrow: &str| {
        let below = wide.strip_prefix('*').is_some_and(|suffix| narrow.ends_with(suffix));
        wide == narrow || wide.starts_with("*.") && below
    };
    hostnames.is_empty() || hostnames.iter().any(|host| covers(listener, host) || covers(host, listener))
}
