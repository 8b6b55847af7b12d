//! The layout of streams.

use rowtide_core::ErrorKind;
use rowtide_outbox_writer::{Outbox, StreamMessage, StreamsEgress};
use serde_json::json;
use sqlx::Connection;

use crate::{
    relay::{Outcome, Relay, context, factory, run, text},
    world::World,
};

/// In the driver's own papers, in its newer file, and in its sample for the log.
const VARIANTS: [&str; 3] = [
    "batch_id CHAR(27) PRIMARY KEY, in_flight BOOLEAN DEFAULT FALSE, message_count INT DEFAULT 0, \
     write_retries INT DEFAULT 0, last_write_error VARCHAR(255), raw_data BYTEA NOT NULL",
    "batch_id VARCHAR(27) PRIMARY KEY, message_count INT, raw_data BYTEA",
    "batch_id VARCHAR(27) PRIMARY KEY, message_count INT, raw_data BYTEA, \
     insert_time TIMESTAMP DEFAULT NOW()",
];

pub(crate) fn every_variant_of_the_table_is_set_up_and_read_in_order() -> Outcome {
    run(async {
        for variant in VARIANTS {
            let world = World::empty().await?;
            world.execute(&format!("CREATE TABLE streams_egress ({variant})")).await?;
            let settings = json!({ "layout": "streams_egress" });
            let error = world.open(settings.clone(), &context()).await.err().ok_or("no order")?;
            assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("order_column")));
            let help = error.remedy().unwrap_or_default();
            assert!(
                help.contains("ADD COLUMN \"seq\"") && help.contains("ADD COLUMN \"xid\""),
                "{help}"
            );
            world.setup(settings.clone()).await?;

            let source = world.open(settings, &context()).await?;
            let mut relay = Relay::new(&*source, None);
            let (mut early, mut late) = (world.connect().await?, world.connect().await?);
            let outbox = Outbox::new("streams_egress", StreamsEgress);
            let message = |key: &str| StreamMessage::new("orders", key, "text/plain", "x");
            let mut open = early.begin().await?;
            outbox.publish(&mut open, &[message("late")]).await?;
            let mut transaction = late.begin().await?;
            outbox.publish(&mut transaction, &["1", "2"].map(message)).await?;
            outbox.publish(&mut transaction, &[message("3")]).await?;
            transaction.commit().await?;
            let mut came = relay.read(3).await?;
            open.commit().await?;
            came.extend(relay.read(1).await?);
            let keys: Vec<_> = came.iter().map(|change| text(change, "aggregateid")).collect();
            assert_eq!(keys, ["1", "2", "3", "late"]);
            relay.acknowledge().await?;
            assert_eq!(world.count("SELECT count(*) FROM streams_egress").await?, 0);
        }
        Ok(())
    })
}

pub(crate) fn batches_can_be_read_in_no_order_and_only_be_deleted() -> Outcome {
    run(async {
        let world = World::empty().await?;
        world.execute(&format!("CREATE TABLE streams_egress ({})", VARIANTS[1])).await?;
        let mut connection = world.connect().await?;
        let mut transaction = connection.begin().await?;
        let outbox = Outbox::new("streams_egress", StreamsEgress);
        let message = StreamMessage::new("orders", "k", "text/plain", "x");
        outbox.publish(&mut transaction, &[message]).await?;
        transaction.commit().await?;
        let settings = json!({ "layout": "streams_egress", "order": "none" });
        let source = world.open(settings, &context()).await?;
        let mut relay = Relay::new(&*source, None);
        assert_eq!(text(&relay.read(1).await?[0], "aggregateid"), "k");
        relay.acknowledge().await?;
        assert_eq!(world.count("SELECT count(*) FROM streams_egress").await?, 0);
        for done in ["mark", "keep"] {
            let settings = json!({ "layout": "streams_egress", "done": done });
            let error = factory(&world.url, &settings).err().ok_or("they are marked")?;
            assert_eq!(error.setting(), Some("done"));
        }
        Ok(())
    })
}
