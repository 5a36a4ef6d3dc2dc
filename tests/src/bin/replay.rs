//! Runs seeds: one, to look at it, or many, to time them and to find the one that fails.

use anyhow::Context;
use clap::Parser;
use std::{
    cell::Cell,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use weirgate_tests::world::{Capture, Outcome, World, rows, seed::Plan};

/// Runs the simulated world of one seed and tells what happened, or runs many.
#[derive(Parser)]
struct Arguments {
    /// The seed to show.
    #[arg(required_unless_present = "seeds", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Where one seed's frames are written, as pcapng.
    #[arg(short, long, value_name = "FILE", conflicts_with = "seeds")]
    output: Option<PathBuf>,
    /// Runs these instead and shows only what failed: FROM..TO, the last one not included.
    #[arg(long, value_name = "FROM..TO", value_parser = range)]
    seeds: Option<(u64, u64)>,
    /// Worlds at a time.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text.split_once("..").ok_or("two numbers with .. between them, such as 0..10000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|e| format!("{text:?}: {e}"));
    Ok((number(from)?, number(to)?))
}

thread_local! {
    /// The seed that this thread runs, for the message of a panic.
    static SEED: Cell<u64> = const { Cell::new(0) };
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(panic);
        let seed = SEED.get();
        eprintln!("seed {seed} panicked\n  see it: ./scripts/replay {seed}");
    }));
    let passed = match (arguments.seed, arguments.seeds) {
        (Some(seed), _) => show(seed, arguments.output)?,
        (None, Some((from, to))) => soak(from, to, arguments.threads),
        (None, None) => unreachable!("clap asks for one of the two"),
    };
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One seed with its story.
fn show(seed: u64, output: Option<PathBuf>) -> anyhow::Result<bool> {
    SEED.set(seed);
    let path = output.unwrap_or_else(|| std::env::temp_dir().join(format!("weirgate-{seed}.pcapng")));
    let capture = Capture::to_file(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let plan = Plan::from_seed(seed);
    print!("{plan}");
    let mut world = World::new(&plan, capture);
    world.run();
    print!("{}", world.story());
    let outcome = Outcome::of(seed, &world);
    println!("frames: {}", path.display());
    match &outcome.failure {
        None => println!("seed {seed} passed"),
        Some(what) => println!("seed {seed} failed at {:?}: {what}", world.now()),
    }
    Ok(outcome.failure.is_none())
}

/// Many seeds, each thread taking the next one.
#[allow(clippy::disallowed_methods, clippy::cast_precision_loss)] // measures itself; no world sees this clock
fn soak(from: u64, to: u64, threads: usize) -> bool {
    let started = std::time::Instant::now();
    let next = AtomicU64::new(from);
    let total = Mutex::new(Total { events: 0, passed: true, counts: vec![0; rows().count()] });
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to {
                        break;
                    }
                    SEED.set(seed);
                    let outcome = Outcome::of_seed(seed);
                    total.lock().expect("no thread panics with it").add(&outcome);
                }
            });
        }
    });
    let (seeds, seconds) = (to.saturating_sub(from), started.elapsed().as_secs_f64());
    let total = total.into_inner().expect("no thread panicked with it");
    println!("{seeds} seeds in {seconds:.1} s: {:.0} seeds/s, {} events", seeds as f64 / seconds, total.events);
    let never: Vec<_> = rows().zip(&total.counts).filter(|(_, count)| **count == 0).map(|(name, _)| name).collect();
    println!("never counted: {}", never.join(", "));
    total.passed
}

/// What many seeds came to.
struct Total {
    events: u64,
    passed: bool,
    counts: Vec<u64>,
}

impl Total {
    fn add(&mut self, outcome: &Outcome) {
        self.events += outcome.events;
        self.counts.iter_mut().zip(&outcome.counts).for_each(|(total, n)| *total += n);
        if outcome.failure.is_some() {
            self.passed = false;
            println!("{outcome}");
        }
    }
}
