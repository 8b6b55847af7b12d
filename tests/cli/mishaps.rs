//! What hurts nobody: a wrong path, a file taken away, a command under a running pipeline.

use std::{
    fs::{self, OpenOptions},
    io::Read,
    process::Stdio,
    time::{Duration, Instant},
};

use rusqlite::Connection;

use crate::support::{Running, Sandbox, signal, stderr, ticker};

/// A pipeline of a database with one row to a file, both there.
fn shop() -> (Sandbox, Connection) {
    let sandbox = Sandbox::with(
        "name = \"p\"\n[source]\ntype = \"sqlite\"\npath = \"shop.db\"\n\
         [sink]\ntype = \"file\"\npath = \"out.jsonl\"\n\
         [checkpoint]\ntype = \"sqlite\"\npath = \"c.db\"\n",
    );
    let shop = Connection::open(sandbox.path().join("shop.db")).unwrap();
    shop.busy_timeout(Duration::from_secs(30)).unwrap();
    shop.execute_batch(
        "PRAGMA journal_mode = wal;
         CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT);
         INSERT INTO orders VALUES (1, 'there before');",
    )
    .unwrap();
    (sandbox, shop)
}

fn insert(shop: &Connection, note: &str) {
    shop.execute("INSERT INTO orders (note) VALUES (?)", [note]).unwrap();
}

/// Waits until the delivered file has this in it.
#[track_caller]
fn wait_for(sandbox: &Sandbox, text: &str) {
    wait(text, || {
        fs::read_to_string(sandbox.path().join("out.jsonl")).is_ok_and(|all| all.contains(text))
    });
}

#[track_caller]
fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "no {what} within a minute");
        std::thread::yield_now();
    }
}

#[test]
fn a_sink_that_names_another_file_leaves_it_as_it_is() {
    let (sandbox, _shop) = shop();
    sandbox.printed(&["run", "--drain", "p.toml"]);
    for file in ["shop.db", "c.db", "p.toml", ".", "/dev/null"] {
        let path = sandbox.path().join(file);
        let before = fs::read(&path).ok();
        let mut command = sandbox.rowtide(&["run", "--drain", "p.toml"]);
        let output = command.env("ROWTIDE__SINK__PATH", file).output().unwrap();
        let stderr = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{file}: {stderr}");
        assert!(stderr.contains("ROWTIDE__SINK__PATH"), "{stderr}");
        assert_eq!(fs::read(&path).ok(), before);
    }
}

#[test]
fn a_delivered_file_that_is_taken_away_is_made_again() {
    let (sandbox, shop) = shop();
    let running = Running::start(sandbox.rowtide(&["run", "p.toml"]));
    wait_for(&sandbox, "snapshot_end");
    let (path, moved) = (sandbox.path().join("out.jsonl"), sandbox.path().join("moved.jsonl"));
    fs::rename(&path, &moved).unwrap();
    insert(&shop, "after the move");
    wait_for(&sandbox, "after the move");
    fs::remove_file(&path).unwrap();
    insert(&shop, "after the removal");
    wait_for(&sandbox, "after the removal");
    OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    insert(&shop, "after the cut");
    wait_for(&sandbox, "after the cut");
    assert!(fs::read_to_string(&moved).unwrap().contains("there before"));
    drop(running);
}

