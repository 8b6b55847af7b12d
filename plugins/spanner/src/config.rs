use std::num::NonZeroUsize;

use jiff::Timestamp;
use rowtide_core::{
    Context, Error, Operation, Result, Source, async_trait,
    plugin::Config,
    register_source,
    settings::{ByteSize, Period, Secret, Snapshot, Tables},
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{client::Address, source::SpannerSource};

/// Row changes of a Cloud Spanner database, read from a change stream.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpannerConfig {
    /// The database, as `projects/P/instances/I/databases/D`. Its dialect is found out.
    pub(crate) database: String,
    /// The change stream to read. It must exist, with `partition_mode` `IMMUTABLE_KEY_RANGE` (the
    /// default of Spanner).
    pub(crate) change_stream: String,
    /// The tables whose changes are delivered, of those that the stream watches; `"*"` in a name
    /// stands for any characters, and a name without it must exist.
    #[serde(default = "Tables::all")]
    pub(crate) tables: Tables,
    /// The operations that are delivered.
    #[serde(default = "all_operations")]
    pub(crate) operations: Vec<Operations>,
    /// Whether the rows that are already there are delivered before the changes: all tables as they
    /// were at one timestamp, and the changes since.
    #[serde(default = "never")]
    pub(crate) snapshot: Snapshot,
    /// When to begin, as `2026-11-21T10:00:00Z`; it must be inside the stream's retention. Unset,
    /// when the pipeline is started for the first time.
    pub(crate) start: Option<String>,
    /// When to end, inclusive. Unset, never.
    pub(crate) end: Option<String>,
    /// How often a partition without changes tells how far it is.
    #[serde(default = "ten_seconds")]
    pub(crate) heartbeat_every: Period,
    /// What to do once what comes next is older than the stream's retention. Anything but `"stop"`
    /// leaves changes out.
    #[serde(default)]
    pub(crate) on_lost: OnLost,
    /// The priority of all requests. Unset, what Spanner takes by default, which is high.
    pub(crate) priority: Option<Priority>,
    /// The tag of all requests, as Spanner's statistics show it.
    pub(crate) request_tag: Option<String>,
    /// The database role to act as (fine-grained access control).
    pub(crate) role: Option<String>,
    /// Where Spanner is, as `https://host` or, unencrypted, `http://host:port`. Unset, the emulator
    /// that `SPANNER_EMULATOR_HOST` names, or else Google Cloud.
    pub(crate) endpoint: Option<String>,
    /// The JSON of a service account key, an authorized user, an external or an impersonated
    /// account: `{ file = "…" }`, or `"${VARIABLE}"`. Unset, the application default credentials.
    pub(crate) credentials: Option<Secret>,
    /// How many partitions are read at once at most; the others take turns of ten seconds. Unset,
    /// all.
    pub(crate) partitions_max: Option<NonZeroUsize>,
    /// What all partitions together may hold that was read ahead.
    #[serde(default = "default_bytes_max")]
    pub(crate) bytes_max: ByteSize,
}

/// An operation that is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Operations {
    /// Rows that were added.
    Insert,
    /// Rows that were given other values.
    Update,
    /// Rows that were removed.
    Delete,
}

/// What to do once what comes next is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum OnLost {
    /// End with exit code 3.
    #[default]
    Stop,
    /// Go on with the oldest change that there still is.
    Earliest,
    /// Go on with what comes from now on.
    Now,
}

/// The priority of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Priority {
    /// After everything else.
    Low,
    /// Between the two.
    Medium,
    /// As an application's own requests.
    High,
}

fn all_operations() -> Vec<Operations> {
    vec![Operations::Insert, Operations::Update, Operations::Delete]
}

fn never() -> Snapshot {
    Snapshot::Never
}

fn ten_seconds() -> Period {
    Period::from_secs(10)
}

fn default_bytes_max() -> ByteSize {
    ByteSize::from_mib(16)
}

/// What Spanner takes; its emulator takes a tenth of the lower bound.
const HEARTBEATS: std::ops::RangeInclusive<Period> =
    Period::from_millis(100)..=Period::from_secs(300);

register_source!("spanner", SpannerConfig);

impl SpannerConfig {
    /// Where the database is, and how requests are made.
    pub(crate) fn address(&self) -> Address {
        Address {
            database: self.database.clone(),
            endpoint: self.endpoint.clone(),
            credentials: self.credentials.clone(),
            role: self.role.clone(),
            priority: self.priority,
            request_tag: self.request_tag.clone(),
        }
    }

    /// Whether changes of this operation are delivered.
    pub(crate) fn delivers(&self, operation: Operation) -> bool {
        self.operations.iter().any(|wanted| wanted.operation() == operation)
    }

    pub(crate) fn start(&self) -> Result<Option<Timestamp>> {
        self.start.as_deref().map(|text| timestamp("start", text)).transpose()
    }

