//! A foreign host: smoltcp's interface, ARP, neighbour discovery and sockets. It asks the gateway all the time and keeps book of the answers.

use super::{
    client::{Clients, Connections},
    host::{Host, Wires},
    seed::{GatewayPlan, Network},
};
use crate::wire;
use fastrand::Rng;
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::{icmp, udp},
    wire::{Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress, IpCidr, IpListenEndpoint},
};
use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};
use weirgate_dataplane::time::{Duration, Instant};

/// How a peer behaves, as the world goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    /// Asks often, of any size, and expects little.
    Busy,
    /// Asks at times, so that everybody's tables find back to the truth.
    Settling,
    /// The same, but every question counts.
    Examining,
    /// Asks no more.
    Resting,
}

/// A question on the way.
struct Question {
    at: Instant,
    payload: Vec<u8>,
    counts: bool,
}

/// What was asked and answered.
#[derive(Clone, Copy, Default, Debug)]
pub struct Score {
    /// Echo requests.
    pub pings: u64,
    /// Their answers.
    pub pongs: u64,
    /// Datagrams to a port where nobody listens.
    pub datagrams: u64,
    /// Errors that said so.
    pub refusals: u64,
    /// Answers with another payload than was sent.
    pub mismatches: u64,
    /// TCP connections.
    pub connections: Connections,
}

impl Score {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.pings += other.pings;
        self.pongs += other.pongs;
        self.datagrams += other.datagrams;
        self.refusals += other.refusals;
        self.mismatches += other.mismatches;
        self.connections.add(&other.connections);
    }
}

/// One host.
pub struct Peer {
    vlan: Option<u16>,
    interface: Interface,
    device: Nic,
    sockets: SocketSet<'static>,
    echo: SocketHandle,
    refused: SocketHandle,
    datagrams: SocketHandle,
    clients: Clients,
    gateway: [IpAddr; 2],
    mood: Mood,
    ask_at: Instant,
    asked: u16,
    open: BTreeMap<u16, Question>,
    /// Datagrams that count and were not refused yet.
    unrefused: u64,
    score: Score,
    payload_max: usize,
    random: Rng,
}

/// What goes between smoltcp and the world. Frames have no tags here.
#[derive(Default)]
struct Nic {
    arrived: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    room: usize,
    mtu: usize,
}

const IDENT: u16 = 0x7765;
const PORT: u16 = 40_000;
/// Where nobody listens.
const CLOSED_PORT: u16 = 9;

