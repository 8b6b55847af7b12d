//! `rowtide setup` and `rowtide teardown`, and what a table lacks.

use rowtide_core::{
    Error, Result,
    plugin::{Execution, InstallOptions, UninstallOptions},
};
use rowtide_sql::{DatabaseUrl, Dialect, TableName};

use crate::{
    config::{Done, Layout, Order, OutboxConfig},
    database::sqlite::{
        catalog::Found,
        connection::{blocking, connect, failure},
        path, quote,
    },
    layout::Messages,
};

pub(crate) async fn install(
    config: &OutboxConfig,
    url: &DatabaseUrl,
    options: InstallOptions,
) -> Result<Vec<String>> {
    let (config, path) = (config.clone(), path(url)?);
    blocking(move || {
        let table = config.table()?;
        let connection = connect(&path)?;
        let found = Found::look(&connection, &table)?;
        if let Some(found) = &found {
            Messages::new(&config, &found.described())?;
        }
        let statements = lacking(&config, &table, found.as_ref())?.statements();
        if options.execution == Execution::Apply && !statements.is_empty() {
            let script = format!("BEGIN IMMEDIATE; {}; COMMIT", statements.join("; "));
            connection.execute_batch(&script).map_err(|error| {
                failure(format!("failed to set up the outbox `{table}`"), error)
            })?;
        }
        Ok(statements)
    })
    .await
}

/// There are no triggers, and the table is the user's.
pub(crate) async fn uninstall(
    _config: &OutboxConfig,
    _url: &DatabaseUrl,
    _options: UninstallOptions,
) -> Result<Vec<String>> {
    Ok(Vec::new())
}

/// Statements that make a table what a relay needs.
#[derive(Debug, Default)]
pub(super) struct Lacking {
    needed: Vec<String>,
    /// What is only slow without.
    indexes: Vec<String>,
}

impl Lacking {
    fn statements(self) -> Vec<String> {
        self.needed.into_iter().chain(self.indexes).collect()
    }

    /// Fails if a relay cannot do without the statements, and shows them.
    pub(super) fn check(&self, table: &TableName) -> Result<()> {
        if self.needed.is_empty() {
            return Ok(());
        }
        let message = format!("the outbox `{table}` lacks what the relay needs");
        let help = format!("run `rowtide setup`, or: {};", self.needed.join("; "));
        Err(Error::config(message).key("table").help(help))
    }
}

/// # Errors
/// `Config`, if the table is not numbered: no statement adds that to one that is there.
pub(super) fn lacking(
    config: &OutboxConfig,
    table: &TableName,
    found: Option<&Found>,
) -> Result<Lacking> {
    let mut lacking = Lacking::default();
    let quoted = quote(table.name());
    match found {
        None => lacking.needed.push(create_table(config, &quoted)),
        Some(found) => {
            check_order(config, table, found)?;
            if config.done == Done::Mark && found.column(&config.done_column).is_none() {
                let column = done_at(config);
                lacking.needed.push(format!("ALTER TABLE {quoted} ADD COLUMN {column}"));
            }
        }
    }
    if config.done == Done::Mark {
        let (seq, done_at) = (quote(&config.order_column), quote(&config.done_column));
        let mut index = |name: &str, column: &str, condition: &str| {
            let name = format!("{}_{name}", table.name());
            if !found.is_some_and(|found| found.has_index(&name)) {
                let on = format!("{quoted} ({column}) WHERE {done_at} IS {condition}");
                lacking.indexes.push(format!("CREATE INDEX {} ON {on}", quote(&name)));
            }
        };
        if config.order == Order::Transactions {
            index("waiting", &seq, "NULL");
        }
        if config.keep_marked_for.is_some() {
            index("done", &done_at, "NOT NULL");
        }
    }
    Ok(lacking)
}

fn check_order(config: &OutboxConfig, table: &TableName, found: &Found) -> Result<()> {
    let name = &config.order_column;
    let column = found.column(name);
    if config.order == Order::None || column.is_some_and(|column| found.is_numbered(column)) {
        return Ok(());
    }
    let seq = seq(config);
    let message = format!("the outbox `{table}` has no column `{name}` that numbers its rows");
    let names: Vec<_> = found
        .columns
        .iter()
        .filter(|column| !column.name.eq_ignore_ascii_case(name))
        .map(|column| quote(&column.name))
        .collect();
    let (names, quoted, old) =
        (names.join(", "), quote(table.name()), quote(&format!("{}_old", table.name())));
    let help = format!(
        "SQLite adds none to a table that is there; make it anew: ALTER TABLE {quoted} RENAME TO \
         {old}; CREATE TABLE {quoted} ({seq}, and the other columns); INSERT INTO {quoted} \
         ({names}) SELECT {names} FROM {old} ORDER BY rowid; DROP TABLE {old}; or set \
         order = \"none\""
    );
    Err(Error::config(message).key("order_column").help(help))
}

fn create_table(config: &OutboxConfig, table: &str) -> String {
    let mut lines = match config.layout {
        Layout::Router => router_columns(config),
        Layout::StreamsEgress => [
            "batch_id TEXT NOT NULL UNIQUE",
            "message_count INTEGER NOT NULL DEFAULT 0",
            "raw_data BLOB NOT NULL",
            "insert_time TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP",
        ]
        .map(str::to_owned)
        .to_vec(),
    };
    if config.order == Order::Transactions {
        lines.insert(0, seq(config));
    }
    if config.done == Done::Mark {
        lines.push(done_at(config));
    }
    format!("CREATE TABLE {table} (\n    {}\n)", lines.join(",\n    "))
}

fn router_columns(config: &OutboxConfig) -> Vec<String> {
    let columns = &config.columns;
    let name = |given: &Option<String>, canonical| {
        Dialect::Sqlite.quote(given.as_deref().unwrap_or(canonical))
    };
    let mut lines = vec![
        format!("{} TEXT NOT NULL UNIQUE", name(&columns.id, "id")),
        format!("{} TEXT NOT NULL", name(&columns.aggregatetype, "aggregatetype")),
        format!("{} TEXT NOT NULL", name(&columns.aggregateid, "aggregateid")),
        format!("{} TEXT", name(&columns.kind, "type")),
        format!("{} TEXT", name(&columns.payload, "payload")),
    ];
    for given in [&columns.timestamp, &columns.tracingspancontext].into_iter().flatten() {
        lines.push(format!("{} TEXT", quote(given)));
    }
    lines
}

fn seq(config: &OutboxConfig) -> String {
    format!("{} INTEGER PRIMARY KEY AUTOINCREMENT", quote(&config.order_column))
}

fn done_at(config: &OutboxConfig) -> String {
    format!("{} TEXT", quote(&config.done_column))
}
