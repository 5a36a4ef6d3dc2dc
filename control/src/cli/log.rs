//! `log`: how much the daemon logs.

use super::{
    Outcome, Shown,
    console::{Console, Exit},
    daemon::{At, Daemon},
};
use crate::admin::api::{self, Done, LogLevel};
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
        let level = Daemon::block_on(async {
            if let Some(filter) = filter {
                let _: Done = client.put(api::LOG, &LogLevel { filter: filter.clone() }).await?;
            }
            client.get::<LogLevel>(api::LOG).await
        })?;
        console.show(shown.format, &level, |console, level| console.line(&level.filter))?;
        Ok(Exit::Done)
    }
}
