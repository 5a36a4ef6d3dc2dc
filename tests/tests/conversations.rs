//! What a gateway says to whom, frame by frame. Each test is one rule, and reads as a conversation.

use weirgate_dataplane::{counters::Counter, limits, time::Duration};
use weirgate_tests::{
    conversation::Conversation,
    wire::{self, Mac, ethertype, protocol},
    world::seed::{Address, GatewayPlan, Network, Plan},
};

const SECOND: Duration = Duration::from_secs(1);

/// An echo request from a host to the gateway.
fn ping(from: Address, to: Address, ipv6: bool, seq: u16) -> Vec<u8> {
    wire::frame(to.mac, from.mac, None, &wire::echo(from.of(ipv6), to.of(ipv6), 1, seq, b"data"))
}
fn arp_reply(from: Address, to: Address) -> Vec<u8> {
    let message = wire::arp(2, (from.mac, from.v4), (to.mac, to.v4));
    wire::ethernet(to.mac, from.mac, None, ethertype::ARP, &message)
}
fn arp_request(from: Address, to: Address) -> Vec<u8> {
    let message = wire::arp(1, (from.mac, from.v4), (Mac::from_bytes(&[0; 6]), to.v4));
    wire::ethernet(Mac::BROADCAST, from.mac, None, ethertype::ARP, &message)
}
/// A solicited advertisement.
fn advertisement(from: Address, to: Address) -> Vec<u8> {
    let packet = wire::advertisement(from.v6, to.v6, from.v6, 0x60, Some(from.mac));
    wire::frame(to.mac, from.mac, None, &packet)
}

#[test]
fn the_answer_arrives_on_another_worker_and_the_waiting_frame_leaves() {
    let mut talk = Conversation::new(3);
    let (gateway, peer) = (talk.gateway(), talk.peer());
    talk.hears(1, &ping(peer, gateway, false, 1));
    talk.says(["all: arp who-has 10.0.1.2 tell 10.0.1.1"]);
    talk.hears(0, &arp_reply(peer, gateway));
    talk.says(["peer: 10.0.1.1 > 10.0.1.2 echo reply 1, 4 bytes"]);
    // The third worker has heard of it too.
    talk.hears(2, &ping(peer, gateway, false, 2));
    talk.says(["peer: 10.0.1.1 > 10.0.1.2 echo reply 2, 4 bytes"]);
    talk.hears(2, &ping(peer, gateway, true, 3));
    talk.says(["all: fd00:1::1 > ff02::1:ff00:2 solicits fd00:1::2"]);
    talk.hears(1, &advertisement(peer, gateway));
    talk.says(["peer: fd00:1::1 > fd00:1::2 echo reply 3, 4 bytes"]);
    talk.ends();
}

#[test]
fn a_neighbour_that_does_not_answer_is_asked_three_times() {
    let mut talk = Conversation::new(1);
    let (gateway, peer) = (talk.gateway(), talk.peer());
    for seq in 1..=6 {
        talk.hears(0, &ping(peer, gateway, false, seq));
    }
    assert_eq!(talk.inside().workers().next().unwrap().held(), 4, "the newest four wait");
    for _ in 0..3 {
        talk.says(["all: arp who-has 10.0.1.2 tell 10.0.1.1"]);
        talk.waits(SECOND);
    }
    talk.says([]);
    talk.hears(0, &arp_reply(peer, gateway));
    talk.says([]);
    talk.hears(0, &ping(peer, gateway, false, 7));
    talk.says(["all: arp who-has 10.0.1.2 tell 10.0.1.1"]);
    talk.hears(0, &arp_reply(peer, gateway));
    talk.says(["peer: 10.0.1.1 > 10.0.1.2 echo reply 7, 4 bytes"]);
    talk.ends();
}

