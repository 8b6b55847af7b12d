//! Every value arrives exactly, and none makes the application's write fail.

use super::*;
use crate::capture::names::quoted;

/// Values of each storage class, as SQL.
const VALUES: &[&str] = &[
    "NULL",
    "''",
    "x''",
    "x'00ff'",
    "'text'",
    "9e999",
    "-9e999",
    "9e999 - 9e999",
    "-0.0",
    "1.0",
    "0.1 + 0.2",
    "1.0 / 3",
    "5e-324",
    "1.7976931348623157e308",
    "9223372036854775807",
    "-9223372036854775808",
    "9007199254740993",
    "CAST(x'ff80' AS TEXT)",
    "CAST(x'610062' AS TEXT)",
    "'größe ☃'",
    "'it''s'",
];

/// Columns of each affinity, and STRICT's own.
const TYPES: &[&str] = &["", "INTEGER", "TEXT", "BLOB", "REAL", "NUMERIC", "BOOLEAN"];

/// Replays what was logged and compares it with the tables, types included.
#[track_caller]
fn check(scene: &mut Scene, tables: &[&str]) {
    let mut replica = Replica::default();
    replica.apply(&scene.changes());
    for table in tables {
        let rows = scene.rows(table);
        assert!(!rows.is_empty(), "{table} is empty");
        // Debug tells -0.0 from 0.0 and an infinity from another.
        assert_eq!(format!("{:?}", replica.rows(table)), format!("{rows:?}"), "{table}");
    }
}

fn write_every_value() -> (String, String) {
    let columns: Vec<String> =
        TYPES.iter().enumerate().map(|(index, name)| format!("c{index} {name}")).collect();
    let schema = format!("CREATE TABLE t (id INTEGER PRIMARY KEY, {})", columns.join(", "));
    let mut statements = String::new();
    for value in VALUES {
        let row = vec![*value; TYPES.len()].join(", ");
        statements.push_str(&format!("INSERT INTO t VALUES (NULL, {row});\n"));
        statements.push_str(&format!("UPDATE t SET c1 = {value}, c3 = {value} WHERE id = 1;\n"));
        statements.push_str(&format!("INSERT INTO t VALUES (-{}, {row});\n", 7));
        statements.push_str("DELETE FROM t WHERE id = -7;\n");
    }
    (schema, statements)
}

#[test]
fn every_value_in_a_column_of_every_type_is_exact() {
    let (schema, statements) = write_every_value();
    let mut scene = Scene::new(&schema);
    scene.run(&statements);
    check(&mut scene, &["t"]);
}

#[test]
fn an_older_sqlite_in_another_process_is_captured_as_exactly() {
    let (schema, statements) = write_every_value();
    let mut scene = Scene::new(&schema);
    run_elsewhere(&scene.path, &statements);
    check(&mut scene, &["t"]);
}

#[test]
fn a_python_program_that_binds_odd_values_is_captured_as_exactly() {
    const PROGRAM: &str = r#"
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
odd = [None, '', b'', b'\x00\xff', float('inf'), float('nan'), -0.0, 2**63 - 1, 'a\0b', '☃']
for value in odd:
    connection.execute('INSERT INTO t (a, b, u) VALUES (?, ?, ?)', (value, value, repr(value)))
    connection.execute('UPDATE t SET a = ?', (value,))
connection.execute('INSERT OR REPLACE INTO t (a, u) VALUES (?, ?)', (1, repr(None)))
connection.commit()
"#;
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b REAL, u UNIQUE)");
    let mut python = Command::new("python3");
    let output = python.args(["-c", PROGRAM]).arg(&scene.path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    check(&mut scene, &["t"]);
}

#[test]
fn null_empty_text_and_empty_blob_are_told_apart() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB)");
    scene.run("INSERT INTO t VALUES (1, NULL), (2, ''), (3, x'')");
    assert_eq!(scene.told(), ["insert t (1,null)", "insert t (2,'')", "insert t (3,Bytes([]))"]);
}

#[test]
fn any_name_can_be_captured() {
    let odd = ["select", "a\"b", "größe", "it's", "a b", "new", "old", "x", "v0", "i0", "", "[a]"];
    for name in odd {
        let table = quoted(name);
        let schema = format!(
            "CREATE TABLE {table} ({table} PRIMARY KEY, \"other\" UNIQUE, \"values\" DEFAULT 1)"
        );
        let mut scene = Scene::new(&schema);
        scene.run(&format!(
            "INSERT INTO {table} VALUES (1, 2, 3), (4, 5, 6);
             REPLACE INTO {table} VALUES (7, 5, 8);
             UPDATE {table} SET \"values\" = 9;
             INSERT INTO {table} VALUES (11, 11, 11);
             DELETE FROM {table} WHERE {table} = 11"
        ));
        check(&mut scene, &[name]);
    }
}

#[test]
fn a_thousand_columns_are_captured() {
    let columns: Vec<String> = (0..1_000).map(|number| format!("c{number}")).collect();
    let schema = format!("CREATE TABLE t (id INTEGER PRIMARY KEY, {})", columns.join(", "));
    let mut scene = Scene::new(&schema);
    let values: Vec<String> = (0..1_000)
        .map(|number| if number % 3 == 0 { "NULL".to_owned() } else { format!("'{number}'") })
        .collect();
    scene.run(&format!("INSERT INTO t VALUES (1, {})", values.join(", ")));
    scene.run("UPDATE t SET c999 = x'00', c998 = 1.5");
    check(&mut scene, &["t"]);
}

