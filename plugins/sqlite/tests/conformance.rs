//! What every source and every checkpoint store must do, for SQLite.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rowtide_conformance::{
    Capability, CheckpointHarness, Result, SourceHarness, Storage, Suite, Upstream, Write,
    async_trait,
};
use rowtide_core::{Error, Value};
use rowtide_sqlite as _;
use rusqlite::{Connection, ToSql, types::ValueRef};

fn main() -> ExitCode {
    rowtide_conformance::main(vec![Suite::source(Sqlite), Suite::checkpoint(Sqlite)])
}

struct Sqlite;

#[async_trait]
impl SourceHarness for Sqlite {
    fn plugin(&self) -> &str {
        "sqlite"
    }

    fn lacks(&self) -> Vec<(Capability, &'static str)> {
        vec![
            (Capability::Transactions, "triggers cannot see where a transaction ends"),
            (Capability::Children, "a file is one partition"),
            (Capability::Restart, "a file has no server"),
        ]
    }

    async fn upstream(&self) -> Result<Arc<dyn Upstream>> {
        let folder = tempfile::tempdir().map_err(failed)?;
        let database = Database { path: folder.path().join("a.db"), folder, row: Mutex::default() };
        database.run(
            "PRAGMA journal_mode = wal;
             CREATE TABLE t (id INTEGER PRIMARY KEY, i INTEGER, r REAL, t TEXT, b BLOB, x);
             CREATE TABLE elsewhere (x)",
        )?;
        Ok(Arc::new(database))
    }
}

struct Database {
    folder: tempfile::TempDir,
    path: PathBuf,
    /// One writer at a time, as a lock that fails nobody.
    row: Mutex<()>,
}

impl Database {
    fn connect(&self) -> Result<Connection> {
        let connection = Connection::open(&self.path).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(20)).map_err(failed)?;
        connection.pragma_update(None, "synchronous", "off").map_err(failed)?;
        Ok(connection)
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.connect()?.execute_batch(sql).map_err(failed)
    }

    /// Whether the log begins with the row that was acknowledged.
    fn is_pruned(&self) -> Result<bool> {
        let select = "SELECT (SELECT min(id) FROM _rowtide_log) = max(acknowledged)
                      FROM _rowtide_pipeline";
        let pruned = self.connect()?.query_row(select, [], |row| row.get::<_, Option<bool>>(0));
        Ok(pruned.map_err(failed)? == Some(true))
    }

    fn backup(&self) -> PathBuf {
        self.folder.path().join("backup")
    }

    /// A copy of the time at which the log had just been made.
    fn back_up(&self, connection: &Connection) -> rusqlite::Result<()> {
        let installed = "SELECT count(*) FROM sqlite_master WHERE name = '_rowtide_log'";
        let is_installed: bool = connection.query_row(installed, [], |row| row.get(0))?;
        if is_installed && !self.backup().exists() {
            let into = self.backup();
            connection.execute("VACUUM INTO ?", [into.to_string_lossy()])?;
        }
        Ok(())
    }

    fn restore(&self) -> Result<()> {
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", self.path.display()));
        }
        fs::copy(self.backup(), &self.path).map_err(failed)?;
        Ok(())
    }
}

#[async_trait]
impl Upstream for Database {
    fn settings(&self) -> String {
        format!(
            "path = '{}'\ntables = ['t']\nbatch_rows = 7\npoll_every = '20ms'\nprune_every = '1ms'",
            self.path.display()
        )
    }

    fn values(&self) -> Vec<Value> {
        vec![
            Value::Null,
            Value::Int(i64::MIN),
            Value::Int(i64::MAX),
            Value::Int((1 << 53) + 1),
            Value::Int(0),
            Value::Float(f64::INFINITY),
            Value::Float(f64::NEG_INFINITY),
            Value::Float(0.1 + 0.2),
            Value::Float(1.0 / 3.0),
            Value::Float(f64::MAX),
            Value::Float(5e-324),
            Value::Text("".into()),
            Value::Text("größer\u{0}\n'\"".into()),
            Value::RawText([0xff, 0xfe, 0].into()),
            Value::Bytes([].into()),
            Value::Bytes([0, 0xff].into()),
        ]
    }

    async fn commit(&self, writes: &[Write]) -> Result<()> {
        let _one = self.row.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connection = self.connect()?;
        self.back_up(&connection).map_err(failed)?;
        let transaction = connection.transaction().map_err(failed)?;
        for write in writes {
            apply(&transaction, write).map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }

    async fn commit_elsewhere(&self) -> Result<()> {
        self.run("INSERT INTO elsewhere VALUES (1)")
    }

    fn losses(&self) -> Vec<&'static str> {
        vec![
            "the log was emptied",
            "the log was dropped",
            "a backup was restored",
            "a backup was restored and written to since",
        ]
    }

    async fn lose(&self, loss: &str) -> Result<()> {
        match loss {
            "the log was emptied" => self.run("DELETE FROM _rowtide_log"),
            "the log was dropped" => self.run("DROP TABLE _rowtide_log"),
            "a backup was restored" => self.restore(),
            _ => {
                self.restore()?;
                self.run(
                    "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n LIMIT 500)
                     INSERT INTO t(id) SELECT i FROM n",
                )
            }
        }
    }