#[test]
fn another_machine_takes_an_address_over() {
    let mut talk = Conversation::new(2);
    let (gateway, peer, other) = (talk.gateway(), talk.peer(), talk.other());
    talk.hears(0, &arp_request(peer, gateway));
    talk.says(["peer: arp 10.0.1.1 is-at 02-ee-00-00-00-00"]);
    talk.hears(1, &ping(peer, gateway, false, 1));
    talk.says(["peer: 10.0.1.1 > 10.0.1.2 echo reply 1, 4 bytes"]);
    // The other one announces the address (RFC 5227 section 3): everybody believes it, on every worker.
    let heir = Address { mac: other.mac, ..peer };
    let announcement = wire::arp(1, (heir.mac, heir.v4), (Mac::from_bytes(&[0; 6]), heir.v4));
    talk.hears(0, &wire::ethernet(Mac::BROADCAST, heir.mac, None, ethertype::ARP, &announcement));
    talk.hears(1, &ping(heir, gateway, false, 2));
    talk.says(["other: 10.0.1.1 > 10.0.1.2 echo reply 2, 4 bytes"]);
}

#[test]
fn another_machine_takes_an_ipv6_address_over() {
    let mut talk = Conversation::new(2);
    let (gateway, peer, other) = (talk.gateway(), talk.peer(), talk.other());
    talk.hears(1, &ping(peer, gateway, true, 1));
    talk.hears(0, &advertisement(peer, gateway));
    talk.says([
        "all: fd00:1::1 > ff02::1:ff00:2 solicits fd00:1::2",
        "peer: fd00:1::1 > fd00:1::2 echo reply 1, 4 bytes",
    ]);
    // rfc4861 7.2.6: unsolicited, to all nodes, with the override flag.
    let announcement = wire::advertisement(peer.v6, wire::ALL_NODES, peer.v6, 0x20, Some(other.mac));
    talk.hears(0, &wire::frame(wire::group_mac(wire::ALL_NODES), other.mac, None, &announcement));
    talk.hears(1, &ping(Address { mac: other.mac, ..peer }, gateway, true, 2));
    talk.says(["other: fd00:1::1 > fd00:1::2 echo reply 2, 4 bytes"]);
    // Without the flag nobody's address changes (RFC 4861 section 7.2.5).
    talk.waits(SECOND);
    let timid = wire::advertisement(peer.v6, wire::ALL_NODES, peer.v6, 0, Some(peer.mac));
    talk.hears(0, &wire::frame(wire::group_mac(wire::ALL_NODES), peer.mac, None, &timid));
    talk.hears(1, &ping(peer, gateway, true, 3));
    talk.says(["other: fd00:1::1 > fd00:1::2 echo reply 3, 4 bytes"]);
}

#[test]
fn an_exhausted_pool_recovers() {
    let plan = GatewayPlan { frames: 16, ..Plan::calm(0, 1, 1).gateway };
    let mut talk = Conversation::with(plan);
    let (gateway, peer) = (talk.gateway(), talk.peer());
    talk.hears(0, &arp_request(peer, gateway));
    talk.said();
    talk.clog(true);
    let taken = (0..40).filter(|seq| talk.hears(0, &ping(peer, gateway, false, *seq))).count();
    assert_eq!(taken, 16, "as many as there are frames");
    talk.says([]);
    talk.clog(false);
    assert_eq!(talk.said().len(), 16);
    talk.hears(0, &ping(peer, gateway, false, 41));
    talk.says(["peer: 10.0.1.1 > 10.0.1.2 echo reply 41, 4 bytes"]);
    talk.ends();
}

#[test]
fn a_clogged_link_fills_the_backlog_and_no_more() {
    let plan = GatewayPlan { tx_ring: 4, rx_ring: 1024, ..Plan::calm(0, 1, 1).gateway };
    let mut talk = Conversation::with(plan);
    let (gateway, peer) = (talk.gateway(), talk.peer());
    talk.hears(0, &arp_request(peer, gateway));
    talk.said();
    talk.clog(true);
    for seq in 0..400 {
        assert!(talk.hears(0, &ping(peer, gateway, false, seq)));
    }
    assert_eq!(talk.inside().workers().next().unwrap().held(), 256);
    talk.clog(false);
    assert_eq!(talk.said().len(), 4 + 256);
    talk.ends();
}

