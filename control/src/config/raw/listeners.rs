//! `listeners` as they are written: the Gateway API's `Gateway.spec.listeners`, and how we speak on them.

use super::{Later, Refused, refused};
use serde::Deserialize;
use serde_saphyr::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawListener {
    pub(in crate::config) name: Spanned<String>,
    pub(in crate::config) port: u16,
    pub(in crate::config) protocol: Spanned<String>,
    pub(in crate::config) address: Option<Spanned<String>>,
    pub(in crate::config) hostname: Option<Spanned<String>>,
    pub(in crate::config) service: Option<Spanned<String>>,
    pub(in crate::config) proxy_protocol: Option<Spanned<RawProxyProtocol>>,
    pub(in crate::config) http: Option<Spanned<RawHttp>>,
    pub(in crate::config) tcp: Option<Spanned<RawTcp>>,
    alpn: Later,
    tls: Later,
}

impl RawListener {
    pub(in crate::config) fn refused(&self) -> Vec<Refused> {
        let mut all = refused([("alpn", &self.alpn), ("tls", &self.tls)]);
        if let Some(http) = &self.http {
            all.extend(refused([("http.http2", &http.value.http2)]));
        }
        all
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawProxyProtocol {
    pub(in crate::config) accept: Spanned<String>,
    #[serde(rename = "trustedCIDRs")]
    pub(in crate::config) trusted_cidrs: Vec<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(in crate::config) struct RawHttp {
    pub(in crate::config) normalize_path: Option<bool>,
    pub(in crate::config) merge_slashes: Option<bool>,
    pub(in crate::config) escaped_slashes_action: Option<Spanned<String>>,
    pub(in crate::config) headers_with_underscores: Option<Spanned<String>>,
    pub(in crate::config) max_request_headers: RawMaxRequestHeaders,
    pub(in crate::config) max_request_line: Option<Spanned<String>>,
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) x_forwarded: Option<bool>,
    pub(in crate::config) forwarded: Option<bool>,
    #[serde(rename = "trustedCIDRs")]
    pub(in crate::config) trusted_cidrs: Vec<Spanned<String>>,
    pub(in crate::config) expect_continue: Option<Spanned<String>>,
    pub(in crate::config) timeouts: RawTimeouts,
    http2: Later,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(in crate::config) struct RawMaxRequestHeaders {
    pub(in crate::config) count: Option<usize>,
    pub(in crate::config) bytes: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(in crate::config) struct RawTimeouts {
    pub(in crate::config) request_headers: Option<Spanned<String>>,
    pub(in crate::config) request_body: Option<Spanned<String>>,
    pub(in crate::config) stream_idle: Option<Spanned<String>>,
    pub(in crate::config) connection_idle: Option<Spanned<String>>,
    pub(in crate::config) max_connection_age: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::config) struct RawTcp {
    pub(in crate::config) idle: Option<Spanned<String>>,
}
