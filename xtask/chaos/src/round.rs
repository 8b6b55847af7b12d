//! One round: a pipeline is drawn, tormented, left alone, and judged.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;

use crate::{
    Outcome,
    history::{Begun, Entry, History, Message, What},
    instance::{Instance, Program, end_of_log},
    nemesis::{
        World,
        clock::Clock,
        failpoint::{Place, Points},
        process::Processes,
    },
    pipeline::{Fate, Pipeline},
    report,
    scene::{Draw, Scene},
    site::Sites,
    validator::{self, loss::HUGE},
};

/// How long the rest may take once nothing is in its way any more, on a busy machine.
const DRAIN_LIMIT: Duration = Duration::from_secs(150);

/// What a process may have. `bytes_max` is 16 MiB at most here; the rest is what the program, its
/// clients and a debug build take.
const MEMORY_MAX: u64 = 300_000_000;

/// How long processes are killed at points where nothing else is wrong, at least.
const VISIT_LEAST: Duration = Duration::from_secs(10);

/// How much more than usual a message has that shows what the rest of it takes.
const PROBE_BYTES: usize = 20_000;

/// How long the first process may take until something is saved.
const START_LIMIT: Duration = Duration::from_secs(90);

pub(crate) struct Round<'a> {
    pub(crate) program: &'a Path,
    pub(crate) points: Option<&'a Points>,
    /// The points to be killed at first, where they are not those that nobody was killed at yet.
    pub(crate) first: Option<&'a [String]>,
    pub(crate) sites: &'a Sites,
    pub(crate) scene: Scene,
    pub(crate) seed: u64,
    pub(crate) time: Duration,
}

/// How a round went.
pub(crate) enum Verdict {
    Passed(String),
    Failed(String),
}

