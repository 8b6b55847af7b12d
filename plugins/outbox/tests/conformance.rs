//! What every source must do, for outboxes in real databases.

mod harness;

use std::process::ExitCode;

use harness::{mysql, postgres, sqlite};
use rowtide_conformance::Suite;
use rowtide_outbox as _;
use rowtide_servers::{Kind, absence};

fn main() -> ExitCode {
    let postgres = absence(&[Kind::Postgres]);
    let mysql = absence(&[Kind::MariaDb]);
    let suites = postgres::Done::ALL.map(|done| {
        Suite::source(postgres::Postgres(done)).against(done.system()).unavailable(postgres.clone())
    });
    let of_mysql = mysql::Done::ALL.map(|done| {
        Suite::source(mysql::MySql(done)).against(done.system()).unavailable(mysql.clone())
    });
    let of_sqlite =
        sqlite::Done::ALL.map(|done| Suite::source(sqlite::Sqlite(done)).against(done.system()));
    rowtide_conformance::main(suites.into_iter().chain(of_mysql).chain(of_sqlite).collect())
}
