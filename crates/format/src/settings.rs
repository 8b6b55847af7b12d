use std::fmt;

use serde::{Deserialize, Deserializer, de};

use crate::{
    Template,
    outbox::{Place, Placement, Route},
};

mod schema;
mod table;

use table::{Name, Table};

/// How a change is written down: the name of a format, or a table of its `type` and settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    Json(Json),
    Debezium(Debezium),
    SqliteCdc(SqliteCdc),
    CloudEvents(CloudEvents),
    Outbox(Box<Outbox>),
    ChangefeedPublisher,
    Spream,
}

/// What a line of a format is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// A JSON object.
    Object,
    /// Any text.
    Text,
}

impl Format {
    /// What a line of this format is.
    pub fn line_kind(&self) -> LineKind {
        match self {
            Format::Outbox(outbox) if !outbox.has_envelope() => LineKind::Text,
            _ => LineKind::Object,
        }
    }

    /// Whether messages of this format can be named so.
    ///
    /// # Errors
    /// Why not, as a lower-case fragment: one that holds several rows has a value of none of them.
    pub fn check_name(&self, name: &Template) -> Result<(), &'static str> {
        let is_joining = match self {
            Format::SqliteCdc(settings) => settings.batch,
            Format::Spream => true,
            _ => false,
        };
        match is_joining && name.is_of_row() {
            true => Err("a message of this format holds several rows, and no name is that of all"),
            false => Ok(()),
        }
    }

    /// The media type of the messages of this format, if all have the same.
    pub fn content_type(&self) -> Option<&'static str> {
        match self {
            Format::CloudEvents(settings) if settings.mode == CloudEventsMode::Structured => {
                Some("application/cloudevents+json")
            }
            Format::Outbox(outbox) if !outbox.has_envelope() => None,
            _ => Some("application/json"),
        }
    }
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
    /// Whether the changes of one write that follow each other in one table are one message,
    /// `{"changes":[…]}`.
    pub batch: bool,
}

/// The settings of `cloudevents`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEvents {
    pub mode: CloudEventsMode,
    /// The logical name in `source`, `id` and an extension; the pipeline's by default.
    pub name: Option<String>,
    /// What `source`, `type` and an extension say.
    pub connector: String,
    /// What an extension says.
    pub database: String,
    /// Whether there are extension attributes.
    pub extensions: bool,
    pub extension_case: ExtensionCase,
    /// What the name of an attribute begins with as a header, in binary mode.
    pub header_prefix: String,
    /// Whether a delete is followed by a message without value.
    pub tombstones: bool,
}

/// Where the attributes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CloudEventsMode {
    /// In the value, beside `data`.
    #[default]
    Structured,
    /// In the headers; the value is the data.
    Binary,
}

/// How the names of extension attributes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExtensionCase {
    /// In lower case, as the specification demands.
    #[default]
    Lower,
    /// As Debezium writes them, `iodebeziumtxId`.
    Keep,
}

/// The settings of `outbox`; the [module](crate::outbox) says what each is in Debezium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbox {
    pub id_column: String,
    pub key_column: String,
    pub payload_column: String,
    /// Where the time of a message is; unset, it is the time of its delivery.
    pub timestamp_column: Option<String>,
    pub route_column: String,
    pub trace_column: String,
    /// How the topic is made of the value of `route_column`.
    pub route: Route,
    /// Where further columns go.
    pub place: Vec<Placement>,
    pub on_missing_column: OnMissingColumn,
    pub on_update: OnUpdate,
    pub expand_payload: bool,
    pub expand_null: Expansion,
    pub expand_empty_array: Expansion,
    pub tombstone_on_empty_payload: bool,
    pub strings: Strings,
}

/// What becomes of a message whose table lacks a column of `place`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMissingColumn {
    /// It is refused.
    #[default]
    Error,
    /// It goes without.
    Ignore,
}

/// What becomes of an update, which an outbox should not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUpdate {
    /// It is left out, and logged as a warning.
    #[default]
    Warn,
    /// It is left out, and logged as an error.
    Error,
    /// It is refused.
    Fatal,
}

/// What becomes of a member of an expanded payload that has no type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expansion {
    #[default]
    Drop,
    Keep,
}

/// How a key and a payload that are texts are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strings {
    /// As they are.
    #[default]
    Plain,
    /// As JSON strings.
    Json,
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

impl Default for CloudEvents {
    fn default() -> Self {
        Self {
            mode: CloudEventsMode::default(),
            name: None,
            connector: "rowtide".to_owned(),
            database: String::new(),
            extensions: true,
            extension_case: ExtensionCase::default(),
            header_prefix: "ce_".to_owned(),
            tombstones: true,
        }
    }
}

impl Outbox {
    /// Whether the value is an object with the payload in it.
    pub(crate) fn has_envelope(&self) -> bool {
        self.place.iter().any(|placement| placement.place == Place::Envelope)
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            id_column: "id".to_owned(),
            key_column: "aggregateid".to_owned(),
            payload_column: "payload".to_owned(),
            timestamp_column: None,
            route_column: "aggregatetype".to_owned(),
            trace_column: "tracingspancontext".to_owned(),
            route: Route::default(),
            place: Vec::new(),
            on_missing_column: OnMissingColumn::default(),
            on_update: OnUpdate::default(),
            expand_payload: false,
            expand_null: Expansion::default(),
            expand_empty_array: Expansion::default(),
            tombstone_on_empty_payload: false,
            strings: Strings::default(),
        }
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
                let found =
                    Name::ALL.into_iter().zip(table::NAMES).find(|(_, text)| **text == name);
                let (name, _) = found.ok_or_else(|| E::unknown_variant(name, table::NAMES))?;
                Table::named(name).into_format()
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Format, A::Error> {
                Table::deserialize(de::value::MapAccessDeserializer::new(map))?.into_format()
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests;
