//! Which tables are captured, for whom, and what is left when nobody needs them.

use rowtide_core::{
    ErrorKind,
    plugin::{UninstallOptions, UninstallScope},
};

use super::*;

fn only(names: &[&str]) -> Tables {
    Tables { include: names.iter().map(|name| (*name).to_owned()).collect(), exclude: vec![] }
}

impl Scene {
    pub(super) fn teardown(&mut self, scope: UninstallScope) -> Vec<String> {
        let options = UninstallOptions { execution: Execution::Apply, scope };
        self.capture.uninstall(&mut self.ours, options, "p").unwrap()
    }

    fn objects(&self) -> Vec<String> {
        let sql = "SELECT name FROM sqlite_master WHERE name GLOB '_rowtide*' ORDER BY name";
        crate::capture::schema::query(&self.application, sql, |row| row.get(0)).unwrap()
    }
}

#[test]
fn a_table_that_there_is_not_is_an_error_that_lists_those_there_are() {
    let scene = Scene::new("CREATE TABLE orders (a); CREATE TABLE customers (a)");
    let mut capture = Capture::new(Names::new("_rowtide"), only(&["order"]), Replace::Auto);
    let error = capture.install(&mut connect(&scene.path), Execution::Apply).unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Config);
    assert_eq!(error.setting(), Some("tables"));
    let help = error.remedy().unwrap();
    assert!(help.contains("did you mean `orders`") && help.contains("customers, orders"), "{help}");
}

#[test]
fn what_can_have_no_triggers_is_refused_by_name_and_passed_over_by_pattern() {
    let mut scene = Scene::new(
        "CREATE TABLE t (a); CREATE VIEW v AS SELECT 1; CREATE VIRTUAL TABLE f USING fts5(a)",
    );
    assert_eq!(scene.sync().layouts.len(), 1);
    for name in ["v", "f"] {
        let mut capture = Capture::new(Names::new("_rowtide"), only(&[name]), Replace::Auto);
        let error = capture.sync(&mut scene.ours).unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Config);
        assert!(error.message().contains(name), "{error}");
    }
}

#[test]
fn pipelines_share_a_log_and_keep_each_others_tables() {
    let mut scene = Scene::with(
        "CREATE TABLE a (id INTEGER PRIMARY KEY, v); CREATE TABLE b (id INTEGER PRIMARY KEY, v)",
        only(&["a"]),
        Replace::Exact,
    );
    let mut other = Capture::new(Names::new("_rowtide"), only(&["b"]), Replace::Auto);
    other.install(&mut scene.ours, Execution::Apply).unwrap();
    scene.run("INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (2, 2)");
    assert_eq!(scene.told(), ["insert a (1,1)"]);
    // The other one sees to a table of ours as well, and leaves it staged.
    scene.run("ALTER TABLE a ADD COLUMN w; REPLACE INTO a VALUES (1, 3, 3)");
    other.sync(&mut scene.ours).unwrap();
    scene.run("REPLACE INTO a VALUES (1, 4, 4)");
    assert_eq!(
        scene.told(),
        [
            "delete a (1,1)",
            "insert a (1,3)",
            "update a (1,3,3)",
            "delete a (1,3,3)",
            "insert a (1,4,4)"
        ]
    );
}

#[test]
fn a_table_added_to_the_list_is_captured_first() {
    let mut scene = Scene::with(
        "CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (id INTEGER PRIMARY KEY);
         INSERT INTO b VALUES (1)",
        only(&["a"]),
        Replace::Auto,
    );
    scene.changes();
    scene.captured.clear();
    scene.capture = Capture::new(Names::new("_rowtide"), only(&["a", "b"]), Replace::Auto);
    scene.changes();
    let captured = &scene.captured[0];
    assert_eq!((&*captured.layout.table.name, captured.empty), ("b", false));
}

#[test]
fn two_logs_in_one_file_leave_each_other_alone() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    let mut other = Capture::new(Names::new("cdc"), Tables::all(), Replace::Auto);
    other.install(&mut scene.ours, Execution::Apply).unwrap();
    assert_eq!(scene.sync().layouts.len(), 1);
    assert_eq!(other.sync(&mut scene.ours).unwrap().layouts.len(), 1);
    scene.run("INSERT INTO t VALUES (1)");
    assert_eq!(scene.told(), ["insert t (1)"]);
}

#[test]
fn teardown_of_a_pipeline_keeps_what_another_one_needs() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE)");
    scene.run("INSERT INTO _rowtide_pipeline (name, started) VALUES ('p', 1), ('q', 1)");
    assert_eq!(scene.teardown(UninstallScope::Pipeline).len(), 1);
    scene.run("INSERT INTO t VALUES (1, 1)");
    assert_eq!(scene.told(), ["insert t (1,1)"]);
    scene.run("UPDATE _rowtide_pipeline SET name = 'p'");
    scene.teardown(UninstallScope::Pipeline);
    assert_eq!(scene.objects(), [""; 0]);
    scene.run("INSERT INTO t VALUES (2, 2)");
}

#[test]
fn teardown_of_everything_leaves_no_trace() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE)");
    scene.run("INSERT INTO _rowtide_pipeline (name, started) VALUES ('p', 1), ('q', 1)");
    let options = UninstallOptions { execution: Execution::DryRun, scope: UninstallScope::All };
    let promised = scene.capture.uninstall(&mut scene.ours, options, "p").unwrap();
    assert!(!scene.objects().is_empty());
    assert_eq!(scene.teardown(UninstallScope::All), promised);
    assert_eq!(scene.objects(), [""; 0]);
}

#[test]
fn teardown_of_triggers_keeps_the_log_and_its_registrations() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE)");
    scene.run("INSERT INTO t VALUES (1, 1)");
    scene.teardown(UninstallScope::Triggers);
    assert_eq!(
        scene.objects(),
        ["_rowtide_layout", "_rowtide_log", "_rowtide_meta", "_rowtide_pipeline"]
    );
    assert_eq!(scene.told(), ["insert t (1,1)"]);
}

#[test]
fn the_lower_of_two_versions_refuses_to_run() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    scene.run("UPDATE _rowtide_meta SET value = 2 WHERE key = 'format'; CREATE TABLE x (a)");
    let error = scene.capture.sync(&mut scene.ours).unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Config);
    assert!(error.remedy().unwrap().contains("newer version"));
}

#[test]
fn a_busy_database_is_waited_for() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    scene.run("CREATE TABLE later (a); BEGIN IMMEDIATE; INSERT INTO t VALUES (1)");
    let path = scene.path.clone();
    let (started, waiting) = std::sync::mpsc::channel();
    let other = std::thread::spawn(move || {
        let mut connection = connect(&path);
        let mut capture = Capture::new(Names::new("_rowtide"), Tables::all(), Replace::Auto);
        started.send(()).unwrap();
        capture.sync(&mut connection).map(|synced| synced.layouts.len())
    });
    waiting.recv().unwrap();
    scene.run("COMMIT");
    assert_eq!(other.join().unwrap().unwrap(), 2);
    scene.ours.busy_timeout(Duration::ZERO).unwrap();
    scene.run("CREATE TABLE last (a); BEGIN IMMEDIATE");
    assert!(scene.capture.sync(&mut scene.ours).unwrap_err().is_transient());
}
