//! What a save does to the rows.

use google_cloud_spanner::{
    key::{Key, KeySet},
    mutation::Mutation,
    value::Value as Wire,
};
use rowtide_core::{
    CheckpointStore, CheckpointUpdate, Claim, ErrorKind, Partition, PartitionId, PartitionState,
    Position, Progress, Result,
};

use crate::{
    DIALECTS, block_on, delivered,
    emulator::{
        Dialect, failed,
        metadata::{Metadata, PIPELINE, child, partition, position},
        world::connect,
    },
    finished,
    foreign::{found, query},
    owner, sorted, update,
};

async fn table(dialect: Dialect) -> Result<Metadata> {
    let metadata = Metadata::make(dialect).await?;
    metadata.install().await?;
    Ok(metadata)
}

async fn claimed(metadata: &Metadata) -> Result<(Box<dyn CheckpointStore>, Claim)> {
    let store = metadata.open().await?;
    let claim = store.claim(PIPELINE, &owner("first")).await?;
    Ok((store, claim))
}

fn state(partition: Partition, progress: Progress) -> PartitionState {
    PartitionState { partition, progress }
}

/// The state of a partition that begins at second 100.
fn a(progress: Progress) -> PartitionState {
    state(partition("a", 100), progress)
}

pub(crate) fn a_partition_goes_through_the_states_of_the_table() -> Result<()> {
    block_on(async {
        for dialect in DIALECTS {
            let metadata = table(dialect).await?;
            let (store, claim) = claimed(&metadata).await?;
            let stages = [
                (Progress::Waiting, "CREATED", 100, [true, false, false, false]),
                (delivered(150), "RUNNING", 150, [true, true, true, false]),
                (delivered(170), "RUNNING", 170, [true, true, true, false]),
                (finished(200), "FINISHED", 200, [true; 4]),
            ];
            for (progress, name, watermark, times) in stages {
                store.save(&claim, &update(vec![a(progress.clone())])).await?;
                let row = ("a".to_owned(), name.to_owned(), watermark, times);
                assert_eq!(found(&metadata).await?, [row], "{dialect:?}");
                let loaded = metadata.open().await?.load(PIPELINE).await?;
                assert_eq!(loaded, [a(progress)], "{dialect:?}");
            }
        }
        Ok(())
    })
}

async fn watermark(metadata: &Metadata) -> Result<i64> {
    Ok(found(metadata).await?[0].2)
}

pub(crate) fn a_watermark_is_lowered_under_a_new_claim_only() -> Result<()> {
    block_on(async {
        let metadata = table(Dialect::GoogleSql).await?;
        let (store, claim) = claimed(&metadata).await?;
        for (second, expected) in [(150, 150), (120, 150), (160, 160)] {
            store.save(&claim, &update(vec![a(delivered(second))])).await?;
            assert_eq!(watermark(&metadata).await?, expected, "after {second}");
        }
        // As `rowtide checkpoint set` does.
        let claim = store.claim(PIPELINE, &owner("second")).await?;
        for (second, expected) in [(120, 120), (110, 120), (130, 130)] {
            store.save(&claim, &update(vec![a(delivered(second))])).await?;
            assert_eq!(watermark(&metadata).await?, expected, "after {second}, claimed anew");
        }
        store.save(&claim, &update(vec![a(finished(200))])).await?;
        let claim = store.claim(PIPELINE, &owner("third")).await?;
        store.save(&claim, &update(vec![a(delivered(140))])).await?;
        let row = ("a".to_owned(), "RUNNING".to_owned(), 140, [true, true, true, false]);
        assert_eq!(found(&metadata).await?, [row], "even one that had ended");
        Ok(())
    })
}

pub(crate) fn a_forgotten_partition_has_no_row() -> Result<()> {
    block_on(async {
        let metadata = table(Dialect::GoogleSql).await?;
        let (store, claim) = claimed(&metadata).await?;
        let next = || child("b", 200, &["a"]);
        let states = vec![a(finished(200)), state(next(), Progress::Waiting)];
        store.save(&claim, &update(states)).await?;
        let states = vec![state(next(), delivered(210))];
        let forgotten = vec![PartitionId::new("a")];
        store.save(&claim, &CheckpointUpdate { states, forgotten }).await?;
        let tokens: Vec<_> = found(&metadata).await?.into_iter().map(|row| row.0).collect();
        assert_eq!(tokens, ["b"]);
        // Its parent has ended: nothing but the child is left, and nothing is behind it.
        let loaded = metadata.open().await?.load(PIPELINE).await?;
        assert_eq!(loaded, [state(partition("b", 200), delivered(210))]);
        Ok(())
    })
}

