//! What `rowtide setup` makes in PostgreSQL, and what an outbox without it is told.

use std::{
    error::Error as StdError,
    fs::File,
    io::Write,
    path::Path,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::StreamExt;
use rowtide_core::{
    Context, Error, ErrorKind, Event, Partition, Shutdown, Source,
    plugin::{Execution, InstallOptions, SourceFactory, UninstallOptions, UninstallScope},
    registry,
    settings::Settings,
};
use rowtide_outbox as _;
use rowtide_servers::{Kind, Server, trials};
use serde_json::{Value as Json, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::runtime::Builder;

type Outcome<T = ()> = Result<T, Box<dyn StdError + Send + Sync>>;

fn main() -> ExitCode {
    trials::main(
        &[Kind::Postgres],
        trials![
            setup_makes_all_that_is_needed_and_is_harmless_twice,
            a_table_without_numbers_is_refused_with_the_statements_that_add_them,
            rows_are_not_numbered_unless_the_user_agrees,
            teardown_leaves_the_messages,
            renamed_columns_arrive_under_the_names_of_the_router,
            without_an_order_no_column_is_needed,
            a_notification_wakes_the_relay,
            a_message_is_guarded_against_its_own_transaction,
            marked_rows_are_removed_after_their_time,
            a_writer_that_stays_open_is_told_of,
            a_standby_is_refused,
        ],
    )
}

struct World {
    server: Server,
    url: String,
}

impl World {
    async fn new() -> Outcome<Self> {
        let start = || Server::start_with(Kind::Postgres, &[]);
        let server = tokio::task::spawn_blocking(start).await??;
        let url = server.variable("ROWTIDE_POSTGRES_URL")?.to_owned();
        Ok(Self { server, url })
    }

    async fn execute(&self, statements: &str) -> Outcome {
        let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
        self.connect().await?.execute(statements).await?;
        Ok(())
    }

    async fn connect(&self) -> Outcome<PgConnection> {
        Ok(PgConnection::connect(&self.url).await?)
    }

    async fn count(&self, query: &str) -> Outcome<i64> {
        let query = sqlx::query_scalar(AssertSqlSafe(query.to_owned()));
        Ok(query.fetch_one(&mut self.connect().await?).await?)
    }

    fn factory(&self, settings: Json) -> Outcome<SourceFactory> {
        let mut all = json!({ "database": self.url, "poll_every": "10ms" });
        for (key, value) in settings.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        Ok(registry::source("outbox", &Settings::from(all))?)
    }

    async fn open(&self, settings: Json) -> Outcome<Result<Box<dyn Source>, Error>> {
        Ok(self.factory(settings)?.open(&context()).await)
    }

    async fn setup(&self, settings: Json) -> Outcome<Vec<String>> {
        let options = InstallOptions { execution: Execution::Apply, confirmed: false };
        Ok(self.factory(settings)?.install(&context(), options).await?)
    }
}

fn context() -> Context {
    Context::new("test", Shutdown::never())
}

fn run(test: impl Future<Output = Outcome>) -> Outcome {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(120), test).await? })
}

/// The first event with changes, as text.
async fn first_changes(source: &dyn Source) -> Outcome<String> {
    let mut stream = source.read(&Partition::whole(), None);
    loop {
        match stream.next().await.ok_or("the stream has ended")?? {
            Event::Changes { changes, .. } if !changes.is_empty() => {
                return Ok(format!("{changes:?}"));
            }
            _ => {}
        }
    }
}

const MESSAGE: &str = "INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload)
    VALUES (gen_random_uuid(), 'order', '1', 'made', '{}')";

/// What a table for Debezium's router looks like.
const OF_DEBEZIUM: &str = "CREATE TABLE outbox (id uuid PRIMARY KEY, aggregatetype varchar(255),
    aggregateid varchar(255), type varchar(255), payload jsonb)";

