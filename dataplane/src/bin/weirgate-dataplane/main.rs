//! The data plane as a program: takes a snapshot, starts ports and workers, runs until it is told to stop.
//!
//! Exit codes: 0 stopped as told, 1 could not start or a worker ended by itself, 2 wrong usage, 69 built for a newer CPU, 134 a broken
//! invariant of ours.

mod node;
mod polling;

use clap::Parser;
use std::{path::PathBuf, process::ExitCode};
use weirgate_dataplane::snapshot::Snapshot;

/// Weirgate's data plane. `weirgate compile` makes the snapshot that it takes.
#[derive(Parser, Debug)]
#[command(version, about)]
struct Options {
    /// The compiled configuration.
    #[arg(long, value_name = "FILE")]
    snapshot: PathBuf,
    /// Folder for the counters, which other programs read. It is made if need be.
    #[arg(long, value_name = "DIR", default_value = "/run/weirgate")]
    run_dir: PathBuf,
    /// Use ordinary memory instead of hugepages: for virtual devices, to try things.
    #[arg(long)]
    no_huge: bool,
    /// Write every frame into a capture (pcapng). Slows the data plane down: for looking at things.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Compare the queue of every frame with the one that Toeplitz predicts (counters rss_checked_frames, wrong_queue_frames).
    #[arg(long)]
    verify_rss: bool,
    /// Show DPDK's own messages.
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    match load(&options).and_then(|snapshot| node::run(&snapshot, &options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn load(options: &Options) -> anyhow::Result<Snapshot> {
    let path = &options.snapshot;
    let text = std::fs::read_to_string(path)
        .map_err(|e| anyhow::anyhow!("the snapshot {} cannot be read: {e}", path.display()))?;
    Snapshot::from_json(&text).map_err(|e| anyhow::anyhow!("the snapshot {} is refused: {e}", path.display()))
}
