use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// How a change is written down: the name of a format, or a table of its `type` and settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    Json(Json),
    Debezium(Debezium),
    SqliteCdc(SqliteCdc),
}

/// The settings of `json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Json {
    pub integers: Integers,
}

/// How integers are written that a double cannot hold, those beyond 2^53.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Integers {
    /// As numbers, exactly; a reader must not read them as doubles.
    #[default]
    Number,
    /// As strings.
    String,
}

/// The settings of `debezium`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Debezium {
    /// Whether each message carries its schema.
    pub schemas: bool,
    /// Whether a delete is followed by a message without value.
    pub tombstones: bool,
    /// The logical name in `source.name` and in the names of schemas; the pipeline's by default.
    pub name: Option<String>,
    /// What `source.connector` says.
    pub connector: String,
    /// What `source.db` says.
    pub database: String,
}

/// The settings of `sqlite-cdc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SqliteCdc {
    /// Whether the changes of one write are one message, `{"changes":[…]}`.
    pub batch: bool,
}

impl Default for Format {
    fn default() -> Self {
        Format::Json(Json::default())
    }
}

impl Default for Debezium {
    fn default() -> Self {
        Self {
            schemas: false,
            tombstones: true,
            name: None,
            connector: "rowtide".to_owned(),
            database: String::new(),
        }
    }
}

const JSON: &str = "json";
const DEBEZIUM: &str = "debezium";
const SQLITE_CDC: &str = "sqlite-cdc";
const NAMES: &[&str] = &[JSON, DEBEZIUM, SQLITE_CDC];

/// The settings of all formats; which of them may be there depends on `type`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    r#type: Name,
    integers: Option<Integers>,
    schemas: Option<bool>,
    tombstones: Option<bool>,
    name: Option<String>,
    connector: Option<String>,
    database: Option<String>,
    batch: Option<bool>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Name {
    Json,
    Debezium,
    SqliteCdc,
}

impl Name {
    fn with_defaults(self) -> Format {
        match self {
            Name::Json => Format::Json(Json::default()),
            Name::Debezium => Format::Debezium(Debezium::default()),
            Name::SqliteCdc => Format::SqliteCdc(SqliteCdc::default()),
        }
    }

    /// The keys that this format has beside `type`.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Name::Json => &["integers"],
            Name::Debezium => &["schemas", "tombstones", "name", "connector", "database"],
            Name::SqliteCdc => &["batch"],
        }
    }
}

impl Table {
    fn given(&self) -> impl Iterator<Item = &'static str> {
        let given = [
            ("integers", self.integers.is_some()),
            ("schemas", self.schemas.is_some()),
            ("tombstones", self.tombstones.is_some()),
            ("name", self.name.is_some()),
            ("connector", self.connector.is_some()),
            ("database", self.database.is_some()),
            ("batch", self.batch.is_some()),
        ];
        given.into_iter().filter(|(_, is_given)| *is_given).map(|(key, _)| key)
    }

    fn into_format<E: de::Error>(self) -> Result<Format, E> {
        let keys = self.r#type.keys();
        if let Some(foreign) = self.given().find(|key| !keys.contains(key)) {
            return Err(E::unknown_field(foreign, keys));
        }
        Ok(match self.r#type {
            Name::Json => Format::Json(Json { integers: self.integers.unwrap_or_default() }),
            Name::SqliteCdc => {
                Format::SqliteCdc(SqliteCdc { batch: self.batch.unwrap_or_default() })
            }
            Name::Debezium => {
                let default = Debezium::default();
                Format::Debezium(Debezium {
                    schemas: self.schemas.unwrap_or(default.schemas),
                    tombstones: self.tombstones.unwrap_or(default.tombstones),
                    name: self.name,
                    connector: self.connector.unwrap_or(default.connector),
                    database: self.database.unwrap_or(default.database),
                })
            }
        })
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Format;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the name of a format, or { type = \"…\", … }")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Format, E> {
                let found = [Name::Json, Name::Debezium, Name::SqliteCdc]
                    .into_iter()
                    .zip(NAMES)
                    .find(|(_, text)| **text == name);
                let (format, _) = found.ok_or_else(|| E::unknown_variant(name, NAMES))?;
                Ok(format.with_defaults())
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Format, A::Error> {
                Table::deserialize(de::value::MapAccessDeserializer::new(map))?.into_format()
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Format {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Format".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "enum": NAMES },
                json_table(),
                debezium_table(),
                sqlite_cdc_table(),
            ]
        })
    }
}

fn json_table() -> serde_json::Value {
    serde_json::json!({
        "type": "object",
        "properties": {
            "type": { "const": JSON, "description": "One object a change." },
            "integers": {
                "type": "string", "enum": ["number", "string"], "default": "number",
                "description": "How integers beyond 2^53 are written, which a double cannot hold."
            }
        },
        "required": ["type"],
        "additionalProperties": false
    })
}

fn debezium_table() -> serde_json::Value {
    serde_json::json!({
        "type": "object",
        "properties": {
            "type": { "const": DEBEZIUM, "description": "Debezium's envelope." },
            "schemas": {
                "type": "boolean", "default": false,
                "description": "Whether each message carries its schema."
            },
            "tombstones": {
                "type": "boolean", "default": true,
                "description": "Whether a delete is followed by a message without value."
            },
            "name": {
                "type": "string",
                "description": "The logical name in `source.name` and in the names of schemas; the pipeline's by default."
            },
            "connector": {
                "type": "string", "default": "rowtide",
                "description": "What `source.connector` says."
            },
            "database": {
                "type": "string", "default": "",
                "description": "What `source.db` says."
            }
        },
        "required": ["type"],
        "additionalProperties": false
    })
}

fn sqlite_cdc_table() -> serde_json::Value {
    serde_json::json!({
        "type": "object",
        "properties": {
            "type": { "const": SQLITE_CDC, "description": "The lines of the program sqlite-cdc." },
            "batch": {
                "type": "boolean", "default": false,
                "description": "Whether the changes of one write are one message, `{\"changes\":[…]}`."
            }
        },
        "required": ["type"],
        "additionalProperties": false
    })
}

#[cfg(test)]
mod tests {
    use rowtide_core::settings::Settings;
    use serde_json::json;

    use super::*;

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
}
