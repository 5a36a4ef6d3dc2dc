//! `apply`, `confirm`, `rollback` and `diff`: what changes what is in force, or would.

use super::{
    Outcome, Shown,
    console::{Console, Exit, Failure, Format},
    daemon::{At, Daemon, sources},
    human::{age, count, micros, seconds},
    style::{Style, Tone},
};
use crate::admin::{
    api::{
        self, Applied, ApplyRequest, Change, ConfirmRequest, DiffQuery, DiffRequest, Difference, ObjectChange,
        ObjectKind, RollbackRequest, SourceFile,
    },
    client::Error,
};
use crate::config::Environment;
use clap::Args;
use std::{collections::BTreeMap, io, path::PathBuf};

/// Put a configuration in force, all of it or nothing
///
/// The files are the whole configuration: what is not in them is gone. The daemon checks them, and
/// the data plane checks them again; whoever refuses leaves everything as it was. Requests under
/// way finish on the configuration that they began with. Variables (${NAME}) have the values that they
/// have here; the daemon's own files, which it reads by itself, have those of its environment.
#[derive(Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  weirgate apply gateway.yaml -m 'a second shop'
  weirgate apply gateway.yaml --dry-run       # what would change
  weirgate apply gateway.yaml --confirm 60s   # goes back by itself, unless `weirgate confirm` is typed in time
  weirgate apply gateway.yaml --base 12       # only if revision 12 is in force: nobody else's change is undone"
)]
pub(super) struct Apply {
    /// Its files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    shown: Shown,
}

/// Put an older revision in force again, under a new number
#[derive(Args)]
#[command(after_help = "\
Examples:
  weirgate rollback         # to what was in force before
  weirgate rollback 12      # weirgate history lists them")]
pub(super) struct Rollback {
    /// Which; without it, the one that was in force before
    #[arg(value_name = "REVISION")]
    to: Option<u64>,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    shown: Shown,
}

/// How something is put in force.
#[derive(Args)]
struct How {
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
    /// Go back after this time, unless it is confirmed: 60s, 5m
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    confirm: Option<u64>,
    /// Only if this revision is in force
    #[arg(long, value_name = "REVISION")]
    base: Option<u64>,
    /// The data plane may be restarted, which a changed dataplane block takes; open connections are lost
    #[arg(long)]
    restart: bool,
    /// Why, for the history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
}

/// Keep a change that would go back by itself
#[derive(Args)]
#[command(after_help = "\
Example:
  weirgate apply gateway.yaml --confirm 60s && ./smoke-test && weirgate confirm")]
pub(super) struct Confirm {
    /// Which; without it, whichever waits
    #[arg(value_name = "REVISION")]
    revision: Option<u64>,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    shown: Shown,
}

/// Show what differs, between files and what is in force, or between revisions; ends with 1 if anything does
#[derive(Args)]
#[command(after_help = "\
Examples:
  weirgate diff gateway.yaml         # what would apply change?
  weirgate diff                      # what did the last revision change?
  weirgate diff --from 10 --to 12")]
pub(super) struct Diff {
    /// The configuration's files; - is standard input
    #[arg(value_name = "FILE", conflicts_with = "to")]
    files: Vec<PathBuf>,
    /// The older revision; without it, what is in force, or what was before --to
    #[arg(long, value_name = "REVISION")]
    from: Option<u64>,
    /// The newer revision; without it, what is in force
    #[arg(long, value_name = "REVISION")]
    to: Option<u64>,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    shown: Shown,
}

/// The variables that files name, as they are set here.
fn environment(files: &[SourceFile]) -> BTreeMap<String, String> {
    let own = Environment::of_process();
    let named = files.iter().flat_map(|file| file.text.split("${").skip(1)).filter_map(|rest| rest.split_once('}'));
    named.filter_map(|(name, _)| Some((name.to_owned(), own.get(name)?.to_owned()))).collect()
}

impl How {
    fn of_api(&self) -> api::How {
        let Self { dry_run, confirm, base, restart, message } = self;
        api::How {
            message: message.clone(),
            base: *base,
            dry_run: *dry_run,
            confirm_seconds: *confirm,
            restart: *restart,
        }
    }
}

impl Apply {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        let files = sources(&self.files)?;
        let request = ApplyRequest { environment: environment(&files), files, how: self.how.of_api() };
        let applied = Daemon::block_on(self.at.client().post::<Applied>(api::APPLY, &request));
        show(console, self.shown.format, applied)
    }
}

impl Rollback {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        let request = RollbackRequest { to: self.to, how: self.how.of_api() };
        let applied = Daemon::block_on(self.at.client().post::<Applied>(api::ROLLBACK, &request));
        show(console, self.shown.format, applied)
    }
}

