//! `stat`: the counters that a data plane publishes, and the golden signals that the daemon knows.

use super::{
    Outcome, Shown,
    console::{Console, Exit, Failure},
    daemon::{At, Daemon},
    golden::Signals,
    human::seconds,
};
use crate::{
    admin::{
        api::{self, Meters},
        client::Client,
    },
    stat::Statistics,
};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::{path::PathBuf, time::Duration};

/// Show counters of the data plane, or golden signals of what it serves
///
/// Without KIND: workers and ports, from the counters file in the data plane's run directory; no
/// daemon is asked. With KIND: requests a second, the part of them that went well (no 5xx), and
/// estimated durations, over the time that it watches.
#[derive(Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  weirgate stat --run-dir /run/weirgate            # workers and ports
  weirgate stat --all -o json
  weirgate stat routes                             # over one second
  weirgate stat endpoints cart-v1 --window 10s
  weirgate stat backends --window 0s               # since the data plane's start"
)]
pub(super) struct Stat {
    /// Whose golden signals; without it, the counters of workers and ports
    #[arg(value_enum, value_name = "KIND")]
    kind: Option<Kind>,
    /// Of this one only; of endpoints, those of this backend
    #[arg(value_name = "NAME", requires = "kind")]
    name: Option<String>,
    /// How long it watches; 0s shows everything since the data plane's start
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "1s")]
    window: u64,
    /// The run directory whose counters are shown
    #[arg(long, value_name = "DIR", default_value = "/run/weirgate")]
    run_dir: PathBuf,
    /// Show zeros too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    #[value(alias = "listener")]
    Listeners,
    #[value(alias = "route")]
    Routes,
    #[value(alias = "backend")]
    Backends,
    #[value(aliases = ["endpoint", "ep"])]
    Endpoints,
}

/// For programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Watched {
    signals: Vec<Signals>,
    /// Exchanges that found no room for a meter of their own, since the start.
    unmetered: u64,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Listeners => "listener",
            Self::Routes => "route",
            Self::Backends => "backend",
            Self::Endpoints => "endpoint",
        }
    }
}

impl Stat {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        match self.kind {
            None => self.counters(console),
            Some(kind) => self.signals(console, kind),
        }
    }

    fn counters(&self, console: &mut Console<'_>) -> Outcome {
        let statistics = Statistics::read(&self.run_dir).map_err(|error| {
            let message = format!("no counters in {}: {error}", self.run_dir.display());
            Failure::new(Exit::Unreachable, message).next("is the data plane running, and is this its --run-dir?")
        })?;
        console
            .show(self.shown.format, &statistics, |console, statistics| console.print(&statistics.table(self.all)))?;
        if statistics.is_alive() {
            return Ok(Exit::Done);
        }
        let message = format!("the data plane (process {}) is gone: these are its last values", statistics.pid);
        Err(Failure::new(Exit::Unreachable, message))
    }

    fn signals(&self, console: &mut Console<'_>, kind: Kind) -> Outcome {
        let client = self.at.client();
        let window = Duration::from_secs(self.window);
        let (all, unmetered) = Daemon::block_on(watch(&client, window))?;
        let is_asked = |it: &Signals| {
            let name = it.backend.as_ref().unwrap_or(&it.name);
            it.kind == kind.word() && self.name.as_ref().is_none_or(|asked| asked == name || *asked == it.name)
        };
        let signals: Vec<_> = all.into_iter().filter(is_asked).collect();
        let watched = Watched { signals, unmetered };
        console.show(self.shown.format, &watched, |console, watched| {
            let none = match &self.name {
                Some(name) => format!("{} {name} has served nothing since the data plane's start", kind.word()),
                None => format!("no {} has served anything since the data plane's start", kind.word()),
            };
            Signals::table(&watched.signals, self.window > 0).print(console, &none)
        })?;
        if unmetered > 0 {
            console.warn(&format!("{unmetered} exchanges found no room for a meter of their own, and are not here"))?;
        }
        Ok(Exit::Done)
    }
}

/// Two looks, and what came between them; or one, and what came since the start.
async fn watch(client: &Client, window: Duration) -> Result<(Vec<Signals>, u64), Failure> {
    let first: Meters = client.get(api::METERS).await?;
    if window.is_zero() {
        let signals = first.meters.iter().map(|meter| Signals::of_total(meter, &first.duration_bounds_us));
        return Ok((signals.collect(), first.unmetered));
    }
    let began = tokio::time::Instant::now();
    tokio::time::sleep(window).await;
    let second: Meters = client.get(api::METERS).await?;
    Ok((Signals::of_looks(&first, &second, began.elapsed()), second.unmetered))
}
