//! What every source must do, for outboxes in real databases.

mod harness;

use std::process::ExitCode;

use harness::postgres;
use rowtide_conformance::Suite;
use rowtide_outbox as _;
use rowtide_servers::{Kind, absence};

fn main() -> ExitCode {
    let postgres = absence(&[Kind::Postgres]);
    let suites = postgres::Done::ALL.map(|done| {
        Suite::source(postgres::Postgres(done)).against(done.system()).unavailable(postgres.clone())
    });
    rowtide_conformance::main(suites.into())
}
