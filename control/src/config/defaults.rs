//! Every default of the configuration, written as a configuration: each value is taken from where the model takes it.

use super::{
    Admin, Metrics,
    backends::HEALTH_CHECK,
    filters::{CONTENT_TYPE, REDIRECT_STATUS},
    kube, tls,
};
use std::fmt::Write;
use weirgate_dataplane::{
    limits::{FRAMES_PER_WORKER, TCP_CONNECTIONS_MAX},
    snapshot::{Backend, HttpOptions, ListenerTls, PoolConfig},
    upstream::balance::PolicyKind,
};

/// A configuration of one of each kind, with every default value written out. Fields without a default stand in comments, or where they must
/// be said.
pub fn defaults() -> String {
    let mut out = String::new();
    let (admin, metrics) = (Admin::default(), Metrics::default());
    let labels = metrics.labels.iter().map(|label| {
        let name = super::Label::ALL.iter().find(|(_, other)| other == label);
        name.map_or("", |(name, _)| name)
    });
    let labels = labels.collect::<Vec<_>>().join(", ");
    let _ = write!(
        out,
        "\
apiVersion: weirgate/v1
kind: GatewayConfig
metadata: {{name: weirgate}}
include: []
gatewayClassNames: [{class}]

dataplane:
  cores: [0]                        # without a default
  polling: adaptive
  memory:                           # instead of framesPerWorker, hugepages: 256MiB
    framesPerWorker: {FRAMES_PER_WORKER}
    maxConnections: {TCP_CONNECTIONS_MAX}
  ports:
  - name: p0                        # without a default, as device and addresses
    device: \"af_packet:eth0\"
    addresses: [192.0.2.10/24]
    mtu: 1500
    offloads: true
    routes: []
    vlans: []

admin:
  socket: \"unix://{socket}\"
  allowedUids: {uids:?}
  allowRemote: false                # for tcp: ADDRESS:PORT; audit: PATH

observability:
  metrics:                          # prometheus: {{address: ADDRESS:PORT}}
    maxSeries: {series}
    labels: [{labels}]

",
        class = kube::CLASS,
        socket = admin.socket.display(),
        uids = admin.allowed_uids,
        series = metrics.max_series,
    );
    listeners(&mut out);
    routes(&mut out);
    backends(&mut out);
    out
}

/// With the largest unit that says it exactly.
fn duration(ms: u64) -> String {
    match ms {
        _ if !ms.is_multiple_of(1_000) => format!("{ms}ms"),
        _ if !ms.is_multiple_of(60_000) || ms == 60_000 => format!("{}s", ms / 1_000),
        _ if !ms.is_multiple_of(3_600_000) => format!("{}m", ms / 60_000),
        _ => format!("{}h", ms / 3_600_000),
    }
}

fn listeners(out: &mut String) {
    let HttpOptions {
        normalize_path,
        merge_slashes,
        escaped_slashes,
        underscores,
        request_line_bytes,
        head_bytes,
        fields,
        name,
        x_forwarded,
        forwarded,
        forward_expect,
        timeouts,
        ..
    } = HttpOptions::default();
    let ListenerTls { policy, handshake_ms, refuse_unknown_names, .. } = tls::listener_default();
    let version = |version| serde_json::to_value(version).expect("a word").as_str().unwrap_or_default().to_owned();
    let _ = write!(
        out,
        "\
listeners:
- name: http
  port: 80
  protocol: HTTP                    # address, hostname, proxyProtocol: {{accept: any, trustedCIDRs: [..]}}
  http:
    normalizePath: {normalize_path}
    mergeSlashes: {merge_slashes}
    escapedSlashesAction: {escaped_slashes:?}
    headersWithUnderscores: {underscores:?}
    maxRequestHeaders: {{count: {fields}, bytes: {head_bytes}}}
    maxRequestLine: {request_line_bytes}
    name: {name}
    xForwarded: {x_forwarded}
    forwarded: {forwarded}
    trustedCIDRs: []
    expectContinue: {expect}
    timeouts:                       # maxConnectionAge
      requestHeaders: {headers}
      requestBody: {body}
      streamIdle: {stream}
      connectionIdle: {connection}
- name: https
  port: 443
  protocol: HTTPS                   # the same fields, and
  alpn: [{alpn}]
  tls:
    mode: Terminate
    certificateRefs: [certificate]
    frontendValidation: {{caRefs: [authorities], mode: Required}}
    minVersion: \"{min}\"
    maxVersion: \"{max}\"
    cipherSuites: []                # all that are sound
    groups: []                      # X25519MLKEM768, x25519, secp256r1
    handshakeTimeout: {handshake}
    unknownName: {unknown}
- name: tcp
  port: 9000
  protocol: TCP                     # or with a service: echo, discard, chargen, quote
  tcp: {{idle: {stream}}}           # with protocol TLS, alpn and tls too

secrets:
- name: certificate
  file: {{cert: /etc/weirgate/tls/example.pem, key: /etc/weirgate/tls/example.key}} # ocsp
  watch: true
- {{name: authorities, file: {{ca: /etc/weirgate/tls/authorities.pem}}, watch: true}} # crl

",
        alpn = tls::HTTP,
        min = version(policy.version_min),
        max = version(policy.version_max),
        handshake = duration(handshake_ms),
        unknown = if refuse_unknown_names { "Refuse" } else { "First" },
        expect = if forward_expect { "Forward" } else { "Answer" },
        headers = duration(timeouts.request_headers_ms),
        body = duration(timeouts.request_body_ms),
        stream = duration(timeouts.stream_idle_ms),
        connection = duration(timeouts.connection_idle_ms),
    );
}

