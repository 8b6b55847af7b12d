use rowtide_core::settings::Settings;
use serde_json::json;

use super::{table::NAMES, *};

#[derive(Debug, Deserialize)]
struct Sink {
    format: Format,
}

#[track_caller]
fn check(format: serde_json::Value, expected: Format) {
    let settings = Settings::from(json!({ "format": format }));
    assert_eq!(settings.parse::<Sink>().unwrap().format, expected);
}

#[track_caller]
fn check_error(format: serde_json::Value, key: &str, message: &str, help: Option<&str>) {
    let settings = Settings::from(json!({ "format": format }));
    let error = settings.parse::<Sink>().unwrap_err();
    assert_eq!((error.setting(), error.message(), error.remedy()), (Some(key), message, help));
}

#[test]
fn a_name_or_a_table_will_do() {
    let strings = Format::Json(Json { integers: Integers::String });
    check(json!("json"), Format::default());
    check(json!("sqlite-cdc"), Format::SqliteCdc(SqliteCdc::default()));
    check(json!({"type": "json", "integers": "string"}), strings);
    check(json!({"integers": "number", "type": "json"}), Format::default());
    let debezium = Debezium { tombstones: false, ..Debezium::default() };
    check(json!({"type": "debezium", "tombstones": false}), Format::Debezium(debezium));
    let batch = Format::SqliteCdc(SqliteCdc { batch: true });
    check(json!({"type": "sqlite-cdc", "batch": true}), batch);
}

#[test]
fn every_mistake_names_its_key_and_the_way_out() {
    let near = Some("did you mean `debezium`?");
    check_error(json!("debezum"), "format", "unknown value `debezum`", near);
    check_error(json!({"type": "debezum"}), "format.type", "unknown value `debezum`", near);
    let table = json!({"type": "json", "schemas": true});
    check_error(table, "format.schemas", "unknown key", Some("expected one of integers"));
    let table = json!({"type": "json", "integer": "string"});
    let near = Some("did you mean `integers`?");
    check_error(table, "format.integer", "unknown key", near);
    check_error(json!({}), "format.type", "missing key", Some("add `type = …`"));
    let table = json!({"type": "debezium", "schemas": "x"});
    check_error(table, "format.schemas", "expected true or false, found a text", None);
}

#[test]
fn the_schema_and_the_reader_agree() {
    let schema = schemars::SchemaGenerator::default().into_root_schema_for::<Format>();
    let schema = schema.as_value();
    for (table, name) in schema["anyOf"].as_array().unwrap()[1..].iter().zip(NAMES) {
        let properties = table["properties"].as_object().unwrap();
        assert_eq!(properties["type"]["const"], *name);
        let Ok(name) = serde_json::from_value::<Name>(json!(name)) else { panic!("{name}") };
        let keys = properties.keys().filter(|key| *key != "type").map(String::as_str);
        let mut expected = name.keys().to_vec();
        expected.sort_unstable();
        let mut keys: Vec<_> = keys.collect();
        keys.sort_unstable();
        assert_eq!(keys, expected);
    }
}
