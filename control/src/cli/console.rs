//! Where verbs write, and how they end.

use super::style::{Style, Tone};
use clap::ValueEnum;
use serde::Serialize;
use std::{
    fmt,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

/// How data is shown.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
pub(super) enum Format {
    /// For people; it may change.
    #[default]
    Table,
    /// For programs; fields are added, and never renamed.
    Json,
    /// The same as JSON.
    Yaml,
}

/// The exit codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Exit {
    /// Everything went well.
    Done = 0,
    /// What was looked at is wrong, differs, or was refused.
    Findings = 1,
    /// What was asked for makes no sense. clap ends with it too.
    Usage = 2,
    /// The daemon or the data plane cannot be reached.
    Unreachable = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a verb did not do what it should.
#[derive(Debug)]
pub(super) enum Failure {
    /// Something to tell the person who typed.
    Told {
        /// How it ends.
        exit: Exit,
        /// What is wrong in a configuration, each with its place.
        findings: Vec<String>,
        /// What is wrong; a sentence without a full stop.
        message: String,
        /// What to check or to type next; may be several lines.
        next: Option<String>,
    },
    /// Nobody reads what is written, or it cannot be written.
    Output(io::Error),
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self::Told { exit, findings: Vec::new(), message: message.into(), next: None }
    }
    /// With what to do about it.
    pub(super) fn next(self, what: impl Into<String>) -> Self {
        match self {
            Self::Told { exit, findings, message, .. } => {
                Self::Told { exit, findings, message, next: Some(what.into()) }
            }
            Self::Output(_) => self,
        }
    }
    pub(super) fn findings(message: impl Into<String>) -> Self {
        Self::new(Exit::Findings, message)
    }
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// A verb's world: two streams, and what they can show.
pub(super) struct Console<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// Of standard output.
    pub(super) style: Style,
    /// Of standard error.
    pub(super) err_style: Style,
    /// Columns of the terminal; `None`: standard output is none, and nothing is cut.
    pub(super) width: Option<usize>,
}

impl<'a> Console<'a> {
    /// This process's streams.
    pub(super) fn of_process(out: &'a mut io::StdoutLock<'static>, err: &'a mut io::StderrLock<'static>) -> Self {
        let (style, err_style) = (Style::of(out), Style::of(err));
        let width = out.is_terminal().then(ratatui::crossterm::terminal::size).and_then(Result::ok);
        let width = width.map(|(columns, _)| usize::from(columns)).filter(|&columns| columns > 0);
        Self { out, err, style, err_style, width }
    }

    /// One that is looked at by a test: no colours, no width.
    #[cfg(test)]
    pub(super) fn plain(out: &'a mut Vec<u8>, err: &'a mut Vec<u8>) -> Self {
        let style = Style::default();
        Self { out, err, style, err_style: style, width: None }
    }

    /// Text as it is.
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }
    pub(super) fn line(&mut self, text: impl fmt::Display) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }
    /// Bytes as they are, seen at once.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.flush()
    }
    /// What was written is seen now.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
    /// To standard error.
    pub(super) fn say(&mut self, text: impl fmt::Display) -> io::Result<()> {
        writeln!(self.err, "{text}")
    }
    pub(super) fn warn(&mut self, text: &str) -> io::Result<()> {
        let warning = self.err_style.paint(Tone::Doubtful, "warning:");
        self.say(format_args!("{warning} {text}"))
    }

    /// Data for programs.
    pub(super) fn data(&mut self, format: Format, data: &impl Serialize) -> io::Result<()> {
        match format {
            Format::Json | Format::Table => {
                serde_json::to_writer_pretty(&mut *self.out, data)?;
                writeln!(self.out)
            }
            Format::Yaml => {
                let text = serde_saphyr::to_string(data).map_err(io::Error::other)?;
                self.print(text.trim_end())?;
                writeln!(self.out)
            }
        }
    }

    /// Data for programs, or for people what the function writes.
    pub(super) fn show<T: Serialize>(
        &mut self,
        format: Format,
        data: &T,
        people: impl FnOnce(&mut Self, &T) -> io::Result<()>,
    ) -> io::Result<()> {
        if format == Format::Table { people(self, data) } else { self.data(format, data) }
    }

    /// Says what is wrong, if something is.
    pub(super) fn end(&mut self, outcome: Result<Exit, Failure>) -> Exit {
        let flushed = self.flush();
        match outcome.and_then(|exit| Ok(flushed.map(|()| exit)?)) {
            Ok(exit) => exit,
            Err(Failure::Told { exit, findings, message, next }) => {
                // There is nowhere left to complain to.
                findings.iter().for_each(|finding| _ = self.say(finding));
                let error = self.err_style.paint(Tone::Bad, "error:");
                _ = self.say(format_args!("{error} {message}"));
                if let Some(next) = next {
                    next.lines().for_each(|line| _ = self.say(format_args!("  {line}")));
                }
                exit
            }
            // Whoever reads has seen enough, as `head` has.
            Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Err(Failure::Output(error)) => {
                _ = self.say(format_args!("error: the output cannot be written: {error}"));
                Exit::Findings
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(outcome: Result<Exit, Failure>) -> (Exit, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = Console::plain(&mut out, &mut err).end(outcome);
        (exit, String::from_utf8(err).unwrap())
    }

    #[test]
    fn a_failure_says_what_to_do() {
        let failure = Failure::findings("it is broken").next("mend it\nthen try again");
        let wanted = "error: it is broken\n  mend it\n  then try again\n";
        assert_eq!(ended(Err(failure)), (Exit::Findings, wanted.into()));
        assert_eq!(ended(Err(Failure::usage("no"))), (Exit::Usage, "error: no\n".into()));
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let gone = |kind| ended(Err(Failure::Output(kind)));
        assert_eq!(gone(io::ErrorKind::BrokenPipe.into()), (Exit::Done, String::new()));
        assert_eq!(gone(io::ErrorKind::StorageFull.into()).0, Exit::Findings);
    }

    #[test]
    fn yaml_and_json_are_the_same_data() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = Console::plain(&mut out, &mut err);
        let data = serde_json::json!({"a": [1, "x: y"], "b": null});
        console.data(Format::Yaml, &data).unwrap();
        let read: serde_json::Value = serde_saphyr::from_str(std::str::from_utf8(&out).unwrap()).unwrap();
        assert_eq!(read, data);
    }
}
