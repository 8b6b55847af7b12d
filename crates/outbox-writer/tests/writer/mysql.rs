use rowtide_outbox_writer::{Error, Ids, Message, Outbox, Router, StreamsEgress, Value};
use rowtide_servers::{Kind, Server};
use sqlx::{Connection, Executor, MySqlConnection, Row};

use crate::{Outcome, full, many, run, stream_messages};

const TABLE: &str = "CREATE TEMPORARY TABLE outbox (
    seq bigint AUTO_INCREMENT PRIMARY KEY, id binary(16) NOT NULL UNIQUE,
    aggregatetype varchar(255), aggregateid varchar(255), type varchar(255), payload json)";

async fn connect() -> Outcome<MySqlConnection> {
    let server = tokio::task::block_in_place(|| Server::shared(Kind::MariaDb))?;
    Ok(MySqlConnection::connect(server.variable("ROWTIDE_MYSQL_URL")?).await?)
}

pub(crate) fn messages_are_there_with_the_transaction_and_in_order() -> Outcome {
    run(async {
        let mut connection = connect().await?;
        connection.execute(TABLE).await?;
        let outbox = Outbox::new("outbox", Router { ids: Ids::Bytes, ..Router::default() });

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
                 aggregateid text, type text, body blob, tracingspancontext text, a_flag bool,
                 a_number smallint, a_float float, a_time timestamp(3) NULL, at datetime(6),
                 nothing int)",
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
        let select = "SELECT concat_ws('|', event_id, aggregateid, hex(body), tracingspancontext, \
                      a_flag, a_number, a_float, a_time, nothing, \
                      timestampdiff(SECOND, at, utc_timestamp()) < 60) FROM events";
        let row: String = connection.fetch_one(select).await?.get(0);
        let expected = "01890a5d-ac96-774b-bcce-b302099a8057|größe 7|00FF|\
                        traceparent=00-1-2-01\n|1|-7|0.5|1970-01-01 00:00:01.500|1";
        assert_eq!(row, expected);
        Ok(())
    })
}

pub(crate) fn every_variant_of_the_batch_table_takes_a_batch() -> Outcome {
    run(async {
        let mut connection = connect().await?;
        for columns in [
            "batch_id char(27) PRIMARY KEY, in_flight boolean DEFAULT false, message_count int \
             DEFAULT 0, write_retries int DEFAULT 0, last_write_error varchar(255), raw_data \
             longblob NOT NULL",
            "batch_id varchar(27) PRIMARY KEY, message_count int, raw_data longblob",
            "batch_id varchar(27) PRIMARY KEY, message_count int, raw_data longblob, insert_time \
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
            let select = "SELECT count(*), CAST(sum(message_count) AS SIGNED), \
                          CAST(min(length(batch_id)) AS SIGNED) FROM streams_egress \
                          WHERE instr(raw_data, 'orders') > 0";
            let row = connection.fetch_one(select).await?;
            let found: (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
            assert_eq!(found, (2, 4, 27));
            connection.execute("DROP TEMPORARY TABLE streams_egress").await?;
        }
        Ok(())
    })
}
