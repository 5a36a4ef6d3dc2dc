//! Weirgate in the world: the real workers over ports in memory, behind a device that spreads frames over their queues.
//!
//! Each step turns every worker once, in an order that the seed decides; some are late. After each turn the checkers look.

use super::{
    checker::{Answers, Books, Flows, Watched, sent},
    client::port,
    host::{Host, Wires},
    peer::Mood,
    seed::{GatewayPlan, Spread, Verdict},
    tenant::{Calls, Dialer, Target, Tenant},
};
use crate::wire::{self, checksum, ethertype, flag};
use fastrand::Rng;
use std::{
    fmt::{self, Write},
    net::SocketAddr,
    sync::Arc,
};
use weirgate_dataplane::{
    counters::Counter,
    drops::Drop,
    limits::{ICMP_ERRORS_BURST, ICMP_ERRORS_PER_SECOND, SEGMENTS_MAX},
    net::{Cidr, Interface, InterfaceIndex, PortIndex, Route, Topology},
    port::{
        Capabilities, Checksum, Frame, L4, Offloads, Pool, RxMeta, SimPort,
        rss::{PortsHashed, Rss},
    },
    services::{Service, ServiceListener, Services},
    tcp::TcpOptions,
    time::{Duration, Instant},
    worker::{Mailboxes, Worker, WorkerOptions},
};

/// The gateway and its devices.
pub struct Gateway {
    plan: GatewayPlan,
    topology: Arc<Topology>,
    devices: Vec<Capabilities>,
    workers: Vec<Member>,
    answers: Answers,
    mood: Mood,
    random: Rng,
    /// Frames that a device had no buffer or no place for.
    missed: u64,
    /// By worker: what those that were stopped have counted.
    counts: Vec<Vec<u64>>,
    failure: Option<String>,
}

/// Connections of a worker.
const CONNECTIONS_MAX: usize = 4_096;

/// One worker and what is known of it from outside.
struct Member {
    worker: Worker<SimPort, Watched<Tenant>>,
    pool: Pool,
    books: Books,
    flows: Flows,
    /// The machine does something else until then.
    stalled_until: Instant,
}

impl Gateway {
    /// A gateway that starts now.
    pub fn new(plan: &GatewayPlan, mut random: Rng) -> Self {
        let ports = 1 + plan.networks.iter().map(|n| usize::from(n.port)).max().expect("at least one network");
        let devices: Vec<_> = (0..ports).map(|port| device(plan, port, &mut random)).collect();
        let topology = Arc::new(topology(plan, &devices));
        let mut gateway = Self {
            plan: plan.clone(),
            answers: Answers::new(&topology, plan.workers),
            topology,
            devices,
            mood: Mood::Busy,
            workers: Vec::new(),
            random,
            missed: 0,
            counts: vec![vec![0; Counter::COUNT + Drop::COUNT]; plan.workers],
            failure: None,
        };
        gateway.start(Instant::ZERO);
        gateway
    }

    fn start(&mut self, now: Instant) {
        let mailboxes = Mailboxes::new(self.plan.workers);
        for index in 0..self.plan.workers {
            let tcp = self.tcp();
            let pool = Pool::heap(self.plan.frames);
            let ports = self.devices.iter().map(|device| {
                let mut port = SimPort::new(device.clone());
                port.tx_room = self.plan.tx_ring;
                port
            });
            let options = WorkerOptions {
                index,
                pool: pool.clone(),
                topology: Arc::clone(&self.topology),
                mailboxes: mailboxes.clone(),
                seed: self.random.u64(..),
                connections_max: CONNECTIONS_MAX,
                services: Vec::new(),
                verify_rss: self.plan.spread == Spread::Toeplitz,
            };
            let wild = self.plan.spread == Spread::Random;
            let mut dialer = Dialer::new(self.targets(), index, wild, self.plan.lies, now, self.random.fork());
            if let Some(bytes) = self.plan.bulk {
                dialer.set_bulk(bytes);
            }
            let tenant = Watched::new(Tenant::new(Services::new(listeners()), dialer));
            let worker = Worker::with_tcp(ports.collect(), options, tcp, tenant);
            let segments = if self.plan.segments { SEGMENTS_MAX } else { 1 };
            let books = Books::new(ICMP_ERRORS_PER_SECOND, ICMP_ERRORS_BURST, segments);
            let flows = Flows::default();
            self.workers.push(Member { worker, pool, books, flows, stalled_until: Instant::ZERO });
        }
    }

