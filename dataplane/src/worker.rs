//! One core's loop. [`Worker::turn`] is its body in production and its step in the simulator.
//!
//! ```text
//!   turn(now):  for each port: take a burst -> read the other workers' notices -> push each frame up to the net layer,
//!                              then all TCP segments of the burst to TCP, then its events to the application
//!               timers that are due
//!               flush TCP: what all this has led to is sent
//!               notices to the other workers -> offer the backlog to each port -> free dead frames together
//! ```
//! Two orders matter. Notices are read after a burst is taken and written before frames are offered: so whoever receives the answer to a
//! question already knows that it was asked, whichever worker asked (see [`crate::net`], neighbours).

use crate::{
    application::Application,
    capture::{Capture, Captures},
    counters::{Counter, Counters, Gauge},
    drops::Drop,
    exchange::{Gateway, Update},
    limits::{NOTICES_MAX, TURN_STALL},
    net::{ErrorMessage, Net, Notice, Output, PortIndex, Topology, protocol},
    outbox::Outbox,
    port::{Burst, Frame, Pool, Port},
    services::{ServiceListener, Services},
    tcp::{Segments, Tcp, TcpOptions},
    time::{Duration, Instant},
};
use crossbeam_queue::ArrayQueue;
use std::sync::{Arc, atomic::AtomicU64};

/// What the workers of one data plane tell each other. Clones are the same mailboxes.
#[derive(Clone)]
pub struct Mailboxes(Arc<[ArrayQueue<Notice>]>);

impl Mailboxes {
    /// One box for each worker.
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| ArrayQueue::new(NOTICES_MAX)).collect())
    }
}

/// How a worker is made; the ports come apart.
pub struct WorkerOptions {
    /// Its place among the workers, which is also its queue on each port.
    pub index: usize,
    /// Where its frames come from.
    pub pool: Pool,
    /// Interfaces and routes.
    pub topology: Arc<Topology>,
    /// All workers' mailboxes.
    pub mailboxes: Mailboxes,
    /// Keys its tables and its jitter.
    pub seed: u64,
    /// TCP connections that it holds at most.
    pub connections_max: usize,
    /// What it serves.
    pub services: Vec<ServiceListener>,
    /// Compare each frame's queue with the one that Toeplitz predicts (costs some 20 ns a frame).
    pub verify_rss: bool,
}

/// What a turn did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// A frame came in or went out.
    pub moved: bool,
    /// Other workers have notices to read, so whoever of them sleeps is to be woken.
    pub noticed: bool,
}

/// One core: its queues, its tables, its counters. It shares nothing but the mailboxes.
pub struct Worker<P: Port, A: Application = Services> {
    index: usize,
    ports: Vec<P>,
    net: Net,
    tcp: Tcp,
    application: A,
    out: Outbox,
    mailboxes: Mailboxes,
    verify_rss: bool,
    turn_max: Duration,
    /// Somebody looks at frames.
    captures: Option<Box<Captures>>,
    /// From `now` to the time of day, in nanoseconds.
    to_unix_ns: u64,
}

impl<P: Port> Worker<P> {
    /// A worker over its queue of each port, in the order in which the topology numbers them.
    pub fn new(ports: Vec<P>, mut options: WorkerOptions) -> Self {
        let services = Services::new(std::mem::take(&mut options.services));
        Self::with(ports, options, services)
    }
}

impl<P: Port> Worker<P, Gateway> {
    /// Serves the next snapshot from now on; between two turns.
    pub fn update(&mut self, now: Instant, update: Update) {
        self.application.update(now, update, &mut self.tcp, &mut self.out);
    }
}

impl<P: Port, A: Application> Worker<P, A> {
    /// The same with another application in the services' place.
    pub fn with(ports: Vec<P>, options: WorkerOptions, application: A) -> Self {
        let tcp = TcpOptions {
            connections_max: options.connections_max,
            ..TcpOptions::with_ports(options.seed, options.pool.capacity(), ports.len())
        };
        Self::with_tcp(ports, options, tcp, application)
    }

    /// The same with a TCP that is made in another way than usual.
    pub fn with_tcp(ports: Vec<P>, options: WorkerOptions, tcp: TcpOptions, mut application: A) -> Self {
        let alone = options.mailboxes.0.len() == 1;
        let mut tcp = Tcp::new(Arc::clone(&options.topology), tcp);
        application.start(&mut tcp);
        Self {
            net: Net::new(options.topology, options.index == 0, options.seed),
            tcp,
            application,
            out: Outbox::new(options.pool, ports.len(), alone),
            index: options.index,
            ports,
            mailboxes: options.mailboxes,
            verify_rss: options.verify_rss,
            turn_max: Duration::ZERO,
            captures: None,
            to_unix_ns: 0,
        }
    }