pub(crate) fn an_end_outlives_its_row() -> Result<()> {
    block_on(async {
        let metadata = table(Dialect::GoogleSql).await?;
        let (store, claim) = claimed(&metadata).await?;
        let merge = || state(child("merge", 200, &["a", "b"]), Progress::Waiting);
        let b = |progress| state(partition("b", 100), progress);
        let states = vec![a(finished(200)), b(delivered(120)), merge()];
        store.save(&claim, &update(states)).await?;
        remove_as_too_old(&metadata, "a").await?;
        let gone = state(Partition::new("a"), Progress::Finished(None));
        let loaded = sorted(metadata.open().await?.load(PIPELINE).await?);
        assert_eq!(loaded, [gone, b(delivered(120)), merge()], "the merge does not wait for ever");

        store.save(&claim, &update(vec![b(finished(200))])).await?;
        assert!(!has_finished(&metadata).await?, "the merge has not ended");
        let states = vec![state(merge().partition, finished(300))];
        store.save(&claim, &update(states)).await?;
        assert!(has_finished(&metadata).await?);
        for token in ["b", "merge"] {
            remove_as_too_old(&metadata, token).await?;
        }
        let loaded = metadata.open().await?.load(PIPELINE).await?;
        assert_eq!(loaded.len(), 3, "a pipeline that has ended does not begin anew");
        assert!(loaded.iter().all(|state| state.progress.is_finished()));
        Ok(())
    })
}

/// What the table beside says of the pipeline.
async fn has_finished(metadata: &Metadata) -> Result<bool> {
    let sql = "SELECT CAST(Finished AS STRING) FROM Metadata_rowtide".to_owned();
    let client = connect(&metadata.database).await?;
    let rows = query(&client, sql).await.map_err(|error| failed("reading")(error.into()))?;
    Ok(rows[0][0].as_deref() == Some("true"))
}

/// What the table's policy does a day after a partition has ended.
async fn remove_as_too_old(metadata: &Metadata, token: &str) -> Result<()> {
    let client = connect(&metadata.database).await?;
    let key = KeySet::from(Key::new(vec![Wire::from(token)]));
    let removal = vec![Mutation::delete("Metadata", key)];
    let removed = client.write_only_transaction().build().write(removal).await;
    removed.map(drop).map_err(|error| failed("removing")(error.into()))
}

pub(crate) fn what_is_no_time_in_a_change_stream_is_refused() -> Result<()> {
    block_on(async {
        let metadata = table(Dialect::GoogleSql).await?;
        let (store, claim) = claimed(&metadata).await?;
        let mut of_snapshot = Partition::new("snapshot:begin:orders");
        let place = r#"{"at":"2026-11-21T10:00:00Z","table":"orders","part":"begin"}"#;
        of_snapshot.start = Some(Position::from_text(place));
        let ticks = Progress::Delivered(Position::from_text("7"));
        let without_start = state(Partition::new("a"), delivered(150));
        for refused in [PartitionState::waiting(of_snapshot), a(ticks), without_start] {
            let id = refused.partition.id.clone();
            let saved = store.save(&claim, &update(vec![refused])).await;
            let error = saved.expect_err("it does not fit");
            assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("type")));
            assert!(error.message().contains(id.as_str()), "{error}");
        }
        assert_eq!(found(&metadata).await?, []);
        // More than a time: what comes again after a restart is what was committed at it.
        let seen = Position::from_text(r#"{"at":"1970-01-01T00:03:20Z","seen":{"tx":"00000001"}}"#);
        store.save(&claim, &update(vec![a(Progress::Delivered(seen))])).await?;
        let loaded = metadata.open().await?.load(PIPELINE).await?;
        assert_eq!(loaded[0].progress.position(), Some(&position(200, 0)));
        Ok(())
    })
}

pub(crate) fn a_table_takes_one_pipeline() -> Result<()> {
    block_on(async {
        let metadata = table(Dialect::GoogleSql).await?;
        let (store, claim) = claimed(&metadata).await?;
        store.save(&claim, &update(vec![a(delivered(150))])).await?;
        let other = metadata.open().await?;
        assert_eq!(other.load("other").await?, [], "those partitions are none of its");
        let error = other.claim("other", &owner("second")).await.expect_err("it is taken");
        assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("table")));
        assert!(error.message().contains(PIPELINE), "{error}");
        store.save(&claim, &update(vec![a(delivered(160))])).await
    })
}