    fn tcp(&mut self) -> TcpOptions {
        let (congestion, ecn) = self.plan.choices;
        let usual = TcpOptions::new(self.random.u64(..), self.plan.frames);
        let mut options = TcpOptions { connections_max: CONNECTIONS_MAX, congestion, ecn, ..usual };
        if let Some(tight) = self.plan.tight {
            options.half_open_max = tight.half_open;
            if !self.plan.lies {
                options.connections_max = tight.connections;
            }
            options.time_wait_max = tight.time_wait;
            options.queued_frames_max = tight.queued;
            options.held_frames_max = tight.held;
        }
        options
    }

    /// The peers' echo servers, as far as there are any.
    fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for (network, host) in &self.plan.targets {
            let (own, remote) = (network.gateway(), network.host(*host));
            let rss = self.devices[usize::from(network.port)].rss.as_ref().expect("every device here has it");
            for ipv6 in [false, true] {
                let remote = SocketAddr::new(remote.of(ipv6), port::ECHO);
                targets.push(Target { remote, local: own.of(ipv6), rss: rss.clone() });
            }
        }
        targets
    }

    /// Stops every worker and looks whether anything was left behind.
    fn stop(&mut self, now: Instant) {
        self.workers.iter_mut().for_each(|member| member.worker.stop(now));
        self.count();
        for (index, member) in std::mem::take(&mut self.workers).into_iter().enumerate() {
            let held = member.worker.held();
            drop(member.worker); // and its ports with what is in them
            let left = member.pool.in_use();
            if held > 0 || left > 0 {
                self.fail(format!("worker {index} stopped with {held} frames held and left {left} in use"));
            }
        }
    }

    /// Ends and begins again, with empty tables.
    pub fn restart(&mut self, now: Instant) {
        self.stop(now);
        self.answers.restart(now);
        self.start(now);
    }

    /// Each worker's counters and then drops, with those of workers that were stopped.
    pub fn counts(&self) -> &[Vec<u64>] {
        &self.counts
    }
    fn count(&mut self) {
        for (total, Member { worker, .. }) in self.counts.iter_mut().zip(&self.workers) {
            let counters = Counter::ALL.iter().map(|&c| worker.counters().counter(c));
            let drops = Drop::ALL.iter().map(|&d| worker.counters().drops(d));
            total.iter_mut().zip(counters.chain(drops)).for_each(|(total, n)| *total += n);
        }
    }

    /// The last look: nothing may wait any more, and nothing may be left.
    pub fn end(&mut self, now: Instant) {
        for index in 0..self.workers.len() {
            let Member { worker, pool, .. } = &mut self.workers[index];
            let (held, used) = (worker.held(), pool.in_use());
            // A peer that is gone may have left a hole, which nobody will ever fill.
            let mut allowed = worker.tcp().held_out_of_order();
            if self.plan.lies {
                // Or somebody has acknowledged in its name what it never got, and it can say what it likes.
                allowed = worker.tcp().held() + worker.net().held();
            }
            if held > allowed || (allowed == 0 && used > 0) {
                self.fail(format!("worker {index} still holds {held} frames after the quiet, {used} in use"));
                return;
            }
        }
        self.stop(now);
    }

    /// Its device has learned how to choose queues, and its workers are in time.
    pub fn calm(&mut self, now: Instant) {
        if self.plan.spread == Spread::Random {
            // What was put on wrong queues would wait there for acknowledgments that come to others now.
            self.plan.spread = Spread::Toeplitz;
            self.restart(now);
        }
        self.plan.lag = 0;
        self.workers.iter_mut().for_each(|member| member.stalled_until = Instant::ZERO);
        self.set_mood(now, Mood::Settling);
    }

    /// Its own connections behave otherwise from now on.
    pub fn set_mood(&mut self, now: Instant, mood: Mood) {
        self.mood = mood;
        for member in &mut self.workers {
            member.worker.application_mut().0.inner.dialer.set_mood(now, mood);
        }
    }
    /// A connection of its own that has not ended.
    pub fn complaint(&mut self) -> Option<String> {
        self.workers.iter_mut().find_map(|m| m.worker.application_mut().0.inner.dialer.complaint())
    }
    /// What became of its own connections, in this life.
    pub fn calls(&mut self) -> Calls {
        let mut all = Calls::default();
        for member in &mut self.workers {
            all.add(&member.worker.application_mut().0.inner.dialer.score());
        }
        all
    }

    /// Its connections, in words.
    pub(super) fn tell_tcp(&self, to: &mut String, now: Instant) -> fmt::Result {
        for (index, worker) in self.workers().enumerate() {
            for c in worker.tcp().conns(now).filter(|c| c.state != "TIME-WAIT" && c.state != "SYN-RECEIVED").take(40) {
                let (local, remote, state) = (c.local, c.remote, c.state);
                write!(
                    to,
                    "  worker {index}: {local} <- {remote} {state}, {} unacked, {} unsent, ",
                    c.unacked, c.unsent
                )?;
                write!(to, "windows {} and {}, cwnd {}, {} unconsumed, ", c.snd_wnd, c.rcv_wnd, c.cwnd, c.unconsumed)?;
                writeln!(to, "{} out of order, {} resent, timers {:?}", c.out_of_order, c.resent_segments, c.timers)?;
            }
        }
        Ok(())
    }

    /// What broke first.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
    /// Frames that the devices lost because nobody took them.
    pub fn missed(&self) -> u64 {
        self.missed
    }
    /// The workers, to look at.
    pub fn workers(&self) -> impl ExactSizeIterator<Item = &Worker<SimPort, Watched<Tenant>>> {
        self.workers.iter().map(|member| &member.worker)
    }

    fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }

    /// The queue that the device puts a frame on.
    fn queue(&mut self, port: usize, frame: &[u8]) -> usize {
        if self.plan.spread == Spread::Random {
            return self.random.usize(0..self.workers.len());
        }
        let rss = self.devices[port].rss.as_ref().expect("every device here has it");
        rss.flow(frame).map_or(0, |flow| usize::from(rss.queue(&flow)))
    }

    /// Puts a frame on a queue. Says whether there was a place and a buffer for it.
    pub fn receive(&mut self, queue: usize, port: usize, bytes: &[u8]) -> bool {
        let meta = verdict(self.plan.verdict, bytes);
        let Member { worker, pool, books, .. } = &mut self.workers[queue];
        let full = worker.port_mut(port).arrived_len() >= self.plan.rx_ring;
        let frame = if full { None } else { buffered(pool, self.plan.buffer, bytes) };
        let Some(mut frame) = frame else {
            self.missed += 1;
            return false;
        };
        frame.set_rx_meta(meta);
        books.note_arrival(frame.segment_count());
        self.answers.note_arrival(bytes);
        worker.port_mut(port).arrive(frame);
        true
    }

    /// Whether a worker misses its turn: often for a moment, seldom for long.
    fn is_late(&mut self, now: Instant, index: usize) -> bool {
        let member = &mut self.workers[index];
        if self.plan.lag > 0 && self.random.u16(..) < 4 {
            member.stalled_until = now + Duration::from_us(1 << self.random.u32(10..22));
        }
        now < member.stalled_until || self.random.u8(..) < self.plan.lag
    }

    /// One turn of one worker. Says when it wants the next.
    fn turn(&mut self, now: Instant, index: usize, wires: &mut Wires) -> Instant {
        let Member { worker, pool, books, flows, .. } = &mut self.workers[index];
        let moved = worker.turn(now).moved;
        let ports = self.devices.len();
        let checked = books.check(now, worker, pool, ports).and_then(|()| flows.check(worker.counters()));
        let tenant = worker.application_mut().0;
        let failure = tenant.failure().or_else(|| tenant.inner.dialer.failure()).map(str::to_owned);
        if let Some(what) = checked.err().or(failure) {
            self.fail(format!("worker {index}: {what}"));
        }
        self.transmit(now, index, wires);
        let soon = |random: &mut Rng| now + Duration::from_us(random.u64(2..60));
        let worker = &mut self.workers[index].worker;
        let waits = (0..ports).any(|port| worker.port_mut(port).arrived_len() > 0);
        match worker.next_deadline() {
            _ if moved || waits => soon(&mut self.random),
            // There is a backlog: a link that carries frees the ring at once, one that does not wakes us when it does.
            Instant::ZERO if (0..ports).all(|port| wires.has_room(port)) => soon(&mut self.random),
            Instant::ZERO => now + Duration::from_ms(500),
            deadline => deadline.max(now + Duration::from_us(1)),
        }
    }

    /// What the device has in its transmit queues goes out, as far as the links take it.
    fn transmit(&mut self, now: Instant, index: usize, wires: &mut Wires) {
        for port in 0..self.devices.len() {
            while wires.has_room(port) {
                let Some(frame) = self.workers[index].worker.port_mut(port).take_sent() else { break };
                self.workers[index].books.note_taken();
                for bytes in self.complete(&frame) {
                    self.inspect(now, index, port, &bytes);
                    wires.send(port, bytes);
                }
            }
        }
    }

    /// A frame that leaves.
    fn inspect(&mut self, now: Instant, index: usize, port: usize, bytes: &[u8]) {
        let port = PortIndex(u8::try_from(port).expect("few ports"));
        let said = sent::check(&self.topology, port, bytes).and_then(|said| {
            if let sent::Said::Segment { from, to, segment } = &said {
                self.workers[index].flows.note_sent(*from, *to, segment)?;
            }
            self.answers.note_sent(now, &said)
        });
        if let Err(what) = said {
            self.fail(format!("worker {index} sent {}: {what}", wire::words(bytes)));
        }
    }

    /// What the device does with a frame before it sends it.
    fn complete(&mut self, frame: &Frame) -> Vec<Vec<u8>> {
        let mut bytes = frame.to_vec();
        let offload = frame.tx_offload();
        if frame.segment_count() > 1 && !self.plan.segments {
            self.fail(format!("{} segments to a device that sends one", frame.segment_count()));
        }
        if offload.ip_checksum {
            let at = usize::from(offload.l2_len);
            let Some(header) = bytes.get_mut(at..at + usize::from(offload.l3_len)) else {
                self.fail("an offload beyond the frame".into());
                return vec![bytes];
            };
            let field = [header[10], header[11]];
            let sum = checksum(header).to_be_bytes();
            header[10..12].copy_from_slice(&sum);
            if !self.plan.ipv4_checksum || field != [0, 0] {
                self.fail(format!("an offload that the device does not do, or over a field of {field:?}"));
            }
        }
        let (l3, l4) = (usize::from(offload.l2_len), usize::from(offload.l2_len) + usize::from(offload.l3_len));
        let Some(kind) = offload.l4_checksum else { return vec![bytes] };
        if !self.plan.l4_checksum || (offload.tso_segment > 0 && !self.plan.tso) || kind != L4::Tcp {
            self.fail("an offload that the device does not do".into());
        }
        let pieces = match offload.tso_segment {
            0 => vec![bytes],
            size => cut(&bytes, l3, l4, l4 + usize::from(offload.l4_len), usize::from(size)),
        };
        let whole = offload.tso_segment == 0;
        pieces.into_iter().map(|piece| self.complete_segment(piece, l3, l4, whole)).collect()
    }

    /// Fills in the checksum of a TCP segment, whose field has the pseudo-header's sum, without its length where the device cuts.
    fn complete_segment(&mut self, mut bytes: Vec<u8>, l3: usize, l4: usize, whole: bool) -> Vec<u8> {
        let Some(ip) = wire::ip_packet(&bytes[l3..]) else {
            self.fail("an offload for what is no packet".into());
            return bytes;
        };
        let message = &mut bytes[l4..];
        let field = u16::from_be_bytes([message[16], message[17]]);
        // The sum of zeros is the pseudo-header's alone.
        let len = if whole { message.len() } else { 0 };
        let expected = !wire::transport_sum(ip.source, ip.destination, ip.protocol, &vec![0; len]);
        if l3 + ip.transport_at != l4 || field != expected {
            self.fail(format!("an offload whose field is {field:04x} where {expected:04x} belongs"));
        }
        message[16..18].fill(0);
        let sum = wire::transport_sum(ip.source, ip.destination, ip.protocol, message).to_be_bytes();
        message[16..18].copy_from_slice(&sum);
        bytes
    }
}