impl Peer {
    /// A host of a network that speaks to the gateway there.
    pub fn new(network: Network, host: u8, plan: &GatewayPlan, mut random: Rng) -> Self {
        let (own, gateway, mtu) = (network.host(host), network.gateway(), plan.mtu);
        let mut device = Nic { mtu: usize::from(mtu), ..Nic::default() };
        let mut config = Config::new(own.mac.into());
        config.random_seed = random.u64(..);
        let mut interface = Interface::new(config, &mut device, smoltcp::time::Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            for (address, prefix) in [(own.v4.into(), 24), (own.v6.into(), 64), (wire::link_local(own.mac).into(), 64)]
            {
                addresses.push(IpCidr::new(address, prefix)).expect("room for three");
            }
        });
        let mut sockets = SocketSet::new(Vec::new());
        let buffer = |n: usize| icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; n], vec![0; n * 1024]);
        let mut echo = icmp::Socket::new(buffer(16), buffer(16));
        echo.bind(icmp::Endpoint::Ident(IDENT)).expect("a fresh socket");
        let mut refused = icmp::Socket::new(buffer(16), buffer(1));
        refused.bind(icmp::Endpoint::Udp(IpListenEndpoint::from(PORT))).expect("a fresh socket");
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 8], vec![0; 4096]);
        let mut datagrams = udp::Socket::new(buffer(), buffer());
        datagrams.bind(PORT).expect("a fresh socket");
        let gateway = [gateway.v4.into(), gateway.v6.into()];
        let clients = Clients::new(gateway, plan, &mut sockets, random.fork());
        Self {
            vlan: network.vlan,
            interface,
            device,
            echo: sockets.add(echo),
            refused: sockets.add(refused),
            datagrams: sockets.add(datagrams),
            sockets,
            clients,
            gateway,
            mood: Mood::Busy,
            ask_at: Instant::from_ns(random.u64(0..500_000_000)),
            asked: 0,
            open: BTreeMap::new(),
            unrefused: 0,
            score: Score::default(),
            payload_max: plan.ping_max(),
            random,
        }
    }

    /// Behaves otherwise from now on.
    pub fn set_mood(&mut self, now: Instant, mood: Mood) {
        self.mood = mood;
        self.clients.set_mood(now, mood);
        self.ask_at = now + Duration::from_ms(self.random.u64(0..500));
    }
    /// What was asked and answered.
    pub fn score(&self) -> Score {
        Score { connections: self.clients.score(), ..self.score }
    }
    /// Its TCP connections.
    pub fn clients_mut(&mut self) -> &mut Clients {
        &mut self.clients
    }
    /// What was wrong first.
    pub fn failure(&self) -> Option<&str> {
        self.clients.failure()
    }
    /// What counted and was not answered.
    pub fn complaint(&self, now: Instant) -> Option<String> {
        let missing = self.open.iter().find(|(_, question)| question.counts);
        let ping = missing.map(|(seq, question)| {
            format!("ping {seq} of {} bytes, sent at {:?}, was not answered", question.payload.len(), question.at)
        });
        ping.or_else(|| (self.unrefused > 0).then(|| format!("{} datagrams were not refused", self.unrefused)))
            .or_else(|| self.clients.complaint(now, &self.sockets))
    }

    fn interval(&mut self) -> Duration {
        match self.mood {
            Mood::Busy => Duration::from_ms(self.random.u64(5..400)),
            Mood::Settling | Mood::Examining => Duration::from_ms(self.random.u64(5_500..6_500)),
            Mood::Resting => Duration::from_secs(3_600),
        }
    }

    fn ask(&mut self, now: Instant) {
        match self.mood {
            // One thing at a time.
            Mood::Busy => {
                let family = self.random.usize(0..2);
                if self.random.u8(0..3) > 0 { self.ping(now, family) } else { self.datagram(family) }
            }
            // Everything at once.
            Mood::Settling | Mood::Examining => {
                for family in 0..2 {
                    self.ping(now, family);
                    self.datagram(family);
                }
            }
            Mood::Resting => {}
        }
    }

    fn ping(&mut self, now: Instant, family: usize) {
        let busy = self.mood == Mood::Busy;
        let len = match self.random.u8(..) {
            0..200 => self.random.usize(0..200.min(self.payload_max)),
            _ if busy => self.random.usize(0..=self.payload_max),
            _ => self.random.usize(0..=self.payload_max.min(1400)),
        };
        let payload: Vec<u8> = std::iter::repeat_with(|| self.random.u8(..)).take(len).collect();
        self.asked = self.asked.wrapping_add(1);
        let seq_no = self.asked;
        let socket = self.sockets.get_mut::<icmp::Socket<'_>>(self.echo);
        let to = IpAddress::from(self.gateway[family]);
        let caps = ChecksumCapabilities::default();
        // The data comes in parts because smoltcp borrows it.
        let sent = match to {
            IpAddress::Ipv4(_) => {
                let repr = Icmpv4Repr::EchoRequest { ident: IDENT, seq_no, data: &payload };
                let buffer = socket.send(repr.buffer_len(), to);
                buffer.map(|b| repr.emit(&mut Icmpv4Packet::new_unchecked(b), &caps))
            }
            IpAddress::Ipv6(address) => {
                let source = self.interface.get_source_address_ipv6(&address);
                let repr = Icmpv6Repr::EchoRequest { ident: IDENT, seq_no, data: &payload };
                let buffer = socket.send(repr.buffer_len(), to);
                buffer.map(|b| repr.emit(&source, &address, &mut Icmpv6Packet::new_unchecked(b), &caps))
            }
        };
        if sent.is_ok() {
            self.score.pings += 1;
            let counts = self.mood == Mood::Examining;
            self.open.insert(seq_no, Question { at: now, payload, counts });
            if self.open.len() > 512 {
                self.open.pop_first();
            }
        }
    }

    fn datagram(&mut self, family: usize) {
        let to = IpAddress::from(self.gateway[family]);
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.datagrams);
        let payload = vec![0x55; self.random.usize(0..300)];
        let port = if self.mood == Mood::Busy { self.random.u16(1..) } else { CLOSED_PORT };
        if socket.send_slice(&payload, (to, port)).is_ok() {
            self.score.datagrams += 1;
            self.unrefused += u64::from(self.mood == Mood::Examining);
        }
    }

    fn read_answers(&mut self) {
        let socket = self.sockets.get_mut::<icmp::Socket<'_>>(self.echo);
        let caps = ChecksumCapabilities::ignored();
        while let Ok((message, from)) = socket.recv() {
            let reply = match from {
                IpAddress::Ipv4(_) => match Icmpv4Repr::parse(&Icmpv4Packet::new_unchecked(message), &caps) {
                    Ok(Icmpv4Repr::EchoReply { seq_no, data, .. }) => Some((seq_no, data)),
                    _ => None,
                },
                IpAddress::Ipv6(a) => match Icmpv6Repr::parse(&a, &a, &Icmpv6Packet::new_unchecked(message), &caps) {
                    Ok(Icmpv6Repr::EchoReply { seq_no, data, .. }) => Some((seq_no, data)),
                    _ => None,
                },
            };
            let Some((seq, data)) = reply else { continue };
            if !self.gateway.contains(&from.into()) {
                continue; // the hostile host says something too
            }
            match self.open.get(&seq) {
                Some(question) if question.payload == data => {
                    self.score.pongs += 1;
                    self.open.remove(&seq);
                }
                Some(_) => self.score.mismatches += 1,
                None => {} // a second answer: the link may have doubled it
            }
        }
        let socket = self.sockets.get_mut::<icmp::Socket<'_>>(self.refused);
        while let Ok((_, from)) = socket.recv() {
            if self.gateway.contains(&from.into()) {
                self.score.refusals += 1;
                self.unrefused = self.unrefused.saturating_sub(1);
            }
        }
    }
}

