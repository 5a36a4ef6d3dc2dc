//! The `dataplane` block: cores, memory, ports.

use super::{
    Findings, place_of,
    raw::{Address, RawDataplane, RawInterface, RawPort},
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
    match &*said.value {
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
                    format!("dataplane.memory.hugepages: {} is too little: each worker needs {least} frames", &**size),
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
    let gateway = |g: &Address| g.parse().map_err(|_| format!("{:?} is not an address", &**g));
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
