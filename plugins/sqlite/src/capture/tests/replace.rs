//! Rows that a REPLACE removes.

use super::*;

fn told(replace: Replace, schema: &str, write: &str) -> Vec<String> {
    let mut scene = Scene::with(schema, Tables::all(), replace);
    scene.run(write);
    scene.told()
}

#[test]
fn without_further_unique_keys_the_insert_is_the_replacement() {
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, v)";
    let write = "INSERT INTO t VALUES (1, 'a'); REPLACE INTO t VALUES (1, 'b')";
    assert_eq!(told(Replace::Auto, schema, write), ["insert t (1,'a')", "insert t (1,'b')"]);
    assert_eq!(
        told(Replace::Exact, schema, write),
        ["insert t (1,'a')", "delete t (1,'a')", "insert t (1,'b')"]
    );
}

#[test]
fn a_key_that_is_equal_but_not_the_same_is_staged_for() {
    for (schema, key, other) in [
        ("CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY)", "'a'", "'A'"),
        ("CREATE TABLE t (k PRIMARY KEY)", "1", "1.0"),
    ] {
        let write = format!("INSERT INTO t VALUES ({key}); REPLACE INTO t VALUES ({other})");
        let told = told(Replace::Auto, schema, &write);
        let expected = [
            format!("insert t ({key})"),
            format!("delete t ({key})"),
            format!("insert t ({other})"),
        ];
        assert_eq!(told, expected);
    }
}

#[test]
fn one_write_may_remove_several_rows() {
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE, w UNIQUE)";
    let write = "INSERT INTO t VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4);
        UPDATE OR REPLACE t SET id = 1, u = 2, w = 3 WHERE id = 4";
    let mut told = told(Replace::Auto, schema, write).split_off(4);
    told[..3].sort();
    assert_eq!(
        told,
        [
            "delete t (1,1,1)",
            "delete t (2,2,2)",
            "delete t (3,3,3)",
            "delete t (4,4,4)",
            "insert t (1,2,3)"
        ]
    );
}

#[test]
fn a_default_in_the_place_of_a_null_removes_a_row_too() {
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT NOT NULL DEFAULT 'x' UNIQUE)";
    let write = "INSERT INTO t VALUES (1, 'x'); INSERT OR REPLACE INTO t VALUES (2, NULL)";
    assert_eq!(
        told(Replace::Auto, schema, write),
        ["insert t (1,'x')", "delete t (1,'x')", "insert t (2,'x')"]
    );
}

#[test]
fn what_stays_staged_is_pruned_and_costs_later_writes_nothing() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE)");
    scene.run("INSERT INTO t VALUES (1, 1), (2, 2); INSERT OR IGNORE INTO t VALUES (3, 1), (4, 2)");
    let staged = |scene: &Scene| -> i64 {
        let sql = "SELECT count(*) FROM _rowtide_stage_1";
        scene.ours.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(staged(&scene), 2);
    // It stays right without pruning: an update or a delete unstages, another insert does not care.
    scene.run(
        "UPDATE t SET u = 5 WHERE id = 1; DELETE FROM t WHERE id = 2;
        INSERT INTO t VALUES (6, 1)",
    );
    assert_eq!(staged(&scene), 0);
    scene.run("INSERT OR IGNORE INTO t VALUES (7, 1)");
    crate::capture::prune(&scene.ours, &scene.capture.names).unwrap();
    assert_eq!(staged(&scene), 0);
    scene.run("REPLACE INTO t VALUES (8, 1)");
    assert_eq!(scene.told().split_off(5), ["delete t (6,1)", "insert t (8,1)"]);

    for (trigger, start) in [
        ("_rowtide_insert_1", "DELETE"),
        ("_rowtide_insert_1", "INSERT"),
        ("_rowtide_update_1", "DELETE"),
        ("_rowtide_delete_1", "DELETE"),
        ("_rowtide_stage_insert_1", "INSERT"),
        ("_rowtide_stage_update_1", "INSERT"),
    ] {
        let steps = steps(&scene, trigger, start);
        assert!(steps.iter().all(|step| !step.starts_with("SCAN")), "{trigger} {start} {steps:?}");
    }
}

/// How SQLite runs the first statement of a trigger that begins with `start`.
fn steps(scene: &Scene, trigger: &str, start: &str) -> Vec<String> {
    let sql = format!("SELECT sql FROM sqlite_master WHERE name = '{trigger}'");
    let sql: String = scene.ours.query_row(&sql, [], |row| row.get(0)).unwrap();
    let body = sql.split_once("*/ ").unwrap().1;
    let mut statement = body.split("; ").find(|part| part.starts_with(start)).unwrap().to_owned();
    for name in ["new.\"id\"", "new.\"u\"", "old.\"id\"", "old.\"u\""] {
        statement = statement.replace(name, "1");
    }
    let plan = format!("EXPLAIN QUERY PLAN {statement}");
    crate::capture::schema::query(&scene.ours, &plan, |row| row.get(3)).unwrap()
}

#[test]
fn application_triggers_before_and_after_ours_are_replayed_right() {
    let after = "AFTER INSERT ON t WHEN new.v = 0 BEGIN
        UPDATE t SET v = 1 WHERE id = new.id;
        INSERT OR REPLACE INTO t VALUES (new.id + 100, new.u + 1, 2);
        DELETE FROM t WHERE v = 3; END;";
    let before = "BEFORE INSERT ON t WHEN new.v = 0 BEGIN
        UPDATE t SET v = 4 WHERE id = 50;
        INSERT OR REPLACE INTO t VALUES (new.id + 200, new.u, 5); END;";
    for recursive in ["OFF", "ON"] {
        let mut scene = Scene::new(&format!(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE, v); CREATE TRIGGER older {after}"
        ));
        scene.run(&format!("CREATE TRIGGER newer {after} CREATE TRIGGER first {before}"));
        scene.sync();
        scene.run(&format!(
            "PRAGMA recursive_triggers = {recursive};
             INSERT INTO t VALUES (50, 50, 3), (51, 51, 3);
             INSERT OR REPLACE INTO t VALUES (1, 1, 0), (2, 2, 0), (101, 1, 0)"
        ));
        let mut replica = Replica::default();
        replica.apply(&scene.changes());
        assert_eq!(replica.rows("t"), scene.rows("t"), "{recursive}");
    }
}
