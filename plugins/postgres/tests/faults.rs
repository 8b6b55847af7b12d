//! What a checkpoint store on a server must survive, on PostgreSQL.

use std::process::ExitCode;

use rowtide_postgres as _;
use rowtide_servers::Kind;

// The stores in PostgreSQL and MySQL share their logic, and so what must be shown of it.
#[path = "../../../crates/sql/tests/store/mod.rs"]
mod store;

fn main() -> ExitCode {
    store::main::<Postgres>(Kind::Postgres)
}

struct Postgres;

impl store::Database for Postgres {
    const PLUGIN: &'static str = "postgres";
    const KIND: Kind = Kind::Postgres;
    const VARIABLE: &'static str = "ROWTIDE_POSTGRES_URL";

    fn isolated(level: &str) -> String {
        let level = level.replace(' ', "\\ ").replace('\\', "%5C").replace(' ', "%20");
        format!("?options=-c%20default_transaction_isolation%3D{level}")
    }
}
