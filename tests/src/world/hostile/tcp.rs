//! TCP from a host that means harm. As a third party it knows who speaks to whom and about where their numbers are, but never hits the one that
//! ends a connection; as a peer it does everything that a peer should not.

use super::{Forge, Victims};
use crate::wire::{self, Tcp, flag, protocol};
use std::net::IpAddr;

/// Somebody's connection to the gateway, as the last segment that was heard of it says.
#[derive(Clone, Copy)]
pub(super) struct Known {
    peer: (IpAddr, u16),
    gateway: (IpAddr, u16),
    /// The peer's next number, and the gateway's.
    next: (u32, u32),
    timestamps: Option<(u32, u32)>,
    /// The peer's first number.
    first: Option<u32>,
}

/// Connections of others that are remembered.
const KNOWN_MAX: usize = 8;
/// The services, and a port where nobody listens.
const PORTS: [u16; 4] = [7, 9, 19, 4];
/// Numbers that no peer of this world reaches.
const FAR: u32 = 400_000;

impl Forge {
    /// Takes note of a segment that passes. Says what to answer if it was for us.
    pub(super) fn overhear(
        &mut self,
        frame: &[u8],
        is_peer: impl Fn(IpAddr) -> bool,
        is_gateway: impl Fn(IpAddr) -> bool,
    ) -> Option<Vec<u8>> {
        let link = wire::link(frame)?;
        let packet = &frame[link.payload_at..];
        let ip = wire::ip_packet(packet)?;
        let segment = Tcp::read(&packet[ip.transport_at..ip.end]).filter(|_| ip.protocol == protocol::TCP)?;
        if is_gateway(ip.source) {
            // In another's name it could do this with the numbers that it hears, and nothing would help.
            let own = link.to == self.mac && !is_peer(ip.destination) && !is_gateway(ip.destination);
            let answers = own && !segment.has(flag::RST) && self.random.u8(0..3) > 0;
            return answers.then(|| self.misbehave(&link, &ip, &segment));
        }
        // A SYN alone can spoil an open of ours (it looks as if both had begun at once), so only those of peers are attacked.
        if !is_peer(ip.source) || !PORTS.contains(&segment.ports.1) {
            return None;
        }
        let (peer, gateway) = ((ip.source, segment.ports.0), (ip.destination, segment.ports.1));
        let known = self.known.iter_mut().find(|k| k.peer == peer && k.gateway == gateway);
        let syn = segment.has(flag::SYN);
        let first = if syn { Some(segment.seq) } else { known.as_ref().and_then(|k| k.first) };
        let next = (segment.end(), segment.ack);
        let new = Known { peer, gateway, next, timestamps: segment.timestamps(), first };
        match known {
            Some(known) => *known = new,
            None => {
                if self.known.len() == KNOWN_MAX {
                    self.known.pop_front();
                }
                self.known.push_back(new);
            }
        }
        None
    }

    /// The next segment of a connection of our own, somehow.
    fn misbehave(&mut self, link: &wire::Link, ip: &wire::Ip, heard: &Tcp<'_>) -> Vec<u8> {
        let random = self.random.u32(..);
        let choice = self.random.u8(0..12);
        let end = heard.end();
        let ack = match choice {
            0 => end.wrapping_add(random % 5_000),                   // optimistic
            1 => heard.seq.wrapping_add(random % (heard.len() + 1)), // split
            2 => end.wrapping_sub(random % 100_000),
            _ => end,
        };
        let seq = match self.random.u8(0..6) {
            0 => heard.ack.wrapping_sub(random % 2_000),
            1 => heard.ack.wrapping_add(random % 70_000),
            _ => heard.ack,
        };
        let mut options = Vec::new();
        if let Some((value, _)) = heard.timestamps() {
            let late = if choice == 3 { random } else { 0 };
            options.extend_from_slice(&[1, 1, 8, 10]);
            options.extend_from_slice(&self.ticks.to_be_bytes());
            options.extend_from_slice(&value.wrapping_sub(late).to_be_bytes());
        }
        if matches!(choice, 4..=6) {
            // SACK lies.
            let blocks = self.random.u8(1..=2);
            options.extend_from_slice(&[1, 1, 5, 2 + 8 * blocks]);
            for _ in 0..blocks {
                let start = end.wrapping_add(self.random.u32(..) % 20_000).wrapping_sub(10_000);
                options.extend_from_slice(&start.to_be_bytes());
                options.extend_from_slice(&start.wrapping_add(self.random.u32(..) % 6_000).to_be_bytes());
            }
        }
        let windows = [0, 1, 7, 512, 4_096, 65_535];
        let window = self.one_of(&windows);
        let longest = self.one_of(&[0, 0, 0, 1, 60, 1_400]);
        let payload = self.bytes(longest);
        let flags = flag::ACK
            | match self.random.u8(0..40) {
                0 => flag::FIN,
                1 => flag::RST,
                2 => flag::SYN,
                3 => flag::ECE,
                4 => flag::CWR,
                _ => 0,
            };
        let ports = (heard.ports.1, heard.ports.0);
        let segment = Tcp { ports, seq, ack, flags, window, options: &options, payload: &payload };
        wire::frame(link.from, self.mac, link.vlan, &segment.packet(ip.destination, ip.source))
    }

