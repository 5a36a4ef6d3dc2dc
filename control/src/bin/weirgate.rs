//! The command line.
//!
//! Exit codes: 0 done, 1 findings, 2 wrong usage, 3 the data plane cannot be reached.

use clap::{Parser, Subcommand, ValueEnum};
use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};
use weirgate_control::{
    config,
    explain::{self, Question},
    stat::Statistics,
};
use weirgate_dataplane::snapshot::Snapshot;

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
    /// Say what becomes of a request, with each rule's reason. Nothing is sent.
    Explain {
        /// Its method.
        #[arg(value_name = "METHOD")]
        method: String,
        /// Its URL, such as http://shop.example.com/cart/7.
        #[arg(value_name = "URL")]
        url: String,
        /// A field, as 'name: value'; may stand there several times.
        #[arg(short = 'H', long = "header", value_name = "FIELD")]
        fields: Vec<String>,
        /// The configuration's files.
        #[arg(short, long = "file", required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Who sends it: from those that a listener trusts, forwarding fields are believed.
        #[arg(long, value_name = "ADDRESS", default_value = "192.0.2.1")]
        client: IpAddr,
        /// How to show it.
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
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
        Command::Explain { method, url, fields, files, client, output } => {
            explain(&files, &Question { method, url, fields, client }, output)
        }
        Command::Stat { run_dir, all, output } => stat(&run_dir, all, output),
    }
}

/// The configuration's snapshot; or findings are shown.
fn snapshot(files: &[PathBuf]) -> Result<Snapshot, ExitCode> {
    let environment = config::Environment::of_process();
    let model = config::read(files, &environment).and_then(|files| config::compile(&files, &environment));
    model.map(|model| model.snapshot).map_err(|findings| {
        findings.iter().for_each(|finding| eprintln!("{finding}"));
        ExitCode::from(FINDINGS)
    })
}

fn explain(files: &[PathBuf], question: &Question, output: Format) -> ExitCode {
    let snapshot = match snapshot(files) {
        Ok(snapshot) => snapshot,
        Err(code) => return code,
    };
    match (explain::explain(&snapshot, question), output) {
        (Ok(explanation), Format::Table) => print!("{explanation}"),
        (Ok(explanation), Format::Json) => {
            println!("{}", serde_json::to_string_pretty(&explanation).expect("string keys only"));
        }
        (Err(error), _) => {
            eprintln!("{error}");
            return ExitCode::from(FINDINGS);
        }
    }
    ExitCode::SUCCESS
}

fn compile(files: &[PathBuf], output: Option<&Path>) -> ExitCode {
    let snapshot = match snapshot(files) {
        Ok(snapshot) => snapshot,
        Err(code) => return code,
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