    /// Moves everything that can move.
    pub fn turn(&mut self, now: Instant) -> Turn {
        let (mut moved, mut is_pressed) = (false, false);
        for port in 0..self.ports.len() {
            let mut burst = Burst::new();
            self.ports[port].rx_burst(&mut burst);
            self.read_notices(now);
            moved |= !burst.is_empty();
            is_pressed |= burst.is_full();
            if let Some(captures) = &mut self.captures {
                captures.receive(now.as_ns().wrapping_add(self.to_unix_ns), PortIndex(port as u8), &burst);
            }
            self.handle_burst(now, PortIndex(port as u8), burst);
        }
        if now >= self.net.next_deadline() {
            self.net.handle_timers(now, &mut self.out);
        }
        self.turn_tcp(now);
        let noticed = self.write_notices();
        for port in 0..self.ports.len() {
            moved |= self.flush(now, port);
        }
        if self.application.handle_rest(now, is_pressed, &mut self.tcp, &mut self.out) {
            self.settle_tcp(now);
            for port in 0..self.ports.len() {
                moved |= self.flush(now, port);
            }
        }
        self.out.free_discards();
        self.out.counters.count(Counter::Turns);
        self.out.counters.add(Counter::BusyTurns, u64::from(moved));
        Turn { moved, noticed }
    }

    /// What is due in TCP and above it, and what that and all that was received have led to.
    fn turn_tcp(&mut self, now: Instant) {
        if now >= self.tcp.next_deadline() {
            self.tcp.handle_timers(now, &mut self.out);
        }
        if now >= self.application.next_deadline() {
            self.application.handle_timers(now, &mut self.tcp, &mut self.out);
        }
        self.settle_tcp(now);
    }

    /// What all that has happened has led to.
    fn settle_tcp(&mut self, now: Instant) {
        self.tell_application(now);
        self.tcp.note_outside(self.application.held());
        self.tcp.flush(now, &mut self.out);
        // The flush may have ended connections.
        self.tell_application(now);
        self.send_segments(now);
    }

    fn tell_application(&mut self, now: Instant) {
        while let Some(event) = self.tcp.poll_event() {
            self.application.handle_event(now, event, &mut self.tcp, &mut self.out);
        }
    }

    fn send_segments(&mut self, now: Instant) {
        while let Some((answer, frame)) = self.tcp.poll_transmit() {
            self.net.send(now, &answer, frame, &mut self.out);
        }
    }

    /// Whether another worker has told something that was not read yet.
    pub fn has_notices(&self) -> bool {
        !self.mailboxes.0[self.index].is_empty()
    }

    /// Whether frames wait for room in a port.
    pub fn has_backlog(&self) -> bool {
        self.out.backlog() > 0
    }

    /// When the next turn has something to do though nothing arrives. Earlier than `now` means at once.
    pub fn next_deadline(&self) -> Instant {
        if self.has_backlog() {
            return Instant::ZERO;
        }
        self.net.next_deadline().min(self.tcp.next_deadline()).min(self.application.next_deadline())
    }

    /// Notes how long a turn took, by the driver's clock. Says whether that was a stall.
    pub fn note_turn(&mut self, length: Duration) -> bool {
        self.turn_max = self.turn_max.max(length);
        let stalled = length > TURN_STALL;
        self.out.counters.add(Counter::StalledTurns, u64::from(stalled));
        stalled
    }

    /// What time of day it is, in nanoseconds of 1970; captures say it.
    pub fn set_time_of_day(&mut self, now: Instant, unix_ns: u64) {
        self.to_unix_ns = unix_ns.wrapping_sub(now.as_ns());
    }

    /// Copies frames from now on.
    pub fn begin_capture(&mut self, capture: Capture) {
        self.captures.get_or_insert_default().begin(capture);
    }

    /// And the capture of this slot no longer.
    pub fn end_capture(&mut self, slot: u8) {
        self.captures.take_if(|captures| !captures.end(slot));
    }

    /// Copies counters and gauges to where others read them.
    pub fn publish(&mut self, now: Instant, cells: &[AtomicU64]) {
        self.update_gauges(now);
        self.out.counters.publish(cells);
    }

    fn update_gauges(&mut self, now: Instant) {
        let gauges = [
            (Gauge::FramesInUse, self.out.pool.in_use() as u64),
            (Gauge::FramesCapacity, self.out.pool.capacity() as u64),
            (Gauge::FramesHeld, self.held() as u64),
            (Gauge::Neighbors, self.net.neighbor_count() as u64),
            (Gauge::TurnUsMax, self.turn_max.as_us()),
            (Gauge::TurnStartedNs, now.as_ns()),
        ];
        for (gauge, value) in gauges {
            self.out.counters.set(gauge, value);
        }
        self.tcp.publish(&mut self.out.counters);
    }

