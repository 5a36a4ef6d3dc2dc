use super::*;
use weirgate_dataplane::{
    limits::{FRAME_ROOM, packet_bytes},
    services::Service,
};

mod backends;
mod control;
mod examples;
mod golden;
mod kube;
mod listeners;
mod reading;
mod routes;
mod secrets;
mod whole;

const SMALL: &str = "\
apiVersion: weirgate/v1
kind: GatewayConfig
metadata: {name: edge-a, labels: {zone: eu-1a}}
dataplane:
  cores: [2, 3]
  polling: busy
  memory: {framesPerWorker: 16384}
  ports:
  - name: p0
    device: \"0000:01:00.0\"
    addresses: [192.0.2.10/24, 2001:db8::10/64]
    gateway: [192.0.2.1, fe80::1]
    vlans: [{id: 7, addresses: [10.7.0.1/24], routes: [{to: 10.8.0.0/16, via: 10.7.0.2}]}]
";

fn compiled(text: &str) -> Result<Snapshot, Vec<String>> {
    compiled_files(&[("a.yaml".into(), text.into())]).map_err(|found| found.iter().map(ToString::to_string).collect())
}

fn compiled_files(files: &[(String, String)]) -> Result<Snapshot, Vec<Finding>> {
    compile(files, &Environment::default()).map(|model| model.snapshot)
}

/// With this replacement in the last part, one of the findings begins or goes on like this.
fn refused(parts: &[&str], from: &str, to: &str, wants: &str) {
    let (last, first) = parts.split_last().unwrap();
    let changed = last.replacen(from, to, 1);
    assert_ne!(changed, *last, "{from} is there to be replaced");
    let found = compiled(&format!("{}{changed}", first.concat())).expect_err(to);
    assert!(found.iter().any(|f| f.contains(wants)), "{to}: {wants}: {found:#?}");
}

#[test]
fn a_configuration_becomes_a_snapshot() {
    let snapshot = compiled(SMALL).unwrap();
    assert_eq!((snapshot.name.as_str(), snapshot.dataplane.cores.as_slice()), ("edge-a", &[2, 3][..]));
    assert_eq!(snapshot.dataplane.frames_per_worker, 16_384);
    assert_eq!(snapshot.dataplane.ports[0].untagged.gateways.len(), 2);
    assert_eq!(snapshot.dataplane.ports[0].vlans[0].interface.routes[0].to.to_string(), "10.8.0.0/16");
    assert_eq!(Snapshot::from_json(&snapshot.to_json()).unwrap(), snapshot);
}

#[test]
fn hugepages_become_frames() {
    let frames = |size: &str| {
        let text = SMALL.replace("framesPerWorker: 16384", &format!("hugepages: {size}"));
        compiled(&text).map(|s| s.dataplane.frames_per_worker)
    };
    for (size, bytes) in [("2GiB", 2usize << 30), ("256MiB", 256 << 20)] {
        let frames = frames(size).unwrap();
        let needed = |frames| packet_bytes(2, frames, FRAME_ROOM);
        assert!(needed(frames) <= bytes && needed(frames + 1) > bytes, "{size} gives as many as fit");
    }
    assert!(frames("1MiB").unwrap_err()[0].contains("too little"));
    assert!(frames("2GB").unwrap_err()[0].contains("GiB"));
}

#[test]
fn blocks_may_lie_in_several_files() {
    let other = "apiVersion: weirgate/v1\nkind: GatewayConfig\nmetadata: {name: other}\n";
    let both = [("a".to_owned(), SMALL.to_owned()), ("b".to_owned(), other.to_owned())];
    assert_eq!(compiled_files(&both).unwrap().name, "edge-a");
    let twice = [("a".to_owned(), SMALL.to_owned()), ("b".to_owned(), SMALL.to_owned())];
    assert!(compiled_files(&twice).unwrap_err()[0].message.contains("second dataplane"));
}

/// Each row: what is replaced in the small configuration, by what, and what the finding says.
#[test]
fn findings_say_where_and_what() {
    for (from, to, wants) in [
        ("weirgate/v1", "weirgate/v2", "a.yaml:1:13: apiVersion"),
        ("kind: GatewayConfig\n", "", "kind is missing"),
        ("dataplane:", "policies: []\ndataplane:", "a.yaml:4:11: policies is not supported in this version"),
        ("framesPerWorker: 16384", "maxConnections: 5", "5 TCP connections; there may be 64 to"),
        ("polling: busy", "overload: {shedAt: 0.9}", "dataplane.overload is not supported"),
        ("polling: busy", "poling: busy", "poling"),
        ("polling: busy", "polling: lazy", "lazy"),
        ("0000:01:00.0", "eth0", "dataplane.ports[p0].device"),
        ("192.0.2.10/24", "192.0.2.10/240", "dataplane.ports[p0].addresses"),
        ("fe80::1", "nowhere", "dataplane.ports[p0].gateway"),
        ("via: 10.7.0.2", "via: 10.9.0.2", "in no network of its interface"),
        ("cores: [2, 3]", "cores: []", "0 cores"),
        ("id: 7", "id: 5000", "VLAN 5000"),
        ("cores: [2, 3]", "cores: [2, 3", "a.yaml:"),
    ] {
        let text = SMALL.replacen(from, to, 1);
        assert_ne!(text, SMALL, "{from} is there to be replaced");
        let found = compiled(&text).expect_err(to);
        assert!(found.iter().any(|f| f.contains(wants)), "{to}: {found:?}");
    }
}

