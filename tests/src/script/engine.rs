//! The data plane's engine as a target: a whole worker over a port in memory and in virtual time, or over a DPDK device and in real time.
//!
//! ```text
//!   script --packet--> Ethernet header on  --> medium -> Worker (net, TCP) -> application: keeps what comes until it is read
//!          <--packet-- Ethernet header off <-- medium <-      a turn at each packet, each call and each deadline
//!                      ARP and neighbour discovery are answered here
//!
//!   medium:   memory   SimPort, a clock that jumps to the next deadline
//!             wire     af_packet device on one end of a veth pair, the script on the other
//! ```
//! Each packet has a turn of its own, as each has in Linux without GRO. After every turn the engine's invariants and the worker's books are
//! looked at, and at the script's end every frame must be back in the pool.

use super::{
    parse::{Role, Script},
    target::End as Ending,
    target::{AppOption, CLIENT_PORT, Family, Flow, LISTEN_PORT, SERVER_PORT, Sent, Target, Unread},
};
use crate::wire::{self, Mac, ethertype, ip_packet, protocol};
use anyhow::{Context, bail};
use application::Application;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use weirgate_dataplane::{
    counters::Counter,
    drops::Drop,
    net::{Cidr, Interface, PortIndex, Topology},
    port::{Pool, Port},
    tcp::{CongestionChoice, Connect, EcnChoice, End, TcpOptions},
    time::Instant,
    worker::{Mailboxes, Worker, WorkerOptions},
};

mod application;
pub(super) mod memory;
#[cfg(feature = "dpdk")]
pub(super) mod on_wire;

const OURS: Mac = wire::mac(1);
const SCRIPTS: Mac = wire::mac(2);
const FRAMES: usize = 8_192;

/// Where the worker's frames go and come from, and what its clock says.
pub(super) trait Medium {
    type Port: Port;

    fn now(&self) -> Instant;
    /// How far times may be off.
    fn tolerance(&self) -> Duration;
    /// Lets time pass until `until`, or a part of it.
    fn wait(&mut self, until: Instant);
    /// A frame for the worker.
    fn arrive(&mut self, worker: &mut Worker<Self::Port, Application>, frame: &[u8]);
    /// The next frame that the worker has sent.
    fn next_sent(&mut self, worker: &mut Worker<Self::Port, Application>) -> Option<Vec<u8>>;
    /// What must hold after each turn.
    fn check(&self, worker: &mut Worker<Self::Port, Application>) -> Result<(), String>;
}

/// The engine with an application that does what the script says.
pub(super) struct Engine<M: Medium> {
    worker: Worker<M::Port, Application>,
    pool: Pool,
    addresses: (IpAddr, IpAddr),
    /// What the worker has sent and the script has not asked for yet.
    sent: Vec<Sent>,
    /// What broke first.
    failure: Option<String>,
    /// Dropped after the worker.
    medium: M,
}

/// The clock's first reading: no round number, and no zero that could be taken for none.
const BEGIN: Instant = Instant::from_ns(123_456_789_000);

