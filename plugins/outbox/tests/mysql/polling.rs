//! What a poll costs, and what it holds.

use std::time::{Duration, Instant};

use rowtide_core::{
    ErrorKind,
    plugin::{Execution, InstallOptions},
    registry,
    settings::Settings,
};
use serde_json::json;
use sqlx::{Executor, Row};

use crate::world::{Outcome, World, context, run};

/// A snapshot that nobody reads from would keep the server from cleaning up, and whoever alters the
/// table waiting.
pub(crate) fn a_suspended_stream_holds_no_snapshot() -> Outcome {
    run(async {
        let world = World::new().await?;
        let mut writer = world.writer().await?;
        for _ in 0..100 {
            writer.insert("x").await?;
        }
        writer.commit().await?;
        // More pages than are read ahead.
        let mut relay = world.relay(json!({ "page_rows": 1 })).await?;
        relay.advance().await?;
        let mut connection = world.connect().await?;
        let begun = Instant::now();
        connection.execute("ALTER TABLE outbox ADD COLUMN another int").await?;
        if begun.elapsed() > Duration::from_secs(20) {
            return Err(format!("the table was held for {:?}", begun.elapsed()).into());
        }
        Ok(())
    })
}

/// A million rows that were delivered and deleted, and that the server cannot clean up yet, since
/// a transaction is open that might still look at them.
pub(crate) fn an_empty_poll_behind_dead_rows_is_as_slow_as_the_docs_say() -> Outcome {
    run(async {
        let world = World::new().await?;
        let mut connection = world.connect().await?;
        connection
            .execute("INSERT INTO outbox (type, payload) SELECT 'x', repeat('x', 200) FROM seq_1_to_1000000")
            .await?;
        let mut foreign = world.connect().await?;
        foreign.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
        connection.execute("DELETE FROM outbox").await?;
        let poll = "SELECT CAST(`seq` AS SIGNED) FROM outbox FORCE INDEX (`PRIMARY`) WHERE TRUE \
                    ORDER BY `seq` LIMIT 10000";
        let mut took = Vec::new();
        for _ in 0..20 {
            let begun = Instant::now();
            let rows = connection.fetch_all(poll).await?;
            took.push(begun.elapsed());
            assert!(rows.is_empty());
        }
        took.sort();
        println!(
            "an empty poll behind 1,000,000 dead rows: {:?}, at most {:?}",
            took[10], took[19]
        );
        foreign.execute("COMMIT").await?;
        if took[10] > Duration::from_secs(5) {
            return Err(format!("{:?}", took[10]).into());
        }
        Ok(())
    })
}

pub(crate) fn a_table_that_is_not_numbered_is_refused_until_it_is_set_up() -> Outcome {
    run(async {
        let world = World::new().await?;
        let mut connection = world.connect().await?;
        connection.execute("ALTER TABLE outbox DROP COLUMN seq").await?;
        connection.execute("INSERT INTO outbox (type) VALUES ('x')").await?;
        let settings = Settings::from(json!({ "database": world.url }));
        let factory = registry::source("outbox", &settings)?;
        let error = factory.open(&context()).await.err().ok_or("it was opened")?;
        assert_eq!(error.kind(), &ErrorKind::Config);
        let alter = "ALTER TABLE `outbox` ADD COLUMN `seq` BIGINT NOT NULL AUTO_INCREMENT UNIQUE";
        assert!(error.remedy().is_some_and(|help| help.contains(alter)), "{error:?}");

        let mut options = InstallOptions { execution: Execution::Apply, confirmed: false };
        let error = factory.install(&context(), options).await.err().ok_or("it was numbered")?;
        assert!(error.message().contains("arbitrary"), "{error}");
        options.confirmed = true;
        assert_eq!(factory.install(&context(), options).await?, [alter]);
        assert!(factory.install(&context(), options).await?.is_empty());
        factory.open(&context()).await?;
        let row = connection.fetch_one("SELECT seq FROM outbox").await?;
        assert_eq!(row.try_get::<i64, _>(0)?, 1);
        Ok(())
    })
}
