//! `cert`: certificates and authorities that are in force.

use super::{
    Outcome, Shown,
    console::{Console, Exit},
    daemon::{At, Daemon},
    style::Tone,
    table::{Cell, Table},
};
use crate::admin::api::{self, CertificateState, CertificateSummary, Certificates};
use clap::{Args, Subcommand};
use std::io;

/// Certificates and authorities that are in force
#[derive(Args)]
pub(super) struct Cert {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    List(List),
}

/// List certificates: for which names, until when, who uses them, and whether what is on disk is in force
///
/// Private keys are shown nowhere. Ends with 1 if something on disk cannot be put in force.
#[derive(Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  weirgate cert list
  weirgate cert list -o json | jq '.certificates[] | select(.daysLeft < 21) | .secret'"
)]
struct List {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    shown: Shown,
}

impl Cert {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        let Verb::List(List { at, shown }) = &self.verb;
        let all: Certificates = Daemon::block_on(at.client().get(api::CERTIFICATES))?;
        let is_refused = all.certificates.iter().any(|it| it.refused.is_some());
        console.show(shown.format, &all, print)?;
        Ok(if is_refused { Exit::Findings } else { Exit::Done })
    }
}

/// Days before the end from which on it is told.
pub(super) const DAYS: i64 = 21;

fn print(console: &mut Console<'_>, all: &Certificates) -> io::Result<()> {
    let mut table = Table::new(&["SECRET", "NAMES", "ISSUER", "SERIAL", "KEY", "UNTIL", ">DAYS", "USED BY", "ON DISK"]);
    for it in &all.certificates {
        let tone = match it.days_left {
            Some(days) if days < 0 => Tone::Bad,
            Some(days) if days < DAYS => Tone::Doubtful,
            _ => Tone::Plain,
        };
        table.row([
            it.secret.clone().into(),
            it.names.join(",").into(),
            it.issuer.clone().unwrap_or_else(|| "authorities".into()).into(),
            it.serial.clone().unwrap_or_else(|| "-".into()).into(),
            it.key.clone().unwrap_or_else(|| "-".into()).into(),
            it.not_after.clone().unwrap_or_else(|| "-".into()).into(),
            Cell::new(tone, it.days_left.map_or("-".into(), |days| days.to_string())),
            used_by(it).into(),
            on_disk(it),
        ]);
    }
    table.print(console, "no certificate is in force: secrets in a configuration name them")?;
    for it in &all.certificates {
        let refused = it.refused.as_ref().map(|why| format!("{}: {why} (what was before is in force)", it.secret));
        for line in refused.iter().chain(&it.warnings) {
            console.say(line)?;
        }
    }
    Ok(())
}

fn used_by(it: &CertificateSummary) -> String {
    let listeners = it.listeners.iter().map(|name| format!("listener {name}"));
    let all: Vec<_> = listeners.chain(it.backends.iter().map(|name| format!("backend {name}"))).collect();
    if all.is_empty() { "-".into() } else { all.join(", ") }
}

fn on_disk(it: &CertificateSummary) -> Cell {
    match it.state {
        CertificateState::InForce => Cell::new(Tone::Good, "in force"),
        CertificateState::Differs => Cell::new(Tone::Doubtful, "differs"),
        CertificateState::Refused => Cell::new(Tone::Bad, "refused"),
        CertificateState::Document => Cell::new(Tone::Plain, "in a document"),
    }
}
