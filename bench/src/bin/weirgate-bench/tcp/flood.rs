//! A SYN flood against a thousand connections that exchange.
//!
//! ```text
//!   burst of 32 exchanges | burst of 32 SYNs from anywhere | burst of 32 exchanges | ..
//!   '------ timed -------'  '------ timed apart ---------'
//! ```
//!
//! Frames of a flood cost what they cost; that is shown by itself. What is promised is that they do not make others' exchanges dearer, that
//! they take no memory, and that a client gets in while they last.

use super::{
    exchange::Clock,
    idle::resident,
    peer::{BURST, Peer, Server, syn},
};
use anyhow::Context;
use std::array;
use weirgate_bench::{Figure, median};
use weirgate_dataplane::time::Duration;

const CONNECTIONS: u32 = 1_000;
/// Segments of the flood.
const SYNS: usize = 10_000_000;
/// The flood comes in so many parts, with a part of the same length without flood before each, and a client in each that connects.
const PARTS: usize = 10;

pub(super) fn measure<S: Server>(mut server: S) -> anyhow::Result<Vec<Figure>> {
    let mut clock = Clock::start();
    let mut peer = Peer::new(0..CONNECTIONS, 1);
    peer.connect(&mut clock, Duration::ZERO, &mut server)?;
    let mut flood = Flood { random: fastrand::Rng::with_seed(2), packets: Vec::new() };
    let bursts = SYNS / PARTS / BURST;
    // Warms up: a full table of half-open connections is part of what is measured, and not its first growth; nor are the queues for each
    // time that their SYN-ACKs are repeated.
    for wait in [0, 1, 2, 4, 8, 16] {
        clock.skip(Duration::from_secs(wait));
        // What that has made due is sent, as much in a turn as a port takes, before anybody is asked again.
        for _ in 0..CONNECTIONS {
            server.turn(clock.now(), &[], &mut |_| {});
        }
        run(&clock, &mut server, &mut peer, Some(&mut flood), bursts / 4)?;
    }

    let before = resident()?;
    let (mut quiet, mut flooded, mut syns) = (Vec::new(), Vec::new(), Vec::new());
    let mut connected = 0;
    for part in 0..PARTS as u32 {
        quiet.push(run(&clock, &mut server, &mut peer, None, bursts)?.exchange_ns);
        let spent = run(&clock, &mut server, &mut peer, Some(&mut flood), bursts)?;
        flooded.push(spent.exchange_ns);
        syns.push(spent.syn_ns);
        let mut client = Peer::new(CONNECTIONS + part..CONNECTIONS + part + 1, u64::from(part));
        client.connect(&mut clock, Duration::ZERO, &mut server).context("a client could not connect in the flood")?;
        client.exchange(clock.now(), &mut server).context("a client could connect in the flood, and nothing more")?;
        connected += 1;
    }
    let grown = resident()? - before;
    let middle = |values| median(values).unwrap_or(f64::NAN);
    let (quiet, flooded) = (middle(quiet), middle(flooded));
    Ok(vec![
        Figure::at_least("tcp.flood_rate_kept", quiet / flooded, "ratio", 0.8),
        Figure::shown("tcp.flood_syn_ns", middle(syns), "ns"),
        Figure::at_most("tcp.flood_memory_growth", grown as f64 / f64::from(1 << 20), "MiB", 1.0),
        Figure::at_least("tcp.flood_clients_connected", f64::from(connected), "clients", PARTS as f64),
    ])
}

#[derive(Clone, Copy)]
struct Spent {
    /// For one exchange.
    exchange_ns: f64,
    /// For one segment of the flood.
    syn_ns: f64,
}

fn run(
    clock: &Clock,
    server: &mut impl Server,
    peer: &mut Peer,
    mut flood: Option<&mut Flood>,
    bursts: usize,
) -> anyhow::Result<Spent> {
    let (mut exchanging_ns, mut flooding_ns) = (0, 0);
    let mut exchanges = 0;
    for _ in 0..bursts {
        if let Some(flood) = &mut flood {
            flood.prepare(clock);
            let arrived: [&[u8]; BURST] = array::from_fn(|i| flood.packets[i].as_slice());
            let from = clock.now();
            server.turn(from, &arrived, &mut |_| {});
            flooding_ns += clock.now().since(from).as_ns();
        }
        let from = clock.now();
        exchanges += peer.exchange(from, server)?;
        exchanging_ns += clock.now().since(from).as_ns();
    }
    Ok(Spent {
        exchange_ns: exchanging_ns as f64 / exchanges as f64,
        syn_ns: flooding_ns as f64 / (bursts * BURST) as f64,
    })
}

/// SYNs from random addresses and ports, with random sequence numbers.
struct Flood {
    random: fastrand::Rng,
    packets: Vec<Vec<u8>>,
}

impl Flood {
    fn prepare(&mut self, clock: &Clock) {
        let now = clock.now();
        self.packets.resize_with(BURST, || syn(([0; 4], 0), 0, now));
        for packet in &mut self.packets {
            // Addresses that can be a host's, and are not the clients'.
            let address = self.random.u32(0x0b00_0000..0x7f00_0000).to_be_bytes();
            packet[12..16].copy_from_slice(&address);
            packet[20..22].copy_from_slice(&self.random.u16(1..).to_be_bytes());
            packet[24..28].copy_from_slice(&self.random.u32(..).to_be_bytes());
        }
    }
}
