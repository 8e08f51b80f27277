//! The files of `docs/schema/` are what the types make. To write them again: `UPDATE_SCHEMA=1 cargo test -p starling-control --test schema`.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::{fs, path::Path};

use serde_json::Value;
use starling_control::schema;

#[test]
fn the_schema_in_the_repository_is_what_the_types_make() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema");
    let update = std::env::var_os("UPDATE_SCHEMA").is_some();
    for (name, content) in schema::files() {
        let path = folder.join(name);
        if update {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &content).unwrap();
        }
        let same = fs::read_to_string(&path).is_ok_and(|found| found == content);
        assert!(same, "{} is out of date: run with UPDATE_SCHEMA=1", path.display());
    }
}

/// Calls `check` with every property in a schema, and where it is.
fn each_property(schema: &Value, place: &str, check: &mut impl FnMut(&str, &Value)) {
    let Some(object) = schema.as_object() else {
        return schema.as_array().into_iter().flatten().for_each(|item| each_property(item, place, check));
    };
    for (key, value) in object {
        let place = format!("{place}/{key}");
        if key == "properties" {
            for (name, property) in value.as_object().into_iter().flatten() {
                check(&format!("{place}/{name}"), property);
            }
        }
        each_property(value, &place, check);
    }
}

#[test]
fn every_field_of_the_schema_is_described() {
    for (name, content) in schema::files() {
        let mut fields = 0;
        each_property(&serde_json::from_str(&content).unwrap(), name, &mut |place, property| {
            fields += 1;
            // What a line is about: its `type`.
            let says = property.get("const").is_some() || property["description"].is_string();
            assert!(says, "{place} has no description");
        });
        assert!(fields > 20, "{name} has only {fields} fields");
    }
}

#[test]
fn the_page_about_bots_names_every_event_its_fields_and_what_a_call_takes() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/bots.md")).unwrap();
    let named = |name: &str| page.contains(&format!("`{name}`"));
    let event = schema::event();
    let kinds = event["oneOf"].as_array().unwrap();
    assert!(kinds.len() > 20);
    for kind in kinds {
        let name = kind["properties"]["type"]["const"].as_str().unwrap();
        assert!(named(name), "{name} is not in docs/bots.md");
    }
    let fields = kinds.iter().chain([&event]).flat_map(|kind| kind["properties"].as_object().unwrap().keys());
    for field in fields {
        assert!(named(field), "the field {field} of events is not in docs/bots.md");
    }
    let openrpc = schema::openrpc();
    let methods = openrpc["methods"].as_array().unwrap();
    for method in
        methods.iter().filter(|method| ["send", "call.set", "call.want"].contains(&method["name"].as_str().unwrap()))
    {
        for param in method["params"].as_array().unwrap() {
            let name = param["name"].as_str().unwrap();
            assert!(
                named(name) || ["chat", "call", "height"].contains(&name),
                "{name} of {} is not in docs/bots.md",
                method["name"]
            );
        }
    }
}
