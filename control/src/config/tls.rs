//! TLS of listeners and backends.

use super::{
    backends::is_domain,
    findings::{At, Findings},
    listeners::Protocol,
    names::hint,
    place_of,
    raw::{
        CipherSuite, KeyExchangeGroup, RawBackendTls, RawFrontendValidation, RawListener, RawListenerTls,
        TlsVersionName,
    },
    read::Spanned,
    secrets::Secrets,
};
use std::ops::Deref;
use weirgate_dataplane::snapshot::{BackendTls, ClientValidation, ListenerTls, TlsPolicy, TlsVersion};

/// What HTTP over TLS agrees on, if nothing is said.
pub(super) const HTTP: &str = "http/1.1";

/// A listener without anything said.
pub(super) fn listener_default() -> ListenerTls {
    serde_json::from_value(serde_json::json!({ "certificates": [] })).expect("everything else has a default")
}

/// What becomes of a listener's TLS.
pub(super) enum Secured {
    /// It speaks none.
    Plain,
    /// It ends here.
    Terminates(ListenerTls),
    /// It goes on as it is.
    PassesThrough,
}

/// TLS on a listener, if it speaks that. `None`: it was found wrong.
pub(super) fn of_listener(
    raw: &RawListener,
    protocol: Protocol,
    secrets: &Secrets<'_>,
    at: &At,
    findings: &mut Findings<'_>,
) -> Option<Secured> {
    if !protocol.is_secure() {
        return Some(Secured::Plain);
    }
    let Some(said) = &raw.tls else {
        findings.say(&at.field("tls"), "missing: its certificateRefs name the certificate that clients see");
        return None;
    };
    let (tls, at) = (&said.value, at.said("tls", said));
    if let Some(mode) = &tls.mode {
        let passes = findings.choose(
            &at.said("mode", mode),
            &mode.value,
            &[("Terminate", false), ("Passthrough", true)],
            &[],
        )?;
        if passes {
            return passes_through(raw, tls, protocol, &at, findings);
        }
    }
    terminates(raw, tls, protocol, secrets, &at, findings).map(Secured::Terminates)
}

/// Nothing of what is passed on is looked at but the name that the client asks for.
fn passes_through(
    raw: &RawListener,
    tls: &RawListenerTls,
    protocol: Protocol,
    at: &At,
    findings: &mut Findings<'_>,
) -> Option<Secured> {
    if protocol == Protocol::Https {
        findings.say(&at.field("mode"), "Passthrough is for protocol TLS: what is not decrypted is no HTTP here");
        return None;
    }
    let said = [
        ("certificateRefs", tls.certificate_refs.first().map(place_of)),
        ("frontendValidation", tls.frontend_validation.as_ref().map(place_of)),
        ("minVersion", tls.min_version.as_ref().map(place_of)),
        ("maxVersion", tls.max_version.as_ref().map(place_of)),
        ("cipherSuites", tls.cipher_suites.first().map(place_of)),
        ("groups", tls.groups.first().map(place_of)),
        ("handshakeTimeout", tls.handshake_timeout.as_ref().map(place_of)),
        ("unknownName", tls.unknown_name.as_ref().map(place_of)),
    ];
    let others = said.into_iter().filter_map(|(field, place)| Some((field, place?)));
    for (field, place) in others.collect::<Vec<_>>() {
        findings.say(&At { place, ..at.field(field) }, "not with mode: Passthrough, where TLS goes on as it is");
    }
    if raw.alpn.is_some() {
        let at = At::new(format!("listeners[{}].alpn", raw.name.value), at.place);
        findings.say(&at, "not with mode: Passthrough, where TLS goes on as it is");
    }
    Some(Secured::PassesThrough)
}

