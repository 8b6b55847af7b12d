//! The application goes on writing while we bring its schema in line and read.

use std::{thread, time::Instant};

use super::*;

/// Rounds of an application's: each statement is one of its transactions.
const ROUNDS: &[&str] = &[
    "INSERT INTO t (id, u, a) VALUES (?1, ?1, 'new')",
    "INSERT OR REPLACE INTO t (id, u, a) VALUES (?1 + 1000000, ?1, 'replaces')",
    "UPDATE t SET a = 'changed' WHERE id % 7 = ?1 % 7",
    "DELETE FROM t WHERE id = ?1 - 3",
];

/// What it does to the schema between them.
const MIGRATIONS: &[&str] = &[
    "BEGIN IMMEDIATE; ALTER TABLE t ADD COLUMN b; UPDATE t SET b = id; COMMIT",
    "VACUUM",
    "ALTER TABLE t RENAME COLUMN b TO c",
    "CREATE INDEX t_a ON t (a)",
    "ALTER TABLE t ADD COLUMN d",
    "UPDATE t SET d = x'00'",
    "CREATE TRIGGER touched AFTER INSERT ON t
     BEGIN UPDATE t SET d = 'touched' WHERE id = new.id; END",
];

#[test]
fn no_write_fails_and_none_is_lost_while_the_schema_changes() {
    for journal_mode in ["wal", "delete"] {
        let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE, a)");
        let path = scene.path.clone();
        // Only a file's sole connection can leave the write-ahead log.
        scene.ours = Connection::open_in_memory().unwrap();
        scene.application.pragma_update(None, "journal_mode", journal_mode).unwrap();
        scene.ours = connect(&path);
        let writer = thread::spawn(move || application(&path));
        let mut rows: BTreeMap<String, Vec<(String, Value)>> = BTreeMap::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let is_done = writer.is_finished();
            apply(&mut rows, &scene.changes());
            if is_done {
                break;
            }
            assert!(Instant::now() < deadline);
        }
        writer.join().unwrap();
        apply(&mut rows, &scene.changes());
        assert_eq!(rows, named_rows(&scene), "{journal_mode}");
        let captured: Vec<_> = scene.captured.iter().map(|captured| captured.reason).collect();
        assert_eq!(captured, [log::Reason::First], "{journal_mode}");
    }
}

fn application(path: &std::path::Path) {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(30)).unwrap();
    connection.pragma_update(None, "synchronous", "off").unwrap();
    for round in 0..280_i64 {
        for sql in ROUNDS {
            connection.execute(sql, [round]).unwrap();
        }
        let due = usize::try_from(round / 40).unwrap();
        if round % 40 == 20 {
            connection.execute_batch(MIGRATIONS[due]).unwrap();
        }
    }
}

/// Rows by key, with each value's name: the columns change on the way.
fn apply(rows: &mut BTreeMap<String, Vec<(String, Value)>>, changes: &[Change]) {
    for change in changes {
        let of = |row: &Option<Row>| row.as_ref().map(|row| key(&change.table, row));
        if let (Operation::Delete, Some(before)) = (change.operation, of(&change.before)) {
            assert!(rows.remove(&before).is_some(), "{}", told(change));
        }
        if let (Some(after), Some(row)) = (of(&change.after), &change.after) {
            rows.insert(after, named(&change.table, row));
        }
    }
}

/// A column that is not known yet is NULL in rows that were not touched since.
fn named(table: &rowtide_core::Table, row: &Row) -> Vec<(String, Value)> {
    let names = table.columns.iter().map(|column| match &*column.name {
        "b" => "c".to_owned(),
        name => name.to_owned(),
    });
    names.zip(row.values().iter().cloned()).filter(|(_, value)| value != &Value::Null).collect()
}

fn named_rows(scene: &Scene) -> BTreeMap<String, Vec<(String, Value)>> {
    let synced = scene.capture.clone().sync(&mut connect(&scene.path)).unwrap();
    let table = &synced.layouts[0].table;
    scene.rows("t").into_iter().map(|(key, row)| (key, named(table, &row))).collect()
}
