//! YAML to a snapshot. Text is read into a raw form that has a place for every field that the configuration will have; a field whose feature
//! does not work yet is refused by name, so that nobody relies on it.
//!
//! ```text
//!   text ---> raw ---> dataplane
//!                 ---> backends ---> listeners ---> routes, which name both ---> snapshot, checked as a whole
//! ```
//! Findings do not end this: what is wrong is replaced by something plain, and no snapshot comes out in the end.

mod backends;
mod dataplane;
mod duration;
mod environment;
mod filters;
mod findings;
mod listeners;
mod model;
mod names;
mod raw;
mod routes;
mod size;

pub use environment::Environment;
pub use findings::Finding;
pub use model::{Admin, Control, Discovery, DnsKind, Label, Metrics, Model};

use findings::{Findings, refuse};
use raw::RawFile;
use serde_saphyr::Spanned;
use std::path::Path;
use weirgate_dataplane::snapshot::{Dataplane, FORMAT, Snapshot};

/// Line and column, from 1, where they are known.
type Place = Option<(u64, u64)>;

/// A file and what was read from it.
struct Source<'a> {
    file: &'a str,
    raw: RawFile,
}

/// Compiles a configuration that may be spread over several files. All findings come at once, in the order of files and lines.
pub fn compile(files: &[(String, String)], _environment: &Environment) -> Result<Model, Vec<Finding>> {
    let mut found = Vec::new();
    let snapshot = compile_all(files, &mut found);
    let number = |finding: &Finding| files.iter().position(|(file, _)| *file == finding.file);
    found.sort_by_key(|finding| (number(finding), finding.place));
    match snapshot {
        Some(snapshot) if found.is_empty() => Ok(Model { snapshot, control: Control::default() }),
        _ => Err(found),
    }
}

fn compile_all(files: &[(String, String)], found: &mut Vec<Finding>) -> Option<Snapshot> {
    let mut sources = Vec::new();
    for (file, text) in files {
        sources.extend(parse(text, &mut Findings { file, found }).map(|raw| Source { file, raw }));
    }
    for Source { file, raw } in &sources {
        refuse("", raw.refused(), &mut Findings { file, found });
    }
    // If a file cannot be read, what others refer to may stand there: only the others' own faults are told.
    let whole = sources.len() == files.len();
    let dataplane = dataplane_block(&sources, whole, found);
    if !whole {
        return None;
    }
    let backends = backends::compile(&sources, found);
    let mut listeners = listeners::compile(&sources, found);
    routes::compile(&sources, &backends, &mut listeners, found);
    let name = sources.iter().find_map(|source| source.raw.metadata.as_ref().and_then(|m| m.name.clone()));
    if !found.is_empty() {
        return None;
    }
    let places = listeners.places;
    let snapshot = Snapshot {
        format: FORMAT,
        name: name.unwrap_or_else(|| "weirgate".into()),
        revision: 0,
        dataplane: dataplane?,
        services: listeners.services,
        http: listeners.http,
        tcp: listeners.tcp,
        backends: backends.list,
    };
    if let Err(error) = snapshot.check() {
        // Most of what is left concerns where listeners are, and then the last of those that it names has a place.
        let named = |name: &str| error.starts_with("listener") && error.contains(&format!("{name:?}"));
        let at = places.iter().rev().find(|(name, ..)| named(name));
        let (file, place) = at.map_or((files.first().map_or("", |(file, _)| file), None), |&(_, file, at)| (file, at));
        Findings { file, found }.add(place, error);
    }
    Some(snapshot)
}

fn dataplane_block(sources: &[Source<'_>], whole: bool, found: &mut Vec<Finding>) -> Option<Dataplane> {
    let mut dataplane = None;
    let mut blocks = 0;
    for Source { file, raw } in sources {
        let Some(block) = &raw.dataplane else { continue };
        let mut findings = Findings { file, found };
        blocks += 1;
        if blocks > 1 {
            findings.add(place_of(block), "a second dataplane block: there is one for a node");
        }
        dataplane = dataplane.or(dataplane::dataplane_of(&block.value, &mut findings));
    }
    if blocks == 0 && whole {
        let file = sources.first().map_or("", |source| source.file);
        Findings { file, found }.add(None, "no dataplane block: it names the cores and ports");
    }
    dataplane
}

/// Reads files for [`compile`].
pub fn read(paths: &[impl AsRef<Path>], _environment: &Environment) -> Result<Vec<(String, String)>, Vec<Finding>> {
    let mut found = Vec::new();
    let mut files = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => files.push((file, text)),
            Err(error) => found.push(Finding { file, place: None, message: format!("cannot be read: {error}") }),
        }
    }
    if found.is_empty() { Ok(files) } else { Err(found) }
}

fn place_of<T>(value: &Spanned<T>) -> Place {
    let location = value.referenced;
    let (line, column) = (location.line(), location.column());
    (line > 0).then_some((line, column))
}

fn parse(text: &str, findings: &mut Findings<'_>) -> Option<RawFile> {
    let raw: RawFile = match serde_saphyr::from_str(text) {
        Ok(raw) => raw,
        Err(error) => {
            let place = error.location().map(|l| (l.line(), l.column()));
            // The place comes first in a finding; the library says it again at the end.
            let error = error.without_snippet();
            let message = error.to_string();
            let end = message.rfind(" at line ").unwrap_or(message.len());
            let meant = match error {
                serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
                    names::hint(field, expected.iter().copied())
                }
                _ => String::new(),
            };
            findings.add(place, format!("{}{meant}", &message[..end]));
            return None;
        }
    };
    for (field, value, wants) in [("apiVersion", &raw.api_version, "weirgate/v1"), ("kind", &raw.kind, "GatewayConfig")]
    {
        match value {
            Some(said) if said.value == wants => {}
            Some(said) => {
                findings.add(place_of(said), format!("{field}: {:?}; this version reads {wants}", said.value));
            }
            None => findings.add(None, format!("{field} is missing: write {field}: {wants}")),
        }
    }
    Some(raw)
}

#[cfg(test)]
mod tests;
