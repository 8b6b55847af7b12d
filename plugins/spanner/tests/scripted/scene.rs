//! A server with a table, and what a test writes to it.

use std::time::Duration;

use rowtide_core::{Error, Result};
use rowtide_fake_spanner::{
    Capture, Column, Datum, Dialect, Faults, Kind, Options, Server, Table, Write, WriteOperation,
};

/// Spanner's emulator takes such a heartbeat, and so does the server for these tests.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);

pub(crate) fn options(dialect: Dialect, faults: Faults) -> Options {
    let columns = vec![
        Column::key("id", Kind::Int64),
        Column::new("note", Kind::String),
        Column::new("count", Kind::Int64),
    ];
    Options {
        dialect,
        faults,
        capture: Capture::OldAndNewValues,
        tables: vec![Table::new("items", columns), unwatched()],
        heartbeat_min: HEARTBEAT,
        ..Options::default()
    }
}

fn unwatched() -> Table {
    Table::new("others", vec![Column::key("id", Kind::Int64)]).unwatched()
}

pub(crate) fn start(options: Options) -> Result<Server> {
    Server::start(options).map_err(|error| Error::fatal("no server").because(error))
}

/// The settings of a pipeline that reads all of a server, from its beginning.
pub(crate) fn settings(server: &Server) -> String {
    let start = server.lineages().iter().map(|lineage| lineage.start).min().unwrap_or_default();
    format!("{}start = '{start}'\n", from_now_on(server))
}

pub(crate) fn from_now_on(server: &Server) -> String {
    format!(
        "database = '{}'\nendpoint = '{}'\nchange_stream = 'changes'\n\
         heartbeat_every = '{}ms'\n",
        server.database(),
        server.endpoint(),
        HEARTBEAT.as_millis()
    )
}

pub(crate) fn put(id: i64, cells: &[(&str, Datum)]) -> Write {
    let key = [("id", Datum::int(id))];
    Write::new("items", WriteOperation::Upsert, &[&key, cells].concat())
}

pub(crate) fn delete(id: i64) -> Write {
    Write::new("items", WriteOperation::Delete, &[("id", Datum::int(id))])
}

pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test)
}

/// An error of the server itself.
pub(crate) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::fatal("the server failed").because(error)
}