#[test]
fn nothing_is_torn_down_under_a_running_pipeline() {
    let (sandbox, shop) = shop();
    for store in [&["sqlite", "c.db"], &["file", "checkpoints"]] {
        let rowtide = |arguments: &[&str]| {
            let mut command = sandbox.rowtide(arguments);
            command
                .env("ROWTIDE__CHECKPOINT__TYPE", store[0])
                .env("ROWTIDE__CHECKPOINT__PATH", store[1]);
            command
        };
        let running = Running::start(rowtide(&["run", "p.toml"]));
        wait_for(&sandbox, "snapshot_end");
        wait("checkpoint", || {
            let shown = rowtide(&["checkpoint", "show", "p.toml"]).output().unwrap();
            String::from_utf8_lossy(&shown.stdout).contains("delivered")
        });
        for arguments in [&["teardown", "p.toml"][..], &["teardown", "--all", "p.toml"]] {
            let output = rowtide(arguments).output().unwrap();
            let stderr = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            assert!(stderr.contains(&format!("process {}", running.child.id())), "{stderr}");
        }
        insert(&shop, store[0]);
        wait_for(&sandbox, &format!("\"note\":\"{}\"", store[0]));
        drop(running);
        let output = rowtide(&["teardown", "p.toml"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        fs::remove_file(sandbox.path().join("out.jsonl")).unwrap();
    }
}

/// Local stores hold a lock, so a process loses its claim only if somebody removes the lock.
#[test]
fn a_frozen_process_that_was_taken_over_exits_with_4_and_names_the_other() {
    for store in ["sqlite", "file"] {
        let (sandbox, shop) = shop();
        let rowtide = |arguments: &[&str]| {
            let mut command = sandbox.rowtide(arguments);
            command
                .env("ROWTIDE__CHECKPOINT__TYPE", store)
                .env("ROWTIDE__CHECKPOINT__PATH", "checkpoint");
            command
        };
        let first = Running::start(rowtide(&["run", "p.toml"]));
        // Frozen in the middle of a save it would hold a lock of the database as well.
        wait("checkpoint", || {
            let shown = rowtide(&["checkpoint", "show", "p.toml"]).output().unwrap();
            String::from_utf8_lossy(&shown.stdout).contains("done")
        });
        signal(&first.child, "STOP");

        let refused = rowtide(&["run", "p.toml"]).output().unwrap();
        assert_eq!(refused.status.code(), Some(1));
        let name = format!("process {}", first.child.id());
        assert!(stderr(&refused).contains(&name), "{}", stderr(&refused));

        let lock = ["checkpoint.p.lock", "checkpoint/p.checkpoint.lock"];
        for lock in lock.iter().chain(&["out.jsonl.lock"]) {
            let _ = fs::remove_file(sandbox.path().join(lock));
        }
        let second = Running::start(rowtide(&["run", "p.toml"]));
        insert(&shop, "of the second");
        wait_for(&sandbox, "of the second");
        signal(&first.child, "CONT");
        insert(&shop, "after the first woke up");
        wait_for(&sandbox, "after the first woke up");
        let told = end(first, 4);
        assert!(told.contains(&format!("by process {}", second.child.id())), "{told}");
    }
}

#[test]
fn no_log_line_has_a_value_of_a_row() {
    const CANARY: &str = "canary-7f3a";
    for format in ["text", "json"] {
        let (sandbox, shop) = shop();
        shop.execute_batch(&format!(
            "CREATE TABLE keyed (name TEXT PRIMARY KEY, data BLOB) WITHOUT ROWID;
             INSERT INTO keyed VALUES ('{CANARY} 1', NULL), ('{CANARY} 2', '{CANARY}');"
        ))
        .unwrap();
        let mut command = sandbox.rowtide(&["--log-format", format, "run", "p.toml"]);
        command.env("RUST_LOG", "trace").env("ROWTIDE__SOURCE__BATCH_ROWS", "1");
        let log = fs::File::create(sandbox.path().join("log")).unwrap();
        let mut child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        wait_for(&sandbox, &format!("{CANARY} 2"));
        shop.execute_batch(&format!(
            "INSERT INTO orders VALUES (7, '{CANARY}'); UPDATE orders SET note = note || 'x';
             UPDATE keyed SET name = name || 'x'; DELETE FROM keyed;
             ALTER TABLE keyed ADD COLUMN more DEFAULT '{CANARY}';
             INSERT INTO keyed VALUES ('last', x'00', '{CANARY}');"
        ))
        .unwrap();
        wait_for(&sandbox, "\"last\"");
        signal(&child, "TERM");
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let log = fs::read_to_string(sandbox.path().join("log")).unwrap();
        assert!(log.contains("pipeline is running"), "{log}");
        let telling: Vec<_> = log.lines().filter(|line| line.contains(CANARY)).collect();
        assert!(telling.is_empty(), "{telling:?}");
    }
}

#[test]
fn an_error_of_an_open_plugin_leads_to_its_line() {
    let (sandbox, _shop) = shop();
    sandbox.write("c.db", &"no database ".repeat(999));
    for arguments in [&["run", "p.toml"][..], &["checkpoint", "show", "p.toml"]] {
        let output = sandbox.output(arguments);
        let stderr = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("error: p.toml:10:1: "), "{stderr}");
        assert!(stderr.contains("key: checkpoint.path\n"), "{stderr}");
    }
}

#[test]
fn a_checkpoint_that_is_taken_away_ends_the_run_and_says_what_happened() {
    let (sandbox, shop) = shop();
    let running = Running::start(sandbox.rowtide(&["run", "p.toml"]));
    wait("checkpoint", || sandbox.printed(&["checkpoint", "show", "p.toml"]).contains("done"));
    let path = sandbox.path().join("c.db");
    fs::rename(&path, sandbox.path().join("moved.db")).unwrap();
    insert(&shop, "after the move");
    let told = end(running, 1);
    assert!(told.contains("moved or removed while it was in use; put it back"), "{told}");
    fs::rename(sandbox.path().join("moved.db"), &path).unwrap();
    sandbox.printed(&["run", "--drain", "p.toml"]);
    wait_for(&sandbox, "after the move");
}

/// Waits for the end with this exit code; what it told.
#[track_caller]
fn end(mut running: Running, code: i32) -> String {
    let status = running.child.wait().unwrap();
    let mut told = String::new();
    running.child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(status.code(), Some(code), "{told}");
    told
}

#[test]
fn a_log_that_nobody_reads_does_not_stop_a_pipeline() {
    let sandbox = Sandbox::with(&ticker("t"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = sandbox.rowtide(&["run", "p.toml"]);
    let mut child = command.stdout(Stdio::null()).stderr(writer).spawn().unwrap();
    wait("progress", || {
        sandbox.printed(&["checkpoint", "show", "p.toml"]).contains("delivered  1")
    });
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
