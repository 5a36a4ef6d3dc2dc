//! A host that sends what nobody should: garbage, lies, valid frames bent a little. It hears what passes, answers questions that were for
//! others, and sends in bursts.

mod tcp;

use super::{
    host::{Host, Wires},
    seed::{Address, Network},
};
use crate::wire::{self, ALL_NODES, Mac, ethertype, protocol};
use fastrand::Rng;
use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};
use weirgate_dataplane::time::{Duration, Instant};

/// The host.
pub(super) struct Hostile {
    forge: Forge,
    networks: Vec<(Network, Vec<Address>)>,
    burst_at: Instant,
    /// Many of one kind: which, and how many are left.
    flood: Option<(usize, usize)>,
    /// Answers to what was just heard.
    answers: Vec<Vec<u8>>,
    silent: bool,
    tally: BTreeMap<&'static str, u64>,
}

/// What makes its frames.
struct Forge {
    mac: Mac,
    /// What it heard last; some of it is sent again.
    heard: VecDeque<Vec<u8>>,
    /// Connections of others.
    known: VecDeque<tcp::Known>,
    /// A clock for timestamps.
    ticks: u32,
    random: Rng,
}

const HEARD_MAX: usize = 16;
/// Segments of its own connections, of which the character generator's have no end.
const OWN_MAX: u64 = 600;
/// Frames of a flood that come together.
const FLOOD_AT_ONCE: usize = 24;

const BENT: std::ops::Range<usize> = 3..20;

type Attack = fn(&mut Forge, &Victims<'_>) -> Vec<u8>;
/// Those that are bent further come between the first and the last ones.
const ATTACKS: [(&str, Attack); BENT.end + 8] = [
    ("garbage", Forge::garbage),
    ("mutants", Forge::mutant),
    ("replays", Forge::replay),
    ("arp lies", Forge::arp_lie),
    ("advertisements", Forge::advertisement),
    ("solicitations", Forge::solicitation),
    ("pings", Forge::ping),
    ("pings of strangers", Forge::stranger_ping),
    ("questions of strangers", Forge::stranger_question),
    ("datagrams", Forge::datagram),
    ("half-made checksums", Forge::half_checksum),
    ("land", Forge::land),
    ("icmp errors", Forge::icmp_error),
    ("fragments", Forge::fragment),
    ("ipv4 options", Forge::options),
    ("extension headers", Forge::extensions),
    ("vlan tricks", Forge::vlan_trick),
    ("oversized", Forge::oversized),
    ("other protocols", Forge::other_protocol),
    ("listener queries", Forge::listener_query),
    ("blind resets", Forge::blind_reset),
    ("blind syns", Forge::blind_syn),
    ("blind text", Forge::blind_text),
    ("window games", Forge::window_game),
    ("syns", Forge::syn),
    ("stray segments", Forge::stray_segment),
    ("bad tcp options", Forge::bad_options),
    ("icmp about flows", Forge::icmp_about_flow),
];

/// Who is in one network.
struct Victims<'a> {
    network: Network,
    gateway: Address,
    peers: &'a [Address],
}

