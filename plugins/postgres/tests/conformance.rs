//! What every checkpoint store must do, for PostgreSQL.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use rowtide_conformance::{CheckpointHarness, Result, Storage, Suite, async_trait};
use rowtide_core::{
    Context, Error, Shutdown,
    plugin::{Execution, InstallOptions},
    registry,
    settings::Settings,
};
use rowtide_postgres as _;
use rowtide_servers::{Kind, Server};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use tokio::sync::Mutex;

fn main() -> ExitCode {
    let suite = Suite::checkpoint(Postgres);
    rowtide_conformance::main(vec![suite.unavailable(rowtide_servers::absence(&[Kind::Postgres]))])
}

struct Postgres;

#[async_trait]
impl CheckpointHarness for Postgres {
    fn plugin(&self) -> &str {
        "postgres"
    }

    async fn storage(&self) -> Result<Arc<dyn Storage>> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let server = Server::shared(Kind::Postgres).map_err(failed)?;
        // Each encrypted connection costs a tenth of a second in a debug build.
        let url = server.variable("ROWTIDE_POSTGRES_URL").map_err(failed)?;
        let url = format!("{url}?sslmode=disable");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("checkpoint_{}_{number}", std::process::id());
        let table = Table { url, name, connection: Mutex::default() };
        table.install().await?;
        Ok(Arc::new(table))
    }
}

struct Table {
    url: String,
    name: String,
    /// For what is done hundreds of times.
    connection: Mutex<Option<PgConnection>>,
}

impl Table {
    async fn install(&self) -> Result<()> {
        let text = |text: &str| Settings::Text(text.to_owned());
        let settings = Settings::Table(vec![
            ("database".to_owned(), text(&self.url)),
            ("table".to_owned(), text(&self.name)),
        ]);
        let options = InstallOptions { execution: Execution::Apply, confirmed: false };
        let context = Context::new("of the suite", Shutdown::never());
        registry::checkpoint("postgres", &settings)?.install(&context, options).await.map(drop)
    }

    async fn connect(&self) -> Result<PgConnection> {
        PgConnection::connect(&self.url).await.map_err(failed)
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let (url, statement) = (self.url.clone(), format!("DROP TABLE {}", self.name));
        // Dropped on a runtime, which must not be blocked by another one.
        let dropped = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let mut connection = PgConnection::connect(&url).await?;
                connection.execute(AssertSqlSafe(statement)).await
            })
        });
        drop(dropped.join());
    }
}

#[async_trait]
impl Storage for Table {
    fn settings(&self) -> String {
        format!("database = '{}'\ntable = '{}'", self.url, self.name)
    }

    /// All columns of the rows, numbers as their bytes.
    async fn stored(&self) -> Result<Vec<Vec<u8>>> {
        let sql = format!(
            "SELECT pipeline, epoch, saves, owner, states, digest FROM {} ORDER BY pipeline",
            self.name
        );
        let rows = self.connect().await?.fetch_all(AssertSqlSafe(sql)).await.map_err(failed)?;
        let mut pieces = Vec::new();
        for row in &rows {
            pieces.push(row.get::<String, _>(0).into_bytes());
            pieces.push(row.get::<i64, _>(1).to_be_bytes().to_vec());
            pieces.push(row.get::<i64, _>(2).to_be_bytes().to_vec());
            pieces.push(row.get::<String, _>(3).into_bytes());
            pieces.push(row.get::<String, _>(4).into_bytes());
            pieces.push(row.get::<Vec<u8>, _>(5));
        }
        Ok(pieces)
    }

    async fn overwrite(&self, piece: usize, bytes: &[u8]) -> Result<()> {
        const COLUMNS: [&str; 6] = ["pipeline", "epoch", "saves", "owner", "states", "digest"];
        let column = COLUMNS[piece % COLUMNS.len()];
        let sql = format!("UPDATE {} SET {column} = $1", self.name);
        let update = sqlx::query(AssertSqlSafe(sql));
        let update = match column {
            "digest" => update.bind(bytes),
            "epoch" | "saves" => update.bind(number(bytes)),
            _ => update.bind(String::from_utf8_lossy(bytes).into_owned()),
        };
        let mut kept = self.connection.lock().await;
        let connection = match kept.take() {
            Some(connection) => kept.insert(connection),
            None => kept.insert(self.connect().await?),
        };
        update.execute(connection).await.map(drop).map_err(failed)
    }
}

fn number(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |number, byte| number << 8 | i64::from(*byte))
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::fatal("the storage of the test failed").because(error)
}
