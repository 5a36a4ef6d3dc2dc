//! What stands above TCP in the world's gateways: the services, and a dialer that opens connections to the peers' echo servers.

use super::{
    client::{character_at, one_of_log},
    peer::Mood,
};
use crate::wire::{self, Mac, Tcp as Segment};
use fastrand::Rng;
use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
};
use weirgate_dataplane::{
    application::Application,
    outbox::Outbox,
    port::{Frame, rss::Rss},
    services::Services,
    tcp::{Connect, ConnectError, ConnectionId, ConnectionOptions, End, Event, Keepalive, Tcp},
    time::{Duration, Instant},
};

/// Both.
pub struct Tenant {
    services: Services,
    /// The one that opens connections.
    pub dialer: Dialer,
}

/// An echo server, and how we reach it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it listens.
    pub remote: SocketAddr,
    /// Our address there.
    pub local: IpAddr,
    /// How the device there spreads flows.
    pub rss: Rss,
}

/// What became of the connections.
#[derive(Clone, Copy, Default, Debug)]
pub struct Calls {
    /// Begun.
    pub dialed: u64,
    /// Everything came back.
    pub completed: u64,
    /// Ended by us in the middle.
    pub aborted: u64,
    /// Ended by something else.
    pub broken: u64,
    /// Bytes that came back.
    pub bytes: u64,
}

impl Calls {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.dialed += other.dialed;
        self.completed += other.completed;
        self.aborted += other.aborted;
        self.broken += other.broken;
        self.bytes += other.bytes;
    }
}

/// Opens connections, sends, and compares what comes back.
pub struct Dialer {
    targets: Vec<Target>,
    worker: usize,
    /// The device puts frames anywhere: nothing can be expected of a connection that begins now.
    wild: bool,
    /// Somebody speaks in everybody's name.
    lies: bool,
    mood: Mood,
    dial_at: Instant,
    calls: BTreeMap<usize, Call>,
    score: Calls,
    failure: Option<String>,
    random: Rng,
    held: usize,
    /// One transfer of so many bytes at the beginning, and nothing else.
    bulk: Option<u64>,
}

struct Call {
    id: ConnectionId,
    local_port: u16,
    remote: SocketAddr,
    salt: u8,
    total: u64,
    sent: u64,
    received: u64,
    /// Bytes of a frame.
    chunk: usize,
    connected: bool,
    closed: bool,
    peer_closed: bool,
    wild: bool,
    counts: bool,
    abort_at: Option<u64>,
    /// How long it keeps what it has received.
    reads_after: Duration,
    unread: VecDeque<(Instant, Frame)>,
    /// To be looked at again.
    look_at: Instant,
}

/// Calls of one worker at a time.
const CALLS_MAX: usize = 6;

impl Tenant {
    /// Services, and calls to these targets.
    pub fn new(services: Services, dialer: Dialer) -> Self {
        Self { services, dialer }
    }
}

