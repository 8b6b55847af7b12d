//! Every file in `config-examples` is right, by `rowtide check` and by the schema.

use std::{fs, path::PathBuf};

use serde_json::{Map, Value};

use crate::support::{Sandbox, stderr};

fn examples() -> Vec<PathBuf> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config-examples");
    let files: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 4);
    files
}

#[test]
fn every_example_is_right_and_has_the_name_of_its_file() {
    let sandbox = Sandbox::new();
    for file in examples() {
        let printed = sandbox.printed(&["check", file.to_str().unwrap()]);
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert!(printed.ends_with(&format!(": pipeline `{name}` is fine\n")), "{printed}");
    }
    let all: Vec<_> = examples().iter().map(|file| file.to_str().unwrap().to_owned()).collect();
    let arguments: Vec<_> =
        std::iter::once("check").chain(all.iter().map(String::as_str)).collect();
    let output = sandbox.output(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn every_example_satisfies_the_schema_and_a_changed_one_does_not() {
    let schema: Value = serde_json::from_str(&Sandbox::new().printed(&["schema"])).unwrap();
    let definitions = schema["$defs"].as_object().unwrap();
    for file in examples() {
        let text = fs::read_to_string(&file).unwrap();
        let mut value: Value = toml::from_str(&text).unwrap();
        assert!(is_valid(&value, &schema, definitions), "{}", file.display());
        value["source"]["surprise"] = true.into();
        assert!(!is_valid(&value, &schema, definitions), "{}", file.display());
    }
}

/// As much of JSON Schema as the schema of pipeline files uses.
fn is_valid(value: &Value, schema: &Value, definitions: &Map<String, Value>) -> bool {
    let inner = |schema: &Value| is_valid(value, schema, definitions);
    if let Some(path) = schema["$ref"].as_str() {
        return inner(&definitions[path.strip_prefix("#/$defs/").unwrap()]);
    }
    let list = |key: &str| schema[key].as_array();
    list("oneOf").is_none_or(|all| all.iter().filter(|schema| inner(schema)).count() == 1)
        && list("anyOf").is_none_or(|all| all.iter().any(inner))
        && list("enum").is_none_or(|all| all.contains(value))
        && schema.get("const").is_none_or(|constant| constant == value)
        && schema.get("type").is_none_or(|names| has_type(value, names))
        && value.as_object().is_none_or(|entries| has_keys(entries, schema, definitions))
        && value.as_array().is_none_or(|items| {
            items.iter().all(|item| is_valid(item, &schema["items"], definitions))
        })
}

fn has_keys(
    entries: &Map<String, Value>,
    schema: &Value,
    definitions: &Map<String, Value>,
) -> bool {
    let required = schema["required"].as_array();
    required.is_none_or(|keys| keys.iter().all(|key| entries.contains_key(key.as_str().unwrap())))
        && entries.iter().all(|(key, value)| match schema["properties"].get(key) {
            Some(schema) => is_valid(value, schema, definitions),
            None => schema["additionalProperties"] != false,
        })
}

fn has_type(value: &Value, names: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    };
    names.as_array().map_or_else(|| is(names), |names| names.iter().any(is))
}
