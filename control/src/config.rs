//! YAML to a model: what the data plane takes, and what only the control daemon needs. Text becomes a tree of values with their places, which
//! tables of fields read; a field whose feature does not work yet is refused by name, so that nobody relies on it.
//!
//! ```text
//!   files ---> text ---> tree ---> raw ---> dataplane, control
//!                                      ---> secrets, which backends and listeners name
//!                                      ---> backends ---> listeners ---> routes, which name both ---> model, checked as a whole
//!                                      ---> kube ------------^-------------^
//! ```
//! Findings do not end this: what is wrong is replaced by something plain or left out and remembered as lost, and no model comes out in the end.

mod backends;
mod control;
mod dataplane;
mod defaults;
mod duration;
mod environment;
mod files;
mod filters;
mod findings;
mod fuzz;
mod kube;
mod listeners;
mod model;
mod names;
mod print;
mod raw;
mod read;
mod routes;
mod schema;
mod secrets;
mod size;
mod tls;
mod tree;

pub use defaults::defaults;
pub use environment::Environment;
pub use files::read;
pub use findings::Finding;
pub use fuzz::fuzz;
pub use model::{Admin, Control, Discovery, DnsKind, Label, Material, Metrics, Model, Secret, SecretSource};
pub use print::print;
pub use schema::schema;
pub use secrets::without_keys;

use findings::Findings;
use kube::{Converted, Document, Kube};
use raw::{RawFile, RawGateway, RawHttpRoute, RawKubeSecret, RawReferenceGrant};
use read::{Path, Read, Reader, Spanned, place_of};
use std::collections::{BTreeMap, BTreeSet};
use tree::{Node, Value};
use weirgate_dataplane::snapshot::{Authorities, Certificate, Dataplane, FORMAT, Snapshot};

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
    kube: Kube<'a>,
    lost: Lost,
}

/// A listener or route, whichever document it is from.
struct Declared<'a, T> {
    file: &'a str,
    /// As findings call it.
    path: String,
    raw: &'a Spanned<T>,
    is_ours: bool,
}

/// Ours first, in the order of files, then those of Kubernetes.
fn declared<'a, T>(
    ours: impl Iterator<Item = (&'a str, String, &'a Spanned<T>)>,
    converted: &'a [Converted<'a, T>],
) -> Vec<Declared<'a, T>> {
    let ours = ours.map(|(file, path, raw)| Declared { file, path, raw, is_ours: true });
    let theirs =
        converted.iter().map(|it| Declared { file: it.file, path: it.path.clone(), raw: &it.raw, is_ours: false });
    ours.chain(theirs).collect()
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
    let Documents { sources, kube, lost } = &documents;
    for Source { file, raw } in sources {
        raw.include.iter().for_each(|said| files::check_include(file, said, files, environment.is_local, found));
    }
    let dataplane = dataplane_block(sources, lost, files, found);
    let control = control::compile(sources, found);
    let mut secrets = secrets::compile(sources, kube, lost, environment.is_local, found);
    let mut backends = backends::compile(sources, &secrets, lost, found);
    let classes: Vec<_> = sources.iter().flat_map(|it| it.raw.gateway_class_names.iter().flatten()).collect();
    let classes: Vec<_> = classes.into_iter().map(String::as_str).collect();
    let classes = if classes.is_empty() { vec![kube::CLASS] } else { classes };
    let theirs = kube::listeners(kube, &classes, &secrets, lost, found);
    let ours = sources.iter().flat_map(|it| {
        it.raw.listeners.iter().map(|raw| (it.file, format!("listeners[{}]", raw.value.name.value), raw))
    });
    let all = declared(ours, &theirs);
    let mut listeners = listeners::compile(&all, &secrets, lost, found);
    let theirs = kube::routes(kube, lost, &backends, found);
    let ours = sources
        .iter()
        .flat_map(|it| it.raw.routes.iter().map(|raw| (it.file, format!("routes[{}]", raw.value.name.value), raw)));
    routes::compile(&declared(ours, &theirs), lost, &backends, &mut listeners, found);
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
        certificates: named(&secrets.list, |(certificate, _)| certificate, Certificate::named),
        authorities: named(&secrets.list, |(_, authorities)| authorities, Authorities::named),
    };
    if let Err(error) = snapshot.check() {
        // Most of what is left concerns where listeners are, and then the last of those that it names has a place.
        let named = |name: &str| error.starts_with("listener") && error.contains(&format!("{name:?}"));
        let at = places.iter().rev().find(|(name, ..)| named(name));
        let (file, place) =
            at.map_or((files.first().map_or("", |(file, _)| file), None), |&(_, file, _, at)| (file, at));
        Findings { file, found }.add(place, error);
    }
    let discoveries = std::mem::take(&mut backends.discoveries);
    let (secrets, brought) = (std::mem::take(&mut secrets.list), std::mem::take(&mut secrets.brought));
    Some(Model { snapshot, control: Control { discoveries, secrets, ..control }, brought })
}

