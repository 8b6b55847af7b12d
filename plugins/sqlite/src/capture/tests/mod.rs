//! Tests of capture as a whole: an application writes, and the log is replayed.

mod concurrency;
mod cost;
mod ddl;
mod fidelity;
mod fuzz;
mod old_bugs;
mod prefixes;
mod replace;
mod scope;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use rowtide_core::{Change, Operation, Row, Value, plugin::Execution, settings::Tables};
use rusqlite::Connection;

use crate::{
    capture::{
        Capture, Replace, Synced,
        layout::Layouts,
        log::{self, Captured, Span, image},
        names::Names,
    },
    connection::Database,
};

/// A database that an application writes to, and our side of it.
struct Scene {
    _directory: tempfile::TempDir,
    path: PathBuf,
    application: Connection,
    ours: Connection,
    capture: Capture,
    read_up_to: i64,
    captured: Vec<Captured>,
}

impl Scene {
    fn new(schema: &str) -> Self {
        Self::with(schema, Tables::all(), Replace::Auto)
    }

    fn with(schema: &str, tables: Tables, replace: Replace) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let application = Connection::open(&path).unwrap();
        application.pragma_update(None, "journal_mode", "wal").unwrap();
        application.pragma_update(None, "synchronous", "off").unwrap();
        application.execute_batch(schema).unwrap();
        let ours = connect(&path);
        let capture = Capture::new(Names::new("_rowtide"), tables, replace);
        let captured = Vec::new();
        let mut scene = Self {
            _directory: directory,
            path,
            application,
            ours,
            capture,
            read_up_to: 0,
            captured,
        };
        scene.capture.install(&mut scene.ours, Execution::Apply).unwrap();
        scene
    }

    /// Runs statements as the application.
    #[track_caller]
    fn run(&self, sql: &str) {
        self.application.execute_batch(sql).unwrap();
    }

    fn sync(&mut self) -> Synced {
        self.capture.sync(&mut self.ours).unwrap()
    }

    /// The changes since the last call; what was captured is kept apart.
    fn changes(&mut self) -> Vec<Change> {
        self.sync();
        self.read(usize::MAX)
    }

    fn read(&mut self, rows_max: usize) -> Vec<Change> {
        let up_to = log::last(&self.ours, &self.capture.names).unwrap().unwrap_or(0);
        let mut layouts = self.layouts();
        let mut changes = Vec::new();
        while self.read_up_to < up_to {
            let after = self.read_up_to;
            let span = Span { after, up_to, bytes_max: usize::MAX, rows_max };
            let batch = log::read(&self.ours, &mut layouts, span).unwrap();
            assert!(batch.last > self.read_up_to);
            self.read_up_to = batch.last;
            changes.extend(batch.changes);
            self.captured.extend(batch.captured);
        }
        changes
    }

    fn layouts(&self) -> Layouts {
        let Capture { names, tables, .. } = &self.capture;
        Layouts::open(&self.ours, names.clone(), tables.clone()).unwrap()
    }

    /// Each change as `operation table before after`.
    fn told(&mut self) -> Vec<String> {
        self.changes().iter().map(told).collect()
    }

    /// The rows of a table as a log of it would rebuild them.
    fn rows(&self, table: &str) -> Rows {
        let layouts = self.capture.clone().sync(&mut connect(&self.path)).unwrap().layouts;
        let layout = layouts.iter().find(|layout| &*layout.table.name == table).unwrap();
        let sql = format!(
            "SELECT {} FROM {} AS x",
            layout.definition.image("x").join(", "),
            crate::capture::names::quoted(table)
        );
        let mut statement = self.application.prepare(&sql).unwrap();
        let width = layout.table.columns.len();
        let rows = statement.query_map([], |row| image(row, 0, width)).unwrap();
        rows.map(|row| row.unwrap()).map(|row| (key(&layout.table, &row), row)).collect()
    }
}

fn connect(path: &std::path::Path) -> Connection {
    Database { path: path.to_owned(), busy_timeout: Duration::from_secs(10) }.connect().unwrap()
}

/// Rows by their key.
type Rows = BTreeMap<String, Row>;

/// Tables as they are after changes were applied to them.
#[derive(Default)]
struct Replica {
    tables: BTreeMap<String, Rows>,
    /// Whether an insert may replace a row of its own key, as where no rows are staged.
    lenient: bool,
}

impl Replica {
    #[track_caller]
    fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            let rows = self.tables.entry(change.table.name.to_string()).or_default();
            let key = |row: &Option<Row>| row.as_ref().map(|row| key(&change.table, row));
            let (before, after) = (key(&change.before), key(&change.after));
            let told = told(change);
            match change.operation {
                Operation::Insert => {
                    let old = rows.insert(after.unwrap(), change.after.clone().unwrap());
                    assert!(old.is_none() || self.lenient, "inserted over a row: {told}");
                }
                Operation::Update => {
                    let old = rows.insert(after.unwrap(), change.after.clone().unwrap());
                    let expected = change.before.as_ref().or(old.as_ref());
                    assert_eq!(old.as_ref(), expected, "updated another row: {told}");
                    assert!(old.is_some(), "updated no row: {told}");
                }
                Operation::Delete => {
                    let old = rows.remove(&before.unwrap());
                    assert_eq!(old, change.before, "deleted another row: {told}");
                }
                _ => unreachable!("{told}"),
            }
        }
    }

    fn rows(&self, table: &str) -> Rows {
        self.tables.get(table).cloned().unwrap_or_default()
    }
}

fn key(table: &rowtide_core::Table, row: &Row) -> String {
    let values: Vec<&Value> = table.key().into_iter().map(|index| &row[index]).collect();
    format!("{values:?}")
}

fn told(change: &Change) -> String {
    let image = |row: &Option<Row>| {
        row.as_ref().map_or(String::new(), |row| {
            let values: Vec<String> = row.values().iter().map(shown).collect();
            format!(" ({})", values.join(","))
        })
    };
    let (before, after) = (image(&change.before), image(&change.after));
    format!("{} {}{before}{after}", change.operation.name(), change.table.name)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Int(integer) => integer.to_string(),
        Value::Float(float) => format!("{float:?}"),
        Value::Text(text) => format!("'{text}'"),
        other => format!("{other:?}"),
    }
}

/// Runs statements in the `sqlite3` of the system, which is another version of SQLite.
#[track_caller]
fn run_elsewhere(path: &std::path::Path, sql: &str) -> String {
    use std::io::Write as _;
    let mut child = Command::new("sqlite3")
        .args(["-batch", "-bail"])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("these tests need the program sqlite3");
    child.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