/// What a device makes of a segment that it cuts: each piece has the headers, its own length and number, and only the last one FIN and PSH.
fn cut(bytes: &[u8], l3: usize, l4: usize, payload_at: usize, size: usize) -> Vec<Vec<u8>> {
    let (headers, payload) = bytes.split_at(payload_at);
    let seq = u32::from_be_bytes(*headers[l4 + 4..].first_chunk().expect("a TCP header"));
    let count = payload.len().div_ceil(size).max(1);
    let piece = |(index, part): (usize, &[u8])| {
        let mut piece = [headers, part].concat();
        let seq = seq.wrapping_add(u32::try_from(index * size).expect("a packet"));
        piece[l4 + 4..l4 + 8].copy_from_slice(&seq.to_be_bytes());
        if index + 1 < count {
            piece[l4 + 13] &= !(flag::FIN | flag::PSH);
        }
        if index > 0 {
            piece[l4 + 13] &= !flag::CWR;
        }
        if piece[l3] >> 4 == 4 {
            let len = u16::try_from(piece.len() - l3).expect("a packet").to_be_bytes();
            piece[l3 + 2..l3 + 4].copy_from_slice(&len);
            piece[l3 + 10..l3 + 12].fill(0);
            let sum = checksum(&piece[l3..l4]).to_be_bytes();
            piece[l3 + 10..l3 + 12].copy_from_slice(&sum);
        } else {
            let len = u16::try_from(piece.len() - l3 - 40).expect("a packet").to_be_bytes();
            piece[l3 + 4..l3 + 6].copy_from_slice(&len);
        }
        piece
    };
    payload.chunks(size).enumerate().map(piece).collect()
}

