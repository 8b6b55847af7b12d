//! One seed: what is written, how partitions come and go, what goes wrong, and when all is killed.

use std::time::{Duration, Instant};

use fastrand::Rng;
use rowtide_core::{Error, Result};
use rowtide_fake_spanner::{Capture, Datum, Dialect, Faults, Options, Server, Transaction, Write};

use crate::{
    pipeline::{Pipeline, Reading},
    scene,
    verdict::{Truth, verdict},
};

/// Few, so that each has many versions.
const KEYS: i64 = 12;
const STEPS: usize = 160;
/// How many partitions live at once at most.
const PARTITIONS: usize = 8;
/// How long the rest may take once nothing goes wrong any more.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs one seed; what it returns says which.
pub(crate) fn run(seed: u64) -> std::result::Result<(), String> {
    scene::block_on(torment(seed)).map_err(|error| format!("seed {seed}: {error}"))
}

async fn torment(seed: u64) -> Result<()> {
    let mut chance = Rng::with_seed(seed);
    let server = scene::start(options(seed, &mut chance))?;
    let settings = scene::settings(&server);
    let start = server.lineages().iter().map(|lineage| lineage.start).min().unwrap_or_default();
    let mut pipeline = Pipeline::new(settings);
    let mut steps = 0;
    while steps < STEPS {
        let source = pipeline.open().await?;
        let mut reading = Reading::new(&*source, &mut pipeline);
        loop {
            steps += 1;
            match chance.u32(..100) {
                0..50 => drop(reading.glance(Duration::from_millis(4)).await?),
                50..68 => while reading.glance(Duration::from_millis(1)).await? {},
                68..85 => write(&server, &mut chance)?,
                85..89 => churn(&server, &mut chance)?,
                89..96 => reading.save(),
                _ => break,
            }
        }
    }
    server.set_faults(Faults::none());
    finish(&server, &mut pipeline).await?;
    verdict(&pipeline.trace, &Truth::of(&server, start)).map_err(Error::fatal)
}

fn options(seed: u64, chance: &mut Rng) -> Options {
    let captures = [
        Capture::OldAndNewValues,
        Capture::NewValues,
        Capture::NewRow,
        Capture::NewRowAndOldValues,
    ];
    let dialect = if chance.bool() { Dialect::GoogleSql } else { Dialect::Postgres };
    let faults = Faults::seeded(seed);
    Options {
        capture: captures[chance.usize(..captures.len())],
        partitions: chance.usize(1..4),
        ..scene::options(dialect, faults)
    }
}

/// A transaction or a few at the same time, each of rows that no other of them touches.
fn write(server: &Server, chance: &mut Rng) -> Result<()> {
    let together = chance.usize(1..4);
    let mut transactions = vec![Transaction::default(); together];
    for id in 0..KEYS {
        if chance.u32(..4) == 0 {
            let transaction = &mut transactions[chance.usize(..together)];
            transaction.writes.push(statement(id, chance));
        }
    }
    transactions.retain(|transaction| !transaction.writes.is_empty());
    if transactions.is_empty() {
        return Ok(());
    }
    server.commit_together(&transactions).map(drop).map_err(scene::failed)
}

fn statement(id: i64, chance: &mut Rng) -> Write {
    let note = ("note", Datum::text("ü".repeat(chance.usize(..40)) + &chance.u64(..).to_string()));
    let count = ("count", Datum::int(chance.i64(..)));
    match chance.u32(..10) {
        0..2 => scene::delete(id),
        2..5 => scene::put(id, &[note]),
        5..7 => scene::put(id, &[count]),
        _ => scene::put(id, &[note, count]),
    }
}

/// Splits, merges or moves partitions, or does it all to some that lie side by side.
fn churn(server: &Server, chance: &mut Rng) -> Result<()> {
    let live = server.live();
    let first = chance.usize(..live.len());
    let parents = &live[first..live.len().min(first + chance.usize(1..4))];
    let room = PARTITIONS.saturating_sub(live.len() - parents.len()).max(1);
    let children = chance.usize(1..4).min(room);
    server.reshape(parents, children).map_err(scene::failed)
}

/// Reads on, without faults, until all is saved.
async fn finish(server: &Server, pipeline: &mut Pipeline) -> Result<()> {
    let (end, begun) = (server.now(), Instant::now());
    let source = pipeline.open().await?;
    let mut reading = Reading::new(&*source, pipeline);
    while !reading.pipeline.is_saved_up_to(end) {
        reading.glance(Duration::from_millis(20)).await?;
        reading.save();
        if begun.elapsed() > PATIENCE {
            let waiting: Vec<_> = reading.pipeline.unfinished().collect();
            return Err(Error::fatal(format!("nothing moves up to {end}: {waiting:?}")));
        }
    }
    Ok(())
}
