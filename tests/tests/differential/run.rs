//! One seed: the engine and the model side by side.

use crate::peer::Peer;
use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};
use weirgate_dataplane::{
    net::{Cidr, Interface, InterfaceIndex, Packet, PortIndex, Topology},
    outbox::Outbox,
    port::{Offloads, Pool},
    tcp::{
        Connect, ConnectionId, ConnectionOptions, ConnectionReport, EcnChoice, End, Event, Listen, Segments, Tcp,
        TcpOptions,
    },
    time::{Duration, Instant},
};
use weirgate_tests::{
    model::{Heard, Model, Outcome, Reply, Setup, State, What},
    wire::{self, flag},
};

const STEPS: usize = 60;
const FRAMES: usize = 1_024;
const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const PEERS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
/// The peer's and ours.
const PORTS: (u16, u16) = (1_000, 80);
const BEGIN_MS: u64 = 9_000_000;

/// Where the two have parted.
#[derive(Clone)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    what: String,
    story: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DIFFERENTIAL_SEED={}: {}\n{}", self.seed, self.what, self.story)
    }
}

/// How often a segment was heard in which state, and answered how.
pub(crate) type Seen = BTreeMap<(&'static str, &'static str), u64>;

fn reply_name(reply: Reply) -> &'static str {
    match reply {
        Reply::Nothing => "nothing",
        Reply::Ack => "ACK",
        Reply::MayAck => "later",
        Reply::SynAck => "SYN-ACK",
        Reply::Reset(..) => "RST",
    }
}

/// A segment of the engine's.
pub(crate) struct Sent {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    /// TSecr.
    pub(crate) echo: Option<u32>,
    pub(crate) text: Vec<u8>,
}

/// What came of a turn of the engine's.
#[derive(Default)]
pub(crate) struct Turn {
    pub(crate) text: Vec<u8>,
    pub(crate) opened: bool,
    pub(crate) peer_closed: bool,
    pub(crate) over: Option<End>,
    pub(crate) sent: Vec<Sent>,
}

pub(crate) struct Run {
    seed: u64,
    random: fastrand::Rng,
    pub(crate) now_ms: u64,
    pool: Pool,
    pub(crate) tcp: Tcp,
    out: Outbox,
    pub(crate) model: Model,
    peer: Peer,
    listens: bool,
    pub(crate) id: Option<ConnectionId>,
    /// The scale that our last SYN offered.
    pub(crate) own_scale: u8,
    /// Since when something is not acknowledged.
    pub(crate) owed_since_ms: Option<u64>,
    seen: Seen,
    /// Whether the story is told.
    tells: bool,
    story: String,
}

/// The byte at a place of our stream.
pub(crate) fn byte_of_ours(place: u32) -> u8 {
    (place.wrapping_mul(0x85eb_ca6b) >> 24) as u8
}

