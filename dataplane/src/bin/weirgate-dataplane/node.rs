//! One data plane: EAL, pools, devices, workers; and their end, in the reverse order.
//!
//! ```text
//!   main thread        start -> wait for SIGTERM or SIGINT (port statistics each second, watchdog) -> stop
//!   link thread        takes snapshots and questions from the control daemon, hands updates to the workers
//!   worker thread i    core i's loop over queue i of each port; nothing shared but notices
//! ```

use crate::{
    Options,
    polling::{Loop, Peer, Shared, unix_time},
};
use anyhow::Context;
use std::{
    fs::File,
    io::BufWriter,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use weirgate_dataplane::{
    counters::Counter,
    crypto::{self, Crypto},
    exchange::{Gateway, GatewayOptions, Home, Planner, Update},
    limits::TURN_STALL,
    link::{
        SOCKET,
        desk::Desk,
        server::{LinkBell, Server},
    },
    net::Topology,
    port::{
        Port,
        dpdk::{
            Bell, Clock, Device, DpdkPort, Eal, EalOptions, Memory, Mempool, PORT_CELLS, Sleeper, StartError,
            WorkerThread,
        },
        pcapng::{Capture, CapturedPort},
    },
    shm::{Cell, Column, Header, Region},
    snapshot::{Polling, Snapshot},
    tcp::Tcp,
    worker::{Mailboxes, Worker, WorkerOptions},
};

/// The counters' file; it appears when everything runs.
const COUNTERS: &str = "counters";
/// Threads for heavy steps of handshakes. They run beside the main thread, not on the workers' cores.
const CRYPTO_THREADS: usize = 1;
const TICK: Duration = Duration::from_millis(50);
const TICKS_PER_SECOND: u32 = 20;
/// A worker that has not finished a turn for so many seconds is reported.
const WATCHDOG_SECONDS: u32 = 1;

/// Runs a data plane until it is told to stop.
pub(crate) fn run(snapshot: &Snapshot, options: &Options) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        // The second one ends the process at once: a driver may hold a worker inside a call for ever.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop)).context("signals")?;
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("signals")?;
    }
    std::fs::create_dir_all(&options.run_dir).with_context(|| {
        format!("the folder {} cannot be made; choose another with --run-dir", options.run_dir.display())
    })?;

    // Locals end in reverse order: workers (inside `serve`), devices, EAL.
    let mut eal = start_eal(snapshot, options)?;
    let pools = make_pools(&mut eal, snapshot)?;
    let devices = open_devices(snapshot, &pools)?;
    let capabilities: Vec<_> = devices.iter().map(|d| d.capabilities().clone()).collect();
    let topology = Arc::new(snapshot.topology(&capabilities).map_err(anyhow::Error::msg)?);
    let region = publish_region(snapshot, &options.run_dir)?;
    check_affinity(snapshot, &devices)?;
    report(snapshot, &devices);

    let mut planner = Planner::default();
    planner.set_time_of_day(unix_time().as_secs());
    if let Some(file) = std::env::var_os("SSLKEYLOGFILE").filter(|file| !file.is_empty()) {
        tracing::warn!(
            "SSLKEYLOGFILE is set: the secrets of every TLS connection are written to {}, and whoever reads that reads all traffic",
            file.display()
        );
        planner.set_key_log(Arc::new(rustls::KeyLogFile::new()));
    }
    let first = planner.plan(snapshot.clone()).map_err(|refusal| anyhow::anyhow!("the snapshot: {refusal}"))?;
    let bells = (0..workers_of(snapshot)).map(|_| Ok(Peer::new(Bell::new()?))).collect::<anyhow::Result<_>>()?;
    let desks: Arc<[Desk]> = (0..workers_of(snapshot)).map(|_| Desk::default()).collect();
    let shared = Arc::new(Shared {
        stop: Arc::clone(&stop),
        region: region.clone(),
        peers: bells,
        desks: Arc::clone(&desks),
        crypto: Crypto::new(workers_of(snapshot)),
    });
    let server = bind_link(&options.run_dir, planner, &shared)?;
    let starter =
        Starter { snapshot, options, topology, pools, shared: Arc::clone(&shared), first, link: server.bell() };
    // Declared after the devices: whatever fails from here on, the workers have ended before a device is closed.
    let mut workers = Workers { shared: Arc::clone(&shared), running: Vec::new() };
    match &options.pcap {
        None => starter.start(&mut workers, &devices, |port, _| port)?,
        Some(path) => {
            tracing::warn!(
                "every frame is written to {}: the data plane is slow and loses frames under load",
                path.display()
            );
            let file = File::create(path).with_context(|| format!("the capture {} cannot be made", path.display()))?;
            let capture = Capture::new(BufWriter::new(file), wall_clock_ns)?;
            starter.start(&mut workers, &devices, |port, name| CapturedPort::new(port, name, capture.clone()))?;
        }
    }
    region.appear().context("the counters")?;
    let link = Link::start(server, &shared)?;
    let wake = {
        let shared = Arc::clone(&shared);
        move |worker| shared.wake(worker)
    };
    // Its threads end before the workers that they wake.
    let threads = crypto::Threads::start(&shared.crypto, CRYPTO_THREADS, wake).context("no thread for cryptography")?;
    tracing::info!("serving");
    let failed = watch(&shared, &workers.running, &devices);
    // It waits for workers, so it ends before them.
    drop((link, threads));
    let ended = workers.end();
    publish_ports(&devices, &region, workers_of(snapshot));
    tracing::info!("stopped");
    failed.map_or(Ok(()), Err).and(ended)
}

