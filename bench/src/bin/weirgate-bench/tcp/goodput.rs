//! Throughput of one sender over a path that loses packets, beside the Linux kernel's CUBIC over the same path to the same receiver.
//!
//! ```text
//!   namespace A             this process, one loop on one core                       namespace B
//!   sources (Linux) -> TUN -> lanes 0..n,  seeds 1..n   bottleneck, loss, delay -> TUN -> sinks (Linux)
//!              our engine -> lanes n..2n, seeds 1..n
//! ```
//!
//! All flows run at the same time, each in its own lanes ([`super::path`]), so that all get the same machine. A path that loses 1 % of the packets
//! is slow (some 10 Mbit/s at 20 ms), and the loop is idle for most of the time. A flow over a path without loss shows what the loop itself can carry.

use super::{
    exchange::Clock,
    netns::Netns,
    path::{Counts, Path, PathOptions},
    sender::Sender,
};
use anyhow::Context;
use rustix::{
    net::sockopt::{Timeout, set_socket_timeout, set_tcp_congestion},
    thread::{CpuSet, sched_setaffinity},
};
use smoltcp::{
    phy::{Device as _, RxToken as _, TunTapInterface, TxToken as _},
    time::Instant as SmoltcpInstant,
};
use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration as StdDuration,
};
use weirgate_bench::{Figure, median};
use weirgate_dataplane::time::{Duration, Instant};

const SOURCE: [u8; 4] = [10, 81, 0, 1];
const SINK: [u8; 4] = [10, 81, 0, 2];
/// The sink of the first lane; the others follow.
const PORT: u16 = 5_000;

const ROUND_TRIP: Duration = Duration::from_ms(20);
const RATE: u64 = 1_000_000_000;
const LOSS_PPM: u32 = 10_000;
/// A bandwidth-delay product.
const QUEUE: usize = (RATE / 8 * ROUND_TRIP.as_ns() / 1_000_000_000) as usize;

/// Both kernels: windows for several bandwidth-delay products, nothing remembered of earlier flows, no IPv6 chatter.
const SETTINGS: [(&str, &str); 5] = [
    ("ipv4/tcp_no_metrics_save", "1"),
    ("ipv4/tcp_rmem", "4096 131072 33554432"),
    ("ipv4/tcp_wmem", "4096 65536 33554432"),
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
];

pub(super) struct GoodputOptions {
    /// Paths with loss, a seed each.
    pub(super) seeds: usize,
    pub(super) seconds: u64,
    /// For everything but the loop.
    pub(super) other_cores: CpuSet,
}

pub(super) fn measure(options: &GoodputOptions) -> anyhow::Result<Vec<Figure>> {
    // Shorter, and each alone: it is only to show that the loop is no bottleneck.
    let clean = |linux: &[u64], ours: &[u64]| run(linux, ours, 0, options.seconds.min(5), options.other_cores);
    let (clean_linux, clean_ours) = (clean(&[0], &[])?, clean(&[], &[0])?);
    let seeds: Vec<u64> = (1..=options.seeds as u64).collect();
    let lossy = run(&seeds, &seeds, LOSS_PPM, options.seconds, options.other_cores)?;
    let (linux, ours) = lossy.split_at(seeds.len());
    for ((seed, ours), linux) in seeds.iter().zip(ours).zip(linux) {
        eprintln!("path {seed}: ours {:.2}, Linux {:.2} Mbit/s", ours.mbits, linux.mbits);
    }
    let ratios = ours.iter().zip(linux).map(|(ours, linux)| ours.mbits / linux.mbits).collect();
    let offered: u64 = lossy.iter().map(|flow| flow.counts.offered).sum();
    let share =
        |count: fn(&Counts) -> u64| lossy.iter().map(|flow| count(&flow.counts)).sum::<u64>() as f64 / offered as f64;
    let middle = |flows: &[Flow]| median(flows.iter().map(|flow| flow.mbits).collect()).context("no flows");
    Ok(vec![
        Figure::at_least("tcp.loss_goodput_vs_linux", median(ratios).context("no flows")?, "ratio", 0.9),
        Figure::shown("tcp.loss_goodput.ours", middle(ours)?, "Mbit/s"),
        Figure::shown("tcp.loss_goodput.linux", middle(linux)?, "Mbit/s"),
        Figure::shown("tcp.loss_goodput.ours_without_loss", middle(&clean_ours)?, "Mbit/s"),
        Figure::shown("tcp.loss_goodput.linux_without_loss", middle(&clean_linux)?, "Mbit/s"),
        Figure::shown("tcp.loss_goodput.lost", share(|counts| counts.lost), "ratio"),
        Figure::shown("tcp.loss_goodput.late", share(|counts| counts.late), "ratio"),
    ])
}

