//! A service with an outbox in PostgreSQL.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use futures_util::TryStreamExt;
use rowtide_servers::{Kind, Server};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{Result, rowtide::Rowtide};

pub(crate) const MESSAGES: u64 = 300_000;

/// Where the messages of the service go.
pub(crate) const TOPIC: &str = "outbox.event.order";

/// Messages of 200 bytes, each in a transaction of its own. Only these commits are not waited for.
const FILL: &str = r#"CREATE PROCEDURE fill(messages INT) LANGUAGE plpgsql AS $$
BEGIN
    FOR number IN 1..messages LOOP
        INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload)
        VALUES (gen_random_uuid(), 'order', 'order-' || number % 1000, 'Changed',
                (rpad('{"number": ' || number || ', "note": "', 198, 'x') || '"}')::jsonb);
        COMMIT;
    END LOOP;
END $$"#;

pub(crate) struct Service {
    pub(crate) pipeline: PathBuf,
    pub(crate) runtime: Runtime,
    pub(crate) url: String,
    sink: String,
    folder: TempDir,
    _server: Server,
}

pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) payload: Vec<u8>,
}

impl Service {
    /// Starts the database, and sets up the pipeline from it to `sink`.
    pub(crate) fn start(rowtide: &Rowtide, sink: &str) -> Result<Self> {
        let server = Server::start(Kind::Postgres)?;
        let url = server.variable("ROWTIDE_POSTGRES_URL")?.to_owned();
        let folder = tempfile::tempdir()?;
        let service = Self {
            pipeline: folder.path().join("pipeline.toml"),
            runtime: Runtime::new()?,
            url,
            sink: sink.to_owned(),
            folder,
            _server: server,
        };
        service.write_pipeline("")?;
        rowtide.check(&["setup"], &service.pipeline)?;
        service.run(FILL)?;
        Ok(service)
    }

    /// Writes the pipeline file, with these settings of the source beside the usual ones.
    pub(crate) fn write_pipeline(&self, source: &str) -> Result {
        let (url, sink) = (&self.url, &self.sink);
        let text = format!(
            "name = \"bench\"\n[source]\ntype = \"outbox\"\ndatabase = \"{url}\"\n{source}\n\
             [sink]\n{sink}\n[checkpoint]\ntype = \"sqlite\"\npath = {:?}\n",
            self.folder.path().join("checkpoint.db"),
        );
        Ok(fs::write(&self.pipeline, text)?)
    }

    pub(crate) fn run(&self, statement: &str) -> Result {
        let run = async {
            let mut connection = PgConnection::connect(&self.url).await?;
            sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await
        };
        self.runtime.block_on(run)?;
        Ok(())
    }

    /// Makes the backlog of a round, and leaves no work of it to the next one.
    pub(crate) fn fill(&self) -> Result {
        let fill = async {
            let mut connection = PgConnection::connect(&self.url).await?;
            for statement in [
                "SET synchronous_commit = off".to_owned(),
                format!("CALL fill({MESSAGES})"),
                "VACUUM ANALYZE outbox".to_owned(),
                "CHECKPOINT".to_owned(),
            ] {
                sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
            }
            Ok(())
        };
        self.runtime.block_on(fill)
    }

    /// The messages, and the time of a bare SELECT by the same driver that the source uses.
    pub(crate) fn select(&self) -> Result<(Vec<Message>, Duration)> {
        self.runtime.block_on(async {
            let mut connection = PgConnection::connect(&self.url).await?;
            let query = "SELECT * FROM outbox ORDER BY seq";
            let start = Instant::now();
            let (mut rows, mut bytes) = (sqlx::query(query).fetch(&mut connection), 0);
            while let Some(row) = rows.try_next().await? {
                for column in 0..row.len() {
                    bytes += row.try_get_raw(column)?.as_bytes().map_or(0, <[u8]>::len);
                }
            }
            let time = start.elapsed();
            std::hint::black_box(bytes);
            drop(rows);
            Ok((self.messages(&mut connection).await?, time))
        })
    }

    async fn messages(&self, connection: &mut PgConnection) -> Result<Vec<Message>> {
        let query = "SELECT id::text, aggregateid::text, payload::text FROM outbox ORDER BY seq";
        let rows = sqlx::query(query).fetch_all(connection).await?;
        let message = |row: &sqlx::postgres::PgRow| Message {
            id: row.get(0),
            key: row.get(1),
            payload: row.get::<String, _>(2).into_bytes(),
        };
        let messages: Vec<_> = rows.iter().map(message).collect();
        match messages.len() as u64 {
            MESSAGES => Ok(messages),
            count => Err(format!("the backlog has {count} messages, not {MESSAGES}").into()),
        }
    }
}
