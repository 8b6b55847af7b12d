//! `rowtide setup` and `rowtide teardown`.

use rowtide_core::{
    Error, Result,
    plugin::{Execution, InstallOptions, UninstallOptions},
};
use rowtide_sql::{DatabaseUrl, Dialect, TableName, failure};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

use crate::{
    config::OutboxConfig,
    database::postgres::{catalog::Found, connect, plan, plan::Plan},
    layout::Messages,
};

pub(crate) async fn install(
    config: &OutboxConfig,
    url: &DatabaseUrl,
    options: InstallOptions,
) -> Result<Vec<String>> {
    let table = config.table()?;
    let mut connection = connect(config, url).await?;
    let found = Found::look(&mut connection, &table).await?;
    if let Some(found) = &found {
        Messages::new(config, &found.described())?;
    }
    let plan = Plan::new(config, found.as_ref())?;
    let is_applied = options.execution == Execution::Apply;
    if is_applied
        && plan.numbers_rows
        && !options.confirmed
        && has_rows(&mut connection, &table).await?
    {
        return Err(arbitrary_numbers(&table));
    }
    let statements: Vec<_> = plan.needed.into_iter().chain(plan.triggers).collect();
    if is_applied {
        apply(&mut connection, &table, &statements).await?;
    }
    Ok(statements)
}

/// Never drops the table: its rows are the user's.
pub(crate) async fn uninstall(
    config: &OutboxConfig,
    url: &DatabaseUrl,
    options: UninstallOptions,
) -> Result<Vec<String>> {
    let table = config.table()?;
    let mut connection = connect(config, url).await?;
    let Some(found) = Found::look(&mut connection, &table).await? else { return Ok(Vec::new()) };
    let statements = plan::removal(config, &found)?;
    if options.execution == Execution::Apply {
        apply(&mut connection, &table, &statements).await?;
    }
    Ok(statements)
}

pub(crate) fn arbitrary_numbers(table: &TableName) -> Error {
    Error::config(format!(
        "the outbox `{table}` has rows, and numbering them now gives them an arbitrary order"
    ))
    .key("order_column")
    .help("let the old relay empty it first, or run `rowtide setup --yes`")
}

async fn has_rows(connection: &mut PgConnection, table: &TableName) -> Result<bool> {
    let doing = |error| failure(format!("failed to look into the outbox `{table}`"), error);
    let query = format!("SELECT EXISTS (SELECT 1 FROM {})", table.quoted(Dialect::Postgres));
    let query = sqlx::raw_sql(AssertSqlSafe(query));
    connection.fetch_one(query).await.map_err(doing)?.try_get(0).map_err(doing)
}

async fn apply(
    connection: &mut PgConnection,
    table: &TableName,
    statements: &[String],
) -> Result<()> {
    let doing = |error| failure(format!("failed to set up the outbox `{table}`"), error);
    let mut transaction = connection.begin().await.map_err(doing)?;
    for statement in statements {
        transaction.execute(AssertSqlSafe(statement.clone())).await.map_err(doing)?;
    }
    transaction.commit().await.map_err(doing)
}
