//! `routes` as they are written: the Gateway API's HTTPRoute and its kin.

use super::{Later, Place, Refused, place_of, refused};
use serde::Deserialize;
use serde_saphyr::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawRoute {
    pub(in crate::config) kind: Spanned<String>,
    pub(in crate::config) name: Spanned<String>,
    #[serde(default)]
    pub(in crate::config) parent_refs: Vec<Spanned<RawParentRef>>,
    #[serde(default)]
    pub(in crate::config) hostnames: Vec<String>,
    #[serde(default)]
    pub(in crate::config) rules: Vec<Spanned<RawRule>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawParentRef {
    pub(in crate::config) name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawRule {
    pub(in crate::config) name: Option<String>,
    #[serde(default)]
    pub(in crate::config) matches: Vec<Spanned<RawMatch>>,
    #[serde(default)]
    pub(in crate::config) filters: Vec<Spanned<RawFilter>>,
    pub(in crate::config) timeouts: Option<Spanned<RawRuleTimeouts>>,
    #[serde(default)]
    pub(in crate::config) backend_refs: Vec<Spanned<RawBackendRef>>,
    retry: Later,
    hedge: Later,
}

impl RawRule {
    pub(in crate::config) fn refused(&self) -> Vec<Refused> {
        refused([("retry", &self.retry), ("hedge", &self.hedge)])
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawMatch {
    pub(in crate::config) path: Option<Spanned<RawPath>>,
    pub(in crate::config) method: Option<String>,
    #[serde(default)]
    pub(in crate::config) headers: Vec<Spanned<RawCondition>>,
    #[serde(default)]
    pub(in crate::config) query_params: Vec<Spanned<RawCondition>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawPath {
    #[serde(rename = "type")]
    pub(in crate::config) kind: Option<Spanned<String>>,
    pub(in crate::config) value: Option<String>,
}

/// Of a header field or a query parameter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawCondition {
    #[serde(rename = "type")]
    pub(in crate::config) kind: Option<Spanned<String>>,
    pub(in crate::config) name: String,
    #[serde(default)]
    pub(in crate::config) value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawRuleTimeouts {
    pub(in crate::config) request: Option<Spanned<String>>,
    pub(in crate::config) backend_request: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawBackendRef {
    pub(in crate::config) name: String,
    pub(in crate::config) weight: Option<u32>,
}

/// A filter: its type, and the field of that type.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawFilter {
    #[serde(rename = "type")]
    pub(in crate::config) kind: Spanned<String>,
    pub(in crate::config) request_header_modifier: Option<Spanned<RawHeaderModifier>>,
    pub(in crate::config) response_header_modifier: Option<Spanned<RawHeaderModifier>>,
    #[serde(rename = "urlRewrite")]
    pub(in crate::config) url_rewrite: Option<Spanned<RawUrlRewrite>>,
    pub(in crate::config) request_redirect: Option<Spanned<RawRequestRedirect>>,
    pub(in crate::config) direct_response: Option<Spanned<RawDirectResponse>>,
    request_mirror: Later,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawHeaderModifier {
    #[serde(default)]
    pub(in crate::config) set: Vec<RawHeader>,
    #[serde(default)]
    pub(in crate::config) add: Vec<RawHeader>,
    #[serde(default)]
    pub(in crate::config) remove: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawHeader {
    pub(in crate::config) name: String,
    pub(in crate::config) value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawUrlRewrite {
    pub(in crate::config) hostname: Option<String>,
    pub(in crate::config) path: Option<Spanned<RawNewPath>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawNewPath {
    #[serde(rename = "type")]
    pub(in crate::config) kind: Spanned<String>,
    pub(in crate::config) replace_full_path: Option<String>,
    pub(in crate::config) replace_prefix_match: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawRequestRedirect {
    pub(in crate::config) scheme: Option<String>,
    pub(in crate::config) hostname: Option<String>,
    pub(in crate::config) port: Option<u16>,
    pub(in crate::config) path: Option<Spanned<RawNewPath>>,
    pub(in crate::config) status_code: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawDirectResponse {
    pub(in crate::config) status_code: u16,
    pub(in crate::config) body: Option<String>,
    pub(in crate::config) content_type: Option<String>,
}