impl Run {
    pub(crate) fn new(seed: u64, without: Option<What>, tells: bool) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let interface = Interface {
            port: PortIndex(0),
            vlan: None,
            mac: wire::mac(1),
            mtu: 1_500,
            offloads: Offloads::default(),
            addresses: vec![Cidr { address: OURS, prefix: 24 }],
        };
        let topology = Topology::new(vec![interface], Vec::new()).expect("a sound topology");
        let challenge_ms = if random.bool() { 0 } else { 500 };
        let options = TcpOptions {
            connections_max: 4,
            half_open_max: 4,
            time_wait_max: 4,
            ecn: EcnChoice::Off,
            challenge_interval_us: challenge_ms as u32 * 1_000,
            ..TcpOptions::new(seed, FRAMES)
        };
        let pool = Pool::heap(FRAMES);
        let mut tcp = Tcp::new(Arc::new(topology), options);
        let listens = random.u8(0..4) > 0;
        if listens {
            let listen = Listen { address: None, ports: PORTS.1..=PORTS.1, options: ConnectionOptions::default() };
            tcp.listen(listen).expect("nobody else listens");
        }
        Self {
            seed,
            now_ms: BEGIN_MS,
            out: Outbox::new(pool.clone(), 1, true),
            pool,
            tcp,
            model: Model::new(Setup { listens, challenge_ms, without }),
            peer: Peer::new(seed ^ 0x7065_6572),
            listens,
            id: None,
            own_scale: 0,
            owed_since_ms: None,
            seen: Seen::new(),
            tells,
            story: String::new(),
            random,
        }
    }

    /// All its steps.
    pub(crate) fn live(mut self) -> Result<Seen, Failure> {
        let result = (0..STEPS).try_for_each(|_| self.step()).and_then(|()| self.end());
        result.map(|()| self.seen).map_err(|what| Failure { seed: self.seed, what, story: self.story })
    }

    fn tell(&mut self, what: fmt::Arguments<'_>) {
        if self.tells {
            let _ = writeln!(self.story, "{:>8} {what}", self.now_ms - BEGIN_MS);
        }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::from_ns(self.now_ms * 1_000_000)
    }

    fn step(&mut self) -> Result<(), String> {
        let closed = !self.listens && self.model.state == State::Closed;
        match self.random.u8(0..16) {
            0..8 if closed => self.connect(),
            0 => self.pass(),
            1 | 2 => self.command(),
            3 | 4 if self.model.state == State::CloseWait => self.command(),
            _ => self.segment(),
        }
    }

    /// Time goes by: mostly less than a timer has, but all that TIME-WAIT takes.
    fn pass(&mut self) -> Result<(), String> {
        let waits = self.model.state == State::TimeWait && self.random.bool();
        let until_ms = self.now_ms + self.random.u64(if waits { 20_000..70_000 } else { 1..300 });
        self.tell(format_args!("until {}", until_ms - BEGIN_MS));
        while self.tcp.next_deadline() <= Instant::from_ns(until_ms * 1_000_000) {
            let due_ms = self.tcp.next_deadline().as_ns().div_ceil(1_000_000);
            self.now_ms = self.now_ms.max(due_ms).min(until_ms);
            self.model.pass(self.now_ms);
            self.tcp.handle_timers(self.now(), &mut self.out);
            let turn = self.collect();
            self.check(&Outcome::default(), &turn, true)?;
        }
        self.now_ms = until_ms;
        self.model.pass(until_ms);
        self.check(&Outcome::default(), &Turn::default(), true)
    }

    /// The application does something.
    fn command(&mut self) -> Result<(), String> {
        let Some(id) = self.id.filter(|_| self.model.is_known()) else { return self.connect() };
        let edge = self.edge();
        self.model.note_edge(edge);
        let expected = match self.random.u8(0..20) {
            0 | 1 if self.model.may_close() => {
                self.tell(format_args!("closes"));
                self.tcp.close(id, &mut self.out);
                self.model.close()
            }
            2 if self.model.may_close() => {
                self.tell(format_args!("releases"));
                self.tcp.release(id, &mut self.out);
                self.model.release()
            }
            3 if self.random.bool() => {
                self.tell(format_args!("aborts"));
                let now = self.now();
                self.tcp.abort(now, id, &mut self.out);
                self.model.abort()
            }
            4..10 if self.model.may_send() => self.send(id),
            _ => {
                let unread = self.model.unread();
                let slow = self.peer.fills() && self.random.u8(0..32) > 0;
                let bytes = if slow { 0 } else { self.random.u32(0..=unread.saturating_mul(2)).min(unread) };
                self.tell(format_args!("consumes {bytes} of {unread}"));
                self.tcp.consume(id, bytes);
                self.model.consume(bytes);
                Outcome::default()
            }
        };
        let turn = self.collect();
        self.check(&expected, &turn, false)
    }

    fn connect(&mut self) -> Result<(), String> {
        if self.listens || self.model.state != State::Closed {
            return Ok(());
        }
        self.tell(format_args!("connects"));
        let connect = Connect {
            local: Some(OURS),
            local_port: Some(PORTS.1),
            remote: SocketAddr::new(PEERS, PORTS.0),
            options: ConnectionOptions::default(),
        };
        let id = self.tcp.connect(self.now(), &connect, |_| true).map_err(|e| format!("connect: {e:?}"))?;
        self.id = Some(id);
        self.model.connect();
        let turn = self.collect();
        self.check(&Outcome::default(), &turn, true)?;
        if self.model.iss().is_some() { Ok(()) } else { Err("no SYN".into()) }
    }

    fn send(&mut self, id: ConnectionId) -> Outcome {
        let len = self.random.u32(1..1_400);
        let begin = self.model.snd_nxt().wrapping_sub(self.model.iss().unwrap_or(0)).wrapping_sub(1);
        let bytes: Vec<u8> = (0..len).map(|n| byte_of_ours(begin.wrapping_add(n))).collect();
        let Some(mut frame) = self.out.make() else { return Outcome::default() };
        frame.append_slice(&bytes).expect("it fits");
        self.tell(format_args!("sends {len}"));
        match self.tcp.send(id, frame, &mut self.out) {
            Ok(()) => self.model.send(len),
            Err(frame) => {
                self.out.consume(frame);
                Outcome::default()
            }
        }
    }

    /// A segment comes, for both.
    fn segment(&mut self) -> Result<(), String> {
        let heard = self.peer.next(&self.model, self.now_ms);
        let (edge, before) = (self.edge(), self.model.state);
        let expected = self.model.hear(self.now_ms, &heard, edge);
        *self.seen.entry((before.name(), reply_name(expected.reply))).or_default() += 1;
        if self.model.state != before && matches!(self.model.state, State::SynReceived) {
            self.peer.adopt(&heard);
        }
        if before == State::SynSent && heard.has(flag::SYN) && self.model.state == State::Established {
            self.peer.adopt(&heard);
        }
        let turn = self.hear(&heard);
        self.check(&expected, &turn, false)
    }

    /// What the engine says of the flow.
    pub(crate) fn report(&self) -> Option<ConnectionReport> {
        self.tcp.conns(self.now()).next()
    }

    /// Where the engine's window ends.
    pub(crate) fn edge(&self) -> Option<u32> {
        let report = self.report().filter(|report| report.id.is_some() && self.model.state != State::SynSent)?;
        Some(self.model.rcv_nxt().wrapping_add(report.rcv_wnd))
    }

    /// The engine hears a segment.
    fn hear(&mut self, heard: &Heard) -> Turn {
        let mut options = Vec::new();
        if heard.has(flag::SYN) {
            options.extend([2, 4, 5, 0xb4, 1, 1, 4, 2]);
        }
        if let Some(scale) = heard.scale {
            options.extend([1, 3, 3, scale]);
        }
        if let Some(value) = heard.timestamp {
            options.extend([1, 1, 8, 10]);
            options.extend(value.to_be_bytes());
            options.extend([0; 4]);
        }
        let Heard { seq, ack, flags, window, ref text, .. } = *heard;
        let segment = wire::Tcp { ports: PORTS, seq, ack, flags, window, options: &options, payload: text };
        let mut bytes = segment.packet(PEERS, OURS);
        if heard.has(flag::URG) {
            bytes[38..40].copy_from_slice(&1u16.to_be_bytes());
        }
        self.tell(format_args!("<- {segment}"));
        let packet = Packet {
            interface: InterfaceIndex(0),
            source: PEERS,
            destination: OURS,
            protocol: wire::protocol::TCP,
            protocol_at: 9,
            hop_limit: 64,
            traffic_class: 0,
            group: false,
            network_at: 0,
            transport_at: 20,
            transport_len: bytes.len() - 20,
        };
        let mut frame = self.pool.alloc().expect("a frame");
        frame.append_slice(&bytes).expect("it fits");
        let mut burst = Segments::new();
        burst.push((packet, frame));
        self.tcp.handle_burst(self.now(), &mut burst, &mut self.out);
        self.collect()
    }

    /// What the engine has to say.
    fn collect(&mut self) -> Turn {
        let mut turn = Turn::default();
        self.tcp.flush(self.now(), &mut self.out);
        self.listen_to(&mut turn);
        // A graceful end is told when everything was read; the model tells it at once.
        if let Some(id) = self.id.filter(|id| self.tcp.conn(self.now(), *id).is_none()) {
            self.tcp.consume(id, u32::MAX);
            self.listen_to(&mut turn);
        }
        while let Some((_, frame)) = self.tcp.poll_transmit() {
            let bytes = frame.to_vec();
            let segment = wire::Tcp::read(&bytes).expect("a segment");
            self.tell(format_args!("-> {segment}"));
            let echo = segment.timestamps().map(|(_, echo)| echo);
            if segment.has(flag::SYN) {
                self.own_scale = segment.option(3).map_or(0, |body| body[0]);
            }
            let wire::Tcp { seq, ack, flags, window, payload, .. } = segment;
            turn.sent.push(Sent { seq, ack, flags, window, echo, text: payload.to_vec() });
            self.out.consume(frame);
        }
        self.out.free_discards();
        turn
    }

    /// What the application hears.
    fn listen_to(&mut self, turn: &mut Turn) {
        while let Some(event) = self.tcp.poll_event() {
            match event {
                Event::Accepted { id, .. } => {
                    (self.id, turn.opened) = (Some(id), true);
                }
                Event::Connected { .. } => turn.opened = true,
                Event::Received { frame, .. } => {
                    turn.text.extend(frame.to_vec());
                    self.out.consume(frame);
                }
                Event::PeerClosed { .. } => turn.peer_closed = true,
                Event::Closed { reason, .. } => turn.over = Some(reason),
                Event::Writable { .. } | Event::Trouble { .. } => {}
            }
        }
    }

    /// Every frame comes back.
    fn end(&mut self) -> Result<(), String> {
        self.tcp.check(self.now())?;
        self.tcp.stop(self.now(), &mut self.out);
        self.collect();
        if self.pool.in_use() == 0 { Ok(()) } else { Err(format!("{} frames are lost", self.pool.in_use())) }
    }

    /// Since then.
    pub(crate) fn ms_since(&self, ms: u64) -> Duration {
        Duration::from_ms(self.now_ms - ms)
    }
}
