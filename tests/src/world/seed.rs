//! What one seed decides: who is there, how they are joined, what fails and for how long.

use super::link::Faults;
use crate::wire::{Mac, link_local};
use fastrand::Rng;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};
use weirgate_dataplane::{
    limits::{FRAME_ROOM, SEGMENTS_MAX, WORKERS_MAX},
    tcp::{CongestionChoice, EcnChoice},
    time::Duration,
};

/// Who a host is in one network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// On Ethernet.
    pub mac: Mac,
    /// In IPv4.
    pub v4: Ipv4Addr,
    /// In IPv6.
    pub v6: Ipv6Addr,
}

impl Address {
    /// The link-local one.
    pub fn link_local(&self) -> Ipv6Addr {
        link_local(self.mac)
    }
    /// All of one family.
    pub fn of(&self, ipv6: bool) -> IpAddr {
        if ipv6 { self.v6.into() } else { self.v4.into() }
    }
}

/// A link that the gateway has an interface on: 10.0.N.0/24 and fd00:N::/64.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// N, from 1.
    pub number: u8,
    /// The gateway's port.
    pub port: u8,
    /// Its VLAN there.
    pub vlan: Option<u16>,
    /// The gateway's host number.
    pub gateway: u8,
}

impl Network {
    /// Somebody's addresses here: the gateway is host 1 (a second one [`SECOND`]), the peers follow.
    pub fn host(&self, host: u8) -> Address {
        let mac = if host == 1 { [2, 0xee, 0, 0, 0, self.port] } else { [2, 0, 0, 0, self.number, host] };
        let v6 = [0xfd00, u16::from(self.number), 0, 0, 0, 0, 0, u16::from(host)];
        Address {
            mac: Mac::from_bytes(&mac),
            v4: Ipv4Addr::new(10, 0, self.number, host),
            v6: Ipv6Addr::from_segments(v6),
        }
    }
    /// The gateway here.
    pub fn gateway(&self) -> Address {
        self.host(self.gateway)
    }
}

/// How frames find a worker's queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spread {
    /// As NICs do: IP by Toeplitz over the flow, everything else to queue 0.
    Toeplitz,
    /// Anyhow: a device that cannot be told.
    Random,
}

/// What a device says about the checksums of what it received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing.
    None,
    /// Whether the IPv4 header's is right.
    Honest,
    /// The same, and that the transport's is wrong though nobody looked.
    Slandering,
}

/// Bounds of each worker's TCP that are reached soon.
#[derive(Clone, Copy, Debug)]
pub struct Tight {
    /// Half-open connections; beyond them, cookies.
    pub half_open: usize,
    /// Connections, where nobody hostile takes them all.
    pub connections: usize,
    /// Connections in TIME-WAIT.
    pub time_wait: usize,
    /// Frames in send queues.
    pub queued: usize,
    /// Frames out of order or with the application.
    pub held: usize,
}

impl Tight {
    fn choose(random: &mut Rng) -> Self {
        Self {
            half_open: random.usize(1..8),
            connections: random.usize(8..48),
            time_wait: random.usize(1..8),
            queued: random.usize(64..256),
            held: random.usize(2 * SEGMENTS_MAX..128),
        }
    }
}

/// How the gateway and its devices are made.
#[derive(Clone, Debug)]
pub struct GatewayPlan {
    /// Cores.
    pub workers: usize,
    /// Frames of each worker's pool.
    pub frames: usize,
    /// The longest packet.
    pub mtu: u16,
    /// Bytes of each receive buffer; longer frames come in several segments.
    pub buffer: usize,
    /// Whether the device sends frames of several segments.
    pub segments: bool,
    /// Whether the device fills in IPv4 checksums.
    pub ipv4_checksum: bool,
    /// Whether it fills in those of TCP.
    pub l4_checksum: bool,
    /// Whether it cuts long segments; for this it must do all the others.
    pub tso: bool,
    /// What it says about received ones.
    pub verdict: Verdict,
    /// How it chooses queues.
    pub spread: Spread,
    /// Frames that its receive queues hold.
    pub rx_ring: usize,
    /// Frames that its transmit queues take between two turns.
    pub tx_ring: usize,
    /// In 256ths: how often a worker is late for its turn.
    pub lag: u8,
    /// Whether there is a way to hosts elsewhere, through the first peer.
    pub default_route: bool,
    /// Where it is.
    pub networks: Vec<Network>,
    /// Whom it opens connections to.
    pub targets: Vec<(Network, u8)>,
    /// What its TCP may hold, where that is less than usual.
    pub tight: Option<Tight>,
    /// How its congestion windows grow, and what it does with ECN.
    pub choices: (CongestionChoice, EcnChoice),
    /// Whether somebody hostile hears what is said, and so knows the numbers of every connection.
    pub lies: bool,
    /// Each of its workers makes one transfer of so many bytes, and nothing else.
    pub bulk: Option<u64>,
}

