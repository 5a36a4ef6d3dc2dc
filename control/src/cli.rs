//! The command line: a verb is a file below, and a few are groups. A verb writes to a [`Console`] and says how it ended; nothing here calls
//! `std::process::exit` or prints by itself, so that every verb is tested with a console of its own.
//!
//! ```text
//!   arguments ---> Options ---> a verb's run(console) ---> Exit, or a Failure that says what to check next
//!                                 |        |
//!                                 |        +-- files: config, explain          (offline)
//!                                 +----------- Daemon: the admin API's client  (over its Unix socket)
//! ```
//! Data goes to standard output, everything else to standard error; `-o json` and `-o yaml` are the same data, with numbers as they are.

mod cert;
mod change;
mod check;
mod config;
mod conns;
mod console;
mod daemon;
mod describe;
mod drain;
mod explain;
mod generate;
mod get;
mod golden;
mod history;
mod human;
mod log;
mod pcap;
mod stat;
mod style;
mod table;
mod tap;
mod top;
mod validate;
mod version;

use clap::{Args, Parser, Subcommand};
use console::{Console, Exit, Failure};
use std::process::ExitCode;

/// How a verb ended.
type Outcome = Result<Exit, Failure>;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  findings: what was looked at is wrong, differs, or was refused
  2  wrong usage
  3  the daemon, or the data plane, cannot be reached

Environment:
  WEIRGATE_SOCKET  the daemon's admin socket, instead of --socket
  NO_COLOR         no colours, unless it is empty; there are none but on a terminal anyway";

/// Operates Weirgate, an L7 gateway.
#[derive(Parser)]
#[command(name = "weirgate", version, after_help = EXIT_CODES)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Validate(validate::Validate),
    Compile(validate::Compile),
    Check(check::Check),
    Apply(change::Apply),
    Confirm(change::Confirm),
    Diff(change::Diff),
    Rollback(change::Rollback),
    History(history::History),
    Get(get::Get),
    Describe(describe::Describe),
    Explain(explain::Explain),
    Stat(stat::Stat),
    Top(top::Top),
    Tap(tap::Tap),
    Conns(conns::Conns),
    Drain(drain::Drain),
    Undrain(drain::Undrain),
    Config(config::Config),
    Cert(cert::Cert),
    Log(log::Log),
    Pcap(pcap::Pcap),
    Version(version::Version),
    Completion(generate::Completion),
    Man(generate::Man),
}

impl Command {
    fn run(&self, console: &mut Console<'_>) -> Outcome {
        match self {
            Self::Validate(verb) => verb.run(console),
            Self::Compile(verb) => verb.run(console),
            Self::Check(verb) => verb.run(console),
            Self::Apply(verb) => verb.run(console),
            Self::Confirm(verb) => verb.run(console),
            Self::Diff(verb) => verb.run(console),
            Self::Rollback(verb) => verb.run(console),
            Self::History(verb) => verb.run(console),
            Self::Get(verb) => verb.run(console),
            Self::Describe(verb) => verb.run(console),
            Self::Explain(verb) => verb.run(console),
            Self::Stat(verb) => verb.run(console),
            Self::Top(verb) => verb.run(console),
            Self::Tap(verb) => verb.run(console),
            Self::Conns(verb) => verb.run(console),
            Self::Drain(verb) => verb.run(console),
            Self::Undrain(verb) => verb.run(console),
            Self::Config(verb) => verb.run(console),
            Self::Cert(verb) => verb.run(console),
            Self::Log(verb) => verb.run(console),
            Self::Pcap(verb) => verb.run(console),
            Self::Version(verb) => verb.run(console),
            Self::Completion(verb) => verb.run(console),
            Self::Man(verb) => verb.run(console),
        }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let Options { command } = Options::parse();
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    let mut console = Console::of_process(&mut out, &mut err);
    let outcome = command.run(&mut console);
    console.end(outcome).into()
}

/// How data is shown.
#[derive(Args, Clone, Copy)]
struct Shown {
    /// How to show it; json and yaml have all fields, and numbers as they are.
    #[arg(short = 'o', long = "output", value_enum, default_value_t, value_name = "FORMAT")]
    format: console::Format,
}

#[cfg(test)]
mod tests;
