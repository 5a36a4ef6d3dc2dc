//! Peers that do all that RFC 9293 lets them, to keep others from working: held windows, holes, handshakes that end at once. The services
//! stand above the engine as a worker has them.

use super::bench::{Bench, Text};
use crate::{
    application::Application,
    counters::Counter,
    limits::{TCP_WAKE_EVERY, TX_BACKLOG_SPARED},
    net::PortIndex,
    services::{Service, ServiceListener, Services},
    tcp::{End, Event, Segments, TcpOptions},
    time::{Duration, Instant},
};
use std::{collections::HashMap, net::IpAddr};

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

struct Peer {
    ip: [u8; 4],
    port: u16,
    to: u16,
    nxt: u32,
    una: u32,
    window: u16,
    got: u64,
}

struct Net {
    bench: Bench,
    services: Services,
    peers: HashMap<(u8, u8, u16), Peer>,
    /// Answers to answers, at most.
    rounds: usize,
    /// Whether peers scale their windows.
    scales: bool,
}

fn service(name: &str, port: u16, service: Service) -> ServiceListener {
    ServiceListener { name: name.into(), address: None, port, service }
}

impl Net {
    fn new(frames: usize) -> Self {
        let mut bench = Bench::new(frames, 0, |o: &mut TcpOptions| {
            (o.connections_max, o.half_open_max, o.time_wait_max) = (20_000, 16_384, 4_096);
        });
        let mut services = Services::new(vec![
            service("echo", 7, Service::Echo),
            service("discard", 9, Service::Discard),
            service("chargen", 19, Service::Chargen),
        ]);
        services.start(&mut bench.tcp);
        Self { bench, services, peers: HashMap::new(), rounds: 1_000_000, scales: false }
    }

    fn packet(&mut self, ip: [u8; 4], bytes: &[u8], burst: &mut Segments) {
        burst.push(self.bench.packet(ip, bytes).expect("the pool has frames"));
    }

    /// One turn as the worker has it.
    fn turn(&mut self, mut burst: Segments) {
        let now = self.bench.now;
        if !burst.is_empty() {
            self.bench.tcp.handle_burst(now, &mut burst, &mut self.bench.out);
            self.tell();
        }
        if now >= self.bench.tcp.next_deadline() {
            self.bench.tcp.handle_timers(now, &mut self.bench.out);
        }
        self.tell();
        self.bench.tcp.note_outside(self.services.held());
        self.bench.tcp.flush(now, &mut self.bench.out);
        self.tell();
        while let Some((answer, frame)) = self.bench.tcp.poll_transmit() {
            let IpAddr::V4(to) = answer.destination else { continue };
            self.bench.sent.push((to.into(), frame.to_vec()));
            self.bench.out.consume(frame);
        }
        self.bench.out.free_discards();
    }

    fn tell(&mut self) {
        while let Some(event) = self.bench.tcp.poll_event() {
            self.services.handle_event(self.bench.now, event, &mut self.bench.tcp, &mut self.bench.out);
        }
    }

    /// Bytes of a peer's segment, and where it is.
    fn say(&mut self, key: (u8, u8, u16), flags: u8, seq: Option<u32>, payload: &[u8]) -> (Vec<u8>, [u8; 4]) {
        let peer = self.peers.get_mut(&key).unwrap();
        let options: &[u8] = match flags & SYN != 0 {
            true if self.scales => &[2, 4, 5, 0xb4, 1, 3, 3, 7],
            true => &[2, 4, 5, 0xb4],
            false => &[],
        };
        let text = Text {
            ports: (peer.port, peer.to),
            seq: seq.unwrap_or(peer.nxt),
            ack: if flags & ACK != 0 { peer.una } else { 0 },
            flags,
            window: peer.window,
            options,
            payload,
        };
        if seq.is_none() {
            peer.nxt = peer.nxt.wrapping_add(payload.len() as u32 + u32::from(flags & SYN != 0));
        }
        (text.bytes(), peer.ip)
    }

    fn send(&mut self, key: (u8, u8, u16), flags: u8, seq: Option<u32>, payload: &[u8]) {
        let (bytes, ip) = self.say(key, flags, seq, payload);
        let mut burst = Segments::new();
        self.packet(ip, &bytes, &mut burst);
        self.turn(burst);
        self.answers();
    }

