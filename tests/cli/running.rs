//! How runs begin and end.

use std::io::Read;

use crate::support::{Running, Sandbox, number, signal, stderr, ticker};

#[test]
fn sigterm_flushes_saves_and_exits_with_0() {
    let sandbox = Sandbox::with(&ticker("t"));
    for name in ["TERM", "INT"] {
        let mut running = Running::start(sandbox.rowtide(&["run", "p.toml"]));
        let mut last = number(&running.line().unwrap());
        signal(&running.child, name);
        while let Some(line) = running.line() {
            assert_eq!(number(&line), last + 1);
            last += 1;
        }
        assert_eq!(running.child.wait().unwrap().code(), Some(0));
        let shown = sandbox.printed(&["checkpoint", "show", "p.toml"]);
        assert!(shown.contains(&format!("delivered  {last}")), "{last} {shown}");
    }
}

#[test]
fn a_second_signal_exits_at_once() {
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        let sandbox = Sandbox::with(&ticker("t"));
        // Nobody reads the pipe: once it is full, the sink hangs in a write, which is not cancelled.
        let (_reader, writer) = std::io::pipe().unwrap();
        let mut command = sandbox.rowtide(&["run", "p.toml"]);
        command.stdout(writer).stderr(std::process::Stdio::piped()).env("RUST_LOG", "rowtide=info");
        let mut child = command.spawn().unwrap();
        wait_until_stuck(&sandbox);
        assert_eq!(child.try_wait().unwrap(), None);
        signal(&child, name);
        let mut log = child.stderr.take().unwrap();
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("received, stopping") {
            let mut buffer = [0; 1024];
            let read = log.read(&mut buffer).unwrap();
            assert_ne!(read, 0, "{}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&buffer[..read]);
        }
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
}

/// Waits until the position has grown, and then stays the same however often one looks.
fn wait_until_stuck(sandbox: &Sandbox) {
    let (mut last, mut looks) = (String::new(), 0);
    while looks < 20 {
        let shown = sandbox.printed(&["checkpoint", "show", "p.toml"]);
        let has_begun = shown.contains("delivered  ") && !shown.contains("delivered  0");
        looks = if has_begun && shown == last { looks + 1 } else { 0 };
        last = shown;
    }
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let sandbox = Sandbox::with(&ticker("t"));
    let mut command = sandbox.rowtide(&["run", "p.toml"]);
    command.env("RUST_LOG", "error");
    let mut running = Running::start(command);
    assert_eq!(number(&running.line().unwrap()), 1);
    running.close();
    let child = &mut running.child;
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut complaints = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
    assert_eq!(complaints, "");
}

#[test]
fn drain_stops_by_itself() {
    let sandbox = Sandbox::with(&ticker("t"));
    // The ticker has caught up as soon as it is opened.
    let output = sandbox.output(&["run", "--drain", "p.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn several_pipelines_run_side_by_side() {
    let sandbox = Sandbox::with(&ticker("one"));
    sandbox.write("q.toml", &ticker("two"));
    let mut running = Running::start(sandbox.rowtide(&["run", "p.toml", "q.toml"]));
    let mut firsts = 0;
    while firsts < 2 {
        firsts += i32::from(number(&running.line().unwrap()) == 1);
    }
    signal(&running.child, "TERM");
    while running.line().is_some() {}
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
}

#[test]
fn one_that_fails_stops_the_others() {
    let sandbox = Sandbox::with(&ticker("one"));
    let lost = ticker("two");
    sandbox.write("q.toml", &lost);
    sandbox.printed(&["run", "--drain", "q.toml"]);
    sandbox.printed(&["checkpoint", "set", "q.toml", "whole", "\"not a number\"", "--yes"]);
    let output = sandbox.output(&["run", "p.toml", "q.toml"]);
    let stderr = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("error: pipeline `two`: the saved position"), "{stderr}");
    assert!(stderr.contains("stopping the other pipelines"), "{stderr}");
}

#[test]
fn a_setting_that_turns_out_wrong_leads_to_its_line() {
    let sandbox = Sandbox::with(
        "name = \"s\"\n[source]\ntype = \"sqlite\"\npath = \"shop.db\"\ntables = [\"ordres\"]\n\
         [sink]\ntype = \"stdout\"\n[checkpoint]\ntype = \"sqlite\"\npath = \"c.db\"\n",
    );
    let shop = rusqlite::Connection::open(sandbox.path().join("shop.db")).unwrap();
    shop.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY)").unwrap();
    let output = sandbox.output(&["run", "p.toml"]);
    let stderr = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("error: p.toml:5:1: "), "{stderr}");
    assert!(stderr.contains("key: source.tables\n"), "{stderr}");
    assert!(stderr.contains("orders"), "{stderr}");
}

#[test]
fn a_pipeline_that_runs_already_is_refused() {
    let sandbox = Sandbox::with(&ticker("t"));
    let mut running = Running::start(sandbox.rowtide(&["run", "p.toml"]));
    running.line().unwrap();
    let output = sandbox.output(&["run", "p.toml"]);
    let stderr = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&format!("process {}", running.child.id())), "{stderr}");
}

#[test]
fn log_lines_can_be_json() {
    let sandbox = Sandbox::with(&ticker("t"));
    let output = sandbox.output(&["run", "--drain", "p.toml", "--log-format", "json"]);
    let lines = stderr(&output);
    assert!(!lines.is_empty());
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string());
    }
}
