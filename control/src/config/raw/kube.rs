//! Documents of the Kubernetes Gateway API (`gateway.networking.k8s.io`), as they are applied to a cluster.

use super::{RawHeaderModifier, RawMatch, RawRequestRedirect, RawRuleTimeouts, RawUrlRewrite, Spanned, raw, text};
use crate::config::{
    read::{Ignored, Path, Read, Reader},
    schema::Schemas,
    tree::{Node, Value},
};
use serde_json::json;

raw! {
    /// A Gateway of the Kubernetes Gateway API.
    RawGateway {
        /// Its name and namespace.
        required metadata "metadata": KubeMetadata,
        /// What it is.
        required spec "spec": RawGatewaySpec,
    } => ignored {
        /// The group and version.
        required "apiVersion": GatewayApiVersion,
        /// Gateway.
        required "kind": GatewayKind,
        /// It belongs to the cluster.
        optional "status": Ignored,
    }

    /// What a Gateway is.
    RawGatewaySpec {
        /// weirgate, or one of gatewayClassNames.
        required class "gatewayClassName": Spanned<String>,
        /// Where connections come in.
        required listeners "listeners": Vec<Spanned<RawKubeListener>>,
        /// The address of its listeners, one of ours; every one of ours if none is said.
        default addresses "addresses": Vec<Spanned<RawKubeAddress>>,
    } => later ["infrastructure", "backendTLS", "tls", "allowedListeners", "defaultScope"]

    /// A listener of a Gateway.
    RawKubeListener ["name"] {
        /// Unique in its Gateway.
        required name "name": Spanned<String>,
        /// Exact, or *. before a suffix.
        optional hostname "hostname": Spanned<String>,
        /// Its port.
        required port "port": u16,
        /// What is spoken there.
        required protocol "protocol": Spanned<super::listeners::Protocol>,
        /// Which routes may name it.
        optional allowed_routes "allowedRoutes": Spanned<RawAllowedRoutes>,
        /// TLS. For HTTPS and TLS.
        optional tls "tls": Spanned<RawKubeListenerTls>,
    }

    /// TLS on a listener of a Gateway.
    RawKubeListenerTls {
        /// Terminate if it is not said.
        optional mode "mode": Spanned<super::secrets::TlsMode>,
        /// Secrets with certificates.
        default certificate_refs "certificateRefs": Vec<Spanned<RawKubeSecretRef>>,
    } => later ["options", "frontendValidation"]

    /// A Secret: the one that stands in these files as NAMESPACE/NAME; or the secret NAME, for those of the Gateway's namespace and of default.
    RawKubeSecretRef {
        /// Empty if it is not said.
        default group "group": String,
        /// Secret if it is not said.
        optional kind "kind": String,
        /// The Gateway's own if it is not said; another one needs a ReferenceGrant there.
        optional namespace "namespace": String,
        /// The Secret's name.
        required name "name": String,
    }

    /// A Secret of Kubernetes, with a certificate and its key.
    RawKubeSecret {
        /// Its name and namespace.
        required metadata "metadata": KubeMetadata,
        /// kubernetes.io/tls.
        required kind "type": Spanned<KubeSecretType>,
        /// In base64.
        default data "data": RawKubeSecretData,
        /// As it is.
        default string_data "stringData": RawKubeSecretData,
    } => ignored {
        /// The version.
        required "apiVersion": CoreApiVersion,
        /// Secret.
        required "kind": SecretKind,
        /// It belongs to the cluster.
        optional "immutable": Ignored,
    }

    /// What a Secret holds.
    RawKubeSecretData = Default {
        /// The certificate, then those that lead to an authority.
        optional cert "tls.crt": Spanned<String>,
        /// Its private key.
        optional key "tls.key": Spanned<String>,
        /// Authorities.
        optional ca "ca.crt": Spanned<String>,
    }

    /// Which routes may name a listener.
    RawAllowedRoutes {
        /// Those of which namespaces.
        optional namespaces "namespaces": Spanned<RawRouteNamespaces>,
        /// Those of which kinds.
        default kinds "kinds": Vec<Spanned<RawRouteGroupKind>>,
    }

    /// Namespaces whose routes may name a listener.
    RawRouteNamespaces {
        /// The Gateway's own or all; Same if it is not said.
        optional from "from": Spanned<FromNamespaces>,
        /// For Selector.
        refused selector "selector": Ignored,
    }

    /// A kind of route.
    RawRouteGroupKind {
        /// gateway.networking.k8s.io if it is not said.
        optional group "group": String,
        /// HTTPRoute.
        required kind "kind": String,
    }

    /// An address of a Gateway.
    RawKubeAddress {
        /// IPAddress if it is not said.
        optional kind "type": Spanned<KubeAddressType>,
        /// One of our addresses.
        required value "value": Spanned<super::Address>,
    }

    /// An HTTPRoute of the Kubernetes Gateway API.
    RawHttpRoute {
        /// Its name and namespace.
        required metadata "metadata": KubeMetadata,
        /// What it is.
        required spec "spec": RawHttpRouteSpec,
    } => ignored {
        /// The group and version.
        required "apiVersion": GatewayApiVersion,
        /// HTTPRoute.
        required "kind": HttpRouteKind,
        /// It belongs to the cluster.
        optional "status": Ignored,
    }

    /// What an HTTPRoute is.
    RawHttpRouteSpec {
        /// The Gateways that it is for.
        default parent_refs "parentRefs": Vec<Spanned<RawKubeParentRef>>,
        /// Hosts, exact, or *. before a suffix; every host if none is said.
        default hostnames "hostnames": Vec<String>,
        /// What happens.
        default rules "rules": Vec<Spanned<RawKubeRule>>,
    } => later ["useDefaultGateways"]

    /// A Gateway, or a listener of one.
    RawKubeParentRef {
        /// gateway.networking.k8s.io if it is not said.
        optional group "group": String,
        /// Gateway if it is not said.
        optional kind "kind": String,
        /// The route's own if it is not said.
        optional namespace "namespace": String,
        /// The Gateway's name.
        required name "name": String,
        /// One of its listeners; those that fit if it is not said.
        optional section_name "sectionName": String,
        /// Only listeners of this port.
        optional port "port": u16,
    }

    /// What happens to requests that match.
    RawKubeRule ["name"] {
        /// Unique in its route; without one it is called by its number.
        optional name "name": String,
        /// One of them is enough; every request if none is said.
        default matches "matches": Vec<Spanned<RawMatch>>,
        /// What is done to them, in this order.
        default filters "filters": Vec<Spanned<RawKubeFilter>>,
        /// How long they may take.
        optional timeouts "timeouts": Spanned<RawRuleTimeouts>,
        /// Where they go, each by its weight.
        default backend_refs "backendRefs": Vec<Spanned<RawKubeBackendRef>>,
    } => later ["retry", "sessionPersistence"]

    /// A filter: its type, and the field of that type.
    RawKubeFilter {
        /// What it does.
        required kind "type": Spanned<KubeFilterType>,
        /// Fields of the request that goes on.
        optional request_header_modifier "requestHeaderModifier": Spanned<RawHeaderModifier>,
        /// Fields of the response that comes back.
        optional response_header_modifier "responseHeaderModifier": Spanned<RawHeaderModifier>,
        /// Another path or host.
        optional url_rewrite "urlRewrite": Spanned<RawUrlRewrite>,
        /// The client is sent elsewhere.
        optional request_redirect "requestRedirect": Spanned<RawRequestRedirect>,
        /// Its finding is its type's.
        refused request_mirror "requestMirror": Ignored,
        /// Its finding is its type's.
        refused extension_ref "extensionRef": Ignored,
        /// Its finding is its type's.
        refused cors "cors": Ignored,
        /// Its finding is its type's.
        refused external_auth "externalAuth": Ignored,
    }

    /// A Service: the backend that is named NAMESPACE/NAME:PORT; or NAME, for those of the Gateway's namespace and of default.
    RawKubeBackendRef {
        /// Empty if it is not said.
        default group "group": String,
        /// Service if it is not said.
        optional kind "kind": String,
        /// The route's own if it is not said; another one needs a ReferenceGrant there.
        optional namespace "namespace": String,
        /// The Service's name.
        required name "name": String,
        /// The Service's port.
        required port "port": u16,
        /// Its part of the sum of the rule's weights; 1 if it is not said.
        optional weight "weight": u32,
    } => later ["filters"]

    /// A ReferenceGrant of the Kubernetes Gateway API.
    RawReferenceGrant {
        /// Its name and namespace.
        required metadata "metadata": KubeMetadata,
        /// What it is.
        required spec "spec": RawReferenceGrantSpec,
    } => ignored {
        /// The group and version.
        required "apiVersion": ReferenceGrantVersion,
        /// ReferenceGrant.
        required "kind": ReferenceGrantKind,
        /// It belongs to the cluster.
        optional "status": Ignored,
    }

    /// Who may refer to what of this namespace.
    RawReferenceGrantSpec {
        /// Who.
        required from "from": Vec<RawGrantFrom>,
        /// To what.
        required to "to": Vec<RawGrantTo>,
    }

    /// Who may refer.
    RawGrantFrom {
        /// gateway.networking.k8s.io.
        required group "group": String,
        /// HTTPRoute, or Gateway for Secrets.
        required kind "kind": String,
        /// Its namespace.
        required namespace "namespace": String,
    }

    /// What may be referred to.
    RawGrantTo {
        /// Empty, for Services and Secrets.
        default group "group": String,
        /// Service or Secret.
        required kind "kind": String,
        /// Only the one with this name.
        optional name "name": String,
    }
}

