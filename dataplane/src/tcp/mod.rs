//! TCP (RFC 9293), one worker's engine. Sans-io: segments and `now` come in, segments and events go out.
//!
//! ```text
//!   Net -> handle_burst -> table -+-> listen       nobody knows the flow: a SYN, a cookie, or a reset
//!                                 +-> half_open    SYN-RECEIVED of a passive open
//!                                 +-> time_wait
//!                                 +-> receive      acceptable?  what did it acknowledge?  what did it bring?
//!                                        |            |                |
//!                                        |            v                v
//!                                        |         recovery         assembler      losses, data out of order
//!                                        v
//!                                     poll_event -> application -> send, consume, close, connect, ..
//!                                                                     |
//!   Net <- poll_transmit <- emit <- transmit <- flush <---------------+---- timers (wheel)
//! ```
//! A connection is touched when something happens to it, and looked at once at the end of the turn ([`Tcp::flush`]): so an answer carries the
//! acknowledgment of its request, and a thousand small writes leave as few segments.
//!
//! | what | where |
//! | --- | --- |
//! | sequence numbers, short times, a segment's header | `seq`, `stamp`, `segment`, `emit` |
//! | who a segment belongs to | `table`; who listens: `listen`; numbers that nobody foresees: `secrets` |
//! | a connection's state | `connection`, `flight`, `queue` |
//! | opening and closing | `listen`, `half_open`, `connect`, `close`, `time_wait` |
//! | receiving | `receive`, `acknowledge`, `assembler`, `window` |
//! | sending | `transmit`, `scoreboard`, `recovery`, `congestion`, `rtt`, `path` |
//! | time | `timers`, `wheel` |
//! | looking at it | `inspect` |

mod acknowledge;
mod assembler;
mod close;
mod congestion;
mod connect;
mod connection;
mod deque;
mod emit;
mod event;
mod flight;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod half_open;
mod inspect;
mod listen;
mod lone;
mod options;
mod path;
mod predicted;
mod queue;
mod receive;
mod recovery;
mod relief;
mod rtt;
mod scoreboard;
mod secrets;
mod segment;
mod segments;
mod seq;
mod share;
mod stamp;
mod table;
mod time_wait;
mod timers;
mod transmit;
pub(crate) mod wheel;
mod window;

pub use connection::{ConnectionId, End, State};
pub use event::{Event, Trouble};
pub use inspect::ConnectionReport;
pub use options::{
    CongestionChoice, Connect, ConnectError, ConnectionOptions, EcnChoice, GIVE_UP, GIVE_UP_SYN, Keepalive, Listen,
    ListenError, ListenerId, TcpOptions,
};

use crate::{
    counters::{Counter, Counters, Gauge},
    drops::Drop,
    limits::{
        BURST_MAX, TCP_COPY_MAX, TCP_HALF_OPEN_MAX, TCP_HELD_BYTES_MAX, TCP_LONE_MAX, TCP_SEND_FRAMES_MAX,
        TCP_TIME_WAIT_MAX,
    },
    net::{Answer, InterfaceIndex, Packet, Topology},
    outbox::Outbox,
    port::{Frame, Offloads},
    time::{Duration, Instant},
};
use arrayvec::ArrayVec;
use assembler::Assemblers;
use connection::{Cold, Hot, Marks, MaybeIndex};
use emit::Route;
use flight::Flights;
use half_open::HalfOpens;
use listen::Listeners;
use lone::Copies;
pub(crate) use receive::cut_front;
use secrets::Secrets;
use segment::Segment;
pub use segments::Segments;
pub use seq::Seq;
use share::Share;
use stamp::Stamp;
use std::{collections::VecDeque, sync::Arc};
use table::{FlowKey, Kind, Place, Table};
use time_wait::TimeWaits;
use wheel::Wheel;

/// Full connections: hot and cold state by the same index.
struct Connections {
    hot: Vec<Hot>,
    cold: Vec<Cold>,
    free: Vec<u32>,
    max: usize,
}

