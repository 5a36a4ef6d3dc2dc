//! The configuration as it is written: every field has a place here, also those whose feature does not work yet.

use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::Spanned;

/// A field that is refused, by its path, and where it stands.
pub(super) type Refused<'a> = (&'a str, Option<(u64, u64)>);

/// A field that is known and does not work yet.
type Later = Option<Spanned<IgnoredAny>>;

fn refused<'a, const N: usize>(fields: [(&'a str, &Later); N]) -> Vec<Refused<'a>> {
    fields.into_iter().filter_map(|(path, field)| field.as_ref().map(|value| (path, super::place_of(value)))).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawFile {
    pub(super) api_version: Option<Spanned<String>>,
    pub(super) kind: Option<Spanned<String>>,
    pub(super) metadata: Option<RawMetadata>,
    pub(super) dataplane: Option<Spanned<RawDataplane>>,
    #[serde(default)]
    pub(super) listeners: Vec<Spanned<RawListener>>,
    secrets: Later,
    routes: Later,
    backends: Later,
    policies: Later,
    observability: Later,
    admin: Later,
    xds: Later,
}

impl RawFile {
    pub(super) fn refused(&self) -> Vec<Refused<'static>> {
        refused([
            ("secrets", &self.secrets),
            ("routes", &self.routes),
            ("backends", &self.backends),
            ("policies", &self.policies),
            ("observability", &self.observability),
            ("admin", &self.admin),
            ("xds", &self.xds),
        ])
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawMetadata {
    pub(super) name: Option<String>,
    /// Labels are for whoever reads the file; nothing selects by them yet, and nothing would behave differently.
    #[allow(dead_code)]
    labels: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawDataplane {
    pub(super) cores: Vec<u16>,
    pub(super) polling: Option<Spanned<String>>,
    pub(super) memory: Option<Spanned<RawMemory>>,
    pub(super) ports: Vec<Spanned<RawPort>>,
    overload: Later,
}

impl RawDataplane {
    pub(super) fn refused(&self) -> Vec<Refused<'static>> {
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
pub(super) struct RawMemory {
    pub(super) hugepages: Option<String>,
    pub(super) frames_per_worker: Option<u32>,
    pub(super) max_connections: Option<u32>,
    per_connection_buffer_limit: Later,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawPort {
    pub(super) name: String,
    pub(super) device: String,
    pub(super) mtu: Option<u16>,
    pub(super) offloads: Option<bool>,
    #[serde(default)]
    addresses: Vec<String>,
    gateway: Option<OneOrTwo>,
    #[serde(default)]
    routes: Vec<RawRoute>,
    #[serde(default)]
    pub(super) vlans: Vec<RawVlan>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawVlan {
    pub(super) id: u16,
    #[serde(default)]
    addresses: Vec<String>,
    gateway: Option<OneOrTwo>,
    #[serde(default)]
    routes: Vec<RawRoute>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRoute {
    pub(super) to: String,
    pub(super) via: String,
}

/// A Gateway API listener. In this version only TCP, served by the data plane itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawListener {
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) protocol: String,
    pub(super) address: Option<String>,
    pub(super) service: Option<String>,
    alpn: Later,
    proxy_protocol: Later,
    tls: Later,
    http: Later,
}

impl RawListener {
    pub(super) fn refused(&self) -> Vec<Refused<'static>> {
        refused([
            ("listeners.alpn", &self.alpn),
            ("listeners.proxyProtocol", &self.proxy_protocol),
            ("listeners.tls", &self.tls),
            ("listeners.http", &self.http),
        ])
    }
}

/// `gateway: A`, or `gateway: [A, B]` for one of each family.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrTwo {
    One(String),
    Two(Vec<String>),
}

/// What a port and a VLAN have in common.
pub(super) struct RawInterface<'a> {
    pub(super) addresses: &'a [String],
    pub(super) gateways: &'a [String],
    pub(super) routes: &'a [RawRoute],
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
    pub(super) fn interface(&self) -> RawInterface<'_> {
        RawInterface {
            addresses: &self.addresses,
            gateways: OneOrTwo::all(self.gateway.as_ref()),
            routes: &self.routes,
        }
    }
}

impl RawVlan {
    pub(super) fn interface(&self) -> RawInterface<'_> {
        RawInterface {
            addresses: &self.addresses,
            gateways: OneOrTwo::all(self.gateway.as_ref()),
            routes: &self.routes,
        }
    }
}
