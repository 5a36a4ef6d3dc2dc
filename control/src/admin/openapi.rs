//! The OpenAPI 3.1 description, made of the table of operations and the types that they take and give.

use super::{api::ErrorBody, operations::Operation};
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

/// Describes operations.
pub fn description(operations: &[Operation]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|it| it.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for operation in operations {
        let described = describe(operation, &mut generator);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_lowercase()] = described;
    }
    let error = generator.subschema_for::<ErrorBody>();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Weirgate's admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Over a Unix socket, whose peers are known by their user; over TCP, where it is configured, for those who look.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "responses": {"Error": {"description": "What went wrong.", "content": {"application/json": {"schema": error}}}},
            "schemas": generator.take_definitions(true),
        },
    })
}

fn describe(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let Operation { path, summary, query, body, response, kind, .. } = operation;
    let mut parameters = Vec::new();
    for name in path.split('/').filter_map(|step| step.strip_prefix('{')?.strip_suffix('}')) {
        parameters.push(json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    }
    if let Some(query) = query {
        parameters.extend(fields(*query));
    }
    let kind = kind.unwrap_or(if response.is_some() { "application/json" } else { "text/plain" });
    let schema = response.map_or_else(|| json!({"type": "string"}), |schema| schema(generator).to_value());
    let mut described = json!({
        "summary": summary,
        "operationId": id_of(operation),
        "responses": {
            "200": {"description": "It.", "content": {kind: {"schema": schema}}},
            "default": {"$ref": "#/components/responses/Error"},
        },
    });
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if let Some(body) = body {
        let schema = body(generator).to_value();
        described["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    described
}

/// The fields of a query are parameters.
fn fields(query: fn(&mut SchemaGenerator) -> schemars::Schema) -> Vec<Value> {
    let settings = SchemaSettings::draft2020_12().with(|it| it.inline_subschemas = true);
    let schema = query(&mut settings.into_generator()).to_value();
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let parameter = |(name, mut schema): (String, Value)| {
        let description = schema.as_object_mut().and_then(|it| it.remove("description")).unwrap_or_default();
        json!({"name": name, "in": "query", "required": false, "description": description, "schema": schema})
    };
    properties.into_iter().map(parameter).collect()
}

/// `getRevisionsByNumber`.
fn id_of(operation: &Operation) -> String {
    let mut id = operation.method.as_str().to_lowercase();
    for step in operation.path.split(['/', '.']).filter(|step| !step.is_empty() && *step != "v1") {
        let (by, word) = match step.strip_prefix('{').and_then(|step| step.strip_suffix('}')) {
            Some(name) => ("By", name),
            None => ("", step),
        };
        let (first, rest) = word.split_at(1);
        id += &format!("{by}{}{rest}", first.to_uppercase());
    }
    id
}
