//! The schema changes while it is captured.

use rowtide_core::ErrorKind;

use super::*;
use crate::capture::log::{Reason, digest};

/// Rows by what each column is called.
fn named(changes: &[Change]) -> Vec<String> {
    let image = |change: &Change| {
        let columns = change.table.columns.iter().map(|column| &*column.name);
        let values = change.image().unwrap().values().iter().map(shown);
        columns.zip(values).map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    };
    changes
        .iter()
        .map(|change| format!("{} {}", change.table.name, image(change).join(" ")))
        .collect()
}

impl Scene {
    /// What came under capture since the last call, as `table reason empty`.
    fn captures(&mut self) -> Vec<String> {
        let captured = std::mem::take(&mut self.captured);
        let told = captured.iter().map(|captured| {
            let reason = if captured.reason == Reason::First { "first" } else { "again" };
            let empty = if captured.empty { " empty" } else { "" };
            format!("{} {reason}{empty}", captured.layout.table.name)
        });
        told.collect()
    }
}

#[test]
fn installing_logs_a_marker_and_each_table_that_comes_under_capture() {
    let mut scene = Scene::new(
        "CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (x);
        INSERT INTO b VALUES (1)",
    );
    assert!(scene.changes().is_empty());
    assert_eq!(scene.captures(), ["a first empty", "b first"]);
    let marker: String = scene
        .ours
        .query_row("SELECT v0 FROM _rowtide_log WHERE id = 1 AND operation = 0", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(&*marker, &**scene.layouts().incarnation());
}

#[test]
fn a_second_install_and_a_sync_without_need_write_nothing() {
    let mut scene = Scene::new("CREATE TABLE a (id INTEGER PRIMARY KEY, u UNIQUE, v)");
    let last = log::last(&scene.ours, &scene.capture.names).unwrap();
    assert!(scene.capture.clone().install(&mut scene.ours, Execution::Apply).unwrap().is_empty());
    // Held by the application, the write lock would make any write of ours wait and fail.
    scene.run("BEGIN IMMEDIATE");
    scene.ours.busy_timeout(Duration::ZERO).unwrap();
    scene.sync();
    scene.run("COMMIT; CREATE INDEX i ON a (v); BEGIN IMMEDIATE");
    scene.sync();
    assert_eq!(log::last(&scene.ours, &scene.capture.names).unwrap(), last);
}

#[test]
fn a_dry_run_returns_the_statements_and_runs_none() {
    let scene = Scene::new("");
    scene.run("CREATE TABLE t (a)");
    let mut capture = scene.capture.clone();
    let mut other = connect(&scene.path);
    let statements = capture.install(&mut other, Execution::DryRun).unwrap();
    assert!(statements.iter().any(|statement| statement.starts_with("CREATE TRIGGER")));
    let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger'";
    let count: i64 = scene.application.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(count, 0);
    scene.run(&statements.join(";\n"));
    assert!(capture.install(&mut other, Execution::DryRun).unwrap().is_empty());
}

#[test]
fn rows_logged_before_a_rename_of_a_column_keep_their_meaning() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, a, u UNIQUE)");
    scene.run("INSERT INTO t VALUES (1, 'a', 1)");
    scene.run("ALTER TABLE t RENAME COLUMN a TO \"the \"\"b\"\"\"");
    scene.run("INSERT INTO t VALUES (2, 'b', 2)");
    let first = named(&scene.changes());
    scene.run("REPLACE INTO t VALUES (3, 'c', 2)");
    assert_eq!(first, ["t id=1 a='a' u=1", "t id=2 a='b' u=2"]);
    let name = "the \"b\"";
    assert_eq!(
        named(&scene.changes()),
        [format!("t id=2 {name}='b' u=2"), format!("t id=3 {name}='c' u=2")]
    );
    assert_eq!(scene.captures(), ["t first empty"]);
}

