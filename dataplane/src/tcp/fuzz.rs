//! The fuzz targets that need to see inside the engine; see [`crate::fuzz`].
//!
//! ```text
//!   tcp_engine   input:   setup (2)  record record ...
//!                record:  kind and flow  time  flags  selection  number (2)  acknowledgment (2)  window (2)  length (2)
//!
//!   flows 0..3   a peer connects to us        even flows speak IPv4, odd ones IPv6
//!   flows 4..7   we connect to a peer
//! ```
//! `tcp_segments` (in `segments`) holds one connection's receive side against a slow model of it (`model`).
//!
//! A record's numbers are distances from what would be right, so that zeros make an exchange that works. Payload follows from its place in
//! the stream, so both ends know what they must read.

#[cfg(test)]
mod attacks;
mod bench;
mod model;
mod segments;

pub use segments::tcp_segments;

use super::{
    connection::Marks,
    segment::{HEADER_LEN, SynOptions},
    *,
};
use crate::{
    net::{Cidr, IcmpError, Interface, PortIndex, Quote, checksum::Sum, protocol},
    port::Pool,
};
use segment::Flags;
use smoltcp::wire::EthernetAddress;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// What a header may say, by its own account: what is read lies within it, and a segment that is taken has lengths that can be.
///
/// Input: payload length, then a header of any length.
pub fn tcp_options(data: &[u8]) {
    let Some((&[payload, class], header)) = data.split_first_chunk::<2>() else { return };
    // The net layer looks at these two.
    let Some(&offset) = header.get(12).filter(|_| header.len() >= HEADER_LEN) else { return };
    let header_len = usize::from(offset >> 4) * 4;
    if header_len < HEADER_LEN {
        return;
    }
    let whole = header.len() >= header_len;
    let transport_len = header_len + usize::from(payload);
    let Ok(segment) = Segment::parse(header, transport_len, class) else { return };
    assert!(whole || header_len == HEADER_LEN, "options that are not there were read");
    assert_eq!((segment.payload_at, segment.payload_len), (header_len, u32::from(payload)));
    assert_eq!(segment.end() - segment.seq, segment.len());
    assert!(segment.len() <= u32::from(payload) + 2);
    assert_eq!(segment.ce, class & 3 == 3);
    let options = header.get(HEADER_LEN..header_len).unwrap_or_default();
    let stands = |words: [u32; 2]| {
        let bytes = [words[0].to_be_bytes(), words[1].to_be_bytes()].concat();
        options.windows(8).any(|window| window == bytes)
    };
    assert!(segment.timestamps.is_none_or(|(value, echo)| stands([value, echo])));
    assert!(segment.blocks.iter().all(|(left, right)| stands([left.0, right.0])));
    let syn = SynOptions::parse(header, &segment);
    assert!(syn.wscale.is_none_or(|shift| shift <= 14));
    assert!(syn.mss.is_none_or(|mss| options.windows(2).any(|window| window == mss.to_be_bytes())));
    assert_eq!(SynOptions::parse(header, &segment), syn);
}

const RECORD_LEN: usize = 12;
const FLOWS: usize = 8;
const LISTEN_PORT: u16 = 80;
/// Bytes before the transport header of a packet that comes.
const HEADERS_LEN: usize = 54;

/// The whole engine between peers and an application that do what the input says.
pub fn tcp_engine(data: &[u8]) {
    let Some((&setup, mut rest)) = data.split_first_chunk::<2>() else { return };
    let mut world = World::new(setup);
    while let Some((record, after)) = rest.split_first_chunk::<RECORD_LEN>() {
        rest = after;
        world.pass(record[1]);
        world.step(&Record::read(record));
    }
    world.end();
}

struct Record {
    kind: u8,
    flow: usize,
    flags: u8,
    select: u8,
    seq: i16,
    ack: i16,
    window: u16,
    len: u16,
}

impl Record {
    fn read(bytes: &[u8; RECORD_LEN]) -> Self {
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        Self {
            kind: bytes[0] >> 3,
            flow: usize::from(bytes[0]) % FLOWS,
            flags: bytes[2],
            select: bytes[3],
            seq: word(4).cast_signed(),
            ack: word(6).cast_signed(),
            window: word(8),
            len: word(10),
        }
    }
    /// What is chosen besides.
    fn selects(&self, bit: u8) -> bool {
        self.select & bit != 0
    }
}

