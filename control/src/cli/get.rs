//! `get`: the objects that are in force, in lists.

use super::{
    Outcome, Shown,
    console::{Console, Exit, Failure},
    daemon::{At, Daemon},
    history,
    style::Tone,
    table::{Cell, Table},
};
use crate::admin::{
    api::{
        self, BackendSummary, Backends, EndpointSummary, Endpoints, EndpointsQuery, History, HistoryQuery, Listeners,
        Routes,
    },
    client::Client,
};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::{io, net::SocketAddr};

/// List objects that are in force, with what is known of them now
#[derive(Args)]
#[command(after_help = "\
Examples:
  weirgate get backends
  weirgate get endpoints cart-v1 -o json    # those of a backend
  weirgate get endpoint cart-v1/10.77.0.11:8080
  weirgate get routes shop")]
pub(super) struct Get {
    /// What
    #[arg(value_enum, value_name = "KIND")]
    kind: Kind,
    /// The one of this name; of endpoints, those of this backend, or the one at BACKEND/ADDRESS:PORT
    #[arg(value_name = "NAME")]
    name: Option<String>,
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
    #[value(aliases = ["revision", "rev"])]
    Revisions,
}

impl Get {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        let client = self.at.client();
        match self.kind {
            Kind::Listeners => {
                let mut all: Listeners = got(&client, api::LISTENERS)?;
                self.keep(&mut all.listeners, "listener", |it| &it.name)?;
                self.show(console, &all, listeners)
            }
            Kind::Routes => {
                let mut all: Routes = got(&client, api::ROUTES)?;
                self.keep(&mut all.routes, "route", |it| &it.name)?;
                self.show(console, &all, routes)
            }
            Kind::Backends => {
                let mut all: Backends = got(&client, api::BACKENDS)?;
                self.keep(&mut all.backends, "backend", |it| &it.name)?;
                self.show(console, &all, backends)
            }
            Kind::Endpoints => {
                // A backend's name may have slashes in it too.
                let name = self.name.as_deref();
                let one = name.and_then(|name| name.rsplit_once('/'));
                let one = one.and_then(|(backend, it)| Some((backend, it.parse::<SocketAddr>().ok()?.to_string())));
                let backend = one.as_ref().map(|(backend, _)| *backend).or(name).map(str::to_owned);
                let query = EndpointsQuery { backend };
                let mut all: Endpoints = Daemon::block_on(client.get_with(api::ENDPOINTS, &query))?;
                if let Some((_, address)) = &one {
                    keep(&mut all.endpoints, "endpoint", address, |it| &it.address)?;
                }
                self.show(console, &all, |console, all| endpoints(console, &all.endpoints))
            }
            Kind::Revisions => self.revisions(console, &client),
        }
    }

    fn revisions(&self, console: &mut Console<'_>, client: &Client) -> Outcome {
        let mut all: History = Daemon::block_on(client.get_with(api::REVISIONS, &HistoryQuery::default()))?;
        if let Some(name) = &self.name {
            all.revisions.retain(|head| head.revision.to_string() == *name);
            if all.revisions.is_empty() {
                return Err(
                    Failure::findings(format!("there is no revision {name}")).next("weirgate history lists them")
                );
            }
        }
        self.show(console, &all, history::print)
    }

    /// Leaves the one that is asked for.
    fn keep<T>(&self, all: &mut Vec<T>, kind: &str, name_of: impl Fn(&T) -> &String) -> Result<(), Failure> {
        self.name.as_ref().map_or(Ok(()), |name| keep(all, kind, name, name_of))
    }

    fn show<T: Serialize>(
        &self,
        console: &mut Console<'_>,
        all: &T,
        people: impl FnOnce(&mut Console<'_>, &T) -> io::Result<()>,
    ) -> Outcome {
        console.show(self.shown.format, all, people)?;
        Ok(Exit::Done)
    }
}

