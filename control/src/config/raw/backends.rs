//! `backends` as they are written: Envoy calls them clusters.

use super::{Later, Refused, refused};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, value::MapAccessDeserializer},
};
use serde_saphyr::Spanned;
use std::fmt;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawBackend {
    pub(in crate::config) name: Spanned<String>,
    pub(in crate::config) protocol: Option<Spanned<String>>,
    pub(in crate::config) discovery: Option<Spanned<RawDiscovery>>,
    #[serde(default)]
    pub(in crate::config) load_balancing: RawLoadBalancing,
    #[serde(default)]
    pub(in crate::config) timeouts: RawBackendTimeouts,
    #[serde(default)]
    pub(in crate::config) connection_pool: RawPool,
    pub(in crate::config) proxy_protocol: Option<Spanned<String>>,
    health_checks: Later,
    outlier_detection: Later,
    circuit_breakers: Later,
    retry_budget: Later,
    tls: Later,
}

impl RawBackend {
    pub(in crate::config) fn refused(&self) -> Vec<Refused> {
        let mut all = refused([
            ("healthChecks", &self.health_checks),
            ("outlierDetection", &self.outlier_detection),
            ("circuitBreakers", &self.circuit_breakers),
            ("retryBudget", &self.retry_budget),
            ("tls", &self.tls),
            ("loadBalancing.slowStart", &self.load_balancing.slow_start),
            ("loadBalancing.zoneAware", &self.load_balancing.zone_aware),
        ]);
        if let Some(discovery) = &self.discovery {
            all.extend(discovery.value.refused());
        }
        all
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawDiscovery {
    #[serde(rename = "static")]
    pub(in crate::config) fixed: Option<Vec<Spanned<RawEndpoint>>>,
    dns: Later,
    file: Later,
    xds: Later,
    consul: Later,
}

impl RawDiscovery {
    pub(in crate::config) fn refused(&self) -> Vec<Refused> {
        refused([
            ("discovery.dns", &self.dns),
            ("discovery.file", &self.file),
            ("discovery.xds", &self.xds),
            ("discovery.consul", &self.consul),
        ])
    }
}

/// `"10.1.0.21:8080"`, or `{address: "10.1.0.21:8080", weight: 3}`.
pub(in crate::config) struct RawEndpoint {
    pub(in crate::config) address: String,
    pub(in crate::config) weight: Option<u32>,
}

impl<'de> Deserialize<'de> for RawEndpoint {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Long {
            address: String,
            weight: Option<u32>,
        }
        struct Either;
        impl<'de> de::Visitor<'de> for Either {
            type Value = RawEndpoint;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"ADDRESS:PORT\", or {address: \"ADDRESS:PORT\", weight: N}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawEndpoint, E> {
                Ok(RawEndpoint { address: text.into(), weight: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawEndpoint, A::Error> {
                let Long { address, weight } = Long::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawEndpoint { address, weight })
            }
        }
        from.deserialize_any(Either)
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(in crate::config) struct RawLoadBalancing {
    pub(in crate::config) policy: Option<Spanned<String>>,
    pub(in crate::config) choices: Option<Spanned<u8>>,
    pub(in crate::config) hash_on: Option<Spanned<RawHashOn>>,
    pub(in crate::config) panic_threshold: Option<Spanned<u8>>,
    pub(in crate::config) points_min: Option<Spanned<u32>>,
    pub(in crate::config) points_max: Option<Spanned<u32>>,
    pub(in crate::config) places: Option<Spanned<u32>>,
    slow_start: Later,
    zone_aware: Later,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawHashOn {
    pub(in crate::config) source: Option<bool>,
    pub(in crate::config) header: Option<String>,
    pub(in crate::config) cookie: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(in crate::config) struct RawBackendTimeouts {
    pub(in crate::config) connect: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(in crate::config) struct RawPool {
    pub(in crate::config) max_connections: Option<Spanned<u32>>,
    pub(in crate::config) idle: Option<Spanned<String>>,
    pub(in crate::config) max_age: Option<Spanned<String>>,
    pub(in crate::config) max_requests: Option<Spanned<u32>>,
}