impl Connections {
    /// All places are there from the start, so that nothing moves later; memory that was never used is not resident.
    fn new(max: usize) -> Self {
        Self { hot: Vec::with_capacity(max), cold: Vec::with_capacity(max), free: Vec::with_capacity(max), max }
    }
    fn is_full(&self) -> bool {
        self.free.is_empty() && self.hot.len() >= self.max
    }
    fn len(&self) -> usize {
        self.hot.len() - self.free.len()
    }
    fn id(&self, index: u32) -> ConnectionId {
        ConnectionId { index, generation: self.hot[index as usize].generation }
    }
    /// The place of a connection that still is what the name says.
    #[inline]
    fn find(&self, id: ConnectionId) -> Option<usize> {
        let hot = self.hot.get(id.index as usize)?;
        (hot.generation == id.generation && hot.state != State::Closed).then_some(id.index as usize)
    }
    /// The place of one that is over, and was not read to its end.
    fn find_unread(&self, id: ConnectionId) -> Option<usize> {
        let hot = self.hot.get(id.index as usize)?;
        (hot.generation == id.generation && hot.marks.has(Marks::UNREAD)).then_some(id.index as usize)
    }
    /// The connection is over; its name is nobody's any more.
    fn end(&mut self, index: u32) {
        let hot = &mut self.hot[index as usize];
        hot.state = State::Closed;
        hot.generation = hot.generation.wrapping_add(1);
    }
    fn free(&mut self, index: u32) {
        self.end(index);
        self.free.push(index);
    }
}

/// How packets to a peer leave.
struct Way {
    interface: InterfaceIndex,
    mtu: u16,
    offloads: Offloads,
}

/// One worker's TCP.
pub struct Tcp {
    topology: Arc<Topology>,
    options: TcpOptions,
    secrets: Secrets,
    table: Table,
    connections: Connections,
    /// Connections that are over, and were not read to their end.
    unread: usize,
    flights: Flights,
    copies: Copies,
    assemblers: Assemblers,
    half_open: HalfOpens,
    time_waits: TimeWaits,
    listeners: Listeners,
    /// A cookie that was sent may come back until then.
    cookies_until: Instant,
    wheel: Wheel,
    /// Connections to look at before the turn ends.
    touched: Vec<u32>,
    events: VecDeque<Event>,
    transmits: VecDeque<(Route, Frame)>,
    /// Frames inside queued events and segments are counted when asked for; those of send queues here.
    queued_frames: usize,
    share: Share,
    /// When it was last called.
    now: Instant,
    /// Every segment takes the long way.
    #[cfg(test)]
    unpredicted: bool,
}

impl Tcp {
    /// An engine without listeners or connections.
    pub fn new(topology: Arc<Topology>, options: TcpOptions) -> Self {
        let options = share::in_chains(options, &topology);
        let flows = options.connections_max + options.half_open_max + options.time_wait_max;
        let max = options.connections_max;
        Self {
            topology,
            secrets: Secrets::new(options.seed),
            table: Table::new(flows, options.seed),
            connections: Connections::new(max),
            unread: 0,
            flights: Flights::new(max),
            copies: Copies::new(max),
            assemblers: Assemblers::new(options.held_frames_max),
            half_open: HalfOpens::new(options.half_open_max),
            time_waits: TimeWaits::new(options.time_wait_max),
            listeners: Listeners::new(),
            cookies_until: Instant::ZERO,
            wheel: Wheel::new(max, Instant::ZERO),
            touched: Vec::new(),
            events: VecDeque::new(),
            transmits: VecDeque::new(),
            queued_frames: 0,
            share: Share::default(),
            now: Instant::ZERO,
            #[cfg(test)]
            unpredicted: false,
            options,
        }
    }

