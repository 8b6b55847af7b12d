//! Records of a change stream through to nowhere and to a file, beside a loop of the same client that
//! only counts its rows: from the scripted server at full speed, and what waits in the emulator.

mod client;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use google_cloud_spanner::mutation::Mutation;
use jiff::Timestamp;
use rowtide_fake_spanner::{
    Administration, Column, Datum, Dialect, Faults, Kind, Options, Server, Table, Write,
    WriteOperation,
};
use rowtide_servers::{Kind as System, Server as Emulator, absence};
use tokio::runtime::Runtime;

use crate::{
    Arguments, Part, ROUNDS, Result,
    measure::median,
    report::{Bar, Report},
    rowtide::{Rowtide, Run},
};

/// Each is a transaction of one row.
const RECORDS: usize = 200_000;

/// How many wait in the emulator.
const BACKLOG: usize = 20_000;

/// How many partitions are read side by side.
const PARTITIONS: usize = 4;

/// How many rows a message of the server has.
const ROWS_PER_MESSAGE: usize = 32;

/// Where records end up, and what that must come to beside the bare client.
type Sink = (&'static str, f64);

const SCRIPTED: [Sink; 2] = [("null", 0.6), ("file", 0.4)];
const EMULATED: [Sink; 1] = [("null", 0.9)];

/// What a round took: the bare client, and the drains into each sink.
struct Round {
    bare: Duration,
    runs: Vec<Run>,
}

/// A change stream with all its records, and the time they lie between.
struct Stream {
    title: &'static str,
    endpoint: String,
    database: String,
    start: String,
    end: String,
    records: usize,
    heartbeat: &'static str,
}

pub(crate) fn measure(rowtide: &Rowtide, arguments: &Arguments, report: &mut Report) -> Result {
    if !arguments.wants(Part::Drain) {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (_server, stream) = scripted()?;
    describe(&stream, &SCRIPTED, &rounds(&stream, &SCRIPTED, rowtide, &runtime)?, report);
    if let Some(reason) = absence(&[System::Spanner]) {
        eprintln!("spanner: without the emulator: {reason}");
        return Ok(());
    }
    let emulator = Emulator::start(System::Spanner)?;
    let stream = runtime.block_on(emulated(&emulator))?;
    describe(&stream, &EMULATED, &rounds(&stream, &EMULATED, rowtide, &runtime)?, report);
    Ok(())
}

fn rounds(
    stream: &Stream,
    sinks: &[Sink],
    rowtide: &Rowtide,
    runtime: &Runtime,
) -> Result<Vec<Round>> {
    let folder = tempfile::tempdir()?;
    let mut rounds = Vec::new();
    for number in 1..=ROUNDS {
        let bare = client::count(stream, runtime)?;
        let runs = sinks.iter().map(|(sink, _)| stream.drain(rowtide, folder.path(), sink));
        let runs: Vec<_> = runs.collect::<Result<_>>()?;
        let times: Vec<_> =
            runs.iter().map(|run| format!("{:.2} s", run.time.as_secs_f64())).collect();
        let bare_time = bare.as_secs_f64();
        eprintln!("{}, round {number}: {}, bare {bare_time:.2} s", stream.title, times.join(", "));
        rounds.push(Round { bare, runs });
    }
    Ok(rounds)
}

fn describe(stream: &Stream, sinks: &[Sink], rounds: &[Round], report: &mut Report) {
    let middle = |of: &dyn Fn(&Round) -> f64| median(rounds.iter().map(of).collect());
    let bare = middle(&|round| round.bare.as_secs_f64());
    let records = stream.records as f64;
    report.add(format!("{} {}", stream.records, stream.title), records / bare, "records/s");
    for (index, (sink, bar)) in sinks.iter().enumerate() {
        let time = middle(&|round| round.runs[index].time.as_secs_f64());
        report.add(format!("  into {sink}"), records / time, "records/s");
        let ratio = |round: &Round| round.bare.as_secs_f64() / round.runs[index].time.as_secs_f64();
        report.add("    ratio, of each round", middle(&ratio), "");
        report.bar(Bar::AtLeast(*bar));
        let processor = |round: &Round| round.runs[index].processor.as_secs_f64();
        report.add("    processor time for a million", middle(&processor) / records * 1e6, "s");
        report.add("    peak memory", middle(&|round| round.runs[index].memory), "MB");
    }
}

/// A server of ours, which has everything at hand.
fn scripted() -> Result<(Server, Stream)> {
    let mut columns = vec![Column::key("id", Kind::Int64)];
    let kinds = [Kind::String, Kind::String, Kind::Int64, Kind::Float64, Kind::Timestamp];
    let names = ["name", "place", "amount", "price", "since"];
    columns.extend(names.into_iter().zip(kinds).map(|(name, kind)| Column::new(name, kind)));
    let server = Server::start(Options {
        tables: vec![Table::new("items", columns)],
        partitions: PARTITIONS,
        faults: Faults { rows_per_message: ROWS_PER_MESSAGE, ..Faults::none() },
        ..Options::default()
    })?;
    let start = server.now().to_string();
    let write = |number: usize| Write::new("items", WriteOperation::Insert, &row(number));
    for number in 0..RECORDS {
        server.commit(vec![write(number)])?;
    }
    let end = server.now().to_string();
    // Something of each partition behind the end, so that nobody waits for a heartbeat to know it.
    server.commit((RECORDS..RECORDS + 32 * PARTITIONS).map(write).collect::<Vec<_>>())?;
    let stream = Stream {
        title: "records of a change stream",
        endpoint: server.endpoint(),
        database: server.database().to_owned(),
        start,
        end,
        records: RECORDS,
        heartbeat: "1s",
    };
    Ok((server, stream))
}

const DEFINITIONS: [&str; 2] = [
    "CREATE TABLE items (id INT64, name STRING(MAX), place STRING(MAX), amount INT64, \
     price FLOAT64, since TIMESTAMP) PRIMARY KEY (id)",
    "CREATE CHANGE STREAM changes FOR ALL",
];

/// The emulator, with what waits in it.
async fn emulated(emulator: &Emulator) -> Result<Stream> {
    let endpoint = format!("http://{}", emulator.variable("SPANNER_EMULATOR_HOST")?);
    let mut administration = Administration::connect(&endpoint).await?;
    let instance = administration.instance("projects/bench", "bench").await?;
    let definitions = DEFINITIONS.map(str::to_owned);
    let database =
        administration.database(&instance, "backlog", Dialect::GoogleSql, &definitions).await?;
    let client = client::connect(&endpoint, &database).await?;
    let start = Timestamp::now().to_string();
    let mut end = String::new();
    for number in 0..BACKLOG {
        end = client::insert(&client, item(number)?).await?;
    }
    // Something behind the end, as above: the emulator takes a second to the next heartbeat.
    for number in BACKLOG..BACKLOG + 8 {
        client::insert(&client, item(number)?).await?;
    }
    Ok(Stream {
        title: "records that wait in the emulator",
        endpoint,
        database,
        start,
        end,
        records: BACKLOG,
        heartbeat: "100ms",
    })
}

fn item(number: usize) -> Result<Mutation> {
    let mutation = Mutation::new_insert_builder("items")
        .set("id")
        .to(i64::try_from(number)?)
        .set("name")
        .to(format!("item {number}, delivered by hand"))
        .set("place")
        .to(PLACES[number % 4])
        .set("amount")
        .to(i64::try_from(number)? * 3)
        .set("price")
        .to(number as f64 / 7.0)
        .set("since")
        .to("2026-01-01T00:00:00Z");
    Ok(mutation.build())
}

impl Stream {
    fn drain(&self, rowtide: &Rowtide, folder: &Path, sink: &str) -> Result<Run> {
        let pipeline = Pipeline::make(folder, self, sink)?;
        let run = rowtide.drain(&pipeline.file, |_| ())?;
        if sink == "file" {
            let bytes = fs::read(&pipeline.output)?;
            let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
            if lines != self.records {
                return Err(format!("the drain wrote {lines} changes, not {}", self.records).into());
            }
        }
        Ok(run)
    }
}

const PLACES: [&str; 4] = ["Lisbon", "Oslo", "Graz", "Turku"];

fn row(number: usize) -> [(&'static str, Datum); 6] {
    [
        ("id", Datum::text(number.to_string())),
        ("name", Datum::text(format!("item {number}, delivered by hand"))),
        ("place", Datum::text(PLACES[number % 4])),
        ("amount", Datum::text((number * 3).to_string())),
        ("price", Datum::Number(number as f64 / 7.0)),
        ("since", Datum::text("2026-01-01T00:00:00Z")),
    ]
}

/// A pipeline that has never run.
struct Pipeline {
    file: PathBuf,
    output: PathBuf,
}

impl Pipeline {
    fn make(folder: &Path, stream: &Stream, sink: &str) -> Result<Self> {
        let path = |ending: &str| folder.join(format!("{sink}.{ending}"));
        for ending in ["db", "db-shm", "db-wal", "jsonl"] {
            match fs::remove_file(path(ending)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        let output = path("jsonl");
        // What the stdout sink writes goes nowhere here.
        let settings = match sink {
            "null" => "type = \"stdout\"".to_owned(),
            _ => format!("type = \"file\"\npath = {output:?}"),
        };
        let text = format!(
            "name = \"{sink}\"\n\
             [source]\ntype = \"spanner\"\ndatabase = \"{}\"\nendpoint = \"{}\"\n\
             change_stream = \"changes\"\nstart = \"{}\"\nend = \"{}\"\n\
             heartbeat_every = \"{}\"\n\
             [sink]\n{settings}\n[checkpoint]\ntype = \"sqlite\"\npath = {:?}\n",
            stream.database,
            stream.endpoint,
            stream.start,
            stream.end,
            stream.heartbeat,
            path("db"),
        );
        fs::write(path("toml"), text)?;
        Ok(Self { file: path("toml"), output })
    }
}
