//! One worker answers echo requests from memory: what the net layer costs, without a device. For counting instructions:
//!
//! ```sh
//! cargo build --release -p weirgate-bench --example echo
//! valgrind --tool=callgrind target/release/examples/echo 2000
//! ```
//! The argument is the number of bursts of 32 frames. Prints nanoseconds per frame, the memory port's own work included.

use std::{sync::Arc, time::Instant as Wall};
use weirgate_dataplane::{
    limits::BURST_MAX,
    net::{EthernetAddress, Interface, PortIndex, Topology, checksum::Sum},
    port::{Capabilities, Offloads, Pool, SimPort},
    time::Instant,
    worker::{Mailboxes, Worker, WorkerOptions},
};

const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn main() {
    let bursts: u64 = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(100_000);
    let pool = Pool::heap(1_024);
    let addresses = ["10.99.0.1/24", "fd99::1/64"].map(|a| a.parse().expect("an address")).to_vec();
    let mac = EthernetAddress(OURS);
    let interface =
        Interface { port: PortIndex(0), vlan: None, mac, mtu: 1500, offloads: Offloads::default(), addresses };
    let topology = Arc::new(Topology::new(vec![interface], vec![]).expect("a sound topology"));
    let options = WorkerOptions {
        index: 0,
        pool: pool.clone(),
        topology,
        mailboxes: Mailboxes::new(1),
        seed: 1,
        connections_max: 1_024,
        services: Vec::new(),
        verify_rss: false,
    };
    let mut worker = Worker::new(vec![SimPort::new(Capabilities::plain("p0", OURS, 1500))], options);

    let send = |worker: &mut Worker<SimPort>, bytes: &[u8]| {
        let mut frame = pool.alloc().expect("a frame");
        frame.append_slice(bytes).expect("room");
        worker.port_mut(0).arrive(frame);
    };
    let mut ask = vec![0xff; 6];
    ask.extend_from_slice(&THEIRS);
    ask.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    ask.extend_from_slice(&[&THEIRS[..], &[10, 99, 0, 2], &[0; 6], &[10, 99, 0, 1]].concat());
    send(&mut worker, &ask);
    let request = request();
    let mut now = Instant::from_ns(1);
    worker.turn(now);

    let mut answered = 0;
    #[allow(clippy::disallowed_methods)] // a benchmark is what reads the clock
    let started = Wall::now();
    for _ in 0..bursts {
        for _ in 0..BURST_MAX {
            send(&mut worker, &request);
        }
        now = now + weirgate_dataplane::time::Duration::from_us(3);
        worker.turn(now);
        while let Some(frame) = worker.port_mut(0).take_sent() {
            answered += u64::from(frame.head()[34] == 0);
        }
    }
    assert!(answered >= bursts * BURST_MAX as u64, "every request is answered");
    println!("{:.1} ns a frame", started.elapsed().as_nanos() as f64 / answered as f64);
}

/// 64 bytes with the frame check sequence.
fn request() -> Vec<u8> {
    let mut f = [OURS, THEIRS].concat();
    f.extend_from_slice(&[8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 1, 0, 0, 10, 99, 0, 2, 10, 99, 0, 1]);
    let sum = Sum::default().add(&f[14..34]).checksum();
    f[24..26].copy_from_slice(&sum.to_be_bytes());
    f.extend_from_slice(&[8, 0, 0, 0, 0x77, 0x65, 0, 1]);
    f.resize(60, 0x20);
    let sum = Sum::default().add(&f[34..]).checksum();
    f[36..38].copy_from_slice(&sum.to_be_bytes());
    f
}
