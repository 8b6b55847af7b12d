use std::{collections::BTreeMap, num::NonZeroU16, time::Duration};

use rowtide_core::{
    Context, Error, Result, Source, async_trait,
    plugin::Config,
    register_source,
    settings::{Period, Secret, Snapshot, Tables, Tls},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{connection::Database, source::CockroachSource};

/// Changes of CockroachDB tables, over one SQL connection a feed, without a job in the cluster.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CockroachConfig {
    /// The database: `postgresql://user:password@host:26257/shop?sslmode=verify-full`. Of
    /// `sslmode`, `sslrootcert`, `sslcert` and `sslkey` the meaning is libpq's.
    pub(crate) database: Secret,
    /// How the connection is encrypted; instead of `sslmode` and the like in the URL.
    pub(crate) tls: Option<Tls>,
    /// The tables: `orders`, or `sales.orders` outside the schema `public`. `"*"` in a name stands
    /// for any characters, and a name without it must exist. A table added later is snapshotted
    /// then.
    pub(crate) tables: Option<Tables>,
    /// A query instead of tables, as in `SELECT id, total FROM orders WHERE total > 100`.
    pub(crate) query: Option<String>,
    /// Whether the rows that are already there are delivered before the changes. `"only"` ends by
    /// itself.
    #[serde(default)]
    pub(crate) snapshot: Snapshot,
    /// How often the cluster is asked to say up to which time all was told. Only there can a
    /// pipeline resume.
    #[serde(default = "a_second")]
    pub(crate) heartbeat_every: Period,
    /// Over how many feeds the tables are spread, each with a connection and a position of its own.
    #[serde(default = "one")]
    pub(crate) feeds: NonZeroU16,
    /// Whether the row before a change is asked for. Without it an insert cannot be told from an
    /// update, and both are updates.
    #[serde(default = "yes")]
    pub(crate) diff: bool,
    /// What is done with a row that the cluster sends again, byte for byte.
    #[serde(default)]
    pub(crate) duplicates: Duplicates,
    /// What is done when the cluster has garbage-collected what the position needs.
    #[serde(default)]
    pub(crate) on_lost: OnLost,
    /// When to end, as a timestamp of the cluster, such as `1692283563643512000.0000000000`.
    pub(crate) end_time: Option<String>,
    /// Where to begin if the pipeline has no checkpoint: where another program stopped.
    pub(crate) import: Option<Import>,
    /// More options of `CREATE CHANGEFEED`, by name; `""` for one without a value.
    #[serde(default)]
    pub(crate) options: BTreeMap<String, String>,
}

/// What is done with a row that comes again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Duplicates {
    /// It is dropped, if it came since the resolved timestamp before the last.
    #[default]
    Drop,
    /// It is delivered again.
    Pass,
}

/// What is done when the position is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum OnLost {
    /// The pipeline stops.
    #[default]
    Stop,
    /// All rows are delivered anew. Rows that were deleted meanwhile stay downstream: nobody can
    /// tell which they are.
    Rescan,
}

/// Whose state is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Import {
    /// crdb-changefeed-publisher's: the row `key` of the table `cursor_store`.
    CursorStore,
}

/// Options that have a setting of their own, or that the source lives by.
const OURS: [&str; 16] = [
    "cursor",
    "diff",
    "end_time",
    "envelope",
    "format",
    "full_table_name",
    "initial_scan",
    "initial_scan_only",
    "key_in_value",
    "min_checkpoint_frequency",
    "mvcc_timestamp",
    "no_initial_scan",
    "resolved",
    "split_column_families",
    "topic_in_value",
    "updated",
];

fn a_second() -> Period {
    Period::from_secs(1)
}

fn one() -> NonZeroU16 {
    NonZeroU16::MIN
}

fn yes() -> bool {
    true
}

register_source!("cockroachdb", CockroachConfig);

impl CockroachConfig {
    /// How long a feed may be silent before it counts as dead.
    pub(crate) fn patience(&self) -> Duration {
        (self.heartbeat_every.duration() * 3).max(Duration::from_secs(30))
    }
}

#[async_trait]
impl Config for CockroachConfig {
    type Opens = dyn Source;

