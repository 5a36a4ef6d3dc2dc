//! What is wrong in a configuration, and how values are read so that everything that is wrong is found at once.

use super::{
    Place, duration, place_of,
    raw::{Duration, Network, Size},
    read::Spanned,
    size,
};
use serde::Serialize;
use std::{fmt, ops::Deref};
use weirgate_dataplane::net::Cidr;

/// What is wrong in a configuration, and where.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// Line and column, from 1, where they are known.
    pub place: Option<(u64, u64)>,
    /// The field's path, if it is about one: `listeners[web].port`.
    pub field: Option<String>,
    /// The field's path again, and what is wrong with it.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// What is looked at: its path in the configuration, and its place in the file.
#[derive(Clone, Debug)]
pub(super) struct At {
    pub(super) path: String,
    pub(super) place: Place,
}

impl At {
    pub(super) fn new(path: impl Into<String>, place: Place) -> Self {
        Self { path: path.into(), place }
    }
    /// A field of it that has a place of its own.
    pub(super) fn said<T>(&self, field: &str, value: &Spanned<T>) -> Self {
        Self::new(format!("{}.{field}", self.path), place_of(value))
    }
    /// A field of it, at its own place.
    pub(super) fn field(&self, field: &str) -> Self {
        Self::new(format!("{}.{field}", self.path), self.place)
    }
}

/// Findings that are told.
const FINDINGS_MAX: usize = 1_000;

/// Findings of one file as they are collected.
pub(super) struct Findings<'a> {
    pub(super) file: &'a str,
    pub(super) found: &'a mut Vec<Finding>,
}

impl Findings<'_> {
    /// About the file, or a part of it that has no path.
    pub(super) fn add(&mut self, place: Place, message: impl Into<String>) {
        self.note(place, None, message.into());
    }
    /// About a field: what is said goes on behind its path.
    pub(super) fn add_of(&mut self, place: Place, path: impl Into<String>, goes_on: impl fmt::Display) {
        let path = path.into();
        let message = format!("{path}{goes_on}");
        self.note(place, Some(path), message);
    }
    fn note(&mut self, place: Place, field: Option<String>, message: String) {
        // A file that is something else altogether has one in each line.
        if !self.is_full() {
            self.found.push(Finding { file: self.file.to_owned(), place, field, message });
        }
    }
    /// Whether nothing more is told, so that nobody needs to look for what may have been meant.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= FINDINGS_MAX
    }
    pub(super) fn add_at(&mut self, (line, column): (u32, u32), message: impl Into<String>) {
        self.add(Some((line.into(), column.into())), message);
    }
    pub(super) fn say(&mut self, at: &At, message: impl fmt::Display) {
        self.add_of(at.place, &at.path, format_args!(": {message}"));
    }
    /// Keeps a value or notes why there is none.
    pub(super) fn take<T>(&mut self, place: Place, path: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|error| self.add_of(place, path, format_args!(": {error}"))).ok()
    }
    pub(super) fn keep<T>(&mut self, at: &At, result: Result<T, String>) -> Option<T> {
        self.take(at.place, &at.path, result)
    }

    /// What a word stands for, among those that work and those that will.
    pub(super) fn choose<T: Copy>(&mut self, at: &At, word: &str, works: &[(&str, T)], later: &[&str]) -> Option<T> {
        if let Some((_, meant)) = works.iter().find(|(name, _)| *name == word) {
            return Some(*meant);
        }
        if later.contains(&word) {
            self.say(at, format!("{word} is not supported in this version"));
        } else {
            let names: Vec<_> = works.iter().map(|(name, _)| *name).chain(later.iter().copied()).collect();
            self.say(at, format!("{word:?} is none of {}", names.join(", ")));
        }
        None
    }
    /// The same for a field that may be absent.
    pub(super) fn choice<T: Copy>(
        &mut self,
        at: &At,
        field: &str,
        said: Option<&Spanned<impl Deref<Target = str>>>,
        works: &[(&str, T)],
    ) -> Option<T> {
        let said = said?;
        self.choose(&at.said(field, said), &said.value, works, &[])
    }
    /// Milliseconds, if the field is there.
    pub(super) fn duration(&mut self, at: &At, field: &str, said: Option<&Spanned<Duration>>) -> Option<u64> {
        let said = said?;
        self.keep(&at.said(field, said), duration::parse(&said.value))
    }
    /// The same, where zero would leave no time for anything.
    pub(super) fn time(&mut self, at: &At, field: &str, said: Option<&Spanned<Duration>>) -> Option<u64> {
        let time = self.duration(at, field, said)?;
        if time == 0 {
            self.say(&at.said(field, said?), "0 leaves no time for anything");
        }
        Some(time)
    }
    /// Bytes, if the field is there.
    pub(super) fn bytes(&mut self, at: &At, field: &str, said: Option<&Spanned<Size>>) -> Option<usize> {
        let said = said?;
        let bytes = self.keep(&at.said(field, said), size::parse(&said.value))?;
        Some(usize::try_from(bytes).unwrap_or(usize::MAX))
    }
    pub(super) fn networks(&mut self, at: &At, field: &str, said: &[Spanned<Network>]) -> Vec<Cidr> {
        said.iter().filter_map(|said| self.keep(&at.said(field, said), said.value.parse())).collect()
    }
}
