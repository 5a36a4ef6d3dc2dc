//! Runs packet scripts against a target and tells which hold.

use anyhow::Context;
use clap::Parser;
use std::{
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
};
use weirgate_tests::script::{self, Family, Kind, Script};

/// Runs TCP packet scripts and prints one line for each.
#[derive(Parser)]
struct Arguments {
    /// What the scripts are run against: kernel, engine, or wire (the engine over a DPDK device).
    #[arg(short, long, default_value = "kernel", value_parser = kind)]
    target: Kind,
    /// Only this family: ipv4 or ipv6.
    #[arg(short, long, value_parser = family)]
    family: Option<Family>,
    /// Prints what was said.
    #[arg(short, long)]
    verbose: bool,
    /// Scripts at a time. On a target in real time more of them make each less exact.
    #[arg(short, long, default_value_t = 1)]
    jobs: usize,
    /// How often a script that fails is run again: a target in real time may have been late.
    #[arg(short, long, default_value_t = 0)]
    retries: u32,
    /// The scripts.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

fn kind(text: &str) -> Result<Kind, String> {
    match text {
        "kernel" => Ok(Kind::Kernel),
        "engine" => Ok(Kind::Engine),
        "wire" => Ok(Kind::Wire),
        _ => Err("kernel, engine or wire".into()),
    }
}

fn family(text: &str) -> Result<Family, String> {
    match text {
        "ipv4" => Ok(Family::Ipv4),
        "ipv6" => Ok(Family::Ipv6),
        _ => Err("ipv4 or ipv6".into()),
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(missing) = arguments.target.missing() {
        println!("skipped: {missing}");
        return Ok(ExitCode::SUCCESS);
    }
    let mut runs = Vec::new();
    let mut others = 0;
    for path in &arguments.files {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let script = script::parse(&text).with_context(|| path.display().to_string())?;
        let name = path.file_stem().map_or_else(|| "?".into(), |name| name.to_string_lossy().into_owned());
        if let Some(exception) = arguments.target.exception(&script).filter(|_| arguments.target.suits(&script)) {
            println!("left out {name}: {exception}");
            others += 1;
        } else if arguments.target.suits(&script) {
            let families = script.families.iter().filter(|family| arguments.family.is_none_or(|only| only == **family));
            families.for_each(|family| runs.push((name.clone(), script.clone(), *family)));
        } else {
            others += 1;
        }
    }
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                while let Some((name, script, family)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !show(&arguments, name, script, *family) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    script::end();
    println!("{} passed, {failed} failed, {others} for other targets", runs.len() - failed);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether it passed.
fn show(arguments: &Arguments, name: &str, script: &Script, family: Family) -> bool {
    let mut result = script::play(arguments.target, script, family);
    for _ in 0..arguments.retries {
        if result.is_err() {
            result = script::play(arguments.target, script, family);
        }
    }
    let title = &script.title;
    match &result {
        Ok(story) if arguments.verbose => println!("ok      {name} ({family}): {title}\n  {}", story.join("\n  ")),
        Ok(_) => println!("ok      {name} ({family})"),
        Err(what) => println!("FAILED  {name} ({family}): {title}\n{what}"),
    }
    result.is_ok()
}
