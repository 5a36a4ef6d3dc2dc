//! `log`: how much the daemon logs.

use super::{
    Outcome, Shown,
    console::{Console, Exit},
    daemon::{At, Daemon},
};
use crate::admin::api::{self, LogLevel};
use clap::{Args, Subcommand};

/// What the daemon logs
#[derive(Args)]
pub(super) struct Log {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Level(Level),
}

/// Show how much the daemon logs, or change it until its next start
#[derive(Args)]
#[command(after_help = "\
Examples:
  weirgate log level
  weirgate log level debug
  weirgate log level info,weirgate_control::daemon=debug")]
struct Level {
    /// error, warn, info, debug or trace; or by module
    #[arg(value_name = "LEVEL")]
    filter: Option<String>,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    shown: Shown,
}

impl Log {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        let Verb::Level(Level { filter, at, shown }) = &self.verb;
        let client = at.client();
        let level: LogLevel = match filter {
            None => Daemon::block_on(client.get(api::LOG))?,
            Some(filter) => Daemon::block_on(client.put(api::LOG, &LogLevel { filter: filter.clone() }))?,
        };
        console.show(shown.format, &level, |console, level| console.line(&level.filter))?;
        Ok(Exit::Done)
    }
}
