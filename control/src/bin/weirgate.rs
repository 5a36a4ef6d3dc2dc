//! The command line.
//!
//! Exit codes: 0 done, 1 findings, 2 wrong usage, 3 the data plane cannot be reached.

use clap::{Parser, Subcommand, ValueEnum};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};
use weirgate_control::{config, stat::Statistics};

/// Operates Weirgate.
#[derive(Parser)]
#[command(name = "weirgate", version, about)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a configuration; all findings are shown at once.
    Validate {
        /// Its files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Compile a configuration into the snapshot that a data plane takes.
    Compile {
        /// Its files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Where the snapshot goes.
        #[arg(short, long, value_name = "SNAPSHOT")]
        output: PathBuf,
    },
    /// Show the counters of a running data plane.
    Stat {
        /// Its run directory.
        #[arg(long, value_name = "DIR", default_value = "/run/weirgate")]
        run_dir: PathBuf,
        /// Show zeros too.
        #[arg(long)]
        all: bool,
        /// How to show them.
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

const FINDINGS: u8 = 1;
const UNREACHABLE: u8 = 3;

fn main() -> ExitCode {
    match Options::parse().command {
        Command::Validate { files } => compile(&files, None),
        Command::Compile { files, output } => compile(&files, Some(&output)),
        Command::Stat { run_dir, all, output } => stat(&run_dir, all, output),
    }
}

fn compile(files: &[PathBuf], output: Option<&Path>) -> ExitCode {
    let snapshot = match config::read(files).and_then(|files| config::compile(&files)) {
        Ok(snapshot) => snapshot,
        Err(findings) => {
            findings.iter().for_each(|finding| eprintln!("{finding}"));
            return ExitCode::from(FINDINGS);
        }
    };
    let Some(output) = output else { return ExitCode::SUCCESS };
    // Beside it first, so that nobody reads half a snapshot.
    let unnamed = output.with_extension("new");
    let written = std::fs::write(&unnamed, snapshot.to_json()).and_then(|()| std::fs::rename(&unnamed, output));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} cannot be written: {error}", output.display());
            ExitCode::from(FINDINGS)
        }
    }
}

fn stat(run_dir: &Path, all: bool, output: Format) -> ExitCode {
    match Statistics::read(run_dir) {
        Ok(statistics) => {
            match output {
                Format::Table => print!("{}", statistics.table(all)),
                Format::Json => println!("{}", serde_json::to_string_pretty(&statistics).expect("string keys only")),
            }
            if statistics.is_alive() {
                return ExitCode::SUCCESS;
            }
            eprintln!("the data plane (process {}) is gone: these are its last values", statistics.pid);
            ExitCode::from(UNREACHABLE)
        }
        Err(error) => {
            eprintln!(
                "no counters in {}: {error}. Is the data plane running, and is this its --run-dir?",
                run_dir.display()
            );
            ExitCode::from(UNREACHABLE)
        }
    }
}
