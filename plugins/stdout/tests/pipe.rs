//! The sink as one end of a pipe, in a process of its own.

#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
};

use rowtide_core::{
    Change, ChangeId, Column, ColumnType, Context, Operation, Row, Shutdown, Sink, Table, Value,
    registry, settings::Settings,
};
use rowtide_stdout as _;

const ROLE: &str = "STDOUT_TEST_ROLE";

fn start(role: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "writer", "--ignored", "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

fn is_change(line: &str) -> bool {
    line.starts_with('{')
}

#[test]
fn a_flush_prints_every_change_in_order() {
    let (mut child, stdout) = start("three");
    let lines: Vec<_> =
        stdout.lines().map_while(Result::ok).filter(|line| is_change(line)).collect();
    assert!(child.wait().unwrap().success());
    let numbers = lines.iter().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["after"]["number"].as_i64().unwrap()
    });
    assert_eq!(numbers.collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_closed_pipe_ends_the_process_quietly() {
    let (mut child, stdout) = start("endless");
    let mut lines = stdout.lines().map_while(Result::ok);
    assert!(lines.any(|line| is_change(&line)));
    drop(lines);
    // The writer never ends by itself, so this is the sink's doing.
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
#[ignore = "it is the process that the other tests start"]
fn writer() {
    let Ok(role) = env::var(ROLE) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let context = Context::new("p", Shutdown::never());
        let config = registry::sink("stdout", &Settings::empty()).unwrap();
        let mut sink: Box<dyn Sink> = config.open(&context).await.unwrap();
        println!();
        let changes = changes();
        loop {
            sink.write(&changes).await.unwrap();
            sink.flush().await.unwrap();
            if role != "endless" {
                break;
            }
        }
    });
}

fn changes() -> Vec<Change> {
    let table = Arc::new(Table::new("t", vec![Column::new("number", ColumnType::Int)]));
    let change = |number| {
        let id = ChangeId::new("s").major(number);
        let mut change = Change::new(id, Arc::clone(&table), Operation::Insert);
        change.after = Some(Row::new([Value::Int(number as i64)]));
        change
    };
    (0..3).map(change).collect()
}