impl Round<'_> {
    /// # Errors
    /// The round could not be held: what is wrong is not the program.
    pub(crate) fn run(&self) -> Outcome<Verdict> {
        let folder = tempfile::Builder::new().prefix("rowtide-chaos-").tempdir()?.keep();
        let history = folder.join("history.jsonl");
        let entries = match self.hold(&folder, &history) {
            Ok(entries) => entries,
            Err(error) => {
                let entries = crate::history::read(&history).unwrap_or_default();
                let is_start = |entry: &Entry| matches!(entry.what, What::Process { .. });
                if !entries.iter().any(is_start) {
                    return Err(error);
                }
                let again = report::failures(&entries, &[], &history)?;
                let log = end_of_log(&folder.join("instance-0.log"));
                return Ok(Verdict::Failed(format!("{error}\n{again}the log ends with\n{log}")));
            }
        };
        let name = self.scene.name();
        match validator::judge(&entries) {
            Ok(tally) => {
                fs::remove_dir_all(&folder)?;
                let line = report::line(name, self.seed, &tally, &report::faults(&entries));
                Ok(Verdict::Passed(line))
            }
            Err(failures) => Ok(Verdict::Failed(report::failures(&entries, &failures, &history)?)),
        }
    }

    fn hold(&self, folder: &Path, path: &Path) -> Outcome<Vec<Entry>> {
        let mut chance = Rng::with_seed(self.seed);
        let mut pipeline = self.scene.pipeline(&mut Draw {
            folder,
            seed: self.seed,
            sites: self.sites,
            chance: &mut chance,
        })?;
        pipeline.delivery = delivery(&mut chance);
        let places = self.places(&pipeline);
        let history = History::begin(path, self.begun(&pipeline, &places))?;
        let has_clock = self.scene.takes_another_time() && chance.u8(..3) == 0;
        let clock = if has_clock { Clock::new(folder)? } else { None };
        let environment = clock.iter().flat_map(Clock::environment).collect();
        let program = self.program(folder, &pipeline, environment)?;
        let mut faults = pipeline.faults();
        faults.extend(clock.iter().map(Clock::fault));
        let world = World::new(faults, &history);
        let mut processes = Processes {
            pipeline: &pipeline,
            world: &world,
            instances: instances(&program, pipeline.upstream.instances()),
            chance: chance.fork(),
            points: self.points,
            had_rival: false,
        };
        let (beginning, later): (Vec<_>, Vec<_>) =
            places.into_iter().partition(Place::is_at_the_beginning);
        processes.visit(&beginning, Instant::now() + self.time / 2)?;
        processes.start_all()?;
        await_first_save(&mut processes)?;
        let writer = pipeline.upstream.write(chance.u64(..))?;
        let begin = Instant::now();
        processes.visit(&later, begin + (self.time / 2).max(VISIT_LEAST))?;
        processes.begin_with_a_failing_call()?;
        processes.start_all()?;
        let end = (begin + self.time).max(Instant::now() + self.time / 2);
        let seed = chance.u64(..);
        let spared = pipeline.downstream.spared();
        thread::scope(|scope| {
            let torment = scope.spawn(|| world.torment(seed, spared, end));
            let result = processes.torment(end);
            world.end();
            let around = torment.join().map_err(|_| "a panic while there was trouble")?;
            // Where trouble could not be ended, the processes suffer from that as well.
            around.and(result)
        })?;
        writer.stop()?;
        conclude(&mut processes, &history)?;
        if processes.pipeline.upstream.restore()? {
            processes.refuse_the_past()?;
        }
        Ok(history.entries())
    }

    fn places(&self, pipeline: &Pipeline) -> Vec<Place> {
        let untried = || self.points.map(|points| points.untried(&pipeline.text()));
        let names = self.first.map(<[_]>::to_vec).or_else(untried).unwrap_or_default();
        names.iter().map(|name| Place::first(name)).collect()
    }

    fn begun(&self, pipeline: &Pipeline, places: &[Place]) -> Begun {
        let lines = pipeline.text();
        let settings = lines.lines().filter_map(|line| line.split_once(" = "));
        let mut settings: BTreeMap<_, _> =
            settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        settings.insert(report::SECONDS.to_owned(), self.time.as_secs().to_string());
        let names: Vec<_> = places.iter().map(|place| &*place.point).collect();
        settings.insert(report::FIRST.to_owned(), names.join(report::BETWEEN));
        let is_shared = pipeline.store.is_remote() || pipeline.upstream.instances() > 1;
        Begun {
            seed: self.seed,
            pipeline: self.scene.name().to_owned(),
            settings,
            scope: pipeline.upstream.scope(),
            instances: if is_shared { 2 } else { 1 },
            memory_max: MEMORY_MAX,
            drain_max: u64::try_from(DRAIN_LIMIT.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn program(
        &self,
        folder: &Path,
        pipeline: &Pipeline,
        environment: Vec<(String, String)>,
    ) -> Outcome<Program> {
        fs::write(folder.join("pipeline.toml"), pipeline.text())?;
        let path: PathBuf = self.program.canonicalize()?;
        let program = Program { path, folder: folder.to_owned(), environment };
        program.check(&["setup", "--yes"])?;
        Ok(program)
    }
}

fn instances(program: &Program, count: usize) -> Vec<Instance> {
    (0..count).map(|number| Instance::new(program, number)).collect()
}

/// When things are flushed and saved.
fn delivery(chance: &mut Rng) -> Vec<(String, String)> {
    let quoted = |text: String| format!("\"{text}\"");
    let save_every = ["0s", "0s", "100ms", "2s"][chance.usize(..4)].to_owned();
    [
        ("flush_after", chance.u32(1..3_000).to_string()),
        ("flush_every", quoted(format!("{}ms", chance.u32(5..1_000)))),
        ("save_every", quoted(save_every)),
        // What a broker refuses is written here and there, and named in the log.
        ("on_rejected", quoted("skip".to_owned())),
        ("bytes_max", quoted(format!("{}KiB", 1 << chance.u32(6..15)))),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn await_first_save(processes: &mut Processes<'_>) -> Outcome {
    let begin = Instant::now();
    let is_ready = |states: Vec<_>| processes.pipeline.upstream.is_ready(&states);
    while !processes.instances[0].program().states()?.is_some_and(is_ready) {
        processes.check()?;
        if begin.elapsed() > START_LIMIT {
            return Err(format!("nothing was saved within {START_LIMIT:?}").into());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Waits until all that is committed has come, stops all processes, and holds what comes after
/// another start against that.
fn conclude(processes: &mut Processes<'_>, history: &History) -> Outcome {
    processes.pipeline.upstream.calm();
    // Nobody looks at what arrives while this is read, which takes minutes of many partitions.
    let truth = processes.pipeline.upstream.truth()?;
    history.add(What::Calm)?;
    let mut arrived = Arrived::of(&truth);
    await_arrival(processes, &mut arrived)?;
    processes.look()?;
    if arrived.missing.is_empty() {
        history.add(What::Drained)?;
        if try_the_limit(processes, &mut arrived)? {
            history.add(What::FaultBegan { name: "message of the limit".to_owned() })?;
        }
    }
    processes.stop_all()?;
    processes.start(0)?;
    thread::sleep(Duration::from_millis(500));
    processes.stop_all()?;
    history.add_all(processes.pipeline.upstream.truth()?)?;
    history.add(What::Rejected { times: processes.rejections()? })?;
    processes.pipeline.upstream.judge(&processes.pipeline.downstream.messages(&[])?)?;
    for (stream, messages) in messages(processes.pipeline, &[])?.into_iter().enumerate() {
        let delivered = (0..).zip(messages);
        history.add_all(delivered.map(|(number, message)| What::Delivered {
            stream,
            number,
            message,
        }))?;
    }
    Ok(())
}

/// Until all has arrived, or the time is over.
fn await_arrival(processes: &mut Processes<'_>, arrived: &mut Arrived) -> Outcome {
    let begin = Instant::now();
    while !arrived.is_complete(processes.pipeline)? && begin.elapsed() < DRAIN_LIMIT {
        processes.check()?;
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Writes messages that are exactly as large as the sink takes, one byte less, and one more. Their
/// neighbours come, and the one that is too large is named in the log. Returns whether there were any.
fn try_the_limit(processes: &mut Processes<'_>, arrived: &mut Arrived) -> Outcome<bool> {
    let Pipeline { upstream, downstream, .. } = processes.pipeline;
    let Some(limit) = downstream.limit() else { return Ok(false) };
    let known = arrived.known.clone();
    if !upstream.write_large(PROBE_BYTES, Fate::Fits)? {
        return Ok(false);
    }
    // A limit that could not be asked for in the midst of trouble is known to the next process.
    processes.stop_all()?;
    processes.start_all()?;
    arrived.expect(&upstream.truth()?);
    await_arrival(processes, arrived)?;
    let more = limit - downstream.largest(&known)?;
    let before = processes.rejections()?;
    for (bytes, fate) in [(0, Fate::TooLarge), (1, Fate::Fits), (2, Fate::Fits)]
        .map(|(less, fate)| (PROBE_BYTES + more + 1 - less, fate))
    {
        upstream.write_large(bytes, fate)?;
    }
    arrived.expect(&upstream.truth()?);
    await_arrival(processes, arrived)?;
    let largest = downstream.largest(&known)?;
    if largest != limit {
        return Err(format!("the largest message has {largest} bytes, {limit} are taken").into());
    }
    // It is named once all of its flush is durable.
    let begin = Instant::now();
    while processes.rejections()? == before {
        if begin.elapsed() > DRAIN_LIMIT {
            return Err("a message that is too large is named nowhere".into());
        }
        processes.check()?;
        thread::sleep(Duration::from_millis(50));
    }
    Ok(true)
}

/// What has not come yet of what is committed.
struct Arrived {
    missing: HashSet<(String, u64)>,
    seen: HashSet<(String, u64)>,
    known: Vec<usize>,
}

impl Arrived {
    fn of(truth: &[What]) -> Self {
        let mut arrived = Self { missing: HashSet::new(), seen: HashSet::new(), known: Vec::new() };
        arrived.expect(truth);
        arrived
    }

    /// All of this must arrive.
    fn expect(&mut self, truth: &[What]) {
        let step = |what: &What| match what {
            What::Committed { key, step } if !key.starts_with(HUGE) => Some((key.clone(), *step)),
            _ => None,
        };
        let steps = truth.iter().filter_map(step);
        self.missing = steps.filter(|step| !self.seen.contains(step)).collect();
    }

    fn is_complete(&mut self, pipeline: &Pipeline) -> Outcome<bool> {
        let streams = messages(pipeline, &self.known)?;
        self.known.resize(streams.len(), 0);
        for (known, messages) in self.known.iter_mut().zip(streams) {
            *known += messages.len();
            for message in messages {
                if let Some(step) = message.key.zip(message.step) {
                    self.missing.remove(&step);
                    self.seen.insert(step);
                }
            }
        }
        Ok(self.missing.is_empty())
    }
}

fn messages(pipeline: &Pipeline, known: &[usize]) -> Outcome<Vec<Vec<Message>>> {
    let parse = |text: Vec<u8>| pipeline.upstream.parse(&text);
    let streams = pipeline.downstream.messages(known)?.into_iter();
    streams.map(|stream| stream.into_iter().map(parse).collect()).collect()
}