/// Leaves the one of this name.
fn keep<T>(all: &mut Vec<T>, kind: &str, name: &str, name_of: impl Fn(&T) -> &String) -> Result<(), Failure> {
    let known: Vec<String> = all.iter().map(&name_of).cloned().collect();
    all.retain(|it| name_of(it) == name);
    if !all.is_empty() {
        return Ok(());
    }
    Err(Failure::findings(format!("there is no {kind} {name:?}")).next(match &known[..] {
        [] => format!("there is no {kind} at all"),
        // A long list helps nobody.
        known if known.len() > 20 => format!("weirgate get {kind}s lists all {}", known.len()),
        known => format!("{kind}s: {}", known.join(", ")),
    }))
}

fn got<T: serde::de::DeserializeOwned>(client: &Client, path: &str) -> Result<T, Failure> {
    Ok(Daemon::block_on(client.get(path))?)
}

fn listeners(console: &mut Console<'_>, all: &Listeners) -> io::Result<()> {
    let mut table = Table::new(&["NAME", "PROTOCOL", "ADDRESS", ">PORT", ">ROUTES"]);
    for it in &all.listeners {
        let address = it.address.clone().unwrap_or_else(|| "*".into());
        table.row([
            it.name.clone().into(),
            it.protocol.clone().into(),
            address.into(),
            it.port.into(),
            it.routes.into(),
        ]);
    }
    table.print(console, "no listener is in force")
}

fn routes(console: &mut Console<'_>, all: &Routes) -> io::Result<()> {
    let mut table = Table::new(&["NAME", "LISTENERS", "HOSTNAMES", ">RULES", "BACKENDS"]);
    for it in &all.routes {
        let hostnames = if it.hostnames.is_empty() { "*".into() } else { it.hostnames.join(",") };
        table.row([
            it.name.clone().into(),
            it.listeners.join(",").into(),
            hostnames.into(),
            it.rules.into(),
            it.backends.join(",").into(),
        ]);
    }
    table.print(console, "no route is in force")
}

fn backends(console: &mut Console<'_>, all: &Backends) -> io::Result<()> {
    let mut table = Table::new(&["NAME", "HEALTHY", ">DRAINING", "DISCOVERY", "POLICY"]);
    for it in &all.backends {
        table.row([
            it.name.clone().into(),
            healthy(it),
            it.draining.into(),
            it.discovery.clone().into(),
            it.policy.clone().into(),
        ]);
    }
    table.print(console, "no backend is in force")
}

/// `2/3`, as kubectl counts what is ready.
fn healthy(backend: &BackendSummary) -> Cell {
    let all = backend.endpoints;
    match backend.healthy {
        None => Cell::new(Tone::Faint, format!("?/{all}")),
        Some(healthy) if healthy < all => Cell::new(Tone::Bad, format!("{healthy}/{all}")),
        Some(_) if all == 0 => Cell::new(Tone::Bad, "0/0"),
        Some(healthy) => Cell::new(Tone::Good, format!("{healthy}/{all}")),
    }
}

/// For `describe` too.
pub(super) fn endpoints(console: &mut Console<'_>, all: &[EndpointSummary]) -> io::Result<()> {
    let mut table = Table::new(&["BACKEND", "ENDPOINT", "STATE", ">WEIGHT", ">ACTIVE", ">CONNECTIONS", "LAST FOUND"]);
    for it in all {
        let (state, found) = state(it);
        let live = |number: fn(&api::EndpointLive) -> u64| {
            it.live.as_ref().map_or("-".into(), |live| number(live).to_string())
        };
        table.row([
            it.backend.clone().into(),
            it.address.clone().into(),
            state,
            it.weight.into(),
            live(|live| live.active).into(),
            live(|live| live.connections).into(),
            found.into(),
        ]);
    }
    table.print(console, "no backend has an endpoint: weirgate get backends")
}

fn state(it: &EndpointSummary) -> (Cell, String) {
    let found = it.live.as_ref().map(|live| live.health.clone()).unwrap_or_default();
    let cell = match &it.live {
        _ if it.draining => Cell::new(Tone::Doubtful, "draining"),
        None => Cell::new(Tone::Faint, "unknown"),
        Some(live) if live.healthy => Cell::judged(true, "healthy"),
        Some(_) => Cell::judged(false, "unhealthy"),
    };
    (cell, found)
}
