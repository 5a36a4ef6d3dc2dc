//! MLDv2, the listener's half (RFC 3810).

use super::*;

const QUERIER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// Router alert, value 0, padded (RFC 2711 section 2.1).
const ALERT: [u8; 8] = [ICMPV6, 0, 5, 2, 0, 0, 1, 0];

/// A general query with this maximum response code, in version 2.
fn query(ip: Ipv6, code: u16) -> Vec<u8> {
    query_of(ip, code, 28)
}

fn query_of(ip: Ipv6, code: u16, len: usize) -> Vec<u8> {
    let message = icmp6_message(ip, 130, 0, u32::from(code) << 16, &vec![0; len - 8]);
    ethernet(mac_of_group(NODES), PEER_MAC, IPV6, &ip.packet(0, &[&ALERT[..], &message].concat()))
}

/// A sound query behind this extension header.
fn behind(first: u8, header: &[u8]) -> Vec<u8> {
    let message = icmp6_message(GENERAL, 130, 0, 0, &[0; 20]);
    bare(&GENERAL.packet(first, &[header, &message].concat()))
}

fn bare(packet: &[u8]) -> Vec<u8> {
    ethernet(mac_of_group(NODES), PEER_MAC, IPV6, packet)
}

const GENERAL: Ipv6 = Ipv6 { source: QUERIER, destination: NODES, hop_limit: 1 };

/// "Excluding nothing" of each solicited-node group: of fd77::10, and of the link-local address.
fn our_report() -> Vec<u8> {
    let routers: Ipv6Addr = "ff02::16".parse().unwrap();
    let ip = Ipv6 { source: us_local(), destination: routers, hop_limit: 1 };
    // Both addresses end alike, so there is one group.
    let record = [&[2, 0, 0, 0][..], &OUR_GROUP.octets()].concat();
    let message = icmp6_message(ip, 143, 0, 1, &record);
    ethernet(mac_of_group(routers), OUR_MAC, IPV6, &ip.packet(0, &[&ALERT[..], &message].concat()))
}

#[test]
fn a_query_is_reported_to_within_the_delay_that_it_allows() {
    for seed in 0..20 {
        let mut gw = Gateway::of(topology(Offloads::default()), seed);
        send!(gw, query(GENERAL, 1_000));
        recv!(gw);
        let due = gw.net.next_deadline();
        assert!(due <= gw.now + Duration::from_ms(1_000), "{due:?}");
        gw.wait(Duration::from_ms(1_000));
        recv!(gw, our_report());
        assert_eq!(gw.net.next_deadline(), Instant::NEVER);
    }
}

#[test]
fn groups_of_all_addresses_are_reported_once_each() {
    let mut topology = topology(Offloads::default());
    let mut interface = topology.interface(InterfaceIndex(0)).clone();
    interface.addresses = ["fd77::10/64", "fd77::1:0:10/64", "fd77::aa:bbcc/64"].map(|a| a.parse().unwrap()).to_vec();
    topology = Topology::new(vec![interface], vec![]).unwrap();
    let mut gw = Gateway::of(topology, 1);
    send!(gw, query(GENERAL, 0));
    gw.wait(Duration::ZERO);
    let report = gw.said().remove(0);
    let message = &report[14 + 40 + 8..];
    assert_eq!(message[..2], [143, 0]);
    assert_eq!(message[6..8], [0, 2], "two groups");
    let groups: Vec<_> =
        message[8..].chunks(20).map(|r| Ipv6Addr::from(*r[4..].first_chunk::<16>().unwrap())).collect();
    assert_eq!(groups, ["ff02::1:ff00:10", "ff02::1:ffaa:bbcc"].map(|g| g.parse::<Ipv6Addr>().unwrap()));
}

#[test]
fn many_queries_make_one_report_at_the_earliest_time() {
    let mut gw = Gateway::new();
    send!(gw, query(GENERAL, 30_000));
    let first = gw.net.next_deadline();
    for _ in 0..50 {
        send!(gw, query(GENERAL, 30_000));
        assert!(gw.net.next_deadline() <= first);
    }
    gw.wait(Duration::from_secs(30));
    recv!(gw, our_report());
}

#[test]
fn the_alert_may_stand_behind_padding() {
    let mut gw = Gateway::new();
    send!(gw, behind(0, &[ICMPV6, 0, 0, 0, 5, 2, 0, 0]));
}

#[test]
fn a_query_of_version_1_is_reported_to() {
    let mut gw = Gateway::new();
    send!(gw, query_of(GENERAL, 100, 24));
    gw.wait(Duration::from_ms(100));
    recv!(gw, our_report());
}

#[test]
fn queries_that_rfc_3810_does_not_allow_are_dropped() {
    for (name, frame) in [
        ("not from a link-local address", query(Ipv6 { source: PEER6, ..GENERAL }, 0)),
        ("hop limit 2", query(Ipv6 { hop_limit: 2, ..GENERAL }, 0)),
        ("23 bytes", query_of(GENERAL, 0, 23)),
        ("25 bytes, no version's", query_of(GENERAL, 0, 25)),
        ("27 bytes, no version's", query_of(GENERAL, 0, 27)),
        ("no router alert", bare(&GENERAL.packet(ICMPV6, &icmp6_message(GENERAL, 130, 0, 0, &[0; 20])))),
        ("another alert", behind(0, &[ICMPV6, 0, 5, 2, 0, 1, 1, 0])),
        ("padding for an alert", behind(0, &[ICMPV6, 0, 1, 4, 5, 2, 0, 0])),
        ("an alert for the destination only", behind(60, &ALERT)),
    ] {
        let mut gw = Gateway::new();
        assert_eq!(gw.hear(&frame), Fate::Dropped(Drop::IcmpMalformed), "{name}");
        assert_eq!(gw.net.next_deadline(), Instant::NEVER);
    }
    let mut gw = Gateway::new();
    send!(gw, query(Ipv6 { source: Ipv6Addr::UNSPECIFIED, ..GENERAL }, 0) => MartianSource);
    send!(gw, query(Ipv6 { destination: "ff02::fb".parse().unwrap(), ..GENERAL }, 0) => GroupIgnored);
}
