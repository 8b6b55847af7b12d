//! Each misbehaviour alone, and what comes of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use jiff::Timestamp;
use libtest_mimic::{Failed, Trial};
use rowtide_core::{Change, Error, ErrorKind, Event, Result, Source, Value};
use rowtide_fake_spanner::{Datum, Dialect, Faults, LostWording, Options, Server, Transaction};

use crate::{
    bounded,
    golden::every_other_type_is_written_as_in_the_golden_lines,
    metadata,
    pipeline::{Pipeline, Reading, open},
    scene,
    trace::{Step, said},
    verdict::{Truth, verdict},
};

type Case = (&'static str, fn() -> Result<()>);

macro_rules! cases {
    ($($case:path),* $(,)?) => {
        [$((stringify!($case), (|| scene::block_on($case())) as fn() -> Result<()>)),*]
    };
}

pub(crate) fn trials() -> Vec<Trial> {
    let cases: [Case; 19] = cases![
        a_query_that_stalls_is_asked_anew,
        a_session_that_is_forgotten_is_made_anew,
        a_restart_of_the_server_costs_nothing,
        a_lost_position_stops_in_any_words,
        a_lost_position_goes_on_where_the_settings_allow,
        a_partition_that_has_expired_is_lost,
        a_stream_that_is_dropped_ends_the_pipeline,
        a_stream_that_cannot_be_read_yet_is_refused,
        a_transaction_over_partitions_says_so,
        more_partitions_are_read_than_a_connection_takes,
        bounded::a_bounded_run_ends_and_another_reads_the_same,
        bounded::queries_that_end_early_again_and_again_are_not_the_end,
        bounded::an_end_that_is_to_come_is_waited_for,
        metadata::an_update_of_any_size_is_saved,
        metadata::who_claims_while_another_saves_is_not_overwritten,
        both_dialects_tell_the_same,
        requests_have_what_the_settings_say,
        none_of_many_partitions_that_take_turns_lags,
        every_other_type_is_written_as_in_the_golden_lines,
    ];
    let trial = |(name, case): Case| {
        let name = name.rsplit("::").next().unwrap_or(name).trim();
        Trial::test(name, move || case().map_err(|error| Failed::from(error.to_string())))
    };
    cases.into_iter().map(trial).collect()
}

fn well_behaved(dialect: Dialect) -> Result<Server> {
    scene::start(scene::options(dialect, Faults::none()))
}

pub(crate) fn write(server: &Server, ids: std::ops::Range<i64>) -> Result<()> {
    for id in ids {
        let note = ("note", Datum::text(format!("row {id}")));
        server.commit(vec![scene::put(id, &[note])]).map_err(scene::failed)?;
    }
    Ok(())
}

pub(crate) fn start_of(server: &Server) -> jiff::Timestamp {
    server.lineages().iter().map(|lineage| lineage.start).min().unwrap_or_default()
}

/// Reads until everything that is there by now is saved.
async fn catch_up(server: &Server, reading: &mut Reading<'_>, patience: Duration) -> Result<()> {
    let (end, begun) = (server.now(), Instant::now());
    while !reading.pipeline.is_saved_up_to(end) {
        // A save of many partitions takes longer than what they tell meanwhile.
        let (mut rest, mut wait) = (EVENTS_A_SAVE, scene::HEARTBEAT);
        while rest > 0 && reading.glance(wait).await? {
            (rest, wait) = (rest - 1, Duration::from_millis(1));
        }
        reading.save();
        if begun.elapsed() > patience {
            return Err(Error::fatal("the pipeline does not catch up"));
        }
    }
    Ok(())
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

const EVENTS_A_SAVE: usize = 500;

fn judged(server: &Server, pipeline: &Pipeline) -> Result<()> {
    verdict(&pipeline.trace, &Truth::of(server, start_of(server))).map_err(Error::fatal)
}

async fn a_query_that_stalls_is_asked_anew() -> Result<()> {
    let faults = Faults { stall: 1000, ..Faults::none() };
    let server = scene::start(scene::options(Dialect::GoogleSql, faults))?;
    write(&server, 0..10)?;
    let mut pipeline = Pipeline::new(scene::settings(&server));
    let source = pipeline.open().await?;
    let mut reading = Reading::new(&*source, &mut pipeline);
    while server.open_queries() == 0 {
        reading.glance(Duration::from_millis(10)).await?;
    }
    server.set_faults(Faults::none());
    catch_up(&server, &mut reading, Duration::from_secs(90)).await?;
    judged(&server, reading.pipeline)
}

async fn a_session_that_is_forgotten_is_made_anew() -> Result<()> {
    let server = well_behaved(Dialect::GoogleSql)?;
    let mut pipeline = Pipeline::new(scene::settings(&server));
    let source = pipeline.open().await?;
    let mut reading = Reading::new(&*source, &mut pipeline);
    for round in 0..3 {
        write(&server, round * 10..round * 10 + 10)?;
        catch_up(&server, &mut reading, PATIENCE).await?;
        server.forget_sessions();
        server.reshape(&server.live()[..1], 2).map_err(scene::failed)?;
    }
    catch_up(&server, &mut reading, PATIENCE).await?;
    judged(&server, reading.pipeline)
}

async fn a_restart_of_the_server_costs_nothing() -> Result<()> {
    for dialect in [Dialect::GoogleSql, Dialect::Postgres] {
        let server = well_behaved(dialect)?;
        let mut pipeline = Pipeline::new(scene::settings(&server));
        let source = pipeline.open().await?;
        let mut reading = Reading::new(&*source, &mut pipeline);
        for round in 0..3 {
            write(&server, round * 10..round * 10 + 10)?;
            reading.glance(scene::HEARTBEAT).await?;
            server.stop();
            reading.glance(scene::HEARTBEAT).await?;
            server.resume().map_err(scene::failed)?;
        }
        catch_up(&server, &mut reading, PATIENCE).await?;
        judged(&server, reading.pipeline)?;
    }
    Ok(())
}

/// A pipeline whose position is older than what is kept, and what its reader says.
async fn lost(server: &Server, pipeline: &mut Pipeline) -> Result<Error> {
    let source = pipeline.open().await?;
    let mut reading = Reading::new(&*source, pipeline);
    write(server, 0..10)?;
    catch_up(server, &mut reading, PATIENCE).await?;
    write(server, 10..20)?;
    drop(reading);
    server.forget(server.now());
    write(server, 20..30)?;
    let source = pipeline.open().await?;
    let mut reading = Reading::new(&*source, pipeline);
    match catch_up(server, &mut reading, PATIENCE).await {
        Err(error) => Ok(error),
        Ok(()) => Ok(Error::config("nothing was said")),
    }
}

async fn a_lost_position_stops_in_any_words() -> Result<()> {
    let wordings =
        [LostWording::TooFarInThePast, LostWording::PartitionExpired, LostWording::TokenInvalid];
    for wording in wordings {
        let server = well_behaved(Dialect::GoogleSql)?;
        server.set_wording(wording);
        let mut pipeline = Pipeline::new(scene::settings(&server));
        let error = lost(&server, &mut pipeline).await?;
        assert_eq!(error.kind(), &ErrorKind::PositionLost, "{wording:?}: {error}");
    }
    Ok(())
}

async fn a_lost_position_goes_on_where_the_settings_allow() -> Result<()> {
    for policy in ["earliest", "now"] {
        let server = well_behaved(Dialect::GoogleSql)?;
        let settings = format!("{}on_lost = '{policy}'\n", scene::settings(&server));
        let mut pipeline = Pipeline::new(settings);
        let error = lost(&server, &mut pipeline).await?;
        assert_eq!(error.kind(), &ErrorKind::Config, "{policy}: {error}");
        let told: BTreeSet<_> = pipeline.trace.iter().filter_map(row).collect();
        let has = |ids: std::ops::Range<i64>| ids.filter(|id| told.contains(&named(*id))).count();
        assert_eq!(has(0..10), 10, "{policy}");
        assert_eq!(has(10..20), 0, "{policy}: what is gone is gone");
        assert_eq!(has(20..30), if policy == "now" { 0 } else { 10 }, "{policy}");
    }
    Ok(())
}

fn row(step: &Step) -> Option<String> {
    match step {
        Step::Changed { change, .. } => Some(change.row.clone()),
        _ => None,
    }
}

fn named(id: i64) -> String {
    format!("items {{\"id\":\"{id}\"}}")
}

async fn a_partition_that_has_expired_is_lost() -> Result<()> {
    let server = well_behaved(Dialect::GoogleSql)?;
    let mut pipeline = Pipeline::new(scene::settings(&server));
    let source = pipeline.open().await?;
    let mut reading = Reading::new(&*source, &mut pipeline);
    catch_up(&server, &mut reading, PATIENCE).await?;
    drop(reading);
    server.reshape(&server.live(), 1).map_err(scene::failed)?;
    server.forget(server.now());
    let source = pipeline.open().await?;
    let mut reading = Reading::new(&*source, &mut pipeline);
    let error = catch_up(&server, &mut reading, PATIENCE).await.err();
    let error = error.ok_or_else(|| Error::fatal("nothing was said"))?;
    assert_eq!(error.kind(), &ErrorKind::PositionLost, "{error}");
    Ok(())
}

async fn a_stream_that_is_dropped_ends_the_pipeline() -> Result<()> {
    let server = well_behaved(Dialect::GoogleSql)?;
    let mut pipeline = Pipeline::new(scene::settings(&server));
    let source = pipeline.open().await?;
    let mut reading = Reading::new(&*source, &mut pipeline);
    catch_up(&server, &mut reading, PATIENCE).await?;
    server.drop_stream();
    let error = catch_up(&server, &mut reading, PATIENCE).await.err();
    let error = error.ok_or_else(|| Error::fatal("nothing was said"))?;
    assert_eq!(error.kind(), &ErrorKind::Fatal, "{error}");
    assert!(error.message().contains("gone"), "{error}");
    Ok(())
}

async fn a_stream_that_cannot_be_read_yet_is_refused() -> Result<()> {
    let options = scene::options(Dialect::GoogleSql, Faults::none());
    let server = scene::start(Options { is_mutable: true, ..options })?;
    let error = open(&scene::settings(&server)).await.err();
    let error = error.ok_or_else(|| Error::fatal("nothing was said"))?;
    assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("change_stream")));
    Ok(())
}

