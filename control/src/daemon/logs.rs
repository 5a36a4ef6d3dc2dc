//! What the daemon logs, and how much; the latter can change while it runs.

use std::sync::Mutex;
use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// How lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The filter in force.
pub struct Logs {
    handle: Option<reload::Handle<EnvFilter, Registry>>,
    filter: Mutex<String>,
}

impl Logs {
    /// Logs to the standard error from now on.
    ///
    /// # Errors
    /// What is wrong with the filter.
    pub fn start(format: LogFormat, filter: &str) -> Result<Self, String> {
        let (layer, handle) = reload::Layer::new(parse(filter)?);
        let registry = tracing_subscriber::registry().with(layer);
        let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
        let started = match format {
            LogFormat::Text => registry.with(lines.with_target(false)).try_init(),
            LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
        };
        started.map_err(|error| error.to_string())?;
        Ok(Self { handle: Some(handle), filter: Mutex::new(filter.to_owned()) })
    }

    /// Logs nothing: for tests.
    pub fn silent() -> Self {
        Self { handle: None, filter: Mutex::new("off".into()) }
    }

    /// What is logged.
    pub fn filter(&self) -> String {
        self.filter.lock().expect("nobody panics with it").clone()
    }

    /// Logs this from now on.
    ///
    /// # Errors
    /// What is wrong with the filter.
    pub fn set(&self, filter: &str) -> Result<(), String> {
        let parsed = parse(filter)?;
        if let Some(handle) = &self.handle {
            handle.reload(parsed).map_err(|error| error.to_string())?;
        }
        filter.clone_into(&mut self.filter.lock().expect("nobody panics with it"));
        Ok(())
    }
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    let example = "write info, or info,weirgate_control::daemon=debug";
    if filter.trim().is_empty() {
        return Err(format!("an empty filter: {example}"));
    }
    EnvFilter::builder().parse(filter).map_err(|error| format!("{filter:?} is no filter: {error}; {example}"))
}