impl<M: Medium> Engine<M> {
    /// A worker that has done nothing, over a medium that is made for it.
    ///
    /// # Errors
    /// When the script sets what the engine has no option for, or the medium cannot be made.
    pub(super) fn new(
        script: &Script,
        family: Family,
        medium: impl FnOnce() -> anyhow::Result<(M, M::Port, Pool)>,
    ) -> anyhow::Result<Self> {
        let (mtu, seed, tcp) = settings(script, family)?;
        let (medium, port, pool) = medium()?;
        let addresses: (IpAddr, IpAddr) = match family {
            Family::Ipv4 => ([10, 7, 0, 1].into(), [10, 7, 0, 2].into()),
            Family::Ipv6 => ([0xfd07, 0, 0, 0, 0, 0, 0, 1].into(), [0xfd07, 0, 0, 0, 0, 0, 0, 2].into()),
        };
        let interface = Interface {
            port: PortIndex(0),
            vlan: None,
            mac: OURS,
            mtu,
            offloads: port.capabilities().offloads,
            addresses: vec![Cidr { address: addresses.0, prefix: if family == Family::Ipv4 { 24 } else { 64 } }],
        };
        let topology = Topology::new(vec![interface], Vec::new()).map_err(anyhow::Error::msg)?;
        let options = WorkerOptions {
            index: 0,
            pool: pool.clone(),
            topology: Arc::new(topology),
            mailboxes: Mailboxes::new(1),
            seed,
            services: Vec::new(),
            connections_max: tcp.connections_max,
            verify_rss: false,
        };
        let script_ports = if script.role == Role::Active { SERVER_PORT } else { CLIENT_PORT };
        let application = Application::new(script_ports);
        let worker = Worker::with_tcp(vec![port], options, tcp, application);
        let (sent, failure) = (Vec::new(), None);
        let mut engine = Self { worker, pool, addresses, sent, failure, medium };
        engine.turn();
        Ok(engine)
    }

    /// One turn, and whatever answers it needs from the link; then everything is looked at.
    fn turn(&mut self) {
        loop {
            self.worker.turn(self.medium.now());
            if let Err(what) = self.check() {
                self.failure.get_or_insert(what);
            }
            let mut answers = Vec::new();
            while let Some(bytes) = self.medium.next_sent(&mut self.worker) {
                match answer(&bytes, self.addresses.1) {
                    Some(answer) => answers.push(answer),
                    None => self.keep(&bytes),
                }
            }
            if answers.is_empty() {
                return;
            }
            answers.iter().for_each(|answer| self.medium.arrive(&mut self.worker, answer));
        }
    }

    /// Keeps a TCP packet for the script.
    fn keep(&mut self, frame: &[u8]) {
        let Some(link) = wire::link(frame) else { return };
        let Some(ip) = ip_packet(&frame[link.payload_at..]).filter(|ip| ip.protocol == protocol::TCP) else { return };
        if (link.to, link.from) != (SCRIPTS, OURS) {
            self.failure.get_or_insert(format!("a frame from {} to {}", link.from, link.to));
        }
        let packet = frame[link.payload_at..link.payload_at + ip.end].to_vec();
        self.sent.push(Sent { at: self.now(), packet });
    }

    /// What must hold after each turn.
    fn check(&mut self) -> Result<(), String> {
        self.worker.tcp().check(self.medium.now())?;
        let of = |counter| self.worker.counters().counter(counter);
        let ended = of(Counter::TxFrames) + of(Counter::ConsumedFrames) + of(Counter::DroppedFrames);
        equal(
            "received and made; sent, consumed, dropped and held",
            of(Counter::RxFrames) + of(Counter::MadeFrames),
            ended + self.worker.held() as u64,
        )?;
        self.medium.check(&mut self.worker)
    }

