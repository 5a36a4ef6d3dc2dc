//! What becomes of a request, and why: a listener's own reading of its head, and what each rule says to it. Nothing is sent, and no data plane asked.

use serde::Serialize;
use std::{collections::BTreeMap, fmt, net::IpAddr};
use weirgate_dataplane::{
    filters::FilterSpec,
    http::{
        Refusal, Side, Spans,
        admit::{Admitted, admit},
        authority::Authority,
        forward::{self, Client},
        h1::{Receiver, Step},
        head::Scheme,
        normalize::Normalizer,
    },
    route::{self, Explained, Rule, RuleIndex},
    snapshot::{BackendNames, HttpListener, ListenerTls, Snapshot},
};

/// A request that somebody asks about.
#[derive(Clone, Debug)]
pub struct Question {
    /// The method.
    pub method: String,
    /// `http://host[:port]/path?query`, or the same with `https://`.
    pub url: String,
    /// Fields, each as `name: value`.
    pub fields: Vec<String>,
    /// Who would send it: what it says about those before it is believed if the listener trusts it.
    pub client: IpAddr,
}

/// What would become of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The listener's name.
    pub listener: String,
    /// What happens before, if it speaks TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Shown>,
    /// The host that is asked, as rules see it.
    pub host: String,
    /// The path in its one form.
    pub path: String,
    /// What happens.
    pub outcome: Outcome,
    /// What each rule said, in the order given.
    pub rules: Vec<Explained>,
    /// The same, for people.
    #[serde(skip)]
    said: Vec<String>,
}

/// What happens to a request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// There is none: its client's TLS handshake is refused.
    Handshake,
    /// Its head is refused.
    Refused {
        /// The status of the answer.
        status: u16,
        /// The name under which it is counted.
        reason: &'static str,
    },
    /// It is answered before any rule sees it.
    Answered {
        /// The status of the answer.
        status: u16,
        /// Why.
        reason: &'static str,
    },
    /// The client is sent to the same path in its normal form.
    Redirected,
    /// No rule takes it.
    NoRoute,
    /// A rule takes it.
    Taken {
        /// The rule.
        rule: RuleIndex,
        /// What its filters are, in order.
        filters: Vec<&'static str>,
        /// Where it may go, with parts of a hundred and endpoints.
        backends: Vec<Share>,
    },
}

/// What a client sees that asks for a name.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// The name that it asks for; `None`: the URL has an address, and those are not asked for.
    pub sni: Option<String>,
    /// The secret whose certificate it is shown; `None`: its handshake is refused.
    pub certificate: Option<String>,
    /// Why that one.
    pub why: String,
    /// Its handshake is refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_refused: bool,
    /// Whether it must show who it is, or may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<&'static str>,
}

/// Names that certificates are for, by their secrets. Where one is missing, it is not said which one is shown.
pub type Names = BTreeMap<String, Vec<String>>;

/// A backend's part of a rule's requests.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// Its name.
    pub backend: String,
    /// Parts of a hundred.
    pub percent: f64,
    /// Addresses and ports.
    pub endpoints: Vec<String>,
}

/// Says what would become of a request.
///
/// # Errors
/// What is wrong with the question, or that nobody listens there.
pub fn explain(snapshot: &Snapshot, names: &Names, question: &Question) -> Result<Explanation, String> {
    let url = Url::parse(&question.url)?;
    let listener = listener_of(snapshot, &url)?;
    let tls = listener.tls.as_ref().map(|tls| shown(tls, names, &url));
    let head = head_of(question, &url)?;
    let mut explanation = Explanation {
        listener: listener.name.clone(),
        tls,
        host: String::from_utf8_lossy(url.authority.host).to_lowercase(),
        path: url.target.split('?').next().unwrap_or_default().to_owned(),
        outcome: Outcome::NoRoute,
        rules: Vec::new(),
        said: Vec::new(),
    };
    if explanation.tls.as_ref().is_some_and(|tls| tls.is_refused) {
        // No request comes out of it.
        explanation.outcome = Outcome::Handshake;
        return Ok(explanation);
    }
    if let Err(refusal) = judge(snapshot, listener, question, &head, &mut explanation) {
        explanation.outcome = Outcome::Refused { status: refusal.status(Side::Server), reason: refusal.name() };
    }
    Ok(explanation)
}

