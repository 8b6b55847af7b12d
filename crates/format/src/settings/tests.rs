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
    check(json!("changefeed-publisher"), Format::ChangefeedPublisher);
    check(json!("cloudevents"), Format::CloudEvents(CloudEvents::default()));
    let keep = CloudEvents { extension_case: ExtensionCase::Keep, ..CloudEvents::default() };
    check(json!({"type": "cloudevents", "extension_case": "keep"}), Format::CloudEvents(keep));
    check(json!("outbox"), Format::Outbox(Box::default()));
}

#[test]
fn every_setting_of_an_outbox_is_read() {
    let format = json!({
        "type": "outbox",
        "id_column": "a",
        "key_column": "b",
        "payload_column": "c",
        "timestamp_column": "d",
        "route_column": "e",
        "trace_column": "f",
        "topic_regex": "(x)",
        "topic_replacement": "$1",
        "place": ["g:header", "h:envelope:i"],
        "on_missing_column": "ignore",
        "on_update": "fatal",
        "expand_payload": true,
        "expand_null": "keep",
        "expand_empty_array": "keep",
        "tombstone_on_empty_payload": true,
        "strings": "json",
    });
    let outbox = Outbox {
        id_column: "a".to_owned(),
        key_column: "b".to_owned(),
        payload_column: "c".to_owned(),
        timestamp_column: Some("d".to_owned()),
        route_column: "e".to_owned(),
        trace_column: "f".to_owned(),
        route: Route::new("(x)", "$1").unwrap(),
        place: ["g:header", "h:envelope:i"].map(|text| Placement::parse(text).unwrap()).into(),
        on_missing_column: OnMissingColumn::Ignore,
        on_update: OnUpdate::Fatal,
        expand_payload: true,
        expand_null: Expansion::Keep,
        expand_empty_array: Expansion::Keep,
        tombstone_on_empty_payload: true,
        strings: Strings::Json,
    };
    check(format, Format::Outbox(Box::new(outbox)));
}

#[test]
fn a_topic_or_a_place_that_cannot_work_is_refused() {
    let table = json!({"type": "outbox", "place": ["a:header", "b:body"]});
    let message = "unknown place `body`: expected header, headers, envelope or partition";
    check_error(table, "format.place.1", message, None);
    let table = json!({"type": "outbox", "place": ["a:envelope:payload"]});
    check_error(table, "format", "two members of the envelope are called `payload`", None);
    let table = json!({"type": "outbox", "topic_replacement": "${kind}"});
    let message = "`topic_replacement` cannot be read: there is no group `kind`";
    check_error(table, "format", message, None);
    let near = Some("did you mean `on_update`?");
    check_error(
        json!({"type": "outbox", "on_updates": "x"}),
        "format.on_updates",
        "unknown key",
        near,
    );
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
    let tables = schema["anyOf"].as_array().unwrap()[1..].iter();
    assert_eq!(tables.len(), NAMES.len());
    for (index, (table, name)) in tables.zip(NAMES).enumerate() {
        let properties = table["properties"].as_object().unwrap();
        assert_eq!(properties["type"]["const"], *name);
        let Ok(name) = serde_json::from_value::<Name>(json!(name)) else { panic!("{name}") };
        let keys = properties.keys().filter(|key| *key != "type").map(String::as_str);
        let mut expected = name.keys().to_vec();
        expected.sort_unstable();
        let mut keys: Vec<_> = keys.collect();
        keys.sort_unstable();
        assert_eq!(keys, expected);
        for key in keys {
            let setting = &properties[key];
            assert!(!setting["description"].as_str().unwrap().is_empty());
            // A default that the schema shows is one that changes nothing.
            if let Some(default) = setting.get("default") {
                let table = json!({"type": NAMES[index], key: default});
                check(table, Table::named(name).into_format::<de::value::Error>().unwrap());
            }
        }
    }
}