impl Hostile {
    /// A host that knows everybody in these networks.
    pub(super) fn new(networks: Vec<(Network, Vec<Address>)>, mut random: Rng) -> Self {
        let mac = Mac::from_bytes(&[2, 0xba, 0xdd, 0, 0, networks[0].0.port]);
        let burst_at = Instant::from_ns(random.u64(0..1_000_000_000));
        let forge = Forge { mac, heard: VecDeque::new(), known: VecDeque::new(), ticks: 0, random };
        Self { forge, networks, burst_at, flood: None, answers: Vec::new(), silent: false, tally: BTreeMap::new() }
    }
    /// Says nothing more.
    pub(super) fn silence(&mut self) {
        self.silent = true;
    }
    /// How many frames of each kind it sent.
    pub(super) fn tally(&self) -> &BTreeMap<&'static str, u64> {
        &self.tally
    }

    /// Sends the next frames. Says when to go on.
    fn burst(&mut self, now: Instant, wires: &mut Wires) -> Instant {
        if self.flood.is_none() && self.forge.random.u8(0..56) == 0 {
            let of = self.forge.random.usize(0..ATTACKS.len());
            self.flood = Some((of, self.forge.random.usize(100..2_000)));
        }
        let count = if self.flood.is_some() { FLOOD_AT_ONCE } else { self.forge.random.usize(1..24) };
        let (network, peers) = &self.networks[self.forge.random.usize(0..self.networks.len())];
        let victims = Victims { network: *network, gateway: network.gateway(), peers };
        let of = self.forge.random.usize(0..ATTACKS.len());
        for _ in 0..count {
            // A flood is of one kind, a burst of that one and others.
            let of = match self.flood {
                Some((of, _)) => of,
                None if self.forge.random.bool() => of,
                None => self.forge.random.usize(0..ATTACKS.len()),
            };
            let (name, attack) = ATTACKS[of];
            let mut frame = attack(&mut self.forge, &victims);
            if self.forge.random.u8(0..24) == 0 {
                frame.truncate(self.forge.random.usize(0..=frame.len()));
            }
            *self.tally.entry(name).or_default() += 1;
            wires.send(0, frame);
        }
        match &mut self.flood {
            Some((_, left)) if *left > count => {
                *left -= count;
                now + Duration::from_us(self.forge.random.u64(10..200))
            }
            _ => {
                self.flood = None;
                now + Duration::from_us(1 << self.forge.random.u32(10..21))
            }
        }
    }

    /// An answer to a question that was for somebody else.
    fn usurp(&mut self, frame: &[u8]) {
        let Some(link) = wire::link(frame) else { return };
        let message = &frame[link.payload_at..];
        let own = self.forge.mac;
        let answer = match (link.ethertype, message.first_chunk::<28>()) {
            (ethertype::ARP, Some(m)) if m[7] == 1 => {
                let asker = (Mac::from_bytes(&m[8..14]), Ipv4Addr::new(m[14], m[15], m[16], m[17]));
                let target = Ipv4Addr::new(m[24], m[25], m[26], m[27]);
                let reply = wire::arp(2, (own, target), asker);
                wire::ethernet(link.from, own, link.vlan, ethertype::ARP, &reply)
            }
            (ethertype::IPV6, _) => {
                let Some(ip) = wire::ip_packet(message) else { return };
                let (IpAddr::V6(asker), Some(target)) =
                    (ip.source, message.get(ip.transport_at + 8..ip.transport_at + 24))
                else {
                    return;
                };
                if ip.protocol != protocol::ICMPV6 || message[ip.transport_at] != 135 {
                    return;
                }
                let target = Ipv6Addr::from_octets(*target.first_chunk().expect("16 bytes"));
                wire::frame(link.from, own, link.vlan, &wire::advertisement(target, asker, target, 0x60, Some(own)))
            }
            _ => return,
        };
        *self.tally.entry("usurped answers").or_default() += 1;
        self.answers.push(answer);
    }
}

impl Host for Hostile {
    fn arrive(&mut self, now: Instant, _: usize, frame: Vec<u8>) -> Instant {
        if self.silent {
            return Instant::NEVER;
        }
        if self.forge.random.u8(0..4) == 0 {
            self.usurp(&frame);
        }
        self.forge.ticks = u32::try_from(now.as_ns() / 1_000_000 % (1 << 32)).expect("just cut");
        let networks = &self.networks;
        let is_peer = |a: IpAddr| networks.iter().any(|(_, peers)| peers.iter().any(|p| p.of(a.is_ipv6()) == a));
        let is_gateway = |a: IpAddr| networks.iter().any(|(n, _)| n.gateway().of(a.is_ipv6()) == a);
        if let Some(answer) = self.forge.overhear(&frame, is_peer, is_gateway)
            && self.tally.get("own tcp").is_none_or(|count| *count < OWN_MAX)
        {
            *self.tally.entry("own tcp").or_default() += 1;
            self.answers.push(answer);
        }
        if self.forge.heard.len() == HEARD_MAX {
            self.forge.heard.pop_front();
        }
        self.forge.heard.push_back(frame);
        if self.answers.is_empty() { Instant::NEVER } else { now }
    }

    fn step(&mut self, now: Instant, wires: &mut Wires) -> Instant {
        if self.silent {
            return Instant::NEVER;
        }
        self.answers.drain(..).for_each(|frame| wires.send(0, frame));
        if now >= self.burst_at {
            self.burst_at = self.burst(now, wires);
        }
        self.burst_at
    }
}