/// A worker may still believe what another has begun to doubt; the doubter must hear the answer all the same.
#[test]
fn the_worker_that_asks_is_told_though_the_one_that_hears_knew() {
    for ipv6 in [false, true] {
        let mut talk = Conversation::new(2);
        let (gateway, peer) = (talk.gateway(), talk.peer());
        let answer = if ipv6 { advertisement(peer, gateway) } else { arp_reply(peer, gateway) };
        talk.hears(1, &ping(peer, gateway, ipv6, 1));
        talk.hears(0, &answer);
        assert_eq!(talk.said().len(), 2, "a question and an echo reply");
        for seq in 2..200 {
            talk.waits(SECOND);
            talk.hears(1, &ping(peer, gateway, ipv6, seq));
            let said = talk.said();
            assert!(said.iter().any(|words| words.contains(&format!("echo reply {seq},"))), "{said:?}");
            // The peer answers each question, always on the other worker.
            for _ in said.iter().filter(|words| words.contains("who-has") || words.contains("solicits")) {
                talk.hears(0, &answer);
            }
        }
        let failures: u64 = talk.inside().workers().map(|w| w.counters().counter(Counter::NeighborFailures)).sum();
        assert_eq!(failures, 0);
    }
}

/// RFC 4443 section 2.4 (e.1).
#[test]
fn no_error_answers_an_error_that_hides_behind_an_option() {
    let mut talk = Conversation::new(1);
    let (gateway, peer) = (talk.gateway(), talk.peer());
    talk.hears(0, &ping(peer, gateway, true, 1));
    talk.hears(0, &advertisement(peer, gateway));
    talk.said();
    // An option that we do not know, and that asks for an error.
    let behind_option = |talk: &mut Conversation, kind: u8| {
        let message = wire::icmp(kind, 0, [0; 4], &[0x60; 48]);
        let mut payload = wire::destination_options(protocol::ICMPV6, 0xbe, &[0; 4]);
        payload.extend_from_slice(&message);
        let packet = wire::ip(peer.v6.into(), gateway.v6.into(), 60, 64, &payload);
        talk.hears(0, &wire::frame(gateway.mac, peer.mac, None, &packet));
    };
    behind_option(&mut talk, 128);
    talk.says(["peer: fd00:1::1 > fd00:1::2 parameter problem 2 at 42"]);
    behind_option(&mut talk, 1);
    talk.says([]);
    talk.ends();
}

#[test]
fn nobody_else_has_our_hardware_address() {
    let mut talk = Conversation::new(1);
    let (gateway, peer) = (talk.gateway(), talk.peer());
    let group = wire::solicited_node(gateway.v6);
    let question = wire::solicitation(peer.v6, group, gateway.v6, Some(gateway.mac));
    talk.hears(0, &wire::frame(wire::group_mac(group), peer.mac, None, &question));
    talk.says([]);
    talk.hears(0, &ping(peer, gateway, true, 1));
    talk.says(["all: fd00:1::1 > ff02::1:ff00:2 solicits fd00:1::2"]);
    let answer = wire::advertisement(peer.v6, gateway.v6, peer.v6, 0x60, Some(gateway.mac));
    talk.hears(0, &wire::frame(gateway.mac, peer.mac, None, &answer));
    talk.says([]);
    talk.hears(0, &advertisement(peer, gateway));
    talk.says(["peer: fd00:1::1 > fd00:1::2 echo reply 1, 4 bytes"]);
    talk.ends();
}

/// A plan with a second network on a second port.
fn two_networks() -> GatewayPlan {
    let second = Network { number: 2, port: 1, vlan: None, gateway: 1 };
    let plan = Plan::calm(0, 1, 1).gateway;
    GatewayPlan { networks: vec![plan.networks[0], second], ..plan }
}

