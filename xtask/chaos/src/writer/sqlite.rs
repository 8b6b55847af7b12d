//! The application of a SQLite database. What it commits it writes down in the same transaction.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use fastrand::Rng;
use rusqlite::{
    Connection, ErrorCode, Transaction, TransactionBehavior, params, types::Value as Sql,
};
use serde_json::{Value, json};

use super::{Application, schema, values};
use crate::Outcome;

/// Few, so that each of them changes often.
const KEYS: i64 = 6;

/// How many transactions of 100,000 rows a round has at most: all of it is read again.
const LARGEST_MOST: u32 = 3;

const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) const TABLES: [(&str, &[&str]); 5] = [
    ("orders", &["id"]),
    ("customers", &["region", "name"]),
    ("bulk", &["id"]),
    ("notes", &["id"]),
    ("huge", &["id"]),
];

/// Makes the tables, with rows that only a snapshot can deliver.
pub(crate) fn create(path: &Path, chance: &mut Rng) -> Outcome {
    let connection = Connection::open(path)?;
    let mode = if chance.u8(..4) == 0 { "delete" } else { "wal" };
    connection.pragma_update(None, "journal_mode", mode)?;
    connection.execute_batch(schema::TABLES)?;
    connection.execute_batch(
        "CREATE TABLE bulk (id INTEGER PRIMARY KEY, version INTEGER, note TEXT);
         CREATE TABLE huge (id INTEGER PRIMARY KEY, version INTEGER, note TEXT);
         CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT);
         CREATE TABLE truth (number INTEGER PRIMARY KEY, key TEXT, step INTEGER);",
    )?;
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
         INSERT INTO orders SELECT i, 0, i / 7.0, 'old ' || i, randomblob(20), NULL FROM n",
        [1_000 + chance.i64(0..12_000)],
    )?;
    Ok(())
}

/// Writes until it is stopped.
pub(crate) fn start(path: &Path, seed: u64) -> Application {
    let path = path.to_owned();
    Application::start(move |stop| run(path, seed, stop))
}