    /// Peers answer data and probes.
    fn answers(&mut self) {
        for _ in 0..self.rounds {
            let sent = std::mem::take(&mut self.bench.sent);
            if sent.is_empty() {
                return;
            }
            for (to, bytes) in sent {
                let IpAddr::V4(to) = to else { continue };
                let o = to.octets();
                let port = u16::from_be_bytes([bytes[2], bytes[3]]);
                let key = (o[2], o[3], port);
                let Some(peer) = self.peers.get_mut(&key) else { continue };
                let seq = u32::from_be_bytes(bytes[4..8].try_into().unwrap());
                let off = usize::from(bytes[12] >> 4) * 4;
                let len = (bytes.len() - off) as u32;
                let flags = bytes[13];
                if flags & RST != 0 {
                    self.peers.remove(&key);
                    continue;
                }
                if flags & SYN != 0 {
                    peer.una = seq.wrapping_add(1);
                    let (b, ip) = self.say(key, ACK, None, &[]);
                    let mut burst = Segments::new();
                    self.packet(ip, &b, &mut burst);
                    self.turn(burst);
                    continue;
                }
                if len > 0 {
                    if peer.window > 0 && seq == peer.una {
                        peer.una = seq.wrapping_add(len);
                        peer.got += u64::from(len);
                    }
                    let (b, ip) = self.say(key, ACK, None, &[]);
                    let mut burst = Segments::new();
                    self.packet(ip, &b, &mut burst);
                    self.turn(burst);
                }
            }
        }
    }

    /// A new peer's connection.
    fn open(&mut self, n: u32, to: u16, window: u16) -> (u8, u8, u16) {
        let key = ((n >> 8) as u8, n as u8, 4_000 + (n >> 16) as u16);
        let ip = [10, 77, key.0, key.1];
        self.peers.insert(key, Peer { ip, port: key.2, to, nxt: 1_000, una: 0, window, got: 0 });
        self.send(key, SYN, None, &[]);
        key
    }

    fn pass(&mut self, time: Duration) {
        let end = self.bench.now + time;
        let mut turns = 0;
        loop {
            let next = self.bench.tcp.next_deadline().max(self.bench.now);
            if next > end {
                break;
            }
            self.bench.now = next;
            self.turn(Segments::new());
            self.answers();
            self.bench.now = self.bench.now + Duration::from_us(50);
            turns += 1;
            assert!(turns < 3_000_000, "it spins");
        }
        self.bench.now = end.max(self.bench.now);
    }

    /// Each peer acknowledges what it got in the last turn, all in one burst. Counts data segments.
    fn acknowledge_together(&mut self, mut count: Option<&mut HashMap<[u8; 4], u64>>) {
        let mut got = Vec::new();
        for (to, bytes) in std::mem::take(&mut self.bench.sent) {
            let IpAddr::V4(to) = to else { continue };
            let to = to.octets();
            let key = (to[2], to[3], u16::from_be_bytes([bytes[2], bytes[3]]));
            if bytes.len() <= 60 {
                continue;
            }
            if let Some(count) = &mut count {
                *count.entry(to).or_default() += 1;
            }
            let peer = self.peers.get_mut(&key).unwrap();
            if u32::from_be_bytes(bytes[4..8].try_into().unwrap()) == peer.una {
                peer.una = peer.una.wrapping_add(bytes.len() as u32 - 20);
            }
            if !got.contains(&key) {
                got.push(key);
            }
        }
        let mut burst = Segments::new();
        for key in got {
            let (bytes, ip) = self.say(key, ACK, None, &[]);
            self.packet(ip, &bytes, &mut burst);
        }
        self.turn(burst);
    }
}

/// Peers with a closed window that answer each probe.
fn closed_windows(net: &mut Net, count: u32) {
    for n in 20..20 + count {
        net.open(n, 19, 0);
    }
}

#[test]
fn peers_that_take_nothing_give_way_to_others() {
    let mut net = Net::new(8_192);
    closed_windows(&mut net, 520);
    assert!(!net.bench.tcp.may_queue(0), "they have it all");
    let chargen = net.open(10_000, 19, 60_000);
    let echo = net.open(10_001, 7, 60_000);
    net.send(echo, ACK, None, b"hello");
    net.rounds = 3;
    net.pass(Duration::from_secs(12));
    assert!(net.peers[&chargen].got > 0);
    assert_eq!(net.peers[&echo].got, 5);
    let stalled = net.bench.out.counters.ends(End::Stalled);
    assert!((1..=520).contains(&stalled), "{stalled} were ended");
}

#[test]
fn peers_that_take_nothing_stay_while_nobody_needs_their_frames() {
    let mut net = Net::new(8_192);
    closed_windows(&mut net, 100);
    net.pass(Duration::from_secs(1_800));
    assert_eq!(net.peers.len(), 100);
}

#[test]
fn echoes_that_nobody_takes_leave_others_to_be_heard() {
    let mut net = Net::new(8_192);
    let text = [b'x'; 1_000];
    for n in 20..20 + 1_800 {
        let key = net.open(n, 7, 0);
        for _ in 0..if n < 1_020 { 6 } else { 1 } {
            net.send(key, ACK, None, &text);
        }
    }
    assert!(net.bench.tcp.is_short_of_frames(false), "they have it all");
    let victim = net.open(10_001, 9, 60_000);
    net.pass(Duration::from_secs(15));
    let at = net.peers[&victim].nxt;
    net.send(victim, ACK, Some(at), b"hello");
    let report = net.bench.tcp.conns(net.bench.now).find(|c| c.remote.ip() == IpAddr::from([10, 77, 39, 17])).unwrap();
    assert_eq!(report.received_bytes, 5);
}