fn bind_link(run_dir: &Path, planner: Planner, shared: &Arc<Shared>) -> anyhow::Result<Server> {
    let path = run_dir.join(SOCKET);
    let wake = {
        let shared = Arc::clone(shared);
        move |worker| shared.wake(worker)
    };
    Server::bind(&path, planner, Arc::clone(&shared.desks), wake, env!("CARGO_PKG_VERSION"))
        .with_context(|| format!("the link's socket {} cannot be made", path.display()))
}

/// The link's thread. Ends with this.
struct Link {
    stop: Arc<AtomicBool>,
    bell: LinkBell,
    thread: Option<JoinHandle<()>>,
}

impl Link {
    fn start(mut server: Server, shared: &Arc<Shared>) -> anyhow::Result<Self> {
        let (stop, bell) = (server.stop(), server.bell());
        let (stopped, shared) = (Arc::clone(&stop), Arc::clone(shared));
        let body = move || {
            while !stopped.load(Ordering::Relaxed) && !shared.stop.load(Ordering::Relaxed) {
                server.turn(Duration::from_secs(1));
            }
        };
        let thread = thread::Builder::new().name("link".into()).spawn(body).context("no thread for the link")?;
        Ok(Self { stop, bell, thread: Some(thread) })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.bell.ring();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the link's thread ended with a panic");
        }
    }
}

fn workers_of(snapshot: &Snapshot) -> usize {
    snapshot.dataplane.cores.len()
}

fn start_eal(snapshot: &Snapshot, options: &Options) -> anyhow::Result<Eal> {
    let dataplane = &snapshot.dataplane;
    if let (true, Some(port)) = (options.no_huge, dataplane.ports.iter().find(|p| !p.device.kind.is_virtual())) {
        anyhow::bail!("port {}: {} is hardware, which needs hugepages; leave --no-huge out", port.name, port.device);
    }
    dataplane.ports.iter().try_for_each(Device::check)?;
    let allowed = rustix::thread::sched_getaffinity(None).context("the process's CPUs")?;
    let cpus: Vec<u16> = (0..1024).filter(|cpu| allowed.is_set(*cpu)).map(|cpu| cpu as u16).collect();
    if let Some(core) = dataplane.cores.iter().find(|core| !cpus.contains(core)) {
        anyhow::bail!("dataplane.cores: core {core} cannot be used; this process may run on {cpus:?}");
    }
    let memory = if options.no_huge { Memory::Ordinary } else { Memory::Huge };
    let bytes = packet_memory(snapshot);
    let single_file_segments = dataplane.ports.iter().any(|port| port.device.shares_memory());
    Ok(Eal::start(&EalOptions { memory, bytes, cpus, single_file_segments, verbose: options.verbose })?)
}