    /// Runs a command of the application's, and the turn that follows it.
    fn command<T>(&mut self, command: impl FnOnce(&mut Application, &mut application::Engine<'_>) -> T) -> T {
        let now = self.medium.now();
        let (application, tcp, out) = self.worker.application_mut();
        let result = command(application, &mut application::Engine { now, tcp, out });
        self.turn();
        result
    }
}

fn equal(what: &str, left: u64, right: u64) -> Result<(), String> {
    if left == right { Ok(()) } else { Err(format!("{what}: {left} is not {right}")) }
}

/// The link's answer to a question for the script's hardware address.
fn answer(frame: &[u8], own: IpAddr) -> Option<Vec<u8>> {
    let link = wire::link(frame)?;
    let payload = &frame[link.payload_at..];
    match own {
        IpAddr::V4(own) if link.ethertype == ethertype::ARP => {
            let address = |at: usize| Some(Ipv4Addr::from_octets(*payload.get(at..at + 4)?.first_chunk()?));
            let asks = payload.get(7) == Some(&1) && address(24)? == own;
            let message = wire::arp(2, (SCRIPTS, own), (OURS, address(14)?));
            asks.then(|| wire::ethernet(OURS, SCRIPTS, None, ethertype::ARP, &message))
        }
        IpAddr::V6(own) => {
            let ip = ip_packet(payload).filter(|ip| ip.protocol == protocol::ICMPV6)?;
            let message = &payload[ip.transport_at..ip.end];
            let target = Ipv6Addr::from_octets(*message.get(8..24)?.first_chunk()?);
            let IpAddr::V6(source) = ip.source else { return None };
            let asks = message[0] == 135 && target == own && !source.is_unspecified();
            asks.then(|| {
                let packet = wire::advertisement(own, source, own, 0x60, Some(SCRIPTS));
                wire::frame(OURS, SCRIPTS, None, &packet)
            })
        }
        IpAddr::V4(_) => None,
    }
}

/// MTU, seed and options as the script sets them. What it does not set is as the other targets have it.
fn settings(script: &Script, family: Family) -> anyhow::Result<(u16, u64, TcpOptions)> {
    let (mut mtu, mut seed) = (1500, 0x5c71_b7ed);
    let mut tcp = TcpOptions {
        connections_max: 64,
        ecn: EcnChoice::Off,
        challenge_interval_us: 0,
        ..TcpOptions::new(seed, FRAMES)
    };
    for (name, value) in &script.settings {
        let number = || value.parse::<u64>().with_context(|| format!("set {name}"));
        match &**name {
            "mss" => mtu = u16::try_from(number()?)? + if family == Family::Ipv4 { 40 } else { 60 },
            "congestion" => {
                tcp.congestion = match &**value {
                    "cubic" => CongestionChoice::Cubic,
                    "reno" => CongestionChoice::NewReno,
                    _ => bail!("set congestion: cubic or reno"),
                }
            }
            "ecn" => {
                tcp.ecn = match &**value {
                    "on" => EcnChoice::Ask,
                    "passive" => EcnChoice::Grant,
                    "off" => EcnChoice::Off,
                    _ => bail!("set ecn: on, passive or off"),
                }
            }
            "fin_timeout" => tcp.fin_wait = weirgate_dataplane::time::Duration::from_secs(number()?),
            "challenge_interval" => tcp.challenge_interval_us = u32::try_from(number()?)?,
            "seed" => seed = number()?,
            "half_open" => tcp.half_open_max = usize::try_from(number()?)?,
            "time_wait" => tcp.time_wait_max = usize::try_from(number()?)?,
            "connections" => tcp.connections_max = usize::try_from(number()?)?,
            // What the kernel is told besides.
            "kernel" => {}
            _ => bail!("set {name}: the engine has no such option"),
        }
    }
    tcp.seed = seed;
    Ok((mtu, seed, tcp))
}

impl<M: Medium> Target for Engine<M> {
    fn addresses(&self) -> (IpAddr, IpAddr) {
        self.addresses
    }

    fn tolerance(&self) -> Duration {
        self.medium.tolerance()
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.medium.now().since(BEGIN).as_ns())
    }

    fn inject(&mut self, packet: &[u8]) {
        let kind = if self.addresses.0.is_ipv4() { ethertype::IPV4 } else { ethertype::IPV6 };
        self.medium.arrive(&mut self.worker, &wire::ethernet(OURS, SCRIPTS, None, kind, packet));
        self.turn();
    }

    fn run_until(&mut self, until: Duration, sent: &mut Vec<Sent>) {
        let until = BEGIN + weirgate_dataplane::time::Duration::from_ns(until.as_nanos() as u64);
        loop {
            sent.append(&mut self.sent);
            if !sent.is_empty() {
                return;
            }
            let due = self.worker.next_deadline();
            self.medium.wait(due.min(until));
            if due > until && self.medium.now() >= until {
                return;
            }
            self.turn();
        }
    }

