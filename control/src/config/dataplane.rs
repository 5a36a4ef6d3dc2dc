//! The `dataplane` block: cores, memory, ports.

use super::{
    Findings, place_of,
    raw::{Address, Network, RawDataplane, RawInterface, RawPort},
    read::Spanned,
    size,
};
use weirgate_dataplane::{
    limits::{ETHERNET_MAX, FRAME_ROOM, FRAMES_PER_WORKER, FRAMES_PER_WORKER_RANGE, TCP_CONNECTIONS_MAX, frames_in},
    net::Cidr,
    snapshot::{Dataplane, Device, InterfaceConfig, Polling, PortConfig, RouteConfig, VlanConfig},
};

pub(super) fn dataplane_of(raw: &RawDataplane, findings: &mut Findings<'_>) -> Option<Dataplane> {
    // Each part is looked at before any of them ends this, so that all findings come at once.
    let frames_per_worker = frames_of(raw, findings);
    let ports: Vec<_> = raw.ports.iter().filter_map(|port| port_of(&port.value, findings)).collect();
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
    match &*said.value {
        "busy" => Some(Polling::Busy),
        "adaptive" => Some(Polling::Adaptive),
        other => {
            let what = format_args!(": {other:?} is neither busy nor adaptive");
            findings.add_of(place_of(said), "dataplane.polling", what);
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
            let what = ": framesPerWorker and hugepages say the same thing; keep one";
            findings.add_of(place, "dataplane.memory", what);
            None
        }
        (Some(frames), None) => Some(frames),
        (None, None) => Some(FRAMES_PER_WORKER),
        (None, Some(size)) => {
            let bytes = findings.take(place_of(size), "dataplane.memory.hugepages", size::parse(&size.value))?;
            let virtual_mtu = |port: &RawPort| usize::from(port.mtu.unwrap_or(1500)) + ETHERNET_MAX;
            let room = raw.ports.iter().map(|port| virtual_mtu(&port.value)).max().unwrap_or(0).max(FRAME_ROOM);
            let frames = frames_in(usize::try_from(bytes).unwrap_or(usize::MAX), raw.cores.len().max(1), room);
            let (least, most) = FRAMES_PER_WORKER_RANGE;
            if frames < least as usize {
                let what = format_args!(": {} is too little: each worker needs {least} frames", &*size.value);
                findings.add_of(place_of(size), "dataplane.memory.hugepages", what);
                return None;
            }
            u32::try_from(frames).ok().map(|frames| frames.min(most))
        }
    }
}

fn port_of(raw: &RawPort, findings: &mut Findings<'_>) -> Option<PortConfig> {
    let path = format!("dataplane.ports[{}]", raw.name);
    let device: Option<Device> =
        findings.take(place_of(&raw.device), &format!("{path}.device"), raw.device.value.parse());
    let untagged = interface_of(&raw.interface(), &path, findings);
    let mut vlans = Vec::new();
    for vlan in &raw.vlans {
        let path = format!("{path}.vlans[{}]", vlan.id);
        vlans.push(VlanConfig { id: vlan.id, interface: interface_of(&vlan.interface(), &path, findings)? });
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

fn interface_of(raw: &RawInterface<'_>, path: &str, findings: &mut Findings<'_>) -> Option<InterfaceConfig> {
    let before = findings.found.len();
    let mut network = |said: &Spanned<Network>, field: &str| {
        findings.take(place_of(said), &format!("{path}.{field}"), said.value.parse::<Cidr>())
    };
    let addresses = raw.addresses.iter().filter_map(|said| network(said, "addresses")).collect();
    let to: Vec<_> = raw.routes.iter().map(|route| network(&route.to, "routes.to")).collect();
    let mut address = |said: &Spanned<Address>, field: &str| {
        let parsed = said.value.parse().map_err(|_| format!("{:?} is not an address", &*said.value));
        findings.take(place_of(said), &format!("{path}.{field}"), parsed)
    };
    let gateways = raw.gateways.iter().filter_map(|said| address(said, "gateway")).collect();
    let via: Vec<_> = raw.routes.iter().map(|route| address(&route.via, "routes.via")).collect();
    let routes = to.into_iter().zip(via).filter_map(|(to, via)| Some(RouteConfig { to: to?, via: via? })).collect();
    (findings.found.len() == before).then_some(InterfaceConfig { addresses, gateways, routes })
}
