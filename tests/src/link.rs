//! A data plane without devices, with its link: a worker in a thread, and the link's end of its own in another.

use std::{
    io::{Read, Write},
    net::IpAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use weirgate_dataplane::{
    exchange::{Gateway, GatewayOptions, Home, Planner},
    link::{
        desk::Desk,
        message::{Answer, Ask, Event, PROTOCOL, Question, Said},
        server::Server,
        wire::{Inbox, decode, encode},
    },
    net::{Cidr, EthernetAddress, Interface, PortIndex, Topology},
    port::{Capabilities, Offloads, Pool, SimPort},
    snapshot::Snapshot,
    time::Instant,
    worker::{Mailboxes, Worker, WorkerOptions},
};

/// A data plane that nobody sends frames to. Ends on drop.
pub struct Plane {
    path: PathBuf,
    /// The link, then the workers: it waits for them.
    threads: Vec<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Plane {
    /// One with so many workers, which serve this; its socket is at `path`.
    pub fn new(path: &Path, snapshot: &Snapshot, workers: usize) -> Self {
        let desks: Arc<[Desk]> = (0..workers).map(|_| Desk::default()).collect();
        let mut planner = Planner::default();
        let first = planner.plan(snapshot.clone()).expect("a sound snapshot");
        let mut server = Server::bind(path, planner, Arc::clone(&desks), |_| {}, "0").expect("a socket");
        let mut ends = Vec::new();
        for index in 0..workers {
            let options = GatewayOptions {
                seed: 1,
                connections_max: 64,
                home: Home::default(),
                keeps_records: false,
                probes: index == 0,
            };
            let gateway = Gateway::planned(first.clone(), options);
            let (desks, bell) = (Arc::clone(&desks), server.bell());
            ends.push(until_stopped(move |stop| {
                let mut worker = worker(gateway, index);
                let mut now = Instant::from_ns(1_000_000);
                while !stop.load(Ordering::Relaxed) {
                    if now.as_ns().is_multiple_of(1_000_000) {
                        asks_for_its_address(&mut worker);
                    }
                    worker.turn(now);
                    while worker.port_mut(0).take_sent().is_some() {}
                    if worker.serve(now, index as u32, &desks[index]) || worker.clear_desk(&desks[index]) {
                        bell.ring();
                    }
                    now = now + weirgate_dataplane::time::Duration::from_us(10);
                    thread::yield_now();
                }
                worker.stop(now);
            }));
        }
        let link = until_stopped(move |stop| {
            while !stop.load(Ordering::Relaxed) {
                server.turn(Duration::from_millis(50));
            }
        });
        Self { path: path.to_owned(), threads: std::iter::once(link).chain(ends).collect() }
    }

    /// Somebody who has said hello.
    pub fn peer(&self) -> Peer {
        let mut peer = self.stranger();
        let hello = Ask::Hello { protocol: PROTOCOL, client: "test".into() };
        assert!(matches!(peer.asks(hello), Answer::Welcome(_)));
        peer
    }

    /// Somebody who has not.
    pub fn stranger(&self) -> Peer {
        let stream = UnixStream::connect(&self.path).expect("the link listens");
        Peer { stream, inbox: Inbox::default(), id: 0, events: Vec::new() }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        for (stop, thread) in self.threads.drain(..) {
            stop.store(true, Ordering::Relaxed);
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "a thread of the data plane panicked");
        }
    }
}

fn until_stopped(body: impl FnOnce(&AtomicBool) + Send + 'static) -> (Arc<AtomicBool>, JoinHandle<()>) {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    (stop, thread::spawn(move || body(&stopped)))
}

fn worker(gateway: Gateway, index: usize) -> Worker<SimPort, Gateway> {
    let interface = Interface {
        port: PortIndex(0),
        vlan: None,
        mac: EthernetAddress([2, 0, 0, 0, 0, 1]),
        mtu: 1_500,
        offloads: Offloads::default(),
        addresses: vec![Cidr { address: IpAddr::from([10, 0, 0, 1]), prefix: 24 }],
    };
    let options = WorkerOptions {
        index: 0,
        pool: Pool::heap(1_024),
        topology: Arc::new(Topology::new(vec![interface], Vec::new()).expect("a topology")),
        mailboxes: Mailboxes::new(1),
        seed: index as u64,
        connections_max: 64,
        services: Vec::new(),
        verify_rss: false,
    };
    Worker::with(vec![SimPort::new(Capabilities::plain("p0", [2, 0, 0, 0, 0, 1], 1_500))], options, gateway)
}

/// Once in a while somebody asks for its address, so that something passes: [`ASKS`].
fn asks_for_its_address(worker: &mut Worker<SimPort, Gateway>) {
    let mut frame = worker.pool().alloc().expect("the pool is not empty");
    frame.append_slice(&ASKS).expect("it fits");
    worker.port_mut(0).arrive(frame);
}

/// ARP: who has 10.0.0.1? Tell 10.0.0.2.
pub const ASKS: [u8; 42] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2,
    0, 0, 0, 0, 0, 0, 10, 0, 0, 1,
];

/// A peer of the link.
pub struct Peer {
    stream: UnixStream,
    inbox: Inbox,
    id: u64,
    /// What it was told unasked.
    pub events: Vec<Event>,
}

impl Peer {
    /// Asks and waits for the answer.
    pub fn asks(&mut self, ask: Ask) -> Answer {
        self.id += 1;
        self.writes(&encode(&Question { id: self.id, ask }).expect("a message"));
        self.answer().expect("an answer").1
    }

    /// Bytes, whatever they are.
    pub fn writes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the link reads");
    }

    /// The next answer and the number of its question; `None`: the link has closed.
    pub fn answer(&mut self) -> Option<(u64, Answer)> {
        loop {
            match self.said()? {
                Said::Answer { id, answer } => return Some((id, answer)),
                Said::Event(event) => self.events.push(event),
            }
        }
    }

    /// Waits for the next thing that it is told unasked, which may have come before.
    pub fn event(&mut self) -> Event {
        if !self.events.is_empty() {
            return self.events.remove(0);
        }
        match self.said().expect("the link stands") {
            Said::Event(event) => event,
            Said::Answer { answer, .. } => panic!("nobody has asked: {answer:?}"),
        }
    }

    fn said(&mut self) -> Option<Said> {
        loop {
            if let Some(content) = self.inbox.pop().expect("no longer than it may be") {
                return Some(decode(content).expect("a message"));
            }
            let mut bytes = [0; 65_536];
            match self.stream.read(&mut bytes) {
                Ok(0) | Err(_) => return None,
                Ok(len) => self.inbox.push(&bytes[..len]),
            }
        }
    }
}
