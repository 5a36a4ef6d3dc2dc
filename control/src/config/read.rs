//! From nodes to the raw form, field by field. Whatever is wrong is noted and the next field looked at, so that all of it is found at once.
//!
//! A type of the raw form is a table, written with [`raw!`]: its reader and its part of the published schema are made of the same rows.

use super::{
    Environment, Place,
    findings::Findings,
    names,
    schema::Schemas,
    tree::{Node, Value},
};
use serde_json::json;
use std::fmt;

/// A value, its place, and its number if it is an element of a list.
#[derive(Clone, Debug)]
pub(super) struct Spanned<T> {
    pub(super) value: T,
    pub(super) place: Place,
    pub(super) number: usize,
}

impl<T> Spanned<T> {
    /// Something else in the same place.
    pub(super) fn with<U>(&self, value: U) -> Spanned<U> {
        Spanned { value, place: self.place, number: self.number }
    }
}

pub(super) fn place_of<T>(value: &Spanned<T>) -> Place {
    value.place
}

/// Where a node is in its document, as steps from the root.
pub(super) struct Path<'p> {
    up: Option<&'p Path<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Root,
    Field(&'p str),
    /// An element of a list, with its name if it goes by one.
    Item(usize, Option<&'p str>),
}

impl Path<'_> {
    pub(super) const ROOT: Path<'static> = Path { up: None, step: Step::Root };

    pub(super) fn field<'p>(&'p self, name: &'p str) -> Path<'p> {
        Path { up: Some(self), step: Step::Field(name) }
    }
    fn item<'p>(&'p self, number: usize, name: Option<&'p str>) -> Path<'p> {
        Path { up: Some(self), step: Step::Item(number, name) }
    }
    fn number(&self) -> usize {
        if let Step::Item(number, _) = self.step { number } else { 0 }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_first = self.up.is_none_or(|up| matches!(up.step, Step::Root));
        if let Some(up) = self.up {
            up.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) if is_first => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
            Step::Item(_, Some(name)) => write!(f, "[{name}]"),
            Step::Item(number, None) => write!(f, "[{number}]"),
        }
    }
}

/// Reads the documents of a file.
pub(super) struct Reader<'a> {
    pub(super) findings: Findings<'a>,
    pub(super) environment: &'a Environment,
    /// Elements that could not be read, by their types: they are there all the same, and what refers to them is not wrong. Without a name, it
    /// may be any.
    pub(super) lost: Vec<Lost>,
}

/// An element that could not be read.
pub(super) struct Lost {
    /// Its table.
    pub(super) table: &'static str,
    /// Its name, if that could be read.
    pub(super) name: Option<String>,
}

/// How something is read from a node; what is wrong has been noted when it is `None`.
pub(super) trait Read: Sized {
    /// The field by which elements of a list are called in findings.
    const NAMED: Option<&'static str> = None;
    /// The table, for what is [`Lost`].
    const TABLE: &'static str = "";
    fn read(node: &Node, at: &Path<'_>, to: &mut Reader<'_>) -> Option<Self>;
    /// What it looks like, as a JSON schema.
    fn schema(to: &mut Schemas) -> serde_json::Value;
}

impl Reader<'_> {
    pub(super) fn say(&mut self, place: (u32, u32), at: &Path<'_>, message: impl fmt::Display) {
        match at.up {
            // The document itself has no path.
            None => self.findings.add_at(place, message.to_string()),
            Some(_) => self.of(place, at, format_args!(": {message}")),
        }
    }

    /// What is said goes on behind the field's path.
    fn of(&mut self, (line, column): (u32, u32), at: &Path<'_>, goes_on: impl fmt::Display) {
        self.findings.add_of(Some((line.into(), column.into())), at.to_string(), goes_on);
    }

    pub(super) fn wants<T>(&mut self, node: &Node, at: &Path<'_>, what: &str) -> Option<T> {
        self.say(node.place, at, format!("{what} is needed here, not {}", node.kind()));
        None
    }

    /// Looks through a mapping's fields for those that it does not have, and refuses those that do not work yet.
    pub(super) fn fields(&mut self, node: &Node, at: &Path<'_>, known: &[&str], later: &[&str]) -> Option<()> {
        let Value::Map(fields) = &node.value else { return self.wants(node, at, "a mapping") };
        for (key, value) in fields {
            let name = &*key.name;
            if later.contains(&name) {
                if !value.is_null() {
                    self.of(value.place, &at.field(name), " is not supported in this version");
                }
            } else if !known.contains(&name) {
                let hint = names::hint(name, known.iter().copied());
                self.say(key.place, at, format!("unknown field {name:?}{hint}"));
            }
        }
        Some(())
    }

    pub(super) fn missing<T>(&mut self, node: &Node, at: &Path<'_>, field: &str) -> Option<T> {
        // Whoever misspelt it was told what was meant.
        let meant = names::hint_of(field);
        let is_misspelt = |(key, _): &(super::tree::Key, Node)| names::hint(&key.name, [field]) == meant;
        let is_told = matches!(&node.value, Value::Map(fields) if fields.iter().any(is_misspelt));
        if !is_told {
            self.of(node.place, &at.field(field), " is missing");
        }
        None
    }

    /// The text of a scalar with its variables replaced, and whether it may be meant as something else than text: it has no quotes, or is a
    /// variable's value.
    fn scalar(&mut self, node: &Node, at: &Path<'_>) -> Option<(String, bool)> {
        let Value::Scalar { text, plain } = &node.value else { return self.wants(node, at, "one value") };
        if node.is_null() {
            return self.wants(node, at, "a value");
        }
        if !text.contains("${") {
            return Some((text.to_string(), *plain));
        }
        match substituted(text, self.environment) {
            Ok((text, is_changed)) => Some((text, *plain || is_changed)),
            Err(message) => {
                self.say(node.place, at, message);
                None
            }
        }
    }
}