fn terminates(
    raw: &RawListener,
    tls: &RawListenerTls,
    protocol: Protocol,
    secrets: &Secrets<'_>,
    at: &At,
    findings: &mut Findings<'_>,
) -> Option<ListenerTls> {
    if tls.certificate_refs.is_empty() {
        findings.say(&at.field("certificateRefs"), "missing: they name the certificates that clients see");
    }
    let mut certificates: Vec<String> = Vec::new();
    for said in &tls.certificate_refs {
        let at = at.said(&format!("certificateRefs[{}]", said.number), said);
        findings.keep(&at, secrets.find_certificate(&said.value));
        if certificates.contains(&said.value) {
            findings.say(&at, format!("{:?} stands there twice", said.value));
        }
        certificates.push(said.value.clone());
    }
    let default = listener_default();
    let unknown = [("First", false), ("Refuse", true)];
    let refuse = findings.choice(at, "unknownName", tls.unknown_name.as_ref(), &unknown);
    let clients = tls.frontend_validation.as_ref().and_then(|said| clients_of(said, secrets, at, findings));
    let handshake_ms = findings.time(at, "handshakeTimeout", tls.handshake_timeout.as_ref());
    let mut policy = Spoken::from(tls).policy(at, findings);
    policy.alpn = alpn_of(raw, protocol, findings);
    Some(ListenerTls {
        certificates,
        refuse_unknown_names: refuse.unwrap_or(default.refuse_unknown_names),
        clients,
        policy,
        handshake_ms: handshake_ms.unwrap_or(default.handshake_ms),
    })
}

fn clients_of(
    said: &Spanned<RawFrontendValidation>,
    secrets: &Secrets<'_>,
    at: &At,
    findings: &mut Findings<'_>,
) -> Option<ClientValidation> {
    let (raw, at) = (&said.value, at.said("frontendValidation", said));
    let modes = [("Required", true), ("Optional", false)];
    let is_required = match &raw.mode {
        None => true,
        said => findings.choice(&at, "mode", said.as_ref(), &modes)?,
    };
    let authorities = match &raw.ca_refs[..] {
        [one] => one,
        [] => {
            findings.say(&at.field("caRefs"), "empty: it names the secret with the authorities that are believed");
            return None;
        }
        [_, second, ..] => {
            let message = "a second one is not supported in this version: put all authorities into one file";
            findings.say(&at.said("caRefs[1]", second), message);
            return None;
        }
    };
    findings.keep(&at.said("caRefs[0]", authorities), secrets.find_authorities(&authorities.value));
    Some(ClientValidation { authorities: authorities.value.clone(), is_required })
}

/// Over TLS passed on in the clear, any protocol may be agreed on: what speaks it is the backend.
fn alpn_of(raw: &RawListener, protocol: Protocol, findings: &mut Findings<'_>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for said in raw.alpn.iter().flatten() {
        let at = At::new(format!("listeners[{}].alpn[{}]", raw.name.value, said.number), place_of(said));
        if protocol == Protocol::Https {
            findings.choose(&at, &said.value, &[(HTTP, ())], &["h2"]);
        } else if !(1..=255).contains(&said.value.len()) {
            findings.say(&at, "a protocol's name has 1 to 255 bytes");
        }
        if all.contains(&said.value) {
            findings.say(&at, format!("{:?} stands there twice", said.value));
        }
        all.push(said.value.clone());
    }
    let is_default = protocol == Protocol::Https && raw.alpn.is_none();
    if is_default { vec![HTTP.into()] } else { all }
}

