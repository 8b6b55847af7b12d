use serde::{Deserialize, de};

use super::{
    CloudEvents, CloudEventsMode, Debezium, Expansion, ExtensionCase, Format, Integers, Json,
    OnMissingColumn, OnUpdate, Outbox, SqliteCdc, Strings,
};
use crate::outbox::{Placement, Route};

pub(super) const JSON: &str = "json";
pub(super) const DEBEZIUM: &str = "debezium";
pub(super) const SQLITE_CDC: &str = "sqlite-cdc";
pub(super) const CLOUDEVENTS: &str = "cloudevents";
pub(super) const OUTBOX: &str = "outbox";
pub(super) const CHANGEFEED_PUBLISHER: &str = "changefeed-publisher";
pub(super) const SPREAM: &str = "spream";

/// In the order of [`Name::ALL`].
pub(super) const NAMES: &[&str] =
    &[JSON, DEBEZIUM, SQLITE_CDC, CLOUDEVENTS, OUTBOX, CHANGEFEED_PUBLISHER, SPREAM];

/// Declares the settings of all formats in one table; which may be there depends on `type`.
macro_rules! table {
    ($($key:ident: $value:ty,)*) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct Table {
            r#type: Name,
            $($key: Option<$value>,)*
        }

        impl Table {
            /// The table that has nothing but a type.
            pub(super) fn named(name: Name) -> Self {
                Self { r#type: name, $($key: None,)* }
            }

            fn given(&self) -> impl Iterator<Item = &'static str> {
                let given = [$((stringify!($key), self.$key.is_some()),)*];
                given.into_iter().filter(|(_, is_given)| *is_given).map(|(key, _)| key)
            }
        }
    };
}

table! {
    integers: Integers,
    schemas: bool,
    tombstones: bool,
    name: String,
    connector: String,
    database: String,
    batch: bool,
    mode: CloudEventsMode,
    extensions: bool,
    extension_case: ExtensionCase,
    header_prefix: String,
    id_column: String,
    key_column: String,
    payload_column: String,
    timestamp_column: String,
    route_column: String,
    trace_column: String,
    topic_regex: String,
    topic_replacement: String,
    place: Vec<Placement>,
    on_missing_column: OnMissingColumn,
    on_update: OnUpdate,
    expand_payload: bool,
    expand_null: Expansion,
    expand_empty_array: Expansion,
    tombstone_on_empty_payload: bool,
    strings: Strings,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Name {
    Json,
    Debezium,
    SqliteCdc,
    #[serde(rename = "cloudevents")]
    CloudEvents,
    Outbox,
    ChangefeedPublisher,
    Spream,
}

impl Name {
    pub(super) const ALL: [Self; 7] = [
        Name::Json,
        Name::Debezium,
        Name::SqliteCdc,
        Name::CloudEvents,
        Name::Outbox,
        Name::ChangefeedPublisher,
        Name::Spream,
    ];

    /// The keys that this format has beside `type`.
    pub(super) fn keys(self) -> &'static [&'static str] {
        match self {
            Name::Json => &["integers"],
            Name::Debezium => &["schemas", "tombstones", "name", "connector", "database"],
            Name::SqliteCdc => &["batch"],
            Name::CloudEvents => &[
                "mode",
                "name",
                "connector",
                "database",
                "extensions",
                "extension_case",
                "header_prefix",
                "tombstones",
            ],
            Name::Outbox => &[
                "id_column",
                "key_column",
                "payload_column",
                "timestamp_column",
                "route_column",
                "trace_column",
                "topic_regex",
                "topic_replacement",
                "place",
                "on_missing_column",
                "on_update",
                "expand_payload",
                "expand_null",
                "expand_empty_array",
                "tombstone_on_empty_payload",
                "strings",
            ],
            Name::ChangefeedPublisher | Name::Spream => &[],
        }
    }
}

impl Table {
    pub(super) fn into_format<E: de::Error>(self) -> Result<Format, E> {
        let keys = self.r#type.keys();
        if let Some(foreign) = self.given().find(|key| !keys.contains(key)) {
            return Err(E::unknown_field(foreign, keys));
        }
        Ok(match self.r#type {
            Name::Json => Format::Json(Json { integers: self.integers.unwrap_or_default() }),
            Name::SqliteCdc => {
                Format::SqliteCdc(SqliteCdc { batch: self.batch.unwrap_or_default() })
            }
            Name::Debezium => Format::Debezium(self.into_debezium()),
            Name::CloudEvents => Format::CloudEvents(self.into_cloudevents()),
            Name::Outbox => Format::Outbox(Box::new(self.into_outbox()?)),
            Name::ChangefeedPublisher => Format::ChangefeedPublisher,
            Name::Spream => Format::Spream,
        })
    }

    fn into_debezium(self) -> Debezium {
        let default = Debezium::default();
        Debezium {
            schemas: self.schemas.unwrap_or(default.schemas),
            tombstones: self.tombstones.unwrap_or(default.tombstones),
            name: self.name,
            connector: self.connector.unwrap_or(default.connector),
            database: self.database.unwrap_or(default.database),
        }
    }

    fn into_cloudevents(self) -> CloudEvents {
        let default = CloudEvents::default();
        CloudEvents {
            mode: self.mode.unwrap_or(default.mode),
            name: self.name,
            connector: self.connector.unwrap_or(default.connector),
            database: self.database.unwrap_or(default.database),
            extensions: self.extensions.unwrap_or(default.extensions),
            extension_case: self.extension_case.unwrap_or(default.extension_case),
            header_prefix: self.header_prefix.unwrap_or(default.header_prefix),
            tombstones: self.tombstones.unwrap_or(default.tombstones),
        }
    }

    fn into_outbox<E: de::Error>(self) -> Result<Outbox, E> {
        let default = Outbox::default();
        let regex = self.topic_regex.as_deref().unwrap_or(Route::REGEX);
        let replacement = self.topic_replacement.as_deref().unwrap_or(Route::REPLACEMENT);
        let route = Route::new(regex, replacement).map_err(E::custom)?;
        let place = self.place.unwrap_or_default();
        Placement::check(&place).map_err(E::custom)?;
        Ok(Outbox {
            id_column: self.id_column.unwrap_or(default.id_column),
            key_column: self.key_column.unwrap_or(default.key_column),
            payload_column: self.payload_column.unwrap_or(default.payload_column),
            timestamp_column: self.timestamp_column,
            route_column: self.route_column.unwrap_or(default.route_column),
            trace_column: self.trace_column.unwrap_or(default.trace_column),
            route,
            place,
            on_missing_column: self.on_missing_column.unwrap_or_default(),
            on_update: self.on_update.unwrap_or_default(),
            expand_payload: self.expand_payload.unwrap_or_default(),
            expand_null: self.expand_null.unwrap_or_default(),
            expand_empty_array: self.expand_empty_array.unwrap_or_default(),
            tombstone_on_empty_payload: self.tombstone_on_empty_payload.unwrap_or_default(),
            strings: self.strings.unwrap_or_default(),
        })
    }
}
