//! Fields that are set, added and removed (Gateway API: `RequestHeaderModifier`, `ResponseHeaderModifier`).

use super::{FilterError, error};
use serde::{Deserialize, Serialize};

/// A field as the configuration says it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct HeaderSpec {
    /// Its name, in any case.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What the configuration says.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderModifierSpec {
    /// In place of whatever has that name.
    pub set: Vec<HeaderSpec>,
    /// Beside whatever has that name.
    pub add: Vec<HeaderSpec>,
    /// Names that go.
    pub remove: Vec<String>,
}

/// The same, compiled.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct HeaderModifier {
    /// Names in lower case, sorted: none of these goes on as it is.
    gone: Vec<Vec<u8>>,
    /// Names in lower case, and values: they follow what goes on.
    put: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Fields that say where a message ends, whom it is for, or how this hop works: the codec writes them, and a filter that did would let two
/// readers see two messages. `Host` is for `URLRewrite`.
const NOT_OURS: [&str; 16] = [
    "close",
    "connection",
    "content-length",
    "date",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy-authentication-info",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

impl HeaderModifier {
    /// Compiles it.
    ///
    /// # Errors
    /// A name that is no token, that a filter may not touch, or that stands there twice; a value with a control character.
    pub fn compile(spec: &HeaderModifierSpec) -> Result<Self, FilterError> {
        let mut seen: Vec<Vec<u8>> = Vec::new();
        let mut name = |field: String, name: &str| -> Result<Vec<u8>, FilterError> {
            let lower = name.to_ascii_lowercase();
            if lower.is_empty() || !lower.bytes().all(is_token_byte) {
                return error(field, format!("{name:?} is not a field name (RFC 9110 section 5.1)"));
            }
            if NOT_OURS.contains(&&*lower) {
                return error(field, format!("{lower} is written by the gateway itself; a filter cannot change it"));
            }
            let lower = lower.into_bytes();
            if seen.contains(&lower) {
                return error(field, format!("{name} stands in this filter already"));
            }
            seen.push(lower.clone());
            Ok(lower)
        };
        let mut modifier = Self::default();
        for (n, field) in spec.set.iter().enumerate() {
            let lower = name(format!("set[{n}].name"), &field.name)?;
            modifier.gone.push(lower.clone());
            modifier.put.push((lower, value(format!("set[{n}].value"), &field.value)?));
        }
        for (n, field) in spec.add.iter().enumerate() {
            let lower = name(format!("add[{n}].name"), &field.name)?;
            modifier.put.push((lower, value(format!("add[{n}].value"), &field.value)?));
        }
        for (n, gone) in spec.remove.iter().enumerate() {
            modifier.gone.push(name(format!("remove[{n}]"), gone)?);
        }
        modifier.gone.sort();
        Ok(modifier)
    }

    /// Whether a field of this name, which is in lower case, goes on as it is.
    #[inline]
    pub fn keeps(&self, name: &[u8]) -> bool {
        self.gone.binary_search_by(|gone| gone.as_slice().cmp(name)).is_err()
    }

    /// The fields that go on instead of these, whose names are in lower case.
    #[inline]
    pub fn apply<'a>(
        &'a self,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        fields
            .filter(move |(name, _)| self.keeps(name))
            .chain(self.put.iter().map(|(name, value)| (&name[..], &value[..])))
    }
}

/// rfc9110 5.6.2: what names are made of.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// rfc9110 5.5: visible characters, with white space between them.
fn value(field: String, value: &str) -> Result<Vec<u8>, FilterError> {
    if value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
        return error(field, "a control character, which would begin another field");
    }
    if value.trim_matches([' ', '\t']) != value {
        return error(field, "white space at an end, which no reader keeps");
    }
    Ok(value.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{
        Version,
        h1::write::{Head, WriteError},
    };
    use arrayvec::ArrayVec;

    fn spec(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> HeaderModifierSpec {
        let fields = |list: &[(&str, &str)]| {
            list.iter().map(|(name, value)| HeaderSpec { name: (*name).into(), value: (*value).into() }).collect()
        };
        HeaderModifierSpec { set: fields(set), add: fields(add), remove: remove.iter().map(|&n| n.into()).collect() }
    }
    fn apply(spec: &HeaderModifierSpec, fields: &[(&str, &str)]) -> String {
        let modifier = HeaderModifier::compile(spec).unwrap();
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        modifier
            .apply(fields)
            .map(|(name, value)| format!("{}={}", text(name), text(value)))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn set_replaces_all_add_joins_and_remove_takes_all() {
        let fields = [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")];
        assert_eq!(apply(&spec(&[("A", "9")], &[], &[]), &fields), "b=2 c=4 a=9");
        assert_eq!(apply(&spec(&[], &[("a", "9")], &[]), &fields), "a=1 b=2 a=3 c=4 a=9");
        assert_eq!(apply(&spec(&[], &[], &["A", "C"]), &fields), "b=2");
        assert_eq!(apply(&spec(&[("x", "")], &[("y", "a b")], &["nobody"]), &fields), "a=1 b=2 a=3 c=4 x= y=a b");
        assert_eq!(apply(&HeaderModifierSpec::default(), &fields), "a=1 b=2 a=3 c=4");
    }

    #[test]
    fn what_would_change_the_message_itself_is_refused_by_name() {
        let refused = |spec: HeaderModifierSpec| HeaderModifier::compile(&spec).unwrap_err().to_string();
        let mut sink = ArrayVec::<u8, 256>::new();
        assert!(refused(spec(&[("Content-Length", "0")], &[], &[])).starts_with("set[0].name: content-length"));
        assert!(refused(spec(&[], &[], &["x", "Transfer-Encoding"])).starts_with("remove[1]: transfer-encoding"));
        assert!(refused(spec(&[], &[("host", "b")], &[])).starts_with("add[0].name: host"));
        // What the codec does not take from anybody would fail every request of the rule.
        for name in ["close", "proxy-authentication-info"] {
            let mut head = Head::response(&mut sink, 200, Version::Http11).unwrap();
            assert_eq!(head.field(name.as_bytes(), b"x"), Err(WriteError::Framing), "{name}");
            assert!(refused(spec(&[(name, "x")], &[], &[])).starts_with(&format!("set[0].name: {name}")));
        }
        assert!(refused(spec(&[("a b", "")], &[], &[])).contains("not a field name"));
        assert!(refused(spec(&[("", "")], &[], &[])).contains("not a field name"));
        assert!(refused(spec(&[("x", "a\r\nb: c")], &[], &[])).starts_with("set[0].value: a control character"));
        assert!(refused(spec(&[("x", " a")], &[], &[])).contains("white space"));
        assert!(refused(spec(&[("x", "1")], &[("X", "2")], &[])).starts_with("add[0].name: X stands"));
    }
}