#[test]
fn what_is_written_to_a_new_column_before_we_know_it_arrives() {
    for schema in [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a)",
        "CREATE TABLE t (a, id TEXT COLLATE NOCASE, PRIMARY KEY (id, a)) WITHOUT ROWID",
    ] {
        let mut scene = Scene::new(schema);
        scene.run("INSERT INTO t (id, a) VALUES (1, 'a'), (2, 'b')");
        scene.sync();
        scene.run("ALTER TABLE t ADD COLUMN c DEFAULT 7");
        scene.run(
            "UPDATE t SET c = 'x' WHERE id = 2; INSERT INTO t (id, a, c) VALUES (3, 'c', x'')",
        );
        let mut replica = Replica::default();
        let mut changes = scene.changes();
        let wide = changes.iter().find(|change| change.table.columns.len() == 3).unwrap();
        assert_eq!((wide.operation, &wide.before), (Operation::Update, &None));
        // A column that the layout lacks is unknown: here, it is what the table has.
        changes.retain(|change| change.table.columns.len() == 3);
        let keys: Vec<&str> = vec!["2", "3"];
        assert_eq!(changes.len(), keys.len());
        for change in &changes {
            let row = change.after.clone().unwrap();
            replica.tables.entry("t".to_owned()).or_default().insert(key(&change.table, &row), row);
        }
        let mut rows = scene.rows("t");
        rows.retain(|_, row| {
            !row.values().contains(&Value::Int(1)) && !row.values().contains(&Value::from("1"))
        });
        assert_eq!(replica.rows("t"), rows);
        assert_eq!(scene.captures(), ["t first empty"], "{schema}");
    }
}

#[test]
fn a_new_column_is_captured_from_the_next_sync_on() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, a)");
    scene.run("INSERT INTO t VALUES (1, 'a'); ALTER TABLE t ADD COLUMN b");
    scene.changes();
    scene.run("INSERT INTO t VALUES (2, 'b', 'c')");
    assert_eq!(named(&scene.changes()), ["t id=2 a='b' b='c'"]);
}

#[test]
fn a_renamed_table_goes_on_under_its_new_name() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE)");
    scene.run("INSERT INTO t VALUES (1, 1); ALTER TABLE t RENAME TO \"n\"\"n\"");
    scene.run("INSERT INTO \"n\"\"n\" VALUES (2, 2); CREATE TABLE t (id INTEGER PRIMARY KEY)");
    assert_eq!(named(&scene.changes()), ["t id=1 u=1", "t id=2 u=2"]);
    scene.run("REPLACE INTO \"n\"\"n\" VALUES (3, 2); INSERT INTO t VALUES (1)");
    assert_eq!(named(&scene.changes()), ["n\"n id=2 u=2", "n\"n id=3 u=2", "t id=1"]);
    assert_eq!(scene.captures(), ["t first empty", "n\"n first", "t again empty"]);
}

#[test]
fn a_dropped_table_is_forgotten_and_its_successor_captured_again() {
    let tables = Tables { include: vec!["t".into()], exclude: vec![] };
    let mut scene = Scene::with("CREATE TABLE t (id INTEGER PRIMARY KEY)", tables, Replace::Exact);
    scene.run("INSERT INTO t VALUES (1); DROP TABLE t");
    let synced = scene.sync();
    assert!(synced.warnings[0].contains("`t`"), "{:?}", synced.warnings);
    assert_eq!(named(&scene.changes()), ["t id=1"]);
    scene.run("CREATE TABLE t (name TEXT PRIMARY KEY); INSERT INTO t VALUES ('x')");
    scene.changes();
    scene.run("INSERT INTO t VALUES ('y')");
    assert_eq!(named(&scene.changes()), ["t name='y'"]);
    assert_eq!(scene.captures(), ["t first empty", "t again"]);
}

