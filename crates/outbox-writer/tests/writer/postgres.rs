use rowtide_outbox_writer::{Error, Message, Outbox, Router, StreamsEgress, Value};
use rowtide_servers::{Kind, Server};
use sqlx::{Connection, Executor, PgConnection, Row};

use crate::{Outcome, full, many, run, stream_messages};

const TABLE: &str = "CREATE TEMPORARY TABLE outbox (
    id uuid PRIMARY KEY, aggregatetype text, aggregateid varchar(255), type text, payload jsonb,
    seq bigint GENERATED ALWAYS AS IDENTITY)";

async fn connect() -> Outcome<PgConnection> {
    let server = tokio::task::block_in_place(|| Server::shared(Kind::Postgres))?;
    Ok(PgConnection::connect(server.variable("ROWTIDE_POSTGRES_URL")?).await?)
}

pub(crate) fn messages_are_there_with_the_transaction_and_in_order() -> Outcome {
    run(async {
        let mut connection = connect().await?;
        connection.execute(TABLE).await?;
        let outbox = Outbox::new("outbox", Router::default());

        let mut transaction = connection.begin().await?;
        assert!(matches!(outbox.publish(&mut transaction, &[]).await, Err(Error::NoMessages)));
        outbox.publish(&mut transaction, &many()).await?;
        transaction.rollback().await?;
        let mut transaction = connection.begin().await?;
        outbox.publish(&mut transaction, &many()).await?;
        let last = Message::new("order", "7", "14000", Value::json(&["x"])?);
        outbox.publish(&mut transaction, &[last]).await?;
        transaction.commit().await?;

        let rows = connection.fetch_all("SELECT type FROM outbox ORDER BY seq").await?;
        let types: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(types, (0..=14_000).map(|number| number.to_string()).collect::<Vec<_>>());
        Ok(())
    })
}

pub(crate) fn each_type_of_column_takes_what_it_can_hold() -> Outcome {
    run(async {
        let mut connection = connect().await?;
        connection
            .execute(
                "CREATE TEMPORARY TABLE events (event_id uuid, aggregatetype text,
                 aggregateid text, type text, body bytea, tracingspancontext text, a_flag bool,
                 a_number smallint, a_float real, a_time timestamptz, at timestamp, nothing int)",
            )
            .await?;
        let router = Router {
            id: "event_id".to_owned(),
            payload: "body".to_owned(),
            time: Some("at".to_owned()),
            ..Router::default()
        };
        let mut transaction = connection.begin().await?;
        Outbox::new("events", router).publish(&mut transaction, &[full()]).await?;
        transaction.commit().await?;
        let select = "SELECT concat_ws('|', event_id, aggregateid, body, tracingspancontext, \
                      a_flag, a_number, a_float, a_time AT TIME ZONE 'UTC', nothing, \
                      now() AT TIME ZONE 'UTC' - at < '1 minute') FROM events";
        let row: String = connection.fetch_one(select).await?.get(0);
        let expected = "01890a5d-ac96-774b-bcce-b302099a8057|größe 7|\\x00ff|\
                        traceparent=00-1-2-01\n|t|-7|0.5|1970-01-01 00:00:01.5|t";
        assert_eq!(row, expected);
        Ok(())
    })
}

pub(crate) fn every_variant_of_the_batch_table_takes_a_batch() -> Outcome {
    run(async {
        let mut connection = connect().await?;
        for columns in [
            "batch_id char(27) PRIMARY KEY, in_flight boolean DEFAULT false, message_count int \
             DEFAULT 0, write_retries int DEFAULT 0, last_write_error varchar(255), raw_data bytea \
             NOT NULL",
            "batch_id varchar(27) PRIMARY KEY, message_count int, raw_data bytea",
            "batch_id varchar(27) PRIMARY KEY, message_count int, raw_data bytea, insert_time \
             timestamp DEFAULT now()",
        ] {
            let create = format!("CREATE TEMPORARY TABLE streams_egress ({columns})");
            connection.execute(sqlx::AssertSqlSafe(create)).await?;
            let outbox = Outbox::new("streams_egress", StreamsEgress);
            let mut transaction = connection.begin().await?;
            // Twice in one transaction.
            for _ in 0..2 {
                outbox.publish(&mut transaction, &stream_messages()).await?;
            }
            transaction.commit().await?;
            let select = "SELECT count(*), sum(message_count), min(length(batch_id)) FROM streams_egress \
                          WHERE position('orders' in encode(raw_data, 'escape')) > 0";
            let row = connection.fetch_one(select).await?;
            let found: (i64, i64, i32) = (row.get(0), row.get(1), row.get(2));
            assert_eq!(found, (2, 4, 27));
            connection.execute("DROP TABLE streams_egress").await?;
        }
        Ok(())
    })
}

pub(crate) fn a_row_that_is_not_written_is_an_error() -> Outcome {
    run(async {
        let mut connection = connect().await?;
        connection.execute(TABLE).await?;
        connection.execute("CREATE RULE nothing AS ON INSERT TO outbox DO INSTEAD NOTHING").await?;
        let mut transaction = connection.begin().await?;
        let outbox = Outbox::new("outbox", Router::default());
        let message = Message::new("order", "7", "x", "{}");
        let error = outbox.publish(&mut transaction, &[message]).await.err();
        assert!(matches!(error, Some(Error::NotWritten { expected: 1, written: 0 })), "{error:?}");
        Ok(())
    })
}
