use sqlx::{MySql, MySqlConnection};

use crate::{Database, Value, database::values};

impl Database for MySql {
    /// Placeholders are counted by 16 bits.
    const VALUES_MAX: usize = 65_535;

    async fn insert(
        connection: &mut MySqlConnection,
        table: &str,
        columns: &[String],
        rows: &[Vec<Value>],
    ) -> sqlx::Result<u64> {
        let sql = values::statement(table, columns, rows.len(), '`');
        let query = values::query::<MySql>(sql, rows);
        // A statement of each length would push the application's own out of the cache.
        let query = query.persistent(rows.len() == 1);
        Ok(query.execute(connection).await?.rows_affected())
    }
}
