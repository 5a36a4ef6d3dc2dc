//! The configuration as the data plane gets it: compiled outside, whole, never changed. The data plane reads no YAML; it takes this, from a file or
//! over the link, and checks it again.
//!
//! The file is JSON, so that a person can read what was compiled. Unknown fields are refused: whoever compiled them expected something.

mod delta;
mod device;
mod gateway;
mod tls;

pub use delta::{Delta, Edit, EndpointsEdit, RouteEdit};
pub use device::{Device, DeviceKind};
pub use gateway::{
    Backend, BackendNames, Endpoint, HashOn, HealthCheck, HttpListener, HttpOptions, HttpTimeouts, NameRoute,
    PoolConfig, Probe, ProxyProtocol, ProxyVersion, TcpListener,
};

pub(crate) use tls::Secrets;
pub use tls::{Authorities, BackendTls, Certificate, ClientValidation, Key, ListenerTls, TlsPolicy, TlsVersion};

use crate::{
    limits::{
        ETHERNET_MAX, FRAME_ROOM, FRAMES_PER_WORKER, FRAMES_PER_WORKER_RANGE, MTU_MAX, MTU_MIN, PORTS_MAX,
        TCP_CONNECTIONS_MAX, TCP_CONNECTIONS_RANGE, TCP_LISTENERS_MAX, WORKERS_MAX, frames_min, packet_bytes,
    },
    net::{Cidr, EthernetAddress, Interface, InterfaceIndex, PortIndex, Route, Topology},
    port::Capabilities,
    services::ServiceListener,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, net::IpAddr};

/// The format that this version reads and writes.
pub const FORMAT: u32 = 1;

/// Everything that a data plane must know.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Snapshot {
    /// [`FORMAT`].
    pub format: u32,
    /// The node's name, for logs.
    pub name: String,
    /// Its number, given by whoever keeps the history; 0 where nobody does.
    #[serde(default)]
    pub revision: u64,
    /// Cores, ports and memory.
    pub dataplane: Dataplane,
    /// What is served over TCP.
    #[serde(default)]
    pub services: Vec<ServiceListener>,
    /// HTTP listeners with their routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpListener>,
    /// Listeners whose bytes are passed on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tcp: Vec<TcpListener>,
    /// Where requests and connections go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<Backend>,
    /// Certificates with their keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Certificate>,
    /// Whom to trust.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<Authorities>,
}

/// What needs a restart to change.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Dataplane {
    /// One worker for each, pinned there. A core may stand twice, for trying several workers on a small machine.
    pub cores: Vec<u16>,
    /// How a worker waits.
    #[serde(default)]
    pub polling: Polling,
    /// Frames of each worker's pool.
    #[serde(default = "frames_per_worker")]
    pub frames_per_worker: u32,
    /// TCP connections of all workers together.
    #[serde(default = "max_connections")]
    pub max_connections: u32,
    /// The devices, in order.
    pub ports: Vec<PortConfig>,
}

impl Dataplane {
    /// Room that frames need for what the ports receive. Virtual devices put a frame into one buffer, whatever its length; a NIC uses several.
    pub fn frame_room(&self) -> usize {
        let whole = self.ports.iter().filter(|p| p.device.kind.is_virtual()).map(|p| usize::from(p.mtu) + ETHERNET_MAX);
        whole.max().unwrap_or(0).max(FRAME_ROOM)
    }

    /// TCP connections of one worker: an equal share.
    pub fn connections_per_worker(&self) -> usize {
        (self.max_connections as usize).div_ceil(self.cores.len().max(1))
    }

    /// Packet memory, in bytes.
    pub fn packet_bytes(&self) -> usize {
        packet_bytes(self.cores.len(), self.frames_per_worker, self.frame_room())
    }
}

/// How a worker waits for frames.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Polling {
    /// It never sleeps: for cores that do nothing else.
    Busy,
    /// It spins for a moment, then sleeps until a frame or a timer wakes it.
    #[default]
    Adaptive,
}

/// One device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PortConfig {
    /// The name in counters and captures.
    pub name: String,
    /// A PCI address, or a virtual device such as `af_packet:eth1`; see [`Device`].
    pub device: Device,
    /// The longest IP packet.
    #[serde(default = "mtu")]
    pub mtu: u16,
    /// Whether checksums and segmentation are left to the device where it offers that.
    #[serde(default = "yes")]
    pub offloads: bool,
    /// The interface of untagged frames.
    #[serde(flatten)]
    pub untagged: InterfaceConfig,
    /// The interfaces of tagged frames.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<VlanConfig>,
}

/// One VLAN of a device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct VlanConfig {
    /// 1 to 4,094.
    pub id: u16,
    /// What we are there.
    #[serde(flatten)]
    pub interface: InterfaceConfig,
}

