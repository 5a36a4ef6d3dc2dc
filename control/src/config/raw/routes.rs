//! `routes` as they are written: the Gateway API's HTTPRoute and its kin.

use super::{Duration, Ignored, Spanned, raw, text};
use crate::config::{Place, place_of};

raw! {
    /// Which requests or connections of listeners go where.
    RawRoute ["name"] {
        /// What it routes.
        required kind "kind": Spanned<RouteKind>,
        /// Unique among routes.
        required name "name": Spanned<String>,
        /// The listeners that it is for.
        default parent_refs "parentRefs": Vec<Spanned<RawParentRef>>,
        /// Hosts, exact, or *. before a suffix; every host if none is said. For an HTTPRoute or a TLSRoute.
        default hostnames "hostnames": Vec<String>,
        /// What happens; a TCPRoute and a TLSRoute have one.
        default rules "rules": Vec<Spanned<RawRule>>,
    }

    /// A listener.
    RawParentRef {
        /// Its name.
        required name "name": String,
    }

    /// What happens to requests that match.
    RawRule ["name"] {
        /// Unique in its route; without one it is called by its number.
        optional name "name": String,
        /// One of them is enough; every request if none is said.
        default matches "matches": Vec<Spanned<RawMatch>>,
        /// What is done to them, in this order.
        default filters "filters": Vec<Spanned<RawFilter>>,
        /// How long they may take.
        optional timeouts "timeouts": Spanned<RawRuleTimeouts>,
        /// Where they go, each by its weight.
        default backend_refs "backendRefs": Vec<Spanned<RawBackendRef>>,
    } => later ["retry", "hedge"]

    /// Everything in it must hold.
    RawMatch {
        /// The path; every path if it is not said.
        optional path "path": Spanned<RawPath>,
        /// The method; every one but CONNECT if it is not said.
        optional method "method": String,
        /// Header fields.
        default headers "headers": Vec<Spanned<RawCondition>>,
        /// Query parameters.
        default query_params "queryParams": Vec<Spanned<RawCondition>>,
    }

    /// The path of a request.
    RawPath {
        /// How the value is meant; PathPrefix if it is not said.
        optional kind "type": Spanned<PathType>,
        /// An absolute path, or a pattern; / if it is not said.
        optional value "value": String,
    }

    /// A header field or a query parameter.
    RawCondition {
        /// How the value is meant; Exact if it is not said.
        optional kind "type": Spanned<ConditionType>,
        /// Its name.
        required name "name": String,
        /// The value, or a pattern.
        default value "value": String,
    }

    /// How long requests may take; 0s is no limit.
    RawRuleTimeouts {
        /// From the request's head to the end of its answer. Without it there is no limit.
        optional request "request": Spanned<Duration>,
        /// From the choice of an endpoint to the end of its answer. Without it there is no limit.
        optional backend_request "backendRequest": Spanned<Duration>,
    }

    /// A backend.
    RawBackendRef {
        /// Its name.
        required name "name": String,
        /// Its part of the sum of the rule's weights; 1 if it is not said.
        optional weight "weight": u32,
    }

    /// A filter: its type, and the field of that type.
    RawFilter {
        /// What it does.
        required kind "type": Spanned<FilterType>,
        /// Fields of the request that goes on.
        optional request_header_modifier "requestHeaderModifier": Spanned<RawHeaderModifier>,
        /// Fields of the response that comes back.
        optional response_header_modifier "responseHeaderModifier": Spanned<RawHeaderModifier>,
        /// Another path or host.
        optional url_rewrite "urlRewrite": Spanned<RawUrlRewrite>,
        /// The client is sent elsewhere.
        optional request_redirect "requestRedirect": Spanned<RawRequestRedirect>,
        /// The answer.
        optional direct_response "directResponse": Spanned<RawDirectResponse>,
        /// Its finding is its type's.
        refused request_mirror "requestMirror": Ignored,
    }

    /// Header fields that are written, added and taken away.
    RawHeaderModifier {
        /// In place of those with the same name.
        default set "set": Vec<RawHeader>,
        /// Beside those with the same name.
        default add "add": Vec<RawHeader>,
        /// Taken away.
        default remove "remove": Vec<String>,
    }

    /// A header field.
    RawHeader {
        /// Its name.
        required name "name": String,
        /// Its value.
        required value "value": String,
    }

    /// Another path or host.
    RawUrlRewrite {
        /// The host.
        optional hostname "hostname": String,
        /// The path.
        optional path "path": Spanned<RawNewPath>,
    }

    /// Another path.
    RawNewPath {
        /// What is replaced.
        required kind "type": Spanned<NewPathType>,
        /// In place of the whole path. For ReplaceFullPath.
        optional replace_full_path "replaceFullPath": String,
        /// In place of the matched prefix. For ReplacePrefixMatch.
        optional replace_prefix_match "replacePrefixMatch": String,
    }

    /// Where the client is sent; what is not said stays as it was.
    RawRequestRedirect {
        /// http or https.
        optional scheme "scheme": String,
        /// The host.
        optional hostname "hostname": String,
        /// The port.
        optional port "port": u16,
        /// The path.
        optional path "path": Spanned<RawNewPath>,
        /// The answer's status; 302 if it is not said.
        optional status_code "statusCode": u16,
    }

    /// An answer without a backend.
    RawDirectResponse {
        /// Its status.
        required status_code "statusCode": u16,
        /// Its content; empty if it is not said.
        optional body "body": String,
        /// The content's type; text/plain; charset=utf-8 if it is not said.
        optional content_type "contentType": String,
    }
}

text! {
    /// What a route is for.
    RouteKind: { "enum": ["HTTPRoute", "TCPRoute", "TLSRoute"] }
    /// How a path is compared.
    PathType: { "enum": ["Exact", "PathPrefix", "RegularExpression"] }
    /// How a value is compared; Present, whatever it is, is for header fields only.
    ConditionType: { "enum": ["Exact", "Present", "RegularExpression"] }
    /// What a filter does.
    FilterType: {
        "enum": ["RequestHeaderModifier", "ResponseHeaderModifier", "URLRewrite", "RequestRedirect", "DirectResponse"]
    }
    /// What is replaced in a path.
    NewPathType: { "enum": ["ReplaceFullPath", "ReplacePrefixMatch"] }
}

impl RawFilter {
    /// The fields that belong to a type, with whether and where they stand.
    pub(in crate::config) fn fields(&self) -> [(&'static str, Option<Place>); 6] {
        fn place<T>(field: Option<&Spanned<T>>) -> Option<Place> {
            field.map(place_of)
        }
        [
            ("requestHeaderModifier", place(self.request_header_modifier.as_ref())),
            ("responseHeaderModifier", place(self.response_header_modifier.as_ref())),
            ("urlRewrite", place(self.url_rewrite.as_ref())),
            ("requestRedirect", place(self.request_redirect.as_ref())),
            ("directResponse", place(self.direct_response.as_ref())),
            ("requestMirror", place(self.request_mirror.as_ref())),
        ]
    }
}
