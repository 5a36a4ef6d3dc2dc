//! `backends` as they are written: Envoy calls them clusters.

use super::{AddressAndPort, Duration, Ignored, Read, Spanned, raw, text};
use crate::config::{
    read::{Path, Reader},
    schema::Schemas,
    tree::{Node, Value},
};
use serde_json::json;

raw! {
    /// A group of endpoints that do the same.
    RawBackend ["name"] {
        /// Unique among backends.
        required name "name": Spanned<String>,
        /// What they speak; http1 if it is not said.
        optional protocol "protocol": Spanned<BackendProtocol>,
        /// Where they are.
        required discovery "discovery": Spanned<RawDiscovery>,
        /// Which endpoint takes a request.
        default load_balancing "loadBalancing": RawLoadBalancing,
        /// How long things may take.
        default timeouts "timeouts": RawBackendTimeouts,
        /// Which connections are kept for the next request.
        default connection_pool "connectionPool": RawPool,
        /// Whether connections begin with a PROXY header that says who the client is.
        optional proxy_protocol "proxyProtocol": Spanned<SentProxyProtocol>,
        /// How endpoints are asked whether they are well; one that fails any of them gets no requests.
        default health_checks "healthChecks": Vec<Spanned<RawHealthCheck>>,
        /// TLS to its endpoints; without it, none.
        optional tls "tls": Spanned<super::RawBackendTls>,
    } => later ["outlierDetection", "circuitBreakers", "retryBudget"]

    /// Where endpoints are: one of its fields.
    RawDiscovery {
        /// Here.
        optional fixed "static": Vec<Spanned<RawEndpoint>>,
        /// In the DNS.
        optional dns "dns": Spanned<RawDns>,
        /// In a file that is watched: its absolute path.
        optional file "file": Spanned<String>,
        /// It is refused where the field is looked for.
        refused xds "xds": Ignored,
        /// It is refused where the field is looked for.
        refused consul "consul": Ignored,
    }

    /// Endpoints in the DNS.
    RawDns {
        /// What is asked for.
        required name "name": Spanned<String>,
        /// The port of each address. For Address.
        optional port "port": Spanned<u16>,
        /// How often it is asked for; as the answers' TTL says if it is not said.
        optional refresh "refresh": Spanned<Duration>,
        /// Which records; Address (A and AAAA) if it is not said.
        optional kind "type": Spanned<DnsType>,
    }

    /// An endpoint with a weight.
    RawLongEndpoint {
        /// Where it listens.
        required address "address": AddressAndPort,
        /// Its part of the sum of weights; 1 if it is not said.
        optional weight "weight": u32,
    }

    /// Which endpoint takes a request.
    RawLoadBalancing = Default {
        /// RoundRobin if it is not said.
        optional policy "policy": Spanned<BalancingPolicy>,
        /// Endpoints of which the one with fewer requests is taken; 2 if it is not said. For LeastRequest.
        optional choices "choices": Spanned<u8>,
        /// What is hashed. For RingHash and Maglev.
        optional hash_on "hashOn": Spanned<RawHashOn>,
        /// With fewer healthy endpoints than this part in a hundred, health is ignored; 50 if it is not said.
        optional panic_threshold "panicThreshold": Spanned<u8>,
        /// Points of the ring at least. For RingHash.
        optional points_min "pointsMin": Spanned<u32>,
        /// Points of the ring at most. For RingHash.
        optional points_max "pointsMax": Spanned<u32>,
        /// Places of the table, a prime number. For Maglev.
        optional places "places": Spanned<u32>,
    } => later ["slowStart", "zoneAware"]

    /// What is hashed: one of its fields. The client's address if it is not said.
    RawHashOn {
        /// The client's address: true.
        optional source "source": bool,
        /// The value of a header field.
        optional header "header": String,
        /// The value of a cookie.
        optional cookie "cookie": String,
    }

    /// How long things may take.
    RawBackendTimeouts = Default {
        /// Until a connection is open; 5s if it is not said.
        optional connect "connect": Spanned<Duration>,
    }

    /// Which connections are kept for the next request.
    RawPool = Default {
        /// Connections of one worker to one endpoint.
        optional max_connections "maxConnections": Spanned<u32>,
        /// An idle one is closed after this time.
        optional idle "idle": Spanned<Duration>,
        /// None is used beyond this age. Without it there is no limit.
        optional max_age "maxAge": Spanned<Duration>,
        /// Nor for more requests. Without it there is no limit.
        optional max_requests "maxRequests": Spanned<u32>,
    }
}

raw! {
    /// How endpoints are asked whether they are well: http or tcp.
    RawHealthCheck {
        /// By a request.
        optional http "http": Spanned<RawHttpProbe>,
        /// By a connection: {}.
        optional tcp "tcp": Spanned<RawTcpProbe>,
        /// It needs HTTP/2.
        refused grpc "grpc": Ignored,
        /// From the end of one probe to the beginning of the next; 5s if it is not said.
        optional interval "interval": Spanned<Duration>,
        /// For a probe, from its beginning to its answer; 1s if it is not said.
        optional timeout "timeout": Spanned<Duration>,
        /// So many good answers in a row make an endpoint healthy; 2 if it is not said.
        optional healthy "healthy": Spanned<u32>,
        /// So many bad ones make it unhealthy; 3 if it is not said.
        optional unhealthy "unhealthy": Spanned<u32>,
    }

    /// A request to an endpoint.
    RawHttpProbe {
        /// What is asked for.
        required path "path": String,
        /// The Host field. Without it, the endpoint's address and port.
        optional host "host": String,
        /// GET.
        optional method "method": Spanned<ProbeMethod>,
        /// Statuses of the well; [200] if it is not said.
        optional expect "expect": Vec<u16>,
    }

    /// A connection to an endpoint.
    RawTcpProbe {}
}

text! {
    /// The method of a probe.
    ProbeMethod: { "enum": ["GET"] }
    /// What a backend speaks.
    BackendProtocol: { "enum": ["http1"] }
    /// Which endpoint takes a request.
    BalancingPolicy: { "enum": ["RoundRobin", "LeastRequest", "Random", "RingHash", "Maglev"] }
    /// A version of the PROXY protocol.
    SentProxyProtocol: { "enum": ["v1", "v2"] }
    /// Records that say where endpoints are.
    DnsType: { "enum": ["Address", "SRV"] }
}

/// `"10.1.0.21:8080"`, or `{address: "10.1.0.21:8080", weight: 3}`.
#[derive(Clone)]
pub(in crate::config) struct RawEndpoint {
    pub(in crate::config) address: AddressAndPort,
    pub(in crate::config) weight: Option<u32>,
}

impl Read for RawEndpoint {
    fn read(node: &Node, at: &Path<'_>, to: &mut Reader<'_>) -> Option<Self> {
        if let Value::Scalar { .. } = node.value {
            return AddressAndPort::read(node, at, to).map(|address| Self { address, weight: None });
        }
        RawLongEndpoint::read(node, at, to).map(|RawLongEndpoint { address, weight }| Self { address, weight })
    }
    fn schema(to: &mut Schemas) -> serde_json::Value {
        json!({ "oneOf": [AddressAndPort::schema(to), RawLongEndpoint::schema(to)] })
    }
}
