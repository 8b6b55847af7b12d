use std::{path::PathBuf, sync::Arc};

use rowtide_conformance::{Capability, Result, SourceHarness, Upstream, Write, async_trait};
use rowtide_core::{Change, Operation, Value};
use rusqlite::Connection;
use tempfile::TempDir;

use super::{Sample, failed, first_value, literal};

/// An outbox in SQLite.
pub(crate) struct Sqlite(pub(crate) Done);

/// What becomes of a delivered row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Delete,
    Mark,
    Keep,
}

struct World {
    directory: TempDir,
    done: Done,
}

impl Done {
    pub(crate) const ALL: [Done; 3] = [Done::Delete, Done::Mark, Done::Keep];

    pub(crate) fn system(self) -> &'static str {
        match self {
            Done::Delete => "sqlite_delete",
            Done::Mark => "sqlite_mark",
            Done::Keep => "sqlite_keep",
        }
    }

    fn setting(self) -> &'static str {
        match self {
            Done::Delete => "delete",
            Done::Mark => "mark",
            Done::Keep => "keep",
        }
    }
}

const TABLE: &str = "
CREATE TABLE outbox (
    id integer NOT NULL,
    aggregatetype text, aggregateid text, payload text,
    of_text text, of_int integer, of_real real, of_blob blob, of_any,
    done_at text,
    seq integer PRIMARY KEY AUTOINCREMENT)";

#[async_trait]
impl SourceHarness for Sqlite {
    fn plugin(&self) -> &str {
        "outbox"
    }

    fn lacks(&self) -> Vec<(Capability, &'static str)> {
        let mut lacks = vec![
            (Capability::Transactions, "a message is by itself"),
            (Capability::Snapshot, "a message that waits is as new as any other"),
            (Capability::Children, "a table is one partition"),
            (Capability::Elsewhere, "a position depends on nothing but the messages"),
            (Capability::Restart, "a file has no server that restarts"),
        ];
        if self.0 != Done::Keep {
            let reason = "a position says what is done, and nothing of what is not";
            lacks.push((Capability::Loss, reason));
        }
        lacks
    }

    async fn upstream(&self) -> Result<Arc<dyn Upstream>> {
        let world = World { directory: tempfile::tempdir().map_err(failed)?, done: self.0 };
        let application = world.connect()?;
        application.pragma_update(None, "journal_mode", "wal").map_err(failed)?;
        application.execute_batch(TABLE).map_err(failed)?;
        Ok(Arc::new(world))
    }
}

impl World {
    fn path(&self) -> PathBuf {
        self.directory.path().join("shop.db")
    }

    fn connect(&self) -> Result<Connection> {
        Connection::open(self.path()).map_err(failed)
    }
}

#[async_trait]
impl Upstream for World {
    fn settings(&self) -> String {
        let (path, done) = (self.path(), self.done.setting());
        format!("database = 'sqlite:{}'\ndone = '{done}'\npoll_every = '10ms'", path.display())
    }

    fn operations(&self) -> Vec<Operation> {
        vec![Operation::Insert]
    }

    fn values(&self) -> Vec<Value> {
        SAMPLES.iter().map(|(_, _, value)| value()).collect()
    }

    async fn commit(&self, writes: &[Write]) -> Result<()> {
        let mut connection = self.connect()?;
        let transaction = connection.transaction().map_err(failed)?;
        for write in writes {
            let Write::Insert { key, value } = write else { return Err(failed("not an insert")) };
            let insert = match literal(SAMPLES, value) {
                None => format!("INSERT INTO outbox (id) VALUES ({key})"),
                Some((name, literal)) => {
                    format!("INSERT INTO outbox (id, {name}) VALUES ({key}, {literal})")
                }
            };
            transaction.execute(&insert, []).map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }

    fn losses(&self) -> Vec<&'static str> {
        vec!["the outbox was made anew", "a backup was restored, and written to since"]
    }

    async fn lose(&self, loss: &str) -> Result<()> {
        let connection = self.connect()?;
        let rows: i64 = connection
            .query_row("SELECT max(seq) FROM outbox", [], |row| row.get(0))
            .map_err(failed)?;
        connection.execute_batch(&format!("DROP TABLE outbox; {TABLE}")).map_err(failed)?;
        if loss != "the outbox was made anew" {
            for _ in 0..=rows {
                connection.execute("INSERT INTO outbox (id) VALUES (1000)", []).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// The files of this process that are open in the folder.
    async fn held(&self) -> Result<usize> {
        let open = std::fs::read_dir("/proc/self/fd").map_err(failed)?;
        let paths = open.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        Ok(paths.filter(|path| path.starts_with(self.directory.path())).count())
    }

    fn row(&self, change: &Change) -> Option<(i64, Value)> {
        first_value(change)
    }
}

const SAMPLES: &[Sample] = &[
    ("of_text", "'plain'", || Value::from("plain")),
    ("of_text", "''", || Value::from("")),
    ("of_text", "'snow ☃ 雪 \u{1F980}'", || Value::from("snow ☃ 雪 \u{1F980}")),
    ("of_text", "CAST(X'ff' AS TEXT)", || Value::RawText([0xff].into())),
    ("of_int", "9223372036854775807", || Value::Int(i64::MAX)),
    ("of_int", "-9223372036854775807 - 1", || Value::Int(i64::MIN)),
    ("of_real", "0.1", || Value::Float(0.1)),
    ("of_real", "9e999", || Value::Float(f64::INFINITY)),
    ("of_blob", "X'00ff10'", || Value::Bytes([0, 255, 16].into())),
    ("of_blob", "X''", || Value::Bytes([].into())),
    ("of_any", "1.5", || Value::Float(1.5)),
    ("payload", r#"'{"a": [1, null]}'"#, || Value::from(r#"{"a": [1, null]}"#)),
];