fn packet_memory(snapshot: &Snapshot) -> usize {
    snapshot.dataplane.packet_bytes()
}

fn make_pools(eal: &mut Eal, snapshot: &Snapshot) -> anyhow::Result<Vec<Mempool>> {
    let frames = snapshot.dataplane.frames_per_worker;
    let room = snapshot.dataplane.frame_room();
    (0..workers_of(snapshot)).map(|i| Ok(eal.pool(&format!("worker{i}"), frames, room)?)).collect()
}

fn open_devices(snapshot: &Snapshot, pools: &[Mempool]) -> anyhow::Result<Vec<Device>> {
    let interrupts = snapshot.dataplane.polling == Polling::Adaptive;
    snapshot.dataplane.ports.iter().enumerate().map(|(i, port)| Ok(Device::open(port, i, pools, interrupts)?)).collect()
}

/// Columns: the workers, then the ports.
fn publish_region(snapshot: &Snapshot, run_dir: &Path) -> anyhow::Result<Region> {
    let workers = (0..workers_of(snapshot)).map(Column::worker);
    let cells = PORT_CELLS.map(|c| Cell { name: c.name.into(), kind: "counter".into(), help: c.help.into() });
    let ports = snapshot.dataplane.ports.iter().map(|port| Column {
        scope: "port".into(),
        name: port.name.clone(),
        cells: cells.to_vec(),
    });
    let header = Header {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        name: snapshot.name.clone(),
        columns: workers.chain(ports).collect(),
    };
    let path = run_dir.join(COUNTERS);
    Region::create(&path, &header).with_context(|| format!("the counters {} cannot be made", path.display()))
}

fn publish_ports(devices: &[Device], region: &Region, workers: usize) {
    for (index, device) in devices.iter().enumerate() {
        for (cell, value) in region.cells(workers + index).iter().zip(device.statistics()) {
            cell.store(value, Ordering::Relaxed);
        }
    }
}

/// Says what was started, and the sum of its memory.
fn report(snapshot: &Snapshot, devices: &[Device]) {
    let dataplane = &snapshot.dataplane;
    let mib = packet_memory(snapshot) >> 20;
    let tcp_mib = (dataplane.cores.len() * Tcp::bytes_max(dataplane.connections_per_worker())) >> 20;
    tracing::info!(
        "{}: weirgate {}, {}, workers: {} on cores {:?}, {:?} polling, {} frames each, {mib} MiB of packet memory, {} TCP connections each, \
         {tcp_mib} MiB at most for them",
        snapshot.name,
        env!("CARGO_PKG_VERSION"),
        Eal::version(),
        dataplane.cores.len(),
        dataplane.cores,
        dataplane.polling,
        dataplane.frames_per_worker,
        dataplane.connections_per_worker(),
    );
    for (device, port) in devices.iter().zip(&dataplane.ports) {
        let c = device.capabilities();
        let mac = c.mac.map(|b| format!("{b:02x}")).join(":");
        let rss = c.rss.as_ref().map_or_else(
            || "queues chosen by the device, RSS not readable".to_owned(),
            |rss| format!("RSS key of {} bytes and table of {} entries read back", rss.key.len(), rss.reta.len()),
        );
        let o = c.offloads;
        let offloads = [
            (o.ipv4_checksum, "IPv4 checksum"),
            (o.l4_checksum, "TCP and UDP checksum"),
            (o.tso, "TSO"),
            (o.segments, "segments"),
        ];
        let offloads: Vec<_> = offloads.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        let offloads = if offloads.is_empty() { "nothing".to_owned() } else { offloads.join(", ") };
        let driver = device.driver();
        tracing::info!(
            "port {}: {} ({driver}), {mac}, MTU {}, offloads: {offloads}; {rss}",
            c.name,
            port.device,
            c.mtu
        );
    }
}