/// Everything that a source tells of the roots until so many changes have come.
async fn changes(source: &dyn Source, count: usize) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    let mut streams = futures_util::stream::SelectAll::new();
    for partition in source.partitions().await? {
        streams.push(source.read(&partition, None));
    }
    while changes.len() < count {
        let event = streams.next().await.ok_or_else(|| Error::fatal("all has ended"))?;
        match event? {
            Event::Changes { changes: told, .. } => changes.extend(told),
            Event::Children { partitions } => {
                for partition in partitions {
                    streams.push(source.read(&partition, None));
                }
            }
            Event::Idle { .. } | Event::Finished => {}
        }
    }
    Ok(changes)
}

async fn a_transaction_over_partitions_says_so() -> Result<()> {
    let server = scene::start(Options {
        partitions: 3,
        ..scene::options(Dialect::GoogleSql, Faults::none())
    })?;
    let writes = (0..30).map(|id| scene::put(id, &[("count", Datum::int(id))])).collect();
    let transaction = Transaction { writes, tag: "night".to_owned() };
    server.commit(transaction).map_err(scene::failed)?;
    let source = open(&scene::settings(&server)).await?;
    let changes = changes(&*source, 30).await?;
    let mut of_partition: BTreeMap<String, usize> = BTreeMap::new();
    for change in &changes {
        let metadata = change.metadata.as_ref().expect("metadata");
        let Some(Value::Text(token)) = metadata.get("partition_token") else { panic!("no token") };
        *of_partition.entry(token.to_string()).or_default() += 1;
        assert_eq!(metadata.get("number_of_partitions_in_transaction"), Some(&Value::Int(3)));
        assert_eq!(metadata.get("number_of_records_in_transaction"), Some(&Value::Int(3)));
        assert_eq!(metadata.get("transaction_tag"), Some(&Value::from("night")));
        assert_eq!(change.transaction, changes[0].transaction);
    }
    assert_eq!(of_partition.len(), 3);
    Ok(())
}

