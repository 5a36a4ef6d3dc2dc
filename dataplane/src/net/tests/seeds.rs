//! Writes the fuzzers' seeds: `cargo test -p weirgate-dataplane write_the_seeds -- --ignored`, after an input's form has changed.

use super::*;
use crate::shm;
use std::{fs, path::PathBuf};

/// Sound frames of every kind, each a way into the layer.
pub(super) fn sound_frames() -> Vec<(&'static str, Vec<u8>)> {
    let query = Ipv6 { source: PEER_LOCAL, destination: NODES, hop_limit: 1 };
    let alert_and_query = [&[58, 0, 5, 2, 0, 0, 1, 0][..], &icmp6_message(query, 130, 0, 0, &[0; 20])].concat();
    let options = [60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0x9e, 4, 0, 0, 0, 0];
    let with_options = Ipv4 { options: &[7, 7, 4, 0, 0, 0, 0, 0], ..FROM_PEER4 };
    vec![
        ("arp-request", arp_from_peer(REQUEST, PEER4, US4)),
        ("arp-reply", arp_from_peer(REPLY, PEER4, US4)),
        ("udp4", from_peer4(&udp4(b"data"))),
        ("udp6", from_peer6(&udp6(b"data"))),
        ("tcp4", from_peer4(&FROM_PEER4.packet(TCP, &tcp(PEER4, US4, 6, &[2, 4, 5, 0xb4])))),
        ("tcp6", from_peer6(&FROM_PEER6.packet(TCP, &tcp(PEER6, US6, 6, &[2, 4, 5, 0xb4])))),
        ("echo4-with-options", from_peer4(&with_options.packet(ICMP, &icmp4(8, 0, 1, b"echo")))),
        ("too-big4", from_peer4(&FROM_PEER4.packet(ICMP, &icmp4(3, 4, 1400, &TO_PEER4.packet(TCP, &[0; 8]))))),
        ("unknown4", from_peer4(&FROM_PEER4.packet(253, b"data"))),
        ("echo6", from_peer6(&icmp6(FROM_PEER6, 128, 0, 1, b"echo"))),
        ("too-big6", from_peer6(&icmp6(FROM_PEER6, 2, 0, 1400, &TO_PEER6.packet(TCP, &[0; 8])))),
        ("options6", from_peer6(&FROM_PEER6.packet(0, &[&options[..], &udp(PEER6, US6, b"")].concat()))),
        (
            "routing6",
            from_peer6(&FROM_PEER6.packet(43, &[&[17, 0, 0, 1, 0, 0, 0, 0][..], &udp(PEER6, US6, b"")].concat())),
        ),
        (
            "fragment6",
            from_peer6(&FROM_PEER6.packet(44, &[&[17, 0, 0, 0, 0, 0, 0, 1][..], &udp(PEER6, US6, b"")].concat())),
        ),
        ("solicitation", from_peer6(&solicitation(PEER6, US6, US6, Some(PEER_MAC)))),
        (
            "own-address",
            ethernet(
                mac_of_group(OUR_GROUP),
                PEER_MAC,
                IPV6,
                &solicitation(Ipv6Addr::UNSPECIFIED, OUR_GROUP, US6, None),
            ),
        ),
        ("advertisement", from_peer6(&advertisement(PEER6, US6, SOLICITED | OVERRIDE, PEER6, Some(OTHER_MAC)))),
        ("listener-query", ethernet(mac_of_group(NODES), PEER_MAC, IPV6, &query.packet(0, &alert_and_query))),
        ("vlan", tagged(0x8100, 7, &from_peer4(&udp4(b"data")))),
    ]
}

fn record(action: u8, time: u8, bytes: &[u8]) -> Vec<u8> {
    [&[action, time][..], &(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

#[test]
#[ignore = "writes into tests/fuzz/seeds"]
fn write_the_seeds() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(root.join(target)).unwrap();
        fs::write(root.join(target).join(name), bytes).unwrap();
    };
    let (repaired, sends) = (0x20, 2);
    let half_a_second = 29 << 3 | 1;
    for (name, frame) in sound_frames() {
        let (packet, is_ipv6) = (&frame[14..], frame[12..14] == IPV6.to_be_bytes());
        write("frame", name, &[vec![0], record(repaired, half_a_second, &frame)].concat());
        write("rss_flow", name, &[&[0x0f], &frame[..]].concat());
        if frame[12..14] == ARP.to_be_bytes() {
            write("arp", name, packet);
        }
        if is_ipv6 {
            write("ipv6_extensions", name, &[&[packet[6], 0], &packet[40..]].concat());
        }
        if matches!(name, "solicitation" | "advertisement" | "own-address") {
            write("nd", name, &[&[255], &packet[8..40], &packet[40..]].concat());
        }
        if matches!(name, "too-big4" | "too-big6") {
            write("icmp_error", name, &packet[if is_ipv6 { 40 } else { 20 }..]);
        }
    }
    let second_worker = 4;
    let conversation = [
        vec![0x0b],
        record(sends, half_a_second, &[2 << 2, 1, 2, 3]),
        record(repaired | second_worker, half_a_second, &arp_from_peer(REPLY, PEER4, US4)),
        record(sends, 36 << 3 | 1, &[2 << 2, 1, 2, 3]),
        record(repaired, 33 << 3 | 1, &arp_from(OTHER_MAC, REQUEST, PEER4, PEER4)),
        record(sends, 0, &[2 << 2 | 2, 1, 2, 3]),
        record(repaired | 0x40, 0, &from_peer6(&advertisement(PEER6, US6, SOLICITED, PEER6, Some(PEER_MAC)))),
        record(repaired | 0xc0, 0, &from_peer6(&icmp6(FROM_PEER6, 128, 0, 1, &[7; 200]))),
    ];
    write("frame", "conversation", &conversation.concat());

    for (name, text) in [
        ("pci", "0000:3b:00.1,representor=[0]"),
        ("af_packet", "af_packet:gw0,qdisc_bypass=0"),
        ("pcap", "pcap,rx_pcap=in.pcap,tx_pcap=out.pcap"),
        ("null", "null"),
    ] {
        write("device", name, text.as_bytes());
    }
    let small = r#"{"format":1,"name":"lab","dataplane":{"cores":[0,1],"polling":"busy","framesPerWorker":4096,"ports":[{"name":"p0",
"device":"af_packet:gw0","mtu":9000,"offloads":false,"addresses":["10.77.0.10/24","fd77::10/64"],"gateways":["10.77.0.1"],
"vlans":[{"id":7,"addresses":["10.78.0.10/24"],"routes":[{"to":"10.79.0.0/16","via":"10.78.0.1"}]}]}]}}"#;
    write("snapshot", "lab", small.as_bytes());
    let cell = |name: &str| shm::Cell { name: name.into(), kind: "counter".into(), help: String::new() };
    let column = |cells| shm::Column { scope: "worker".into(), name: "0".into(), cells };
    let columns = vec![column(vec![cell("rx"), cell("tx")]), column(vec![]), column(vec![cell("rx")])];
    let path = std::env::temp_dir().join(format!("weirgate-seed-{}", std::process::id()));
    let header = shm::Header { version: "0".into(), pid: 1, name: "lab".into(), columns };
    let region = shm::Region::create(&path, &header).unwrap();
    write("counters_file", "lab", &fs::read(&path).unwrap());
    drop(region);
}
