//! YAML as it is written: documents of nodes that know where they stand. JSON is YAML, so it is read the same way.
//!
//! Nothing is judged here but YAML itself, and nothing grows beyond bounds: text, depth, and what aliases stand for have limits.

use super::findings::Findings;
use granit_parser::{Event, Marker, Parser, ScalarStyle, Span};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of one file: 100,000 routes take about 20 MB.
pub(super) const TEXT_MAX: usize = 64 << 20;
/// Lists and mappings in one another.
const DEPTH_MAX: usize = 48;
/// Nodes that the aliases of one document stand for, all together: a few lines could stand for billions.
const ALIASED_MAX: usize = 100_000;

/// A value and its place.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Node {
    /// Line and column, from 1.
    pub(super) place: (u32, u32),
    pub(super) value: Value,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    /// Text; `plain` without quotes, so that it may be meant as a number, a truth value or nothing.
    Scalar {
        text: Box<str>,
        plain: bool,
    },
    List(Vec<Node>),
    /// In the order written; no name stands there twice.
    Map(Vec<(Key, Node)>),
}

/// A field's name and its place.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Key {
    pub(super) name: Box<str>,
    pub(super) place: (u32, u32),
}

impl Node {
    /// Written as nothing, or as `null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(&**text, "" | "~" | "null" | "Null" | "NULL"))
    }
    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }
    /// A field of a mapping, unless it is null.
    pub(super) fn get(&self, field: &str) -> Option<&Self> {
        let Value::Map(fields) = &self.value else { return None };
        fields.iter().find(|(key, _)| &*key.name == field).map(|(_, node)| node).filter(|node| !node.is_null())
    }
    /// What it is, for people.
    pub(super) fn kind(&self) -> String {
        match &self.value {
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a mapping".into(),
            Value::Scalar { .. } if self.is_null() => "nothing".into(),
            Value::Scalar { text, .. } => format!("{:?}", text.chars().take(40).collect::<String>()),
        }
    }
    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar { .. } => 0,
            Value::List(items) => items.iter().map(Self::size).sum(),
            Value::Map(fields) => fields.iter().map(|(_, node)| 1 + node.size()).sum(),
        }
    }
}

/// The documents of a text, and whether all of it could be read.
pub(super) fn parse(text: &str, findings: &mut Findings<'_>) -> (Vec<Node>, bool) {
    if text.len() > TEXT_MAX {
        findings.add(None, format!("{} bytes; a file may have {TEXT_MAX}", text.len()));
        return (Vec::new(), false);
    }
    let options = granit_parser::options! { emit_comments: false, disallow_directives: true };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder::default();
    let mut is_whole = true;
    while let Some(next) = parser.next_event() {
        let fault = match next {
            Ok((event, span)) => builder.take(event, &span, findings),
            Err(error) => Err(Fault { place: place(*error.marker()), what: error.info() }),
        };
        let Err(fault) = fault else { continue };
        // What follows is another document: it is not to blame.
        findings.add_at(fault.place, fault.what);
        is_whole = false;
        builder.forget();
        if !parser.proceed_next_document().unwrap_or(false) {
            break;
        }
    }
    (builder.documents, is_whole && builder.is_whole)
}

/// Why a document cannot be read any further.
struct Fault {
    place: (u32, u32),
    what: String,
}

fn place(mark: Marker) -> (u32, u32) {
    let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    (short(mark.line().max(1)), short(mark.col() + 1))
}

/// Builds nodes from events.
#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    aliased: usize,
    is_whole: bool,
    root: Option<Node>,
}

/// A list or mapping whose end has not come.
struct Open {
    node: Node,
    anchor: usize,
    /// Of a mapping, the name whose value comes next.
    key: Option<Key>,
    names: BTreeSet<Box<str>>,
    /// `<<`: fields of others, which give way to its own.
    merged: Vec<(Key, Node)>,
}

impl Builder {
    fn forget(&mut self) {
        let documents = std::mem::take(&mut self.documents);
        *self = Self { documents, ..Self::default() };
    }