/// Bits of a record's selection.
mod select {
    pub(super) const TIMESTAMPS: u8 = 1;
    pub(super) const OLD: u8 = 2;
    pub(super) const SACK: u8 = 4;
    pub(super) const SYN_OPTIONS: u8 = 8;
    pub(super) const MALFORMED: u8 = 0x10;
    pub(super) const CHAINED: u8 = 0x20;
    pub(super) const CONGESTED: u8 = 0x40;
    /// Distances count sixteen thousand times.
    pub(super) const FAR: u8 = 0x80;
}

/// What the other end of a flow knows.
#[derive(Default)]
struct Peer {
    snd_nxt: Seq,
    /// The furthest that has come from us.
    rcv_nxt: Seq,
    /// Our last timestamp.
    echo: u32,
    /// Every range of numbers that it has sent.
    sent: Vec<(Seq, Seq)>,
}

/// What the application knows of a connection.
struct User {
    id: ConnectionId,
    closed: bool,
    sent: u32,
    received: u32,
    unconsumed: u32,
}

struct World {
    now: Instant,
    pool: Pool,
    tcp: Tcp,
    out: Outbox,
    peers: [Peer; FLOWS],
    users: [Option<User>; FLOWS],
    listener: Option<ListenerId>,
    rx: u64,
    tx: u64,
    /// Nothing leaves at present.
    clogged: bool,
}

fn address(ours: bool, ipv6: bool) -> IpAddr {
    let host = if ours { 1 } else { 2 };
    if ipv6 { Ipv6Addr::from_bits(0xfd77 << 112 | host).into() } else { [10, 77, 0, host as u8].into() }
}

/// Our end and the peer's.
fn ends(flow: usize) -> (SocketAddr, SocketAddr) {
    let (ipv6, n) = (flow % 2 == 1, flow as u16);
    let (local, remote) = if flow < FLOWS / 2 { (LISTEN_PORT, 1_000 + n) } else { (40_000 + n, 2_000 + n) };
    (SocketAddr::new(address(true, ipv6), local), SocketAddr::new(address(false, ipv6), remote))
}

fn flow_of(remote: u16) -> usize {
    usize::from(remote % 1_000)
}

/// The byte at a place of a peer's stream.
fn peers_byte(place: u32) -> u8 {
    (place.wrapping_mul(0x9e37_79b1) >> 24) as u8
}
/// The byte at a place of the application's stream.
fn users_byte(place: u32) -> u8 {
    !peers_byte(place)
}

impl World {
    fn new([setup, more]: [u8; 2]) -> Self {
        let offloads = Offloads { segments: setup & 1 != 0, ..Offloads::default() };
        let interface = Interface {
            port: PortIndex(0),
            vlan: None,
            mac: EthernetAddress([2, 0, 0, 0, 0, 1]),
            mtu: if setup & 2 != 0 { 9_000 } else { 1_500 },
            offloads,
            addresses: [false, true]
                .map(|ipv6| Cidr { address: address(true, ipv6), prefix: if ipv6 { 64 } else { 24 } })
                .to_vec(),
        };
        let topology = Topology::new(vec![interface], Vec::new()).expect("a sound topology");
        // A pool that some inputs use up.
        let frames = if setup & 4 != 0 { 48 } else { 2_048 };
        let (few, many) = (more & 1 != 0, 64);
        let options = TcpOptions {
            connections_max: if few { 4 } else { many },
            half_open_max: if more & 2 != 0 { 1 } else { many },
            time_wait_max: if more & 4 != 0 { 1 } else { many },
            congestion: if setup & 8 != 0 { CongestionChoice::NewReno } else { CongestionChoice::Cubic },
            challenge_interval_us: if setup & 0x10 != 0 { 0 } else { 500_000 },
            ecn: [EcnChoice::Ask, EcnChoice::Off, EcnChoice::Grant, EcnChoice::Ask][usize::from(setup >> 5 & 3)],
            ..TcpOptions::new(u64::from(more >> 3), frames)
        };
        let pool = Pool::heap(frames);
        let peers = std::array::from_fn(|flow| Peer {
            // Some begin just before the numbers do.
            snd_nxt: Seq((flow as u32).wrapping_mul(0x4000_0000).wrapping_sub(2_000)),
            ..Peer::default()
        });
        let mut world = Self {
            now: Instant::from_ns(5_000_000_000_000),
            tcp: Tcp::new(Arc::new(topology), options),
            out: Outbox::new(pool.clone(), 1, true),
            pool,
            peers,
            users: [const { None }; FLOWS],
            listener: None,
            rx: 0,
            tx: 0,
            clogged: false,
        };
        world.listen();
        world
    }