#[test]
fn holes_that_nobody_fills_are_forgotten_when_frames_are_short() {
    let mut net = Net::new(8_192);
    let piece = [b'x'; 513];
    for n in 20..29 {
        let key = net.open(n, 9, 60_000);
        let base = net.peers[&key].nxt;
        for k in 0..127 {
            net.send(key, ACK, Some(base + 1 + k * 513), &piece);
        }
    }
    assert_eq!(net.bench.tcp.spare_to_hold(), 0, "they have it all");
    let victim = net.open(10_001, 9, 60_000);
    let text = [b'y'; 1_400];
    // All of a burst counts as what came first in it.
    let mut burst = Segments::new();
    for _ in 0..2 {
        let (bytes, ip) = net.say(victim, ACK, None, &text);
        net.packet(ip, &bytes, &mut burst);
    }
    net.turn(burst);
    let report = net.bench.tcp.conns(net.bench.now).find(|c| c.remote.ip() == IpAddr::from([10, 77, 39, 17])).unwrap();
    assert_eq!(report.received_bytes, 2_800);
    net.pass(Duration::from_secs(12));
    assert!(net.bench.tcp.spare_to_hold() > 0);
    assert!(net.bench.out.counters.counter(Counter::TcpHolesForgotten) > 0);
}

#[test]
fn a_syn_and_its_reset_leave_little_behind() {
    let mut net = Net::new(8_192);
    let most = net.bench.tcp.options.half_open_max;
    for n in 0..100_000u32 {
        let key = (0u8, 200u8, 1_000 + (n % 60_000) as u16);
        net.peers
            .insert(key, Peer { ip: [10, 77, 0, 200], port: key.2, to: 9, nxt: 1_000 + n, una: 0, window: 0, got: 0 });
        let (syn, ip) = net.say(key, SYN, None, &[]);
        let (reset, _) = net.say(key, RST, None, &[]);
        let mut burst = Segments::new();
        net.packet(ip, &syn, &mut burst);
        net.packet(ip, &reset, &mut burst);
        net.turn(burst);
        net.bench.sent.clear();
        net.bench.now = net.bench.now + Duration::from_us(2);
    }
    assert!(net.bench.tcp.half_open.dues() <= 2 * most + 16);
    assert!(net.bench.out.counters.counter(Counter::TcpCookiesSent) > 0, "beyond that there are cookies");
}

#[test]
fn whoever_waits_for_frames_and_ends_waits_once() {
    let mut net = Net::new(8_192);
    closed_windows(&mut net, 520);
    for n in 0..5_000u32 {
        let key = net.open(70_000 + n % 100, 19, 0);
        net.send(key, RST, None, &[]);
        net.peers.remove(&key);
    }
    assert!(net.bench.tcp.share.waiting.len() <= net.bench.tcp.connections.hot.len());
}

#[test]
fn an_empty_pool_is_not_asked_without_end() {
    let mut net = Net::new(8_192);
    net.open(51, 9, 60_000);
    let id = net.bench.tcp.conns(net.bench.now).next().unwrap().id.unwrap();
    let mut kept = Vec::new();
    while let Some(frame) = net.bench.pool.alloc() {
        kept.push(frame);
    }
    net.bench.tcp.wants_room(id);
    let mut told = 0;
    for _ in 0..1_000 {
        net.bench.now = net.bench.tcp.next_deadline().max(net.bench.now);
        net.bench.tcp.flush(net.bench.now, &mut net.bench.out);
        while let Some(event) = net.bench.tcp.poll_event() {
            if let Event::Writable { id } = event {
                told += 1;
                assert!(net.bench.out.make().is_none());
                net.bench.tcp.wants_room(id);
            }
        }
    }
    let passed = net.bench.now.since(Instant::from_ns(5_000_000_000));
    assert!(told <= 1 + passed.as_us() / TCP_WAKE_EVERY.as_us(), "{told} times in {passed:?}");
}

#[test]
fn a_port_with_little_room_is_given_to_each_in_turn() {
    let mut net = Net::new(65_536);
    (net.rounds, net.scales) = (3, true);
    net.open(50, 19, 65_000);
    // Its congestion window grows.
    for _ in 0..300 {
        net.bench.now = net.bench.now + Duration::from_us(500);
        net.turn(Segments::new());
        net.answers();
    }
    let mut count: HashMap<[u8; 4], u64> = HashMap::new();
    while net.bench.out.room(PortIndex(0)) > TX_BACKLOG_SPARED + 8 {
        let frame = net.bench.out.make().unwrap();
        net.bench.out.transmit(PortIndex(0), frame);
    }
    net.open(51, 19, 65_000);
    net.open(52, 19, 65_000);
    for turn in 0..4_000 {
        net.bench.now = net.bench.now + Duration::from_us(100);
        net.acknowledge_together(if turn < 2_000 { None } else { Some(&mut count) });
    }
    let (least, most) = (count.values().min().unwrap(), count.values().max().unwrap());
    assert!(count.len() == 3 && most - least < most / 10, "data segments by peer: {count:?}");
}
