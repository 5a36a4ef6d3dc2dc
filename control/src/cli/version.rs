//! `version`: of each part.

use super::{
    Outcome, Shown,
    console::{Console, Exit},
    daemon::{At, Daemon},
    table::Table,
};
use crate::admin::api::{self, Status};
use clap::Args;
use serde::Serialize;

/// Show the versions of command line, daemon and data plane
#[derive(Args)]
#[command(after_help = "\
Examples:
  weirgate version
  weirgate version --client      # nobody is asked")]
pub(super) struct Version {
    /// Only this command line's
    #[arg(long)]
    client: bool,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Serialize)]
struct Versions {
    client: &'static str,
    daemon: Option<String>,
    dataplane: Option<String>,
}

impl Version {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        let mut versions = Versions { client: env!("CARGO_PKG_VERSION"), daemon: None, dataplane: None };
        let mut outcome = Ok(Exit::Done);
        if !self.client {
            match Daemon::block_on(self.at.client().get::<Status>(api::STATUS)) {
                Ok(status) => {
                    versions.daemon = Some(status.version);
                    versions.dataplane = status.dataplane.version;
                }
                // One's own version is worth having all the same.
                Err(error) => outcome = Err(error.into()),
            }
        }
        console.show(self.shown.format, &versions, |console, versions| {
            let mut table = Table::new(&["PART", "VERSION"]);
            table.row(["command line".into(), versions.client.into()]);
            let other = |version: &Option<String>| version.clone().unwrap_or_else(|| "unknown".into());
            if !self.client {
                table.row(["daemon".into(), other(&versions.daemon).into()]);
                table.row(["data plane".into(), other(&versions.dataplane).into()]);
            }
            table.print(console, "")
        })?;
        outcome
    }
}
