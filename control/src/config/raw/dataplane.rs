//! The `dataplane` block as it is written.

use super::{Later, Refused, refused};
use serde::Deserialize;
use serde_saphyr::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawDataplane {
    pub(in crate::config) cores: Vec<u16>,
    pub(in crate::config) polling: Option<Spanned<String>>,
    pub(in crate::config) memory: Option<Spanned<RawMemory>>,
    pub(in crate::config) ports: Vec<Spanned<RawPort>>,
    overload: Later,
}

impl RawDataplane {
    pub(in crate::config) fn refused(&self) -> Vec<Refused> {
        let mut all = refused([("dataplane.overload", &self.overload)]);
        if let Some(memory) = &self.memory {
            let memory = &memory.value;
            all.extend(refused([("dataplane.memory.perConnectionBufferLimit", &memory.per_connection_buffer_limit)]));
        }
        all
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawMemory {
    pub(in crate::config) hugepages: Option<String>,
    pub(in crate::config) frames_per_worker: Option<u32>,
    pub(in crate::config) max_connections: Option<u32>,
    per_connection_buffer_limit: Later,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawPort {
    pub(in crate::config) name: String,
    pub(in crate::config) device: String,
    pub(in crate::config) mtu: Option<u16>,
    pub(in crate::config) offloads: Option<bool>,
    #[serde(default)]
    addresses: Vec<String>,
    gateway: Option<OneOrTwo>,
    #[serde(default)]
    routes: Vec<RawStaticRoute>,
    #[serde(default)]
    pub(in crate::config) vlans: Vec<RawVlan>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawVlan {
    pub(in crate::config) id: u16,
    #[serde(default)]
    addresses: Vec<String>,
    gateway: Option<OneOrTwo>,
    #[serde(default)]
    routes: Vec<RawStaticRoute>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawStaticRoute {
    pub(in crate::config) to: String,
    pub(in crate::config) via: String,
}

/// `gateway: A`, or `gateway: [A, B]` for one of each family.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrTwo {
    One(String),
    Two(Vec<String>),
}

/// What a port and a VLAN have in common.
pub(in crate::config) struct RawInterface<'a> {
    pub(in crate::config) addresses: &'a [String],
    pub(in crate::config) gateways: &'a [String],
    pub(in crate::config) routes: &'a [RawStaticRoute],
}

impl OneOrTwo {
    fn all(this: Option<&Self>) -> &[String] {
        match this {
            None => &[],
            Some(Self::One(one)) => std::slice::from_ref(one),
            Some(Self::Two(two)) => two,
        }
    }
}

impl RawPort {
    pub(in crate::config) fn interface(&self) -> RawInterface<'_> {
        RawInterface {
            addresses: &self.addresses,
            gateways: OneOrTwo::all(self.gateway.as_ref()),
            routes: &self.routes,
        }
    }
}

impl RawVlan {
    pub(in crate::config) fn interface(&self) -> RawInterface<'_> {
        RawInterface {
            addresses: &self.addresses,
            gateways: OneOrTwo::all(self.gateway.as_ref()),
            routes: &self.routes,
        }
    }
}