/// Addresses and routes of one interface.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceConfig {
    /// Ours, with their networks' prefix lengths.
    #[serde(default, with = "cidrs", skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Cidr>,
    /// Default gateways: at most one of each family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
    /// Static routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteConfig>,
}

/// One static route.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RouteConfig {
    /// The network.
    #[serde(with = "cidr")]
    pub to: Cidr,
    /// The router.
    pub via: IpAddr,
}

fn max_connections() -> u32 {
    TCP_CONNECTIONS_MAX
}
fn frames_per_worker() -> u32 {
    FRAMES_PER_WORKER
}
fn mtu() -> u16 {
    1500
}
fn yes() -> bool {
    true
}

impl Snapshot {
    /// Reads and checks a snapshot; the error says what is wrong in it.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let snapshot: Self =
            serde_json::from_str(text).map_err(|e| format!("this is not a snapshot of format {FORMAT}: {e}"))?;
        snapshot.check()?;
        Ok(snapshot)
    }

    /// As it is written to a file.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a snapshot has string keys only") + "\n"
    }

    /// Where all listeners are, of every kind.
    fn check_listeners(&self) -> Result<(), String> {
        let services = self.services.iter().map(|s| Place { name: &s.name, address: s.address, port: s.port });
        let http = self.http.iter().map(|l| Place { name: &l.name, address: l.address, port: l.port });
        let tcp = self.tcp.iter().map(|l| Place { name: &l.name, address: l.address, port: l.port });
        let services: Vec<_> = services.chain(http).chain(tcp).collect();
        if services.len() > TCP_LISTENERS_MAX {
            return Err(format!("{} listeners; there may be {TCP_LISTENERS_MAX}", services.len()));
        }
        for (i, one) in services.iter().enumerate() {
            if one.port == 0 {
                return Err(format!("listener {:?}: port 0 is no port", one.name));
            }
            if let Some(other) = services[..i].iter().find(|other| other.name == one.name) {
                return Err(format!("two listeners are named {:?}", other.name));
            }
            if let Some(address) = one.address
                && !self.has_address(address)
            {
                return Err(format!("listener {:?}: no port has the address {address}", one.name));
            }
            let clash = |other: &&Place<'_>| (other.port, other.address) == (one.port, one.address);
            if let Some(other) = services[..i].iter().find(clash) {
                let (a, b, port) = (&other.name, &one.name, one.port);
                return Err(format!("listeners {a:?} and {b:?} have the same address and port {port}"));
            }
        }
        Ok(())
    }

    fn has_address(&self, address: IpAddr) -> bool {
        let has = |port: &PortConfig| {
            let tagged = port.vlans.iter().map(|vlan| &vlan.interface);
            std::iter::once(&port.untagged).chain(tagged).any(|i| i.addresses.iter().any(|own| own.address == address))
        };
        self.dataplane.ports.iter().any(has)
    }

    /// Everything that can be checked without the devices.
    pub fn check(&self) -> Result<(), String> {
        self.check_frame()?;
        gateway::check(&self.http, &self.tcp, &self.backends)
    }

    /// The same without each backend and each HTTP listener for itself: there may be many, most of them checked before.
    pub(crate) fn check_frame(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!(
                "the snapshot has format {}, this version reads format {FORMAT}: compile it again",
                self.format
            ));
        }
        let Dataplane { cores, frames_per_worker, ports, .. } = &self.dataplane;
        if cores.is_empty() || cores.len() > WORKERS_MAX {
            return Err(format!("{} cores; there must be 1 to {WORKERS_MAX}", cores.len()));
        }
        if ports.is_empty() || ports.len() > PORTS_MAX {
            return Err(format!("{} ports; there must be 1 to {PORTS_MAX}", ports.len()));
        }
        let (least, most) = FRAMES_PER_WORKER_RANGE;
        if !(least..=most).contains(frames_per_worker) {
            return Err(format!("{frames_per_worker} frames for each worker; there must be {least} to {most}"));
        }
        let (least, most) = TCP_CONNECTIONS_RANGE;
        if !(least..=most).contains(&self.dataplane.max_connections) {
            let said = self.dataplane.max_connections;
            return Err(format!("{said} TCP connections; there may be {least} to {most}"));
        }
        let needed = frames_min(ports.len());
        if *frames_per_worker < needed {
            return Err(format!(
                "{frames_per_worker} frames for each worker; {} ports need {needed}, for their rings and what waits",
                ports.len()
            ));
        }
        self.check_listeners()?;
        gateway::check_frame(&self.tcp, &self.backends)?;
        tls::check(self)?;
        let mut names = BTreeSet::new();
        for port in ports {
            let PortConfig { name, mtu, .. } = port;
            if name.is_empty() || !names.insert(name) {
                return Err(format!("two ports are named {name:?}, or one has no name"));
            }
            if !(MTU_MIN..=MTU_MAX).contains(mtu) {
                return Err(format!("port {name}: an MTU of {mtu}; it must be {MTU_MIN} to {MTU_MAX}"));
            }
        }
        // Any addresses will do to check the rest: each port's is another.
        let any = |(port, i): (&PortConfig, u8)| Capabilities::plain(&port.name, [2, 0, 0, 0, 0, i], port.mtu);
        let capabilities: Vec<_> = ports.iter().zip(0..).map(any).collect();
        self.topology(&capabilities).map(|_| ())
    }

    /// Interfaces and routes, now that the devices have told what they are and do.
    pub fn topology(&self, devices: &[Capabilities]) -> Result<Topology, String> {
        let mut interfaces = Vec::new();
        let mut routes = Vec::new();
        for ((port, device), index) in self.dataplane.ports.iter().zip(devices).zip(0..) {
            let tagged = port.vlans.iter().map(|v| (Some(v.id), &v.interface));
            for (vlan, config) in std::iter::once((None, &port.untagged)).chain(tagged) {
                let this = InterfaceIndex(u8::try_from(interfaces.len()).map_err(|_| "too many interfaces")?);
                add_routes(&mut routes, this, config).map_err(|e| format!("port {}: {e}", port.name))?;
                interfaces.push(Interface {
                    port: PortIndex(index),
                    vlan,
                    mac: EthernetAddress(device.mac),
                    mtu: port.mtu,
                    offloads: device.offloads,
                    addresses: config.addresses.clone(),
                });
            }
        }
        Topology::new(interfaces, routes)
    }
}

