//! Records of a change stream, from the scripted server through to nowhere and to a file, beside a
//! loop of the same client that only counts its rows.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use google_cloud_auth::credentials::anonymous;
use google_cloud_spanner::{
    client::{DatabaseClient, Spanner},
    statement::Statement,
    types,
    value::Value,
};
use rowtide_fake_spanner::{
    Column, Datum, Faults, Kind, Options, Server, Table, Write, WriteOperation,
};
use tokio::runtime::Runtime;

use crate::{
    Arguments, Part, ROUNDS, Result,
    measure::median,
    report::{Bar, Report},
    rowtide::{Rowtide, Run},
};

/// Each is a transaction of one row.
const RECORDS: usize = 200_000;

/// How many partitions are read side by side.
const PARTITIONS: usize = 4;

/// How many rows a message of the server has.
const ROWS_PER_MESSAGE: usize = 32;

/// Where the records end up.
const SINKS: [(&str, f64); 2] = [("null", 0.6), ("file", 0.4)];

/// What a round took: the bare client, and the drains into each sink.
struct Round {
    bare: Duration,
    runs: Vec<Run>,
}

pub(crate) fn measure(rowtide: &Rowtide, arguments: &Arguments, report: &mut Report) -> Result {
    if !arguments.wants(Part::Drain) {
        return Ok(());
    }
    let stream = Stream::make()?;
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut rounds = Vec::new();
    for number in 1..=ROUNDS {
        let bare = stream.count(&runtime)?;
        let runs = SINKS.map(|(sink, _)| stream.drain(rowtide, folder.path(), sink));
        let round = Round { bare, runs: runs.into_iter().collect::<Result<_>>()? };
        eprintln!(
            "spanner, round {number}: {:.2} s, {:.2} s, bare {:.2} s",
            round.runs[0].time.as_secs_f64(),
            round.runs[1].time.as_secs_f64(),
            bare.as_secs_f64()
        );
        rounds.push(round);
    }
    describe(&rounds, report);
    Ok(())
}

fn describe(rounds: &[Round], report: &mut Report) {
    let middle = |of: &dyn Fn(&Round) -> f64| median(rounds.iter().map(of).collect());
    let bare = middle(&|round| round.bare.as_secs_f64());
    report.add(format!("{RECORDS} records of a change stream"), RECORDS as f64 / bare, "records/s");
    for (index, (sink, bar)) in SINKS.into_iter().enumerate() {
        let time = middle(&|round| round.runs[index].time.as_secs_f64());
        report.add(format!("  into {sink}"), RECORDS as f64 / time, "records/s");
        let ratio = |round: &Round| round.bare.as_secs_f64() / round.runs[index].time.as_secs_f64();
        report.add("    ratio, of each round", middle(&ratio), "");
        report.bar(Bar::AtLeast(bar));
        let processor = |round: &Round| round.runs[index].processor.as_secs_f64();
        let million = middle(&processor) / RECORDS as f64 * 1e6;
        report.add("    processor time for a million", million, "s");
        report.add("    peak memory", middle(&|round| round.runs[index].memory), "MB");
    }
}

/// A change stream with all its records, and the time they lie between.
struct Stream {
    server: Server,
    start: String,
    end: String,
}

impl Stream {
    fn make() -> Result<Self> {
        let mut columns = vec![Column::key("id", Kind::Int64)];
        let kinds = [Kind::String, Kind::String, Kind::Int64, Kind::Float64, Kind::Timestamp];
        let names = ["name", "place", "amount", "price", "at"];
        columns.extend(names.into_iter().zip(kinds).map(|(name, kind)| Column::new(name, kind)));
        let server = Server::start(Options {
            tables: vec![Table::new("items", columns)],
            partitions: PARTITIONS,
            faults: Faults { rows_per_message: ROWS_PER_MESSAGE, ..Faults::none() },
            ..Options::default()
        })?;
        let start = server.now().to_string();
        for number in 0..RECORDS {
            let write = Write::new("items", WriteOperation::Insert, &row(number));
            server.commit(vec![write])?;
        }
        let end = server.now().to_string();
        // Something of each partition behind the end: by that a reader knows that it is there.
        for number in RECORDS..RECORDS + 32 * PARTITIONS {
            let write = Write::new("items", WriteOperation::Insert, &row(number));
            server.commit(vec![write])?;
        }
        let stream = Self { server, start, end };
        Ok(stream)
    }

    /// The time that a client takes who does nothing but count.
    fn count(&self, runtime: &Runtime) -> Result<Duration> {
        let begun = Instant::now();
        let counted = runtime.block_on(async {
            let spanner = Spanner::builder()
                .with_endpoint(self.server.endpoint())
                .with_credentials(anonymous::Builder::new().build())
                .build()
                .await?;
            let client = spanner.database_client(self.server.database()).build().await?;
            let readers = self.server.live().into_iter().map(|token| {
                let statement = self.statement(&token);
                tokio::spawn(count_rows(client.clone(), statement))
            });
            let mut counted = 0;
            for reader in readers.collect::<Vec<_>>() {
                counted += reader.await??;
            }
            Ok::<_, Box<dyn std::error::Error>>(counted)
        })?;
        match counted == RECORDS {
            true => Ok(begun.elapsed()),
            false => Err(format!("the client counted {counted} records, not {RECORDS}").into()),
        }
    }

    fn statement(&self, token: &str) -> Statement {
        Statement::builder(
            "SELECT ChangeRecord FROM READ_changes (start_timestamp => @p1, end_timestamp => @p2, \
             partition_token => @p3, heartbeat_milliseconds => 10000)",
        )
        .add_typed_param("p1", Value::from(self.start.as_str()), types::timestamp())
        .add_typed_param("p2", Value::from(self.end.as_str()), types::timestamp())
        .add_typed_param("p3", Value::from(token), types::string())
        .build()
    }

    fn drain(&self, rowtide: &Rowtide, folder: &Path, sink: &str) -> Result<Run> {
        let pipeline = Pipeline::make(folder, self, sink)?;
        let run = rowtide.drain(&pipeline.file, |_| ())?;
        if sink == "file" {
            let bytes = fs::read(&pipeline.output)?;
            let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
            if lines != RECORDS {
                return Err(format!("the drain wrote {lines} changes, not {RECORDS}").into());
            }
        }
        Ok(run)
    }
}

fn row(number: usize) -> [(&'static str, Datum); 6] {
    let place = ["Lisbon", "Oslo", "Graz", "Turku"][number % 4];
    [
        ("id", Datum::text(number.to_string())),
        ("name", Datum::text(format!("item {number}, delivered by hand"))),
        ("place", Datum::text(place)),
        ("amount", Datum::text((number * 3).to_string())),
        ("price", Datum::Number(number as f64 / 7.0)),
        ("at", Datum::text("2026-01-01T00:00:00Z")),
    ]
}

/// A row of the server has one record.
async fn count_rows(
    client: DatabaseClient,
    statement: Statement,
) -> google_cloud_spanner::Result<usize> {
    let mut rows = client.single_use().build().execute_query(statement).await?;
    let mut counted = 0;
    while rows.next().await.transpose()?.is_some() {
        counted += 1;
    }
    Ok(counted)
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
             [sink]\n{settings}\n[checkpoint]\ntype = \"sqlite\"\npath = {:?}\n",
            stream.server.database(),
            stream.server.endpoint(),
            stream.start,
            stream.end,
            path("db"),
        );
        fs::write(path("toml"), text)?;
        Ok(Self { file: path("toml"), output })
    }
}
