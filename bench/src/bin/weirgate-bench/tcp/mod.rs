//! The TCP engine beside others: `weirgate-bench tcp`.
//!
//! ```text
//!   exchange   what a request and its response cost, beside smoltcp       peer, smoltcp
//!   goodput    throughput over a path that loses, beside Linux            path, netns
//!   idle       memory of a connection that is silent
//!   flood      what exchanges cost while SYNs come from everywhere
//!   holes      what a segment costs that is out of order to do harm
//! ```

pub(super) mod exchange;
mod flood;
mod goodput;
mod holes;
pub(super) mod idle;
mod netns;
mod ours;
mod path;
mod peer;
mod sender;
mod smoltcp;

pub(super) use ours::Frames;

use anyhow::Context;
use clap::{Args, ValueEnum};
use rustix::{
    process::setpriority_process,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use std::{fs, path::PathBuf};
use weirgate_bench::Figure;
use weirgate_dataplane::port::Pool;

/// Room of a frame. Requests and responses fit; a million responses wait for their acknowledgments.
const ROOM: usize = 256;
/// A response of each connection, and half as many more for what is received.
const FRAMES: u32 = 1_500_000;

#[derive(Args)]
pub(crate) struct Options {
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// The core that is measured on.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Runs of each side.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The least length of a run.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Paths with loss, each with a seed of its own.
    #[arg(long, default_value_t = 16)]
    paths: usize,
    /// How long data is sent over them.
    #[arg(long, default_value_t = 20)]
    path_seconds: u64,
    /// Where the list of figures goes.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Exchange,
    Idle,
    Flood,
    Holes,
    Goodput,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut other_cores = sched_getaffinity(None)?;
    other_cores.unset(options.core);
    let mut cores = CpuSet::new();
    cores.set(options.core);
    sched_setaffinity(None, &cores).with_context(|| format!("core {}", options.core))?;
    // Others on this machine build and test; without the right to go before them the figures are only noisier.
    let _ = setpriority_process(None, -20);
    let _session = SessionPriority::raise();
    let mut figures: Vec<Figure> = Vec::new();
    let is_chosen = |part: &Part| options.only.is_empty() || options.only.contains(part);
    let parts: Vec<Part> = Part::value_variants().iter().copied().filter(is_chosen).collect();
    let needs_frames = parts.iter().any(|part| *part != Part::Goodput);
    let frames = needs_frames.then(|| Frames::start(options.core, FRAMES, ROOM)).transpose()?;
    let pool = frames.as_ref().map_or_else(|| Pool::heap(0), |frames| frames.pool.clone());
    let ours = || ours::Ours::new(pool.clone(), 1);
    for part in parts {
        figures.extend(match part {
            Part::Exchange => exchange::measure(&pool, options.rounds, options.seconds)?,
            Part::Idle => vec![Figure::at_most("tcp.idle_bytes", idle::bytes(ours)?, "bytes", 512.0)],
            Part::Flood => flood::measure(ours())?,
            Part::Holes => holes::measure(ours)?,
            Part::Goodput => goodput::measure(&goodput::GoodputOptions {
                seeds: options.paths,
                seconds: options.path_seconds,
                other_cores,
            })?,
        });
    }
    super::figures::report(&figures, options.json.as_deref())
}

/// Where sessions share processors as groups, a process' own priority says nothing beside theirs. Goes back when the run ends.
struct SessionPriority(Option<String>);

impl SessionPriority {
    const FILE: &str = "/proc/self/autogroup";

    fn raise() -> Self {
        let line = fs::read_to_string(Self::FILE).unwrap_or_default();
        let before = line.split_whitespace().last().map(str::to_owned);
        let _ = fs::write(Self::FILE, "-20");
        Self(before)
    }
}

impl Drop for SessionPriority {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = fs::write(Self::FILE, before);
        }
    }
}
