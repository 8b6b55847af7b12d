//! Through a pooler that gives each transaction another session, as PgBouncer does in its mode
//! `transaction`: the relay works, the lock holds, and notifications are known not to arrive.

mod transactions;

use std::{error::Error as StdError, process::ExitCode, time::Duration};

use futures_util::StreamExt;
use rowtide_core::{
    Context, Error, ErrorKind, Event, Partition, Shutdown, Source,
    plugin::{Execution, InstallOptions},
    registry,
    settings::Settings,
};
use rowtide_outbox as _;
use rowtide_servers::{Kind, Server, trials};
use serde_json::{Value as Json, json};
use sqlx::{Connection, Executor, PgConnection};
use tokio::runtime::Builder;
use transactions::Pooler;

type Outcome<T = ()> = Result<T, Box<dyn StdError + Send + Sync>>;

fn main() -> ExitCode {
    trials::main(
        &[Kind::Postgres],
        trials![a_transaction_pooler_loses_notifications_and_nothing_else],
    )
}

fn context() -> Context {
    Context::new("test", Shutdown::never())
}

async fn open(settings: Json, context: &Context) -> Result<Box<dyn Source>, Error> {
    let factory = registry::source("outbox", &Settings::from(settings))?;
    let options = InstallOptions { execution: Execution::Apply, confirmed: false };
    factory.install(context, options).await?;
    factory.open(context).await
}

fn a_transaction_pooler_loses_notifications_and_nothing_else() -> Outcome {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(120), through()).await? })
}

async fn through() -> Outcome {
    let start = || Server::start_with(Kind::Postgres, &[]);
    let server = tokio::task::spawn_blocking(start).await??;
    let url = server.variable("ROWTIDE_POSTGRES_URL")?.to_owned();
    let pooler = Pooler::start(&url).await?;
    let settings = json!({ "database": pooler.url, "poll_every": "5ms", "delete_rows": 3 });
    let first = open(settings.clone(), &context()).await?;
    relays(&*first, &url).await?;

    let waiting = context();
    let second = open(settings.clone(), &waiting);
    tokio::pin!(second);
    let early = tokio::time::timeout(Duration::from_secs(2), &mut second).await;
    assert!(early.is_err() && waiting.waited_for_lock(), "the lock holds nobody off");
    drop(first);
    drop(second.await?);

    let mut notified = settings;
    notified["notify"] = "new".into();
    let error = open(notified.clone(), &context()).await.err().ok_or("it takes notifications")?;
    assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("notify")));
    notified["database"] = url.into();
    drop(open(notified, &context()).await?);
    Ok(())
}

/// Reads and clears away ten messages.
async fn relays(source: &dyn Source, url: &str) -> Outcome {
    let mut connection = PgConnection::connect(url).await?;
    for _ in 0..10 {
        let insert = "INSERT INTO outbox (id, aggregatetype, aggregateid)
                      VALUES (gen_random_uuid(), 'a', '1')";
        connection.execute(insert).await?;
    }
    let mut stream = source.read(&Partition::whole(), None);
    let mut read = 0;
    let left = async |connection: &mut PgConnection| {
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM outbox");
        count.fetch_one(connection).await
    };
    while read < 10 || left(&mut connection).await? > 0 {
        let event = stream.next().await.ok_or("the stream has ended")??;
        let position = match event {
            Event::Changes { changes, position } => {
                read += changes.len();
                position
            }
            Event::Idle { position } => Some(position),
            other => return Err(format!("{other:?}").into()),
        };
        if let Some(position) = position {
            source.acknowledge(&[(Partition::whole().id, position)]).await?;
        }
    }
    assert_eq!(read, 10);
    Ok(())
}
