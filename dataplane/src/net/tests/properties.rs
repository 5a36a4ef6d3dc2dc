//! What holds for all inputs.

use super::*;
use crate::net::ipv4;
use proptest::{collection::vec, prelude::*, sample::select};

fn v4_cidr() -> impl Strategy<Value = Cidr> {
    // Few networks, so that prefixes nest and meet.
    (0u32..7, 0u32..4, 0u8..=32).prop_map(|(high, low, prefix)| {
        let address = Ipv4Addr::from_bits(high << 29 | 0x00a0_0000 | low);
        Cidr { address: address.into(), prefix }
    })
}
fn v6_cidr() -> impl Strategy<Value = Cidr> {
    (0u128..8, 0u128..4, 0u8..=128).prop_map(|(high, low, prefix)| {
        let address = Ipv6Addr::from_bits(0x2000u128 << 112 | high << 64 | low);
        Cidr { address: address.into(), prefix }
    })
}
fn any_ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<Ipv4Addr>().prop_map(IpAddr::V4), any::<Ipv6Addr>().prop_map(IpAddr::V6)]
}

/// By the book: of all routes that match, one with the longest prefix; of those the first, connected ones before static ones.
fn longest_prefix(interfaces: &[Interface], routes: &[Route], destination: IpAddr) -> Option<NextHop> {
    let connected = interfaces.iter().zip(0..).flat_map(|(interface, index)| {
        interface.addresses.iter().map(move |&to| Route { to, interface: InterfaceIndex(index), via: None })
    });
    let mut best: Option<Route> = None;
    for route in connected.chain(routes.iter().copied()) {
        let matches = (0..route.to.prefix).all(|bit| bit_of(route.to.address, bit) == bit_of(destination, bit))
            && route.to.address.is_ipv4() == destination.is_ipv4();
        if matches && best.is_none_or(|best| route.to.prefix > best.to.prefix) {
            best = Some(route);
        }
    }
    best.map(|route| NextHop { interface: route.interface, address: route.via.unwrap_or(destination) })
}

fn bit_of(address: IpAddr, bit: u8) -> Option<bool> {
    let octets = match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    };
    octets.get(usize::from(bit / 8)).map(|octet| octet >> (7 - bit % 8) & 1 == 1)
}

proptest! {
    #[test]
    fn the_next_hop_is_the_longest_prefixes(
        networks in vec((prop_oneof![v4_cidr(), v6_cidr()], any::<bool>()), 0..24),
        destinations in vec(prop_oneof![v4_cidr(), v6_cidr()], 1..24),
    ) {
        let base = topology(Offloads::default());
        let routes: Vec<_> = networks.iter().zip(2..).map(|(&(to, tagged), n)| {
            let via: IpAddr = match (to.address, tagged) {
                (IpAddr::V4(_), false) => Ipv4Addr::new(10, 77, 0, 100 + n).into(),
                (IpAddr::V4(_), true) => Ipv4Addr::new(10, 78, 0, 100 + n).into(),
                (IpAddr::V6(_), _) => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, u16::from(n)).into(),
            };
            Route { to, interface: InterfaceIndex(u8::from(tagged)), via: Some(via) }
        }).collect();
        let interfaces: Vec<_> = base.interfaces().map(|(_, i)| i.clone()).collect();
        let topology = Topology::new(interfaces.clone(), routes.clone()).unwrap();
        for destination in destinations.iter().map(|d| d.address).chain([PEER4.into(), PEER6.into()]) {
            prop_assert_eq!(
                topology.next_hop(destination, None),
                longest_prefix(&interfaces, &routes, destination),
                "to {}", destination
            );
        }
    }

    /// The header is written as whole words with its checksum summed beside them; the book's way is byte by byte.
    #[test]
    fn an_ipv4_header_is_written_as_the_book_says(
        source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, hop_limit: u8, len in 0usize..1_480,
    ) {
        let mut frame = frame(&Pool::heap(1), &vec![0; len], &[]);
        ipv4::emit(&mut frame, &ipv4::Header { source, destination, protocol, hop_limit, traffic_class: 0 }, false).unwrap();
        let wanted = Ipv4 { source, destination, ttl: hop_limit, ..TO_PEER4 }.packet(protocol, &vec![0; len]);
        prop_assert_eq!(frame.to_vec(), wanted);
    }

    #[test]
    fn a_network_is_read_as_it_was_written(address in any_ip(), prefix in 0u8..=128) {
        let Some(cidr) = Cidr::new(address, prefix) else {
            prop_assert!(address.is_ipv4() && prefix > 32);
            return Ok(());
        };
        prop_assert_eq!(cidr.to_string().parse::<Cidr>(), Ok(cidr));
    }

    #[test]
    fn text_that_is_read_as_a_network_is_written_as_the_same(text in "[0-9a-f:.]{1,16}/[0-9+ ]{0,4}") {
        if let Ok(cidr) = text.parse::<Cidr>() {
            prop_assert_eq!(cidr.to_string().parse::<Cidr>(), Ok(cidr));
        }
    }

    /// `hear` checks the account after each frame.
    #[test]
    fn no_bytes_break_the_account(frames in vec((vec(any::<u8>(), 0..200), 0u64..4_000), 1..20)) {
        let mut gw = Gateway::among_friends();
        for (bytes, ms) in frames {
            gw.hear(&bytes);
            gw.wait(Duration::from_ms(ms));
        }
    }

    /// Sound frames with a few bytes changed get further than noise does.
    #[test]
    fn no_change_of_a_sound_frame_breaks_the_account(
        (_, start) in select(seeds::sound_frames()),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cuts in vec(any::<prop::sample::Index>(), 0..4),
        said in select(vec![Checksum::Unknown, Checksum::Good, Checksum::Bad, Checksum::Partial]),
    ) {
        let mut bytes = start;
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.sort_unstable();
        let mut gw = Gateway::with(Offloads { segments: true, ..Offloads::default() });
        gw.meet();
        let mut frame = gw.frame(&bytes, &cuts);
        frame.set_rx_meta(RxMeta { ip_checksum: said, l4_checksum: said, rss_hash: None });
        gw.hear_frame(frame);
        gw.wait(Duration::from_secs(60));
    }
}
