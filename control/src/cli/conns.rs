//! `conns`: connections that are open, as `ss -ti` shows the kernel's.

use super::{
    Outcome, Shown,
    console::{Console, Exit},
    daemon::{At, Daemon},
    human::{age, bytes, micros},
    style::Tone,
    table::{Cell, Table},
};
use crate::admin::api::{self, Connection, Connections, ConnectionsQuery};
use clap::{Args, ValueEnum};
use std::io;

/// List open connections, as `ss -ti` does for the kernel's
#[derive(Args)]
#[command(after_help = "\
Examples:
  weirgate conns --side upstream
  weirgate conns --state CLOSE-WAIT --limit 100000")]
pub(super) struct Conns {
    /// Those of this side only
    #[arg(long, value_enum, value_name = "SIDE")]
    side: Option<Side>,
    /// Those in this state only, in RFC 9293's words
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Ask for at most so many, of which the filters take their part
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000)]
    limit: u32,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Side {
    /// Clients' connections to us
    Client,
    /// Ours to backends
    Upstream,
}

impl Conns {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        let query = ConnectionsQuery { limit: Some(self.limit) };
        let mut all: Connections = Daemon::block_on(self.at.client().get_with(api::CONNECTIONS, &query))?;
        let told = all.connections.len() as u64;
        all.connections.retain(|it| self.is_wanted(it));
        console.show(self.shown.format, &all, |console, all| print(console, &all.connections))?;
        if told < all.total {
            console.warn(&format!("{told} of {} connections were asked for: --limit asks for more", all.total))?;
        }
        Ok(Exit::Done)
    }

    fn is_wanted(&self, connection: &Connection) -> bool {
        let side = match self.side {
            None => None,
            Some(Side::Client) => Some("client"),
            Some(Side::Upstream) => Some("upstream"),
        };
        side.is_none_or(|side| side == connection.side)
            && self.state.as_ref().is_none_or(|state| state.eq_ignore_ascii_case(&connection.state))
    }
}

fn print(console: &mut Console<'_>, all: &[Connection]) -> io::Result<()> {
    let heads = ["STATE", "SIDE", "LOCAL", "PEER", ">WORKER", "BUSY", ">RTT", ">CWND", ">IN FLIGHT", ">AGE"];
    let mut table = Table::new(&heads);
    for it in all {
        let state_tone = if it.state == "ESTABLISHED" { Tone::Good } else { Tone::Doubtful };
        table.row([
            Cell::new(state_tone, it.state.clone()),
            it.side.clone().into(),
            it.local.clone().into(),
            it.remote.clone().into(),
            it.worker.into(),
            if it.busy { "yes" } else { "" }.into(),
            if it.srtt_us == 0 { "-".into() } else { micros(it.srtt_us) }.into(),
            bytes(it.cwnd).into(),
            bytes(it.in_flight).into(),
            age(it.age_ms).into(),
        ]);
    }
    table.print(console, "no such connection is open")
}
