//! The server, asked over its wire.

mod client;
mod refusals;
mod telling;

use std::time::Duration;

use crate::{
    Column, Datum, Dialect, Faults, Kind, Options, Server, Table, Write, WriteOperation,
    tests::client::Client,
};

fn items() -> Table {
    let columns = vec![Column::key("id", Kind::Int64), Column::new("note", Kind::String)];
    Table::new("items", columns)
}

fn server(dialect: Dialect, faults: Faults) -> Server {
    let heartbeat_min = Duration::from_millis(10);
    let tables = vec![items()];
    Server::start(Options { dialect, tables, faults, heartbeat_min, ..Options::default() }).unwrap()
}

fn put(id: i64, note: &str) -> Write {
    let cells = [("id", Datum::int(id)), ("note", Datum::text(note))];
    Write::new("items", WriteOperation::Upsert, &cells)
}

fn delete(id: i64) -> Write {
    Write::new("items", WriteOperation::Delete, &[("id", Datum::int(id))])
}

fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}
