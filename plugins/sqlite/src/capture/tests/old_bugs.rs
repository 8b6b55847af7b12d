//! What an earlier project of this kind got wrong, one test a bug.

use super::*;
use crate::source::{
    position::Progress,
    snapshot::{self, Request},
};

/// The replayed log of `write` equals the table.
#[track_caller]
fn check(schema: &str, write: &str) -> Vec<String> {
    let mut scene = Scene::new(schema);
    scene.run(write);
    let changes = scene.changes();
    let mut replica = Replica::default();
    replica.apply(&changes);
    assert_eq!(format!("{:?}", replica.rows("t")), format!("{:?}", scene.rows("t")));
    changes.iter().map(told).collect()
}

#[test]
fn a_wide_table_keeps_its_nulls() {
    let columns: Vec<String> = (0..130).map(|number| format!("c{number}")).collect();
    let schema = format!("CREATE TABLE t (id INTEGER PRIMARY KEY, {})", columns.join(", "));
    let mut scene = Scene::new(&schema);
    scene.run("INSERT INTO t (id, c0) VALUES (1, 'x'); UPDATE t SET c0 = NULL, c129 = 1");
    let changes = scene.changes();
    let after = changes[1].after.as_ref().unwrap();
    assert_eq!(after.values().len(), 131);
    assert!(after.values()[1..130].iter().all(|value| value == &Value::Null));
}

#[test]
fn a_null_blob_and_an_empty_blob_are_different() {
    let told = check(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)",
        "INSERT INTO t VALUES (1, NULL), (2, x'')",
    );
    assert_eq!(told, ["insert t (1,null)", "insert t (2,Bytes([]))"]);
}

#[test]
fn a_blob_column_in_any_place_can_be_installed() {
    for place in [0, 1, 62, 63, 64, 126] {
        let columns: Vec<String> = (0..127)
            .map(|number| format!("c{number}{}", if number == place { " BLOB" } else { "" }))
            .collect();
        let schema = format!("CREATE TABLE t (id INTEGER PRIMARY KEY, {})", columns.join(", "));
        check(&schema, &format!("INSERT INTO t (id, c{place}) VALUES (1, x'00')"));
    }
    check("CREATE TABLE t (id INTEGER PRIMARY KEY, last BLOB)", "INSERT INTO t VALUES (1, x'00')");
}

#[test]
fn a_key_of_columns_that_do_not_lead_is_logged_in_its_order() {
    let mut scene = Scene::new("CREATE TABLE t (v, b, a, PRIMARY KEY (a, b)) WITHOUT ROWID");
    scene.run("INSERT INTO t VALUES (0, 2, 1), (0, 3, 1), (0, 1, 2), (0, 5, 2), (0, 9, 3)");
    let changes = scene.changes();
    assert_eq!(changes.len(), 5);
    assert_eq!(changes[0].table.key(), [2, 1]);
}

#[test]
fn an_old_sqlite_without_subseconds_can_write() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
    let version = run_elsewhere(
        &scene.path,
        "SELECT sqlite_version();
         INSERT INTO t VALUES (1, 'a'); UPDATE t SET v = 'b'; DELETE FROM t;",
    );
    assert_ne!(version.trim(), rusqlite::version(), "the other SQLite must be another");
    let changes = scene.changes();
    assert_eq!(changes.len(), 3);
    assert!(changes.iter().all(|change| change.committed_at.is_some()));
    // Nor do the triggers use what came after 3.35.
    let sql = "SELECT group_concat(lower(sql)) FROM sqlite_master WHERE type = 'trigger'";
    let text: String = scene.application.query_row(sql, [], |row| row.get(0)).unwrap();
    for newer in ["subsec", "json", "unixepoch", "->", "is distinct", "printf", "format("] {
        assert!(!text.contains(newer), "{newer}");
    }
}

#[test]
fn a_blob_in_a_column_of_another_type_can_be_written() {
    check(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER, c REAL, d)",
        "INSERT INTO t VALUES (1, x'00', x'01', x'02', x'03'); UPDATE t SET a = x'ff'",
    );
}

#[test]
fn doubles_are_exact() {
    let told = check(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a REAL)",
        "INSERT INTO t VALUES (1, 0.1 + 0.2), (2, 1.0 / 3), (3, 9e999), (4, -9e999)",
    );
    assert_eq!(told[0], "insert t (1,0.30000000000000004)");
    assert_eq!(told[1], "insert t (2,0.3333333333333333)");
    assert_eq!(told[2..], ["insert t (3,inf)", "insert t (4,-inf)"]);
}

#[test]
fn a_row_removed_by_replace_is_deleted() {
    for recursive in ["OFF", "ON"] {
        let told = check(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE)",
            &format!(
                "PRAGMA recursive_triggers = {recursive};
                 INSERT INTO t VALUES (1, 'a'), (2, 'b'); INSERT OR REPLACE INTO t VALUES (3, 'a')"
            ),
        );
        assert_eq!(told[2..], ["delete t (1,'a')", "insert t (3,'a')"], "{recursive}");
    }
}

