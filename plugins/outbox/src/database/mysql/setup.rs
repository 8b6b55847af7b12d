//! `rowtide setup` and `rowtide teardown`, and what a table lacks.

use rowtide_core::{
    Error, Result,
    plugin::{Execution, InstallOptions, UninstallOptions},
};
use rowtide_sql::{DatabaseUrl, Dialect, TableName, failure, mysql};
use sqlx::{AssertSqlSafe, Executor, MySqlConnection};

use crate::{
    config::{Done, Layout, Order, OutboxConfig},
    database::mysql::{CONNECT_WITHIN, catalog::Found, quote},
    layout::{Messages, id_column},
};

pub(crate) async fn install(
    config: &OutboxConfig,
    url: &DatabaseUrl,
    options: InstallOptions,
) -> Result<Vec<String>> {
    let table = config.table()?;
    let server = mysql::options(url, config.tls.as_ref())?;
    let mut connection = mysql::connect(&server, CONNECT_WITHIN).await?;
    let found = Found::look(&mut connection, &table).await?;
    if let Some(found) = &found {
        Messages::new(config, &found.described())?;
    }
    let plan = Plan::new(config, found.as_ref())?;
    if options.execution == Execution::DryRun {
        return Ok(plan.statements);
    }
    if plan.numbers_rows && !options.confirmed && has_rows(&mut connection, &table).await? {
        return Err(arbitrary_numbers(&table));
    }
    let doing = |error| failure(format!("failed to set up the outbox `{table}`"), error);
    for statement in &plan.statements {
        connection.execute(AssertSqlSafe(statement.clone())).await.map_err(doing)?;
    }
    Ok(plan.statements)
}

/// There are no triggers, and the table is the user's.
pub(crate) async fn uninstall(
    _config: &OutboxConfig,
    _url: &DatabaseUrl,
    _options: UninstallOptions,
) -> Result<Vec<String>> {
    Ok(Vec::new())
}

fn arbitrary_numbers(table: &TableName) -> Error {
    Error::config(format!(
        "the outbox `{table}` has rows, and numbering them now gives them an arbitrary order"
    ))
    .key("order_column")
    .help("let the old relay empty it first, or run `rowtide setup --yes`")
}

async fn has_rows(connection: &mut MySqlConnection, table: &TableName) -> Result<bool> {
    let doing = |error| failure(format!("failed to look into the outbox `{table}`"), error);
    let query = format!("SELECT 1 FROM {} LIMIT 1", table.quoted(Dialect::MySql));
    Ok(connection.fetch_optional(AssertSqlSafe(query)).await.map_err(doing)?.is_some())
}

/// Statements that make a table what a relay needs.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) statements: Vec<String>,
    /// Whether rows that are there get numbers, which will be arbitrary.
    numbers_rows: bool,
    /// Whether a relay can do without the statements.
    is_usable: bool,
}

impl Plan {
    /// # Errors
    /// `Config`, if the table has a column that no statement of ours makes right.
    pub(super) fn new(config: &OutboxConfig, found: Option<&Found>) -> Result<Self> {
        let name = config.table()?;
        let table = name.quoted(Dialect::MySql);
        let mut plan = Self { is_usable: true, ..Self::default() };
        let Some(found) = found else {
            plan.need(create_table(config, &table));
            return Ok(plan);
        };
        match config.order {
            Order::Transactions => plan.add_seq(config, &table, found)?,
            Order::None => {
                let id = id_column(config);
                if found.unique_index(id).is_none() {
                    plan.need(format!("ALTER TABLE {table} ADD UNIQUE ({})", quote(id)));
                }
            }
        }
        if config.done == Done::Mark {
            if found.column(&config.done_column).is_none() {
                plan.need(format!("ALTER TABLE {table} ADD COLUMN {}", done_at(config)));
            }
            if found.index_from(&config.done_column).is_none() {
                let index = format!("ALTER TABLE {table} ADD {}", done_index(config));
                plan.statements.push(index);
            }
        }
        Ok(plan)
    }

    /// Fails if a relay cannot do without the statements, and shows them.
    pub(super) fn check(&self, table: &TableName) -> Result<()> {
        if self.is_usable {
            return Ok(());
        }
        let message = format!("the outbox `{table}` lacks what the relay needs");
        let help = format!("run `rowtide setup`, or: {};", self.statements.join("; "));
        Err(Error::config(message).key("table").help(help))
    }

    fn need(&mut self, statement: String) {
        self.is_usable = false;
        self.statements.push(statement);
    }

    fn add_seq(&mut self, config: &OutboxConfig, table: &str, found: &Found) -> Result<()> {
        let name = &config.order_column;
        let Some(column) = found.column(name) else {
            self.numbers_rows = true;
            self.need(format!("ALTER TABLE {table} ADD COLUMN {} UNIQUE", seq(config)));
            return Ok(());
        };
        if !column.is_numbered {
            let message = format!("the column `{name}` of the outbox is not AUTO_INCREMENT");
            return Err(Error::config(message)
                .key("order_column")
                .help("name another column, which `rowtide setup` adds"));
        }
        if found.unique_index(name).is_none() {
            self.need(format!("ALTER TABLE {table} ADD UNIQUE ({})", quote(name)));
        }
        Ok(())
    }
}

fn create_table(config: &OutboxConfig, table: &str) -> String {
    let mut lines = match config.layout {
        Layout::Router => router_columns(config),
        Layout::StreamsEgress => [
            "batch_id VARCHAR(64) NOT NULL UNIQUE",
            "message_count INT NOT NULL DEFAULT 0",
            "raw_data LONGBLOB NOT NULL",
            "insert_time TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP",
        ]
        .map(str::to_owned)
        .to_vec(),
    };
    if config.order == Order::Transactions {
        lines.insert(0, format!("{} PRIMARY KEY", seq(config)));
    }
    if config.done == Done::Mark {
        lines.extend([done_at(config), done_index(config)]);
    }
    format!(
        "CREATE TABLE {table} (\n    {}\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
        lines.join(",\n    ")
    )
}

fn router_columns(config: &OutboxConfig) -> Vec<String> {
    let columns = &config.columns;
    let name = |given: &Option<String>, canonical| quote(given.as_deref().unwrap_or(canonical));
    let mut lines = vec![
        format!("{} CHAR(36) CHARACTER SET ascii NOT NULL UNIQUE", name(&columns.id, "id")),
        format!("{} VARCHAR(255) NOT NULL", name(&columns.aggregatetype, "aggregatetype")),
        format!("{} VARCHAR(255) NOT NULL", name(&columns.aggregateid, "aggregateid")),
        format!("{} VARCHAR(255)", name(&columns.kind, "type")),
        format!("{} JSON", name(&columns.payload, "payload")),
    ];
    let optional = [(&columns.timestamp, "DATETIME(6)"), (&columns.tracingspancontext, "TEXT")];
    for (given, declared) in optional {
        lines.extend(given.as_ref().map(|given| format!("{} {declared}", quote(given))));
    }
    lines
}

fn seq(config: &OutboxConfig) -> String {
    format!("{} BIGINT NOT NULL AUTO_INCREMENT", quote(&config.order_column))
}

fn done_at(config: &OutboxConfig) -> String {
    format!("{} DATETIME(6) NULL", quote(&config.done_column))
}

/// What is not done is together in it, in order.
fn done_index(config: &OutboxConfig) -> String {
    let key = match config.order {
        Order::Transactions => config.order_column.as_str(),
        Order::None => id_column(config),
    };
    format!("INDEX ({}, {})", quote(&config.done_column), quote(key))
}