impl Host for Peer {
    fn arrive(&mut self, now: Instant, _: usize, frame: Vec<u8>) -> Instant {
        // An access port of the VLAN: its tag is taken off, other frames do not get here.
        match wire::link(&frame) {
            Some(link) if link.vlan == self.vlan && link.vlan.is_some() => {
                let payload = &frame[link.payload_at..];
                self.device.arrived.push_back(wire::ethernet(link.to, link.from, None, link.ethertype, payload));
            }
            Some(link) if link.vlan == self.vlan => self.device.arrived.push_back(frame),
            _ => {}
        }
        now
    }

    fn step(&mut self, now: Instant, wires: &mut Wires) -> Instant {
        if now >= self.ask_at {
            self.ask(now);
            self.ask_at = now + self.interval();
        }
        self.device.room = wires.room[0];
        self.clients.step(now, self.interface.context(), &mut self.sockets);
        let clock = smoltcp::time::Instant::from_micros(i64::try_from(now.as_ns() / 1000).unwrap_or(i64::MAX));
        self.interface.poll(clock, &mut self.device, &mut self.sockets);
        self.clients.step(now, self.interface.context(), &mut self.sockets);
        self.read_answers();
        for frame in self.device.sent.drain(..) {
            wires.send(0, tagged(self.vlan, frame));
        }
        let poll_at = self.interface.poll_at(clock, &self.sockets);
        let poll_at =
            poll_at.map_or(Instant::NEVER, |at| Instant::from_ns(u64::try_from(at.total_micros()).unwrap_or(0) * 1000));
        // A clogged link has no room for what smoltcp wants to send at once; a cleared one wakes its ends.
        let poll_at =
            if wires.has_room(0) { poll_at.max(now + Duration::from_us(1)) } else { now + Duration::from_secs(1) };
        poll_at.min(self.ask_at).min(self.clients.next_deadline().max(now + Duration::from_us(1)))
    }
}

fn tagged(vlan: Option<u16>, frame: Vec<u8>) -> Vec<u8> {
    match (vlan, wire::link(&frame)) {
        (Some(_), Some(link)) => wire::ethernet(link.to, link.from, vlan, link.ethertype, &frame[link.payload_at..]),
        _ => frame,
    }
}

impl Device for Nic {
    type RxToken<'a> = Received;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received, Room<'_>)> {
        if self.sent.len() >= self.room {
            return None;
        }
        Some((Received(self.arrived.pop_front()?), Room(&mut self.sent)))
    }
    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Room<'_>> {
        (self.sent.len() < self.room).then_some(Room(&mut self.sent))
    }
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + 14;
        capabilities
    }
}

struct Received(Vec<u8>);
impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

struct Room<'a>(&'a mut Vec<Vec<u8>>);
impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        self.0.push(frame);
        result
    }
}