#[test]
fn a_table_too_wide_to_log_is_refused_and_left_alone() {
    let columns: Vec<String> = (0..1_999).map(|number| format!("c{number}")).collect();
    let scene = Scene::new("CREATE TABLE ok (id INTEGER PRIMARY KEY)");
    scene.run(&format!("CREATE TABLE wide ({})", columns.join(", ")));
    let error = scene.capture.clone().install(&mut connect(&scene.path), Execution::Apply);
    assert!(error.unwrap_err().message().contains("`wide`"));
    scene.run("INSERT INTO wide (c0) VALUES (1)");
}

#[test]
fn every_kind_of_table_is_captured() {
    let mut scene = Scene::new(
        "CREATE TABLE plain (a, b);
         CREATE TABLE hidden (rowid TEXT, b);
         CREATE TABLE without (b, a TEXT, c, PRIMARY KEY (c, a)) WITHOUT ROWID;
         CREATE TABLE strict_one (id INTEGER PRIMARY KEY, a ANY, b TEXT, c REAL) STRICT;
         CREATE TABLE made (a PRIMARY KEY, v AS (a * 2), s AS (a || 'x') STORED);
         CREATE TABLE backwards (a, b, c, PRIMARY KEY (c, b))",
    );
    let write = |table: &str, columns: &str| {
        format!(
            "INSERT INTO {table} ({columns}) VALUES (1, 'a'), (2, 'b'), (3, 'c');
             UPDATE {table} SET a = 4 WHERE a = 2;
             DELETE FROM {table} WHERE a = 3;
             INSERT INTO {table} ({columns}) VALUES (9, 'z');\n"
        )
    };
    let statements = [
        write("plain", "a, b"),
        write("without", "a, c"),
        write("strict_one", "a, b"),
        write("backwards", "a, c"),
        "INSERT INTO hidden VALUES ('x', 1); INSERT INTO hidden (_rowid_, b) VALUES (-5, 2);
         UPDATE hidden SET _rowid_ = 17 WHERE b = 2;
         INSERT INTO made (a) VALUES (1), (2); UPDATE made SET a = 3 WHERE a = 2;"
            .to_owned(),
    ];
    // The sequence of updates must be right in the shell's SQLite as well.
    let (first, second) = statements.split_at(2);
    scene.run(&first.concat());
    run_elsewhere(&scene.path, &second.concat());
    check(&mut scene, &["plain", "hidden", "without", "strict_one", "made", "backwards"]);
}

#[test]
fn a_key_change_is_a_delete_and_an_insert_of_one_log_row() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
    scene.run("INSERT INTO t VALUES (1, 'a'); UPDATE t SET id = 2");
    let changes = scene.changes();
    let ids: Vec<String> = changes
        .iter()
        .map(|change| change.id.to_string().split_once(':').unwrap().1.to_owned())
        .collect();
    let told: Vec<String> = changes.iter().map(told).collect();
    assert_eq!(told, ["insert t (1,'a')", "delete t (1,'a')", "insert t (2,'a')"]);
    assert_eq!(ids, ["3", "5:0", "5:1"]);
}

#[test]
fn an_update_is_never_parted() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
    scene.run("INSERT INTO t VALUES (1, 'a'); UPDATE t SET v = 'b'; UPDATE t SET v = 'c'");
    assert_eq!(scene.read(1).len(), 3);
}

#[test]
fn cascades_upserts_and_rollbacks_are_captured() {
    let mut scene = Scene::new(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE child (id INTEGER PRIMARY KEY, p REFERENCES parent ON DELETE CASCADE)",
    );
    scene.run(
        "PRAGMA foreign_keys = ON;
         INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (10, 1), (20, 2);
         DELETE FROM parent WHERE id = 1;
         INSERT INTO child VALUES (20, 2) ON CONFLICT DO UPDATE SET p = NULL;
         INSERT INTO child VALUES (20, 2) ON CONFLICT DO NOTHING;
         BEGIN; INSERT INTO parent VALUES (3); SAVEPOINT s; INSERT INTO parent VALUES (4);
         ROLLBACK TO s; COMMIT;
         BEGIN; DELETE FROM parent; ROLLBACK;
         DELETE FROM child;",
    );
    assert_eq!(
        scene.told(),
        [
            "insert parent (1)",
            "insert parent (2)",
            "insert child (10,1)",
            "insert child (20,2)",
            "delete child (10,1)",
            "delete parent (1)",
            "update child (20,2) (20,null)",
            "insert parent (3)",
            "delete child (20,null)",
        ]
    );
}

#[test]
fn the_application_sees_nothing_of_our_triggers() {
    let scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE, v)");
    scene.run("INSERT INTO t VALUES (1, 1, 1), (2, 2, 2)");
    let connection = &scene.application;
    let mut statement =
        connection.prepare("INSERT OR REPLACE INTO t VALUES (7, 2, 3) RETURNING id").unwrap();
    let returned: Vec<i64> =
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(returned, [7]);
    assert_eq!(connection.last_insert_rowid(), 7);
    assert_eq!(connection.execute("UPDATE t SET v = 5", []).unwrap(), 2);
    assert_eq!(connection.changes(), 2);
}

#[test]
fn each_change_tells_when_it_was_committed() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    let before = jiff::Timestamp::now().as_millisecond();
    scene.run("INSERT INTO t VALUES (1)");
    let after = jiff::Timestamp::now().as_millisecond();
    let at = scene.changes()[0].committed_at.unwrap().as_millisecond();
    assert!((before..=after).contains(&at), "{before} {at} {after}");
}