    fn listen(&mut self, _: u32) -> anyhow::Result<()> {
        self.command(|application, engine| application.listen(LISTEN_PORT, engine))
    }

    fn connect(&mut self, flow: Flow) -> anyhow::Result<()> {
        let remote = SocketAddr::new(self.addresses.1, SERVER_PORT + flow);
        self.command(|application, engine| {
            let connect = Connect { local: None, local_port: None, remote, options: application.options(flow) };
            application.connect(flow, &connect, engine)
        })
    }

    fn accepted(&mut self, flow: Flow) -> bool {
        self.worker.application_mut().0.is_open(flow)
    }

    fn connected(&mut self, flow: Flow) -> bool {
        self.worker.application_mut().0.is_open(flow)
    }

    fn write(&mut self, flow: Flow, bytes: Vec<u8>) -> anyhow::Result<()> {
        self.command(|application, engine| application.write(flow, &bytes, engine))
    }

    fn unread(&mut self, flow: Flow) -> Unread {
        self.worker.application_mut().0.unread(flow)
    }

    fn consume(&mut self, flow: Flow, bytes: usize) {
        self.command(|application, engine| application.consume(flow, bytes, engine));
    }

    fn close(&mut self, flow: Flow) -> anyhow::Result<()> {
        self.command(|application, engine| application.close(flow, engine))
    }

    fn release(&mut self, flow: Flow) -> anyhow::Result<()> {
        self.command(|application, engine| application.release(flow, engine))
    }

    fn abort(&mut self, flow: Flow) -> anyhow::Result<()> {
        self.command(|application, engine| application.abort(flow, engine))
    }

    fn set(&mut self, flow: Flow, option: AppOption) -> anyhow::Result<()> {
        self.command(|application, engine| application.set(flow, option, engine));
        Ok(())
    }

    fn ended(&mut self, flow: Flow) -> Option<Ending> {
        Some(match self.worker.application_mut().0.end(flow)? {
            End::Graceful => Ending::Graceful,
            End::Reset => Ending::Reset,
            End::Refused => Ending::Refused,
            End::TimedOut | End::KeepaliveTimedOut | End::FinWaitTimedOut | End::LingerTimedOut | End::Stalled => {
                Ending::Timeout
            }
            End::Unreachable => Ending::Unreachable,
            End::Aborted | End::DataAfterClose | End::Superseded | End::Stopping => Ending::Aborted,
        })
    }

    fn state(&mut self, flow: Flow) -> Option<String> {
        let port = self.worker.application_mut().0.script_port(flow);
        let report = self.worker.tcp().conns(self.medium.now()).find(|report| report.remote.port() == port);
        Some(report.map_or_else(|| "closed".into(), |report| report.state.to_ascii_lowercase()))
    }

    fn counter(&mut self, name: &str) -> Option<u64> {
        let counters = self.worker.counters();
        let value = match name.split_once('.') {
            Some(("drop", name)) => Drop::ALL.iter().find(|d| d.name() == name).map(|d| counters.drops(*d)),
            Some(("tcp_end", name)) => End::ALL.iter().find(|e| e.name() == name).map(|e| counters.ends(*e)),
            _ => Counter::ALL.iter().find(|c| c.name() == name).map(|c| counters.counter(*c)),
        };
        if value.is_none() {
            self.failure.get_or_insert(format!("there is no counter {name}"));
        }
        value
    }

    fn broken(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    fn end(&mut self) -> Result<(), String> {
        self.worker.stop(self.medium.now());
        while self.medium.next_sent(&mut self.worker).is_some() {}
        self.check()?;
        equal("frames held after the end", self.worker.held() as u64, 0)?;
        equal("frames in use after the end", self.pool.in_use() as u64, 0)
    }
}