impl Host for Gateway {
    /// Frames that come within a moment are taken as one burst.
    fn arrive(&mut self, now: Instant, port: usize, frame: Vec<u8>) -> Instant {
        let queue = self.queue(port, &frame);
        self.receive(queue, port, &frame);
        now + Duration::from_us(self.random.u64(0..30))
    }

    fn step(&mut self, now: Instant, wires: &mut Wires) -> Instant {
        let mut order: Vec<usize> = (0..self.workers.len()).collect();
        self.random.shuffle(&mut order);
        let mut next = Instant::NEVER;
        for index in order {
            self.transmit(now, index, wires);
            let wants = if self.is_late(now, index) {
                self.workers[index].stalled_until.max(now + Duration::from_us(self.random.u64(20..300)))
            } else {
                self.turn(now, index, wires)
            };
            next = next.min(wants);
        }
        next
    }
}

/// What the gateway serves.
fn listeners() -> Vec<ServiceListener> {
    let services = [(port::ECHO, Service::Echo), (port::DISCARD, Service::Discard), (port::CHARGEN, Service::Chargen)];
    let listener = |(port, service)| ServiceListener { name: format!("{service:?}"), address: None, port, service };
    services.map(listener).to_vec()
}

/// A device's receive buffers, filled one after the other.
fn buffered(pool: &Pool, buffer: usize, bytes: &[u8]) -> Option<Frame> {
    let mut frame = pool.alloc()?;
    let (first, rest) = bytes.split_at(bytes.len().min(buffer));
    frame.append_slice(first).ok()?;
    for part in rest.chunks(buffer) {
        if frame.segment_count() == SEGMENTS_MAX {
            return None;
        }
        let mut next = pool.alloc()?;
        next.append_slice(part).ok()?;
        frame.chain(next);
    }
    Some(frame)
}