/// What secrets of a kind stand for, by their names only.
fn named<T>(secrets: &[Secret], is_its: impl Fn((bool, bool)) -> bool, named: impl Fn(&str) -> T) -> Vec<T> {
    secrets.iter().filter(|it| is_its(it.source.has())).map(|it| named(&it.name)).collect()
}

impl<'a> Documents<'a> {
    /// Reads every document of a file.
    fn read(&mut self, file: &'a str, text: &str, environment: &Environment, found: &mut Vec<Finding>) {
        let (roots, is_whole) = tree::parse(text, &mut Findings { file, found });
        self.lost.anything |= !is_whole;
        for root in roots {
            let mut reader = Reader { findings: Findings { file, found }, environment, lost: Vec::new() };
            let is_read = self.read_document(file, &root, &mut reader);
            reader.lost.into_iter().for_each(|lost| self.lost.add(lost));
            self.lost.anything |= is_read.is_none();
        }
    }

    fn read_document(&mut self, file: &'a str, root: &Node, reader: &mut Reader<'_>) -> Option<()> {
        let kind = kind_of(root, reader)?;
        let label = kube::label(root);
        let at = &Path::ROOT.field(&label);
        match kind {
            Kind::Config => self.sources.push(Source { file, raw: RawFile::read(root, &Path::ROOT, reader)? }),
            Kind::Gateway => {
                self.kube.gateways.push(Document { file, raw: RawGateway::read(root, at, reader)? });
            }
            Kind::HttpRoute => {
                self.kube.routes.push(Document { file, raw: RawHttpRoute::read(root, at, reader)? });
            }
            Kind::Secret => self.kube.secrets.push(Document { file, raw: RawKubeSecret::read(root, at, reader)? }),
            Kind::ReferenceGrant => self.kube.grants.push(RawReferenceGrant::read(root, at, reader)?),
        }
        Some(())
    }
}

/// What a document is.
#[derive(Clone, Copy)]
enum Kind {
    Config,
    Gateway,
    HttpRoute,
    ReferenceGrant,
    Secret,
}

/// Kinds of the Gateway API, with the versions in which they are read.
const KUBE_KINDS: [(&str, &[&str], Kind); 3] = [
    ("Gateway", &["v1"], Kind::Gateway),
    ("HTTPRoute", &["v1"], Kind::HttpRoute),
    ("ReferenceGrant", &["v1", "v1beta1"], Kind::ReferenceGrant),
];

fn kind_of(root: &Node, reader: &mut Reader<'_>) -> Option<Kind> {
    let Value::Map(_) = root.value else {
        reader.say(root.place, &Path::ROOT, format!("a mapping is needed here, not {}", root.kind()));
        return None;
    };
    let said = |field| root.get(field).and_then(Node::text);
    let version = said("apiVersion").and_then(|said| said.strip_prefix(kube::GROUP)?.strip_prefix('/'));
    let (kind, wants) = match version {
        None => {
            let is_ours = said("apiVersion") == Some("weirgate/v1") && said("kind") == Some("GatewayConfig");
            let is_secret = said("apiVersion") == Some("v1") && said("kind") == Some("Secret");
            let kind = is_ours.then_some(Kind::Config).or(is_secret.then_some(Kind::Secret));
            (kind, ["weirgate/v1".to_owned(), "GatewayConfig".to_owned()])
        }
        Some(version) => {
            let of_kind = KUBE_KINDS.iter().find(|(name, ..)| said("kind") == Some(name));
            if let (Some(node), None) = (root.get("kind"), of_kind) {
                let message = "is not supported in this version: Gateway, HTTPRoute and ReferenceGrant are";
                let kind = node.text().unwrap_or("what is not a name");
                reader.say(node.place, &Path::ROOT.field("kind"), format!("{kind} {message}"));
                return None;
            }
            let (name, versions, kind) = of_kind.copied().unwrap_or(KUBE_KINDS[0]);
            let is_read = of_kind.is_some() && versions.contains(&version);
            let version = if is_read { version } else { versions[0] };
            (is_read.then_some(kind), [format!("{}/{version}", kube::GROUP), name.to_owned()])
        }
    };
    if kind.is_some() {
        return kind;
    }
    for (field, wants) in ["apiVersion", "kind"].into_iter().zip(&wants) {
        match root.get(field) {
            Some(said) if said.text() == Some(wants) => {}
            Some(said) => {
                reader.say(
                    said.place,
                    &Path::ROOT.field(field),
                    format!("{}; this version reads {wants}", said.kind()),
                );
            }
            None => {
                let (line, column) = root.place;
                let what = format_args!(" is missing: write {field}: {wants}");
                reader.findings.add_of(Some((line.into(), column.into())), field, what);
            }
        }
    }
    None
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
            let at = findings::At::new("dataplane", place_of(block));
            findings.say(&at, "a second dataplane block: there is one for a node");
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
