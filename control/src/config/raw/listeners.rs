//! `listeners` as they are written: the Gateway API's `Gateway.spec.listeners`, and how we speak on them.

use super::{Address, Duration, Network, Size, Spanned, raw, text};

raw! {
    /// Where connections come in.
    RawListener ["name"] {
        /// Unique among listeners.
        required name "name": Spanned<String>,
        /// Its port.
        required port "port": u16,
        /// What is spoken there.
        required protocol "protocol": Spanned<Protocol>,
        /// One of our addresses; all of them if it is not said.
        optional address "address": Spanned<Address>,
        /// Exact, or *. before a suffix: other hosts find nothing here. For HTTP and HTTPS.
        optional hostname "hostname": Spanned<String>,
        /// What is served without a backend. For TCP.
        optional service "service": Spanned<ServiceName>,
        /// Whether its peers are proxies that say who the client is.
        optional proxy_protocol "proxyProtocol": Spanned<RawProxyProtocol>,
        /// TLS. For HTTPS and TLS.
        optional tls "tls": Spanned<super::RawListenerTls>,
        /// Protocols that TLS agrees on, the best first; for HTTPS [http/1.1] if it is not said. For HTTPS and TLS.
        optional alpn "alpn": Vec<Spanned<String>>,
        /// How HTTP is spoken.
        optional http "http": Spanned<RawHttp>,
        /// How TCP is passed on.
        optional tcp "tcp": Spanned<RawTcp>,
    }

    /// The PROXY protocol on a listener.
    RawProxyProtocol {
        /// Versions that are taken.
        required accept "accept": Spanned<Accepted>,
        /// Who may send it; connections of others are closed.
        required trusted_cidrs "trustedCIDRs": Vec<Spanned<Network>>,
    }

    /// How HTTP is spoken.
    RawHttp {
        /// Whether paths are brought into one form before they are matched; true if it is not said.
        optional normalize_path "normalizePath": bool,
        /// Whether several slashes are one; true if it is not said.
        optional merge_slashes "mergeSlashes": bool,
        /// What becomes of %2F and %5C in paths; Reject if it is not said.
        optional escaped_slashes_action "escapedSlashesAction": Spanned<EscapedSlashesAction>,
        /// What becomes of fields with an underscore in their names; Reject if it is not said.
        optional headers_with_underscores "headersWithUnderscores": Spanned<UnderscoresAction>,
        /// What a request's head may be.
        default max_request_headers "maxRequestHeaders": RawMaxRequestHeaders,
        /// Bytes of a request line; 16KiB if it is not said, or the whole head if that is less.
        optional max_request_line "maxRequestLine": Spanned<Size>,
        /// Our name in Via and Server, weirgate if it is not said; empty, neither is written.
        optional name "name": String,
        /// Whether X-Forwarded-For, -Proto and -Host are added; true if it is not said.
        optional x_forwarded "xForwarded": bool,
        /// Whether Forwarded (RFC 7239) is added; false if it is not said.
        optional forwarded "forwarded": bool,
        /// Who is believed when it says who was before it.
        default trusted_cidrs "trustedCIDRs": Vec<Spanned<Network>>,
        /// Whether Expect: 100-continue is answered here or passed on; Answer if it is not said.
        optional expect_continue "expectContinue": Spanned<ExpectContinue>,
        /// How long things may take.
        default timeouts "timeouts": RawTimeouts,
    } => later ["http2"]

    /// What a request's head may be.
    RawMaxRequestHeaders = Default {
        /// Fields; 100 if it is not said.
        optional count "count": usize,
        /// Bytes; 60KiB if it is not said.
        optional bytes "bytes": Spanned<Size>,
    }

    /// How long things may take.
    RawTimeouts = Default {
        /// From a head's first byte to its last; 10s if it is not said.
        optional request_headers "requestHeaders": Spanned<Duration>,
        /// For each 16 KiB of a request's content; 30s if it is not said.
        optional request_body "requestBody": Spanned<Duration>,
        /// In which nothing moves between client and backend; 5m if it is not said.
        optional stream_idle "streamIdle": Spanned<Duration>,
        /// Between requests; 60s if it is not said.
        optional connection_idle "connectionIdle": Spanned<Duration>,
        /// From this age on a connection takes no further requests. Without it there is no limit.
        optional max_connection_age "maxConnectionAge": Spanned<Duration>,
    }

    /// How TCP is passed on.
    RawTcp {
        /// A connection over which nothing goes for so long ends; 5m if it is not said.
        optional idle "idle": Spanned<Duration>,
    }
}

text! {
    /// What is spoken on a listener.
    Protocol: { "enum": ["HTTP", "TCP", "HTTPS", "TLS"] }
    /// What is served without a backend.
    ServiceName: { "enum": ["echo", "discard", "chargen", "quote"] }
    /// Versions of the PROXY protocol.
    Accepted: { "enum": ["v1", "v2", "any"] }
    /// What becomes of %2F and %5C in paths.
    EscapedSlashesAction: { "enum": ["Reject", "Keep", "UnescapeAndForward", "UnescapeAndRedirect"] }
    /// What becomes of fields with an underscore in their names.
    UnderscoresAction: { "enum": ["Reject", "Drop", "Allow"] }
    /// What becomes of Expect: 100-continue.
    ExpectContinue: { "enum": ["Answer", "Forward"] }
}