    fn validate(&self) -> Result<()> {
        let wrong = |key: &str, message: &str| Err(Error::config(message).key(key));
        match (&self.tables, &self.query) {
            (None, None) => return wrong("tables", "neither tables nor a query"),
            (Some(_), Some(_)) => return wrong("query", "either tables or a query, not both"),
            (Some(tables), None) if tables.include.is_empty() => {
                return wrong("tables", "no table is named");
            }
            (None, Some(_)) if self.feeds.get() > 1 => {
                return wrong("feeds", "a query cannot be spread over feeds");
            }
            _ => {}
        }
        if self.query.as_ref().is_some_and(|query| !is_select(query)) {
            return wrong("query", "must begin with SELECT, and be one statement");
        }
        if self.heartbeat_every.duration() < Duration::from_millis(10) {
            return wrong("heartbeat_every", "must be 10ms at least");
        }
        if let Some(tls) = &self.tls {
            tls.validate().map_err(|error| error.under("tls"))?;
        }
        if self.end_time.as_ref().is_some_and(|time| time.parse::<crate::hlc::Hlc>().is_err()) {
            return wrong("end_time", "not a timestamp such as 1692283563643512000.0000000000");
        }
        for name in self.options.keys() {
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            if !name.bytes().all(is_plain) || name.is_empty() {
                return wrong("options", "a name is of lower-case letters and underscores");
            }
            if OURS.contains(&name.as_str()) {
                let message = format!("`{name}` is set by the source");
                return Err(Error::config(message).key(format!("options.{name}")));
            }
        }
        Database::check(&self.database, self.tls.as_ref())
    }

    async fn open(self, _context: &Context) -> Result<Box<dyn Source>> {
        Ok(Box::new(CockroachSource::open(self).await?))
    }
}

fn is_select(query: &str) -> bool {
    let first = query.split_whitespace().next().unwrap_or_default();
    first.eq_ignore_ascii_case("select") && !query.contains(';')
}

#[cfg(test)]
mod tests {
    use rowtide_core::{registry, settings::Settings};
    use serde_json::json;

    use super::*;

    const URL: &str = "postgresql://root@localhost:26257/shop";

    #[track_caller]
    fn check(settings: serde_json::Value, key: &str) {
        let settings = Settings::from(settings);
        let Err(error) = registry::source("cockroachdb", &settings) else { panic!("no error") };
        assert_eq!(error.setting(), Some(key), "{error}");
    }

    #[test]
    fn wrong_settings_are_named() {
        check(json!({"tables": ["a"]}), "database");
        check(json!({"database": URL}), "tables");
        check(json!({"database": "mysql://x/y", "tables": ["a"]}), "database");
        check(json!({"database": URL, "tables": []}), "tables");
        check(json!({"database": URL, "tables": ["a"], "query": "SELECT 1"}), "query");
        check(json!({"database": URL, "query": "DROP TABLE a"}), "query");
        check(json!({"database": URL, "query": "SELECT a FROM b; DROP TABLE c"}), "query");
        check(json!({"database": URL, "query": "SELECT a FROM b", "feeds": 2}), "feeds");
        check(json!({"database": URL, "tables": ["a"], "feeds": 0}), "feeds");
        check(
            json!({"database": URL, "tables": ["a"], "heartbeat_every": "0s"}),
            "heartbeat_every",
        );
        check(json!({"database": URL, "tables": ["a"], "end_time": "1.5"}), "end_time");
        check(json!({"database": URL, "tables": ["a"], "on_lost": "skip"}), "on_lost");
        check(json!({"database": URL, "tables": ["a"], "import": "kafka"}), "import");
        check(
            json!({"database": URL, "tables": ["a"], "options": {"cursor": "1"}}),
            "options.cursor",
        );
        check(json!({"database": URL, "tables": ["a"], "options": {"a b": "1"}}), "options");
        check(json!({"database": format!("{URL}?sslmode=never"), "tables": ["a"]}), "database");
        let both = format!("{URL}?sslmode=require");
        check(json!({"database": both, "tables": ["a"], "tls": {}}), "tls");
    }

    #[test]
    fn the_watchdog_waits_half_a_minute_at_least() {
        let patience = |every: &str| {
            let json = json!({"database": URL, "tables": ["a"], "heartbeat_every": every});
            serde_json::from_value::<CockroachConfig>(json).unwrap().patience()
        };
        assert_eq!(patience("1s"), Duration::from_secs(30));
        assert_eq!(patience("20s"), Duration::from_secs(60));
    }
}