    async fn settle(&self) -> Result<()> {
        while !self.is_pruned()? {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn held(&self) -> Result<usize> {
        let folder = self.folder.path().canonicalize().map_err(failed)?;
        let files = fs::read_dir("/proc/self/fd").map_err(failed)?;
        let targets = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
        Ok(targets.filter(|target| target.starts_with(&folder)).count())
    }
}

fn apply(connection: &Connection, write: &Write) -> rusqlite::Result<usize> {
    match write {
        Write::Insert { key, value } => {
            let insert = format!("INSERT INTO t(id, {}) VALUES (?, ?)", column(value));
            connection.execute(&insert, [key as &dyn ToSql, &Bound(value)])
        }
        Write::Update { key, value } => {
            let column = column(value);
            let others = ["i", "r", "t", "b", "x"].into_iter().filter(|other| *other != column);
            let nulls: String = others.map(|other| format!(", {other} = NULL")).collect();
            let update = format!("UPDATE t SET {column} = ?2{nulls} WHERE id = ?1");
            connection.execute(&update, [key as &dyn ToSql, &Bound(value)])
        }
        Write::Delete { key } => connection.execute("DELETE FROM t WHERE id = ?", [key]),
        Write::Truncate => connection.execute("DELETE FROM t", []),
    }
}

fn column(value: &Value) -> &'static str {
    match value {
        Value::Int(_) => "i",
        Value::Float(_) => "r",
        Value::Text(_) => "t",
        Value::Bytes(_) => "b",
        _ => "x",
    }
}

struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(rusqlite::types::ToSqlOutput::Borrowed(match self.0 {
            Value::Int(number) => ValueRef::Integer(*number),
            Value::Float(number) => ValueRef::Real(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::RawText(bytes) => ValueRef::Text(bytes),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
            _ => ValueRef::Null,
        }))
    }
}

#[async_trait]
impl CheckpointHarness for Sqlite {
    fn plugin(&self) -> &str {
        "sqlite"
    }

    async fn storage(&self) -> Result<Arc<dyn Storage>> {
        let folder = tempfile::tempdir().map_err(failed)?;
        Ok(Arc::new(File {
            path: folder.path().join("c.db"),
            _folder: folder,
            rows: Mutex::default(),
        }))
    }
}

struct File {
    path: PathBuf,
    _folder: tempfile::TempDir,
    /// What was stored when it was asked for, a table after the other.
    rows: Mutex<Vec<StoredRow>>,
}

/// The table of a row, and its fields.
type StoredRow = (&'static str, Vec<Vec<u8>>);

#[async_trait]
impl Storage for File {
    fn settings(&self) -> String {
        format!("path = '{}'", self.path.display())
    }

    async fn stored(&self) -> Result<Vec<Vec<u8>>> {
        let connection = Connection::open(&self.path).map_err(failed)?;
        let mut rows = Vec::new();
        for table in ["rowtide_checkpoint", "rowtide_claim"] {
            rows.extend(
                fields(&connection, table).map_err(failed)?.into_iter().map(|row| (table, row)),
            );
        }
        let pieces = rows.iter().flat_map(|(_, fields)| fields.clone()).collect();
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = rows;
        Ok(pieces)
    }

    async fn overwrite(&self, piece: usize, bytes: &[u8]) -> Result<()> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone();
        replace(&self.path, rows, piece, bytes).map_err(failed)
    }
}

/// Every value of every row, integers as their digits.
fn fields(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Vec<Vec<u8>>>> {
    let mut statement = connection.prepare(&format!("SELECT * FROM {table}"))?;
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        let value = |index| {
            Ok(match row.get_ref(index)? {
                ValueRef::Integer(number) => number.to_string().into_bytes(),
                other => other.as_bytes()?.to_vec(),
            })
        };
        (0..columns).map(value).collect()
    })?;
    rows.collect()
}

fn replace(path: &Path, rows: Vec<StoredRow>, piece: usize, bytes: &[u8]) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "synchronous", "off")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch("DELETE FROM rowtide_checkpoint; DELETE FROM rowtide_claim")?;
    let mut number = 0;
    for (table, fields) in rows {
        let mut values: Vec<Box<dyn ToSql>> = Vec::new();
        for (column, field) in fields.into_iter().enumerate() {
            let field = if number == piece { bytes.to_vec() } else { field };
            number += 1;
            let is_blob = column >= 3;
            let text = String::from_utf8(field.clone());
            values.push(match text {
                Ok(text) if !is_blob => Box::new(text),
                _ => Box::new(field),
            });
        }
        let marks = vec!["?"; values.len()].join(", ");
        // A name turned into another one takes its place.
        let insert = format!("INSERT OR REPLACE INTO {table} VALUES ({marks})");
        transaction.execute(&insert, rusqlite::params_from_iter(values))?;
    }
    transaction.commit()
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::fatal("the harness failed").because(error)
}
