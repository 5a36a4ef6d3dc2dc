//! `describe`: one object, whole.

use super::{
    Outcome, Shown,
    console::{Console, Exit, Failure},
    daemon::{At, Daemon},
    get,
    golden::Signals,
    history,
    human::{age, count},
    style::Tone,
    table::pairs,
};
use crate::admin::api::{self, Described, DiscoveryStatus, Meters, RevisionDetails};
use clap::{Args, ValueEnum};
use std::io;

/// Show one object whole: its configuration with every default, what refers to it, and how it does
#[derive(Args)]
#[command(after_help = "\
Examples:
  weirgate describe backend cart-v1
  weirgate describe revision current")]
pub(super) struct Describe {
    /// What
    #[arg(value_enum, value_name = "KIND")]
    kind: Kind,
    /// Its name; a revision's is its number, or current
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    #[value(alias = "listeners")]
    Listener,
    #[value(alias = "routes")]
    Route,
    #[value(alias = "backends")]
    Backend,
    #[value(aliases = ["revisions", "rev"])]
    Revision,
}

impl Describe {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        let (path, kind) = match self.kind {
            Kind::Listener => (api::LISTENER, "listener"),
            Kind::Route => (api::ROUTE, "route"),
            Kind::Backend => (api::BACKEND, "backend"),
            Kind::Revision => return self.revision(console),
        };
        let client = self.at.client();
        let (described, bounds) = Daemon::block_on(async {
            let described: Described = client.get(&api::of(path, &self.name)).await?;
            // Only for people: what the meters' columns mean.
            let bounds = client.get::<Meters>(api::METERS).await.map(|meters| meters.duration_bounds_us);
            Ok::<_, Failure>((described, bounds.unwrap_or_default()))
        })?;
        console
            .show(self.shown.format, &described, |console, described| self.people(console, kind, described, &bounds))?;
        Ok(Exit::Done)
    }

    fn people(&self, console: &mut Console<'_>, kind: &str, described: &Described, bounds: &[u64]) -> io::Result<()> {
        let mut lines = vec![("Name", self.name.clone()), ("Kind", kind.to_owned())];
        lines.push(("Revision", described.revision.to_string()));
        let listed = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        if matches!(self.kind, Kind::Route) {
            lines.push(("Listeners", listed(&described.listeners)));
        } else {
            lines.push(("Routes", listed(&described.routes)));
        }
        lines.extend(described.discovery.iter().map(|it| ("Discovery", discovery(it))));
        let style = console.style;
        console.print(&pairs(style, 0, &lines))?;
        console.line(style.paint(Tone::Strong, "Configuration:"))?;
        let text = serde_saphyr::to_string(&described.object).map_err(io::Error::other)?;
        text.trim_end().lines().try_for_each(|line| console.line(format_args!("  {line}")))?;
        if !described.endpoints.is_empty() {
            console.line(style.paint(Tone::Strong, "Endpoints:"))?;
            get::endpoints(console, &described.endpoints)?;
        }
        if !described.meters.is_empty() {
            console.line(style.paint(Tone::Strong, "Served since its start:"))?;
            let signals = described.meters.iter().map(|meter| Signals::of_total(meter, bounds));
            Signals::table(&signals.collect::<Vec<_>>(), false).print(console, "nothing")?;
        }
        Ok(())
    }

    fn revision(&self, console: &mut Console<'_>) -> Outcome {
        if self.name != "current" && self.name.parse::<u64>().is_err() {
            return Err(Failure::usage(format!("{:?} is no revision: it is a number, or current", self.name)));
        }
        let path = api::of(api::REVISION, &self.name);
        let details: RevisionDetails = Daemon::block_on(self.at.client().get(&path))?;
        console.show(self.shown.format, &details, |console, details| {
            let head = &details.head;
            let lines = [
                ("Revision", head.revision.to_string()),
                ("At", head.at.clone()),
                ("Who", history::who(head)),
                ("From", history::from(head.source)),
                ("Message", head.message.clone().unwrap_or_default()),
                ("Digest", head.digest.clone()),
                ("Files", details.files.iter().map(|file| file.name.clone()).collect::<Vec<_>>().join(", ")),
            ];
            let text = pairs(console.style, 0, &lines);
            console.print(&text)?;
            console.line(format_args!("\nweirgate config dump --revision {} prints the files", head.revision))
        })?;
        Ok(Exit::Done)
    }
}

/// `dns web.example: 2 endpoints, 4s old`, and what is wrong.
fn discovery(it: &DiscoveryStatus) -> String {
    let DiscoveryStatus { kind, source, pending, endpoints, age_ms, error, left_out, refused } = it;
    let mut text = format!("{kind} {source}: ");
    text += &if *pending { "no answer yet, no endpoints until then".to_owned() } else { count(*endpoints, "endpoint") };
    text += &age_ms.map(|ms| format!(", {} old", age(ms))).unwrap_or_default();
    text += &error.as_ref().map(|error| format!("; {error}")).unwrap_or_default();
    if !left_out.is_empty() {
        text += &format!("; left out, being addresses of the gateway: {}", left_out.join(", "));
    }
    text + &refused.as_ref().map(|why| format!("; refused: {why}")).unwrap_or_default()
}