    pub(crate) fn end(&self) -> Result<Option<Timestamp>> {
        self.end.as_deref().map(|text| timestamp("end", text)).transpose()
    }

    fn validate_window(&self) -> Result<()> {
        let (start, end) = (self.start()?, self.end()?);
        if start.zip(end).is_some_and(|(start, end)| end < start) {
            return Err(Error::config("the end is before the start").key("end"));
        }
        if start.is_some() && self.snapshot != Snapshot::Never {
            let message = "a snapshot decides itself where the changes begin";
            let help = "leave out `start`, or take no snapshot";
            return Err(Error::config(message).key("start").help(help));
        }
        if end.is_some() && self.snapshot == Snapshot::Only {
            let message = "a pipeline that reads the existing rows only has its end in them";
            return Err(Error::config(message).key("end"));
        }
        Ok(())
    }
}

#[async_trait]
impl Config for SpannerConfig {
    type Opens = dyn Source;

    fn validate(&self) -> Result<()> {
        validate_database(&self.database)?;
        if !is_identifier(&self.change_stream) {
            let message = format!("`{}` is not the name of a change stream", self.change_stream);
            return Err(Error::config(message).key("change_stream"));
        }
        if self.tables.include.is_empty() {
            return Err(Error::config("no table is named").key("tables"));
        }
        if self.operations.is_empty() {
            let message = "without any operation nothing would be delivered";
            return Err(Error::config(message).key("operations"));
        }
        if !HEARTBEATS.contains(&self.heartbeat_every) {
            let message = format!("`{}` is outside of what Spanner takes", self.heartbeat_every);
            let help = "a duration from \"1s\" to \"5m\"; Spanner's emulator takes \"100ms\" too";
            return Err(Error::config(message).key("heartbeat_every").help(help));
        }
        if self.endpoint.as_ref().is_some_and(|endpoint| !endpoint.contains("://")) {
            let message = "an endpoint begins with http:// or https://";
            return Err(Error::config(message).key("endpoint"));
        }
        self.validate_window()
    }

    async fn open(self, _context: &Context) -> Result<Box<dyn Source>> {
        Ok(Box::new(SpannerSource::open(self).await?))
    }
}

/// Checks that this is the full name of a database.
pub(crate) fn validate_database(database: &str) -> Result<()> {
    let parts: Vec<_> = database.split('/').collect();
    match parts[..] {
        ["projects", project, "instances", instance, "databases", database]
            if ![project, instance, database].contains(&"") =>
        {
            Ok(())
        }
        _ => {
            let message = format!("`{database}` is not the full name of a database");
            let help = "write projects/PROJECT/instances/INSTANCE/databases/DATABASE";
            Err(Error::config(message).key("database").help(help))
        }
    }
}

/// Whether a name can stand in a statement as it is.
pub(crate) fn is_identifier(name: &str) -> bool {
    let plain = |character: char| character.is_ascii_alphanumeric() || character == '_';
    name.chars().all(plain) && name.starts_with(|first: char| first.is_ascii_alphabetic())
}

fn timestamp(key: &str, text: &str) -> Result<Timestamp> {
    text.parse().map_err(|_| {
        Error::config(format!("`{text}` is not a point in time"))
            .key(key)
            .help("write it with its zone, as 2026-11-21T10:00:00Z")
    })
}

impl Operations {
    fn operation(self) -> Operation {
        match self {
            Operations::Insert => Operation::Insert,
            Operations::Update => Operation::Update,
            Operations::Delete => Operation::Delete,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(settings: serde_json::Value, key: Option<&str>) {
        let mut all = serde_json::json!({
            "database": "projects/p/instances/i/databases/d", "change_stream": "orders"
        });
        for (name, value) in settings.as_object().unwrap() {
            all[name] = value.clone();
        }
        let config: SpannerConfig = serde_json::from_value(all).unwrap();
        let found = config.validate().err();
        assert_eq!(found.as_ref().and_then(Error::setting), key, "{found:?}");
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_their_key() {
        use serde_json::json;
        check(json!({}), None);
        check(json!({ "database": "d" }), Some("database"));
        check(json!({ "change_stream": "a b" }), Some("change_stream"));
        check(json!({ "operations": [] }), Some("operations"));
        check(json!({ "heartbeat_every": "1ms" }), Some("heartbeat_every"));
        check(json!({ "endpoint": "localhost:9010" }), Some("endpoint"));
        check(json!({ "start": "yesterday" }), Some("start"));
        let (early, late) = ("2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z");
        check(json!({ "start": early, "end": late }), None);
        check(json!({ "start": late, "end": early }), Some("end"));
        check(json!({ "start": early, "snapshot": "initial" }), Some("start"));
        check(json!({ "end": early, "snapshot": "only" }), Some("end"));
    }
}
