//! `history`: the revisions that are kept.

use super::{
    Outcome, Shown,
    console::{Console, Exit},
    daemon::{At, Daemon},
    style::Tone,
    table::{Cell, Table},
};
use crate::admin::api::{self, ChangeSource, History as Kept, HistoryQuery, RevisionHead};
use clap::Args;
use std::io;

/// List revisions, the newest first: who put them in force, when, and why
#[derive(Args)]
#[command(after_help = "\
Examples:
  weirgate history --limit 5
  weirgate describe revision 12
  weirgate diff --from 11 --to 12")]
pub(super) struct History {
    /// At most so many
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    shown: Shown,
}

impl History {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        let query = HistoryQuery { limit: self.limit };
        let kept = Daemon::block_on(self.at.client().get_with::<Kept>(api::REVISIONS, &query))?;
        console.show(self.shown.format, &kept, print)?;
        Ok(Exit::Done)
    }
}

pub(super) fn print(console: &mut Console<'_>, kept: &Kept) -> io::Result<()> {
    let mut table = Table::new(&[">REVISION", "IN FORCE", "AT", "WHO", "FROM", "DIGEST", "MESSAGE"]);
    for head in &kept.revisions {
        let in_force = kept.current == Some(head.revision);
        table.row([
            head.revision.into(),
            Cell::new(Tone::Good, if in_force { "yes" } else { "" }),
            head.at.clone().into(),
            who(head).into(),
            from(head.source).into(),
            head.digest.chars().take(12).collect::<String>().into(),
            head.message.clone().unwrap_or_default().into(),
        ]);
    }
    table.print(console, "no revision is kept: weirgate apply FILE.. makes the first")
}

/// Whose change it was.
pub(super) fn who(head: &RevisionHead) -> String {
    match (&head.user, head.uid) {
        (Some(user), _) => user.clone(),
        (None, Some(uid)) => format!("uid {uid}"),
        (None, None) if head.source == ChangeSource::Api => "over TCP".into(),
        (None, None) => "the daemon".into(),
    }
}

/// Where it came from.
pub(super) fn from(source: ChangeSource) -> String {
    match source {
        ChangeSource::Start => "files, at the start".into(),
        ChangeSource::Watch => "files, changed".into(),
        ChangeSource::Signal => "files, SIGHUP".into(),
        ChangeSource::Api => "apply".into(),
        ChangeSource::Rollback { to } => format!("rollback to {to}"),
        ChangeSource::Unconfirmed { to } => format!("unconfirmed, back to {to}"),
    }
}