/// TLS to a backend.
pub(super) fn of_backend(
    said: &Spanned<RawBackendTls>,
    secrets: &Secrets<'_>,
    at: &At,
    findings: &mut Findings<'_>,
) -> BackendTls {
    let (raw, at) = (&said.value, at.said("tls", said));
    findings.keep(&at.said("caRef", &raw.ca_ref), secrets.find_authorities(&raw.ca_ref.value));
    if let Some(said) = &raw.client_cert_ref {
        findings.keep(&at.said("clientCertRef", said), secrets.find_certificate(&said.value));
    }
    if raw.sni.is_none() && raw.subject_alt_names.is_empty() {
        findings.say(&at, "neither sni nor subjectAltNames say which server is to be believed");
    }
    let name = |said: &Spanned<String>, at: &At, findings: &mut Findings<'_>| {
        // An IP address is a name too, which is not asked for.
        if !is_domain(&said.value) && said.value.parse::<std::net::IpAddr>().is_err() {
            findings.say(at, format!("{:?} is neither a DNS name nor an IP address", said.value));
        }
    };
    if let Some(said) = &raw.sni {
        name(said, &at.said("sni", said), findings);
    }
    for said in raw.subject_alt_names.iter().filter(|said| !said.value.contains("://")) {
        name(said, &at.said(&format!("subjectAltNames[{}]", said.number), said), findings);
    }
    BackendTls {
        authorities: raw.ca_ref.value.clone(),
        sni: raw.sni.as_ref().map(|said| said.value.clone()),
        names: raw.subject_alt_names.iter().map(|said| said.value.clone()).collect(),
        certificate: raw.client_cert_ref.as_ref().map(|said| said.value.clone()),
        policy: Spoken::from(raw).policy(&at, findings),
    }
}

/// What is said of versions, suites and groups.
struct Spoken<'a> {
    versions: [&'a Option<Spanned<TlsVersionName>>; 2],
    suites: &'a [Spanned<CipherSuite>],
    groups: &'a [Spanned<KeyExchangeGroup>],
}

impl<'a> From<&'a RawListenerTls> for Spoken<'a> {
    fn from(raw: &'a RawListenerTls) -> Self {
        Self { versions: [&raw.min_version, &raw.max_version], suites: &raw.cipher_suites, groups: &raw.groups }
    }
}

impl<'a> From<&'a RawBackendTls> for Spoken<'a> {
    fn from(raw: &'a RawBackendTls) -> Self {
        Self { versions: [&raw.min_version, &raw.max_version], suites: &raw.cipher_suites, groups: &raw.groups }
    }
}

impl Spoken<'_> {
    fn policy(&self, at: &At, findings: &mut Findings<'_>) -> TlsPolicy {
        let default = TlsPolicy::default();
        let works = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
        let [min, max] = self.versions;
        let version_min = findings.choice(at, "minVersion", min.as_ref(), &works).unwrap_or(default.version_min);
        let version_max = findings.choice(at, "maxVersion", max.as_ref(), &works).unwrap_or(default.version_max);
        if (version_min, version_max) == (TlsVersion::Tls13, TlsVersion::Tls12) {
            findings.say(&at.field("minVersion"), "above maxVersion: no version is left");
        }
        let suites = listed(self.suites, "cipherSuites", TlsPolicy::suite_names, at, findings);
        // rfc8446 B.4: its suites name no key exchange.
        let version = |suite: &String| if suite.contains("_WITH_") { TlsVersion::Tls12 } else { TlsVersion::Tls13 };
        let is_left = suites.iter().any(|suite| [version_min, version_max].contains(&version(suite)));
        if let Some(first) = self.suites.first().filter(|_| !suites.is_empty() && !is_left) {
            findings.say(&at.said("cipherSuites", first), "none of them is one of the versions that are spoken");
        }
        let groups = listed(self.groups, "groups", TlsPolicy::group_names, at, findings);
        TlsPolicy { version_min, version_max, suites, groups, alpn: Vec::new() }
    }
}

/// Names among those that are known, in their own spelling.
fn listed<T: Deref<Target = str>, N: Iterator<Item = &'static str>>(
    all: &[Spanned<T>],
    field: &str,
    known: impl Fn() -> N,
    at: &At,
    findings: &mut Findings<'_>,
) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for said in all {
        let at = at.said(&format!("{field}[{}]", said.number), said);
        let wanted: &str = &said.value;
        match known().find(|it| it.eq_ignore_ascii_case(wanted)) {
            Some(name) if names.iter().any(|it| it == name) => findings.say(&at, format!("{name} stands there twice")),
            Some(name) => names.push(name.into()),
            None => {
                let list = known().collect::<Vec<_>>().join(", ");
                findings.say(&at, format!("{wanted:?} is none of {list}{}", hint(wanted, known())));
            }
        }
    }
    names
}
