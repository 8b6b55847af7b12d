//! What the server says of itself and of the table.

use rowtide_core::{Column, Error, Result};
use rowtide_sql::{Dialect, TableName, failure};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row, postgres::PgRow};

use super::reader::log_place;
use crate::{
    config::{Done, OutboxConfig},
    database::postgres::values::Wire,
};

/// The first version with transaction ids that never come again.
const VERSION_MIN: i32 = 130_000;

/// The table as it is.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) oid: i64,
    pub(super) columns: Vec<FoundColumn>,
    /// Of each index: its columns' names, whether it is unique, and whether it is of a part only.
    indexes: Vec<Index>,
    triggers: Vec<String>,
}

/// A column as it is.
#[derive(Debug)]
pub(super) struct FoundColumn {
    pub(super) name: String,
    pub(super) declared: String,
    pub(super) wire: Wire,
    pub(super) is_not_null: bool,
    pub(super) default: String,
    /// The sequence that numbers it: how many numbers a session takes at once, and by what they
    /// grow.
    pub(super) sequence: Option<(i64, i64)>,
}

#[derive(Debug)]
struct Index {
    first: String,
    columns: i64,
    is_unique: bool,
    condition: Option<String>,
}

impl Found {
    pub(super) async fn look(
        connection: &mut PgConnection,
        table: &TableName,
    ) -> Result<Option<Self>> {
        let doing = |error| failure(format!("failed to look at the outbox `{table}`"), error);
        let name = table.quoted(Dialect::Postgres);
        let Some(oid) = table_oid(connection, &name).await.map_err(doing)? else {
            return Ok(None);
        };
        let rows = fetch(connection, COLUMNS, oid).await.map_err(doing)?;
        let columns = rows.iter().map(FoundColumn::new).collect::<sqlx::Result<_>>();
        let rows = fetch(connection, INDEXES, oid).await.map_err(doing)?;
        let indexes = rows.iter().map(Index::new).collect::<sqlx::Result<_>>();
        let rows = fetch(connection, TRIGGERS, oid).await.map_err(doing)?;
        let triggers = rows.iter().map(|row| row.try_get(0)).collect::<sqlx::Result<_>>();
        Ok(Some(Self {
            oid,
            columns: columns.map_err(doing)?,
            indexes: indexes.map_err(doing)?,
            triggers: triggers.map_err(doing)?,
        }))
    }

    pub(super) fn column(&self, name: &str) -> Option<&FoundColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether each value of the column is there once.
    pub(super) fn is_unique(&self, column: &str) -> bool {
        let is_it = |index: &&Index| {
            index.first == column
                && index.columns == 1
                && index.is_unique
                && index.condition.is_none()
        };
        self.indexes.iter().any(|index| is_it(&index))
    }

    /// Whether an index of all rows begins with the column.
    pub(super) fn is_indexed(&self, column: &str) -> bool {
        self.indexes.iter().any(|index| index.first == column && index.condition.is_none())
    }

    /// Whether an index of some rows begins with the column, by what its condition mentions.
    pub(super) fn is_indexed_where(&self, column: &str, mentioned: &str) -> bool {
        let mentions = |index: &Index| {
            index.condition.as_ref().is_some_and(|condition| condition.contains(mentioned))
        };
        self.indexes.iter().any(|index| index.first == column && mentions(index))
    }

    pub(super) fn has_trigger(&self, name: &str) -> bool {
        self.triggers.iter().any(|trigger| trigger == name)
    }

    /// The columns, as a consumer is told of them.
    pub(super) fn described(&self) -> Vec<Column> {
        let described = |column: &FoundColumn| {
            let mut described = Column::new(column.name.as_str(), column.wire.column_type());
            described.declared = column.declared.as_str().into();
            described
        };
        self.columns.iter().map(described).collect()
    }
}

impl FoundColumn {
    fn new(row: &PgRow) -> sqlx::Result<Self> {
        let cache: Option<i64> = row.try_get("seqcache")?;
        let increment: Option<i64> = row.try_get("seqincrement")?;
        Ok(Self {
            name: row.try_get("name")?,
            declared: row.try_get("declared")?,
            wire: Wire::of_type(row.try_get("type")?),
            is_not_null: row.try_get("is_not_null")?,
            default: row.try_get("expression")?,
            sequence: cache.zip(increment),
        })
    }
}

impl Index {
    fn new(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            first: row.try_get("first")?,
            columns: row.try_get("columns")?,
            is_unique: row.try_get("is_unique")?,
            condition: row.try_get("condition")?,
        })
    }
}

