//! The `dataplane` block as it is written.

use super::{Address, Network, Read, Size, Spanned, raw, text};
use crate::config::{
    read::{Path, Reader},
    schema::Schemas,
    tree::{Node, Value},
};
use serde_json::json;

raw! {
    /// Cores, ports and memory: the only part that needs a restart to change.
    RawDataplane {
        /// One worker for each, pinned there.
        required cores "cores": Vec<u16>,
        /// How a worker waits; adaptive if it is not said.
        optional polling "polling": Spanned<Polling>,
        /// What it may take.
        optional memory "memory": Spanned<RawMemory>,
        /// The devices.
        required ports "ports": Vec<Spanned<RawPort>>,
    } => later ["overload"]

    /// What the data plane may take.
    RawMemory {
        /// Packet memory; as many frames as fit. Not together with framesPerWorker.
        optional hugepages "hugepages": Size,
        /// Frames of each worker's pool; 8192 if nothing is said.
        optional frames_per_worker "framesPerWorker": u32,
        /// TCP connections of all workers together; 1000000 if it is not said.
        optional max_connections "maxConnections": u32,
    } => later ["perConnectionBufferLimit"]

    /// A device.
    RawPort ["name"] {
        /// Its name in counters and captures.
        required name "name": String,
        /// A PCI address, or a virtual device such as af_packet:eth1.
        required device "device": String,
        /// The longest IP packet, in bytes; 1500 if it is not said.
        optional mtu "mtu": u16,
        /// Whether checksums and segmentation are left to the device where it offers that; true if it is not said.
        optional offloads "offloads": bool,
        /// Our addresses with the lengths of their networks' prefixes.
        default addresses "addresses": Vec<Network>,
        /// The default gateway, or one of each family.
        optional gateway "gateway": OneOrTwo,
        /// Static routes.
        default routes "routes": Vec<RawStaticRoute>,
        /// Interfaces of tagged frames.
        default vlans "vlans": Vec<RawVlan>,
    }

    /// A VLAN of a device.
    RawVlan ["id"] {
        /// 1 to 4094.
        required id "id": u16,
        /// Our addresses with the lengths of their networks' prefixes.
        default addresses "addresses": Vec<Network>,
        /// The default gateway, or one of each family.
        optional gateway "gateway": OneOrTwo,
        /// Static routes.
        default routes "routes": Vec<RawStaticRoute>,
    }

    /// A static route.
    RawStaticRoute {
        /// The network.
        required to "to": Network,
        /// The router.
        required via "via": Address,
    }
}

text! {
    /// How a worker waits: busy never sleeps, adaptive spins for a moment first.
    Polling: { "enum": ["busy", "adaptive"] }
}

/// `gateway: A`, or `gateway: [A, B]` for one of each family.
#[derive(Clone)]
pub(in crate::config) struct OneOrTwo(Vec<Address>);

impl Read for OneOrTwo {
    fn read(node: &Node, at: &Path<'_>, to: &mut Reader<'_>) -> Option<Self> {
        match node.value {
            Value::List(_) => Vec::read(node, at, to).map(Self),
            _ => Address::read(node, at, to).map(|one| Self(vec![one])),
        }
    }
    fn schema(to: &mut Schemas) -> serde_json::Value {
        json!({ "oneOf": [Address::schema(to), Vec::<Address>::schema(to)] })
    }
}

/// What a port and a VLAN have in common.
pub(in crate::config) struct RawInterface<'a> {
    pub(in crate::config) addresses: &'a [Network],
    pub(in crate::config) gateways: &'a [Address],
    pub(in crate::config) routes: &'a [RawStaticRoute],
}

fn gateways(gateway: Option<&OneOrTwo>) -> &[Address] {
    gateway.map_or(&[], |all| &all.0)
}

impl RawPort {
    pub(in crate::config) fn interface(&self) -> RawInterface<'_> {
        RawInterface { addresses: &self.addresses, gateways: gateways(self.gateway.as_ref()), routes: &self.routes }
    }
}

impl RawVlan {
    pub(in crate::config) fn interface(&self) -> RawInterface<'_> {
        RawInterface { addresses: &self.addresses, gateways: gateways(self.gateway.as_ref()), routes: &self.routes }
    }
}