impl Forge {
    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.random.usize(0..choices.len())]
    }
    fn bytes(&mut self, max: usize) -> Vec<u8> {
        let len = self.random.usize(0..=max);
        std::iter::repeat_with(|| self.random.u8(..)).take(len).collect()
    }
    /// Itself, a peer, a stranger in the network, or the gateway, most often not the last.
    fn somebody(&mut self, victims: &Victims<'_>) -> Address {
        let stranger = victims.network.host(self.random.u8(..));
        let itself = Address { mac: self.mac, ..stranger };
        let peer = self.one_of(victims.peers);
        self.one_of(&[itself, itself, stranger, peer, peer, peer, victims.gateway])
    }
    fn any_mac(&mut self, victims: &Victims<'_>) -> Mac {
        let peer = self.one_of(victims.peers).mac;
        let strange = Mac::from_bytes(&[2, 9, self.random.u8(..), self.random.u8(..), self.random.u8(..), 9]);
        let group = Mac::from_bytes(&[1, 0, 0x5e, 0, 0, 1]);
        let none = Mac::from_bytes(&[0; 6]);
        self.one_of(&[self.mac, self.mac, peer, strange, victims.gateway.mac, Mac::BROADCAST, group, none])
    }
    /// Mostly the gateway.
    fn receiver(&mut self, victims: &Victims<'_>) -> Mac {
        if self.random.u8(0..8) > 0 { victims.gateway.mac } else { self.any_mac(victims) }
    }
    /// A packet for the gateway, mostly by plausible hardware addresses.
    fn addressed_to_gateway(&mut self, victims: &Victims<'_>, packet: &[u8]) -> Vec<u8> {
        let (to, from) =
            (self.receiver(victims), if self.random.u8(0..8) > 0 { self.mac } else { self.any_mac(victims) });
        wire::frame(to, from, victims.network.vlan, packet)
    }
    /// Sources of every kind, sensible or not.
    fn source(&mut self, victims: &Victims<'_>, ipv6: bool) -> IpAddr {
        let odd: IpAddr = if ipv6 {
            let groups = [ALL_NODES, Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST, Ipv4Addr::LOCALHOST.to_ipv6_mapped()];
            self.one_of(&groups).into()
        } else {
            let net = victims.network.number;
            let odd = [[0; 4], [127, 0, 0, 1], [255; 4], [10, 0, net, 255], [10, 0, net + 1, 255], [224, 0, 0, 1]];
            self.one_of(&odd).into()
        };
        let far: IpAddr = if ipv6 {
            Ipv6Addr::from_segments([0x2001, 0xdb8, 0, 0, 0, 0, 0, self.random.u16(..)]).into()
        } else {
            Ipv4Addr::new(198, 51, 100, self.random.u8(..)).into()
        };
        let known = self.somebody(victims);
        let local = if ipv6 { known.link_local().into() } else { known.v4.into() };
        self.one_of(&[known.of(ipv6), known.of(ipv6), local, far, odd])
    }
    fn destination(&mut self, victims: &Victims<'_>, ipv6: bool) -> IpAddr {
        let gateway = victims.gateway;
        match self.random.u8(0..10) {
            0 if ipv6 => self.one_of(&[ALL_NODES, wire::solicited_node(gateway.v6)]).into(),
            0 => self.one_of(&[[255; 4], [10, 0, victims.network.number, 255], [224, 0, 0, 1]]).into(),
            1 if ipv6 => gateway.link_local().into(),
            2 => self.somebody(victims).of(ipv6),
            _ => gateway.of(ipv6),
        }
    }

    fn garbage(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let mut frame = self.bytes(200);
        if self.random.u8(0..4) > 0 && frame.len() > 18 {
            frame[..6].copy_from_slice(&victims.gateway.mac.0);
            let kind = self.one_of(&[[8, 0], [8, 6], [0x86, 0xdd], [0x81, 0]]);
            frame[12..14].copy_from_slice(&kind);
            frame[14] = self.one_of(&[0x45, 0x4f, 0x60, 0x00]);
        }
        frame
    }

    /// A frame of another kind with some bytes changed, its checksums made right or not.
    fn mutant(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let (_, make) = ATTACKS[self.random.usize(BENT)];
        let mut frame = make(self, victims);
        for _ in 0..self.random.usize(1..6) {
            let within = if self.random.bool() { frame.len().min(74) } else { frame.len() };
            if within > 12 {
                let at = self.random.usize(12..within);
                frame[at] = self.odd_byte();
            }
        }
        match self.random.u8(0..4) {
            0 => frame.extend_from_slice(&[0; 9]),
            1 => frame.truncate(self.random.usize(0..=frame.len())),
            _ => {}
        }
        if self.random.u8(0..4) > 0 {
            wire::seal(&mut frame);
        }
        frame
    }

    fn odd_byte(&mut self) -> u8 {
        let any = self.random.u8(..);
        self.one_of(&[0, 1, 0x7f, 0x80, 0xff, any, any])
    }

    fn replay(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        if self.heard.is_empty() {
            return self.garbage(victims);
        }
        let at = self.random.usize(0..self.heard.len());
        self.heard[at].clone()
    }

    fn arp_lie(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let sender = self.somebody(victims);
        let sender = self.one_of(&[sender.v4, sender.v4, sender.v4, Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST]);
        let target = self.one_of(&[victims.gateway.v4, victims.gateway.v4, sender, Ipv4Addr::new(10, 0, 9, 9)]);
        let (mac, claimed) = (self.any_mac(victims), self.any_mac(victims));
        let operation = self.one_of(&[1, 1, 2, 2, 2, 3, 0]);
        let message = wire::arp(operation, (claimed, sender), (victims.gateway.mac, target));
        let to = self.one_of(&[victims.gateway.mac, Mac::BROADCAST]);
        wire::ethernet(to, mac, victims.network.vlan, ethertype::ARP, &message)
    }

    fn advertisement(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let target = self.somebody(victims);
        let target = self.one_of(&[target.v6, target.v6, target.link_local(), ALL_NODES, Ipv6Addr::UNSPECIFIED]);
        let to = self.one_of(&[victims.gateway.v6, victims.gateway.link_local(), ALL_NODES]);
        let flags = self.one_of(&[0, 0x20, 0x40, 0x60, 0xe0]);
        let mac = self.any_mac(victims);
        let mac = self.one_of(&[Some(mac), Some(mac), Some(mac), None]);
        let source = if self.random.bool() { target } else { self.somebody(victims).v6 };
        let packet = wire::advertisement(source, to, target, flags, mac);
        let mac = if to == ALL_NODES { wire::group_mac(ALL_NODES) } else { victims.gateway.mac };
        wire::frame(mac, self.mac, victims.network.vlan, &packet)
    }

    fn solicitation(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let target = self.one_of(&[victims.gateway.v6, victims.gateway.link_local(), self.mac_local()]);
        let group = wire::solicited_node(target);
        let to = self.one_of(&[group, target]);
        let IpAddr::V6(source) = self.source(victims, true) else { unreachable!("asked for IPv6") };
        let mac = self.any_mac(victims);
        let mac = self.one_of(&[Some(mac), Some(mac), None]);
        let packet = wire::solicitation(source, to, target, mac);
        let to = if to == group { wire::group_mac(group) } else { victims.gateway.mac };
        let from = self.any_mac(victims);
        wire::frame(to, from, victims.network.vlan, &packet)
    }
    fn mac_local(&self) -> Ipv6Addr {
        wire::link_local(self.mac)
    }

    /// Somebody of whom nobody has heard: an IPv6 network has more hosts than any table.
    fn stranger(&mut self, victims: &Victims<'_>) -> Address {
        let host = victims.network.host(0);
        let n = self.random.u32(1 << 16..);
        let mac = [2, 9, n.to_be_bytes()[0], n.to_be_bytes()[1], n.to_be_bytes()[2], n.to_be_bytes()[3]];
        Address { mac: Mac::from_bytes(&mac), v6: Ipv6Addr::from_bits(host.v6.to_bits() | u128::from(n)), ..host }
    }

    /// The gateway must ask for the address before it can answer.
    fn stranger_ping(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let stranger = self.stranger(victims);
        let packet = wire::echo(stranger.v6.into(), victims.gateway.v6.into(), 1, self.random.u16(..), b"stranger");
        wire::frame(victims.gateway.mac, stranger.mac, victims.network.vlan, &packet)
    }

    /// The gateway learns an address that it will not need.
    fn stranger_question(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let stranger = self.stranger(victims);
        let target = victims.gateway.v6;
        let packet = wire::solicitation(stranger.v6, target, target, Some(stranger.mac));
        wire::frame(victims.gateway.mac, stranger.mac, victims.network.vlan, &packet)
    }

    fn ping(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let ipv6 = self.random.bool();
        let (source, destination) = (self.source(victims, ipv6), self.destination(victims, ipv6));
        let data = self.bytes(100);
        let packet = wire::echo(source, destination, 1, self.random.u16(..), &data);
        self.addressed_to_gateway(victims, &packet)
    }

    fn datagram(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let ipv6 = self.random.bool();
        let (source, destination) = (self.source(victims, ipv6), self.destination(victims, ipv6));
        let ports = (self.random.u16(..), self.random.u16(..));
        let longest = self.one_of(&[60, 60, 60, 60, 1400]);
        let data = self.bytes(longest);
        let packet = wire::udp(source, destination, ports, &data);
        self.addressed_to_gateway(victims, &packet)
    }

    /// What a kernel leaves for a device that does not exist: the pseudo-header's sum where the checksum belongs.
    fn half_checksum(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let ipv6 = self.random.bool();
        let (source, destination) = (self.one_of(victims.peers).of(ipv6), victims.gateway.of(ipv6));
        let packet = wire::udp(source, destination, (5, 5), &[0; 10]);
        let mut frame = wire::frame(victims.gateway.mac, self.mac, victims.network.vlan, &packet);
        let at = frame.len() - 18;
        // The sum of a message of zeros of the same length is the pseudo-header's alone.
        let sum = !wire::transport_sum(source, destination, protocol::UDP, &[0; 18]);
        frame[at + 6..at + 8].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    /// From the gateway to itself.
    fn land(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let ipv6 = self.random.bool();
        let own = victims.gateway.of(ipv6);
        let packet =
            if self.random.bool() { wire::echo(own, own, 7, 7, b"land") } else { wire::udp(own, own, (7, 7), b"land") };
        self.addressed_to_gateway(victims, &packet)
    }

    fn icmp_error(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let ipv6 = self.random.bool();
        let (source, destination) = (self.source(victims, ipv6), self.destination(victims, ipv6));
        let quote = match self.random.u8(0..4) {
            0 => self.bytes(80),
            1 => wire::udp(victims.gateway.of(ipv6), self.source(victims, ipv6), (9, 9), &[0; 20]),
            2 => wire::udp(self.source(victims, ipv6), destination, (9, 9), &[0; 20]),
            _ => wire::echo(victims.gateway.of(ipv6), source, 1, 1, &[0; 20]),
        };
        let quote = &quote[..quote.len() - self.random.usize(0..=quote.len().min(12))];
        let kinds: &[u8] = if ipv6 { &[1, 2, 3, 4, 100] } else { &[3, 3, 4, 5, 11, 12] };
        let word = [0, 0, self.random.u8(..), self.random.u8(..)];
        let message = wire::icmp(self.one_of(kinds), self.random.u8(0..6), word, quote);
        let protocol = if ipv6 { protocol::ICMPV6 } else { protocol::ICMP };
        let packet = wire::ip(source, destination, protocol, 64, &message);
        // Some hide behind an option that asks for an error.
        let packet = if ipv6 && self.random.bool() { self.behind_option(&packet) } else { packet };
        self.addressed_to_gateway(victims, &packet)
    }

    /// An IPv6 packet with an option before its payload.
    fn behind_option(&mut self, packet: &[u8]) -> Vec<u8> {
        let option = self.one_of(&[0x3e, 0x7e, 0xbe, 0xfe, 5, 1]);
        let data = vec![0; self.one_of(&[0, 4, 8, 12, 80])];
        let mut payload = wire::destination_options(packet[6], option, &data);
        payload.extend_from_slice(&packet[40..]);
        let ip = wire::ip_packet(packet).expect("built here");
        let kind = self.one_of(&[60, 60, 0]);
        wire::ip(ip.source, ip.destination, kind, 64, &payload)
    }

    fn fragment(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let ipv6 = self.random.bool();
        let (source, destination) = (self.source(victims, ipv6), self.destination(victims, ipv6));
        let offset = self.one_of(&[0, 0, 1, 8, 0x1fff]);
        let more = self.random.bool();
        let inner = wire::echo(source, destination, 3, 3, b"a part of something longer");
        let packet = if ipv6 {
            let mut payload = wire::fragment_header(protocol::ICMPV6, offset, more, self.random.u32(..));
            payload.extend_from_slice(&inner[40..]);
            wire::ip(source, destination, 44, 64, &payload)
        } else {
            let mut packet = inner;
            packet[6..8].copy_from_slice(&(offset | u16::from(more) << 13).to_be_bytes());
            packet
        };
        self.addressed_to_gateway(victims, &packet)
    }

    fn options(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let (source, destination) = (self.source(victims, false), self.destination(victims, false));
        let words = self.random.usize(1..=10);
        let mut options: Vec<u8> = std::iter::repeat_n(1, words * 4).collect();
        for _ in 0..self.random.usize(0..4) {
            let at = self.random.usize(0..options.len());
            options[at] = self.one_of(&[0, 7, 68, 131, 137, 148, 3, 255]);
        }
        let inner = wire::echo(source, destination, 4, self.random.u16(..), b"with options");
        let mut packet = inner[..20].to_vec();
        packet[0] = 0x45 + u8::try_from(words).expect("at most 10");
        let total = u16::try_from(inner.len() + options.len()).expect("small");
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet.extend_from_slice(&options);
        packet.extend_from_slice(&inner[20..]);
        self.addressed_to_gateway(victims, &packet)
    }

    fn extensions(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let (source, destination) = (self.source(victims, true), self.destination(victims, true));
        let mut packet = wire::echo(source, destination, 5, self.random.u16(..), b"behind headers");
        for _ in 0..self.random.usize(1..7) {
            packet = if self.random.u8(0..5) == 0 {
                let mut payload = vec![packet[6], 0, self.random.u8(0..5), self.random.u8(0..2), 0, 0, 0, 0];
                payload.extend_from_slice(&packet[40..]);
                wire::ip(source, destination, 43, 64, &payload)
            } else {
                self.behind_option(&packet)
            };
        }
        self.addressed_to_gateway(victims, &packet)
    }

    fn vlan_trick(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let packet = wire::echo(self.source(victims, false), victims.gateway.of(false), 6, 6, b"tagged");
        let mut frame = self.addressed_to_gateway(victims, &packet);
        if frame.len() < 14 {
            return frame;
        }
        let id = self.random.u16(..);
        let id = self.one_of(&[0, 1, 4095, id, victims.network.vlan.unwrap_or(0)]).to_be_bytes();
        let kind = self.one_of(&[[0x81, 0], [0x81, 0], [0x88, 0xa8], [0x91, 0]]);
        frame.splice(12..12, kind.into_iter().chain(id));
        frame
    }

    fn oversized(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let ipv6 = self.random.bool();
        let data = vec![0x4a; self.random.usize(1200..9500)];
        let source = self.source(victims, ipv6);
        let packet = if self.random.bool() {
            wire::echo(source, victims.gateway.of(ipv6), 8, 8, &data)
        } else {
            wire::udp(source, victims.gateway.of(ipv6), (8, 8), &data)
        };
        self.addressed_to_gateway(victims, &packet)
    }

    fn other_protocol(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let ipv6 = self.random.bool();
        let (source, destination) = (self.source(victims, ipv6), self.destination(victims, ipv6));
        let data = self.bytes(60);
        let number = self.random.u8(..);
        let number = self.one_of(&[protocol::TCP, 2, 47, 50, 51, 59, 132, number]);
        let packet = wire::ip(source, destination, number, self.random.u8(..), &data);
        self.addressed_to_gateway(victims, &packet)
    }

    fn listener_query(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let delay = self.one_of(&[[0, 0], [0, 100], [0x80, 0], [0xff, 0xff]]);
        let data = vec![0; self.one_of(&[16, 20, 40])];
        let message = wire::icmp(130, 0, [delay[0], delay[1], 0, 0], &data);
        let source = self.somebody(victims).link_local();
        let hops = self.one_of(&[1, 1, 64]);
        let packet = wire::ip(source.into(), ALL_NODES.into(), protocol::ICMPV6, hops, &message);
        wire::frame(wire::group_mac(ALL_NODES), self.mac, victims.network.vlan, &packet)
    }
}