    /// Memory that an engine for so many connections takes at most, in bytes: its tables, records and what may be held in copies. Frames are the
    /// pool's.
    pub fn bytes_max(connections: usize) -> usize {
        let each = size_of::<Hot>()
            + size_of::<Cold>()
            + flight::BYTES
            + TCP_LONE_MAX
            + wheel::NODE_BYTES
            + 3 * size_of::<u32>();
        let records = half_open::bytes(TCP_HALF_OPEN_MAX) + TCP_TIME_WAIT_MAX * 2 * size_of::<time_wait::TimeWait>();
        connections * each
            + records
            + Table::bytes(connections + TCP_HALF_OPEN_MAX + TCP_TIME_WAIT_MAX)
            + TCP_HELD_BYTES_MAX
    }

    /// Takes the segments of one burst.
    pub fn handle_burst(&mut self, now: Instant, burst: &mut Segments, out: &mut Outbox) {
        self.now = now;
        out.counters.add(Counter::TcpRxSegments, burst.len() as u64);
        // Filled in place: a result would be copied.
        let mut staged = ArrayVec::new();
        self.stage(burst, &mut staged);
        for ((packet, frame), staged) in burst.packets.iter().zip(burst.frames.drain(..)).zip(&staged) {
            self.handle_segment(now, staged, packet, frame, out);
        }
        burst.packets.clear();
    }

    /// Finds the flows of a burst together, and reads from memory what will be needed of each: a step for all flows before the next step, in
    /// loops so short that many reads are under way at once.
    #[inline]
    fn stage(&self, burst: &Segments, staged: &mut ArrayVec<Staged, BURST_MAX>) {
        for (packet, frame) in burst.packets.iter().zip(&burst.frames) {
            let key = key_of(packet, frame);
            staged.push(Staged { hash: self.table.hash(&key), key, candidate: None });
        }
        let mut read = staged.iter().fold(0, |read, staged| read ^ self.table.touch(staged.hash));
        for staged in staged.iter_mut() {
            staged.candidate = self.table.candidate(staged.hash);
        }
        let connections = || {
            let places = staged.iter().filter_map(|staged| staged.candidate);
            places.filter(|place| place.kind() == Kind::Connection).map(|place| place.index() as usize)
        };
        let Connections { hot, cold, .. } = &self.connections;
        read = connections().fold(read, |read, i| read ^ hot[i].touch() ^ cold[i].touch());
        std::hint::black_box(read);
    }

    #[inline]
    fn handle_segment(&mut self, now: Instant, staged: &Staged, packet: &Packet, frame: Frame, out: &mut Outbox) {
        // Filled in place: a result would be copied as soon as it is written.
        let mut segment = Segment::default();
        let header = &frame.head()[packet.transport_at..];
        if let Err(reason) = segment.read(header, packet.transport_len, packet.traffic_class) {
            return out.drop(frame, reason);
        }
        // What came earlier in the burst may have ended the candidate, or begun the flow.
        let place = staged.candidate.filter(|place| self.is_flow(*place, &staged.key));
        let place = place.or_else(|| self.table.find(staged.hash, |place| self.is_flow(place, &staged.key)));
        let Some(place) = place else {
            return self.handle_stranger(now, &staged.key, &segment, packet, frame, out);
        };
        match place.kind() {
            Kind::Connection => self.handle_connection(now, place.index(), &segment, packet, frame, out),
            Kind::HalfOpen => self.handle_half_open(now, place.index(), &segment, packet, frame, out),
            Kind::TimeWait => self.handle_time_wait(now, place.index(), &segment, packet, frame, out),
        }
    }

    #[inline(always)]
    fn is_flow(&self, place: Place, key: &FlowKey) -> bool {
        let index = place.index() as usize;
        match place.kind() {
            Kind::Connection => {
                self.connections.hot.get(index).is_some_and(|h| h.key == *key && h.state != State::Closed)
            }
            Kind::HalfOpen => self.half_open.record(index as u32).is_of(key),
            Kind::TimeWait => self.time_waits.record(index as u32).is_of(key),
        }
    }