/// What came of one flow.
struct Flow {
    mbits: f64,
    counts: Counts,
}

/// Flows of the kernel, then flows of ours, over as many paths as there are seeds.
fn run(linux: &[u64], ours: &[u64], loss_ppm: u32, seconds: u64, cores: CpuSet) -> anyhow::Result<Vec<Flow>> {
    let (source, sink) = (Netns::create(&SETTINGS)?, Netns::create(&SETTINGS)?);
    let (mut source_tun, mut sink_tun) = (source.tun(SOURCE)?, sink.tun(SINK)?);
    let options = |loss_ppm, seed| PathOptions {
        delay: Duration::from_ns(ROUND_TRIP.as_ns() / 2),
        rate: RATE,
        queue: QUEUE,
        loss_ppm,
        seed,
    };
    let mut lanes: Vec<Lane> = linux
        .iter()
        .chain(ours)
        .map(|seed| Lane { there: Path::new(options(loss_ppm, *seed)), back: Path::new(options(0, *seed)) })
        .collect();
    let sinks: Vec<Sink> =
        (0..lanes.len()).map(|lane| Sink::start(&sink, cores, lane)).collect::<anyhow::Result<_>>()?;
    let stop = Arc::new(AtomicBool::new(false));
    let sources: Vec<JoinHandle<()>> =
        (0..linux.len()).map(|lane| start_source(&source, cores, lane, &stop)).collect::<anyhow::Result<_>>()?;

    let clock = Clock::start();
    let end = clock.now() + Duration::from_secs(seconds);
    let started = clock.now();
    let mut sender = Sender::new(SOURCE);
    for lane in linux.len()..lanes.len() {
        sender.connect(started, (Ipv4Addr::from(SINK), PORT + lane as u16).into());
    }
    let mut now = started;
    while now < end {
        receive(&mut source_tun, |packet| forward(&mut lanes, packet, now));
        receive(&mut sink_tun, |packet| backward(&mut lanes, packet, now));
        for lane in &mut lanes {
            lane.there.due(now, |packet| transmit(&mut sink_tun, packet));
        }
        let (linux_lanes, our_lanes) = lanes.split_at_mut(linux.len());
        for lane in linux_lanes {
            lane.back.due(now, |packet| transmit(&mut source_tun, packet));
        }
        let mut sent = Vec::new();
        for lane in our_lanes {
            lane.back.due(now, |packet| {
                if sender.take(packet) {
                    sender.turn(now, |packet| sent.push(packet.to_vec()));
                }
            });
        }
        sender.turn(now, |packet| sent.push(packet.to_vec()));
        for packet in sent {
            forward(&mut lanes, &packet, now);
        }
        now = clock.now();
    }
    let length = now.since(started).as_ns() as f64 / 1e9;
    let flows = sinks
        .iter()
        .zip(&lanes)
        .map(|(sink, lane)| Flow {
            mbits: sink.received.load(Relaxed) as f64 * 8.0 / 1e6 / length,
            counts: lane.there.counts,
        })
        .collect();
    stop.store(true, Relaxed);
    for sink in sinks {
        sink.stop();
    }
    for source in sources {
        source.join().expect("a panic ends the process");
    }
    Ok(flows)
}

struct Lane {
    there: Path,
    back: Path,
}

/// From a source: its lane is the sink's port.
fn forward(lanes: &mut [Lane], packet: &[u8], now: Instant) {
    if let Some(lane) = port(packet, 22).and_then(|lane| lanes.get_mut(lane)) {
        lane.there.offer(now, packet);
    }
}

