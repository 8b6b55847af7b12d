//! Transactions that have inserted messages and stay open.
//!
//! Their begin is known to those alone who may see everybody's processes. Their rows can be seen by
//! anybody who reads what is not committed; for how long they have been seen is at least what is
//! asked for.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, Executor, MySqlConnection};
use tokio::sync::{Mutex, MutexGuard};

use crate::{database::mysql::statements::Statements, keys::Key};

/// Rows that wait for long have the lowest numbers.
const ROWS_MAX: u32 = 10_000;

#[derive(Default)]
pub(super) struct Writers(Mutex<Known>);

#[derive(Default)]
pub(super) struct Known {
    pub(super) connection: Option<MySqlConnection>,
    /// Rows that are not committed, and since when they have been seen.
    rows: HashMap<Box<str>, Instant>,
}

impl Writers {
    pub(super) async fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().await
    }
}

impl Known {
    /// For how long the oldest row has been seen that is not committed.
    pub(super) async fn look(
        &mut self,
        connection: &mut MySqlConnection,
        statements: &Statements,
    ) -> sqlx::Result<Option<Duration>> {
        // Of the next transaction only, which is the next statement.
        connection.execute("SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED").await?;
        let written = names(connection, statements).await?;
        // Later than the other: what was committed between the two is not taken for open.
        let committed = names(connection, statements).await?;
        // What was deleted between the two is gone by the next time.
        let open: Vec<_> =
            written.into_iter().filter(|name| committed.binary_search(name).is_err()).collect();
        let known = std::mem::take(&mut self.rows);
        let now = Instant::now();
        let since = |name: Box<str>| (known.get(&name).copied().unwrap_or(now), name);
        self.rows = open.into_iter().map(since).map(|(since, name)| (name, since)).collect();
        Ok(self.rows.values().map(Instant::elapsed).max())
    }
}

/// The keys of the first rows, sorted as texts.
async fn names(
    connection: &mut MySqlConnection,
    statements: &Statements,
) -> sqlx::Result<Vec<Box<str>>> {
    let rows = connection.fetch_all(AssertSqlSafe(statements.keys(None, ROWS_MAX))).await?;
    let name = |row| {
        Ok(match statements.key(row)? {
            Key::Seq(seq) => seq.to_string().into(),
            Key::Id(id) => id,
        })
    };
    let mut names = rows.iter().map(name).collect::<sqlx::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}