/// What tells this table of this server from any other: the cluster, its history, the table's own
/// number, and, unless rows are kept, that of the file that it is in: `TRUNCATE … RESTART IDENTITY`
/// begins another one, and the numbers from 1 again. What is kept goes by transactions, which no
/// other file gives out again. And the end of the server's log.
pub(super) async fn identity(
    connection: &mut PgConnection,
    table: i64,
    done: Done,
) -> Result<(String, u64)> {
    let doing = |error| failure("failed to ask the server who it is", error);
    let query = SERVER.replace("$table", &table.to_string());
    let row = connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(query))).await.map_err(doing)?;
    let version: i32 = row.try_get("version").map_err(doing)?;
    if version < VERSION_MIN {
        let message = format!("PostgreSQL {} has no `xid8`", version / 10_000);
        return Err(Error::config(message).key("database").help("13 is the oldest that works"));
    }
    if row.try_get("is_standby").map_err(doing)? {
        let message = "the server is a standby, which does not know the open transactions";
        // While one server takes over from another, an address may lead to one that is not yet the
        // primary.
        return Err(Error::transient(message).key("database").help("name the primary"));
    }
    let system: String = row.try_get("system").map_err(doing)?;
    let log_end: String = row.try_get("log_end").map_err(doing)?;
    let identity = match done {
        Done::Keep => format!("{system}/{table}"),
        Done::Delete | Done::Mark => {
            let file: i64 = row.try_get("file").map_err(doing)?;
            format!("{system}/{table}/{file}")
        }
    };
    Ok((identity, log_place(&log_end)?))
}

/// Refuses rows whose transactions this cluster has yet to begin: no snapshot sees them until then,
/// and what is written meanwhile would overtake them.
///
/// What a statement sees was committed before its snapshot, whose end is beyond all of that. The
/// index of the transactions answers: no other plan may be thought cheaper, which reads the table.
pub(super) async fn check_transactions(
    connection: &mut PgConnection,
    config: &OutboxConfig,
) -> Result<()> {
    let table = config.table()?;
    let name = &config.transaction_column;
    let (quoted, column) = (table.quoted(Dialect::Postgres), Dialect::Postgres.quote(name));
    let ahead = format!("{column} >= pg_snapshot_xmax(pg_current_snapshot())");
    let todo = match config.done {
        Done::Mark => format!("{} IS NULL", Dialect::Postgres.quote(&config.done_column)),
        Done::Delete | Done::Keep => "true".to_owned(),
    };
    let doing = |error| failure(format!("failed to look into the outbox `{table}`"), error);
    let query = format!(
        "BEGIN READ ONLY; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; \
         SELECT EXISTS (SELECT 1 FROM (SELECT * FROM {quoted} WHERE {ahead} OFFSET 0) rows \
         WHERE {todo}) AS is_ahead; COMMIT"
    );
    let row = connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(query))).await.map_err(doing)?;
    if !row.try_get("is_ahead").map_err(doing)? {
        return Ok(());
    }
    let message = format!(
        "rows of the outbox `{table}` have transactions in `{name}` that this server has not begun: \
         they are of another one"
    );
    let help = format!(
        "make them this server's own: UPDATE {quoted} SET {column} = pg_current_xact_id() \
         WHERE {ahead} AND {todo}"
    );
    Err(Error::config(message).key("transaction_column").help(help))
}

async fn table_oid(connection: &mut PgConnection, name: &str) -> sqlx::Result<Option<i64>> {
    let name = Dialect::Postgres.literal(name);
    let query = format!("SELECT to_regclass({name})::oid::int8");
    connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(query))).await?.try_get(0)
}

/// Without parameters, since outside of a transaction a pooler may give each of the two halves of a
/// statement with some to another session.
async fn fetch(
    connection: &mut PgConnection,
    query: &'static str,
    oid: i64,
) -> sqlx::Result<Vec<PgRow>> {
    let query = query.replace("$table", &oid.to_string());
    connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(query))).await
}

// A standby has no current log, so a CASE keeps that from being asked.
const SERVER: &str = "
SELECT current_setting('server_version_num')::int4 AS version,
       pg_is_in_recovery() AS is_standby,
       coalesce(pg_relation_filenode($table::oid)::int8, 0) AS file,
       CASE WHEN pg_is_in_recovery() THEN '0'
            ELSE (pg_current_wal_insert_lsn() - '0/0')::text END AS log_end,
       CASE WHEN pg_is_in_recovery() THEN ''
            ELSE concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
                           left(pg_walfile_name(pg_current_wal_lsn()), 8),
                           (SELECT oid FROM pg_database WHERE datname = current_database()))
       END AS system";

const COLUMNS: &str = "
SELECT a.attname::text AS name,
       format_type(a.atttypid, a.atttypmod) AS declared,
       (CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE a.atttypid END)::int8 AS type,
       a.attnotnull AS is_not_null,
       coalesce(pg_get_expr(d.adbin, d.adrelid), '') AS expression,
       s.seqcache, s.seqincrement
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN LATERAL (
    SELECT q.seqcache, q.seqincrement FROM pg_sequence q WHERE q.seqrelid IN (
        SELECT p.objid FROM pg_depend p
        WHERE p.classid = 'pg_class'::regclass AND p.refclassid = 'pg_class'::regclass
          AND p.refobjid = a.attrelid AND p.refobjsubid = a.attnum AND p.deptype = 'i'
        UNION ALL
        SELECT p.refobjid FROM pg_depend p
        WHERE p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid
          AND p.refclassid = 'pg_class'::regclass)
    LIMIT 1) s ON true
WHERE a.attrelid = $table::oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum";

const INDEXES: &str = "
SELECT a.attname::text AS first, i.indnkeyatts::int8 AS columns, i.indisunique AS is_unique,
       pg_get_expr(i.indpred, i.indrelid) AS condition
FROM pg_index i
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = $table::oid AND i.indisvalid";

const TRIGGERS: &str =
    "SELECT tgname::text FROM pg_trigger WHERE tgrelid = $table::oid AND NOT tgisinternal";