text! {
    /// The version of Kubernetes' core.
    CoreApiVersion: { "const": "v1" }
    /// What the document is.
    SecretKind: { "const": "Secret" }
    /// What a Secret holds.
    KubeSecretType: { "enum": ["kubernetes.io/tls"] }
    /// The Gateway API's version.
    GatewayApiVersion: { "const": "gateway.networking.k8s.io/v1" }
    /// What the document is.
    GatewayKind: { "const": "Gateway" }
    /// What the document is.
    HttpRouteKind: { "const": "HTTPRoute" }
    /// What the document is.
    ReferenceGrantKind: { "const": "ReferenceGrant" }
    /// The version of a ReferenceGrant.
    ReferenceGrantVersion: { "enum": ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"] }
    /// Namespaces whose routes may name a listener.
    FromNamespaces: { "enum": ["Same", "All"] }
    /// What an address is.
    KubeAddressType: { "enum": ["IPAddress"] }
    /// What a filter does.
    KubeFilterType: { "enum": ["RequestHeaderModifier", "ResponseHeaderModifier", "URLRewrite", "RequestRedirect"] }
}

/// `metadata` of a Kubernetes object: whatever else is in it belongs to the cluster.
#[derive(Clone)]
pub(in crate::config) struct KubeMetadata {
    pub(in crate::config) name: Spanned<String>,
    pub(in crate::config) namespace: String,
}

impl KubeMetadata {
    /// `NAMESPACE/NAME`.
    pub(in crate::config) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name.value)
    }
}

impl Read for KubeMetadata {
    fn read(node: &Node, at: &Path<'_>, to: &mut Reader<'_>) -> Option<Self> {
        let Value::Map(_) = &node.value else { return to.wants(node, at, "a mapping") };
        let name = match node.get("name") {
            Some(name) => Spanned::read(name, &at.field("name"), to),
            None => to.missing(node, at, "name"),
        };
        let namespace = node.get("namespace").map(|said| String::read(said, &at.field("namespace"), to));
        Some(Self { name: name?, namespace: namespace.unwrap_or(Some("default".into()))? })
    }
    fn schema(to: &mut Schemas) -> serde_json::Value {
        let name = String::schema(to);
        json!({
            "type": "object",
            "properties": { "name": name, "namespace": name },
            "required": ["name"],
            "description": "Its name, and its namespace: default if it is not said.",
        })
    }
}