/// As a worker does it.
fn judge(
    snapshot: &Snapshot,
    listener: &HttpListener,
    question: &Question,
    head: &[u8],
    explanation: &mut Explanation,
) -> Result<(), Refusal> {
    let options = &listener.options;
    let mut spans = Spans::new();
    let step = Receiver::new(Side::Server, options.limits()).step(head, &mut spans)?;
    let Step::Head { .. } = step else { return Err(Refusal::Truncated) };
    let is_trusted = options.trusted.iter().any(|network| network.contains(question.client));
    let client =
        Client::new(question.client, if listener.tls.is_some() { Scheme::Https } else { Scheme::Http }, is_trusted);
    let mut normalizer = Normalizer::new();
    let Admitted { path, hops } = admit(head, &mut spans, &client, options.normalize(), &mut normalizer)?;
    let request = spans.request(head);
    explanation.host = String::from_utf8_lossy(request.host()).into_owned();
    explanation.path = String::from_utf8_lossy(path.bytes).into_owned();
    if path.redirect {
        explanation.outcome = Outcome::Redirected;
        return Ok(());
    }
    let via = forward::Options { via: options.name.as_bytes(), ..forward::Options::default() };
    if forward::is_loop(request.fields, via) {
        explanation.outcome = Outcome::Answered { status: 508, reason: "it was here before (Via)" };
        return Ok(());
    }
    if hops == Some(0) {
        let status = if request.method() == b"TRACE" { 501 } else { 204 };
        explanation.outcome = Outcome::Answered { status, reason: "it may not be forwarded again (Max-Forwards)" };
        return Ok(());
    }
    let asked = route::asked(request, path.bytes);
    let backends = BackendNames::of(&snapshot.backends);
    let table =
        route::compile(listener.rules.clone(), &|name| backends.number(name)).expect("the snapshot was checked");
    explanation.rules = table.explain(&asked);
    let name = |index| table.name(index).0.to_owned() + "/" + &table.name(index).1;
    explanation.said = explanation.rules.iter().map(|it| format!("{}: {}", name(it.index), it.verdict)).collect();
    if let Some(found) = table.find(&asked) {
        let mut rules = listener.rules.routes.iter().flat_map(|route| &route.rules);
        let rule = rules.nth(found.rule.0 as usize).expect("a rule of this table");
        explanation.outcome = taken(snapshot, found.rule, rule);
    }
    Ok(())
}

fn taken(snapshot: &Snapshot, index: RuleIndex, rule: &Rule) -> Outcome {
    let filters = rule.filters.iter().map(|filter| match filter {
        FilterSpec::RequestHeaderModifier(_) => "request header fields",
        FilterSpec::ResponseHeaderModifier(_) => "response header fields",
        FilterSpec::UrlRewrite(_) => "URL rewrite",
        FilterSpec::Redirect(_) => "answers with a redirect",
        FilterSpec::DirectResponse(_) => "answers by itself",
    });
    let sum: f64 = rule.backends.iter().map(|share| f64::from(share.weight)).sum();
    let backends = rule.backends.iter().filter(|share| share.weight > 0).map(|share| {
        let backend = snapshot.backends.iter().find(|backend| backend.name == share.backend);
        let backend = backend.expect("the snapshot was checked");
        Share {
            backend: backend.name.clone(),
            percent: f64::from(share.weight) * 100.0 / sum,
            endpoints: backend.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect(),
        }
    });
    Outcome::Taken { rule: index, filters: filters.collect(), backends: backends.collect() }
}

/// What is asked.
struct Url<'a> {
    said: &'a str,
    is_secure: bool,
    authority: Authority<'a>,
    port: u16,
    /// Path and query.
    target: &'a str,
}