impl Dialer {
    /// A dialer of one worker. Without targets it does nothing.
    pub fn new(targets: Vec<Target>, worker: usize, wild: bool, lies: bool, now: Instant, mut random: Rng) -> Self {
        let dial_at = now + Duration::from_ms(random.u64(2_000..5_000));
        let (calls, score, failure) = Default::default();
        let (mood, held, bulk) = (Mood::Busy, 0, None);
        Self { targets, worker, wild, lies, mood, dial_at, calls, score, failure, random, held, bulk }
    }
    /// Makes one transfer of so many bytes and nothing else.
    pub fn set_bulk(&mut self, bytes: u64) {
        self.bulk = Some(bytes);
    }
    /// Behaves otherwise from now on.
    pub fn set_mood(&mut self, now: Instant, mood: Mood) {
        self.mood = mood;
        if mood != Mood::Busy {
            self.wild = false;
        }
        if self.bulk.is_none() {
            self.dial_at = now + Duration::from_ms(self.random.u64(0..1_000));
        }
    }
    /// What was wrong first.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
    /// What became of the connections.
    pub fn score(&self) -> Calls {
        self.score
    }
    /// A connection that has not ended.
    pub fn complaint(&self) -> Option<String> {
        // Where a device put frames anywhere, a SYN's port was chosen for nothing.
        let call = self.calls.values().find(|call| !call.wild)?;
        Some(format!(
            "a connection from port {} to {}, {} of {} bytes sent, {} back, closed {} and {}, has not ended",
            call.local_port, call.remote, call.sent, call.total, call.received, call.closed, call.peer_closed
        ))
    }
    fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }

    fn dial(&mut self, now: Instant, tcp: &mut Tcp) {
        self.dial_at = match self.mood {
            _ if self.bulk.is_some() => Instant::NEVER,
            Mood::Busy => now + Duration::from_ms(self.random.u64(200..8_000)),
            Mood::Settling => now + Duration::from_ms(self.random.u64(15_000..25_000)),
            Mood::Examining => now + Duration::from_ms(self.random.u64(5_500..9_500)),
            Mood::Resting => Instant::NEVER,
        };
        if self.calls.len() >= CALLS_MAX || self.mood == Mood::Resting || self.targets.is_empty() {
            return;
        }
        let target = self.targets[self.random.usize(0..self.targets.len())].clone();
        let keepalive = Some(Keepalive { idle_s: 5, interval_s: 2, probes: 20 });
        let options = ConnectionOptions { nagle: self.random.bool(), keepalive, ..ConnectionOptions::default() };
        let connect = Connect { local: None, local_port: None, remote: target.remote, options };
        let (worker, wild) = (self.worker, self.wild);
        let takes = |port: u16| {
            let answer = Segment { ports: (target.remote.port(), port), flags: 0x10, ..Segment::default() };
            let none = Mac::from_bytes(&[0; 6]);
            let frame = wire::frame(none, none, None, &answer.packet(target.remote.ip(), target.local));
            wild || target.rss.flow(&frame).is_some_and(|flow| usize::from(target.rss.queue(&flow)) == worker)
        };
        let id = match tcp.connect(now, &connect, takes) {
            Ok(id) => id,
            // With some keys no port of ours brings this peer's frames to our queue.
            // And of connections there may be few.
            Err(ConnectError::NoPort | ConnectError::TooMany) => return,
            Err(error) => return self.fail(format!("cannot connect to {}: {error:?}", target.remote)),
        };
        let busy = self.mood == Mood::Busy && self.bulk.is_none();
        let total = self.bulk.unwrap_or_else(|| one_of_log(&mut self.random, if busy { 15 } else { 13 }));
        let chunk = if self.bulk.is_some() || self.random.bool() { 2_048 } else { self.random.usize(1..600) };
        let abort_at = (busy && self.random.u8(0..6) == 0).then(|| self.random.u64(0..=total));
        let slow = busy && self.random.u8(0..4) == 0;
        let local_port = tcp.conn(now, id).map_or(0, |report| report.local.port());
        let call = Call {
            id,
            local_port,
            remote: target.remote,
            salt: self.random.u8(..),
            total,
            sent: 0,
            received: 0,
            chunk: if total > 5_000 { chunk.max(100) } else { chunk },
            connected: false,
            closed: false,
            peer_closed: false,
            wild,
            counts: self.mood == Mood::Examining || self.bulk.is_some(),
            abort_at,
            reads_after: if slow { Duration::from_ms(self.random.u64(1..2_000)) } else { Duration::ZERO },
            unread: VecDeque::new(),
            look_at: Instant::NEVER,
        };
        self.score.dialed += 1;
        self.calls.insert(id.index(), call);
    }

    fn has(&self, id: ConnectionId) -> bool {
        self.calls.get(&id.index()).is_some_and(|call| call.id == id)
    }

    fn handle_event(&mut self, now: Instant, event: Event, tcp: &mut Tcp, out: &mut Outbox) {
        let (Event::Accepted { id, .. }
        | Event::Connected { id }
        | Event::Received { id, .. }
        | Event::PeerClosed { id }
        | Event::Trouble { id, .. }
        | Event::Writable { id }
        | Event::Closed { id, .. }) = event;
        let call = self.calls.get_mut(&id.index()).expect("the caller has looked");
        match event {
            Event::Accepted { .. } => unreachable!("we have opened it"),
            Event::Connected { .. } => call.connected = true,
            Event::Received { frame, .. } => {
                if let Err(what) = call.compare(&frame) {
                    self.fail(what);
                }
                self.held += 1;
                let call = self.calls.get_mut(&id.index()).expect("still there");
                call.unread.push_back((now + call.reads_after, frame));
            }
            Event::PeerClosed { .. } => {
                call.peer_closed = true;
                if call.closed && call.received != call.total {
                    let what = format!("{} closed after {} of {} bytes", call.remote, call.received, call.total);
                    self.fail(what);
                }
            }
            Event::Writable { .. } | Event::Trouble { .. } => {}
            Event::Closed { reason, .. } => return self.end(id, reason, out),
        }
        self.work(now, id.index(), tcp, out);
    }

    /// Reads and writes what can be read and written.
    fn work(&mut self, now: Instant, index: usize, tcp: &mut Tcp, out: &mut Outbox) {
        let Some(call) = self.calls.get_mut(&index) else { return };
        call.look_at = Instant::NEVER;
        while let Some((at, frame)) = call.unread.pop_front() {
            if at > now {
                call.look_at = at;
                call.unread.push_front((at, frame));
                break;
            }
            self.held -= 1;
            tcp.consume(call.id, u32::try_from(frame.len()).expect("a frame"));
            out.consume(frame);
        }
        if call.abort_at.is_some_and(|at| call.received >= at) && call.connected {
            let id = call.id;
            call.wild = true;
            self.score.aborted += 1;
            call.abort_at = None;
            return tcp.abort(now, id, out);
        }
        while call.connected && call.sent < call.total {
            if tcp.send_room(call.id) == 0 {
                tcp.wants_room(call.id);
                return;
            }
            let Some(mut frame) = out.make() else {
                call.look_at = call.look_at.min(now + Duration::from_ms(20));
                return;
            };
            let rest = usize::try_from(call.total - call.sent).unwrap_or(usize::MAX);
            let bytes = frame.append(call.chunk.min(rest).min(frame.tailroom())).expect("just looked");
            for (byte, at) in bytes.iter_mut().zip(call.sent..) {
                *byte = character_at(call.salt, at);
            }
            let len = frame.len() as u64;
            if let Err(frame) = tcp.send(call.id, frame, out) {
                out.consume(frame);
                return;
            }
            call.sent += len;
        }
        if call.connected && !call.closed {
            call.closed = true;
            tcp.close(call.id, out);
        }
    }

    fn end(&mut self, id: ConnectionId, reason: End, out: &mut Outbox) {
        let call = self.calls.remove(&id.index()).expect("the caller has looked");
        self.held -= call.unread.len();
        call.unread.into_iter().for_each(|(_, frame)| out.consume(frame));
        self.score.bytes += call.received;
        let all = call.peer_closed && call.received == call.total;
        match reason {
            End::Graceful if all => self.score.completed += 1,
            End::Graceful => {
                self.fail(format!("{} ended gracefully after {} of {} bytes", call.remote, call.received, call.total));
            }
            End::Aborted | End::Stopping if call.wild || reason == End::Stopping => {}
            // Others needed the frames, or a peer has no more sockets.
            End::Stalled | End::Refused => self.score.broken += 1,
            // It forgets one that it has answered when an old SYN comes to it once more.
            End::Reset if !call.counts && call.received == 0 => self.score.broken += 1,
            // A lie may have left a connection of before with the peer, which smoltcp keeps for good and which answers no SYN.
            End::TimedOut if self.lies && !call.connected => self.score.broken += 1,
            // A peer whose tables are full of lies cannot answer.
            End::TimedOut | End::KeepaliveTimedOut if !call.counts => self.score.broken += 1,
            // In the worst of times a peer may have no socket left, or may not be found.
            _ if call.wild || (!call.connected && !call.counts) => self.score.broken += 1,
            _ => {
                self.score.broken += 1;
                self.fail(format!(
                    "the connection from port {} to {} ended ({}) after {} of {} bytes",
                    call.local_port,
                    call.remote,
                    reason.name(),
                    call.received,
                    call.total
                ));
            }
        }
    }

    fn handle_timers(&mut self, now: Instant, tcp: &mut Tcp, out: &mut Outbox) {
        if now >= self.dial_at {
            self.dial(now, tcp);
        }
        let due: Vec<_> = self.calls.iter().filter(|(_, call)| call.look_at <= now).map(|(index, _)| *index).collect();
        due.into_iter().for_each(|index| self.work(now, index, tcp, out));
    }
}

