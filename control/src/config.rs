//! YAML to a snapshot. Text is read into a raw form that has a place for every field that the configuration will have; a field whose feature
//! does not work yet is refused by name, so that nobody relies on it.

mod raw;
mod size;

use raw::{RawDataplane, RawFile, RawInterface, RawListener, RawPort, Refused};
use std::{fmt, path::Path};
use weirgate_dataplane::{
    limits::{ETHERNET_MAX, FRAME_ROOM, FRAMES_PER_WORKER, FRAMES_PER_WORKER_RANGE, TCP_CONNECTIONS_MAX, frames_in},
    net::Cidr,
    services::{Service, ServiceListener},
    snapshot::{Dataplane, Device, FORMAT, InterfaceConfig, Polling, PortConfig, RouteConfig, Snapshot, VlanConfig},
};

/// What is wrong in a configuration, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// Line and column, from 1, where they are known.
    pub place: Option<(u64, u64)>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Findings of one file as they are collected.
struct Findings<'a> {
    file: &'a str,
    found: &'a mut Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, place: Option<(u64, u64)>, message: impl Into<String>) {
        self.found.push(Finding { file: self.file.to_owned(), place, message: message.into() });
    }
    /// Keeps a value or notes why there is none.
    fn take<T>(&mut self, place: Option<(u64, u64)>, path: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|error| self.add(place, format!("{path}: {error}"))).ok()
    }
}

/// Compiles a configuration that may be spread over several files. All findings come at once.
pub fn compile(files: &[(String, String)]) -> Result<Snapshot, Vec<Finding>> {
    let mut found = Vec::new();
    let mut name = None;
    let mut dataplane: Option<Dataplane> = None;
    let mut services = Vec::new();
    let mut blocks = 0;
    for (file, text) in files {
        let mut findings = Findings { file, found: &mut found };
        let Some(raw) = parse(text, &mut findings) else { continue };
        name = name.or(raw.metadata.as_ref().and_then(|m| m.name.clone()));
        refuse(&raw.refused(), &mut findings);
        for listener in &raw.listeners {
            services.extend(listener_of(&listener.value, place_of(listener), &mut findings));
        }
        if let Some(block) = &raw.dataplane {
            blocks += 1;
            if blocks > 1 {
                findings.add(place_of(block), "a second dataplane block: there is one for a node");
            }
            dataplane = dataplane.or(dataplane_of(&block.value, &mut findings));
        }
    }
    let first = files.first().map_or("", |(file, _)| file.as_str());
    if blocks == 0 && found.is_empty() {
        Findings { file: first, found: &mut found }.add(None, "no dataplane block: it names the cores and ports");
    }
    let Some(dataplane) = dataplane else { return Err(found) };
    let snapshot = Snapshot {
        format: FORMAT,
        name: name.unwrap_or_else(|| "weirgate".into()),
        dataplane,
        services,
        http: Vec::new(),
        tcp: Vec::new(),
        backends: Vec::new(),
    };
    if found.is_empty()
        && let Err(error) = snapshot.check()
    {
        Findings { file: first, found: &mut found }.add(None, error);
    }
    if found.is_empty() { Ok(snapshot) } else { Err(found) }
}

/// Reads files for [`compile`].
pub fn read(paths: &[impl AsRef<Path>]) -> Result<Vec<(String, String)>, Vec<Finding>> {
    let mut found = Vec::new();
    let mut files = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => files.push((file, text)),
            Err(error) => found.push(Finding { file, place: None, message: format!("cannot be read: {error}") }),
        }
    }
    if found.is_empty() { Ok(files) } else { Err(found) }
}

fn place_of<T>(value: &serde_saphyr::Spanned<T>) -> Option<(u64, u64)> {
    let location = value.referenced;
    let (line, column) = (location.line(), location.column());
    (line > 0).then_some((line, column))
}

fn parse(text: &str, findings: &mut Findings<'_>) -> Option<RawFile> {
    let raw: RawFile = match serde_saphyr::from_str(text) {
        Ok(raw) => raw,
        Err(error) => {
            let place = error.location().map(|l| (l.line(), l.column()));
            // The place comes first in a finding; the library says it again at the end.
            let message = error.without_snippet().to_string();
            let end = message.rfind(" at line ").unwrap_or(message.len());
            findings.add(place, &message[..end]);
            return None;
        }
    };
    for (field, value, wants) in [("apiVersion", &raw.api_version, "weirgate/v1"), ("kind", &raw.kind, "GatewayConfig")]
    {
        match value {
            Some(said) if said.value == wants => {}
            Some(said) => {
                findings.add(place_of(said), format!("{field}: {:?}; this version reads {wants}", said.value));
            }
            None => findings.add(None, format!("{field} is missing: write {field}: {wants}")),
        }
    }
    Some(raw)
}