#[test]
fn delete_without_where_is_logged_row_by_row() {
    let told = check(
        "CREATE TABLE t (id INTEGER PRIMARY KEY)",
        "INSERT INTO t VALUES (1), (2); DELETE FROM t",
    );
    assert_eq!(told[2..], ["delete t (1)", "delete t (2)"]);
}

#[test]
fn ids_do_not_restart_after_pruning() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    scene.run("INSERT INTO t VALUES (1), (2)");
    assert_eq!(scene.changes().len(), 2);
    // Pruning leaves the row at the slowest position.
    scene.run("DELETE FROM _rowtide_log WHERE id < 4; INSERT INTO t VALUES (3)");
    assert_eq!(scene.changes()[0].id.to_string().rsplit(':').next(), Some("5"));
}

#[test]
fn generated_columns_are_there() {
    let told = check(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v AS (id * 2), s TEXT AS (id || 'x') STORED)",
        "INSERT INTO t VALUES (1)",
    );
    assert_eq!(told, ["insert t (1,2,'1x')"]);
}

#[test]
fn an_added_column_is_captured_and_no_logged_row_is_lost() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    scene.run("INSERT INTO t VALUES (1); ALTER TABLE t ADD COLUMN b");
    scene.capture.install(&mut scene.ours, Execution::Apply).unwrap();
    scene.run("INSERT INTO t VALUES (2, 'b')");
    let told = scene.told();
    assert_eq!(told.first().unwrap(), "insert t (1)");
    assert_eq!(told.last().unwrap(), "insert t (2,'b')");
}

#[test]
fn negative_rowids_and_batches_of_one_are_read() {
    let mut scene = Scene::new("CREATE TABLE t (a)");
    scene.run("INSERT INTO t (rowid, a) VALUES (-1, 'a'), (0, 'b'); UPDATE t SET a = 'c'");
    let told: Vec<String> = scene.read(1).iter().map(told).collect();
    assert_eq!(
        told,
        [
            "insert t (-1,'a')",
            "insert t (0,'b')",
            "update t (-1,'a') (-1,'c')",
            "update t (0,'b') (0,'c')"
        ]
    );
}

#[test]
fn names_are_quoted_everywhere() {
    let mut scene = Scene::new("CREATE TABLE \"order\" (\"group\" PRIMARY KEY, \"a b\" UNIQUE)");
    scene.run("INSERT INTO \"order\" VALUES (1, 2); REPLACE INTO \"order\" VALUES (3, 2)");
    assert_eq!(scene.told().len(), 3);
}

/// The rows of a snapshot of `t` that is read a page at a time, in every size of page.
#[track_caller]
fn check_pages(schema: &str, write: &str, expected: &[&str]) {
    for rows_max in 1..=expected.len() + 1 {
        let mut scene = Scene::new(schema);
        scene.run(write);
        let synced = scene.sync();
        let mut progress = Progress::Pending { replaces: false };
        let mut rows = Vec::new();
        while progress != Progress::Done {
            let request = Request {
                layout: &synced.layouts[0],
                progress: &progress,
                incarnation: "i",
                id: 1,
                schema_version: synced.schema_version,
                rows_max: rows_max.try_into().unwrap(),
                bytes_max: usize::MAX,
            };
            let chunk = snapshot::read(&scene.ours, &request).unwrap();
            let is_row = |change: &&Change| change.operation == Operation::Read;
            rows.extend(chunk.changes.iter().filter(is_row).map(told));
            progress = chunk.next;
        }
        assert_eq!(rows, expected, "pages of {rows_max}");
    }
}

#[test]
fn no_row_of_a_composite_key_is_skipped_between_pages() {
    let write = "INSERT INTO t VALUES (0, 2, 1), (0, 3, 1), (0, 1, 2), (0, 5, 2), (0, 9, 3)";
    let expected =
        ["read t (0,2,1)", "read t (0,3,1)", "read t (0,1,2)", "read t (0,5,2)", "read t (0,9,3)"];
    check_pages("CREATE TABLE t (v, b, a, PRIMARY KEY (a, b)) WITHOUT ROWID", write, &expected);
    check_pages("CREATE TABLE t (v, b, a, PRIMARY KEY (a, b))", write, &expected);
}

#[test]
fn pages_of_one_begin_before_the_first_row() {
    let write = "INSERT INTO t VALUES (-9223372036854775808), (-1), (0), (9223372036854775807)";
    let expected = [
        "read t (-9223372036854775808)",
        "read t (-1)",
        "read t (0)",
        "read t (9223372036854775807)",
    ];
    check_pages("CREATE TABLE t (id INTEGER PRIMARY KEY)", write, &expected);
    check_pages("CREATE TABLE t (id INT PRIMARY KEY) WITHOUT ROWID", write, &expected);
}

#[test]
fn rows_whose_key_is_null_are_not_parted_by_a_page() {
    let write = "INSERT INTO t VALUES (NULL, 1), (NULL, 2), (NULL, 3), ('a', 4), ('b', 5)";
    let expected = [
        "read t (null,1)",
        "read t (null,2)",
        "read t (null,3)",
        "read t ('a',4)",
        "read t ('b',5)",
    ];
    check_pages("CREATE TABLE t (k TEXT PRIMARY KEY, v)", write, &expected);
}
