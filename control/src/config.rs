//! YAML to a snapshot. Text is read into a raw form that has a place for every field that the configuration will have; a field whose feature
//! does not work yet is refused by name, so that nobody relies on it.
//!
//! ```text
//!   text ---> raw ---> dataplane
//!                 ---> backends ---> listeners ---> routes, which name both ---> snapshot, checked as a whole
//! ```
//! Findings do not end this: what is wrong is replaced by something plain, and no snapshot comes out in the end.

mod backends;
mod control;
mod dataplane;
mod duration;
mod environment;
mod files;
mod filters;
mod findings;
mod listeners;
mod model;
mod names;
mod raw;
mod read;
mod routes;
mod schema;
mod size;
mod tree;

pub use environment::Environment;
pub use files::read;
pub use findings::Finding;
pub use model::{Admin, Control, Discovery, DnsKind, Label, Metrics, Model};
pub use schema::schema;

use findings::Findings;
use raw::RawFile;
use read::{Path, Read, Reader, place_of};
use std::collections::{BTreeMap, BTreeSet};
use tree::{Node, Value};
use weirgate_dataplane::snapshot::{Dataplane, FORMAT, Snapshot};

/// Line and column, from 1, where they are known.
type Place = Option<(u64, u64)>;

/// A document of ours, and what was read from it.
struct Source<'a> {
    file: &'a str,
    raw: RawFile,
}

/// What was read from all files.
#[derive(Default)]
struct Documents<'a> {
    sources: Vec<Source<'a>>,
    lost: Lost,
}

/// What is there, but could not be read: whatever refers to it is not wrong.
#[derive(Default)]
struct Lost {
    /// Tables and names.
    named: BTreeSet<(&'static str, String)>,
    /// Tables of which any name may be there.
    tables: BTreeSet<&'static str>,
    /// Whole documents.
    anything: bool,
}

impl Lost {
    fn add(&mut self, lost: read::Lost) {
        match lost.name {
            Some(name) => _ = self.named.insert((lost.table, name)),
            None => _ = self.tables.insert(lost.table),
        }
    }
    /// Whether an element of this table may be there under this name.
    fn may_be(&self, table: &'static str, name: &str) -> bool {
        self.anything || self.tables.contains(table) || self.named.contains(&(table, name.to_owned()))
    }
    /// Whether any element of this table is missing.
    fn any_of(&self, table: &'static str) -> bool {
        self.anything || self.tables.contains(table) || self.named.iter().any(|(other, _)| *other == table)
    }
}

/// Compiles a configuration that may be spread over several files. All findings come at once, in the order of files and lines.
pub fn compile(files: &[(String, String)], environment: &Environment) -> Result<Model, Vec<Finding>> {
    let mut found = Vec::new();
    let model = compile_all(files, environment, &mut found);
    let numbers: BTreeMap<&str, usize> =
        files.iter().zip(0..).map(|((file, _), number)| (file.as_str(), number)).collect();
    found.sort_by_key(|finding| (numbers.get(finding.file.as_str()).copied(), finding.place));
    match model {
        Some(model) if found.is_empty() => Ok(model),
        _ => Err(found),
    }
}

fn compile_all(files: &[(String, String)], environment: &Environment, found: &mut Vec<Finding>) -> Option<Model> {
    let mut documents = Documents::default();
    for (file, text) in files {
        documents.read(file, text, environment, found);
    }
    let Documents { sources, lost } = &documents;
    for Source { file, raw } in sources {
        raw.include.iter().for_each(|said| files::check_include(file, said, files, found));
    }
    let dataplane = dataplane_block(sources, lost, files, found);
    let control = control::compile(sources, found);
    let mut backends = backends::compile(sources, lost, found);
    let mut listeners = listeners::compile(sources, lost, found);
    routes::compile(sources, lost, &backends, &mut listeners, found);
    let name = sources.iter().find_map(|source| source.raw.metadata.as_ref().and_then(|m| m.name.clone()));
    if !found.is_empty() {
        return None;
    }
    let places = listeners.places;
    let snapshot = Snapshot {
        format: FORMAT,
        name: name.unwrap_or_else(|| "weirgate".into()),
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
    let discoveries = std::mem::take(&mut backends.discoveries);
    Some(Model { snapshot, control: Control { discoveries, ..control } })
}

impl<'a> Documents<'a> {
    /// Reads every document of a file.
    fn read(&mut self, file: &'a str, text: &str, environment: &Environment, found: &mut Vec<Finding>) {
        let (roots, is_whole) = tree::parse(text, &mut Findings { file, found });
        self.lost.anything |= !is_whole;
        for root in roots {
            let mut reader = Reader { findings: Findings { file, found }, environment, lost: Vec::new() };
            let raw = kind_of(&root, &mut reader).and_then(|()| RawFile::read(&root, &Path::ROOT, &mut reader));
            reader.lost.into_iter().for_each(|lost| self.lost.add(lost));
            match raw {
                Some(raw) => self.sources.push(Source { file, raw }),
                None => self.lost.anything = true,
            }
        }
    }
}

/// Whether a document is one of ours.
fn kind_of(root: &Node, reader: &mut Reader<'_>) -> Option<()> {
    let Value::Map(_) = root.value else {
        reader.say(root.place, &Path::ROOT, format!("a mapping is needed here, not {}", root.kind()));
        return None;
    };
    let mut is_ours = true;
    for (field, wants) in [("apiVersion", "weirgate/v1"), ("kind", "GatewayConfig")] {
        match root.get(field) {
            Some(said) if said.text() == Some(wants) => {}
            Some(said) => {
                let text = said.kind();
                reader.say(said.place, &Path::ROOT.field(field), format!("{text}; this version reads {wants}"));
                is_ours = false;
            }
            None => {
                reader.findings.add(None, format!("{field} is missing: write {field}: {wants}"));
                is_ours = false;
            }
        }
    }
    is_ours.then_some(())
}

fn dataplane_block(
    sources: &[Source<'_>],
    lost: &Lost,
    files: &[(String, String)],
    found: &mut Vec<Finding>,
) -> Option<Dataplane> {
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
    if blocks == 0 && !lost.anything {
        let file = files.first().map_or("", |(file, _)| file);
        Findings { file, found }.add(None, "no dataplane block: it names the cores and ports");
    }
    dataplane
}

#[cfg(test)]
mod tests;