    fn listen(&mut self) {
        let listen = Listen { address: None, ports: LISTEN_PORT..=LISTEN_PORT, options: ConnectionOptions::default() };
        self.listener = match self.listener.take() {
            Some(id) => {
                self.tcp.unlisten(id);
                None
            }
            None => Some(self.tcp.listen(listen).expect("nobody else is there")),
        };
    }

    /// Up to four hours, in steps that grow; the timers run when they ask to, but not for ever.
    fn pass(&mut self, time: u8) {
        let end = self.now + Duration::from_ns(u64::from(time & 7) << (10 + (time >> 3)));
        for _ in 0..64 {
            let due = self.tcp.next_deadline();
            if due > end {
                break;
            }
            self.now = self.now.max(due);
            self.timers();
        }
        self.now = end;
        self.timers();
    }

    fn timers(&mut self) {
        self.tcp.handle_timers(self.now, &mut self.out);
        self.settle();
    }

    fn step(&mut self, record: &Record) {
        match record.kind {
            0..16 => self.hear(record),
            16..19 => self.send(record),
            19 => self.consume(record),
            20 => self.with_user(record, |tcp, _, out, user| tcp.close(user.id, out)),
            21 => self.with_user(record, |tcp, now, out, user| tcp.abort(now, user.id, out)),
            22 => self.with_user(record, |tcp, _, out, user| tcp.release(user.id, out)),
            23 => self.with_user(record, |tcp, _, _, user| tcp.wants_room(user.id)),
            24 => self.with_user(record, |tcp, _, _, user| tcp.set_options(user.id, chosen(record))),
            25 => self.connect(record),
            26 => self.icmp_error(record),
            27 => self.clogged ^= true,
            28 => self.listen(),
            // What comes in one burst is settled in one turn.
            _ => {
                self.hear(record);
                self.hear(&Record { kind: 0, select: record.select ^ select::CHAINED, ..*record });
            }
        }
        self.settle();
    }

    /// The application's commands, also those about connections that are over.
    fn with_user(&mut self, record: &Record, command: impl FnOnce(&mut Tcp, Instant, &mut Outbox, &User)) {
        if let Some(user) = &self.users[record.flow] {
            command(&mut self.tcp, self.now, &mut self.out, user);
        }
    }

    fn send(&mut self, record: &Record) {
        let Some(user) = &mut self.users[record.flow] else { return };
        let Some(mut frame) = self.out.make() else { return };
        let len = usize::from(record.len).min(frame.tailroom());
        let bytes: Vec<u8> = (0..len as u32).map(|n| users_byte(user.sent + n)).collect();
        frame.append_slice(&bytes).expect("as much as fits");
        match self.tcp.send(user.id, frame, &mut self.out) {
            Ok(()) => user.sent += len as u32,
            Err(frame) => self.out.consume(frame),
        }
    }

    fn consume(&mut self, record: &Record) {
        let Some(user) = &mut self.users[record.flow] else { return };
        let bytes = u32::from(record.len).min(user.unconsumed);
        user.unconsumed -= bytes;
        self.tcp.consume(user.id, bytes);
    }