async fn more_partitions_are_read_than_a_connection_takes() -> Result<()> {
    let server = scene::start(Options {
        partitions: 350,
        ..scene::options(Dialect::GoogleSql, Faults::none())
    })?;
    write(&server, 0..200)?;
    let mut pipeline = Pipeline::new(scene::settings(&server));
    let source = pipeline.open().await?;
    let mut reading = Reading::new(&*source, &mut pipeline);
    catch_up(&server, &mut reading, Duration::from_secs(60)).await?;
    assert_eq!(server.open_queries(), 350, "all are read at once");
    assert_eq!(server.connections(), 4, "of 90 streams each");
    write(&server, 0..200)?;
    catch_up(&server, &mut reading, Duration::from_secs(60)).await?;
    judged(&server, reading.pipeline)
}

async fn both_dialects_tell_the_same() -> Result<()> {
    let mut told = Vec::new();
    for dialect in [Dialect::GoogleSql, Dialect::Postgres] {
        let server = well_behaved(dialect)?;
        write(&server, 0..20)?;
        let renamed = ("note", Datum::text("\"ü\"\\\n"));
        server.commit(vec![scene::put(3, &[renamed]), scene::delete(4)]).map_err(scene::failed)?;
        let mut pipeline = Pipeline::new(scene::settings(&server));
        let source = pipeline.open().await?;
        let mut reading = Reading::new(&*source, &mut pipeline);
        catch_up(&server, &mut reading, PATIENCE).await?;
        judged(&server, reading.pipeline)?;
        let mut of_dialect: Vec<_> = server.told().iter().map(said).collect();
        of_dialect.sort();
        let mut seen: Vec<_> = reading.pipeline.trace.iter().filter_map(what).collect();
        seen.sort();
        assert_eq!(seen, of_dialect);
        told.push(seen);
    }
    assert_eq!(told[0], told[1]);
    Ok(())
}

