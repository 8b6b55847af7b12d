//! What `rowtide setup` makes, and what an outbox without it is told.

use rowtide_core::{
    ErrorKind,
    plugin::{Execution, InstallOptions},
};
use serde_json::json;

use crate::{
    relay::{Outcome, Relay, context, factory, run, text},
    world::World,
};

const MESSAGE: &str = "INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload)
    VALUES (uuid(), 'order', '1', 'made', '{}')";

/// What a table for Debezium's router looks like.
const OF_DEBEZIUM: &str = "CREATE TABLE outbox (id char(36) PRIMARY KEY,
    aggregatetype varchar(255), aggregateid varchar(255), type varchar(255), payload json)";

pub(crate) fn setup_makes_all_that_is_needed_and_is_harmless_twice() -> Outcome {
    run(async {
        let world = World::empty().await?;
        for settings in [
            json!({ "table": "a" }),
            json!({ "table": "b", "done": "mark", "keep_marked_for": "1h" }),
            json!({ "table": "c", "done": "mark", "order": "none" }),
            json!({ "table": "d", "order_column": "n" }),
            json!({ "table": "e", "layout": "streams_egress" }),
            json!({ "table": "\"F G\"", "columns": { "id": "event id" } }),
        ] {
            let error =
                world.open(settings.clone(), &context()).await.err().ok_or("there was a table")?;
            assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("table")));
            let dry = InstallOptions { execution: Execution::DryRun, confirmed: false };
            let factory = factory(&world.url, &settings)?;
            let printed = factory.install(&context(), dry).await?;
            let made = world.setup(settings.clone()).await?;
            assert!(!made.is_empty() && made == printed, "{made:?} {printed:?}");
            assert_eq!(world.setup(settings.clone()).await?, Vec::<String>::new());
            drop(world.open(settings, &context()).await?);
        }
        Ok(())
    })
}

pub(crate) fn a_table_that_is_not_numbered_is_refused_until_it_is_set_up() -> Outcome {
    run(async {
        let world = World::empty().await?;
        world.execute(OF_DEBEZIUM).await?;
        world.execute(MESSAGE).await?;
        let factory = factory(&world.url, &json!({}))?;
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
        let source = factory.open(&context()).await?;
        assert_eq!(text(&Relay::new(&*source, None).read(1).await?[0], "type"), "made");
        assert_eq!(world.count("SELECT seq FROM outbox").await?, 1);
        Ok(())
    })
}

pub(crate) fn without_an_order_no_column_is_needed() -> Outcome {
    run(async {
        let world = World::empty().await?;
        world.execute(OF_DEBEZIUM).await?;
        for _ in 0..5 {
            world.execute(MESSAGE).await?;
        }
        let source = world.open(json!({ "order": "none", "page_rows": 2 }), &context()).await?;
        let mut relay = Relay::new(&*source, None);
        let mut came = 0;
        while world.count("SELECT count(*) FROM outbox").await? > 0 {
            came += relay.next().await?.len();
            relay.acknowledge().await?;
        }
        assert_eq!(came, 5);
        Ok(())
    })
}

/// No cursor is safe here.
pub(crate) fn messages_cannot_be_kept() -> Outcome {
    run(async {
        let world = World::new().await?;
        let kept = world.open(json!({ "done": "keep" }), &context()).await;
        let error = kept.err().ok_or("it keeps them")?;
        assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("done")));
        Ok(())
    })
}