#[test]
fn the_broadcast_address_of_another_network_of_ours_is_no_sender() {
    let mut talk = Conversation::with(two_networks());
    let (gateway, peer) = (talk.gateway(), talk.peer());
    let broadcast = Address { v4: [10, 0, 2, 255].into(), ..peer };
    talk.hears(0, &ping(broadcast, gateway, false, 1));
    talk.says([]);
    talk.ends();
}

#[test]
fn a_question_from_where_no_host_can_be_is_not_answered() {
    let mut talk = Conversation::new(1);
    let (gateway, peer) = (talk.gateway(), talk.peer());
    for sender in [[10, 0, 1, 255], [0, 0, 0, 7], [127, 0, 0, 1], [255, 255, 255, 255], [224, 0, 0, 1], [240, 0, 0, 1]]
    {
        talk.hears(0, &arp_request(Address { v4: sender.into(), ..peer }, gateway));
        talk.says([]);
    }
    // rfc5227 2.1.1: a probe has no sender address and is answered.
    talk.hears(0, &arp_request(Address { v4: [0; 4].into(), ..peer }, gateway));
    talk.says(["peer: arp 10.0.1.1 is-at 02-ee-00-00-00-00"]);
    talk.ends();
}

/// RFC 4007 section 9: a link-local address means something on its own link only.
#[test]
fn a_link_local_address_does_not_answer_out_of_another_interface() {
    let plan = GatewayPlan { default_route: true, ..two_networks() };
    let mut talk = Conversation::with(plan.clone());
    let second = plan.networks[1];
    let local = Address { v6: second.gateway().link_local(), ..second.gateway() };
    let far = Address { v6: "2001:db8::1".parse().unwrap(), ..second.host(2) };
    talk.hears_on(1, 0, &ping(far, local, true, 1));
    talk.says([]);
    // A host on that link is answered there.
    talk.hears_on(1, 0, &ping(second.host(2), local, true, 2));
    talk.says(["all: fd00:2::1 > ff02::1:ff00:2 solicits fd00:2::2"]);
}

/// RFC 6583: strangers take a bounded part of the table, and none of it from those we know.
#[test]
fn strangers_cannot_crowd_out_a_neighbour() {
    let mut talk = Conversation::with(GatewayPlan { frames: 2_048, ..Plan::calm(0, 1, 1).gateway });
    let (gateway, peer) = (talk.gateway(), talk.peer());
    let stranger = |n: u16| Address { v6: std::net::Ipv6Addr::from_segments([0xfd00, 1, 0, 0, 0, 0, 9, n]), ..peer };
    talk.hears(0, &ping(peer, gateway, true, 1));
    talk.hears(0, &advertisement(peer, gateway));
    for n in 0..6_000 {
        if n % 250 == 0 {
            talk.waits(SECOND);
        }
        // Some ask for us, some must be asked for.
        let host = stranger(n);
        let question = wire::solicitation(host.v6, gateway.v6, gateway.v6, Some(host.mac));
        talk.hears(0, &wire::frame(gateway.mac, host.mac, None, &question));
        talk.hears(0, &ping(stranger(n + 6_000), gateway, true, n));
        // The peer speaks now and then, and answers when it is asked.
        if n % 1_000 == 0 {
            talk.hears(0, &ping(peer, gateway, true, n));
        }
        if talk.said().iter().any(|words| words.ends_with("solicits fd00:1::2")) {
            talk.hears(0, &advertisement(peer, gateway));
        }
    }
    let worker = talk.inside().workers().next().unwrap();
    assert!(worker.net().neighbor_count() <= limits::NEIGHBORS_MAX);
    assert!(worker.net().neighbor_count() > limits::NEIGHBORS_MAX / 2, "{}", worker.net().neighbor_count());
    talk.said();
    talk.hears(0, &ping(peer, gateway, true, 7));
    talk.says(["peer: fd00:1::1 > fd00:1::2 echo reply 7, 4 bytes"]);
    talk.waits(Duration::from_secs(10));
    talk.ends();
}