    fn connect(&mut self, record: &Record) {
        let (local, remote) = ends(record.flow);
        if record.flow < FLOWS / 2 {
            return;
        }
        let connect = Connect {
            local: Some(local.ip()),
            local_port: Some(local.port()),
            remote,
            options: ConnectionOptions { nagle: record.selects(1), ..ConnectionOptions::default() },
        };
        if let Ok(id) = self.tcp.connect(self.now, &connect, |_| true) {
            let former = self.users[record.flow].replace(User::new(id));
            assert!(former.is_none_or(|former| former.closed), "two connections of one flow");
        }
    }

    fn icmp_error(&mut self, record: &Record) {
        let (local, remote) = ends(record.flow);
        let seq = self.peers[record.flow].rcv_nxt + u32::from(record.ack.cast_unsigned()) - 1;
        let mut transport = [0; 8];
        transport[..2].copy_from_slice(&local.port().to_be_bytes());
        transport[2..4].copy_from_slice(&remote.port().to_be_bytes());
        transport[4..].copy_from_slice(&seq.0.to_be_bytes());
        let least = if local.is_ipv4() { 68 } else { 1_280 };
        let cause = match record.select & 3 {
            0 => crate::net::Cause::TooBig { mtu: record.window.clamp(least, 9_000) },
            _ => return,
        };
        let (source, destination) = (local.ip(), remote.ip());
        let quote = Quote { source, destination, protocol: protocol::TCP, transport };
        self.tcp.handle_icmp_error(self.now, &IcmpError { cause, quote }, &mut self.out);
    }

    /// A segment comes.
    fn hear(&mut self, record: &Record) {
        let (local, remote) = ends(record.flow);
        let peer = &mut self.peers[record.flow];
        let distance = |n: i16| if record.selects(select::FAR) { i32::from(n) << 14 } else { i32::from(n) };
        let seq = peer.snd_nxt + distance(record.seq).cast_unsigned();
        let ack = peer.rcv_nxt + distance(record.ack).cast_unsigned();
        let options = options(record, peer, ack, self.now);
        let len = record.len % 1_461;
        let syn = record.flags & Flags::SYN != 0;
        // A SYN takes the first number.
        let first = seq + u32::from(syn);
        let payload: Vec<u8> = (0..u32::from(len)).map(|n| peers_byte((first + n).0)).collect();
        let mut message = Vec::with_capacity(60 + payload.len());
        message.extend(remote.port().to_be_bytes());
        message.extend(local.port().to_be_bytes());
        message.extend(seq.0.to_be_bytes());
        message.extend(ack.0.to_be_bytes());
        message.extend([((HEADER_LEN + options.len()) / 4 * 16) as u8, record.flags]);
        message.extend(record.window.to_be_bytes());
        message.extend([0; 4]);
        message.extend(options);
        let payload_at = HEADERS_LEN + message.len();
        message.extend(payload);
        let packet = Packet {
            interface: InterfaceIndex(0),
            source: remote.ip(),
            destination: local.ip(),
            protocol: protocol::TCP,
            protocol_at: 9,
            hop_limit: 64,
            traffic_class: if record.selects(select::CONGESTED) { 3 } else { 0 },
            group: false,
            network_at: 14,
            transport_at: HEADERS_LEN,
            transport_len: message.len(),
        };
        let cut = record.selects(select::CHAINED).then_some(payload_at + usize::from(len) / 3);
        let Some(frame) = framed(&self.pool, &message, cut) else { return };
        let length = u32::from(len) + u32::from(syn) + u32::from(record.flags & Flags::FIN != 0);
        peer.sent.push((seq, seq + length));
        if record.seq == 0 && record.flags & Flags::RST == 0 {
            peer.snd_nxt = seq + length;
        }
        self.rx += 1;
        let mut burst = Segments::new();
        burst.push((packet, frame));
        self.tcp.handle_burst(self.now, &mut burst, &mut self.out);
        assert!(burst.is_empty());
    }

    /// The application hears its events, what is to be sent leaves, and all of it is looked at.
    fn settle(&mut self) {
        while let Some(event) = self.tcp.poll_event() {
            self.handle_event(event);
        }
        self.tcp.flush(self.now, &mut self.out);
        while let Some(event) = self.tcp.poll_event() {
            self.handle_event(event);
        }
        if !self.clogged {
            self.take_sent();
        }
        if let Err(what) = self.tcp.check(self.now) {
            panic!("{what}");
        }
        self.account();
    }