    fn take(&mut self, event: Event<'_>, span: &Span, findings: &mut Findings<'_>) -> Result<(), Fault> {
        let at = place(span.start);
        if event.tag().is_some_and(|tag| !tag.is_yaml_core_schema()) {
            return Err(Fault { place: at, what: "tags are not supported".into() });
        }
        match event {
            Event::StreamStart => self.is_whole = true,
            Event::DocumentStart(..) => {
                self.anchors.clear();
                self.aliased = 0;
                self.root = None;
            }
            Event::DocumentEnd => self.documents.extend(self.root.take().filter(|root| !root.is_null())),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                let node = Node { place: at, value: Value::Scalar { text: (&*text).into(), plain } };
                self.put(node, anchor, findings)?;
            }
            Event::SequenceStart(_, anchor, _) => self.open(at, Value::List(Vec::new()), anchor)?,
            Event::MappingStart(_, anchor, _) => self.open(at, Value::Map(Vec::new()), anchor)?,
            Event::SequenceEnd | Event::MappingEnd => self.close(findings)?,
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(Fault { place: at, what: "an alias within what it stands for".into() });
                };
                self.aliased = copied(self.aliased, node, at)?;
                let node = Node { place: at, ..node.clone() };
                self.put(node, 0, findings)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, place: (u32, u32), value: Value, anchor: usize) -> Result<(), Fault> {
        if self.open.len() == DEPTH_MAX {
            return Err(Fault { place, what: format!("more than {DEPTH_MAX} lists and mappings in one another") });
        }
        if self.open.last().is_some_and(|open| open.key.is_none() && matches!(open.node.value, Value::Map(_))) {
            return Err(Fault { place, what: "a field's name must be text".into() });
        }
        let node = Node { place, value };
        self.open.push(Open { node, anchor, key: None, names: BTreeSet::new(), merged: Vec::new() });
        Ok(())
    }

    fn close(&mut self, findings: &mut Findings<'_>) -> Result<(), Fault> {
        let mut open = self.open.pop().expect("events are balanced");
        if let Value::Map(fields) = &mut open.node.value {
            for (key, node) in open.merged {
                if open.names.insert(key.name.clone()) {
                    fields.push((key, node));
                }
            }
        }
        self.put(open.node, open.anchor, findings)
    }

    /// Puts a finished node where it belongs.
    fn put(&mut self, node: Node, anchor: usize, findings: &mut Findings<'_>) -> Result<(), Fault> {
        if anchor > 0 {
            // A copy is made here and for each alias; both count.
            self.aliased = copied(self.aliased, &node, node.place)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node.value {
            Value::List(items) => items.push(node),
            Value::Map(fields) => match open.key.take() {
                None => {
                    let Some(name) = node.text() else {
                        return Err(Fault { place: node.place, what: "a field's name must be text".into() });
                    };
                    open.key = Some(Key { name: name.into(), place: node.place });
                }
                Some(key) if &*key.name == "<<" => open.merged.extend(merged(node)?),
                Some(key) if open.names.insert(key.name.clone()) => fields.push((key, node)),
                Some(key) => {
                    self.is_whole = false;
                    findings.add_at(key.place, format!("{:?} stands there twice", key.name));
                }
            },
            Value::Scalar { .. } => unreachable!("only lists and mappings are open"),
        }
        Ok(())
    }
}

/// Nodes that aliases stand for, with a copy of this one.
fn copied(so_far: usize, node: &Node, place: (u32, u32)) -> Result<usize, Fault> {
    let all = so_far + node.size();
    let what = || format!("aliases stand for more than {ALIASED_MAX} values");
    if all > ALIASED_MAX { Err(Fault { place, what: what() }) } else { Ok(all) }
}

/// The fields that `<<` brings: of several mappings the first one's count.
fn merged(node: Node) -> Result<Vec<(Key, Node)>, Fault> {
    let place = node.place;
    let fault = || Fault { place, what: "<< takes a mapping, or a list of them".into() };
    match node.value {
        Value::Map(fields) => Ok(fields),
        Value::List(items) => {
            let all = items.into_iter().map(|item| match item.value {
                Value::Map(fields) => Ok(fields),
                _ => Err(fault()),
            });
            Ok(all.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        }
        Value::Scalar { .. } => Err(fault()),
    }
}