// The edge: captures carry the time of day.
#[allow(clippy::disallowed_methods)]
fn wall_clock_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// A started worker.
struct Running {
    index: usize,
    thread: JoinHandle<Result<(), StartError>>,
}

/// All started workers. Ends them on drop.
struct Workers {
    shared: Arc<Shared>,
    running: Vec<Running>,
}

impl Workers {
    /// Stops them, waits for every one, and gives the first error.
    fn end(&mut self) -> anyhow::Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.peers.iter().for_each(|peer| peer.bell.ring());
        let ends = self.running.drain(..).map(|Running { index, thread }| {
            let ended = thread.join().map_err(|_| anyhow::anyhow!("worker {index} ended with a panic"))?;
            ended.with_context(|| format!("worker {index}"))
        });
        ends.collect::<Vec<_>>().into_iter().collect()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!("{error:#}");
        }
    }
}

/// Which source ports bring replies to a worker; any, if it is the only one.
fn home(devices: &[Device], index: usize, workers: usize) -> Home {
    let rss = devices.iter().filter_map(|device| device.capabilities().rss.clone());
    if workers == 1 { Home::default() } else { Home { queue: index as u16, rss: rss.collect() } }
}

/// Both legs of an exchange belong to one worker, so replies must find it.
fn check_affinity(snapshot: &Snapshot, devices: &[Device]) -> anyhow::Result<()> {
    let proxies = !snapshot.backends.is_empty();
    let blind = devices.iter().find(|device| device.capabilities().rss.is_none());
    if let (true, true, Some(device)) = (proxies, workers_of(snapshot) > 1, blind) {
        anyhow::bail!(
            "dataplane.cores: {} workers, but port {} does not tell which queue a flow arrives on, so answers of backends would reach the \
             wrong one; use one core, or a NIC whose RSS can be read",
            workers_of(snapshot),
            device.capabilities().name
        );
    }
    Ok(())
}

struct Starter<'a> {
    snapshot: &'a Snapshot,
    options: &'a Options,
    topology: Arc<Topology>,
    pools: Vec<Mempool>,
    shared: Arc<Shared>,
    /// What the workers do first.
    first: Update,
    link: LinkBell,
}

