use sqlx::{Sqlite, SqliteConnection};

use crate::{Database, Value, database::values};

impl Database for Sqlite {
    /// `SQLITE_MAX_VARIABLE_NUMBER`.
    const VALUES_MAX: usize = 32_766;

    async fn insert(
        connection: &mut SqliteConnection,
        table: &str,
        columns: &[String],
        rows: &[Vec<Value>],
    ) -> sqlx::Result<u64> {
        let sql = values::statement(table, columns, rows.len(), '"');
        let query = values::query::<Sqlite>(sql, rows);
        // A statement of each length would push the application's own out of the cache.
        let query = query.persistent(rows.len() == 1);
        Ok(query.execute(connection).await?.rows_affected())
    }
}
