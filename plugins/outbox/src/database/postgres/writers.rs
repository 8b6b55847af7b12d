use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rowtide_core::Result;
use rowtide_sql::failure;
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

/// Who has written into the outbox and not committed yet, prepared transactions included.
///
/// A lock on the table shows them to anybody. Since when they are open, the server tells not
/// everybody, so it is noted when each was first seen.
pub(super) struct Writers {
    table: i64,
    since: HashMap<String, Instant>,
}

impl Writers {
    pub(super) fn new(table: i64) -> Self {
        Self { table, since: HashMap::new() }
    }

    pub(super) async fn oldest(
        &mut self,
        connection: &mut PgConnection,
    ) -> Result<Option<Duration>> {
        let doing = |error| failure("failed to look for open transactions", error);
        let query = AssertSqlSafe(WRITERS.replace("$table", &self.table.to_string()));
        let rows = connection.fetch_all(sqlx::raw_sql(query)).await.map_err(doing)?;
        let now = Instant::now();
        let mut since = HashMap::new();
        let mut oldest = None;
        for row in rows {
            let name: String = row.try_get("name").map_err(doing)?;
            let seconds: Option<f64> = row.try_get("seconds").map_err(doing)?;
            let first = self.since.get(&name).copied().unwrap_or(now);
            let told = Duration::try_from_secs_f64(seconds.unwrap_or_default()).unwrap_or_default();
            oldest = oldest.max(Some(told.max(now.duration_since(first))));
            since.insert(name, first);
        }
        self.since = since;
        Ok(oldest)
    }
}

const WRITERS: &str = "
SELECT l.virtualtransaction AS name,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS seconds
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.relation = $table::oid
  AND l.mode = 'RowExclusiveLock' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.pid IS DISTINCT FROM pg_backend_pid()";
