//! What `rowtide setup` makes, and what an outbox without it is told.

use rowtide_core::{
    ErrorKind,
    plugin::{Execution, InstallOptions},
};
use serde_json::json;

use crate::{
    relay::{Outcome, Relay, context, factory, labels, run},
    rows::UNNUMBERED,
    world::World,
};

pub(crate) fn setup_makes_all_that_is_needed_and_is_harmless_twice() -> Outcome {
    run(async {
        let world = World::new("SELECT 1")?;
        for settings in [
            json!({ "table": "a" }),
            json!({ "table": "b", "done": "mark", "keep_marked_for": "1h" }),
            json!({ "table": "c", "done": "mark", "order": "none" }),
            json!({ "table": "d", "done": "keep", "order_column": "n" }),
            json!({ "table": "e", "layout": "streams_egress" }),
            json!({ "table": "\"F G\"", "columns": { "id": "event id" } }),
        ] {
            let error =
                world.open(settings.clone(), &context()).await.err().ok_or("there was a table")?;
            assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("table")));
            let dry = InstallOptions { execution: Execution::DryRun, confirmed: false };
            let printed = factory(&world.url(), &settings)?.install(&context(), dry).await?;
            let made = world.setup(settings.clone()).await?;
            assert!(!made.is_empty() && made == printed, "{made:?} {printed:?}");
            assert_eq!(world.setup(settings.clone()).await?, Vec::<String>::new());
            drop(world.open(settings, &context()).await?);
        }
        Ok(())
    })
}

/// Without AUTOINCREMENT the number of the last row that was deleted is given out again.
pub(crate) fn a_table_whose_numbers_come_again_is_refused() -> Outcome {
    run(async {
        for table in [
            UNNUMBERED,
            "CREATE TABLE outbox (seq INTEGER PRIMARY KEY, id, aggregatetype, aggregateid, payload)",
            "CREATE TABLE outbox (seq INTEGER, id, aggregatetype, aggregateid, payload)",
        ] {
            let world = World::new(table)?;
            let error = world.open(json!({}), &context()).await.err().ok_or("it was opened")?;
            assert_eq!(error.kind(), &ErrorKind::Config);
            assert_eq!(error.setting(), Some("order_column"));
            let help = error.remedy().unwrap_or_default();
            assert!(help.contains("\"seq\" INTEGER PRIMARY KEY AUTOINCREMENT"), "{help}");
            let error = world.setup(json!({})).await.err().ok_or("it was set up")?;
            assert_eq!(error.setting(), Some("order_column"));
        }
        Ok(())
    })
}

/// As the message says, with the columns filled in.
pub(crate) fn a_table_that_is_made_anew_as_told_keeps_its_rows() -> Outcome {
    run(async {
        let world = World::new(UNNUMBERED)?;
        for label in ["one", "two"] {
            world.insert(label)?;
        }
        let error = world.open(json!({}), &context()).await.err().ok_or("it was opened")?;
        let help = error.remedy().unwrap_or_default();
        let (_, statements) = help.split_once("make it anew: ").ok_or("no statements")?;
        let (statements, _) = statements.split_once("; or set").ok_or("no end")?;
        let others = "id TEXT UNIQUE, aggregatetype, aggregateid, type TEXT, payload";
        let statements = statements.replace("and the other columns", others);
        world.application.execute_batch(&statements)?;
        let source = world.open(json!({}), &context()).await?;
        let came = Relay::new(&*source, None).read(2).await?;
        assert_eq!(labels(&came), ["one", "two"]);
        Ok(())
    })
}