    /// The next thing that the application must know.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if let Event::Closed { id, .. } = event {
            // Only now: whoever keeps something by the place has not heard of the end before.
            self.connections.free.push(id.index() as u32);
        }
        Some(event)
    }
    /// What [`Self::poll_event`] will give.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }
    /// Reads from memory what sending on a connection will need.
    #[inline]
    pub(crate) fn touch_sender(&self, id: ConnectionId) -> u64 {
        let i = id.index();
        let Connections { hot, cold, .. } = &self.connections;
        hot.get(i).map_or(0, Hot::touch) ^ cold.get(i).map_or(0, Cold::touch)
    }
    /// The next segment to send, headers of TCP included, for [`Net::send`](crate::net::Net::send).
    #[inline]
    pub fn poll_transmit(&mut self) -> Option<(Answer, Frame)> {
        self.transmits.pop_front().map(|(route, frame)| (route.answer(), frame))
    }

    /// Begins to take connections.
    pub fn listen(&mut self, listen: Listen) -> Result<ListenerId, ListenError> {
        self.listeners.add(listen)
    }
    /// Takes no more connections there; those that are open stay.
    pub fn unlisten(&mut self, id: ListenerId) {
        self.listeners.remove(id);
    }

    /// Bytes that [`Self::send`] takes now. Zero also for a connection that is over or closed.
    pub fn send_room(&self, id: ConnectionId) -> usize {
        self.connections.find(id).map_or(0, |i| self.room(i))
    }

    #[inline(always)]
    fn room(&self, i: usize) -> usize {
        let hot = &self.connections.hot[i];
        if hot.marks.has(Marks::CLOSED) {
            return 0;
        }
        let (queued, frames) = match hot.flight.get() {
            Some(flight) => self.flights.queued(flight, hot.snd_una),
            None if hot.marks.has(Marks::LONE) => (u32::from(hot.mss), 1),
            None => (0, 0),
        };
        if frames >= TCP_SEND_FRAMES_MAX || !self.may_queue(frames) {
            return 0;
        }
        (self.send_buffer(i) as usize).saturating_sub(queued as usize)
    }

    /// Queues a frame's bytes. They are kept by reference until the peer has acknowledged them. The frame comes back when there is no room for
    /// it (then [`Event::Writable`] will come), or when the connection is over or closed.
    pub fn send(&mut self, id: ConnectionId, frame: Frame, out: &mut Outbox) -> Result<(), Frame> {
        let Some(i) = self.connections.find(id) else { return Err(frame) };
        if frame.is_empty() {
            out.consume(frame);
            return Ok(());
        }
        // Whoever has room for a byte may send a frame; the bound is exceeded by one frame at most.
        if self.room(i) == 0 {
            self.want_room(i);
            return Err(frame);
        }
        if Self::may_be_lone(&self.connections.hot[i], frame.len()) {
            self.keep_lone(i, frame);
            self.touch(i);
            return Ok(());
        }
        self.become_flight(i, out);
        let flight = self.connections.hot[i].flight.get();
        let index = flight.unwrap_or_else(|| self.begin_flight(i, self.connections.hot[i].snd_nxt));
        let hot = &mut self.connections.hot[i];
        let flight = self.flights.at_mut(index);
        let before = flight.queue.frames();
        let end = flight.queued_end;
        flight.queued_end = end + frame.len() as u32;
        let unsent = hot.snd_nxt.before(end) && frame.len() <= TCP_COPY_MAX && flight.last_begins.from(hot.snd_nxt);
        if !unsent {
            flight.last_begins = end;
        }
        flight.queue.push(end, frame, unsent, out);
        self.queued_frames += flight.queue.frames() - before;
        self.touch(i);
        Ok(())
    }

    /// Asks for [`Event::Writable`] when there is room again.
    pub fn wants_room(&mut self, id: ConnectionId) {
        if let Some(i) = self.connections.find(id) {
            self.want_room(i);
        }
    }

    /// The application is done with so many of the bytes that it was given: the window opens again.
    #[inline]
    pub fn consume(&mut self, id: ConnectionId, bytes: u32) {
        let Some(i) = self.connections.find(id) else { return self.consume_unread(id, bytes) };
        let hot = &mut self.connections.hot[i];
        hot.rcv_unconsumed = hot.rcv_unconsumed.saturating_sub(bytes);
        if bytes > 0 {
            hot.marks.clear(Marks::STANDING);
        }
        self.touch(i);
    }

    /// Changes what the application may choose.
    pub fn set_options(&mut self, id: ConnectionId, options: ConnectionOptions) {
        let Some(i) = self.connections.find(id) else { return };
        self.connections.cold[i].options = options;
        self.apply_options(i);
        self.touch(i);
    }

    fn apply_options(&mut self, i: usize) {
        let (hot, cold) = (&mut self.connections.hot[i], &self.connections.cold[i]);
        hot.marks.put(Marks::NAGLE, cold.options.nagle);
        hot.marks.put(Marks::KEEPALIVE, cold.options.keepalive.is_some());
        // rfc9293 3.9.1.9 SHLD-21: also while it is open.
        let emit::Class { traffic_class, hop_limit } = emit::Class::of(&cold.options);
        (hot.traffic_class, hot.hop_limit) = (traffic_class, hop_limit);
    }

    /// Does what all touched connections have to do: data, acknowledgments, timers. The end of a turn.
    pub fn flush(&mut self, now: Instant, out: &mut Outbox) {
        self.now = now;
        self.relieve(now, out);
        self.give_share(now);
        // Whoever is touched meanwhile (the port has no more room) comes behind them, and is looked at in the next turn.
        let count = self.touched.len();
        for n in 0..count {
            let i = self.touched[n] as usize;
            self.connections.hot[i].marks.clear(Marks::TOUCHED | Marks::FRESH);
            if self.connections.hot[i].state != State::Closed {
                self.transmit(now, i, out);
                if self.connections.hot[i].state != State::Closed {
                    self.rearm(now, i);
                }
            }
        }
        self.touched.drain(..count);
        // Whoever had no room first this time has it last the next time.
        if self.touched.len() > 1 {
            self.touched.rotate_left(1);
        }
    }

    /// Bytes from `next` on will be under way.
    fn begin_flight(&mut self, i: usize, next: Seq) -> usize {
        let (hot, cold) = (&mut self.connections.hot[i], &self.connections.cold[i]);
        let index = self.flights.begin(i as u32, self.now, next, hot.marks.has(Marks::SACK), cold.reordering);
        hot.flight = MaybeIndex::some(index as u32);
        index
    }

    /// Nothing is under way or queued any more.
    fn end_flight(&mut self, i: usize, index: usize) {
        let (hot, cold) = (&mut self.connections.hot[i], &mut self.connections.cold[i]);
        let recovery = &self.flights.at(index).recovery;
        cold.reordering = recovery.reordering();
        cold.delivery_rate = recovery.delivery_rate().min(u64::from(u32::MAX)) as u32;
        self.flights.end(index);
        hot.flight = MaybeIndex::NONE;
        hot.marks.clear(Marks::TRANSMIT_ARMED | Marks::PERSIST);
    }

    /// A connection is to be looked at before the turn ends.
    #[inline(always)]
    fn touch(&mut self, i: usize) {
        let marks = &mut self.connections.hot[i].marks;
        if !marks.has(Marks::TOUCHED) {
            marks.set(Marks::TOUCHED);
            self.touched.push(i as u32);
        }
    }

    /// A fresh connection in a free place, its numbers still to come. `None`: there is none.
    fn open(
        &mut self,
        now: Instant,
        key: &FlowKey,
        arrived: InterfaceIndex,
        options: ConnectionOptions,
        state: State,
    ) -> Option<u32> {
        if self.connections.is_full() {
            return None;
        }
        let way = self.way(key, arrived);
        let interface = way.as_ref().map_or(arrived, |way| way.interface);
        let mtu = way.map_or(crate::limits::MTU_MIN, |way| way.mtu);
        let stamp = Stamp::of(now);
        let hot = Hot::new(*key, interface, state, stamp);
        let cold = Cold::new(self.options.congestion, options, now, mtu);
        let index = match self.connections.free.pop() {
            Some(index) => {
                let place = &mut self.connections.hot[index as usize];
                let (generation, starved) = (place.generation, place.marks.0 & Marks::STARVED);
                *place = Hot { generation, ..hot };
                // One place in the queue of those who wait is enough.
                place.marks.set(starved);
                self.connections.cold[index as usize] = cold;
                index
            }
            None => {
                self.connections.hot.push(hot);
                self.connections.cold.push(cold);
                self.connections.hot.len() as u32 - 1
            }
        };
        self.apply_options(index as usize);
        self.touch(index as usize);
        Some(index)
    }

    /// The interface that packets to a flow's peer leave through.
    fn way(&self, key: &FlowKey, arrived: InterfaceIndex) -> Option<Way> {
        let (index, _) = self.topology.route(&key.remote(), Some(arrived))?;
        let interface = self.topology.interface(index);
        Some(Way { interface: index, mtu: interface.mtu, offloads: interface.offloads })
    }

    /// Frames that wait here: unacknowledged, out of order, or on their way up or down.
    pub fn held(&self) -> usize {
        let events = self.events.iter().filter(|event| matches!(event, Event::Received { .. })).count();
        self.queued_frames + self.assemblers.held_frames() + events + self.transmits.len()
    }

    /// Of these: out of order, until what comes before them has come, or their connection ends.
    pub fn held_out_of_order(&self) -> usize {
        self.assemblers.held_frames()
    }

    /// Sets the gauges that are TCP's.
    pub fn publish(&self, counters: &mut Counters) {
        counters.set(Gauge::TcpConnections, self.connections.len() as u64);
        counters.set(Gauge::TcpHalfOpen, self.half_open.len() as u64);
        counters.set(Gauge::TcpTimeWait, self.time_waits.len() as u64);
        counters.set(Gauge::TcpHeldBytes, self.assemblers.held_bytes() as u64);
        counters.set(Gauge::TcpHeldBuffers, self.assemblers.held_buffers() as u64);
        counters.set(Gauge::TcpReneged, self.assemblers.runs_given_up());
        counters.set(Gauge::TcpProbeMax, self.table.probe_max() as u64);
        counters.set(Gauge::TcpHeldFrames, (self.queued_frames + self.assemblers.held_frames()) as u64);
    }

    /// Lets go of everything; peers are reset.
    pub fn stop(&mut self, now: Instant, out: &mut Outbox) {
        for i in 0..self.connections.hot.len() {
            if self.connections.hot[i].state != State::Closed {
                self.reset(now, i, End::Stopping, out);
            }
        }
        while let Some(event) = self.poll_event() {
            if let Event::Received { frame, .. } = event {
                out.drop(frame, Drop::Stopping);
            }
        }
        self.touched.clear();
    }
}

