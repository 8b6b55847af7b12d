use rowtide_outbox_writer::{Error, Message, Outbox, Router, StreamsEgress};
use sqlx::{Connection, Executor, Row, SqliteConnection};

use crate::{Outcome, full, many, run, stream_messages};

pub(crate) fn messages_are_there_with_the_transaction_and_in_order() -> Outcome {
    run(async {
        let directory = tempfile::tempdir()?;
        let url = format!("sqlite:{}?mode=rwc", directory.path().join("a.db").display());
        let mut connection = SqliteConnection::connect(&url).await?;
        let table = "CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE,
             aggregatetype, aggregateid, type TEXT, payload, tracingspancontext, a_flag, a_number,
             a_float, a_time, \"nothing\")";
        connection.execute(table).await?;
        let outbox = Outbox::new("main.outbox", Router::default());

        let mut transaction = connection.begin().await?;
        assert!(matches!(outbox.publish(&mut transaction, &[]).await, Err(Error::NoMessages)));
        outbox.publish(&mut transaction, &many()).await?;
        transaction.rollback().await?;
        let mut transaction = connection.begin().await?;
        outbox.publish(&mut transaction, &many()).await?;
        let last = Message::new("order", "7", "14000", "{}");
        outbox.publish(&mut transaction, &[last, full()]).await?;
        transaction.commit().await?;

        let rows = connection.fetch_all("SELECT type FROM outbox ORDER BY seq").await?;
        let mut types: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(types.pop().as_deref(), Some("OrderPlaced"));
        assert_eq!(types, (0..=14_000).map(|number| number.to_string()).collect::<Vec<_>>());
        let select = "SELECT hex(payload) || a_flag || a_number || a_float || a_time FROM outbox \
                      WHERE \"nothing\" IS NULL AND tracingspancontext LIKE 'traceparent=00-1-2-01%'";
        let row: String = connection.fetch_one(select).await?.get(0);
        assert_eq!(row, "00FF1-70.51970-01-01 00:00:01.500000");
        Ok(())
    })
}

pub(crate) fn every_variant_of_the_batch_table_takes_a_batch() -> Outcome {
    run(async {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await?;
        let table = "CREATE TABLE streams_egress (batch_id VARCHAR(27) PRIMARY KEY,
             in_flight BOOLEAN DEFAULT FALSE, message_count INT DEFAULT 0, raw_data BLOB NOT NULL)";
        connection.execute(table).await?;
        let outbox = Outbox::new("streams_egress", StreamsEgress);
        let mut transaction = connection.begin().await?;
        // Twice in one transaction.
        for _ in 0..2 {
            outbox.publish(&mut transaction, &stream_messages()).await?;
        }
        transaction.commit().await?;
        let select = "SELECT count(*), sum(message_count) FROM streams_egress \
                      WHERE typeof(raw_data) = 'blob' AND length(batch_id) = 27";
        let row = connection.fetch_one(select).await?;
        assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1)), (2, 4));
        Ok(())
    })
}
