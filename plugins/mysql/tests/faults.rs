//! What a checkpoint store on a server must survive, on MariaDB.

use std::process::ExitCode;

use rowtide_mysql as _;
use rowtide_servers::Kind;

// The stores in PostgreSQL and MySQL share their logic, and so what must be shown of it.
#[path = "../../../crates/sql/tests/store/mod.rs"]
mod store;

fn main() -> ExitCode {
    store::main::<MySql>(Kind::MariaDb)
}

struct MySql;

impl store::Database for MySql {
    const PLUGIN: &'static str = "mysql";
    const KIND: Kind = Kind::MariaDb;
    const VARIABLE: &'static str = "ROWTIDE_MYSQL_URL";

    /// The server's default is `repeatable read`; a URL cannot say another.
    fn isolated(_level: &str) -> String {
        String::new()
    }
}
