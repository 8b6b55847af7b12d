//! What capture costs, printed and not judged:
//! `cargo test --release -p rowtide-sqlite -- --ignored cost --nocapture`.

use std::{fmt::Write as _, time::Instant};

use super::*;

const ROWS: usize = 100_000;

/// Seconds for inserts, updates and deletes of all rows, one statement a row, in one transaction.
fn seconds(columns: usize, unique: &str, captured: bool) -> [f64; 3] {
    let names: Vec<String> = (0..columns).map(|number| format!("c{number} TEXT")).collect();
    let schema = format!("CREATE TABLE t (id INTEGER PRIMARY KEY, {}{unique})", names.join(", "));
    let exclude = if captured { vec![] } else { vec!["t".to_owned()] };
    let tables = Tables { exclude, ..Tables::all() };
    let scene = Scene::with(&schema, tables, Replace::Auto);
    let rows = if columns > 8 { ROWS / 5 } else { ROWS };
    let values: String = (0..columns).fold(String::new(), |mut text, number| {
        write!(text, ", ?1 || ' value {number}'").unwrap();
        text
    });
    let statements = [
        format!("INSERT INTO t VALUES (?1{values})"),
        "UPDATE t SET c1 = ?1 || ' changed' WHERE id = ?1".to_owned(),
        "DELETE FROM t WHERE id = ?1".to_owned(),
    ];
    statements.map(|sql| {
        let start = Instant::now();
        scene.run("BEGIN");
        let mut statement = scene.application.prepare(&sql).unwrap();
        for id in 0..rows {
            statement.execute([id as i64]).unwrap();
        }
        scene.run("COMMIT");
        start.elapsed().as_secs_f64()
    })
}

#[test]
#[ignore = "measures, and proves nothing"]
fn cost_of_the_triggers() {
    for (columns, unique) in [(2, ""), (8, ""), (8, ", UNIQUE (c0)"), (64, "")] {
        let bare = seconds(columns, unique, false);
        let captured = seconds(columns, unique, true);
        let overhead: Vec<String> = bare
            .iter()
            .zip(captured)
            .map(|(bare, captured)| format!("{:.0} %", (captured / bare - 1.0) * 100.0))
            .collect();
        println!("{columns} columns{unique}: insert, update, delete {overhead:?}");
    }
}

#[test]
#[ignore = "measures, and proves nothing"]
fn cost_of_reading() {
    let mut scene = Scene::new("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b, c, d, e, f, g)");
    scene.run(
        "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
         INSERT INTO t
         SELECT i, 'text ' || i, i * 2, i / 3.0, 'some more text', NULL, x'00', i FROM n",
    );
    let up_to = log::last(&scene.ours, &scene.capture.names).unwrap().unwrap();
    for rows_max in [1_000, 10_000] {
        let mut layouts = scene.layouts();
        let (mut after, mut changes, start) = (0, 0, Instant::now());
        while after < up_to {
            let span = Span { after, up_to, bytes_max: usize::MAX, rows_max };
            let batch = log::read(&scene.ours, &mut layouts, span).unwrap();
            after = batch.last;
            changes += batch.changes.len();
        }
        let rate = changes as f64 / start.elapsed().as_secs_f64();
        println!("{rows_max} rows a batch: {rate:.0} changes a second");
    }
    let start = Instant::now();
    let mut statement = scene.ours.prepare("SELECT * FROM _rowtide_log").unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut bytes = 0;
    while let Some(row) = rows.next().unwrap() {
        for index in 4..12 {
            bytes +=
                row.get_ref(index).unwrap().as_str_or_null().map_or(1, |x| x.map_or(0, str::len));
        }
    }
    println!("bare: {:.0} rows a second ({bytes} bytes)", 1e6 / start.elapsed().as_secs_f64());
    scene.read_up_to = up_to;
}