    fn known(&mut self) -> Option<Known> {
        if self.known.is_empty() {
            return None;
        }
        let at = self.random.usize(0..self.known.len());
        self.known.get(at).copied()
    }

    /// A segment in a peer's name.
    fn in_its_name(&mut self, victims: &Victims<'_>, known: &Known, mut segment: Tcp<'_>) -> Vec<u8> {
        segment.ports = (known.peer.1, known.gateway.1);
        let peer = victims.peers.iter().find(|p| p.of(known.peer.0.is_ipv6()) == known.peer.0);
        let from = if self.random.bool() { self.mac } else { peer.map_or(self.mac, |p| p.mac) };
        let packet = segment.packet(known.peer.0, known.gateway.0);
        wire::frame(victims.gateway.mac, from, victims.network.vlan, &packet)
    }

    fn stamps(&mut self, known: &Known) -> Vec<u8> {
        let Some((value, echo)) = known.timestamps else { return Vec::new() };
        let value = self.one_of(&[value, value.wrapping_add(1), value.wrapping_sub(1_000), 0]);
        let mut options = vec![1, 1, 8, 10];
        options.extend_from_slice(&value.to_be_bytes());
        options.extend_from_slice(&echo.to_be_bytes());
        options
    }

    /// A reset that is not at exactly the next number.
    pub(super) fn blind_reset(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let Some(known) = self.known() else { return self.syn(victims) };
        let seq = match known.first {
            // The generator's clients send nothing but a FIN.
            Some(first) if known.gateway.1 == 19 => first.wrapping_add(self.random.u32(3..60_000)),
            _ => known.next.0.wrapping_add(self.random.u32(FAR..u32::MAX - 2 * FAR)),
        };
        let flags = self.one_of(&[flag::RST, flag::RST | flag::ACK]);
        self.in_its_name(victims, &known, Tcp { seq, ack: known.next.1, flags, ..Tcp::default() })
    }

    /// A SYN inside a connection, of any number.
    pub(super) fn blind_syn(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let Some(known) = self.known() else { return self.syn(victims) };
        let any = self.random.u32(..);
        let seq = self.one_of(&[known.next.0, known.next.0.wrapping_add(any % 60_000), any]);
        let options = if self.random.bool() { self.stamps(&known) } else { Vec::new() };
        self.in_its_name(victims, &known, Tcp { seq, flags: flag::SYN, options: &options, ..Tcp::default() })
    }

    /// Text in the window, with an acknowledgment that cannot be.
    pub(super) fn blind_text(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let Some(known) = self.known() else { return self.syn(victims) };
        let seq = known.next.0.wrapping_add(self.random.u32(..) % 60_000);
        let ack = known.next.1.wrapping_add(self.random.u32(1 << 22..1 << 30));
        let flags = flag::ACK | self.one_of(&[0, flag::PSH, flag::FIN]);
        let (options, payload) = (self.stamps(&known), self.bytes(300));
        let segment = Tcp { seq, ack, flags, window: 500, options: &options, payload: &payload, ..Tcp::default() };
        self.in_its_name(victims, &known, segment)
    }

    /// An acknowledgment about right that opens or closes the peer's window, or one far off.
    pub(super) fn window_game(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let Some(known) = self.known() else { return self.syn(victims) };
        let any = self.random.u32(..);
        let seq = known.next.0.wrapping_add(self.one_of(&[0, 0, any % 30_000]));
        let ack = known.next.1.wrapping_sub(self.one_of(&[0, 0, 1, any % 3_000, any]));
        let window = self.one_of(&[0, 0, 1, 65_535]);
        let options = self.stamps(&known);
        let segment = Tcp { seq, ack, flags: flag::ACK, window, options: &options, ..Tcp::default() };
        self.in_its_name(victims, &known, segment)
    }

