//! What a session of PostgreSQL is made ready for, as the server sees it.

use std::{error::Error, process::ExitCode, time::Duration};

use rowtide_core::settings::Secret;
use rowtide_servers::{Kind, Server, trials};
use rowtide_sql::{DatabaseUrl, postgres};
use sqlx::Row;

fn main() -> ExitCode {
    trials::main(
        &[Kind::Postgres],
        rowtide_servers::trials![a_limit_meant_for_others_is_lifted_and_a_lost_host_is_noticed],
    )
}

fn a_limit_meant_for_others_is_lifted_and_a_lost_host_is_noticed() -> Result<(), Box<dyn Error>> {
    let limits = ["-c", "statement_timeout=1s", "-c", "idle_in_transaction_session_timeout=1s"];
    let server = Server::start_with(Kind::Postgres, &limits)?;
    let url = server.variable("ROWTIDE_POSTGRES_URL")?;
    let options = postgres::options(&DatabaseUrl::parse(&Secret::new(url))?, None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(async {
        let mut session = postgres::connect(&options, Duration::from_secs(20)).await?;
        let mut found = Vec::new();
        for name in [
            "statement_timeout",
            "idle_in_transaction_session_timeout",
            "tcp_keepalives_idle",
            "tcp_keepalives_interval",
            "tcp_keepalives_count",
        ] {
            let setting = sqlx::query("SELECT setting FROM pg_settings WHERE name = $1").bind(name);
            found.push(setting.fetch_one(&mut session).await?.get::<String, _>(0));
        }
        Ok::<_, Box<dyn Error>>(found)
    })?;
    assert_eq!(found, ["0", "0", "5", "2", "3"]);
    Ok(())
}