fn verdict(verdict: Verdict, bytes: &[u8]) -> RxMeta {
    let mut meta = RxMeta::default();
    let header = wire::link(bytes).filter(|l| l.ethertype == ethertype::IPV4).and_then(|link| {
        let packet = &bytes[link.payload_at..];
        Some(&packet[..wire::ip_packet(packet)?.header_len])
    });
    if let Some(header) = header
        && verdict != Verdict::None
    {
        meta.ip_checksum = if checksum(header) == 0 { Checksum::Good } else { Checksum::Bad };
        meta.l4_checksum = if verdict == Verdict::Slandering { Checksum::Bad } else { Checksum::Unknown };
    }
    meta
}

fn device(plan: &GatewayPlan, port: usize, random: &mut Rng) -> Capabilities {
    let network = plan.networks.iter().find(|n| usize::from(n.port) == port).expect("each port has a network");
    let workers = u16::try_from(plan.workers).expect("few workers");
    let rss = Rss {
        key: std::iter::repeat_with(|| random.u8(..)).take(40).collect(),
        reta: std::iter::repeat_with(|| random.u16(0..workers)).take(128).collect(),
        ports_hashed: PortsHashed { tcp: true, udp: random.bool() },
    };
    let GatewayPlan { segments, ipv4_checksum, l4_checksum, tso, .. } = *plan;
    let offloads = Offloads { segments, ipv4_checksum, l4_checksum, tso };
    let plain = Capabilities::plain(&format!("p{port}"), network.gateway().mac.0, plan.mtu);
    Capabilities { offloads, rss: Some(rss), ..plain }
}

fn topology(plan: &GatewayPlan, devices: &[Capabilities]) -> Topology {
    let interfaces = plan.networks.iter().map(|network| {
        let own = network.gateway();
        let device = &devices[usize::from(network.port)];
        Interface {
            port: PortIndex(network.port),
            vlan: network.vlan,
            mac: own.mac,
            mtu: device.mtu,
            offloads: device.offloads,
            addresses: [(own.v4.into(), 24), (own.v6.into(), 64)]
                .map(|(address, prefix)| Cidr { address, prefix })
                .to_vec(),
        }
    });
    let router = plan.networks[0].host(2);
    let routes = [([0; 4].into(), router.v4.into()), ([0; 16].into(), router.v6.into())].map(|(any, via)| Route {
        to: Cidr { address: any, prefix: 0 },
        interface: InterfaceIndex(0),
        via: Some(via),
    });
    let routes = if plan.default_route { routes.to_vec() } else { Vec::new() };
    Topology::new(interfaces.collect(), routes).expect("a plan makes sense")
}