fn refuse(fields: &[Refused<'_>], findings: &mut Findings<'_>) {
    for (path, place) in fields {
        findings.add(*place, format!("{path} is not supported in this version"));
    }
}

/// A listener that the data plane serves by itself.
fn listener_of(raw: &RawListener, place: Option<(u64, u64)>, findings: &mut Findings<'_>) -> Option<ServiceListener> {
    let path = format!("listeners[{}]", raw.name);
    refuse(&raw.refused(), findings);
    match raw.protocol.as_str() {
        "TCP" => {}
        "HTTP" | "HTTPS" | "TLS" | "UDP" => {
            findings.add(place, format!("{path}.protocol: {} is not supported in this version", raw.protocol));
            return None;
        }
        other => {
            findings.add(place, format!("{path}.protocol: {other:?} is none of HTTP, HTTPS, TLS, TCP, UDP"));
            return None;
        }
    }
    let service = match raw.service.as_deref() {
        Some("echo") => Service::Echo,
        Some("discard") => Service::Discard,
        Some("chargen") => Service::Chargen,
        Some("quote") => Service::Quote,
        Some(other) => {
            findings.add(place, format!("{path}.service: {other:?} is none of echo, discard, chargen, quote"));
            return None;
        }
        None => {
            let message = "without a service (echo, discard, chargen, quote) is not supported in this version";
            findings.add(place, format!("{path}: a TCP listener {message}"));
            return None;
        }
    };
    let address = match &raw.address {
        None => None,
        Some(text) => {
            let parsed = text.parse().map_err(|_| format!("{text:?} is not an address"));
            Some(findings.take(place, &format!("{path}.address"), parsed)?)
        }
    };
    Some(ServiceListener { name: raw.name.clone(), address, port: raw.port, service })
}

fn dataplane_of(raw: &RawDataplane, findings: &mut Findings<'_>) -> Option<Dataplane> {
    refuse(&raw.refused(), findings);
    // Each part is looked at before any of them ends this, so that all findings come at once.
    let frames_per_worker = frames_of(raw, findings);
    let ports: Vec<_> = raw.ports.iter().filter_map(|port| port_of(&port.value, place_of(port), findings)).collect();
    let whole = ports.len() == raw.ports.len();
    let cores = raw.cores.clone();
    let polling = polling_of(raw, findings);
    if !whole {
        return None;
    }
    let said = raw.memory.as_ref().and_then(|memory| memory.value.max_connections);
    let max_connections = said.unwrap_or(TCP_CONNECTIONS_MAX);
    Some(Dataplane { cores, polling: polling?, frames_per_worker: frames_per_worker?, max_connections, ports })
}

fn polling_of(raw: &RawDataplane, findings: &mut Findings<'_>) -> Option<Polling> {
    let Some(said) = &raw.polling else { return Some(Polling::default()) };
    match said.value.as_str() {
        "busy" => Some(Polling::Busy),
        "adaptive" => Some(Polling::Adaptive),
        other => {
            findings.add(place_of(said), format!("dataplane.polling: {other:?} is neither busy nor adaptive"));
            None
        }
    }
}

/// Frames of each worker: said outright, or as many as fit the hugepages that are to be used.
fn frames_of(raw: &RawDataplane, findings: &mut Findings<'_>) -> Option<u32> {
    let Some(memory) = &raw.memory else { return Some(FRAMES_PER_WORKER) };
    let (place, memory) = (place_of(memory), &memory.value);
    match (memory.frames_per_worker, &memory.hugepages) {
        (Some(_), Some(_)) => {
            findings.add(place, "dataplane.memory: framesPerWorker and hugepages say the same thing; keep one");
            None
        }
        (Some(frames), None) => Some(frames),
        (None, None) => Some(FRAMES_PER_WORKER),
        (None, Some(size)) => {
            let bytes = findings.take(place, "dataplane.memory.hugepages", size::parse(size))?;
            let virtual_mtu = |port: &RawPort| usize::from(port.mtu.unwrap_or(1500)) + ETHERNET_MAX;
            let room = raw.ports.iter().map(|port| virtual_mtu(&port.value)).max().unwrap_or(0).max(FRAME_ROOM);
            let frames = frames_in(usize::try_from(bytes).unwrap_or(usize::MAX), raw.cores.len().max(1), room);
            let (least, most) = FRAMES_PER_WORKER_RANGE;
            if frames < least as usize {
                findings.add(
                    place,
                    format!("dataplane.memory.hugepages: {size} is too little: each worker needs {least} frames"),
                );
                return None;
            }
            u32::try_from(frames).ok().map(|frames| frames.min(most))
        }
    }
}

fn port_of(raw: &RawPort, place: Option<(u64, u64)>, findings: &mut Findings<'_>) -> Option<PortConfig> {
    let path = format!("dataplane.ports[{}]", raw.name);
    let device: Option<Device> = findings.take(place, &format!("{path}.device"), raw.device.parse());
    let untagged = interface_of(&raw.interface(), &path, place, findings);
    let mut vlans = Vec::new();
    for vlan in &raw.vlans {
        let path = format!("{path}.vlans[{}]", vlan.id);
        vlans.push(VlanConfig { id: vlan.id, interface: interface_of(&vlan.interface(), &path, place, findings)? });
    }
    Some(PortConfig {
        name: raw.name.clone(),
        device: device?,
        mtu: raw.mtu.unwrap_or(1500),
        offloads: raw.offloads.unwrap_or(true),
        untagged: untagged?,
        vlans,
    })
}

fn interface_of(
    raw: &RawInterface<'_>,
    path: &str,
    place: Option<(u64, u64)>,
    findings: &mut Findings<'_>,
) -> Option<InterfaceConfig> {
    let before = findings.found.len();
    let addresses =
        raw.addresses.iter().filter_map(|a| findings.take(place, &format!("{path}.addresses"), a.parse::<Cidr>()));
    let addresses = addresses.collect();
    let gateway = |g: &String| g.parse().map_err(|_| format!("{g:?} is not an address"));
    let gateways =
        raw.gateways.iter().filter_map(|g| findings.take(place, &format!("{path}.gateway"), gateway(g))).collect();
    let mut routes = Vec::new();
    for route in raw.routes {
        let to = findings.take(place, &format!("{path}.routes.to"), route.to.parse());
        let via = findings.take(place, &format!("{path}.routes.via"), gateway(&route.via));
        if let (Some(to), Some(via)) = (to, via) {
            routes.push(RouteConfig { to, via });
        }
    }
    (findings.found.len() == before).then_some(InterfaceConfig { addresses, gateways, routes })
}

#[cfg(test)]
mod tests;
