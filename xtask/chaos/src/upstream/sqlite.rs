//! A SQLite database, and what other programs do to it.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use serde_json::Value;

use super::image;
use crate::{
    Outcome,
    format::{self, Format},
    history::{Message, MessageKind, Scope, What},
    nemesis::{Fault, SCHEMA_CHANGED, pause},
    pipeline::{Upstream, Writer},
    writer::sqlite::{self, TABLES, keyed},
};

#[derive(Debug)]
pub(crate) struct Sqlite {
    path: PathBuf,
    batch_rows: u32,
    prune_every: String,
    marks: Marks,
    format: Format,
}

/// Where the marks of a snapshot come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Marks {
    /// Among the rows.
    InOrder,
    /// In any stream.
    Anywhere,
}

impl Sqlite {
    pub(crate) fn create(
        path: PathBuf,
        marks: Marks,
        draw: fn(&mut Rng) -> Format,
        chance: &mut Rng,
    ) -> Outcome<Self> {
        sqlite::create(&path, chance)?;
        let batch_rows = chance.u32(1..2_000);
        let prune_every = format!("{}ms", chance.u32(200..5_000));
        let format = draw(chance);
        let marks = if format.has_marks() { marks } else { Marks::Anywhere };
        Ok(Self { path, batch_rows, prune_every, marks, format })
    }
}

impl Upstream for Sqlite {
    fn settings(&self) -> String {
        let Self { path, batch_rows, prune_every, .. } = self;
        format!(
            "type = \"sqlite\"\npath = \"{}\"\ntables = {{ exclude = [\"truth\"] }}\n\
             batch_rows = {batch_rows}\nprune_every = \"{prune_every}\"",
            path.display()
        )
    }

    fn format(&self) -> &'static str {
        self.format.setting
    }

    fn scope(&self) -> Scope {
        Scope::Stream
    }

    fn write(&self, seed: u64) -> Outcome<Box<dyn Writer>> {
        Ok(Box::new(sqlite::start(&self.path, seed)))
    }

    fn truth(&self) -> Outcome<Vec<What>> {
        let connection = Connection::open(&self.path)?;
        let mut statement = connection.prepare("SELECT key, step FROM truth ORDER BY number")?;
        let steps = statement.query_map([], |row| {
            Ok(What::Committed { key: row.get(0)?, step: row.get::<_, i64>(1)?.cast_unsigned() })
        })?;
        let mut truth: Vec<_> = steps.collect::<Result<_, _>>()?;
        for (name, key) in TABLES {
            let rows = image::table(&self.path, name, key).map_err(|error| error.to_string())?;
            truth.extend(rows.iter().filter_map(|(key, row)| {
                let (table, key) = (name.to_owned(), format!("{name}{key}"));
                Some(What::Row { table, key, digest: self.format.row(row)? })
            }));
        }
        Ok(truth)
    }

    /// The number of the last log row that it covers.
    fn places(&self, states: &[Value]) -> Outcome<Vec<(String, u64)>> {
        let place = |state: &Value| {
            let position = state["progress"]["delivered"]["data"].as_str()?;
            let position: Value = serde_json::from_str(position).ok()?;
            Some((state["partition"]["id"].as_str()?.to_owned(), position["id"].as_u64()?))
        };
        Ok(states.iter().filter_map(place).collect())
    }

    fn parse(&self, text: &[u8]) -> Outcome<Message> {
        let Some(value) = self.format.read(text, key)? else { return Ok(format::tombstone()) };
        let message = parse(text, &value, self.format);
        let mut message = message.ok_or_else(|| format!("no change: {value}"))?;
        if message.kind == MessageKind::Replaces && self.marks == Marks::Anywhere {
            message.kind = MessageKind::Mark;
        }
        Ok(message)
    }

    /// Not one that has all that was delivered.
    fn restore(&self) -> Outcome<bool> {
        let backup = backup(&self.path);
        if !backup.exists() {
            return Ok(false);
        }
        let versions: Vec<i64> =
            [&self.path, &backup].map(last_logged).into_iter().collect::<Result<_, _>>()?;
        for ending in ["-wal", "-shm", "-journal"] {
            let mut beside = self.path.clone().into_os_string();
            beside.push(ending);
            match fs::remove_file(beside) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        fs::rename(backup, &self.path)?;
        Ok(versions[0] > versions[1])
    }

    fn faults(&self) -> Vec<Fault> {
        let fault = |name: &str, weight, run: fn(&Path, &mut Rng) -> Outcome| {
            let path = self.path.clone();
            Fault::new(name, weight, move |chance| run(&path, chance))
        };
        let change = match self.marks {
            Marks::InOrder => change_the_schema,
            Marks::Anywhere => change_the_schema_in_place,
        };
        vec![
            fault("lock held", 6, hold_the_lock),
            fault("log of the database checkpointed", 6, checkpoint_often),
            fault("vacuum", 5, vacuum),
            fault("backup taken", 4, take_a_backup),
            fault(SCHEMA_CHANGED, 10, change),
        ]
    }
}

