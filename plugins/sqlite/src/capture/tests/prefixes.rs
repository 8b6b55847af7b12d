//! What is ours has a prefix; not all that has the prefix is ours.

use rowtide_core::{
    ErrorKind,
    plugin::{UninstallOptions, UninstallScope},
};

use super::*;

fn capture(prefix: &str) -> Capture {
    Capture::new(Names::new(prefix), Tables::all(), Replace::Auto)
}

fn captured(synced: &Synced) -> Vec<&str> {
    synced.layouts.iter().map(|layout| layout.definition.name.as_str()).collect()
}

const TABLES: &str = "CREATE TABLE shop (id INTEGER PRIMARY KEY);
    CREATE TABLE shop_orders (id INTEGER PRIMARY KEY, u UNIQUE);
    CREATE TABLE shop_stage_1 (id INTEGER PRIMARY KEY); INSERT INTO shop_stage_1 VALUES (1);
    CREATE TABLE shop_stage_left (i0, v0);
    CREATE TABLE _rowtide_like (id INTEGER PRIMARY KEY)";
const NAMES: [&str; 5] =
    ["_rowtide_like", "shop", "shop_orders", "shop_stage_1", "shop_stage_left"];

#[test]
fn tables_that_begin_like_the_log_are_captured() {
    let mut scene = Scene::with(TABLES, Tables::all(), Replace::Auto);
    assert_eq!(captured(&scene.sync()), NAMES);
    let mut scene = Scene::new("");
    scene.run(TABLES);
    let mut capture = capture("shop");
    capture.install(&mut scene.ours, Execution::Apply).unwrap();
    assert_eq!(captured(&capture.sync(&mut scene.ours).unwrap()), NAMES);
    scene.run("DROP TABLE shop_stage_left");
    capture.sync(&mut scene.ours).unwrap();
    crate::capture::prune(&scene.ours, &capture.names).unwrap();
    let options = UninstallOptions { execution: Execution::Apply, scope: UninstallScope::All };
    capture.uninstall(&mut scene.ours, options, "p").unwrap();
    let count = "SELECT count(*) FROM shop_stage_1";
    let count: i64 = scene.application.query_row(count, [], |row| row.get(0)).unwrap();
    assert_eq!(count, 1);
}

#[test]
fn tables_that_begin_like_another_log_stay_under_capture() {
    let mut scene = Scene::new("CREATE TABLE orders (id INTEGER PRIMARY KEY)");
    scene.run("CREATE TABLE orders_items (id INTEGER PRIMARY KEY, u UNIQUE)");
    scene.sync();
    let mut other = capture("orders");
    other.install(&mut scene.ours, Execution::Apply).unwrap();
    assert_eq!(captured(&other.sync(&mut scene.ours).unwrap()), ["orders", "orders_items"]);
    assert_eq!(captured(&scene.sync()), ["orders", "orders_items"]);
    scene.run("ALTER TABLE orders_items ADD COLUMN v; CREATE TABLE orders_new (id PRIMARY KEY)");
    assert_eq!(captured(&scene.sync()), ["orders", "orders_items", "orders_new"]);
    scene.run("INSERT INTO orders_items VALUES (1, 2, 3)");
    assert_eq!(scene.told(), ["insert orders_items (1,2,3)"]);
}

#[test]
fn a_table_of_the_user_s_in_the_place_of_one_of_ours_is_refused_and_left_alone() {
    for (name, columns) in [
        ("log", "id INTEGER PRIMARY KEY, line"),
        ("LOG", "id, line"),
        ("layout", "name, colour"),
        ("pipeline", "name, steps"),
        ("meta", "key PRIMARY KEY, value"),
    ] {
        let mut scene = Scene::new("");
        scene.run(&format!(
            "CREATE TABLE app_{name} ({columns}); INSERT INTO app_{name} VALUES (7, 8)"
        ));
        let mut capture = capture("App");
        let install = capture.install(&mut scene.ours, Execution::Apply).map(drop);
        let all = UninstallScope::All;
        let options = UninstallOptions { execution: Execution::Apply, scope: all };
        let uninstall = capture.uninstall(&mut scene.ours, options, "p").map(drop);
        for result in [install, uninstall] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::Config, "{error}");
            assert_eq!(error.setting(), Some("log_prefix"));
            assert!(error.message().contains(&format!("`app_{name}`")), "{error}");
        }
        let count = format!("SELECT count(*) FROM app_{name}");
        let count: i64 = scene.application.query_row(&count, [], |row| row.get(0)).unwrap();
        assert_eq!(count, 1);
    }
}

#[test]
fn what_is_left_of_a_log_is_made_anew() {
    for rest in ["log", "meta"] {
        let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE)");
        scene.run(&format!("DROP TABLE _rowtide_{rest}"));
        scene.capture.install(&mut scene.ours, Execution::Apply).unwrap();
        scene.run("CREATE TABLE u (id INTEGER PRIMARY KEY)");
        scene.capture.install(&mut scene.ours, Execution::Apply).unwrap();
    }
}