    /// A SYN from anybody, perhaps one of very many; or of our own, with odd options.
    pub(super) fn syn(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let ipv6 = self.random.bool();
        let own = self.random.bool();
        let source = if own { self.own_address(victims, ipv6) } else { self.source(victims, ipv6) };
        let mut options = Vec::new();
        if self.random.u8(0..4) > 0 {
            let [a, b] = self.one_of(&[0, 1, 48, 536, 1_460, 65_535u16]).to_be_bytes();
            options.extend_from_slice(&[2, 4, a, b]);
        }
        if self.random.bool() {
            let shift = self.one_of(&[0, 7, 14, 15, 255]);
            options.extend_from_slice(&[1, 3, 3, shift]);
        }
        if self.random.bool() {
            options.extend_from_slice(&[1, 1, 4, 2]);
        }
        if self.random.bool() {
            options.extend_from_slice(&[1, 1, 8, 10]);
            options.extend_from_slice(&self.ticks.to_be_bytes());
            options.extend_from_slice(&[0; 4]);
        }
        let odd = [flag::ECE | flag::CWR, flag::FIN, flag::PSH, 0x20, flag::RST];
        let flags = flag::SYN | if self.random.u8(0..6) == 0 { self.one_of(&odd) } else { 0 };
        let payload = if self.random.u8(0..8) == 0 { self.bytes(100) } else { Vec::new() };
        let ports = (self.random.u16(..), self.one_of(&PORTS));
        let (seq, window) = (self.random.u32(..), self.one_of(&[0, 1, 1_024, 65_535]));
        let segment = Tcp { ports, seq, ack: 0, flags, window, options: &options, payload: &payload };
        let packet = segment.packet(source, victims.gateway.of(ipv6));
        wire::frame(victims.gateway.mac, self.mac, victims.network.vlan, &packet)
    }

    fn own_address(&mut self, victims: &Victims<'_>, ipv6: bool) -> IpAddr {
        victims.network.host(200).of(ipv6)
    }

    /// Any flags, any numbers, to nobody's connection.
    pub(super) fn stray_segment(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let ipv6 = self.random.bool();
        let (source, destination) = (self.source(victims, ipv6), self.destination(victims, ipv6));
        let payload = self.bytes(60);
        let ports = (self.random.u16(..), self.one_of(&PORTS));
        let (seq, ack, flags, window) =
            (self.random.u32(..), self.random.u32(..), self.random.u8(..), self.random.u16(..));
        let segment = Tcp { ports, seq, ack, flags, window, options: &[], payload: &payload };
        self.addressed_to_gateway(victims, &segment.packet(source, destination))
    }

    /// Options that cannot be read, on a segment that would be right without them.
    pub(super) fn bad_options(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let Some(known) = self.known() else { return self.syn(victims) };
        let mut options = vec![0; 4 * self.random.usize(1..=10)];
        // But no timestamp: one from the future, with the right numbers, makes us deaf to the peer.
        options.fill_with(|| self.random.u8(9..));
        let kinds = [1, 2, 3, 5];
        options[0] = self.one_of(&kinds);
        let (seq, ack) = known.next;
        let segment = Tcp { seq, ack, flags: flag::ACK, window: 900, options: &options, ..Tcp::default() };
        self.in_its_name(victims, &known, segment)
    }

    /// An ICMP error about a packet that the gateway may have sent.
    pub(super) fn icmp_about_flow(&mut self, victims: &Victims<'_>) -> Vec<u8> {
        let Some(known) = self.known() else { return self.icmp_error(victims) };
        let ipv6 = known.peer.0.is_ipv6();
        let any = self.random.u32(..);
        let seq = known.next.1.wrapping_sub(self.one_of(&[0, 1, any % 3_000, any]));
        let ports = (known.gateway.1, known.peer.1);
        let quoted = Tcp { ports, seq, ack: known.next.0, flags: flag::ACK, ..Tcp::default() };
        let quote = quoted.packet(known.gateway.0, known.peer.0);
        let mtu = self.one_of(&[0, 68, 296, 552, 1_000, 1_280, 1_400, 1_499, 9_000u16]).to_be_bytes();
        let kinds: &[(u8, u8)] = if ipv6 {
            &[(1, 0), (1, 3), (1, 4), (2, 0), (2, 0), (3, 0), (4, 1)]
        } else {
            &[(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 4), (11, 0), (12, 0)]
        };
        let (kind, code) = self.one_of(kinds);
        let message = wire::icmp(kind, code, [0, 0, mtu[0], mtu[1]], &quote);
        let source = self.source(victims, ipv6);
        let protocol = if ipv6 { protocol::ICMPV6 } else { protocol::ICMP };
        self.addressed_to_gateway(victims, &wire::ip(source, known.gateway.0, protocol, 64, &message))
    }
}
