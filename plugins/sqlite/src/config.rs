use std::{borrow::Cow, num::NonZeroU32, path::PathBuf, time::Duration};

use rowtide_core::{
    Context, Error, Result, Source, async_trait,
    plugin::{Config, InstallOptions, UninstallOptions},
    register_source,
    settings::{ByteSize, Period, Snapshot, Tables},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    capture::{
        Capture, Replace,
        names::{self, Names},
        schema,
    },
    connection::{Database, blocking},
    source::{SqliteSource, registration},
};

/// Row changes of a SQLite database, whichever program writes them, captured by triggers.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqliteConfig {
    /// The database file. It must exist.
    pub(crate) path: PathBuf,
    /// The tables to capture; `"*"` in a name stands for any characters, and a name without it must
    /// exist. A table added later is snapshotted then.
    #[serde(default = "Tables::all")]
    pub(crate) tables: Tables,
    /// Whether the rows that are already there are delivered before the changes. `"only"` ends by
    /// itself; changes made meanwhile are delivered too, so that the result is the state at its end.
    #[serde(default)]
    pub(crate) snapshot: Snapshot,
    /// Whether `run` makes the log and the triggers by itself, or `rowtide setup` has to.
    #[serde(default)]
    pub(crate) install: Install,
    /// How many rows one read takes at most, from a table or from the log.
    #[serde(default = "a_thousand")]
    pub(crate) batch_rows: NonZeroU32,
    /// How often to look for changes where the file system does not tell of them.
    #[serde(default = "four_a_second")]
    pub(crate) poll_every: Period,
    /// The least time between two transactions that remove delivered rows from the log, or
    /// `"never"`.
    #[serde(default)]
    pub(crate) prune_every: PruneEvery,
    /// Which rows are watched because a REPLACE may remove them without a trigger.
    #[serde(default)]
    pub(crate) replace: Replace,
    /// How long to wait for another program's lock on the file before trying anew.
    #[serde(default = "five_seconds")]
    pub(crate) busy_timeout: Period,
    /// What the names of the tables and triggers that Rowtide makes begin with.
    #[serde(default = "default_prefix")]
    pub(crate) log_prefix: String,
    /// The size of the log from which on to warn, naming the slowest pipeline.
    #[serde(default = "a_gibibyte")]
    pub(crate) log_bytes_warn: ByteSize,
}

/// Who makes the log and the triggers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Install {
    /// Whoever runs the pipeline; also what somebody has removed.
    #[default]
    Auto,
    /// `rowtide setup` alone.
    Manual,
}

/// A duration, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PruneEvery(pub(crate) Option<Duration>);

fn a_thousand() -> NonZeroU32 {
    const { NonZeroU32::new(1_000).expect("not zero") }
}

fn four_a_second() -> Period {
    Period::from_millis(250)
}

fn five_seconds() -> Period {
    Period::from_secs(5)
}

fn default_prefix() -> String {
    names::DEFAULT_PREFIX.to_owned()
}

fn a_gibibyte() -> ByteSize {
    ByteSize::from_mib(1024)
}

register_source!("sqlite", SqliteConfig);

impl SqliteConfig {
    pub(crate) fn database(&self) -> Database {
        Database { path: self.path.clone(), busy_timeout: self.busy_timeout.duration() }
    }

    pub(crate) fn names(&self) -> Names {
        Names::new(self.log_prefix.as_str())
    }

    pub(crate) fn capture(&self) -> Capture {
        Capture::new(self.names(), self.tables.clone(), self.replace)
    }
}

#[async_trait]
impl Config for SqliteConfig {
    type Opens = dyn Source;

    fn validate(&self) -> Result<()> {
        let wrong = |key: &str, message: &str| Err(Error::config(message).key(key));
        let plain = |character: char| character.is_ascii_alphanumeric() || character == '_';
        if self.path.file_name().is_none() {
            return wrong("path", "not the name of a file");
        }
        if self.tables.include.is_empty() {
            return wrong("tables", "no table is named");
        }
        if self.poll_every.duration().is_zero() {
            return wrong("poll_every", "must be longer than nothing");
        }
        if self.log_prefix.is_empty() || !self.log_prefix.chars().all(plain) {
            return wrong("log_prefix", "must be of letters, digits and underscores");
        }
        if self.log_prefix.to_ascii_lowercase().starts_with("sqlite_") {
            return wrong("log_prefix", "SQLite keeps names with `sqlite_` for itself");
        }
        Ok(())
    }

