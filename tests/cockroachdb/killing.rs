//! Kills at random moments, and what was delivered by then held against the server.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use rowtide_fake_cockroachdb::{Faults, Options, Server};

use crate::{
    Outcome, delivered,
    pipeline::{Pipeline, Saved},
    validators::{BeforeAfter, Count, Fingerprint, Order, Runs, Validator},
    writer::{TABLES, Writer},
};

/// How long the writer waits after each transaction.
const PAUSE: Duration = Duration::from_millis(10);

/// How many positions with rows under them it takes to prove anything.
const POSITIONS: usize = 6;

/// How much longer than asked for they may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that was killed: how much it left, and what was saved by then.
struct Life {
    lines: usize,
    saved: Option<Saved>,
}

impl Life {
    /// What was saved. While the scan lasts there is a time, and nothing that it covers.
    fn covering(&self) -> Option<&Saved> {
        self.saved.as_ref().filter(|saved| saved.tables.len() == TABLES.len())
    }
}

pub(crate) fn survive(seed: u64, duration: Duration) -> Outcome<()> {
    // A broken connection costs a pause, and a life is short.
    let faults = Faults { cut: 2, drain: 1, ..Faults::seeded(seed) };
    let server = Server::start(Options { faults, ..Options::default() })?;
    let folder = tempfile::tempdir()?;
    let mut writer = Writer::new(&server);
    let mut chance = Rng::with_seed(seed);
    for _ in 0..10 {
        writer.write(&mut chance)?;
    }
    let tables = format!("tables = [\"{}\", \"{}\"]", TABLES[0], TABLES[1]);
    let mut pipeline = Pipeline::new(folder.path(), "p", &server, &tables)?;
    let is_over = AtomicBool::new(false);
    let (committed, lives) = thread::scope(|scope| {
        let writing = scope.spawn(|| write(&mut writer, seed, &is_over));
        let lives = kill(&mut pipeline, &mut chance, duration);
        is_over.store(true, Ordering::SeqCst);
        let committed = writing.join().map_err(|_| "a panic of the writer")??;
        Ok::<_, Box<dyn std::error::Error>>((committed, lives?))
    })?;
    server.set_faults(Faults::none());
    pipeline.drain()?;
    judge(&server, &pipeline, &lives)?;
    let rows = pipeline.length()?;
    println!("{} kills, {committed} transactions, {rows} lines", lives.len());
    Ok(())
}

fn write(writer: &mut Writer<'_>, seed: u64, is_over: &AtomicBool) -> Result<usize, String> {
    let mut chance = Rng::with_seed(!seed);
    let mut committed = 0;
    while !is_over.load(Ordering::SeqCst) {
        let written = match chance.u32(..50) {
            0 => writer.change_the_schema(&mut chance),
            _ => writer.write(&mut chance),
        };
        written.map_err(|error| error.to_string())?;
        committed += 1;
        thread::sleep(PAUSE);
    }
    Ok(committed)
}

fn kill(pipeline: &mut Pipeline, chance: &mut Rng, duration: Duration) -> Outcome<Vec<Life>> {
    let end = Instant::now() + duration;
    let mut lives: Vec<Life> = Vec::new();
    // Where little is done in that time, on a busy machine, it goes on until enough was saved.
    while Instant::now() < end
        || (positions(&lives) <= POSITIONS && Instant::now() < end + PATIENCE)
    {
        // The first lives are short, so that the scan is cut as well. Later ones grow until one of
        // them has saved something: what is behind the last position is read anew in each, and
        // the writer does not wait.
        let longest = if lives.len() < 8 { 200 } else { 1_500 + 500 * idle(&lives) };
        pipeline.start()?;
        thread::sleep(Duration::from_millis(chance.u64(30..longest)));
        pipeline.kill()?;
        lives.push(Life { lines: pipeline.length()?, saved: pipeline.saved()? });
    }
    Ok(lives)
}

/// How many lives there were since one has saved a position.
fn idle(lives: &[Life]) -> u64 {
    let at = |life: &Life| life.covering().map(|saved| saved.at);
    let last = lives.last().and_then(at);
    lives.iter().rev().skip(1).take_while(|life| at(life) == last).count() as u64
}

/// How many positions were saved that cover all tables.
fn positions(lives: &[Life]) -> usize {
    let covering = lives.iter().filter_map(Life::covering);
    covering.map(|saved| saved.at).collect::<BTreeSet<_>>().len()
}

fn judge(server: &Server, pipeline: &Pipeline, lives: &[Life]) -> Outcome<()> {
    let mut validators: Vec<Box<dyn Validator>> = vec![
        Box::new(Order::default()),
        Box::new(Runs::default()),
        Box::new(Count::at_least(POSITIONS)),
        Box::new(BeforeAfter::new(server)),
        Box::new(Fingerprint::new(server, &TABLES)),
    ];
    let lines = pipeline.lines()?;
    let last = Life { lines: lines.len(), saved: pipeline.saved()? };
    let mut begin = 0;
    for life in lives.iter().chain([&last]) {
        for line in &lines[begin..life.lines] {
            let Some(version) = delivered::version(line)? else { continue };
            validators.iter_mut().try_for_each(|own| own.note_change(&version))?;
        }
        begin = life.lines;
        let covering = life.covering();
        for own in &mut validators {
            covering.map_or(Ok(()), |saved| own.note_resolved(saved.at))?;
            own.note_restart();
        }
    }
    let now = server.execute("SELECT cluster_logical_timestamp()")?.rows;
    let saved = last.saved.ok_or("nothing was saved")?;
    if now[0][0].as_deref().is_none_or(|now| saved.at.to_string().as_str() > now) {
        return Err(format!("{} was saved, and the server is at {now:?}", saved.at).into());
    }
    Ok(validators.iter().try_for_each(|own| own.conclude())?)
}
