//! Going on with what another program left.

use rowtide_core::{ErrorKind, PartitionState, Progress, Result};

use crate::{
    block_on, delivered,
    emulator::{
        Dialect,
        metadata::{Metadata, PIPELINE, child, partition},
    },
    finished,
    foreign::{Foreign, Program, found, query},
    owner, sorted, update,
};

const fn row(
    token: &'static str,
    parents: &'static [&'static str],
    state: &'static str,
    times: [i64; 2],
) -> Foreign {
    Foreign { token, parents, start: times[0], state, watermark: times[1] }
}

/// A program that was stopped in the midst of things. None of them waits for all parents.
const LEFT: [Foreign; 8] = [
    row("Parent0", &[], "FINISHED", [100, 100]),
    row("ahead", &["moved"], "RUNNING", [260, 270]),
    row("done", &["Parent0"], "FINISHED", [100, 200]),
    row("early", &["moved"], "SCHEDULED", [260, 260]),
    row("idle", &["done"], "SCHEDULED", [200, 200]),
    row("merge", &["moved", "split"], "CREATED", [300, 300]),
    row("moved", &["Parent0"], "RUNNING", [100, 250]),
    row("split", &["done"], "RUNNING", [200, 240]),
];

fn expected() -> Vec<PartitionState> {
    let state = |partition, progress| PartitionState { partition, progress };
    vec![
        state(partition("Parent0", 100), Progress::Finished(None)),
        // It has begun before its parent ended, and what it has told is not told again.
        state(child("ahead", 260, &["moved"]), delivered(270)),
        state(child("done", 100, &["Parent0"]), finished(200)),
        state(child("early", 260, &["moved"]), Progress::Waiting),
        state(child("idle", 200, &["done"]), delivered(200)),
        state(child("merge", 300, &["moved", "split"]), Progress::Waiting),
        state(child("moved", 100, &["Parent0"]), delivered(250)),
        state(child("split", 200, &["done"]), delivered(240)),
    ]
}

pub(crate) fn the_rows_of_spream_are_gone_on_with() -> Result<()> {
    block_on(gone_on_with(Program::Spream, Dialect::GoogleSql))
}

pub(crate) fn the_rows_of_screamer_are_gone_on_with() -> Result<()> {
    block_on(gone_on_with(Program::Screamer, Dialect::GoogleSql))
}

pub(crate) fn the_rows_of_beam_are_gone_on_with_in_both_dialects() -> Result<()> {
    block_on(async {
        gone_on_with(Program::Beam, Dialect::GoogleSql).await?;
        gone_on_with(Program::Beam, Dialect::Postgres).await
    })
}

async fn gone_on_with(program: Program, dialect: Dialect) -> Result<()> {
    let metadata = program.leave(dialect, &LEFT).await?;
    let store = metadata.open().await?;
    assert_eq!(sorted(store.load(PIPELINE).await?), expected(), "{program:?}");
    let claim = store.claim(PIPELINE, &owner("first")).await?;
    assert_eq!(sorted(store.load(PIPELINE).await?), expected(), "a claim changes no row");

    let mut states = expected();
    states[1].progress = delivered(280);
    states[6].progress = finished(260);
    states.push(PartitionState::waiting(child("new", 280, &["split"])));
    let moved = [1, 6, 8].map(|place: usize| states[place].clone());
    store.save(&claim, &update(moved.to_vec())).await?;
    let saved = sorted(metadata.open().await?.load(PIPELINE).await?);
    assert_eq!(unstarted_is_unread(saved), unstarted_is_unread(sorted(states)));
    // What the program goes on with, should it be started again.
    let [created, scheduled, running] =
        [[true, false, false, false], [true, true, false, false], [true, true, true, false]];
    let rows = [
        ("Parent0", "FINISHED", 100, [true; 4]),
        ("ahead", "RUNNING", 280, running),
        ("done", "FINISHED", 200, [true; 4]),
        ("early", "SCHEDULED", 260, scheduled),
        ("idle", "SCHEDULED", 200, scheduled),
        ("merge", "CREATED", 300, created),
        ("moved", "FINISHED", 260, [true; 4]),
        ("new", "CREATED", 280, created),
        ("split", "RUNNING", 240, running),
    ];
    let rows = rows.map(|(token, state, at, times)| (token.into(), state.into(), at, times));
    assert_eq!(found(&metadata).await?, rows);
    assert_eq!(settings_of(&metadata, "new").await?, settings_of(&metadata, "split").await?);
    Ok(())
}

/// A partition whose parents have ended is read from its start, whether it was read before or not.
fn unstarted_is_unread(mut states: Vec<PartitionState>) -> Vec<PartitionState> {
    for state in &mut states {
        if state.progress.position() == state.partition.start.as_ref() {
            state.progress = Progress::Waiting;
        }
    }
    states
}

/// The end and the heartbeats that the program was given, which a child takes over.
async fn settings_of(metadata: &Metadata, token: &str) -> Result<Vec<Vec<Option<String>>>> {
    let quote = if metadata.database.dialect == Dialect::Postgres { "\"" } else { "" };
    let columns = ["EndTimestamp", "HeartbeatMillis"].map(|name| format!("{quote}{name}{quote}"));
    let sql = format!(
        "SELECT {} FROM {quote}Metadata{quote} WHERE {quote}PartitionToken{quote} = '{token}'",
        columns.join(", ")
    );
    let client = crate::emulator::world::connect(&metadata.database).await?;
    query(&client, sql).await.map_err(|error| crate::emulator::failed("reading")(error.into()))
}

pub(crate) fn a_parent_whose_row_is_gone_is_waited_for_unless_it_must_have_ended() -> Result<()> {
    block_on(async {
        // The name of a case, the watermark of the one that is read, and who is waited for.
        check_parents("somebody may still announce it", 250, &["gone", "read"]).await?;
        check_parents("nobody is behind", 300, &["read"]).await
    })
}

async fn check_parents(case: &str, watermark: i64, expected: &[&str]) -> Result<()> {
    let rows = [
        row("Parent0", &[], "FINISHED", [100, 100]),
        row("later", &["gone", "read"], "CREATED", [300, 300]),
        row("read", &["before"], "RUNNING", [100, watermark]),
    ];
    let metadata = Program::Spream.leave(Dialect::GoogleSql, &rows).await?;
    let store = metadata.open().await?;
    store.claim(PIPELINE, &owner("first")).await?;
    let states = sorted(store.load(PIPELINE).await?);
    assert_eq!(states[1].partition, child("later", 300, expected), "{case}");
    assert_eq!(states[2].partition, partition("read", 100), "it was there at the beginning");
    Ok(())
}

pub(crate) fn a_damaged_row_is_named() -> Result<()> {
    block_on(async {
        let rows = [row("odd", &[], "PAUSED", [100, 100])];
        let metadata = Program::Spream.leave(Dialect::GoogleSql, &rows).await?;
        let error = metadata.open().await?.load(PIPELINE).await.expect_err("no such state");
        assert_eq!(error.kind(), &ErrorKind::Fatal);
        assert!(error.message().contains("`odd`"), "{error}");
        Ok(())
    })
}
