//! Every early end that this layer has happens to somebody.

use super::*;
use std::collections::BTreeSet;

/// Not this layer's: whoever it hands frames up to ends them so.
const ELSEWHERE: [(Drop, &str); 8] = [
    (Drop::TcpNoListener, "the worker, while no transport listens"),
    (Drop::UdpNoListener, "the worker, while no transport listens (the error about it is tested here)"),
    (Drop::IcmpErrorNoFlow, "the worker, which knows the flows"),
    (Drop::TcpReassemblyRuns, "TCP"),
    (Drop::TcpReassemblyFull, "TCP"),
    (Drop::TcpReassemblyGivenUp, "TCP"),
    (Drop::TcpAfterFin, "TCP"),
    (Drop::ExchangeOver, "the gateway, above TCP"),
];

fn flood(gw: &mut Gateway, n: usize, destination: impl Fn(usize) -> IpAddr) {
    for i in 0..n {
        let destination = destination(i);
        let source: IpAddr = if destination.is_ipv4() { US4.into() } else { US6.into() };
        gw.transport_sends(source, destination, b"");
    }
}

#[test]
fn each_happens() {
    let hears = |frame: Vec<u8>| {
        move |gw: &mut Gateway| {
            gw.hear(&frame);
        }
    };
    let v4 = |ip: Ipv4, protocol, payload: &[u8]| from_peer4(&ip.packet(protocol, payload));
    let v6 = |next, payload: &[u8]| from_peer6(&FROM_PEER6.packet(next, payload));
    let nd_ip = Ipv6 { hop_limit: 255, ..FROM_PEER6 };
    let half_made = {
        let mut message = udp(PEER4, US4, b"data");
        let sum = !internet_checksum(&[&pseudo_header(PEER4.into(), US4.into(), UDP, message.len())]);
        message[6..8].copy_from_slice(&sum.to_be_bytes());
        message
    };
    let mut wrong = udp(PEER4, US4, b"data");
    wrong[6] ^= 1;
    let mut wrong_header = FROM_PEER4;
    wrong_header.options = &[131, 3, 4, 0];
    let mut wrong_sum = udp4(b"");
    wrong_sum[11] ^= 1;
    let question = from_peer6(&solicitation(PEER6, US6, PEER6, None));
    type Act = Box<dyn Fn(&mut Gateway)>;
    let rows: Vec<(Drop, Act)> = vec![
        (Drop::Runt, Box::new(hears(vec![0; 13]))),
        (
            Drop::HeadersSplit,
            Box::new(|gw| {
                gw.hear_chained(&from_peer4(&udp4(b"")), &[40]);
            }),
        ),
        (Drop::NotOurHardwareAddress, Box::new(hears(ethernet(OTHER_MAC, PEER_MAC, IPV4, &[])))),
        (Drop::HardwareSource, Box::new(hears(ethernet(OUR_MAC, OUR_MAC, IPV4, &[])))),
        (Drop::UnknownVlan, Box::new(hears(tagged(0x8100, 9, &from_peer4(&[]))))),
        (Drop::StackedVlan, Box::new(hears(tagged(0x88a8, 7, &from_peer4(&[]))))),
        (Drop::EtherType, Box::new(hears(ethernet(OUR_MAC, PEER_MAC, 0x88cc, &[])))),
        (Drop::FamilyNotConfigured, Box::new(|gw| gw.transport_sends(US6, PEER4, b""))),
        (Drop::ArpMalformed, Box::new(hears(ethernet(OUR_MAC, PEER_MAC, ARP, &[0; 28])))),
        (Drop::ArpNotForUs, Box::new(hears(arp_from_peer(REQUEST, PEER4, PEER4)))),
        (Drop::AddressConflict, Box::new(hears(arp_from_peer(REQUEST, US4, US4)))),
        (Drop::NdMalformed, Box::new(hears(from_peer6(&icmp6(nd_ip, 135, 1, 0, &US6.octets()))))),
        (Drop::NdNotForUs, Box::new(hears(question))),
        (Drop::NdIgnored, Box::new(hears(from_peer6(&icmp6(nd_ip, 134, 0, 0, &[0; 8]))))),
        (Drop::Ipv4Malformed, Box::new(hears(from_peer4(&[0x45])))),
        (Drop::Ipv4Checksum, Box::new(hears(from_peer4(&wrong_sum)))),
        (Drop::Ipv4Options, Box::new(hears(v4(Ipv4 { options: &[7, 0, 0, 0], ..FROM_PEER4 }, UDP, &[])))),
        (Drop::Ipv4SourceRoute, Box::new(hears(v4(wrong_header, UDP, &[])))),
        (Drop::Ipv4Fragment, Box::new(hears(v4(Ipv4 { fragment: 0x2000, ..FROM_PEER4 }, UDP, &[])))),
        (Drop::Ipv6Malformed, Box::new(hears(from_peer6(&[0x60])))),
        (Drop::Ipv6ExtensionLimit, Box::new(hears(v6(60, &[60, 0, 1, 4, 0, 0, 0, 0].repeat(5))))),
        (Drop::Ipv6Extension, Box::new(hears(v6(60, &[17, 1, 1, 4, 0, 0, 0, 0])))),
        (Drop::Ipv6Option, Box::new(hears(v6(60, &[17, 0, 0x41, 4, 0, 0, 0, 0])))),
        (Drop::Ipv6Routing, Box::new(hears(v6(43, &[17, 0, 0, 1, 0, 0, 0, 0])))),
        (Drop::Ipv6Fragment, Box::new(hears(v6(44, &[17, 0, 0, 1, 0, 0, 0, 0])))),
        (Drop::Ipv6NoNextHeader, Box::new(hears(v6(59, &[])))),
        (Drop::MartianSource, Box::new(hears(v4(Ipv4 { source: US4, ..FROM_PEER4 }, UDP, &[])))),
        (Drop::NotForUs, Box::new(hears(v4(Ipv4 { destination: PEER4, ..FROM_PEER4 }, UDP, &[])))),
        (
            Drop::GroupIgnored,
            Box::new(hears(v4(Ipv4 { destination: Ipv4Addr::BROADCAST, ..FROM_PEER4 }, UDP, &udp(PEER4, US4, b"")))),
        ),
        (Drop::UnicastInGroupFrame, Box::new(hears(ethernet(ALL_MACS, PEER_MAC, IPV4, &udp4(b""))))),
        (Drop::IcmpMalformed, Box::new(hears(v4(FROM_PEER4, ICMP, &[8])))),
        (Drop::IcmpChecksum, Box::new(hears(v4(FROM_PEER4, ICMP, &[8, 0, 0, 0, 0, 0, 0, 0])))),
        (Drop::IcmpIgnored, Box::new(hears(v4(FROM_PEER4, ICMP, &icmp4(13, 0, 0, &[]))))),
        (Drop::IcmpErrorQuote, Box::new(hears(v4(FROM_PEER4, ICMP, &icmp4(3, 0, 0, &[]))))),
        (Drop::TransportMalformed, Box::new(hears(v4(FROM_PEER4, TCP, &[])))),
        (Drop::TransportChecksum, Box::new(hears(v4(FROM_PEER4, UDP, &wrong)))),
        (Drop::TransportChecksumPartial, Box::new(hears(v4(FROM_PEER4, UDP, &half_made)))),
        (Drop::ProtocolUnknown, Box::new(hears(v4(FROM_PEER4, 253, &[])))),
        (Drop::NoRoute, Box::new(|gw| gw.transport_sends(US6, Ipv6Addr::LOCALHOST, b""))),
        (Drop::TooLong, Box::new(|gw| gw.transport_sends(US4, PEER4, &[0; 1481]))),
        (
            Drop::SegmentsUnsupported,
            Box::new(|gw| {
                let chained = gw.made(b"two", &[1]);
                gw.transport_sends_frame(US4, PEER4, chained);
            }),
        ),
        (
            Drop::NeighborUnreachable,
            Box::new(|gw| {
                gw.transport_sends(US4, PEER4, b"");
                gw.wait(Duration::from_secs(3));
            }),
        ),
        (Drop::NeighborPendingFull, Box::new(|gw| flood(gw, 5, |_| PEER4.into()))),
        (
            Drop::NeighborEvicted,
            Box::new(|gw| flood(gw, 513, |i| Ipv6Addr::from_bits(PEER6.to_bits() + 0x1_0000 + i as u128).into())),
        ),
        (
            Drop::NeighborAskLimited,
            // More at once than may be asked for; the frames leave between them, so that nothing else is full.
            Box::new(|gw| {
                for i in 0..1_025u128 {
                    gw.transport_sends(US6, Ipv6Addr::from_bits(PEER6.to_bits() + 0x1_0000 + i), b"");
                    gw.said();
                }
            }),
        ),
        (
            Drop::TxBacklogFull,
            Box::new(|gw| {
                gw.hear(&arp_from_peer(REQUEST, PEER4, US4));
                flood(gw, 256, |_| PEER4.into());
            }),
        ),
        (
            Drop::Stopping,
            Box::new(|gw| {
                gw.transport_sends(US4, PEER4, b"");
                gw.net.stop(&mut gw.out);
            }),
        ),
    ];
    let mut seen: BTreeSet<Drop> = ELSEWHERE.iter().map(|(drop, _)| *drop).collect();
    for (drop, act) in rows {
        let mut gw = Gateway::new();
        act(&mut gw);
        gw.account();
        assert!(gw.dropped(drop) > 0, "{} did not happen", drop.name());
        assert!(seen.insert(drop), "{} stands twice", drop.name());
    }
    let missing: Vec<_> = Drop::ALL.iter().filter(|drop| !seen.contains(drop)).map(|drop| drop.name()).collect();
    // What ends in TCP has its own scripts.
    let missing: Vec<_> = missing.into_iter().filter(|name| !name.starts_with("tcp_")).collect();
    assert!(missing.is_empty(), "neither produced nor known to be produced elsewhere: {missing:?}");
}