fn setup_makes_all_that_is_needed_and_is_harmless_twice() -> Outcome {
    run(async {
        let world = World::new().await?;
        for settings in [
            json!({ "table": "a", "notify": "new" }),
            json!({ "table": "b", "done": "mark", "keep_marked_for": "1h" }),
            json!({ "table": "c", "done": "mark", "order": "none" }),
            json!({ "table": "d", "done": "keep", "order_column": "n", "transaction_column": "t" }),
            json!({ "table": "e", "layout": "streams_egress" }),
            json!({ "table": "\"F G\"", "columns": { "id": "event id" } }),
        ] {
            let error = world.open(settings.clone()).await?.err().ok_or("there was a table")?;
            assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("table")));
            let factory = world.factory(settings.clone())?;
            let dry = InstallOptions { execution: Execution::DryRun, confirmed: false };
            let printed = factory.install(&context(), dry).await?;
            let made = world.setup(settings.clone()).await?;
            assert!(!made.is_empty() && made == printed, "{made:?} {printed:?}");
            assert_eq!(world.setup(settings.clone()).await?, Vec::<String>::new());
            drop(world.open(settings).await??);
        }
        Ok(())
    })
}

fn a_table_without_numbers_is_refused_with_the_statements_that_add_them() -> Outcome {
    run(async {
        let world = World::new().await?;
        world.execute(OF_DEBEZIUM).await?;
        let error = world.open(json!({})).await?.err().ok_or("it has no numbers")?;
        assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("order_column")));
        let help = error.remedy().unwrap_or_default();
        assert!(
            help.contains("ADD COLUMN \"seq\"") && help.contains("ADD COLUMN \"xid\""),
            "{help}"
        );
        world.setup(json!({})).await?;
        drop(world.open(json!({})).await??);
        world.execute("ALTER TABLE outbox ALTER seq SET CACHE 10").await.err();
        world.execute("ALTER SEQUENCE outbox_seq_seq CACHE 10").await?;
        let error = world.open(json!({})).await?.err().ok_or("its numbers are in no order")?;
        assert!(error.message().contains("CACHE"), "{error}");
        let wrong = json!({ "columns": { "payload": "body" } });
        let error = world.open(wrong).await?.err().ok_or("there is no such column")?;
        assert_eq!(error.setting(), Some("columns.payload"));
        Ok(())
    })
}

fn rows_are_not_numbered_unless_the_user_agrees() -> Outcome {
    run(async {
        let world = World::new().await?;
        world.execute(OF_DEBEZIUM).await?;
        world.execute(MESSAGE).await?;
        let error = world.setup(json!({})).await.err().ok_or("the rows were numbered")?;
        assert!(error.to_string().contains("arbitrary"), "{error}");
        let confirmed = InstallOptions { execution: Execution::Apply, confirmed: true };
        world.factory(json!({}))?.install(&context(), confirmed).await?;
        let source = world.open(json!({})).await??;
        assert!(first_changes(&*source).await?.contains("order"));
        Ok(())
    })
}

fn teardown_leaves_the_messages() -> Outcome {
    run(async {
        let world = World::new().await?;
        let settings = json!({ "notify": "new" });
        world.setup(settings.clone()).await?;
        world.execute(MESSAGE).await?;
        let scope = UninstallScope::All;
        let options = UninstallOptions { execution: Execution::Apply, scope };
        let undone = world.factory(settings)?.uninstall(&context(), options).await?;
        assert_eq!(undone.len(), 4, "{undone:?}");
        assert_eq!(world.count("SELECT count(*) FROM outbox").await?, 1);
        let left = "SELECT count(*) FROM pg_proc WHERE proname LIKE '%rowtide%'";
        assert_eq!(world.count(left).await?, 0);
        Ok(())
    })
}

fn renamed_columns_arrive_under_the_names_of_the_router() -> Outcome {
    run(async {
        let world = World::new().await?;
        let settings = json!({ "columns": { "id": "event_id", "aggregateid": "order_id" } });
        world.setup(settings.clone()).await?;
        world.execute("ALTER TABLE outbox ADD COLUMN tenant text").await?;
        let insert = MESSAGE.replace("(id,", "(event_id,").replace("aggregateid", "order_id");
        world.execute(&insert).await?;
        let source = world.open(settings).await??;
        let told = first_changes(&*source).await?;
        for name in ["\"id\"", "\"aggregateid\"", "\"tenant\""] {
            assert!(told.contains(name), "{told}");
        }
        for name in ["event_id", "order_id", "\"seq\"", "\"xid\""] {
            assert!(!told.contains(name), "{told}");
        }
        Ok(())
    })
}