/// Bytes of a value with its variables replaced.
const VALUE_MAX: usize = 1 << 20;

/// `${NAME}` becomes the variable's value, `$${` becomes `${`. What comes out is one value, whatever is in it.
fn substituted(text: &str, environment: &Environment) -> Result<(String, bool), String> {
    let mut out = String::new();
    let mut rest = text;
    let mut is_changed = false;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        rest = &from[2..];
        if let Some(before) = before.strip_suffix('$') {
            out += before;
            out += "${";
            continue;
        }
        out += before;
        let (name, after) = rest.split_once('}').unwrap_or((rest, ""));
        let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && name.as_bytes().first().is_some_and(|first| !first.is_ascii_digit());
        if !is_name || name.len() == rest.len() {
            return Err("${ begins a variable, as in ${NAME}; write $${ for the characters themselves".into());
        }
        let Some(value) = environment.get(name) else {
            return Err(format!("the variable {name} is not set{}", names::hint(name, environment.names())));
        };
        if out.len() + value.len() > VALUE_MAX {
            return Err(format!("more than {VALUE_MAX} bytes with the variable {name}"));
        }
        out += value;
        is_changed = true;
        rest = after;
    }
    Ok((out + rest, is_changed))
}

impl Read for String {
    fn read(node: &Node, at: &Path<'_>, to: &mut Reader<'_>) -> Option<Self> {
        to.scalar(node, at).map(|(text, _)| text)
    }
    fn schema(_: &mut Schemas) -> serde_json::Value {
        // A number or truth value without quotes is text where text is needed.
        json!({ "type": ["string", "number", "boolean"] })
    }
}

impl Read for bool {
    fn read(node: &Node, at: &Path<'_>, to: &mut Reader<'_>) -> Option<Self> {
        let (text, plain) = to.scalar(node, at)?;
        match text.as_str() {
            "true" | "True" | "TRUE" if plain => Some(true),
            "false" | "False" | "FALSE" if plain => Some(false),
            _ => {
                to.say(node.place, at, format!("{text:?} is neither true nor false{}", quotes(plain)));
                None
            }
        }
    }
    fn schema(to: &mut Schemas) -> serde_json::Value {
        to.or_variable(&json!({ "type": "boolean" }))
    }
}

fn quotes(plain: bool) -> &'static str {
    if plain { "" } else { ": take the quotes away" }
}

macro_rules! number {
    ($($type:ty)*) => { $(
        impl Read for $type {
            fn read(node: &Node, at: &Path<'_>, to: &mut Reader<'_>) -> Option<Self> {
                let (text, plain) = to.scalar(node, at)?;
                // 010 is 8 to some and 10 to others.
                let is_clear = text == "0" || !text.starts_with(['0', '+']);
                let number = text.parse().ok().filter(|_| plain && is_clear);
                if number.is_none() {
                    let (least, most) = (<$type>::MIN, <$type>::MAX);
                    to.say(node.place, at, format!("{text:?} is not a number from {least} to {most}{}", quotes(plain)));
                }
                number
            }
            fn schema(to: &mut Schemas) -> serde_json::Value {
                to.or_variable(&json!({ "type": "integer", "minimum": <$type>::MIN, "maximum": <$type>::MAX }))
            }
        }
    )* };
}
number!(u8 u16 u32 usize);

impl<T: Read> Read for Spanned<T> {
    const NAMED: Option<&'static str> = T::NAMED;
    const TABLE: &'static str = T::TABLE;
    fn read(node: &Node, at: &Path<'_>, to: &mut Reader<'_>) -> Option<Self> {
        let (line, column) = node.place;
        let place = Some((u64::from(line), u64::from(column)));
        T::read(node, at, to).map(|value| Self { value, place, number: at.number() })
    }
    fn schema(to: &mut Schemas) -> serde_json::Value {
        T::schema(to)
    }
}

/// What cannot be read is left out, and remembered as lost.
impl<T: Read> Read for Vec<T> {
    fn read(node: &Node, at: &Path<'_>, to: &mut Reader<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else { return to.wants(node, at, "a list") };
        let mut all = Self::with_capacity(items.len());
        for (number, item) in items.iter().enumerate() {
            let name = T::NAMED.and_then(|field| item.get(field)?.text());
            match T::read(item, &at.item(number, name), to) {
                Some(item) => all.push(item),
                None if T::TABLE.is_empty() => {}
                None => to.lost.push(Lost { table: T::TABLE, name: name.map(Into::into) }),
            }
        }
        Some(all)
    }
    fn schema(to: &mut Schemas) -> serde_json::Value {
        json!({ "type": "array", "items": T::schema(to) })
    }
}