    fn take_sent(&mut self) {
        while let Some((answer, frame)) = self.tcp.poll_transmit() {
            self.tx += 1;
            self.check_sent(&answer, &frame);
        }
    }

    fn account(&mut self) {
        let count = |counter| self.out.counters.counter(counter);
        let came = self.rx + count(Counter::MadeFrames);
        let went = count(Counter::ConsumedFrames) + count(Counter::DroppedFrames) + self.tx;
        assert_eq!(came, went + (self.tcp.held() + self.out.backlog()) as u64, "every frame is accounted for");
        self.out.free_discards();
    }

    fn user(&mut self, id: ConnectionId) -> &mut User {
        let user = self.users.iter_mut().flatten().find(|user| user.id == id).expect("a name that was told");
        assert!(!user.closed, "nothing comes after the end");
        user
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Accepted { id, .. } => {
                let flow = match self.tcp.conn(self.now, id) {
                    Some(report) => flow_of(report.remote.port()),
                    // It is over already, and an end will follow.
                    None => return self.adopt(id),
                };
                let former = self.users[flow].replace(User::new(id));
                assert!(former.is_none_or(|former| former.closed), "two connections of one flow");
            }
            Event::Received { id, frame } => {
                let irs = self.tcp.connections.find(id).map(|i| self.tcp.connections.cold[i].irs);
                let user = self.user(id);
                let bytes = frame.to_vec();
                assert!(!bytes.is_empty());
                if let Some(irs) = irs {
                    let first = irs + 1 + user.received;
                    let wrong = (0u32..).zip(&bytes).find(|(n, byte)| peers_byte((first + *n).0) != **byte);
                    assert_eq!(wrong, None, "what is read is what was sent, at {}", user.received);
                }
                user.received += bytes.len() as u32;
                user.unconsumed += bytes.len() as u32;
                self.out.consume(frame);
            }
            Event::Closed { id, .. } => self.user(id).closed = true,
            Event::PeerClosed { id } | Event::Writable { id } | Event::Connected { id } | Event::Trouble { id, .. } => {
                self.user(id);
            }
        }
    }

    /// Keeps the name of a connection that has ended before it was heard of.
    fn adopt(&mut self, id: ConnectionId) {
        let free = self.users.iter().position(|user| user.as_ref().is_none_or(|user| user.closed));
        self.users[free.expect("no more than flows")] = Some(User::new(id));
    }

    fn check_sent(&mut self, answer: &Answer, frame: &Frame) {
        let bytes = frame.to_vec();
        let len = bytes.len() as u32;
        let pseudo = Sum::pseudo_header(answer.source, answer.destination, protocol::TCP, len);
        assert!(pseudo.add(&bytes).is_valid(), "a wrong checksum");
        let header_len = usize::from(bytes[12] >> 4) * 4;
        assert!((HEADER_LEN..=60).contains(&header_len) && header_len <= bytes.len());
        let segment = Segment::parse(&bytes[..header_len], bytes.len(), answer.traffic_class).expect("we write well");
        let ports = [0, 2].map(|at| u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let flow = flow_of(ports[1]);
        let (local, remote) = ends(flow);
        let from = SocketAddr::new(answer.source, ports[0]);
        assert_eq!((from, SocketAddr::new(answer.destination, ports[1])), (local, remote));
        let flags = segment.flags;
        let [syn, rst, fin] = [Flags::SYN, Flags::RST, Flags::FIN].map(|flag| u8::from(flags.has(flag)));
        assert!(syn + rst + fin <= 1, "flags that exclude each other");
        let peer = &mut self.peers[flow];
        if flags.has(Flags::ACK) {
            let within = |(from, to): &(Seq, Seq)| (segment.ack - *from) <= (*to - *from);
            assert!(peer.sent.iter().rev().any(within), "what never came is acknowledged");
        } else {
            assert!(syn + rst == 1);
        }
        if let Some((value, _)) = segment.timestamps {
            peer.echo = value;
        }
        if syn == 1 {
            peer.rcv_nxt = segment.seq + 1;
        } else if rst == 0 && segment.end().after(peer.rcv_nxt) {
            peer.rcv_nxt = segment.end();
        }
        self.check_text(flow, &segment, &bytes[header_len..]);
    }

    /// What leaves is what the application has written there.
    fn check_text(&self, flow: usize, segment: &Segment, text: &[u8]) {
        let Some(user) = self.users[flow].as_ref().filter(|user| !user.closed) else { return };
        let Some(i) = self.tcp.connections.find(user.id) else { return };
        let (hot, cold) = (&self.tcp.connections.hot[i], &self.tcp.connections.cold[i]);
        if text.is_empty() || !hot.state.is_synchronized() {
            return;
        }
        let place = segment.seq - (cold.iss + 1);
        assert!(place + text.len() as u32 <= user.sent, "more leaves than was written");
        assert!(text.len() <= usize::from(hot.mss) || hot.marks.has(Marks::NARROW));
        let wrong = (0u32..).zip(text).find(|(n, byte)| users_byte(place + n) != **byte);
        assert_eq!(wrong, None, "what leaves is what was written, at {place}");
    }

    fn end(mut self) {
        self.tcp.stop(self.now, &mut self.out);
        self.take_sent();
        self.account();
        assert_eq!(self.tcp.held(), 0);
        let Self { pool, tcp, out, .. } = self;
        assert_eq!(pool.in_use(), 0, "every buffer has come back");
        drop((tcp, out));
    }
}

