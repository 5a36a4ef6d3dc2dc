//! Objects of the configuration that is in force, with what is known of them now.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All listeners.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listeners {
    /// What is in force.
    pub revision: u64,
    /// In the configuration's order.
    pub listeners: Vec<ListenerSummary>,
}

/// A listener.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSummary {
    /// Its name.
    pub name: String,
    /// `HTTP`, `HTTPS`, `TCP`, `TLS`, or what a service of the data plane's own is called.
    pub protocol: String,
    /// Where it listens; `None`: at every address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its port.
    pub port: u16,
    /// How many routes it has.
    pub routes: usize,
}

/// All routes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Routes {
    /// What is in force.
    pub revision: u64,
    /// In the configuration's order.
    pub routes: Vec<RouteSummary>,
}

/// A route.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteSummary {
    /// Its name.
    pub name: String,
    /// The listeners that have it.
    pub listeners: Vec<String>,
    /// Its hostnames; none: every one.
    pub hostnames: Vec<String>,
    /// How many rules it has.
    pub rules: usize,
    /// The backends that they name.
    pub backends: Vec<String>,
}

/// All backends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backends {
    /// What is in force.
    pub revision: u64,
    /// In the configuration's order.
    pub backends: Vec<BackendSummary>,
}

/// A backend.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendSummary {
    /// Its name.
    pub name: String,
    /// Where its endpoints come from: `static`, `dns` or `file`.
    pub discovery: String,
    /// How one is chosen.
    pub policy: String,
    /// How many endpoints it has.
    pub endpoints: usize,
    /// How many of them are well; `None`: no data plane is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy: Option<usize>,
    /// How many of them drain.
    pub draining: usize,
}

/// Which endpoints are wanted.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct EndpointsQuery {
    /// Those of this backend only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
}

/// Endpoints.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// What is in force.
    pub revision: u64,
    /// In the order of backends.
    pub endpoints: Vec<EndpointSummary>,
}

/// An endpoint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSummary {
    /// Its backend's name.
    pub backend: String,
    /// Address and port.
    pub address: String,
    /// Its weight by configuration or discovery. One that drains has none.
    pub weight: u32,
    /// Whether it drains.
    pub draining: bool,
    /// What the data plane knows of it; `None`: it is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<EndpointLive>,
}

/// What the data plane knows of an endpoint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointLive {
    /// Whether it gets requests.
    pub healthy: bool,
    /// Why it does not, or what was found last.
    pub health: String,
    /// Requests that it has now.
    pub active: u64,
    /// Connections to it, kept ones included.
    pub connections: u64,
}

/// One object, whole.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    /// What is in force.
    pub revision: u64,
    /// The object as it was compiled, everything that nobody wrote at its default.
    pub object: serde_json::Value,
    /// Where this backend's endpoints come from, if they are not written in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<DiscoveryStatus>,
    /// Listeners that have this route.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<String>,
    /// Routes of this listener, or to this backend.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// Endpoints of this backend, or of the backends of this route.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointSummary>,
    /// What it has served: one for a listener, a route or a backend, and one for each endpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meters: Vec<super::Meter>,
}

/// How a backend's discovery is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiscoveryStatus {
    /// `dns` or `file`.
    pub kind: String,
    /// The name that is asked for, or the file.
    pub source: String,
    /// Nothing is known yet: the backend has no endpoints until this source answers.
    pub pending: bool,
    /// How many endpoints are known.
    pub endpoints: usize,
    /// How old the last good answer is, in milliseconds; `None`: there has been none since the daemon started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// What is wrong now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Endpoints that are not served, because they are addresses of the gateway itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Why the data plane refuses what was found last; until that is mended, endpoints stay as they were before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Takes an endpoint out, or puts it back. It holds until it is taken back, whatever is applied in between.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DrainEndpointRequest {
    /// Its backend's name; without it, all that have this endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Address and port.
    pub address: String,
    /// Out, or back.
    pub drain: bool,
}

/// Drains the gateway, or no longer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DrainRequest {
    /// Whether.
    pub drain: bool,
}

/// What would become of a request?
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExplainRequest {
    /// Its method.
    pub method: String,
    /// `http://host[:port]/path?query`.
    pub url: String,
    /// Fields, each as `name: value`.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Who would send it; without it, 192.0.2.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// In this revision; without it, in what is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// This would.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// The revision that says so.
    pub revision: u64,
    /// Listener, host, path, outcome, and each rule with its reason.
    pub explanation: serde_json::Value,
    /// The endpoints of the backends that it may go to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointSummary>,
    /// All of this for people.
    pub text: String,
}