    async fn open(self, context: &Context) -> Result<Box<dyn Source>> {
        let pipeline = context.pipeline().to_owned();
        Ok(Box::new(blocking(move || SqliteSource::open(self, pipeline)).await?))
    }

    async fn install(&self, _context: &Context, options: InstallOptions) -> Result<Vec<String>> {
        let config = self.clone();
        blocking(move || {
            let mut connection = config.database().connect()?;
            let mut capture = config.capture();
            let statements = capture.install(&mut connection, options.execution)?;
            for warning in capture.warnings() {
                tracing::warn!("{warning}");
            }
            Ok(statements)
        })
        .await
    }

    async fn uninstall(&self, context: &Context, options: UninstallOptions) -> Result<Vec<String>> {
        let (config, pipeline) = (self.clone(), context.pipeline().to_owned());
        blocking(move || {
            let mut connection = config.database().connect()?;
            config.capture().uninstall(&mut connection, options, &pipeline)
        })
        .await
    }

    async fn forget(&self, context: &Context) -> Result<()> {
        let (config, pipeline) = (self.clone(), context.pipeline().to_owned());
        blocking(move || {
            let connection = config.database().connect()?;
            schema::refuse_taken(&connection, &config.names())?;
            registration::forget(&connection, &config.names(), &pipeline)
        })
        .await
    }
}

impl Default for PruneEvery {
    fn default() -> Self {
        Self(Some(Duration::from_secs(10)))
    }
}

impl Serialize for PruneEvery {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(duration) => Period(duration).serialize(serializer),
            None => serializer.serialize_str("never"),
        }
    }
}

impl<'de> Deserialize<'de> for PruneEvery {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "never" {
            return Ok(Self(None));
        }
        let period = serde::de::value::StringDeserializer::<D::Error>::new(text.clone());
        match Period::deserialize(period) {
            Ok(period) if !period.duration().is_zero() => Ok(Self(Some(period.duration()))),
            _ => Err(D::Error::custom(format_args!(
                "`{text}` is neither a duration, such as \"10s\", nor \"never\""
            ))),
        }
    }
}

impl JsonSchema for PruneEvery {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PruneEvery".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "duration", "examples": ["10s", "never"] })
    }
}

#[cfg(test)]
mod tests {
    use rowtide_core::registry;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(settings: serde_json::Value, key: &str) {
        let settings = rowtide_core::settings::Settings::from(settings);
        let Err(error) = registry::source("sqlite", &settings) else { panic!("no error") };
        assert_eq!(error.setting(), Some(key), "{error}");
    }

    #[test]
    fn wrong_settings_are_named() {
        check(json!({}), "path");
        check(json!({"path": "a.db", "tabels": ["x"]}), "tabels");
        check(json!({"path": "a.db", "tables": []}), "tables");
        check(json!({"path": "a.db", "prune_every": "10"}), "prune_every");
        check(json!({"path": "a.db", "prune_every": "0s"}), "prune_every");
        check(json!({"path": "a.db", "poll_every": "0s"}), "poll_every");
        check(json!({"path": "a.db", "batch_rows": 0}), "batch_rows");
        check(json!({"path": "a.db", "log_prefix": "sqlite_x"}), "log_prefix");
        check(json!({"path": "a.db", "log_prefix": "a\"b"}), "log_prefix");
        check(json!({"path": "a.db", "install": "always"}), "install");
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let config: SqliteConfig = serde_json::from_value(json!({"path": "a.db"})).unwrap();
        config.validate().unwrap();
        assert!(config.tables.matches("anything"));
        assert_eq!(config.prune_every.0, Some(Duration::from_secs(10)));
        assert_eq!(config.install, Install::Auto);
        let config: SqliteConfig =
            serde_json::from_value(json!({"path": "a.db", "prune_every": "never"})).unwrap();
        assert_eq!(config.prune_every.0, None);
    }
}