impl Confirm {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        let request = ConfirmRequest { revision: self.revision };
        let applied = Daemon::block_on(self.at.client().post::<Applied>(api::CONFIRM, &request))?;
        console.show(self.shown.format, &applied, |console, applied| {
            console.line(format_args!("revision {} stays in force", applied.revision))
        })?;
        Ok(Exit::Done)
    }
}

impl Diff {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        let client = self.at.client();
        let difference = if self.files.is_empty() {
            let query = DiffQuery { from: self.from, to: self.to };
            Daemon::block_on(client.get_with::<Difference>(api::DIFF, &query))
        } else {
            let files = sources(&self.files)?;
            let request = DiffRequest { environment: environment(&files), files, from: self.from };
            Daemon::block_on(client.post::<Difference>(api::DIFF, &request))
        };
        let difference = told(console, self.shown.format, difference)?;
        console.show(self.shown.format, &difference, |console, difference| {
            let style = console.style;
            console.print(&coloured(&difference.text, style))
        })?;
        Ok(if difference.changes.is_empty() { Exit::Done } else { Exit::Findings })
    }
}

/// What the daemon says, or why not; programs get the reasons, with each finding's place, as data.
fn told<T>(console: &mut Console<'_>, format: Format, answer: Result<T, Error>) -> Result<T, Failure> {
    match answer {
        Err(Error::Refused { status, body }) if format != Format::Table => {
            console.data(format, &*body)?;
            Err(Error::Refused { status, body }.into())
        }
        answer => Ok(answer?),
    }
}

fn show(console: &mut Console<'_>, format: Format, answer: Result<Applied, Error>) -> Outcome {
    let applied = told(console, format, answer)?;
    console.show(format, &applied, people)?;
    Ok(Exit::Done)
}

fn people(console: &mut Console<'_>, applied: &Applied) -> io::Result<()> {
    let Applied { revision, changed, dry_run, restart, took_us, unconfirmed, difference } = applied;
    if !changed {
        return console.line(format_args!("nothing to change: revision {revision} says the same"));
    }
    let style = console.style;
    if *dry_run {
        console.print(&coloured(&difference.text, style))?;
        let objects = count(difference.changes.len() + difference.unlisted as usize, "object");
        let restart = if *restart { "; the data plane would be restarted (--restart)" } else { "" };
        return console.line(format_args!("dry run: {objects} would differ from revision {revision}{restart}"));
    }
    for change in &difference.changes {
        console.line(sentence(change, style))?;
    }
    if difference.unlisted > 0 {
        console.line(format_args!("  and {} more", difference.unlisted))?;
    }
    let how = match (restart, took_us) {
        (true, _) => "; the data plane was restarted".to_owned(),
        (false, Some(us)) => format!(" in every worker, after {}", micros(*us)),
        (false, None) => String::new(),
    };
    console.line(style.paint(Tone::Good, &format!("revision {revision} is in force{how}")))?;
    if let Some(waits) = unconfirmed {
        let (back, left) = (waits.back_to, age(waits.seconds_left * 1_000));
        console.line(format_args!("it goes back to revision {back} in {left} unless you type: weirgate confirm"))?;
    }
    Ok(())
}

/// `~ route http/shop: rules[0].backends`
fn sentence(change: &ObjectChange, style: Style) -> String {
    let (sign, tone) = match change.change {
        Change::Added => ("+", Tone::Good),
        Change::Removed => ("-", Tone::Bad),
        Change::Changed => ("~", Tone::Doubtful),
    };
    let kind = match change.kind {
        ObjectKind::Node => "node",
        ObjectKind::Dataplane => "dataplane",
        ObjectKind::Listener => "listener",
        ObjectKind::Route => "route",
        ObjectKind::Backend => "backend",
        ObjectKind::Control => "control",
    };
    let name = if change.name.is_empty() || change.name == kind { String::new() } else { format!(" {}", change.name) };
    let fields = if change.fields.is_empty() { String::new() } else { format!(": {}", change.fields.join(", ")) };
    style.paint(tone, &format!("{sign} {kind}{name}{fields}"))
}

/// Lines with `+` and `-`, in colours.
fn coloured(text: &str, style: Style) -> String {
    let paint = |line: &str| {
        let tone = match line.as_bytes().first() {
            Some(b'+') => Tone::Good,
            Some(b'-') => Tone::Bad,
            Some(b'@') => Tone::Faint,
            _ => Tone::Plain,
        };
        style.paint(tone, line) + "\n"
    };
    text.lines().map(paint).collect()
}