/// Something that is accepted and not looked at: it belongs to somebody else.
#[derive(Clone)]
pub(super) struct Ignored;

impl Read for Ignored {
    fn read(_: &Node, _: &Path<'_>, _: &mut Reader<'_>) -> Option<Self> {
        Some(Self)
    }
    fn schema(_: &mut Schemas) -> serde_json::Value {
        json!({})
    }
}

/// Types of the raw form. A field is `required`, `optional` (an `Option`) or `default` (the type's own default if it is absent); those
/// under `later` are refused by name, and a `refused` one by whoever looks at its block. Nothing depends on those under `ignored`.
macro_rules! raw {
    (@type required $type:ty) => { $type };
    (@type optional $type:ty) => { Option<$type> };
    (@type default $type:ty) => { $type };
    (@type refused $type:ty) => { Option<$crate::config::read::Spanned<$type>> };

    (@read required $type:ty, $node:ident, $text:literal, $at:ident, $to:ident) => {
        match $node.get($text) {
            Some(node) => <$type as $crate::config::read::Read>::read(node, &$at.field($text), $to),
            None => $to.missing($node, $at, $text),
        }
    };
    (@read optional $type:ty, $node:ident, $text:literal, $at:ident, $to:ident) => {
        Some($node.get($text).and_then(|node| <$type as $crate::config::read::Read>::read(node, &$at.field($text), $to)))
    };
    (@read refused $type:ty, $node:ident, $text:literal, $at:ident, $to:ident) => {
        raw!(@read optional $crate::config::read::Spanned<$type>, $node, $text, $at, $to)
    };
    (@read default $type:ty, $node:ident, $text:literal, $at:ident, $to:ident) => {
        Some(
            $node.get($text)
                .and_then(|node| <$type as $crate::config::read::Read>::read(node, &$at.field($text), $to))
                .unwrap_or_default(),
        )
    };

    ($(
        $(#[doc = $about:literal])*
        $name:ident $([$named:literal])? $(= $derive:ident)? {
            $($(#[doc = $doc:literal])* $mode:ident $field:ident $text:literal: $type:ty,)*
        } $(=> later [$($later:literal),*])? $(=> ignored {
            $($(#[doc = $idoc:literal])* $imode:ident $itext:literal: $itype:ty,)*
        })?
    )*) => { $(
        $(#[doc = $about])*
        #[derive(Clone)]
        $(#[derive($derive)])?
        pub(in crate::config) struct $name {
            $($(#[doc = $doc])* pub(in crate::config) $field: $crate::config::read::raw!(@type $mode $type),)*
        }

        impl $crate::config::read::Read for $name {
            $(const NAMED: Option<&'static str> = Some($named);)?
            const TABLE: &'static str = stringify!($name);
            fn read(
                node: &$crate::config::tree::Node,
                at: &$crate::config::read::Path<'_>,
                to: &mut $crate::config::read::Reader<'_>,
            ) -> Option<Self> {
                to.fields(node, at, &[$($text,)* $($($itext,)*)?], &[$($($later),*)?])?;
                $($($crate::config::read::raw!(@read $imode $itype, node, $itext, at, to)?;)*)?
                $(let $field = $crate::config::read::raw!(@read $mode $type, node, $text, at, to);)*
                Some(Self { $($field: $field?,)* })
            }
            fn schema(to: &mut $crate::config::schema::Schemas) -> serde_json::Value {
                to.object(stringify!($name), concat!($($about,)*), |#[allow(unused_variables)] to| vec![
                    $(($text, stringify!($mode), concat!($($doc,)*), <$type as $crate::config::read::Read>::schema(to)),)*
                    $($(($itext, stringify!($imode), concat!($($idoc,)*), <$itype as $crate::config::read::Read>::schema(to)),)*)?
                ])
            }
        }
    )* };
}
pub(super) use raw;

/// Text of a certain form: it is read as it is, and looked at where its meaning is known; the schema says more.
macro_rules! text {
    ($($(#[doc = $about:literal])* $name:ident: $schema:tt)*) => { $(
        $(#[doc = $about])*
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub(in crate::config) struct $name(pub(in crate::config) String);

        impl std::ops::Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }
        impl $crate::config::read::Read for $name {
            fn read(
                node: &$crate::config::tree::Node,
                at: &$crate::config::read::Path<'_>,
                to: &mut $crate::config::read::Reader<'_>,
            ) -> Option<Self> {
                <String as $crate::config::read::Read>::read(node, at, to).map(Self)
            }
            fn schema(to: &mut $crate::config::schema::Schemas) -> serde_json::Value {
                to.text(stringify!($name), concat!($($about,)*), &serde_json::json!($schema))
            }
        }
    )* };
}
pub(super) use text;
