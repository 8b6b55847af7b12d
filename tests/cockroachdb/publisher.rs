//! RabbitMQ instead of crdb-changefeed-publisher: the same messages, in the same queue.

use lapin::{
    Connection, ConnectionProperties,
    options::{BasicGetOptions, QueueDeclareOptions},
    types::FieldTable,
};
use rowtide_fake_cockroachdb::{Options, Server as Cockroach};
use rowtide_servers::{Kind, Server};

use crate::{Outcome, pipeline::Pipeline};

/// The message of that program's README, and what becomes of the same row afterwards.
const MESSAGES: [&str; 3] = [
    r#"{"table":"foo","key":"[54]","value":{"after": {"a": 54, "b": null}}}"#,
    r#"{"table":"foo","key":"[54]","value":{"after": {"a": 54, "b": "<x>"}}}"#,
    r#"{"table":"foo","key":"[54]","value":{"after": null}}"#,
];

pub(crate) fn publish() -> Outcome<()> {
    let cockroach = Cockroach::start(Options::default())?;
    cockroach.execute("CREATE TABLE foo (a INT8 PRIMARY KEY, b STRING)")?;
    let broker = Server::start(Kind::RabbitMq)?;
    let url = broker.variable("ROWTIDE_AMQP_URL")?;
    let folder = tempfile::tempdir()?;
    let source = format!("database = \"{}\"\ntables = [\"foo\"]", cockroach.url());
    let sink = format!(
        "type = \"rabbitmq\"\nurl = \"{url}\"\nqueue = \"changefeed\"\nformat = \"changefeed-publisher\""
    );
    let pipeline = Pipeline::with_sink(folder.path(), "p", &source, &sink)?;
    // The row is there before, so that it comes of the scan; the others are changes.
    cockroach.execute("INSERT INTO foo (a) VALUES (54)")?;
    pipeline.drain()?;
    cockroach.execute("UPDATE foo SET b = '<x>' WHERE a = 54")?;
    cockroach.execute("DELETE FROM foo WHERE a = 54")?;
    pipeline.drain()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(consume(url, "changefeed"))?;
    let wanted = MESSAGES.map(str::as_bytes);
    if found != wanted {
        let found: Vec<_> = found.iter().map(|text| String::from_utf8_lossy(text)).collect();
        return Err(format!("{found:#?} instead of {MESSAGES:#?}").into());
    }
    Ok(())
}

async fn consume(url: &str, queue: &str) -> Outcome<Vec<Vec<u8>>> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), passive, FieldTable::default()).await?;
    let mut messages = Vec::new();
    let options = BasicGetOptions { no_ack: true };
    while let Some(got) = channel.basic_get(queue.into(), options).await? {
        messages.push(got.delivery.data);
    }
    Ok(messages)
}
