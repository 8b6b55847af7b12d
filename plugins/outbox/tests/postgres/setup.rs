//! What `rowtide setup` makes, and what an outbox without it is told.

use rowtide_core::{
    ErrorKind, Source,
    plugin::{Execution, InstallOptions, UninstallOptions, UninstallScope},
};
use serde_json::json;

use crate::{
    relay::{Outcome, Relay, context, factory, labels, run},
    world::World,
};

pub(crate) const MESSAGE: &str =
    "INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload)
    VALUES (gen_random_uuid(), 'order', '1', 'made', '{}')";

/// What a table for Debezium's router looks like.
const OF_DEBEZIUM: &str = "CREATE TABLE outbox (id uuid PRIMARY KEY, aggregatetype varchar(255),
    aggregateid varchar(255), type varchar(255), payload jsonb)";

/// The first changes, as text.
async fn first_changes(source: &dyn Source) -> Outcome<String> {
    Ok(format!("{:?}", Relay::new(source, None).read(1).await?))
}

pub(crate) fn setup_makes_all_that_is_needed_and_is_harmless_twice() -> Outcome {
    run(async {
        let world = World::empty().await?;
        for settings in [
            json!({ "table": "a", "notify": "new" }),
            json!({ "table": "b", "done": "mark", "keep_marked_for": "1h" }),
            json!({ "table": "c", "done": "mark", "order": "none" }),
            json!({ "table": "d", "done": "keep", "order_column": "n", "transaction_column": "t" }),
            json!({ "table": "e", "layout": "streams_egress" }),
            json!({ "table": "\"F G\"", "columns": { "id": "event id" } }),
        ] {
            let error =
                world.open(settings.clone(), &context()).await.err().ok_or("there was a table")?;
            assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("table")));
            let factory = factory(&world.url, &settings.clone())?;
            let dry = InstallOptions { execution: Execution::DryRun, confirmed: false };
            let printed = factory.install(&context(), dry).await?;
            let made = world.setup(settings.clone()).await?;
            assert!(!made.is_empty() && made == printed, "{made:?} {printed:?}");
            assert_eq!(world.setup(settings.clone()).await?, Vec::<String>::new());
            drop(world.open(settings, &context()).await?);
        }
        Ok(())
    })
}

pub(crate) fn a_table_without_numbers_is_refused_with_the_statements_that_add_them() -> Outcome {
    run(async {
        let world = World::empty().await?;
        world.execute(OF_DEBEZIUM).await?;
        let error = world.open(json!({}), &context()).await.err().ok_or("it has no numbers")?;
        assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("order_column")));
        let help = error.remedy().unwrap_or_default();
        assert!(
            help.contains("ADD COLUMN \"seq\"") && help.contains("ADD COLUMN \"xid\""),
            "{help}"
        );
        world.setup(json!({})).await?;
        drop(world.open(json!({}), &context()).await?);
        world.execute("ALTER TABLE outbox ALTER seq SET CACHE 10").await.err();
        world.execute("ALTER SEQUENCE outbox_seq_seq CACHE 10").await?;
        let error =
            world.open(json!({}), &context()).await.err().ok_or("its numbers are in no order")?;
        assert!(error.message().contains("CACHE"), "{error}");
        let wrong = json!({ "columns": { "payload": "body" } });
        let error = world.open(wrong, &context()).await.err().ok_or("there is no such column")?;
        assert_eq!(error.setting(), Some("columns.payload"));
        Ok(())
    })
}

pub(crate) fn rows_are_not_numbered_unless_the_user_agrees() -> Outcome {
    run(async {
        let world = World::empty().await?;
        world.execute(OF_DEBEZIUM).await?;
        world.execute(MESSAGE).await?;
        let error = world.setup(json!({})).await.err().ok_or("the rows were numbered")?;
        assert!(error.to_string().contains("arbitrary"), "{error}");
        let confirmed = InstallOptions { execution: Execution::Apply, confirmed: true };
        factory(&world.url, &json!({}))?.install(&context(), confirmed).await?;
        let source = world.open(json!({}), &context()).await?;
        assert!(first_changes(&*source).await?.contains("order"));
        Ok(())
    })
}

