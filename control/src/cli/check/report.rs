//! What a check found, section by section, as `linkerd check` shows it.

use super::super::{console::Console, human::count, style::Tone};
use serde::Serialize;
use std::io;

/// All sections.
#[derive(Serialize, Default)]
pub(super) struct Report {
    pub(super) sections: Vec<Section>,
    pub(super) failures: usize,
    pub(super) warnings: usize,
}

/// Lines that belong together.
#[derive(Serialize)]
pub(super) struct Section {
    name: &'static str,
    lines: Vec<Line>,
}

/// One finding, good or bad.
#[derive(Serialize)]
struct Line {
    mark: Mark,
    /// What was found.
    what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Mark {
    Ok,
    /// It works, and not as well as it could.
    Warning,
    /// It does not work.
    Failure,
    /// It was not looked at.
    Skipped,
}

impl Section {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, lines: Vec::new() }
    }
    fn add(&mut self, mark: Mark, what: impl Into<String>, next: Option<String>) {
        self.lines.push(Line { mark, what: what.into(), next });
    }
    pub(super) fn ok(&mut self, what: impl Into<String>) {
        self.add(Mark::Ok, what, None);
    }
    pub(super) fn warn(&mut self, what: impl Into<String>, next: impl Into<String>) {
        self.add(Mark::Warning, what, Some(next.into()));
    }
    pub(super) fn fail(&mut self, what: impl Into<String>, next: impl Into<String>) {
        self.add(Mark::Failure, what, Some(next.into()));
    }
    /// A failure where it stops the gateway, otherwise a warning.
    pub(super) fn fault(&mut self, stops: bool, what: impl Into<String>, next: impl Into<String>) {
        self.add(if stops { Mark::Failure } else { Mark::Warning }, what, Some(next.into()));
    }
    pub(super) fn skip(&mut self, what: impl Into<String>) {
        self.add(Mark::Skipped, what, None);
    }
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

impl Report {
    pub(super) fn add(&mut self, section: Section) {
        if section.is_empty() {
            return;
        }
        let of = |mark| section.lines.iter().filter(|line| line.mark == mark).count();
        self.failures += of(Mark::Failure);
        self.warnings += of(Mark::Warning);
        self.sections.push(section);
    }

    pub(super) fn print(&self, console: &mut Console<'_>) -> io::Result<()> {
        for section in &self.sections {
            console.line(console.style.paint(Tone::Strong, section.name))?;
            console.line("-".repeat(section.name.len()))?;
            for Line { mark, what, next } in &section.lines {
                let (sign, tone) = mark.sign();
                console.line(format_args!("{} {what}", console.style.paint(tone, sign)))?;
                for line in next.iter().flat_map(|next| next.lines()) {
                    console.line(console.style.paint(Tone::Faint, &format!("    {line}")))?;
                }
            }
            console.line("")?;
        }
        let (tone, verdict) = match (self.failures, self.warnings) {
            (0, 0) => (Tone::Good, "ready: nothing to mend".to_owned()),
            (0, warnings) => (Tone::Doubtful, format!("ready, with {}", count(warnings, "warning"))),
            (failures, 0) => (Tone::Bad, format!("not ready: {}", count(failures, "failure"))),
            (failures, warnings) => {
                (Tone::Bad, format!("not ready: {}, {}", count(failures, "failure"), count(warnings, "warning")))
            }
        };
        console.line(console.style.paint(tone, &verdict))
    }
}

impl Mark {
    fn sign(self) -> (&'static str, Tone) {
        match self {
            Self::Ok => ("√", Tone::Good),
            Self::Warning => ("‼", Tone::Doubtful),
            Self::Failure => ("×", Tone::Bad),
            Self::Skipped => ("-", Tone::Faint),
        }
    }
}