impl User {
    fn new(id: ConnectionId) -> Self {
        Self { id, closed: false, sent: 0, received: 0, unconsumed: 0 }
    }
}

fn chosen(record: &Record) -> ConnectionOptions {
    let seconds = u64::from(record.window >> 4);
    ConnectionOptions {
        nagle: record.selects(1),
        keepalive: record.selects(2).then_some(Keepalive {
            idle_s: u32::from(record.len),
            interval_s: record.window,
            probes: record.flags,
        }),
        user_timeout: record.selects(4).then_some(Duration::from_secs(seconds)),
        linger: record.selects(8).then_some(Duration::from_secs(seconds)),
        dscp: record.flags & 0x3f,
        hop_limit: record.flags,
        reports_trouble: record.selects(0x10),
    }
}

/// A segment's options as the record chooses them, in whole words.
fn options(record: &Record, peer: &Peer, ack: Seq, now: Instant) -> Vec<u8> {
    let mut options = Vec::new();
    if record.selects(select::SYN_OPTIONS) {
        options.extend([2, 4, record.window.to_be_bytes()[0], 0xb4, 1, 1, 4, 2, 1, 3, 3, record.window as u8 & 15]);
    }
    if record.selects(select::TIMESTAMPS) {
        let age = if record.selects(select::OLD) { 5_000_000 } else { 0 };
        let value = (now.as_ns() / 1_000_000) as u32 - age;
        options.extend([1, 1, 8, 10]);
        options.extend(value.to_be_bytes());
        options.extend(peer.echo.to_be_bytes());
    }
    if record.selects(select::SACK) {
        options.extend([1, 1, 5, 10]);
        let from = ack + u32::from(record.window >> 8) * 32;
        options.extend(from.0.to_be_bytes());
        options.extend((from + u32::from(record.window & 0xff) * 32).0.to_be_bytes());
    }
    if record.selects(select::MALFORMED) && options.len() < 40 {
        options.extend([record.window as u8, record.len as u8, 0, 0]);
    }
    options
}

/// A frame with room for the headers before the transport's; in two buffers, if it is to be cut.
fn framed(pool: &Pool, message: &[u8], cut: Option<usize>) -> Option<Frame> {
    let mut bytes = vec![0; HEADERS_LEN];
    bytes.extend(message);
    let piece = |bytes: &[u8]| {
        let mut piece = pool.alloc()?;
        piece.append_slice(bytes).ok()?;
        Some(piece)
    };
    let Some(cut) = cut else { return piece(&bytes) };
    let mut frame = piece(&bytes[..cut])?;
    frame.chain(piece(&bytes[cut..])?);
    Some(frame)
}