fn run(path: PathBuf, seed: u64, stop: &AtomicBool) -> Outcome {
    let mut connection = Connection::open(&path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let mut writer = Statements { chance: Rng::with_seed(seed), version: 0, largest: 0 };
    while !stop.load(Ordering::Relaxed) {
        match writer.transact(&mut connection) {
            Err(error) if is_passing(&error) => {}
            transacted => transacted?,
        }
        thread::sleep(Duration::from_micros(writer.chance.u64(0..12_000)));
    }
    Ok(())
}

/// Another program held the lock for long, or changed the schema under a statement.
fn is_passing(error: &rusqlite::Error) -> bool {
    use ErrorCode::{DatabaseBusy, DatabaseLocked, SchemaChanged};
    let code = error.sqlite_error_code();
    code.is_some_and(|code| [DatabaseBusy, DatabaseLocked, SchemaChanged].contains(&code))
}

struct Statements {
    chance: Rng,
    version: i64,
    /// How many transactions of the largest kind there were.
    largest: u32,
}

type Result<T = ()> = rusqlite::Result<T>;

impl Statements {
    fn transact(&mut self, connection: &mut Connection) -> Result {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        match self.chance.u32(0..400) {
            0 => self.write_much(&transaction)?,
            1..20 => self.take_notes(&transaction)?,
            20 => self.write_a_huge_row(&transaction)?,
            _ => {
                for _ in 0..self.chance.u32(1..6) {
                    self.write(&transaction)?;
                }
            }
        }
        match self.chance.u8(..10) {
            0 => transaction.rollback(),
            _ => transaction.commit(),
        }
    }

    fn write(&mut self, transaction: &Transaction<'_>) -> Result {
        self.version += 1;
        let (key, version) = (self.chance.i64(1..=KEYS), self.version);
        let region = ["north", "größe", "o'hara"][self.chance.usize(0..3)];
        match self.chance.u32(0..10) {
            0 => {
                tell_deleted_orders(transaction, key)?;
                transaction.execute("DELETE FROM orders WHERE id = ?", [key]).map(drop)
            }
            1 => {
                tell_deleted_customers(transaction, region)?;
                transaction.execute("DELETE FROM customers WHERE region = ?", [region]).map(drop)
            }
            2 => self.move_order(transaction, key),
            3..=6 => {
                let mut any = || values::any(&mut self.chance);
                let (note, data, anything) = (any(), any(), any());
                transaction.execute(
                    "INSERT INTO orders (id, version, amount, note, data, anything)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT (id) DO UPDATE SET version = ?2, amount = ?3, note = ?4,
                         data = ?5, anything = ?6",
                    params![key, version, values::real(&mut self.chance), note, data, anything],
                )?;
                tell(transaction, &order(key), told(version))
            }
            _ => {
                let (name, credit) = (format!("name {key}"), values::any(&mut self.chance));
                transaction.execute(
                    "INSERT OR REPLACE INTO customers (name, region, version, credit)
                     VALUES (?, ?, ?, ?)",
                    params![name, region, version, credit],
                )?;
                tell(transaction, &customer(region, &name), told(version))
            }
        }
    }

    /// Another key for the row, which is a delete and an insert.
    fn move_order(&mut self, transaction: &Transaction<'_>, from: i64) -> Result {
        let (to, version) = (self.chance.i64(1..=KEYS), self.version);
        let before: Option<i64> = version_of(transaction, from)?;
        let changed = transaction.execute(
            "UPDATE OR IGNORE orders SET id = ?, version = ? WHERE id = ?",
            [to, version, from],
        )?;
        if let Some(before) = before.filter(|_| changed > 0) {
            if to != from {
                tell(transaction, &order(from), told(before) + 1)?;
            }
            tell(transaction, &order(to), told(version))?;
        }
        Ok(())
    }

    /// A large transaction, now and then a very large one.
    fn write_much(&mut self, transaction: &Transaction<'_>) -> Result {
        let is_largest = self.largest < LARGEST_MOST && self.chance.u8(..8) == 0;
        self.largest += u32::from(is_largest);
        let rows = if is_largest { 100_000 } else { self.chance.i64(500..4_000) };
        let (first, version) = (self.chance.i64(1..3) * 1_000_000, self.version + 1);
        self.version += 1;
        transaction.execute(
            "WITH RECURSIVE n(i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1 + ?2 - 1)
             INSERT INTO bulk (id, version, note) SELECT i, ?3, 'note ' || i FROM n WHERE true
             ON CONFLICT (id) DO UPDATE SET version = ?3",
            [first, rows, version],
        )?;
        transaction
            .execute(
                "INSERT INTO truth (key, step) SELECT 'bulk{\"id\":' || id || '}', ?2
                 FROM bulk WHERE version = ?1 ORDER BY id",
                [version, version * 2],
            )
            .map(drop)
    }

    /// About as long as a broker takes by default, one byte more or less.
    fn write_a_huge_row(&mut self, transaction: &Transaction<'_>) -> Result {
        self.version += 1;
        let (key, version) = (self.version, self.version);
        let length = 1_000_000 - self.chance.usize(..600);
        transaction.execute(
            "INSERT INTO huge (id, version, note) VALUES (?, ?, ?)",
            params![key, version, "h".repeat(length)],
        )?;
        tell(transaction, &keyed("huge", &json!({ "id": key })), told(version))
    }

    /// Rows of a table whose schema changes; the replay alone is held against it.
    fn take_notes(&mut self, transaction: &Transaction<'_>) -> Result {
        let key = self.chance.i64(1..=20);
        let text = Sql::Text(format!("note {}", self.chance.u32(..)));
        match self.chance.u8(..4) {
            0 => transaction.execute("DELETE FROM notes WHERE id = ?", [key]),
            _ => transaction.execute(
                "INSERT INTO notes (id, text) VALUES (?1, ?2)
                 ON CONFLICT (id) DO UPDATE SET text = ?2",
                params![key, text],
            ),
        }
        .map(drop)
    }
}

/// Steps leave room for the delete of a version, which comes right after it.
fn told(version: i64) -> i64 {
    version * 2
}

fn tell(transaction: &Transaction<'_>, key: &str, step: i64) -> Result {
    let statement = "INSERT INTO truth (key, step) VALUES (?, ?)";
    transaction.prepare_cached(statement)?.execute(params![key, step]).map(drop)
}

fn version_of(transaction: &Transaction<'_>, key: i64) -> Result<Option<i64>> {
    let mut statement = transaction.prepare_cached("SELECT version FROM orders WHERE id = ?")?;
    let mut rows = statement.query([key])?;
    rows.next()?.map(|row| row.get(0)).transpose()
}

fn tell_deleted_orders(transaction: &Transaction<'_>, key: i64) -> Result {
    match version_of(transaction, key)? {
        Some(version) => tell(transaction, &order(key), told(version) + 1),
        None => Ok(()),
    }
}

fn tell_deleted_customers(transaction: &Transaction<'_>, region: &str) -> Result {
    let mut statement =
        transaction.prepare_cached("SELECT name, version FROM customers WHERE region = ?")?;
    let rows = statement.query_map([region], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(String, i64)> = rows.collect::<Result<_>>()?;
    rows.into_iter().try_for_each(|(name, version)| {
        tell(transaction, &customer(region, &name), told(version) + 1)
    })
}

fn order(key: i64) -> String {
    keyed("orders", &json!({ "id": key }))
}

fn customer(region: &str, name: &str) -> String {
    keyed("customers", &json!({ "region": region, "name": name }))
}

/// How a key is called in a history.
pub(crate) fn keyed(table: &str, key: &Value) -> String {
    format!("{table}{key}")
}