/// The columns of a table's key.
fn key(table: &str) -> &'static [&'static str] {
    TABLES.iter().find(|(name, _)| *name == table).map_or(&["id"], |(_, key)| key)
}

fn parse(text: &[u8], value: &Value, format: Format) -> Option<Message> {
    let (id, table) = (value["id"].as_str()?, value["table"].as_str()?);
    let operation = value["op"].as_str()?;
    let kind = match operation {
        "insert" | "update" | "delete" => MessageKind::Change,
        "read" => MessageKind::Read,
        // Whatever came before is read again.
        "snapshot_begin" => MessageKind::Replaces,
        _ => MessageKind::Mark,
    };
    let is_row = matches!(kind, MessageKind::Change | MessageKind::Read);
    let is_delete = operation == "delete";
    let image = if is_delete { &value["before"] } else { &value["after"] };
    let version = image["version"].as_u64();
    Some(Message {
        id: id.to_owned(),
        kind,
        table: table.to_owned(),
        key: is_row.then(|| keyed(table, &value["key"])),
        step: version.map(|version| version * 2 + u64::from(is_delete)),
        place: id.split(':').nth(1).and_then(|number| number.parse().ok()),
        partition: None,
        digest: format.digest(text, value),
        row: format.row(&value["after"]).filter(|_| !is_delete),
    })
}

fn open(path: &Path) -> Outcome<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(20))?;
    Ok(connection)
}

fn backup(path: &Path) -> PathBuf {
    path.with_extension("backup")
}

/// The number of the last log row.
fn last_logged(path: &PathBuf) -> Outcome<i64> {
    // The last one is kept for as long as it proves a position.
    let statement = "SELECT coalesce(max(rowid), 0) FROM _rowtide_log";
    Ok(Connection::open(path)?.query_row(statement, [], |row| row.get(0))?)
}

fn take_a_backup(path: &Path, _chance: &mut Rng) -> Outcome {
    let backup = backup(path);
    if backup.exists() {
        return Ok(());
    }
    let connection = open(path)?;
    match connection.execute("VACUUM INTO ?", [backup.to_string_lossy()]) {
        Ok(_) => Ok(()),
        Err(error) => {
            // What it had begun to write is no backup.
            drop(fs::remove_file(backup));
            passing(Err(error))
        }
    }
}

/// Longer than the program's own patience at times.
fn hold_the_lock(path: &Path, chance: &mut Rng) -> Outcome {
    let mut connection = open(path)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    pause(chance, 100, 8_000);
    Ok(transaction.rollback()?)
}

fn checkpoint_often(path: &Path, chance: &mut Rng) -> Outcome {
    let connection = open(path)?;
    let end = Instant::now() + Duration::from_millis(chance.u64(200..4_000));
    while Instant::now() < end {
        passing(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())))?;
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn vacuum(path: &Path, _chance: &mut Rng) -> Outcome {
    passing(open(path)?.execute_batch("VACUUM"))
}

/// While the processes run, and while they do not: nobody asks.
fn change_the_schema(path: &Path, chance: &mut Rng) -> Outcome {
    if chance.u8(..3) > 0 {
        return change_the_schema_in_place(path, chance);
    }
    // As the documentation of SQLite has it, in twelve steps.
    let rebuild = "BEGIN IMMEDIATE;
        CREATE TABLE notes_new (id INTEGER PRIMARY KEY, text TEXT);
        INSERT INTO notes_new SELECT id, text FROM notes;
        DROP TABLE notes;
        ALTER TABLE notes_new RENAME TO notes;
        COMMIT";
    passing(open(path)?.execute_batch(rebuild))
}

/// So that no table is read again.
fn change_the_schema_in_place(path: &Path, chance: &mut Rng) -> Outcome {
    let connection = open(path)?;
    let number = chance.u32(..);
    let columns: i64 = connection.query_row(
        "SELECT count(*) FROM pragma_table_info('orders') WHERE name LIKE 'extra%'",
        [],
        |row| row.get(0),
    )?;
    let statements = match chance.u8(..4) {
        0 | 1 if columns < 6 => format!("ALTER TABLE orders ADD COLUMN extra{number} TEXT"),
        2 => "DROP INDEX IF EXISTS by_note; CREATE INDEX by_note ON orders (note)".to_owned(),
        _ => format!("CREATE TABLE other{number} (id INTEGER PRIMARY KEY, version INTEGER)"),
    };
    passing(connection.execute_batch(&statements))
}

/// That the application held the lock for too long is nobody's fault.
fn passing(result: rusqlite::Result<()>) -> Outcome {
    match result {
        Err(error)
            if matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
            ) =>
        {
            Ok(())
        }
        result => Ok(result?),
    }
}
