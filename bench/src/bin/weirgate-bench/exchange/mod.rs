//! What a request and its answer cost in the gateway, both legs of it: `weirgate-bench exchange`.
//!
//! ```text
//!   world    one worker with the gateway, and the machines around it; only its turns are timed
//!   peers    the segments of clients and backends
//!   secure   the TLS of clients who speak it: `weirgate-bench tls` asks for that
//!   flood    established clients while others come to shake hands
//!   http     the rules, the request and the answer
//!   layers   where the time goes: parts of the way alone, over the same bytes
//! ```

pub(crate) mod flood;
mod http;
mod layers;
mod peers;
mod secure;
mod world;

use super::{
    figures,
    tcp::{Frames, exchange::ours_ns, idle::resident},
};
use anyhow::Context;
use clap::Args;
use layers::Layers;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::path::PathBuf;
use weirgate_bench::{Figure, median};
use weirgate_dataplane::{limits::FRAME_ROOM, port::Pool};
use world::wall_ns;
pub(crate) use world::{World, cpu_ns};

#[derive(Args)]
pub(crate) struct Options {
    /// The core that is measured on.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Runs of each size.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The least length of a run, in seconds of the gateway's own time.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Runs only this size, without layers and without memory: for profiles.
    #[arg(long)]
    only: Option<usize>,
    /// Where the list of figures goes.
    #[arg(long)]
    json: Option<PathBuf>,
}

struct Size {
    connections: usize,
    /// The figures' last word.
    name: &'static str,
    /// Nanoseconds, at most.
    reach: f64,
}

const SIZES: [Size; 3] = [
    Size { connections: 64, name: "64", reach: 1_500.0 },
    Size { connections: 10_000, name: "10k", reach: 2_200.0 },
    Size { connections: 100_000, name: "100k", reach: 2_800.0 },
];
/// Requests under way: as many as there are connections, and no more than these. Each holds a connection to a backend.
const UNDER_WAY_MAX: usize = 512;
/// Every client may have an answer that it has not acknowledged yet, and TCP takes half of a pool for such.
const FRAMES: u32 = 225_000;

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(options.core);
    sched_setaffinity(None, &cores).with_context(|| format!("core {}", options.core))?;
    let frames = Frames::start(options.core, FRAMES, FRAME_ROOM)?;
    if let Some(connections) = options.only {
        let size = Size { connections, name: "only", reach: f64::INFINITY };
        return figures::report(&[whole(&frames.pool, &size, options)?], options.json.as_deref());
    }
    // First: later, memory that others have given back would be taken for it.
    let idle = idle_bytes(&frames.pool)?;
    let mut figures = SIZES.iter().map(|size| whole(&frames.pool, size, options)).collect::<Result<Vec<_>, _>>()?;
    let layers = Layers::measure(options.rounds);
    let tcp = |connections| ours_ns(&frames.pool, connections, options.rounds, options.seconds);
    let tcp_upstream = [tcp(64)?, tcp(UNDER_WAY_MAX)?, tcp(UNDER_WAY_MAX)?];
    let tcp_client = [tcp(64)?, tcp(10_000)?, tcp(100_000)?];
    let wholes: Vec<f64> = figures.iter().map(|figure| figure.value).collect();
    figures.push(Figure::shown("exchange.idle_bytes", idle, "bytes"));
    figures.extend(layers.figures());
    for (i, size) in SIZES.iter().enumerate() {
        let mut show = |layer: &str, ns| {
            figures.push(Figure::shown(&format!("exchange.layer_ns.{layer}.{}", size.name), ns, "ns"));
        };
        show("tcp_client", tcp_client[i]);
        show("tcp_upstream", tcp_upstream[i]);
        show("rest", wholes[i] - tcp_client[i] - tcp_upstream[i] - layers.sum());
    }
    figures::report(&figures, options.json.as_deref())
}

/// All of it, at one number of connections.
fn whole(pool: &Pool, size: &Size, options: &Options) -> anyhow::Result<Figure> {
    let mut world = World::start(pool, size.connections, size.connections.min(UNDER_WAY_MAX), wall_ns)?;
    let rounds = (0..options.rounds).map(|_| world.round(options.seconds)).collect::<Result<Vec<_>, _>>()?;
    eprintln!("{} connections: {}", size.connections, world.report());
    let ns = median(rounds).context("at least one round")?;
    Ok(Figure::at_most(&format!("exchange.ns.{}", size.name), ns, "ns", size.reach))
}

/// Resident bytes of a client's connection over `clients` of them, which speak TLS or do not.
pub(crate) fn idle_bytes_of(pool: &Pool, clients: usize, is_secure: bool) -> anyhow::Result<f64> {
    let mut peers = peers::Peers::new(clients);
    // What is made once is made before, and the clients' secrets have their place.
    drop(World::start_secure(pool, 64, 64)?);
    peers.secure = Some(secure::Secure::new(clients, &secure::certificate()?)?);
    let before = resident()?;
    let mut world = if is_secure {
        World::with_secure(peers, pool, UNDER_WAY_MAX, 1)?
    } else {
        peers.secure = None;
        World::with(peers, pool, UNDER_WAY_MAX, cpu_ns)?
    };
    world.settle()?;
    let after = resident()?;
    Ok((after - before) as f64 / clients as f64)
}

/// Resident bytes of a client's connection that has exchanged, has its answer acknowledged and is silent: all that the worker has grown by since
/// before it was there. Frames are in hugepages and none is held.
fn idle_bytes(pool: &Pool) -> anyhow::Result<f64> {
    const CONNECTIONS: usize = 100_000;
    let peers = peers::Peers::new(CONNECTIONS);
    let before = resident()?;
    let mut world = World::with(peers, pool, UNDER_WAY_MAX, wall_ns)?;
    world.settle()?;
    let after = resident()?;
    Ok((after - before) as f64 / CONNECTIONS as f64)
}
