//! TLS alone, and in the gateway: `weirgate-bench tls`.
//!
//! ```text
//!   handshake   full and resumed ones beside the operations that they are made of     handshake, crypto
//!   bulk        records of 16 KiB, sealed and opened, beside the cipher               records, crypto
//!   small       records of 100 and 300 bytes beside the cipher
//!   session     resident bytes of a session that is silent                            memory
//!   request     what TLS adds to an exchange through the gateway                      gateway
//!   flood       what requests of others take while many come to shake hands           gateway
//!   idle        resident bytes of a client that is silent                             gateway
//! ```
//! Frames are DPDK's, as in production: those of ordinary memory cost more than what is measured.

mod crypto;
mod gateway;
mod handshake;
mod memory;
mod pair;
mod records;

use crate::exchange::cpu_ns;
use anyhow::Context;
use clap::Args;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::path::PathBuf;
use weirgate_bench::median;
use weirgate_dataplane::limits::FRAME_ROOM;

/// Frames of the pool, and the room of each.
const FRAMES: u32 = 65_536;

#[derive(Args)]
pub(crate) struct Options {
    /// The core that is measured on.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Runs of each side.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The least length of a run.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Runs only these parts: for profiles.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Prints the bytes of an idle client, and does nothing else.
    #[arg(long, hide = true)]
    idle: Option<String>,
    /// Where the list of figures goes.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Session,
    Handshake,
    Bulk,
    Small,
    Request,
    Flood,
    Idle,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(options.core);
    sched_setaffinity(None, &cores).with_context(|| format!("core {}", options.core))?;
    if let Some(kind) = &options.idle {
        return gateway::idle_alone(kind, options.core);
    }
    let wants = |part| options.only.is_empty() || options.only.contains(&part);
    let mut figures = if wants(Part::Idle) { gateway::idle()? } else { Vec::new() };
    let frames = super::tcp::Frames::start(options.core, FRAMES, FRAME_ROOM)?;
    let pool = &frames.pool;
    if wants(Part::Session) {
        figures.push(memory::measure(pool));
    }
    if wants(Part::Handshake) {
        figures.extend(handshake::measure(options, pool));
    }
    if wants(Part::Bulk) {
        figures.extend(records::bulk(options, pool));
    }
    if wants(Part::Small) {
        [100, 300].iter().for_each(|&len| figures.extend(records::small(options, pool, len)));
    }
    if wants(Part::Request) {
        figures.extend(gateway::requests(options, pool)?);
    }
    if wants(Part::Flood) {
        figures.extend(gateway::flooded(options, pool)?);
    }
    super::figures::report(&figures, options.json.as_deref())
}

impl Options {
    /// Seconds of each of these, by turns so that all meet the same disturbances: the median of the rounds.
    fn by_turns<const N: usize>(&self, mut works: [&mut dyn FnMut(); N]) -> [f64; N] {
        let mut all: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
        for _ in 0..self.rounds {
            for (work, times) in works.iter_mut().zip(&mut all) {
                times.push(once(self.seconds, *work));
            }
        }
        all.map(|times| median(times).expect("at least one round"))
    }
}

/// Seconds of this thread's time of one run of `work`, over as many as fill the time.
fn once(seconds: f64, work: &mut dyn FnMut()) -> f64 {
    let (from, mut times) = (cpu_ns(), 0u32);
    loop {
        for _ in 0..64 {
            work();
        }
        times += 64;
        let elapsed = (cpu_ns() - from) as f64 / 1e9;
        if elapsed >= seconds {
            return elapsed / f64::from(times);
        }
    }
}
