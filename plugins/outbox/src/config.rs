use std::num::NonZeroU32;

use rowtide_core::{
    Context, Error, Result, Source, async_trait,
    plugin::{Config, InstallOptions, UninstallOptions, UninstallScope},
    register_source,
    settings::{ByteSize, Period, Secret, Tls},
};
use rowtide_sql::TableName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{database, source::OutboxSource};

/// The messages of an SQL outbox: rows that a service inserts in the transaction that changes its
/// data.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutboxConfig {
    /// Where the outbox is: `postgres://…`, `mysql://…` or `sqlite:PATH`.
    pub(crate) database: Secret,
    /// How the connections are encrypted. Unset: as the URL says.
    pub(crate) tls: Option<Tls>,
    /// The table, `name` or `schema.name`. Unset: `outbox`, or `streams_egress` for that layout.
    pub(crate) table: Option<String>,
    /// What a row holds.
    #[serde(default)]
    pub(crate) layout: Layout,
    /// The names of the columns, where they are not those of Debezium's router. What is delivered
    /// has the router's names, so that a format needs no others.
    #[serde(default)]
    pub(crate) columns: Columns,
    /// What the messages are ordered by.
    #[serde(default)]
    pub(crate) order: Order,
    /// The column that the database numbers the rows by.
    #[serde(default = "seq")]
    pub(crate) order_column: String,
    /// The column that holds the transaction that inserted the row; PostgreSQL only.
    #[serde(default = "xid")]
    pub(crate) transaction_column: String,
    /// What becomes of a message that is delivered.
    #[serde(default)]
    pub(crate) done: Done,
    /// The column that `done = "mark"` sets to the time of delivery; it is null before.
    #[serde(default = "done_at")]
    pub(crate) done_column: String,
    /// How long marked rows are kept before they are deleted. Unset: for ever.
    pub(crate) keep_marked_for: Option<Period>,
    /// How often to look for messages; with `notify` too, since a notification can get lost.
    #[serde(default = "ten_a_second")]
    pub(crate) poll_every: Period,
    /// The channel of NOTIFY that tells of new messages; PostgreSQL only. `rowtide setup` makes the
    /// trigger that notifies.
    pub(crate) notify: Option<String>,
    /// How long a transaction that has inserted messages may stay open before a line in the log
    /// warns of it. Only its own messages wait for it.
    #[serde(default = "a_minute")]
    pub(crate) stall_warning: Period,
    /// Whether `rowtide setup` makes a trigger that refuses to delete a message in the transaction
    /// that inserted it, which would make it invisible; PostgreSQL only.
    #[serde(default)]
    pub(crate) guard: Guard,
    /// How many rows are read at once, at most.
    #[serde(default = "ten_thousand")]
    pub(crate) page_rows: NonZeroU32,
    /// How many bytes are read at once, about.
    #[serde(default = "four_mebibytes")]
    pub(crate) page_bytes: ByteSize,
    /// How many rows one statement deletes or marks, at most.
    #[serde(default = "ten_thousand")]
    pub(crate) delete_rows: NonZeroU32,
}

/// What a row of the outbox holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Layout {
    /// One message, in the columns of Debezium's Outbox Event Router.
    #[default]
    Router,
    /// A batch of messages, as the SQL driver of streams writes it.
    StreamsEgress,
}

/// What the messages are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Order {
    /// Those of one aggregate are delivered in the order of their transactions.
    #[default]
    Transactions,
    /// Nothing: for a table without the columns that it takes.
    None,
}

/// What becomes of a message that is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Done {
    /// Its row is deleted.
    #[default]
    Delete,
    /// The time is written into `done_column`.
    Mark,
    /// Nothing: the table is only read. Not on MySQL.
    Keep,
}

/// Whether a message is guarded against its own transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Guard {
    /// Deleting it in the transaction that inserted it is an error.
    #[default]
    Delete,
    /// It is not guarded.
    None,
}

/// The names of the columns of an outbox, each by the name that Debezium's router has for it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Columns {
    /// The message's own id.
    pub(crate) id: Option<String>,
    /// What the message is routed by.
    pub(crate) aggregatetype: Option<String>,
    /// The key of the message.
    pub(crate) aggregateid: Option<String>,
    /// What kind of message it is. The column may be missing.
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    /// The message itself.
    pub(crate) payload: Option<String>,
    /// The message's time. The column may be missing.
    pub(crate) timestamp: Option<String>,
    /// The trace that the message belongs to. The column may be missing.
    pub(crate) tracingspancontext: Option<String>,
}

fn seq() -> String {
    "seq".to_owned()
}

fn xid() -> String {
    "xid".to_owned()
}

fn done_at() -> String {
    "done_at".to_owned()
}

fn ten_a_second() -> Period {
    Period::from_millis(100)
}

fn a_minute() -> Period {
    Period::from_secs(60)
}

fn ten_thousand() -> NonZeroU32 {
    const { NonZeroU32::new(10_000).expect("not zero") }
}

fn four_mebibytes() -> ByteSize {
    ByteSize::from_mib(4)
}

register_source!("outbox", OutboxConfig);

impl OutboxConfig {
    /// The table, by the name in the settings or that of the layout.
    pub(crate) fn table(&self) -> Result<TableName> {
        let of_layout = match self.layout {
            Layout::Router => "outbox",
            Layout::StreamsEgress => "streams_egress",
        };
        let table = self.table.as_deref().unwrap_or(of_layout);
        TableName::parse(table).map_err(|error| error.key("table"))
    }

    fn validate_done(&self) -> Result<()> {
        let wrong = |key: &str, message: &str| Err(Error::config(message).key(key));
        if self.layout == Layout::StreamsEgress && self.done != Done::Delete {
            return wrong("done", "the batches of `streams_egress` can only be deleted");
        }
        if self.done == Done::Keep && self.order == Order::None {
            return wrong("done", "to keep the messages takes an order, and there is none");
        }
        if self.keep_marked_for.is_some() && self.done != Done::Mark {
            return wrong("keep_marked_for", "no rows are marked: `done` is not \"mark\"");
        }
        Ok(())
    }
}

#[async_trait]
impl Config for OutboxConfig {
    type Opens = dyn Source;

    fn validate(&self) -> Result<()> {
        self.table()?;
        self.validate_done()?;
        for (key, name) in [
            ("order_column", &self.order_column),
            ("transaction_column", &self.transaction_column),
            ("done_column", &self.done_column),
        ] {
            if name.is_empty() {
                return Err(Error::config("not the name of a column").key(key));
            }
        }
        if self.poll_every.duration().is_zero() {
            return Err(Error::config("must be longer than nothing").key("poll_every"));
        }
        if let Some(tls) = &self.tls {
            tls.validate().map_err(|error| error.under("tls"))?;
        }
        database::validate(self)
    }

    /// Waits for the lock of the table, as a standby.
    async fn open(self, context: &Context) -> Result<Box<dyn Source>> {
        Ok(Box::new(OutboxSource::open(self, context).await?))
    }

    async fn install(&self, _context: &Context, options: InstallOptions) -> Result<Vec<String>> {
        database::install(self, options).await
    }

    async fn uninstall(
        &self,
        _context: &Context,
        options: UninstallOptions,
    ) -> Result<Vec<String>> {
        if options.scope == UninstallScope::Pipeline {
            return Ok(Vec::new());
        }
        database::uninstall(self, options).await
    }
}
