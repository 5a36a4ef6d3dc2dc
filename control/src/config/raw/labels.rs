//! Names with values, as somebody chooses them.

use crate::config::{
    read::{Path, Read, Reader, Spanned},
    schema::Schemas,
    tree::{Node, Value},
};
use serde_json::json;

/// Labels, in the order in which they are written.
#[derive(Clone, Default)]
pub(in crate::config) struct RawLabels(pub(in crate::config) Vec<(String, Spanned<String>)>);

impl Read for RawLabels {
    fn read(node: &Node, at: &Path<'_>, to: &mut Reader<'_>) -> Option<Self> {
        let Value::Map(fields) = &node.value else { return to.wants(node, at, "a mapping") };
        let mut labels = Vec::with_capacity(fields.len());
        for (key, value) in fields {
            labels.push((key.name.to_string(), Spanned::read(value, &at.field(&key.name), to)?));
        }
        Some(Self(labels))
    }
    fn schema(to: &mut Schemas) -> serde_json::Value {
        json!({ "type": "object", "additionalProperties": String::schema(to) })
    }
}