const LISTENERS: &str = "\
listeners:
- {name: echo, port: 7, protocol: TCP, service: echo}
- {name: quote, port: 17, protocol: TCP, service: quote, address: 192.0.2.10}
";

#[test]
fn listeners_become_services() {
    let snapshot = compiled(&format!("{SMALL}{LISTENERS}")).unwrap();
    let [echo, quote] = &snapshot.services[..] else { panic!("two of them: {:?}", snapshot.services) };
    assert_eq!((echo.name.as_str(), echo.port, echo.service, echo.address), ("echo", 7, Service::Echo, None));
    assert_eq!((quote.port, quote.service, quote.address), (17, Service::Quote, Some([192, 0, 2, 10].into())));
    assert_eq!(Snapshot::from_json(&snapshot.to_json()).unwrap(), snapshot);
    // They may lie in a file of their own, beside the data plane's.
    let head = "apiVersion: weirgate/v1\nkind: GatewayConfig\n";
    let files = [("a".to_owned(), SMALL.to_owned()), ("b".to_owned(), format!("{head}{LISTENERS}"))];
    assert_eq!(compiled_files(&files).unwrap(), snapshot);
}

/// Each row: what is replaced in the listeners, by what, and what the finding says. They begin in line 14.
#[test]
fn findings_name_the_listener() {
    for (from, to, wants) in [
        ("TCP", "TLS", "a.yaml:15:49: listeners[echo].service: a service is served without TLS"),
        ("TCP", "UDP", "listeners[echo].protocol: UDP is not supported in this version"),
        ("TCP", "tcp", "listeners[echo].protocol: \"tcp\" is none of HTTP, TCP, HTTPS, TLS, UDP"),
        ("service: echo", "service: daytime", "listeners[echo].service: \"daytime\" is none of echo"),
        (", service: echo", "", "listeners[echo]: a TCP listener needs a service"),
        ("service: echo", "servise: echo", "did you mean \"service\"?"),
        ("service: echo", "service: echo, tls: {}", "listeners[echo].tls: for HTTPS and TLS listeners"),
        ("service: echo", "service: echo, alpn: [h2]", "listeners[echo].alpn: for HTTPS and TLS listeners"),
        (
            "service: echo",
            "service: echo, proxyProtocol: true",
            "a.yaml:15:70: listeners[echo].proxyProtocol: a mapping is needed here, not \"true\"",
        ),
        ("192.0.2.10", "localhost", "a.yaml:16:67: listeners[quote].address: \"localhost\" is not an address"),
        ("192.0.2.10", "192.0.2.11", "a.yaml:16:3: listener \"quote\": no port has the address 192.0.2.11"),
        ("port: 7", "port: 70000", "a.yaml:15"),
        ("port: 7", "port: 0", "port 0"),
        ("name: quote, port: 17", "name: quote, port: 7", ""),
        ("name: quote", "name: echo", "named \"echo\""),
    ] {
        let text = format!("{SMALL}{}", LISTENERS.replacen(from, to, 1));
        let found = compiled(&text);
        if wants.is_empty() {
            found.expect("one of all addresses, and one of an address of its own");
            continue;
        }
        let found = found.expect_err(to);
        assert!(found.iter().any(|f| f.contains(wants)), "{to}: {found:?}");
    }
    let twice = LISTENERS.replace("17", "7").replace(", address: 192.0.2.10", "");
    assert!(compiled(&format!("{SMALL}{twice}")).unwrap_err()[0].contains("port 7"));
}

#[test]
fn all_findings_come_at_once() {
    let text =
        SMALL.replace("192.0.2.10/24", "x").replace("0000:01:00.0", "y").replace("metadata", "xds: {}\nmetadata");
    let text = text.replace("polling: busy", "polling: lazy").replace("framesPerWorker: 16384", "hugepages: 1MB");
    assert_eq!(compiled(&text).unwrap_err().len(), 5);
}