#[test]
fn the_twelve_step_rebuild_is_captured_again_and_nothing_logged_is_lost() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)");
    scene.run(
        "INSERT INTO t VALUES (1, 'a', 'b');
         BEGIN; CREATE TABLE new_t (id INTEGER PRIMARY KEY, b TEXT NOT NULL);
         INSERT INTO new_t SELECT id, b FROM t; DROP TABLE t; ALTER TABLE new_t RENAME TO t; COMMIT;
         INSERT INTO t VALUES (2, 'c')",
    );
    assert_eq!(named(&scene.changes()), ["t id=1 a='a' b='b'"]);
    assert_eq!(scene.captures(), ["t first empty", "t again"]);
    scene.run("INSERT INTO t VALUES (3, 'd')");
    assert_eq!(named(&scene.changes()), ["t id=3 b='d'"]);
}

#[test]
fn a_trigger_that_someone_dropped_or_changed_means_captured_again() {
    let names = Names::new("_rowtide");
    let update = names.trigger(crate::capture::names::Kind::Update, 1);
    let other = format!("CREATE TRIGGER {update} AFTER UPDATE ON t BEGIN SELECT 1; END");
    for sql in [format!("DROP TRIGGER {update}"), format!("DROP TRIGGER {update}; {other}")] {
        let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
        scene.run("INSERT INTO t VALUES (1, 1)");
        scene.run(&sql);
        scene.run("UPDATE t SET v = 2");
        assert_eq!(scene.told(), ["insert t (1,1)"]);
        assert_eq!(scene.captures(), ["t first empty", "t again"]);
        scene.run("UPDATE t SET v = 3");
        assert_eq!(scene.told(), ["update t (1,2) (1,3)"]);
    }
}

#[test]
fn a_table_without_a_key_is_captured_again_after_a_vacuum() {
    let mut scene = Scene::new("CREATE TABLE t (a); CREATE TABLE k (id INTEGER PRIMARY KEY)");
    scene.run("INSERT INTO t VALUES (1), (2); DELETE FROM t WHERE a = 1; VACUUM");
    scene.run("ALTER TABLE t ADD COLUMN b");
    scene.changes();
    assert_eq!(scene.captures(), ["k first empty", "t first empty", "t again"]);
    scene.changes();
    assert!(scene.captures().is_empty());
}

#[test]
fn a_unique_index_made_later_is_staged_for() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, u)");
    scene.run("INSERT INTO t VALUES (1, 'a')");
    scene.sync();
    scene.run("CREATE UNIQUE INDEX i ON t (u)");
    scene.changes();
    assert_eq!(scene.captures(), ["t first empty"]);
    scene.run("REPLACE INTO t VALUES (2, 'a')");
    assert_eq!(scene.told(), ["delete t (1,'a')", "insert t (2,'a')"]);

    scene.run("CREATE UNIQUE INDEX j ON t (u, id); REPLACE INTO t VALUES (3, 'b')");
    scene.changes();
    assert_eq!(scene.captures(), ["t again"], "a row may have been replaced silently");
}

#[test]
fn a_column_that_a_trigger_names_can_be_dropped_after_teardown_of_the_triggers() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)");
    scene.run("INSERT INTO t VALUES (1, 'a', 'b')");
    scene.application.execute_batch("ALTER TABLE t DROP COLUMN a").unwrap_err();
    scene.teardown(rowtide_core::plugin::UninstallScope::Triggers);
    scene.run("ALTER TABLE t DROP COLUMN a; INSERT INTO t VALUES (2, 'c')");
    assert_eq!(named(&scene.changes()), ["t id=1 a='a' b='b'"]);
    assert_eq!(scene.captures(), ["t first empty", "t again"]);
}

#[test]
fn our_triggers_after_a_write_are_put_last_again() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE, updated_at)");
    let layouts = scene.sync().layouts;
    scene.run(
        "CREATE TRIGGER touched AFTER INSERT ON t BEGIN
           UPDATE t SET updated_at = 1 WHERE id = new.id; END",
    );
    let synced = scene.sync();
    assert!(synced.warnings[0].contains("`touched`"), "{:?}", synced.warnings);
    assert_eq!(synced.layouts[0].id, layouts[0].id);
    scene.run("INSERT INTO t VALUES (1, 1, 0)");
    assert_eq!(scene.told(), ["insert t (1,1,0)", "update t (1,1,0) (1,1,1)"]);
    assert_eq!(scene.captures(), ["t first empty"]);
    let sql = "SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY rowid";
    let order: Vec<String> =
        crate::capture::schema::query(&scene.ours, sql, |row| row.get(0)).unwrap();
    let place = |name: &str| order.iter().position(|trigger| trigger == name).unwrap();
    let (staging, ours) = ("_rowtide_stage_insert_1", "_rowtide_insert_1");
    assert!(place(staging) < place("touched") && place("touched") < place(ours));
}

