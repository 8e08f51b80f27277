//! JSON Schema of everything that travels, made from the types. `docs/schema/` holds the same as files.

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use crate::{Error, Event, lines, methods, objects};

/// The schema of an event line (JSON Schema, draft 2020-12).
pub fn event() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Event>().to_value()
}

/// The schemas of what commands print with `--json` beside answers and events, by name (JSON Schema, draft 2020-12).
pub fn commands() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    lines::describe(&mut generator);
    // Commands that print an answer of the interface as it is.
    generator.subschema_for::<objects::Device>();
    generator.subschema_for::<objects::MediaDevices>();
    generator.subschema_for::<methods::messages::Found>();
    generator.subschema_for::<objects::Privacy>();
    generator.subschema_for::<objects::Status>();
    json!({ "$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": generator.take_definitions(true) })
}

/// All methods, as an OpenRPC document (<https://spec.open-rpc.org>).
pub fn openrpc() -> Value {
    let mut generator: SchemaGenerator = SchemaSettings::draft07()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let methods: Vec<Value> = methods::describe(&mut generator).iter().map(method).collect();
    let error = generator.subschema_for::<Error>();
    json!({
        "openrpc": "1.3.2",
        "info": {
            "title": "Starling control interface",
            "description": "JSON-RPC 2.0, one object or batch a line. Errors are of the schema Error. Unknown parameters are refused; unknown fields of results are to be ignored.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "methods": methods,
        "components": { "schemas": generator.take_definitions(true), "errors": { "Error": { "code": -32000, "message": "The method failed.", "data": error } } },
    })
}

fn method(description: &methods::Description) -> Value {
    let schema = &description.params;
    let required = methods::required(schema);
    let properties = schema.get("properties").and_then(Value::as_object);
    let params: Vec<Value> = properties
        .into_iter()
        .flatten()
        .map(|(name, property)| json!({ "name": name, "required": required.contains(name), "schema": property }))
        .collect();
    json!({
        "name": description.name,
        "description": schema.get("description"),
        "paramStructure": "by-name",
        "params": params,
        "result": { "name": "result", "schema": description.answer },
    })
}

/// The files of `docs/schema/`: their names and what is in them.
pub fn files() -> [(&'static str, String); 3] {
    [("commands.json", pretty(&commands())), ("event.json", pretty(&event())), ("openrpc.json", pretty(&openrpc()))]
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