impl<'a> Url<'a> {
    fn parse(url: &'a str) -> Result<Self, String> {
        let secure = url.strip_prefix("https://");
        let rest = secure.or_else(|| url.strip_prefix("http://"));
        let rest = rest.ok_or_else(|| format!("{url:?} does not begin with http:// or https://"))?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (said, target) = rest.split_at(end);
        let authority = Authority::parse(said.as_bytes()).map_err(|_| format!("{said:?} is no host and port"))?;
        Ok(Self {
            said,
            is_secure: secure.is_some(),
            authority,
            port: authority.port.unwrap_or(if secure.is_some() { 443 } else { 80 }),
            target: if target.is_empty() { "/" } else { target },
        })
    }

    /// The host, if it is an address.
    fn address(&self) -> Option<IpAddr> {
        std::str::from_utf8(self.authority.host).ok()?.trim_matches(['[', ']']).parse().ok()
    }
}

/// Whom a client reaches at this address and port: of several, the one of the very address.
fn listener_of<'s>(snapshot: &'s Snapshot, url: &Url<'_>) -> Result<&'s HttpListener, String> {
    let fits = |listener: &&HttpListener| listener.port == url.port && listener.tls.is_some() == url.is_secure;
    let at_port = || snapshot.http.iter().filter(fits);
    let of_address = url.address().and_then(|address| at_port().find(|listener| listener.address == Some(address)));
    let of_all = || at_port().find(|listener| listener.address.is_none());
    // A name may lead to any address of ours.
    let of_name = || at_port().next().filter(|_| url.address().is_none());
    of_address.or_else(of_all).or_else(of_name).ok_or_else(|| {
        let all = snapshot.http.iter().map(|listener| {
            let tls = if listener.tls.is_some() { ", TLS" } else { "" };
            match listener.address {
                Some(address) => format!("{} ({address}, port {}{tls})", listener.name, listener.port),
                None => format!("{} (port {}{tls})", listener.name, listener.port),
            }
        });
        let kind = if url.is_secure { "HTTPS" } else { "HTTP" };
        let all: Vec<_> = all.collect();
        let all = if all.is_empty() { "there is none".into() } else { all.join(", ") };
        format!("no {kind} listener takes {}, port {}; listeners: {all}", url.said, url.port)
    })
}

/// As a listener chooses: exact names first, then wildcards of one label, then the first one.
fn shown(tls: &ListenerTls, names: &Names, url: &Url<'_>) -> Shown {
    let host = String::from_utf8_lossy(url.authority.host).to_ascii_lowercase();
    let sni = url.address().is_none().then_some(host);
    let client_certificate = tls
        .clients
        .as_ref()
        .map(|it| if it.is_required { "it must show a certificate" } else { "it may show a certificate" });
    let unknown = tls.certificates.iter().find(|it| !names.contains_key(*it));
    let (certificate, why) = match unknown {
        Some(name) => (None, format!("unknown, because the certificate {name} is not known")),
        None => chosen(tls, names, sni.as_deref()),
    };
    let is_refused = certificate.is_none() && unknown.is_none();
    Shown { sni, certificate, why, is_refused, client_certificate }
}

fn chosen(tls: &ListenerTls, names: &Names, sni: Option<&str>) -> (Option<String>, String) {
    let has = |wanted: &str| {
        let is_its =
            |name: &&String| names.get(*name).is_some_and(|all| all.iter().any(|it| it.eq_ignore_ascii_case(wanted)));
        let all: Vec<_> = tls.certificates.iter().filter(is_its).cloned().collect();
        (!all.is_empty()).then(|| all.join(" or "))
    };
    let wildcard = || {
        let wanted = format!("*.{}", sni?.split_once('.')?.1);
        has(&wanted).map(|found| (Some(found), format!("it is for {wanted}")))
    };
    let exact = sni.and_then(|name| has(name).map(|found| (Some(found), format!("it is for {name}"))));
    exact.or_else(wildcard).unwrap_or_else(|| match (&tls.certificates.first(), tls.refuse_unknown_names) {
        (Some(first), false) => (Some((*first).clone()), "none is for it, and this is the first one".into()),
        _ => (None, "none is for it, and unknown names are refused".into()),
    })
}