/// Where a listener is.
struct Place<'a> {
    name: &'a str,
    address: Option<IpAddr>,
    port: u16,
}

fn add_routes(routes: &mut Vec<Route>, interface: InterfaceIndex, config: &InterfaceConfig) -> Result<(), String> {
    for family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
        if config.gateways.iter().filter(|g| family(g)).count() > 1 {
            return Err("two default gateways of one family".into());
        }
    }
    let default = |gateway: &IpAddr| {
        let any: IpAddr = if gateway.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        Route { to: Cidr { address: any, prefix: 0 }, interface, via: Some(*gateway) }
    };
    routes.extend(config.gateways.iter().map(default));
    routes.extend(config.routes.iter().map(|r| Route { to: r.to, interface, via: Some(r.via) }));
    Ok(())
}

/// Addresses as text, such as `192.0.2.10/24`.
mod cidr {
    use crate::net::Cidr;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(cidr: &Cidr, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(cidr)
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Cidr, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Lists of them.
mod cidrs {
    use crate::net::Cidr;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(cidrs: &[Cidr], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(cidrs.iter().map(ToString::to_string))
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Cidr>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"{"format": 1, "name": "lab", "dataplane": {"cores": [0, 1], "ports": [
        {"name": "p0", "device": "af_packet:gw0", "addresses": ["10.77.0.10/24", "fd77::10/64"], "gateways": ["10.77.0.1"],
         "vlans": [{"id": 7, "addresses": ["10.78.0.10/24"], "routes": [{"to": "10.79.0.0/16", "via": "10.78.0.1"}]}]}]}}"#;

    #[test]
    fn what_is_written_is_read_back() {
        let snapshot = Snapshot::from_json(SMALL).unwrap();
        assert_eq!(snapshot.dataplane.ports[0].mtu, 1500);
        assert_eq!(Snapshot::from_json(&snapshot.to_json()).unwrap(), snapshot);
        let topology = snapshot.topology(&[Capabilities::plain("p0", [2, 0, 0, 0, 0, 9], 1500)]).unwrap();
        assert_eq!(topology.interfaces().count(), 2);
        assert_eq!(topology.next_hop([10, 79, 1, 1].into(), None).unwrap().interface, InterfaceIndex(1));
        assert_eq!(topology.next_hop([8, 8, 8, 8].into(), None).unwrap().address, IpAddr::from([10, 77, 0, 1]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, wants) in [
            ("\"format\": 1", "\"format\": 2", "compile it again"),
            ("[0, 1]", "[]", "0 cores"),
            ("10.77.0.10/24", "10.77.0.10", "192.0.2.10/24"),
            ("\"id\": 7", "\"id\": 0", "VLAN 0"),
            ("\"p0\"", "\"\"", "no name"),
            ("10.77.0.1\"", "10.99.0.1\"", "no network"),
            ("\"name\": \"p0\"", "\"name\": \"p0\", \"mtu\": 100", "MTU of 100"),
            ("\"cores\"", "\"colour\": 1, \"cores\"", "colour"),
            ("af_packet:gw0", "carrier-pigeon:9", "carrier-pigeon"),
        ] {
            let text = SMALL.replacen(from, to, 1);
            let error = Snapshot::from_json(&text).expect_err(to);
            assert!(error.contains(wants), "{to}: {error}");
        }
    }
}