fn what(step: &Step) -> Option<String> {
    match step {
        Step::Changed { change, .. } => Some(change.said.clone()),
        _ => None,
    }
}

async fn requests_have_what_the_settings_say() -> Result<()> {
    let server = well_behaved(Dialect::GoogleSql)?;
    write(&server, 0..3)?;
    let more = "priority = 'low'\nrequest_tag = 'tide'\n";
    let source = open(&format!("{}{more}", scene::settings(&server))).await?;
    changes(&*source, 3).await?;
    let requests = server.requests();
    assert!(requests.len() >= 2, "{requests:?}");
    for request in requests {
        assert_eq!((request.priority, request.tag.as_str()), (1, "tide"));
    }
    Ok(())
}

/// `ROWTIDE_PARTITIONS=2000 ROWTIDE_TURNS=400` is the whole.
async fn none_of_many_partitions_that_take_turns_lags() -> Result<()> {
    let number = |name: &str, default: usize| {
        env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (partitions, turns) = (number("ROWTIDE_PARTITIONS", 40), number("ROWTIDE_TURNS", 20));
    let server = scene::start(Options {
        partitions,
        heartbeat_min: Duration::from_secs(1),
        ..scene::options(Dialect::GoogleSql, Faults::none())
    })?;
    let settings = scene::settings(&server).replace("100ms", "10s");
    let mut pipeline = Pipeline::new(format!("{settings}partitions_max = {turns}\n"));
    let source = pipeline.open().await?;
    let mut reading = Reading::new(&*source, &mut pipeline);
    let begun = Instant::now();
    // A turn lasts ten seconds, and a little more to be looked at and given away.
    let turn = Duration::from_secs(13);
    let rounds = turn * u32::try_from(partitions.div_ceil(turns)).unwrap_or(1);
    let mut most = Duration::ZERO;
    while begun.elapsed() < rounds + turn {
        reading.glance(Duration::from_secs(1)).await?;
        reading.save();
        assert!(server.open_queries() <= turns + 1, "{}", server.open_queries());
        let lags = reading.pipeline.unfinished().map(|(_, progress)| {
            let attested = progress.position().and_then(|position| position.attested());
            let lag = attested.and_then(|at| Timestamp::now().duration_since(at).try_into().ok());
            lag.unwrap_or(begun.elapsed())
        });
        most = most.max(lags.max().unwrap_or_default());
        assert!(most < Duration::from_secs(60), "one lags by {most:?}");
    }
    println!("{partitions} partitions, {turns} at once: none lags by more than {most:?}");
    Ok(())
}