fn head_of(question: &Question, url: &Url<'_>) -> Result<Vec<u8>, String> {
    let is_connect = question.method == "CONNECT";
    let target = if is_connect { url.said } else { url.target };
    let mut head = format!("{} {target} HTTP/1.1\r\n", question.method);
    let names = |field: &String, name: &str| field.split(':').next().is_some_and(|n| n.eq_ignore_ascii_case(name));
    if !question.fields.iter().any(|field| names(field, "host")) {
        head += &format!("Host: {}\r\n", url.said);
    }
    for field in &question.fields {
        if !field.contains(':') {
            return Err(format!("{field:?} is no field: write 'name: value'"));
        }
        head += field;
        head += "\r\n";
    }
    head += "\r\n";
    Ok(head.into_bytes())
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "listener  {}", self.listener)?;
        if let Some(Shown { sni, certificate, why, client_certificate, .. }) = &self.tls {
            let name = sni.as_deref().unwrap_or("no name");
            let certificate = certificate.as_deref().unwrap_or("none");
            writeln!(f, "tls       asked for {name}; shown {certificate}: {why}")?;
            if let Some(client) = client_certificate {
                writeln!(f, "          {client}")?;
            }
        }
        writeln!(f, "host      {}", self.host)?;
        writeln!(f, "path      {}", self.path)?;
        for (n, said) in self.said.iter().enumerate() {
            writeln!(f, "{}  {said}", if n == 0 { "rules   " } else { "        " })?;
        }
        match &self.outcome {
            Outcome::Handshake => writeln!(f, "refused   its handshake, counted as no_certificate_for_name"),
            Outcome::Refused { status, reason } => writeln!(f, "refused   {status}, counted as {reason}"),
            Outcome::Answered { status, reason } => writeln!(f, "answered  {status}: {reason}"),
            Outcome::Redirected => writeln!(f, "redirect  307, to the path above"),
            Outcome::NoRoute => writeln!(f, "no route  404"),
            Outcome::Taken { filters, backends, .. } => {
                if !filters.is_empty() {
                    writeln!(f, "filters   {}", filters.join(", "))?;
                }
                for (n, Share { backend, percent, endpoints }) in backends.iter().enumerate() {
                    let label = if n == 0 { "backends" } else { "        " };
                    let endpoints = if endpoints.is_empty() { "no endpoint".into() } else { endpoints.join(", ") };
                    writeln!(f, "{label}  {backend}, {percent:.0} %: {endpoints}")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, url: &str, fields: &[&str]) -> String {
        ask_of(|_| {}, method, url, fields)
    }

    fn ask_of(change: impl Fn(&mut Snapshot), method: &str, url: &str, fields: &[&str]) -> String {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gateway.yaml")).unwrap();
        let mut snapshot =
            crate::config::compile(&[("gateway.yaml".into(), text)], &Default::default()).unwrap().snapshot;
        change(&mut snapshot);
        let names = Names::from([
            ("shop".into(), vec!["shop.example".to_owned()]),
            ("wild".into(), vec!["*.example".to_owned(), "example".to_owned()]),
        ]);
        let question = Question {
            method: method.into(),
            url: url.into(),
            fields: fields.iter().map(|&field| field.into()).collect(),
            client: [192, 0, 2, 1].into(),
        };
        explain(&snapshot, &names, &question).map_or_else(|error| error, |explanation| explanation.to_string())
    }

    #[test]
    fn each_rule_says_why() {
        let canary = [
            "listener  http",
            "host      shop.example.com",
            "path      /cart/7",
            "rules     shop/cart: chosen",
            "          shop/old: the path is not PathPrefix \"/basket\"",
            "          rest/health: the path is not Exact \"/healthz\"",
            "          rest/#1: matches, but the chosen rule has a more specific hostname",
            "filters   request header fields, URL rewrite",
            "backends  cart-v1, 90 %: 10.77.0.11:8080",
            "          cart-v2, 10 %: 10.77.0.12:8080",
            "",
        ];
        assert_eq!(ask("GET", "http://shop.example.com/x/..//cart/7", &["x-canary: 1"]), canary.join("\n"));
    }

    #[test]
    fn heads_are_read_as_a_listener_reads_them() {
        for (method, url, fields, wanted) in [
            ("GET", "http://shop.example.com/a/..;/b", &[][..], "refused   400, counted as dot_parameters\n"),
            ("GET", "http://shop.example.com/", &["x_y: 1"], "refused   400, counted as field_underscore\n"),
            ("OPTIONS", "http://shop.example.com/", &["Max-Forwards: x"], "refused   400, counted as max_forwards\n"),
            (
                "OPTIONS",
                "http://shop.example.com/",
                &["Max-Forwards: 0"],
                "answered  204: it may not be forwarded again (Max-Forwards)\n",
            ),
            ("GET", "http://shop.example.com/", &["Via: 1.1 weirgate"], "answered  508: it was here before (Via)\n"),
            ("get", "http://shop.example.com/", &[], "refused   400, counted as method_case\n"),
            ("GET", "http://10.77.0.10/", &["Host: shop.example.com"], "no route  404\n"),
            ("CONNECT", "http://10.77.0.10:80/", &[], "no route  404\n"),
            ("POST", "http://shop.example.com/basket", &[], "filters   answers with a redirect\n"),
        ] {
            // Without the rule that takes everything.
            let said = ask_of(|snapshot| _ = snapshot.http[0].rules.routes.pop(), method, url, fields);
            assert!(said.ends_with(wanted), "{method} {url}: {said}");
        }
    }

    #[test]
    fn who_asks_over_tls_is_shown_a_certificate() {
        let secure = |refuse: bool| {
            move |snapshot: &mut Snapshot| {
                let tls = serde_json::json!({
                    "certificates": ["shop", "wild"],
                    "refuseUnknownNames": refuse,
                    "clients": {"authorities": "m", "isRequired": false},
                });
                (snapshot.http[0].tls, snapshot.http[0].port) = (Some(serde_json::from_value(tls).unwrap()), 443);
            }
        };
        for (url, refuse, wanted) in [
            (
                "https://Shop.Example/cart",
                false,
                "tls       asked for shop.example; shown shop: it is for shop.example\n",
            ),
            ("https://a.example/", false, "tls       asked for a.example; shown wild: it is for *.example\n"),
            ("https://a.b.example/", false, "shown shop: none is for it, and this is the first one\n"),
            ("https://10.77.0.10/", false, "tls       asked for no name; shown shop: none is for it"),
            ("https://10.77.0.10/", true, "refused   its handshake, counted as no_certificate_for_name\n"),
            ("https://a.example/", true, "          it may show a certificate\n"),
            (
                "http://a.example:443/",
                true,
                "no HTTP listener takes a.example:443, port 443; listeners: http (port 443, TLS)",
            ),
        ] {
            let said = ask_of(secure(refuse), "GET", url, &[]);
            assert!(said.contains(wanted), "{url}: {said}");
        }
    }

    #[test]
    fn questions_that_cannot_be_answered_are_said_so() {
        for (url, field, wanted) in [
            ("http://a:81/", "a: b", "no HTTP listener takes a:81, port 81; listeners: http (port 80)"),
            ("ftp://a/", "a: b", "\"ftp://a/\" does not begin with http:// or https://"),
            ("https://a/", "a: b", "no HTTPS listener takes a, port 443; listeners: http (port 80)"),
            ("http://a b/", "a: b", "\"a b\" is no host and port"),
            ("http://a/", "nonsense", "\"nonsense\" is no field: write 'name: value'"),
        ] {
            assert_eq!(ask("GET", url, &[field]), wanted);
        }
    }
}