impl Starter<'_> {
    /// Starts one thread for each worker, whose ports are what `wrap` makes of its queues.
    fn start<P: Port + Send + 'static>(
        &self,
        workers: &mut Workers,
        devices: &[Device],
        wrap: impl Fn(DpdkPort, &str) -> P,
    ) -> anyhow::Result<()> {
        let cores = &self.snapshot.dataplane.cores;
        let mailboxes = Mailboxes::new(cores.len());
        let mut queues: Vec<_> = devices.iter().map(|device| device.queues().into_iter()).collect();
        for (index, (core, pool)) in cores.iter().zip(&self.pools).enumerate() {
            let named = |queue: DpdkPort| {
                let name = format!("{}/{index}", queue.capabilities().name);
                wrap(queue, &name)
            };
            let ports =
                queues.iter_mut().map(|q| named(q.next().expect("a device has a queue for each worker"))).collect();
            let mut seed = [0; 8];
            rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty()).context("no entropy")?;
            let options = WorkerOptions {
                index,
                pool: pool.clone().into_pool(),
                topology: Arc::clone(&self.topology),
                mailboxes: mailboxes.clone(),
                seed: u64::from_ne_bytes(seed),
                connections_max: self.snapshot.dataplane.connections_per_worker(),
                services: Vec::new(),
                verify_rss: self.options.verify_rss,
            };
            // Asleep only if every queue can wake: a frame on another would wait.
            let wakes: Option<Vec<_>> = devices.iter().map(|device| device.wake(index)).collect();
            let sleeper = wakes.map(|wakes| Sleeper::new(wakes, self.shared.peers[index].bell.clone()));
            let gateway = Gateway::planned(
                self.first.clone(),
                GatewayOptions {
                    seed: options.seed ^ 0x6761_7465,
                    connections_max: options.connections_max,
                    home: home(devices, index, cores.len()),
                    keeps_records: false,
                    probes: index == 0,
                    gives_work: true,
                },
            );
            let thread = self.spawn(*core, index, Worker::with(ports, options, gateway), sleeper)?;
            workers.running.push(Running { index, thread });
        }
        Ok(())
    }

    fn spawn<P: Port + Send + 'static>(
        &self,
        core: u16,
        index: usize,
        mut worker: Worker<P, Gateway>,
        sleeper: Option<Sleeper>,
    ) -> anyhow::Result<JoinHandle<Result<(), StartError>>> {
        let polling = self.snapshot.dataplane.polling;
        let (shared, link) = (Arc::clone(&self.shared), self.link.clone());
        let body = move || {
            let entered = WorkerThread::enter(core).inspect_err(|_| shared.stop.store(true, Ordering::Relaxed))?;
            let _ = rustix::thread::set_current_timer_slack(std::num::NonZero::new(1));
            Loop { index, polling, clock: Clock::start(), shared: &shared, sleeper, link }.run(&mut worker);
            // The worker ends before the thread is unregistered: its frames go back through the thread's cache.
            drop(worker);
            drop(entered);
            Ok(())
        };
        thread::Builder::new().name(format!("worker-{index}")).spawn(body).context("no thread for a worker")
    }
}

/// Waits for the end. Publishes what the ports count, and reports workers that hang or have ended.
fn watch(shared: &Shared, workers: &[Running], devices: &[Device]) -> Option<anyhow::Error> {
    let mut seen: Vec<u64> = vec![0; workers.len()];
    let mut stalled: Vec<u64> = vec![0; workers.len()];
    let mut ticks = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        if let Some(ended) = workers.iter().find(|w| w.thread.is_finished()) {
            return Some(anyhow::anyhow!("worker {} has ended by itself", ended.index));
        }
        if ticks % TICKS_PER_SECOND == 0 {
            publish_ports(devices, &shared.region, workers.len());
        }
        if ticks % (TICKS_PER_SECOND * WATCHDOG_SECONDS) == 0 && ticks > 0 {
            for (worker, stalled) in workers.iter().zip(&mut stalled) {
                report_stalls(shared, worker.index, stalled);
            }
            for (worker, seen) in workers.iter().zip(&mut seen) {
                let turns = shared.peers[worker.index].turns.load(Ordering::Relaxed);
                if turns == *seen {
                    tracing::error!("worker {} has not finished a turn for {WATCHDOG_SECONDS} s", worker.index);
                }
                *seen = turns;
            }
        }
        ticks += 1;
        // The one place that waits by the kernel's clock: the edge, not a core.
        #[allow(clippy::disallowed_methods)]
        thread::sleep(TICK);
    }
    None
}

/// Says how many turns of a worker were too long since the last look. The worker itself says nothing: a reader of its standard error that hangs
/// would hang its loop.
fn report_stalls(shared: &Shared, worker: usize, before: &mut u64) {
    let stalled = shared.region.cells(worker)[Counter::StalledTurns as usize].load(Ordering::Relaxed);
    if stalled > *before {
        tracing::warn!("worker {worker}: {} turns took longer than {TURN_STALL:?}", stalled - *before);
    }
    *before = stalled;
}