    /// Frames between receive and their end: they wait for a neighbour, for room to be sent, for an acknowledgment, or for what comes before them.
    pub fn held(&self) -> usize {
        self.net.held() + self.out.backlog() + self.tcp.held() + self.application.held()
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.out.counters
    }
    /// Its net layer, to look at.
    pub fn net(&self) -> &Net {
        &self.net
    }
    /// Its TCP, to look at.
    pub fn tcp(&self) -> &Tcp {
        &self.tcp
    }
    /// What stands above it, and TCP for it to command. A flush follows with the next turn.
    pub fn application_mut(&mut self) -> (&mut A, &mut Tcp, &mut Outbox) {
        (&mut self.application, &mut self.tcp, &mut self.out)
    }
    /// What stands above TCP.
    pub fn application(&self) -> &A {
        &self.application
    }
    /// Its pool.
    pub fn pool(&self) -> &Pool {
        &self.out.pool
    }
    /// Its queue of a port.
    pub fn port_mut(&mut self, port: usize) -> &mut P {
        &mut self.ports[port]
    }

    /// Sends what the ports still take and lets go of everything else.
    pub fn stop(&mut self, now: Instant) {
        self.tcp.stop(now, &mut self.out);
        self.tell_application(now);
        self.application.stop(&mut self.out);
        self.send_segments(now);
        self.net.stop(&mut self.out);
        for port in 0..self.ports.len() {
            self.flush(now, port);
            while let Some(frame) = self.out.queue(port).pop() {
                self.out.drop(frame, Drop::Stopping);
            }
        }
        self.out.free_discards();
    }

    #[inline]
    fn handle_burst(&mut self, now: Instant, port: PortIndex, burst: Burst) {
        self.out.counters.add(Counter::RxFrames, burst.len() as u64);
        let mut segments = Segments::new();
        for frame in burst {
            self.out.counters.add(Counter::RxBytes, frame.len() as u64);
            if self.verify_rss {
                self.check_queue(port, &frame);
            }
            if let Some(output) = self.net.handle(now, port, frame, &mut self.out) {
                self.handle_output(now, output, &mut segments);
            }
        }
        if !segments.is_empty() {
            self.tcp.handle_burst(now, &mut segments, &mut self.out);
            std::hint::black_box(self.application.touch(&self.tcp));
            self.tell_application(now);
        }
    }

    /// Segments wait for the rest of their burst. Nobody listens for UDP, and the datagram's sender learns it.
    fn handle_output(&mut self, now: Instant, output: Output, segments: &mut Segments) {
        match output {
            Output::Packet(packet, frame) if packet.protocol == protocol::TCP => segments.push((packet, frame)),
            Output::Packet(packet, frame) => {
                self.net.refuse(now, &packet, frame, ErrorMessage::PortUnreachable, Drop::UdpNoListener, &mut self.out);
            }
            Output::Error(error, frame) => {
                if self.tcp.handle_icmp_error(now, &error, &mut self.out) {
                    self.out.consume(frame);
                } else {
                    self.out.drop(frame, Drop::IcmpErrorNoFlow);
                }
            }
        }
    }

    fn check_queue(&mut self, port: PortIndex, frame: &Frame) {
        let Some(rss) = &self.ports[usize::from(port.0)].capabilities().rss else { return };
        let Some(flow) = rss.flow(frame.head()) else { return };
        self.out.counters.count(Counter::RssCheckedFrames);
        let wrong = usize::from(rss.queue(&flow)) != self.index;
        self.out.counters.add(Counter::WrongQueueFrames, u64::from(wrong));
    }

    fn read_notices(&mut self, now: Instant) {
        let mailbox = &self.mailboxes.0[self.index];
        // No more than were there at first: a busy writer cannot hold us here.
        for _ in 0..mailbox.len() {
            let Some(notice) = mailbox.pop() else { break };
            self.net.handle_notice(now, notice, &mut self.out);
        }
    }

    /// Says whether there were any.
    fn write_notices(&mut self) -> bool {
        let mut lost = 0;
        let mut any = false;
        for notice in self.out.take_notices() {
            any = true;
            for (_, mailbox) in self.mailboxes.0.iter().enumerate().filter(|(index, _)| *index != self.index) {
                lost += u64::from(mailbox.push(notice).is_err());
            }
        }
        self.out.counters.add(Counter::NoticesLost, lost);
        any
    }

    /// Offers a port what waits for it. Says whether it took any.
    fn flush(&mut self, now: Instant, port: usize) -> bool {
        let queue = self.out.queue(port);
        if queue.is_empty() {
            return false;
        }
        let (frames, bytes) = (queue.len(), queue.bytes());
        if let Some(captures) = &mut self.captures {
            captures.offer(now.as_ns().wrapping_add(self.to_unix_ns), PortIndex(port as u8), queue);
        }
        self.ports[port].tx_burst(queue);
        if let Some(captures) = &mut self.captures {
            captures.send(frames - queue.len());
        }
        let sent = (frames - queue.len()) as u64;
        let sent_bytes = (bytes - queue.bytes()) as u64;
        self.out.counters.add(Counter::TxFrames, sent);
        self.out.counters.add(Counter::TxBytes, sent_bytes);
        sent > 0
    }
}
