//! Pipelines that end by themselves.

use std::time::{Duration, Instant};

use rowtide_core::{Error, Result};
use rowtide_fake_spanner::{Dialect, Faults, Server, Tokens};

use crate::{
    cases::{PATIENCE, start_of, write},
    pipeline::{Pipeline, Reading},
    scene,
    verdict::{Truth, verdict},
};

/// How many servers there are whose queries end too early, each in other places.
const SEEDS: u64 = 12;

/// What is in a window that ends before the last changes, and the settings that read it.
fn window(server: &Server) -> Result<(Truth, String)> {
    for round in 0..4 {
        write(server, round * 10..round * 10 + 10)?;
        server.reshape(&server.live()[..1], 2).map_err(scene::failed)?;
    }
    write(server, 0..10)?;
    let settings = format!("{}end = '{}'\n", scene::settings(server), server.now());
    let truth = Truth::of(server, start_of(server));
    write(server, 40..50)?;
    Ok((truth, settings))
}

async fn read_to_the_end(settings: String, truth: &Truth) -> Result<()> {
    let mut pipeline = Pipeline::new(settings);
    let source = pipeline.open().await?;
    let mut reading = Reading::new(&*source, &mut pipeline);
    let begun = Instant::now();
    while reading.pipeline.unfinished().next().is_some() {
        reading.glance(scene::HEARTBEAT).await?;
        reading.save();
        assert!(begun.elapsed() < PATIENCE, "it does not end");
    }
    verdict(&reading.pipeline.trace, truth).map_err(Error::fatal)
}

pub(crate) async fn a_bounded_run_ends_and_another_reads_the_same() -> Result<()> {
    for tokens in [Tokens::Unique, Tokens::None] {
        let faults = Faults { seed: 7, tokens, fail: 50, ..Faults::none() };
        let server = scene::start(scene::options(Dialect::GoogleSql, faults))?;
        let (truth, settings) = window(&server)?;
        for _ in 0..2 {
            read_to_the_end(settings.clone(), &truth).await?;
        }
    }
    Ok(())
}

pub(crate) async fn queries_that_end_early_again_and_again_are_not_the_end() -> Result<()> {
    for seed in 0..SEEDS {
        let faults = Faults { seed, end: 400, ..Faults::none() };
        let server = scene::start(scene::options(Dialect::GoogleSql, faults))?;
        let (truth, settings) = window(&server)?;
        let read = read_to_the_end(settings, &truth).await;
        read.map_err(|error| Error::fatal(format!("seed {seed}: {error}")))?;
    }
    Ok(())
}

pub(crate) async fn an_end_that_is_to_come_is_waited_for() -> Result<()> {
    let server = scene::start(scene::options(Dialect::GoogleSql, Faults::none()))?;
    write(&server, 0..10)?;
    let end = server.now() + Duration::from_secs(1);
    let settings = format!("{}end = '{end}'\n", scene::settings(&server));
    let mut pipeline = Pipeline::new(settings);
    let source = pipeline.open().await?;
    let mut reading = Reading::new(&*source, &mut pipeline);
    while reading.pipeline.unfinished().next().is_some() {
        reading.glance(Duration::from_millis(10)).await?;
        reading.save();
        write(&server, 10..13)?;
    }
    assert!(server.now() > end, "it ended too early");
    let mut truth = Truth::of(&server, start_of(&server));
    truth.end_at(end);
    verdict(&reading.pipeline.trace, &truth).map_err(Error::fatal)
}