fn backward(lanes: &mut [Lane], packet: &[u8], now: Instant) {
    if let Some(lane) = port(packet, 20).and_then(|lane| lanes.get_mut(lane)) {
        lane.back.offer(now, packet);
    }
}

/// The lane that the port at `at` belongs to; kernels send no IPv4 options.
fn port(packet: &[u8], at: usize) -> Option<usize> {
    let [high, low] = packet.get(at..at + 2)? else { return None };
    if packet[0] != 0x45 || packet[9] != 6 {
        return None;
    }
    u16::from_be_bytes([*high, *low]).checked_sub(PORT).map(usize::from)
}

/// Takes what a kernel has sent, some packets at most.
fn receive(tun: &mut TunTapInterface, mut take: impl FnMut(&[u8])) {
    for _ in 0..64 {
        let Some((arrived, _)) = tun.receive(SmoltcpInstant::ZERO) else { return };
        arrived.consume(&mut take);
    }
}

fn transmit(tun: &mut TunTapInterface, packet: &[u8]) {
    let Some(token) = tun.transmit(SmoltcpInstant::ZERO) else { return };
    token.consume(packet.len(), |bytes| bytes.copy_from_slice(packet));
}

/// How long a thread waits in a socket before it looks whether it is to stop.
const PATIENCE: StdDuration = StdDuration::from_millis(200);

/// A kernel that receives, and counts.
struct Sink {
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Sink {
    fn start(netns: &Netns, cores: CpuSet, lane: usize) -> anyhow::Result<Self> {
        let netns = netns.share()?;
        let received = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (count, stopped) = (received.clone(), stop.clone());
        let (listening, listens) = mpsc::channel();
        let thread = thread::spawn(move || {
            let listener = enter(&netns, &cores).and_then(|()| listen(PORT + lane as u16));
            let (listener, result) =
                listener.map_or_else(|error| (None, Err(error)), |listener| (Some(listener), Ok(())));
            let _ = listening.send(result); // whoever started it waits
            if let Some(listener) = listener {
                sink(&listener, &count, &stopped);
            }
        });
        listens.recv().context("a sink's thread ended")??;
        Ok(Self { received, stop, thread })
    }

    fn stop(self) {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("a panic ends the process");
    }
}

fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::from(SINK), port))?;
    set_socket_timeout(&listener, Timeout::Recv, Some(PATIENCE))?;
    Ok(listener)
}

fn sink(listener: &TcpListener, count: &AtomicU64, stop: &AtomicBool) {
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock && !stop.load(Relaxed) => {}
            Err(_) => return,
        }
    };
    let mut buffer = vec![0; 256 << 10];
    let _ = stream.set_read_timeout(Some(PATIENCE));
    while !stop.load(Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => {
                count.fetch_add(len as u64, Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

fn start_source(netns: &Netns, cores: CpuSet, lane: usize, stop: &Arc<AtomicBool>) -> anyhow::Result<JoinHandle<()>> {
    let (netns, stop) = (netns.share()?, stop.clone());
    Ok(thread::spawn(move || {
        if let Err(error) = enter(&netns, &cores).and_then(|()| source(lane, &stop)) {
            eprintln!("weirgate-bench: a source failed: {error:#}");
        }
    }))
}

fn source(lane: usize, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut stream =
        TcpStream::connect_timeout(&(Ipv4Addr::from(SINK), PORT + lane as u16).into(), StdDuration::from_secs(5))?;
    // Per socket: a namespace's default may be restricted to what everybody may use.
    set_tcp_congestion(&stream, "cubic").context("this kernel has no CUBIC")?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let bytes = vec![0x55; 256 << 10];
    while !stop.load(Relaxed) {
        match stream.write(&bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("write"),
        }
    }
    Ok(())
}

/// Into a namespace, and away from the core of the loop.
fn enter(netns: &Netns, cores: &CpuSet) -> anyhow::Result<()> {
    sched_setaffinity(None, cores).context("cannot leave the loop's core")?;
    netns.enter()
}