/// What is joined to one port of the gateway.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Whether the switch learns.
    pub learns: bool,
    /// Network and host number of each peer.
    pub peers: Vec<(Network, u8)>,
    /// Whether the hostile host is here.
    pub hostile: bool,
    /// Of the links from the switch: to the gateway, to each peer, to the hostile host.
    pub faults: Vec<Faults>,
}

/// Everything that a seed decides before the first frame.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How long things go wrong.
    pub chaos: Duration,
    /// How long everybody may take to find back.
    pub settle: Duration,
    /// How long each question is then answered.
    pub examine: Duration,
    /// The gateway.
    pub gateway: GatewayPlan,
    /// Another one on its first port.
    pub second: Option<GatewayPlan>,
    /// By port of the gateway.
    pub segments: Vec<Segment>,
    /// When the gateway is stopped and started again.
    pub restarts: Vec<Duration>,
    /// Link clogs: when, which link, towards which end, and for how long.
    pub clogs: Vec<(Duration, usize, usize, Duration)>,
}

/// Tables forget a lie within this time: 45 s that it is believed, 8 s of probes, and 60 s for smoltcp's own.
const SETTLE: Duration = Duration::from_secs(90);
/// Some questions of each peer, and the time to answer them.
const EXAMINE: Duration = Duration::from_secs(14);

impl Plan {
    /// The plan of a seed.
    pub fn from_seed(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let ports: u8 = if random.u8(0..3) == 0 { 2 } else { 1 };
        let mut networks = Vec::new();
        for port in 0..ports {
            let vlans = [None, Some(random.u16(1..=4094))];
            let kept = match random.u8(0..4) {
                0 => &vlans[..],
                1 => &vlans[1..],
                _ => &vlans[..1],
            };
            for &vlan in kept {
                networks.push(Network {
                    number: 1 + u8::try_from(networks.len()).expect("few"),
                    port,
                    vlan,
                    gateway: 1,
                });
            }
        }
        let mut gateway = GatewayPlan::choose(networks, &mut random);
        let faulty = random.u8(0..8) > 0;
        let segments: Vec<_> = (0..ports).map(|port| Segment::choose(port, &gateway, faulty, &mut random)).collect();
        gateway.lies = segments.iter().any(|s| s.hostile);
        gateway.targets = segments.iter().flat_map(|s| &s.peers).copied().collect();
        let chaos = Duration::from_ms(random.u64(2_000..20_000));
        let links: usize = segments.iter().map(|s| s.faults.len()).sum();
        let within = |random: &mut Rng| Duration::from_ns(random.u64(0..chaos.as_ns()));
        let clogs = (0..if faulty { random.usize(0..6) } else { 0 })
            .map(|_| {
                let length = Duration::from_us(1 << random.u32(6..23));
                (within(&mut random), random.usize(0..links), random.usize(0..2), length)
            })
            .collect();
        let restarts = if random.u8(0..4) == 0 { vec![within(&mut random)] } else { Vec::new() };
        Self { seed, chaos, settle: SETTLE, examine: EXAMINE, gateway, second: None, segments, restarts, clogs }
    }

    /// A plan without any fault: one port, one switch, so many peers, so many workers. For tests that bring their own trouble.
    pub fn calm(seed: u64, workers: usize, peers: u8) -> Self {
        assert!(workers <= WORKERS_MAX);
        let network = Network { number: 1, port: 0, vlan: None, gateway: 1 };
        let gateway = GatewayPlan {
            workers,
            frames: 512,
            mtu: 1500,
            buffer: FRAME_ROOM,
            segments: false,
            ipv4_checksum: false,
            l4_checksum: false,
            tso: false,
            verdict: Verdict::None,
            spread: Spread::Toeplitz,
            rx_ring: 256,
            tx_ring: 256,
            lag: 0,
            default_route: false,
            networks: vec![network],
            targets: Vec::new(),
            lies: false,
            tight: None,
            choices: Default::default(),
            bulk: None,
        };
        let peers: Vec<_> = (0..peers).map(|n| (network, n + 2)).collect();
        let faults = vec![Faults { delay_us: 50, ..Faults::default() }; 1 + peers.len()];
        let segments = vec![Segment { learns: true, peers, hostile: false, faults }];
        let (restarts, clogs) = Default::default();
        let chaos = Duration::from_secs(10);
        Self { seed, chaos, settle: SETTLE, examine: EXAMINE, gateway, second: None, segments, restarts, clogs }
    }

    /// Two gateways without peers on a link with these faults; each worker of the first sends so many bytes to the second and back.
    pub fn transfer(seed: u64, workers: usize, bytes: u64, faults: Faults) -> Self {
        let mut plan = Self::calm(seed, workers, 0);
        let network = plan.gateway.networks[0];
        plan.gateway.frames = 4_096;
        let there = Network { gateway: SECOND, ..network };
        plan.second = Some(GatewayPlan { networks: vec![there], ..plan.gateway.clone() });
        plan.gateway.targets = vec![(network, SECOND)];
        plan.gateway.bulk = Some(bytes);
        plan.segments[0].faults = vec![faults, Faults { delay_us: 5, ..Faults::default() }];
        plan.chaos = Duration::from_secs(3_600);
        plan
    }
}