/// As after a dump was restored, or a replica of the rows alone was made the primary.
pub(crate) fn rows_of_another_cluster_are_refused_until_they_are_made_this_ones() -> Outcome {
    run(async {
        let world = World::empty().await?;
        for done in ["delete", "mark", "keep"] {
            let settings = json!({ "done": done });
            world.setup(settings.clone()).await?;
            if done == "mark" {
                // What is done is never looked for.
                world.execute(MESSAGE).await?;
                world.execute("UPDATE outbox SET xid = '9000000000', done_at = now()").await?;
            }
            drop(world.open(settings.clone(), &context()).await?);
            let restored = MESSAGE.replace("payload)", "payload, xid)");
            let restored = restored.replace("'made'", "'old'").replace("'{}')", "'{}', $1)");
            for xid in ["'5000000000'", "'4999999999'"] {
                world.execute(&restored.replace("$1", xid)).await?;
            }
            world.execute(&MESSAGE.replace("'made'", "'new'")).await?;
            let error = world.open(settings.clone(), &context()).await.err().ok_or("they wait")?;
            let told = (error.kind(), error.setting());
            assert_eq!(told, (&ErrorKind::Config, Some("transaction_column")), "{error}");
            assert!(error.message().contains("`outbox`") && error.message().contains("`xid`"));
            let help = error.remedy().unwrap_or_default();
            world.execute(help.split_once(": ").ok_or("no statement")?.1).await?;
            let source = world.open(settings, &context()).await?;
            let came = Relay::new(&*source, None).read(3).await?;
            assert_eq!(labels(&came), ["old", "old", "new"]);
            drop(source);
            world
                .execute("DROP TABLE outbox; DROP FUNCTION IF EXISTS outbox_rowtide_guard")
                .await?;
        }
        Ok(())
    })
}

pub(crate) fn teardown_leaves_the_messages() -> Outcome {
    run(async {
        let world = World::empty().await?;
        let settings = json!({ "notify": "new" });
        world.setup(settings.clone()).await?;
        world.execute(MESSAGE).await?;
        let scope = UninstallScope::All;
        let options = UninstallOptions { execution: Execution::Apply, scope };
        let undone = factory(&world.url, &settings)?.uninstall(&context(), options).await?;
        assert_eq!(undone.len(), 4, "{undone:?}");
        assert_eq!(world.count("SELECT count(*) FROM outbox").await?, 1);
        let left = "SELECT count(*) FROM pg_proc WHERE proname LIKE '%rowtide%'";
        assert_eq!(world.count(left).await?, 0);
        Ok(())
    })
}

pub(crate) fn renamed_columns_arrive_under_the_names_of_the_router() -> Outcome {
    run(async {
        let world = World::empty().await?;
        let settings = json!({ "columns": { "id": "event_id", "aggregateid": "order_id" } });
        world.setup(settings.clone()).await?;
        world.execute("ALTER TABLE outbox ADD COLUMN tenant text").await?;
        let insert = MESSAGE.replace("(id,", "(event_id,").replace("aggregateid", "order_id");
        world.execute(&insert).await?;
        let source = world.open(settings, &context()).await?;
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

pub(crate) fn without_an_order_no_column_is_needed() -> Outcome {
    run(async {
        let world = World::empty().await?;
        world.execute(OF_DEBEZIUM).await?;
        world.execute(MESSAGE).await?;
        let source = world.open(json!({ "order": "none" }), &context()).await?;
        let mut relay = Relay::new(&*source, None);
        while world.count("SELECT count(*) FROM outbox").await? > 0 {
            relay.next().await?;
            relay.acknowledge().await?;
        }
        Ok(())
    })
}
