//! The layout of streams.

use rowtide_core::{ErrorKind, Value};
use rowtide_outbox_writer::{Outbox, StreamMessage, StreamsEgress};
use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};

use crate::{
    relay::{Outcome, Relay, column, context, run, text},
    world::World,
};

const STREAMS: &str = "CREATE TABLE streams_egress (seq INTEGER PRIMARY KEY AUTOINCREMENT,
    batch_id VARCHAR(27) NOT NULL UNIQUE, message_count INT DEFAULT 0, raw_data BLOB NOT NULL)";
const LEFT: &str = "SELECT count(*) FROM streams_egress";

pub(crate) fn what_the_writer_puts_into_a_batch_comes_in_its_order_and_is_done() -> Outcome {
    run(async {
        let world = World::new(STREAMS)?;
        let mut connection = SqliteConnection::connect(&world.url()).await?;
        let mut transaction = connection.begin().await?;
        for batch in ["a", "b"] {
            let message = |number: u32| {
                let key = format!("{batch}{number}");
                StreamMessage::new("orders", key, "text/plain", [0, 255]).header("h", batch)
            };
            let messages: Vec<_> = (0..3).map(message).collect();
            let outbox = Outbox::new("streams_egress", StreamsEgress);
            outbox.publish(&mut transaction, &messages).await?;
        }
        transaction.commit().await?;

        let source = world.open(json!({ "layout": "streams_egress" }), &context()).await?;
        let mut relay = Relay::new(&*source, None);
        let changes = relay.read(6).await?;
        let keys: Vec<_> = changes.iter().map(|change| text(change, "aggregateid")).collect();
        assert_eq!(keys, ["a0", "a1", "a2", "b0", "b1", "b2"]);
        let last = &changes[5];
        assert_eq!(text(last, "aggregatetype"), "orders");
        assert_eq!(text(last, "contenttype"), "text/plain");
        assert_eq!(column(last, "payload"), Value::from(vec![0, 255]));
        assert_eq!(column(last, "headers"), Value::Json(r#"{"h":"b"}"#.into()));
        assert!(matches!(column(last, "timestamp"), Value::Timestamp(_)));
        relay.acknowledge().await?;
        assert_eq!(world.count(LEFT)?, 0);
        Ok(())
    })
}

pub(crate) fn a_damaged_batch_is_told_after_what_is_before_it_and_loses_nothing() -> Outcome {
    run(async {
        let world = World::new(STREAMS)?;
        let mut connection = SqliteConnection::connect(&world.url()).await?;
        let outbox = Outbox::new("streams_egress", StreamsEgress);
        let mut transaction = connection.begin().await?;
        for key in ["before", "damaged", "behind"] {
            let message = StreamMessage::new("orders", key, "text/plain", "x");
            outbox.publish(&mut transaction, &[message]).await?;
        }
        transaction.commit().await?;
        let damage = "UPDATE streams_egress SET raw_data = substr(raw_data, 1, 20),
                      batch_id = 'b2' WHERE seq = 2";
        world.application.execute_batch(damage)?;

        let source = world.open(json!({ "layout": "streams_egress" }), &context()).await?;
        let mut relay = Relay::new(&*source, None);
        let mut before = Vec::new();
        let error = loop {
            match relay.next().await {
                Ok(changes) => before.extend(changes),
                Err(error) => break error,
            }
        };
        let before: Vec<_> = before.iter().map(|change| text(change, "aggregateid")).collect();
        assert_eq!(before, ["before"]);
        assert_eq!(error.kind(), &ErrorKind::Fatal);
        assert!(error.message().contains("`b2`"), "{error}");
        relay.acknowledge().await?;
        assert_eq!(world.count(LEFT)?, 2);
        Ok(())
    })
}

/// SQLite adds no key to a table that is there, so a table of the driver's is made anew, or read in
/// no order.
pub(crate) fn every_variant_of_the_table_is_read() -> Outcome {
    run(async {
        for columns in [
            "batch_id CHAR(27) PRIMARY KEY, in_flight BOOLEAN DEFAULT FALSE, message_count INT
             DEFAULT 0, write_retries INT DEFAULT 0, last_write_error VARCHAR(255), raw_data BYTEA
             NOT NULL",
            "batch_id VARCHAR(27) PRIMARY KEY, message_count INT, raw_data BLOB",
            "batch_id VARCHAR(27) PRIMARY KEY, message_count INT, raw_data BLOB, insert_time
             TIMESTAMP DEFAULT CURRENT_TIMESTAMP",
        ] {
            let world = World::new(&format!("CREATE TABLE streams_egress ({columns})"))?;
            let mut connection = SqliteConnection::connect(&world.url()).await?;
            let mut transaction = connection.begin().await?;
            let message = StreamMessage::new("orders", "k", "text/plain", "x");
            let outbox = Outbox::new("streams_egress", StreamsEgress);
            outbox.publish(&mut transaction, &[message]).await?;
            transaction.commit().await?;
            let error = world.open(json!({ "layout": "streams_egress" }), &context()).await.err();
            assert!(error.is_some_and(|error| error.setting() == Some("order_column")));
            let settings = json!({ "layout": "streams_egress", "order": "none" });
            let source = world.open(settings, &context()).await?;
            let mut relay = Relay::new(&*source, None);
            assert_eq!(text(&relay.read(1).await?[0], "aggregateid"), "k");
            relay.acknowledge().await?;
            assert_eq!(world.count(LEFT)?, 0);
        }
        Ok(())
    })
}
