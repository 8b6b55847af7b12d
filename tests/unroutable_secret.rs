//! A message that comes back from the broker is in no log line, whatever `RUST_LOG` says.

use std::process::{Command, ExitCode};

use rowtide_servers::{Kind, Server, trials};

const CANARY: &str = "canary-7f3a";

fn main() -> ExitCode {
    trials::main(
        &[Kind::RabbitMq],
        rowtide_servers::trials![no_log_line_has_a_message_that_came_back],
    )
}

fn no_log_line_has_a_message_that_came_back() -> Result<(), Box<dyn std::error::Error>> {
    let broker = Server::start(Kind::RabbitMq)?;
    let url = broker.variable("ROWTIDE_AMQP_URL")?;
    let folder = tempfile::tempdir()?;
    let shop = rusqlite::Connection::open(folder.path().join("shop.db"))?;
    shop.execute_batch(&format!(
        "CREATE TABLE orders (id TEXT PRIMARY KEY, note TEXT);
         INSERT INTO orders VALUES ('one', '{CANARY}'), ('two', '{CANARY}');"
    ))?;
    let pipeline = format!(
        "name = 'orders'\nsource = {{ type = 'sqlite', path = 'shop.db' }}\n\
         checkpoint = {{ type = 'sqlite', path = 'checkpoint.db' }}\n\
         delivery = {{ on_rejected = 'skip' }}\n\
         [sink]\ntype = 'rabbitmq'\nurl = '{url}'\nexchange = 'nobody-listens'\n"
    );
    std::fs::write(folder.path().join("p.toml"), pipeline)?;
    for format in ["text", "json"] {
        let output = Command::new(env!("CARGO_BIN_EXE_rowtide"))
            .args(["--log-format", format, "run", "--drain", "p.toml"])
            .current_dir(folder.path())
            .env("RUST_LOG", "trace,lapin=trace,lapin::returned_messages=trace")
            .output()?;
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{log}");
        assert!(log.contains("no queue is bound to the exchange `nobody-listens`"), "{log}");
        let telling: Vec<_> = log.lines().filter(|line| line.contains(CANARY)).collect();
        assert!(telling.is_empty(), "{telling:?}");
        assert!(!log.contains("guest:guest"), "{log}");
        shop.execute("UPDATE orders SET note = note || 'x'", [])?;
    }
    Ok(())
}