#[test]
fn a_gap_in_the_log_is_never_passed_over() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    scene.run("INSERT INTO t VALUES (1), (2), (3); DELETE FROM _rowtide_log WHERE id = 4");
    let mut layouts = scene.layouts();
    for span in [(0, 5), (3, 5), (3, 4), (4, 9)] {
        let span =
            Span { after: span.0, up_to: span.1, bytes_max: usize::MAX, rows_max: usize::MAX };
        let mut result = log::read(&scene.ours, &mut layouts, span);
        while let Ok(batch) = &result {
            assert!(batch.last != 4 && batch.last < span.up_to, "{span:?}");
            result = log::read(&scene.ours, &mut layouts, Span { after: batch.last, ..span });
        }
        assert_eq!(result.unwrap_err().kind(), &ErrorKind::PositionLost, "{span:?}");
    }
    scene.run("DROP TABLE _rowtide_log");
    let error = scene.capture.sync(&mut scene.ours).unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::PositionLost);
}

#[test]
fn a_digest_tells_one_row_from_every_other() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
    scene.run("INSERT INTO t VALUES (1, 1), (1.0 + 1, 1.0), (3, '1'), (4, x'31')");
    scene.run("UPDATE _rowtide_log SET at = 0, v0 = 1");
    let digests = |scene: &Scene| -> Vec<_> {
        let names = &scene.capture.names;
        (3..=6).map(|id| digest(&scene.ours, names, id).unwrap().unwrap()).collect()
    };
    let before = digests(&scene);
    let distinct: std::collections::HashSet<_> = before.iter().collect();
    assert_eq!(distinct.len(), 4);
    scene.run("CREATE TABLE wider (a, b, c, d, e, f)");
    scene.sync();
    assert_eq!(digests(&scene), before, "the log has grown wider");
    assert_eq!(digest(&scene.ours, &scene.capture.names, 99).unwrap(), None);
}

#[test]
fn layouts_go_with_the_last_row_that_needs_them() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, a)");
    scene.run("INSERT INTO t VALUES (1, 1); ALTER TABLE t ADD COLUMN b");
    scene.sync();
    let count = |scene: &Scene| -> i64 {
        crate::capture::prune(&scene.ours, &scene.capture.names).unwrap();
        let sql = "SELECT count(*) FROM _rowtide_layout";
        scene.ours.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count(&scene), 2);
    scene.run("INSERT INTO t VALUES (2, 2, 2); DELETE FROM _rowtide_log WHERE id < 5");
    assert_eq!(count(&scene), 1);
    assert_eq!(scene.sync().layouts.len(), 1);
}

#[test]
fn a_table_renamed_onto_a_known_name_is_captured_again() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, a)");
    scene.run("INSERT INTO t VALUES (1, 'a'); CREATE TABLE new_t (id INTEGER PRIMARY KEY, b)");
    scene.changes();
    assert_eq!(scene.captures(), ["t first empty", "new_t first empty"]);
    scene.run("INSERT INTO new_t SELECT * FROM t; DROP TABLE t; ALTER TABLE new_t RENAME TO t");
    scene.run("INSERT INTO t VALUES (2, 'b')");
    assert_eq!(named(&scene.changes()), ["new_t id=1 b='a'", "new_t id=2 b='b'"]);
    assert_eq!(scene.captures(), ["t again"]);
    scene.run("INSERT INTO t VALUES (3, 'c')");
    assert_eq!(named(&scene.changes()), ["t id=3 b='c'"]);
    assert!(scene.captures().is_empty());
}
