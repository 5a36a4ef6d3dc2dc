//! The published JSON schema, made of the same tables that the configuration is read with, so that editors complete what works and mark what
//! does not.

use super::{
    raw::{RawFile, RawGateway, RawHttpRoute, RawKubeSecret, RawReferenceGrant},
    read::Read,
};
use serde_json::{Map, Value, json};

/// What is defined so far, by name.
#[derive(Default)]
pub(super) struct Schemas {
    defined: Map<String, Value>,
}

/// A field: its name, its mode, what is said about it, what it looks like.
pub(super) type Field = (&'static str, &'static str, &'static str, Value);

/// The schema of a configuration's documents, as it is published.
pub fn schema() -> String {
    let mut to = Schemas::default();
    let documents = [
        RawFile::schema(&mut to),
        RawGateway::schema(&mut to),
        RawHttpRoute::schema(&mut to),
        RawReferenceGrant::schema(&mut to),
        RawKubeSecret::schema(&mut to),
    ];
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Weirgate configuration",
        "oneOf": documents,
        "$defs": to.defined,
    });
    serde_json::to_string_pretty(&schema).expect("string keys only") + "\n"
}

impl Schemas {
    /// A mapping, defined once.
    pub(super) fn object(&mut self, name: &str, about: &str, fields: impl FnOnce(&mut Self) -> Vec<Field>) -> Value {
        let name = name.strip_prefix("Raw").unwrap_or(name);
        if !self.defined.contains_key(name) {
            self.defined.insert(name.into(), Value::Null);
            let mut properties = Map::new();
            let mut required = Vec::new();
            for (field, mode, about, schema) in fields(self) {
                if mode == "refused" {
                    continue;
                }
                properties.insert(field.into(), described(schema, about));
                required.extend((mode == "required").then_some(field));
            }
            let object = json!({
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            });
            self.defined.insert(name.into(), described(object, about));
        }
        reference(name)
    }

    /// Text of a certain form, defined once.
    pub(super) fn text(&mut self, name: &str, about: &str, schema: &Value) -> Value {
        let schema = self.or_variable(schema);
        self.defined.entry(name).or_insert_with(|| described(schema, about));
        reference(name)
    }

    /// This, or a variable's value in its place.
    pub(super) fn or_variable(&mut self, schema: &Value) -> Value {
        let about = "A variable of the environment; its value is read in its place.";
        let variable = json!({ "type": "string", "pattern": "\\$\\{[A-Za-z_][A-Za-z0-9_]*\\}", "description": about });
        self.defined.entry("Variable").or_insert(variable);
        json!({ "anyOf": [schema, reference("Variable")] })
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn described(mut schema: Value, about: &str) -> Value {
    let about = about.trim();
    if !about.is_empty() {
        schema["description"] = about.into();
    }
    schema
}
