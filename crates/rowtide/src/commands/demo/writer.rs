//! The program that writes to the demo's database, and knows nothing of Rowtide.

use std::{
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use rowtide_core::{Error, Result};
use rusqlite::Connection;

use crate::output;

const PACE: Duration = Duration::from_millis(600);

const BEFORE: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE orders (
        id INTEGER PRIMARY KEY, customer TEXT NOT NULL, total REAL NOT NULL, state TEXT NOT NULL
    );
    INSERT INTO orders (customer, total, state) VALUES
        ('Ada', 12.5, 'new'), ('Grace', 80.0, 'paid'), ('Edsger', 3.25, 'new');
";

const STATEMENTS: [&str; 8] = [
    "INSERT INTO orders (customer, total, state) VALUES ('Barbara', 41.0, 'new')",
    "UPDATE orders SET state = 'paid' WHERE id = 1",
    "INSERT INTO orders (customer, total, state) VALUES ('Tony', 7.75, 'new')",
    "DELETE FROM orders WHERE id = 3",
    "UPDATE orders SET total = total * 0.9 WHERE state = 'paid'",
    "INSERT INTO orders (customer, total, state) VALUES ('Margaret', 99.0, 'new')",
    "UPDATE orders SET state = 'shipped' WHERE id = 2",
    "DELETE FROM orders WHERE customer = 'Tony'",
];

const LAST: &str = "INSERT INTO orders (customer, total, state) VALUES ('Donald', 2.56, 'new')";

/// How the writer came to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Done,
    Interrupted,
}

/// Makes the database, with rows that are there before the pipeline.
pub(super) fn make(path: &Path) -> Result<()> {
    let connection = open(path)?;
    connection.execute_batch(BEFORE).map_err(failed)
}

/// Runs one statement after another, as long as somebody holds the other end of `runs`.
pub(super) fn write(path: &Path, runs: &Receiver<()>) -> Result<Ending> {
    let connection = open(path)?;
    for statement in STATEMENTS {
        if runs.recv_timeout(PACE) != Err(RecvTimeoutError::Timeout) {
            return Ok(Ending::Interrupted);
        }
        execute(&connection, statement)?;
    }
    // Time to see the last of them arrive.
    match runs.recv_timeout(PACE) {
        Err(RecvTimeoutError::Timeout) => Ok(Ending::Done),
        _ => Ok(Ending::Interrupted),
    }
}

/// Runs one more statement, while no pipeline runs.
pub(super) fn write_last(path: &Path) -> Result<()> {
    execute(&open(path)?, LAST)
}

fn execute(connection: &Connection, statement: &str) -> Result<()> {
    output::complain(&format_args!("# {statement}\n"));
    connection.execute_batch(statement).map_err(failed)
}

fn open(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
    Ok(connection)
}

fn failed(error: rusqlite::Error) -> Error {
    Error::fatal("the demo's writer failed").because(error)
}