fn without_an_order_no_column_is_needed() -> Outcome {
    run(async {
        let world = World::new().await?;
        world.execute(OF_DEBEZIUM).await?;
        world.execute(MESSAGE).await?;
        let source = world.open(json!({ "order": "none" })).await??;
        let mut stream = source.read(&Partition::whole(), None);
        while world.count("SELECT count(*) FROM outbox").await? > 0 {
            let event = stream.next().await.ok_or("the stream has ended")??;
            if let Event::Changes { position: Some(position), .. } = event {
                source.acknowledge(&[(Partition::whole().id, position)]).await?;
            }
        }
        Ok(())
    })
}

fn a_notification_wakes_the_relay() -> Outcome {
    run(async {
        let world = World::new().await?;
        let settings = json!({ "notify": "new messages", "poll_every": "1h" });
        world.setup(settings.clone()).await?;
        let source = world.open(settings).await??;
        let mut stream = source.read(&Partition::whole(), None);
        let idle = stream.next().await.ok_or("the stream has ended")??;
        assert!(matches!(idle, Event::Idle { .. }), "{idle:?}");
        for _ in 0..3 {
            world.execute(MESSAGE).await?;
            let soon = tokio::time::timeout(Duration::from_secs(20), async {
                loop {
                    match stream.next().await {
                        Some(Ok(Event::Changes { changes, .. })) if !changes.is_empty() => return,
                        Some(Ok(_)) => {}
                        other => panic!("{other:?}"),
                    }
                }
            });
            soon.await.map_err(|_| "no notification woke it")?;
        }
        Ok(())
    })
}

fn a_message_is_guarded_against_its_own_transaction() -> Outcome {
    run(async {
        let world = World::new().await?;
        world.setup(json!({})).await?;
        let at_once = format!("BEGIN; {MESSAGE}; DELETE FROM outbox; COMMIT");
        let error = world.execute(&at_once).await.err().ok_or("it was deleted")?;
        assert!(error.to_string().contains("no relay would ever see it"), "{error}");
        world.execute(MESSAGE).await?;
        world.execute("DELETE FROM outbox").await?;
        Ok(())
    })
}

fn marked_rows_are_removed_after_their_time() -> Outcome {
    run(async {
        let world = World::new().await?;
        let settings = json!({
            "done": "mark", "keep_marked_for": "1h", "stall_warning": "1s", "delete_rows": 1
        });
        world.setup(settings.clone()).await?;
        for age in ["2 hours", "3 hours", "1 minute"] {
            world.execute(MESSAGE).await?;
            let mark = "UPDATE outbox SET done_at = now() - interval";
            world.execute(&format!("{mark} '{age}' WHERE done_at IS NULL")).await?;
        }
        world.execute(MESSAGE).await?;
        let _source = world.open(settings).await??;
        while world.count("SELECT count(*) FROM outbox").await? > 2 {
            tokio::task::yield_now().await;
        }
        let kept = "SELECT count(*) FROM outbox WHERE done_at < now() - interval '1 hour'";
        assert_eq!(world.count(kept).await?, 0);
        Ok(())
    })
}

/// The log of this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().map_err(|_| std::io::ErrorKind::Other)?.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn a_writer_that_stays_open_is_told_of() -> Outcome {
    let log = Log::default();
    let written = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || log.clone()).finish();
    // Another test's subscriber cannot be there: this is the only one.
    tracing::subscriber::set_global_default(subscriber)?;
    run(async {
        let world = World::new().await?;
        let settings = json!({ "stall_warning": "1s" });
        world.setup(settings.clone()).await?;
        let _source = world.open(settings).await??;
        let mut writer = world.connect().await?;
        let mut transaction = writer.begin().await?;
        transaction.execute(MESSAGE).await?;
        let has = |what: &str| {
            let bytes = written.0.lock().map(|bytes| bytes.clone()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).contains(what)
        };
        while !has("outbox_oldest_writer_seconds") {
            tokio::task::yield_now().await;
        }
        transaction.commit().await?;
        while !has("no transaction holds back messages for long any more") {
            tokio::task::yield_now().await;
        }
        Ok(())
    })
}

fn a_standby_is_refused() -> Outcome {
    run(async {
        let world = World::new().await?;
        world.setup(json!({})).await?;
        let mut connection = world.connect().await?;
        let folder: String =
            sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await?;
        drop(connection);
        world.server.stop()?;
        File::create(Path::new(&folder).join("standby.signal"))?;
        world.server.restart()?;
        let error = world.open(json!({})).await?.err().ok_or("it reads a standby")?;
        assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("database")));
        Ok(())
    })
}
