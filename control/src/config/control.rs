//! `metadata.labels`, `admin` and `observability`: what only the control daemon needs.

use super::{
    Admin, Control, Finding, Label, Metrics, Source,
    findings::{At, Findings},
    place_of,
    raw::{AddressAndPort, RawAdmin, RawFile, RawMetrics},
    read::Spanned,
};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

/// Labels of a node: each is a series.
const LABELS_MAX: usize = 64;

/// Compiles the blocks of all files; of each there may be one.
pub(super) fn compile(sources: &[Source<'_>], found: &mut Vec<Finding>) -> Control {
    let (mut labels, mut admin, mut metrics) = (BTreeMap::new(), None, None);
    for Source { file, raw } in sources {
        let findings = &mut Findings { file, found };
        add_labels(&mut labels, raw, findings);
        if let Some(said) = &raw.admin {
            let at = At::new("admin", place_of(said));
            once(&mut admin, admin_of(&said.value, &at, findings), &at, findings);
        }
        if let Some(said) = raw.observability.as_ref().and_then(|block| block.value.metrics.as_ref()) {
            let at = At::new("observability.metrics", place_of(said));
            once(&mut metrics, metrics_of(&said.value, &at, findings), &at, findings);
        }
    }
    let (admin, metrics) = (admin.unwrap_or_default(), metrics.unwrap_or_default());
    Control { labels, discoveries: Vec::new(), secrets: Vec::new(), admin, metrics }
}

fn add_labels(labels: &mut BTreeMap<String, String>, raw: &RawFile, findings: &mut Findings<'_>) {
    for (name, said) in raw.metadata.iter().flat_map(|metadata| &metadata.labels.0) {
        let at = At::new(format!("metadata.labels.{name}"), place_of(said));
        match labels.get(name) {
            Some(other) if *other != said.value => findings.say(&at, format!("it is {other:?} already")),
            None if labels.len() == LABELS_MAX => findings.say(&at, format!("there may be {LABELS_MAX} labels")),
            _ => _ = labels.insert(name.clone(), said.value.clone()),
        }
    }
}

fn once<T>(first: &mut Option<T>, value: T, at: &At, findings: &mut Findings<'_>) {
    if first.is_some() {
        findings.say(at, "a second block: there is one for a node");
    }
    first.get_or_insert(value);
}

fn admin_of(raw: &RawAdmin, at: &At, findings: &mut Findings<'_>) -> Admin {
    let default = Admin::default();
    let socket = raw.socket.as_ref().and_then(|said| {
        let path = said.value.strip_prefix("unix://").filter(|path| path.starts_with('/') && path.len() > 1);
        let path = path.map(PathBuf::from);
        let wrong = || format!("{:?} is not a Unix socket, such as unix:///run/weirgate/admin.sock", &*said.value);
        findings.keep(&at.said("socket", said), path.ok_or_else(wrong))
    });
    let audit = raw.audit.as_ref().and_then(|said| absolute(said, &at.said("audit", said), findings));
    let tcp = raw.tcp.as_ref().and_then(|said| {
        let address = address_of(said, &at.said("tcp", said), findings)?;
        if !address.ip().is_loopback() && raw.allow_remote != Some(true) {
            let message = "not a loopback address: whoever reaches it may do everything; allowRemote: true permits it";
            findings.say(&at.said("tcp", said), message);
        }
        Some(address)
    });
    Admin {
        socket: socket.unwrap_or(default.socket),
        allowed_uids: raw.allowed_uids.clone().unwrap_or(default.allowed_uids),
        audit,
        tcp,
    }
}

fn metrics_of(raw: &RawMetrics, at: &At, findings: &mut Findings<'_>) -> Metrics {
    let default = Metrics::default();
    let address = raw.prometheus.as_ref().and_then(|said| {
        let address = &said.value.address;
        address_of(address, &at.said("prometheus.address", address), findings)
    });
    let labels = raw.labels.as_ref().map(|all| {
        let mut labels = Vec::new();
        for said in all {
            let at = at.said(&format!("labels[{}]", said.number), said);
            let Some(label) = findings.choose(&at, &said.value, &Label::ALL, &[]) else { continue };
            if labels.contains(&label) {
                findings.say(&at, format!("{} stands there twice", &*said.value));
            }
            labels.push(label);
        }
        labels.sort();
        labels
    });
    let max_series = raw.max_series.as_ref().map(|said| {
        if said.value == 0 {
            findings.say(&at.said("maxSeries", said), "0 leaves nothing to publish");
        }
        said.value as usize
    });
    Metrics { address, max_series: max_series.unwrap_or(default.max_series), labels: labels.unwrap_or(default.labels) }
}

/// An address and port where somebody can listen.
fn address_of(said: &Spanned<AddressAndPort>, at: &At, findings: &mut Findings<'_>) -> Option<SocketAddr> {
    let parsed = said.value.parse().ok().filter(|address: &SocketAddr| address.port() > 0);
    let wrong = || format!("{:?} is not an address and port, such as 127.0.0.1:9901", &*said.value);
    findings.keep(at, parsed.ok_or_else(wrong))
}

/// A path that does not depend on where the daemon was started.
pub(super) fn absolute(said: &Spanned<String>, at: &At, findings: &mut Findings<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(&said.value);
    let wrong = || format!("{:?} is not an absolute path", said.value);
    findings.keep(at, if path.is_absolute() { Ok(path) } else { Err(wrong()) })
}