fn routes(out: &mut String) {
    let _ = write!(
        out,
        "\
routes:
- kind: HTTPRoute
  name: everything
  parentRefs: [{{name: http}}]
  hostnames: []
  rules:
  - matches:
    - path: {{type: PathPrefix, value: /}} # method
      headers: [{{name: x-example, type: Exact, value: example}}]
      queryParams: [{{name: example, type: Exact, value: example}}]
    filters: []
    timeouts: {{request: 0s, backendRequest: 0s}}
    backendRefs: [{{name: backend, weight: 1}}]
  - matches: [{{path: {{value: /old}}}}]
    filters:
    - type: RequestRedirect         # scheme, hostname, port, path
      requestRedirect: {{statusCode: {REDIRECT_STATUS}}}
  - matches: [{{path: {{value: /text}}}}]
    filters:
    - type: DirectResponse
      directResponse: {{statusCode: 200, body: \"\", contentType: \"{CONTENT_TYPE}\"}}
  - matches: [{{path: {{value: /fields}}}}]
    filters:
    - type: RequestHeaderModifier   # ResponseHeaderModifier and URLRewrite have no defaults beside these
      requestHeaderModifier: {{set: [{{name: x-example, value: example}}], add: [], remove: []}}
    backendRefs: [{{name: backend}}]
- kind: TCPRoute
  name: bytes
  parentRefs: [{{name: tcp}}]
  rules: [{{backendRefs: [{{name: backend, weight: 1}}]}}]

"
    );
}

fn backends(out: &mut String) {
    let Backend { panic_threshold, connect_ms, .. } = Backend::new("backend", &[]);
    let PoolConfig { connections_max, idle_ms, .. } = PoolConfig::default();
    // What the policies' own defaults are, as the snapshot writes them.
    let of = |policy: &str, field: &str| {
        let kind: PolicyKind = serde_json::from_value(serde_json::json!({ "policy": policy })).expect("a policy");
        serde_json::to_value(kind).expect("plain data")[field].to_string()
    };
    let _ = write!(
        out,
        "\
backends:
- name: backend
  protocol: http1
  discovery: {{static: [{{address: \"192.0.2.21:8080\", weight: 1}}]}}
  loadBalancing: {{policy: RoundRobin, panicThreshold: {panic_threshold}}}
  timeouts: {{connect: {connect}}}
  connectionPool:                   # maxAge, maxRequests
    maxConnections: {connections_max}
    idle: {idle}
  healthChecks: []                  # proxyProtocol: v1 or v2
- name: secure
  discovery: {{static: [\"192.0.2.22:8443\"]}}
  tls:                              # clientCertRef
    caRef: authorities
    sni: backend.example
    subjectAltNames: []             # sni
    minVersion: \"1.2\"
    maxVersion: \"1.3\"
    cipherSuites: []
    groups: []
- name: checked
  discovery: {{dns: {{name: backend.example, port: 8080, type: Address}}}} # refresh: as the TTL says
  loadBalancing: {{policy: LeastRequest, choices: {choices}}}
  healthChecks:
  - http: {{path: /healthz, method: GET, expect: [200]}} # host: the endpoint
    interval: {interval}
    timeout: {timeout}
    healthy: {healthy}
    unhealthy: {unhealthy}
- name: ring
  discovery: {{file: /etc/weirgate/endpoints.yaml}}
  loadBalancing: {{policy: RingHash, pointsMin: {points_min}, pointsMax: {points_max}, hashOn: {{source: true}}}}
- name: table
  discovery: {{dns: {{name: _http._tcp.backend.example, type: SRV}}}}
  loadBalancing: {{policy: Maglev, places: {places}, hashOn: {{source: true}}}}
",
        connect = duration(connect_ms),
        idle = duration(idle_ms),
        choices = of("LeastRequest", "choices"),
        points_min = of("RingHash", "pointsMin"),
        points_max = of("RingHash", "pointsMax"),
        places = of("Maglev", "places"),
        interval = duration(HEALTH_CHECK.interval_ms),
        timeout = duration(HEALTH_CHECK.timeout_ms),
        healthy = HEALTH_CHECK.healthy,
        unhealthy = HEALTH_CHECK.unhealthy,
    );
}
