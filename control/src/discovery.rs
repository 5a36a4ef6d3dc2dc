//! Endpoints that are not written in the configuration: a task for each source asks the DNS, or watches a file, and tells what has changed.
//!
//! ```text
//!   dns   query ---> resolve (hickory) ---> settle: what each answer changes ---.
//!                                                                               +--> found: an update, if it differs
//!   file  watch (inotify) ---> read ---> parse, with places --------------------'
//! ```
//! What is known stays until something better is known: an answer that fails, or is empty, and a file that cannot be read or is not a list
//! change nothing but the source's [`Status`]. So a name server's bad day does not take a backend away.

mod dns;
mod file;
mod pace;
mod resolve;
mod source;
mod watch;

use crate::config::Discovery as Source;
use pace::Pace;
use resolve::Resolver;
use serde::Serialize;
use source::Found;
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::AbortHandle};
use watch::Watch;
use weirgate_dataplane::snapshot::Endpoint;

/// A backend's endpoints have changed.
#[derive(Clone, PartialEq, Debug)]
pub struct EndpointUpdate {
    /// Who says so.
    pub source: Source,
    /// All of them, in the order of their addresses, each once.
    pub endpoints: Vec<Endpoint>,
}

/// How names are asked for, and how often.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whom to ask; none: as the system does (`/etc/resolv.conf`, `/etc/hosts`).
    pub nameservers: Vec<SocketAddr>,
    /// How long an answer may take, each time that it is asked for.
    pub timeout: Duration,
    /// How often it is asked for once more.
    pub retries: usize,
    /// Whether an answer without addresses empties the backend. Otherwise it counts as a failure.
    pub take_empty: bool,
    /// Spreads questions over time; any number will do, another on each node.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { nameservers: Vec::new(), timeout: Duration::from_secs(2), retries: 2, take_empty: false, seed: 0 }
    }
}

/// How a source is.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The backend's name in the snapshot.
    pub backend: String,
    /// `dns` or `file`.
    pub kind: &'static str,
    /// The name that is asked for, or the file.
    pub source: String,
    /// How many endpoints are known.
    pub endpoints: usize,
    /// How old the last good answer is; `None`: there has been none.
    pub age_ms: Option<u64>,
    /// Good answers so far.
    pub answers: u64,
    /// Bad ones so far.
    pub failures: u64,
    /// What is wrong now.
    pub error: Option<String>,
    /// Nothing is known yet: there are no endpoints until it answers.
    pub pending: bool,
    /// Endpoints that are not served: they are the gateway's own addresses.
    pub left_out: Vec<SocketAddr>,
    /// Why the data plane refuses what was found last.
    pub refused: Option<String>,
}

impl Status {
    /// One that has not been asked yet.
    pub fn of(source: &Source) -> Self {
        let (kind, name) = match source {
            Source::Dns { name, .. } => ("dns", name.clone()),
            Source::File { path, .. } => ("file", path.display().to_string()),
        };
        Self {
            backend: source.backend().to_owned(),
            kind,
            source: name,
            endpoints: 0,
            age_ms: None,
            answers: 0,
            failures: 0,
            error: None,
            pending: true,
            left_out: Vec::new(),
            refused: None,
        }
    }
}

/// All sources. Dropping it ends their tasks.
pub struct Discovery {
    options: Options,
    updates: mpsc::Sender<EndpointUpdate>,
    running: BTreeMap<String, Running>,
    resolver: Arc<Resolver>,
    watch: Arc<Watch>,
    /// Makes each source's pace another.
    started: u64,
}

struct Running {
    source: Source,
    found: Arc<Found>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.found.close();
        self.task.abort();
    }
}

impl Discovery {
    /// Nothing yet. Whoever holds the receiver gets an update whenever a backend's endpoints differ from those told last.
    pub fn new(options: Options, updates: mpsc::Sender<EndpointUpdate>) -> Self {
        let resolver = Arc::new(Resolver::new(&options));
        Self { options, updates, running: BTreeMap::new(), resolver, watch: Arc::new(Watch::new()), started: 0 }
    }

    /// From now on these are the sources. One that stays as it is keeps what it knows and says nothing; see [`Self::known`]. Must be called
    /// within a runtime.
    pub fn set(&mut self, sources: &[Source]) {
        let wanted: BTreeMap<&str, &Source> = sources.iter().map(|source| (source.backend(), source)).collect();
        self.running.retain(|backend, running| wanted.get(backend.as_str()) == Some(&&running.source));
        for (backend, source) in wanted {
            if !self.running.contains_key(backend) {
                let running = self.start(source.clone());
                self.running.insert(backend.to_owned(), running);
            }
        }
    }

    /// The endpoints of each source that has told any.
    pub fn known(&self) -> Vec<EndpointUpdate> {
        self.running.values().filter_map(|running| running.found.known()).collect()
    }

    /// How each source is.
    pub fn status(&self) -> Vec<Status> {
        self.running.values().map(|running| running.found.status()).collect()
    }

    fn start(&mut self, source: Source) -> Running {
        self.started += 1;
        let found = Arc::new(Found::new(&source, self.updates.clone()));
        let pace = Pace::new(self.options.seed.wrapping_add(self.started));
        let task = match &source {
            Source::Dns { name, kind, port, refresh_ms, .. } => {
                let asks = dns::Asks {
                    name: name.clone(),
                    kind: *kind,
                    port: port.unwrap_or_default(),
                    refresh: refresh_ms.map(Duration::from_millis),
                    take_empty: self.options.take_empty,
                };
                tokio::spawn(dns::run(asks, Arc::clone(&self.resolver), Arc::clone(&found), pace))
            }
            Source::File { path, .. } => {
                tokio::spawn(file::run(path.clone(), Arc::clone(&self.watch), Arc::clone(&found)))
            }
        };
        Running { source, found, task: task.abort_handle() }
    }
}

#[cfg(test)]
mod tests;
