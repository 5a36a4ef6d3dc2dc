//! The data plane's engine as a target: a whole worker over a port in memory, in virtual time.
//!
//! ```text
//!   script --packet--> Ethernet header on, padded --> SimPort -> Worker (net, TCP) -> application: keeps what comes until it is read
//!          <--packet-- Ethernet header off        <-- SimPort <-      a turn at each packet, each call and each deadline
//!                      ARP and neighbour discovery are answered here
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
    port::{Capabilities, Pool, SimPort},
    tcp::{CongestionChoice, Connect, EcnChoice, End, TcpOptions},
    time::Instant,
    worker::{Mailboxes, Worker, WorkerOptions},
};

mod application;

const OURS: Mac = wire::mac(1);
const SCRIPTS: Mac = wire::mac(2);
const FRAMES: usize = 8_192;

/// The engine with an application that does what the script says.
pub(super) struct Engine {
    worker: Worker<SimPort, Application>,
    pool: Pool,
    now: Instant,
    addresses: (IpAddr, IpAddr),
    /// What the worker has sent and the script has not asked for yet.
    sent: Vec<Sent>,
    /// Frames that the port has got, and that were taken from it.
    received: u64,
    taken: u64,
    /// What broke first.
    failure: Option<String>,
}

/// The clock's first reading: no round number, and no zero that could be taken for none.
const BEGIN: Instant = Instant::from_ns(123_456_789_000);

impl Engine {
    /// A worker that has done nothing.
    ///
    /// # Errors
    /// When the script sets what the engine has no option for.
    pub(super) fn new(script: &Script, family: Family) -> anyhow::Result<Self> {
        let (mtu, seed, tcp) = settings(script, family)?;
        let addresses: (IpAddr, IpAddr) = match family {
            Family::Ipv4 => ([10, 7, 0, 1].into(), [10, 7, 0, 2].into()),
            Family::Ipv6 => ([0xfd07, 0, 0, 0, 0, 0, 0, 1].into(), [0xfd07, 0, 0, 0, 0, 0, 0, 2].into()),
        };
        let device = Capabilities::plain("port0", OURS.0, mtu);
        let interface = Interface {
            port: PortIndex(0),
            vlan: None,
            mac: OURS,
            mtu,
            offloads: device.offloads,
            addresses: vec![Cidr { address: addresses.0, prefix: if family == Family::Ipv4 { 24 } else { 64 } }],
        };
        let topology = Topology::new(vec![interface], Vec::new()).map_err(anyhow::Error::msg)?;
        let pool = Pool::heap(FRAMES);
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
        let worker = Worker::with_tcp(vec![SimPort::new(device)], options, tcp, application);
        let (sent, failure) = (Vec::new(), None);
        let mut engine = Self { worker, pool, now: BEGIN, addresses, sent, received: 0, taken: 0, failure };
        engine.turn();
        Ok(engine)
    }

    /// One turn, and whatever answers it needs from the link; then everything is looked at.
    fn turn(&mut self) {
        loop {
            self.worker.turn(self.now);
            if let Err(what) = self.check() {
                self.failure.get_or_insert(what);
            }
            let mut answers = Vec::new();
            while let Some(frame) = self.worker.port_mut(0).take_sent() {
                self.taken += 1;
                let bytes = frame.to_vec();
                match answer(&bytes, self.addresses.1) {
                    Some(answer) => answers.push(answer),
                    None => self.keep(&bytes),
                }
            }
            if answers.is_empty() {
                return;
            }
            answers.iter().for_each(|answer| self.arrive(answer));
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

    fn arrive(&mut self, bytes: &[u8]) {
        let mut frame = self.pool.alloc().expect("the script's packets are few");
        frame.append_slice(bytes).expect("a packet fits a frame");
        if let Some(missing) = ETHERNET_MIN.checked_sub(bytes.len()) {
            frame.append_slice(&[0; ETHERNET_MIN][..missing]).expect("the shortest frames fit");
        }
        self.received += 1;
        self.worker.port_mut(0).arrive(frame);
    }

    /// What must hold after each turn.
    fn check(&mut self) -> Result<(), String> {
        self.worker.tcp().check(self.now)?;
        let of = |counter| self.worker.counters().counter(counter);
        let (held, sent) = (self.worker.held() as u64, of(Counter::TxFrames));
        equal("frames that came", self.received, of(Counter::RxFrames))?;
        equal(
            "received and made; sent, consumed, dropped and held",
            of(Counter::RxFrames) + of(Counter::MadeFrames),
            sent + of(Counter::ConsumedFrames) + of(Counter::DroppedFrames) + held,
        )?;
        equal("frames that left", self.taken + self.worker.port_mut(0).sent_len() as u64, sent)
    }

    /// Runs a command of the application's, and the turn that follows it.
    fn command<T>(&mut self, command: impl FnOnce(&mut Application, &mut application::Engine<'_>) -> T) -> T {
        let now = self.now;
        let (application, tcp, out) = self.worker.application_mut();
        let result = command(application, &mut application::Engine { now, tcp, out });
        self.turn();
        result
    }
}

/// The shortest frame of an Ethernet, its check sequence not counted (IEEE 802.3).
const ETHERNET_MIN: usize = 60;

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

impl Target for Engine {
    fn addresses(&self) -> (IpAddr, IpAddr) {
        self.addresses
    }

    fn tolerance(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.now.since(BEGIN).as_ns())
    }

    fn inject(&mut self, packet: &[u8]) {
        let kind = if self.addresses.0.is_ipv4() { ethertype::IPV4 } else { ethertype::IPV6 };
        self.arrive(&wire::ethernet(OURS, SCRIPTS, None, kind, packet));
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
            if due > until {
                self.now = self.now.max(until);
                return;
            }
            self.now = self.now.max(due);
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
            End::TimedOut | End::KeepaliveTimedOut | End::FinWaitTimedOut | End::LingerTimedOut => Ending::Timeout,
            End::Unreachable => Ending::Unreachable,
            End::Aborted | End::DataAfterClose | End::Superseded | End::Stopping => Ending::Aborted,
        })
    }

    fn state(&mut self, flow: Flow) -> Option<String> {
        let port = self.worker.application_mut().0.script_port(flow);
        let report = self.worker.tcp().conns(self.now).find(|report| report.remote.port() == port);
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
        self.worker.stop(self.now);
        while self.worker.port_mut(0).take_sent().is_some() {
            self.taken += 1;
        }
        self.check()?;
        equal("frames held, and in use, after the end", self.worker.held() as u64, self.pool.in_use() as u64)?;
        equal("frames in use after the end", self.pool.in_use() as u64, 0)
    }
}
