//! The TCP engine beside others: `weirgate-bench tcp`.
//!
//! ```text
//!   exchange   what a request and its response cost, beside smoltcp       peer, smoltcp
//!   goodput    throughput over a path that loses, beside Linux            path, netns
//! ```

mod exchange;
mod peer;
mod smoltcp;

use anyhow::Context;
use clap::{Args, ValueEnum};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::path::PathBuf;
use weirgate_bench::Figure;

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
    /// Where the list of figures goes.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Exchange,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(options.core);
    sched_setaffinity(None, &cores).with_context(|| format!("core {}", options.core))?;
    let mut figures: Vec<Figure> = Vec::new();
    for part in Part::value_variants() {
        if options.only.is_empty() || options.only.contains(part) {
            figures.extend(match part {
                Part::Exchange => exchange::measure(options.rounds, options.seconds)?,
            });
        }
    }
    super::figures::report(&figures, options.json.as_deref())
}