/// The second gateway's host number.
pub const SECOND: u8 = 250;

/// All headers of an ordinary packet fit the first buffer; a long chain of extension headers may not.
const BUFFER_MIN: usize = 160;

impl GatewayPlan {
    /// Bytes of the longest ping that can be answered.
    pub fn ping_max(&self) -> usize {
        let buffers = if self.segments { SEGMENTS_MAX } else { 1 };
        usize::from(self.mtu).min(self.buffer * buffers - 18) - 48
    }

    fn choose(networks: Vec<Network>, random: &mut Rng) -> Self {
        let segments = random.bool();
        let offloads = random.u8(0..4);
        // A device with small buffers that cannot send from several of them answers short pings only.
        let mtu: usize = match random.u8(0..4) {
            0 => 1280,
            1 if segments => 4000,
            _ => 1500,
        };
        // Whatever the MTU allows must fit the longest chain.
        let least = BUFFER_MIN.max((mtu + 18).div_ceil(SEGMENTS_MAX));
        let buffer = if random.u8(0..3) == 0 { random.usize(least..FRAME_ROOM) } else { FRAME_ROOM };
        let mtu = u16::try_from(mtu).expect("one of these");
        Self {
            workers: random.usize(1..=4),
            // The least that a snapshot may say, and up to twice that: a backlog and what TCP may hold must leave some.
            frames: random.usize(2_048..4_096),
            mtu,
            buffer,
            segments,
            ipv4_checksum: offloads > 0,
            l4_checksum: offloads > 1,
            tso: offloads > 2 && segments,
            verdict: [Verdict::None, Verdict::Honest, Verdict::Slandering][random.usize(0..3)],
            spread: if random.u8(0..5) == 0 { Spread::Random } else { Spread::Toeplitz },
            rx_ring: 1 << random.usize(4..9),
            tx_ring: if random.u8(0..3) == 0 { random.usize(1..4) } else { 1 << random.usize(3..9) },
            lag: if random.bool() { 0 } else { random.u8(1..128) },
            default_route: random.bool(),
            networks,
            targets: Vec::new(),
            lies: false,
            tight: (random.u8(0..3) == 0).then(|| Tight::choose(random)),
            choices: (
                [CongestionChoice::Cubic, CongestionChoice::NewReno][random.usize(0..2)],
                [EcnChoice::Off, EcnChoice::Grant, EcnChoice::Ask][random.usize(0..3)],
            ),
            bulk: None,
        }
    }
}

impl Segment {
    fn choose(port: u8, gateway: &GatewayPlan, faulty: bool, random: &mut Rng) -> Self {
        let mut peers = Vec::new();
        for network in gateway.networks.iter().filter(|n| n.port == port) {
            for host in 0..random.u8(1..=2) {
                peers.push((*network, host + 2));
            }
        }
        let hostile = faulty && random.u8(0..4) > 0;
        let links = 1 + peers.len() + usize::from(hostile);
        let calm = Faults { delay_us: 20, ..Faults::default() };
        let faults = (0..links).map(|_| if faulty { Faults::choose(random) } else { calm }).collect();
        Self { learns: random.u8(0..4) > 0, peers, hostile, faults }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let g = &self.gateway;
        writeln!(f, "seed {}: things go wrong for {:?}", self.seed, self.chaos)?;
        writeln!(f, "  gateway: {} workers of {} frames, MTU {}, lag {}/256", g.workers, g.frames, g.mtu, g.lag)?;
        writeln!(
            f,
            "  devices: {} bytes a buffer, segments {}, checksums {} and {}, TSO {}, verdicts {:?}, queues by {:?}, rings {} and {}",
            g.buffer, g.segments, g.ipv4_checksum, g.l4_checksum, g.tso, g.verdict, g.spread, g.rx_ring, g.tx_ring
        )?;
        writeln!(f, "  TCP: {:?}, {:?}", g.choices, g.tight)?;
        for (port, segment) in self.segments.iter().enumerate() {
            let joined = if segment.learns { "switch" } else { "hub" };
            writeln!(f, "  port {port}: a {joined}{}", if segment.hostile { ", somebody hostile on it" } else { "" })?;
            let peers = segment.peers.iter().map(|(n, host)| {
                let vlan = n.vlan.map_or(String::new(), |v| format!(" in VLAN {v}"));
                format!("{}{vlan}", n.host(*host).v4)
            });
            let names = std::iter::once("gateway".into()).chain(peers).chain(["hostile".into()]);
            for (name, faults) in names.zip(&segment.faults) {
                writeln!(f, "    to {name}: {faults}")?;
            }
        }
        for at in &self.restarts {
            writeln!(f, "  restart at {at:?}")?;
        }
        for (at, link, end, length) in &self.clogs {
            writeln!(f, "  link {link} clogs at {at:?} towards end {end} for {length:?}")?;
        }
        Ok(())
    }
}