impl Call {
    fn compare(&mut self, frame: &Frame) -> Result<(), String> {
        for byte in frame.segments().flatten() {
            if *byte != character_at(self.salt, self.received) {
                return Err(format!(
                    "byte {} of a connection to {} is another than was sent",
                    self.received, self.remote
                ));
            }
            self.received += 1;
        }
        if self.received > self.sent { Err("more came back than was sent".into()) } else { Ok(()) }
    }
}

impl Application for Tenant {
    fn start(&mut self, tcp: &mut Tcp) {
        self.services.start(tcp);
    }
    fn handle_event(&mut self, now: Instant, event: Event, tcp: &mut Tcp, out: &mut Outbox) {
        let (Event::Accepted { id, .. }
        | Event::Connected { id }
        | Event::Received { id, .. }
        | Event::PeerClosed { id }
        | Event::Trouble { id, .. }
        | Event::Writable { id }
        | Event::Closed { id, .. }) = event;
        if self.dialer.has(id) {
            self.dialer.handle_event(now, event, tcp, out);
        } else {
            self.services.handle_event(now, event, tcp, out);
        }
    }
    fn handle_timers(&mut self, now: Instant, tcp: &mut Tcp, out: &mut Outbox) {
        self.services.handle_timers(now, tcp, out);
        self.dialer.handle_timers(now, tcp, out);
    }
    fn next_deadline(&self) -> Instant {
        let calls = self.dialer.calls.values().map(|call| call.look_at).min().unwrap_or(Instant::NEVER);
        let dial = if self.dialer.targets.is_empty() { Instant::NEVER } else { self.dialer.dial_at };
        self.services.next_deadline().min(dial).min(calls)
    }
    fn held(&self) -> usize {
        self.services.held() + self.dialer.held
    }
    fn stop(&mut self, out: &mut Outbox) {
        self.services.stop(out);
        for call in std::mem::take(&mut self.dialer.calls).into_values() {
            call.unread.into_iter().for_each(|(_, frame)| out.consume(frame));
        }
        self.dialer.held = 0;
    }
}
