//! The configuration as it is written. Each table has every field that its block will have; those that do not work yet are refused by name.

mod backends;
mod dataplane;
mod kube;
mod labels;
mod listeners;
mod node;
mod routes;
mod secrets;

pub(super) use backends::{RawBackend, RawDns, RawEndpoint, RawHashOn, RawHealthCheck, RawLoadBalancing, RawPool};
pub(super) use dataplane::{RawDataplane, RawInterface, RawPort};
pub(super) use kube::{
    KubeMetadata, RawGateway, RawGatewaySpec, RawHttpRoute, RawKubeBackendRef, RawKubeFilter, RawKubeListener,
    RawKubeParentRef, RawKubeRule, RawKubeSecret, RawKubeSecretRef, RawReferenceGrant,
};
pub(super) use labels::RawLabels;
pub(super) use listeners::{RawHttp, RawListener, RawProxyProtocol, RawTimeouts, ServiceName};
pub(super) use node::{RawAdmin, RawMetrics, RawObservability};
pub(super) use routes::{
    FilterType, RawBackendRef, RawCondition, RawFilter, RawHeader, RawHeaderModifier, RawMatch, RawNewPath,
    RawParentRef, RawPath, RawRequestRedirect, RawRoute, RawRule, RawRuleTimeouts, RawUrlRewrite, RouteKind,
};

pub(super) use secrets::{
    CipherSuite, KeyExchangeGroup, RawBackendTls, RawFrontendValidation, RawListenerTls, RawSecret, RawSecretFiles,
    TlsVersionName,
};

use super::read::{Ignored, Read, Spanned, raw, text};

raw! {
    /// A part of the configuration of one gateway: the documents of all files are one configuration.
    RawFile {
        /// The node's name, and labels for whoever reads it.
        optional metadata "metadata": RawMetadata,
        /// Further files, or directories of which every *.yaml, *.yml and *.json is taken, relative to this file.
        default include "include": Vec<Spanned<String>>,
        /// Cores, ports and memory: the only part that needs a restart to change. There is one in all files.
        optional dataplane "dataplane": Spanned<RawDataplane>,
        /// Where connections come in.
        default listeners "listeners": Vec<Spanned<RawListener>>,
        /// Certificates with their keys, and authorities.
        default secrets "secrets": Vec<Spanned<RawSecret>>,
        /// Which requests and connections go where.
        default routes "routes": Vec<Spanned<RawRoute>>,
        /// Where they go.
        default backends "backends": Vec<Spanned<RawBackend>>,
        /// Names of Kubernetes GatewayClasses whose Gateways are ours; weirgate if it is not said.
        optional gateway_class_names "gatewayClassNames": Vec<String>,
        /// What is published about it.
        optional observability "observability": Spanned<RawObservability>,
        /// The admin API.
        optional admin "admin": Spanned<RawAdmin>,
    } => later ["policies", "xds"] => ignored {
        /// weirgate/v1.
        required "apiVersion": ApiVersion,
        /// GatewayConfig.
        required "kind": ConfigKind,
    }

    /// The node's name, and labels for whoever reads it.
    RawMetadata {
        /// The node's name, for logs.
        optional name "name": String,
        /// What the node is, for whoever reads its metrics.
        default labels "labels": RawLabels,
    }
}

text! {
    /// The configuration's version.
    ApiVersion: { "const": "weirgate/v1" }
    /// What the document is.
    ConfigKind: { "const": "GatewayConfig" }

    /// A duration: up to four numbers, each with its unit: h, m, s or ms, such as 500ms, 10s, 5m or 1h30m.
    Duration: { "type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$" }
    /// A size: bytes, or a number with its unit: B, KiB, MiB or GiB, such as 64KiB.
    Size: { "type": ["string", "integer"], "minimum": 0, "pattern": "^[0-9]+(B|KiB|MiB|GiB)?$" }
    /// An address, such as 192.0.2.10 or 2001:db8::10.
    Address: { "type": "string" }
    /// A network: an address with the length of its prefix, such as 192.0.2.0/24 or 2001:db8::/32.
    Network: { "type": "string", "pattern": "^[0-9a-fA-F:.]+/[0-9]{1,3}$" }
    /// An address and a port, such as 10.1.0.21:8080 or [2001:db8::21]:8080.
    AddressAndPort: { "type": "string", "pattern": "^.+:[0-9]{1,5}$" }
}