/// A segment's flow, and where it may be found.
struct Staged {
    key: FlowKey,
    hash: u64,
    candidate: Option<Place>,
}

/// The flow of a packet, from our side.
#[inline]
fn key_of(packet: &Packet, frame: &Frame) -> FlowKey {
    let header = &frame.head()[packet.transport_at..];
    let ports = [u16::from_be_bytes([header[2], header[3]]), u16::from_be_bytes([header[0], header[1]])];
    FlowKey::new(packet.destination, ports[0], packet.source, ports[1])
}

/// rfc5961 7 b: challenges are few, by connection (a limit over all would tell strangers about each other, CVE-2016-5696). Says whether one may be
/// sent now, and counts it.
fn may_challenge(now: Instant, interval_us: u32, next_at: &mut Stamp, counters: &mut Counters) -> bool {
    let stamp = Stamp::of(now);
    if next_at.is_after(stamp) && next_at.since(stamp) <= interval_us {
        counters.count(Counter::TcpChallengesLimited);
        return false;
    }
    *next_at = stamp.plus_us(interval_us);
    counters.count(Counter::TcpChallenges);
    true
}

/// An acknowledgment waits this long for data to travel with (RFC 9293 section 3.8.6.3 MUST-40: below 500 ms).
const ACK_DELAY: Duration = Duration::from_ms(40);
