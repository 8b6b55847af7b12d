//! Rows of a changefeed, from the fake through to nowhere and to a file, beside a client that only
//! counts them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, pin_mut};
use rowtide_fake_cockroachdb::{Options, Server};
use tokio::runtime::Runtime;
use tokio_postgres::{NoTls, Row};

use crate::{
    Arguments, Part, ROUNDS, Result,
    measure::median,
    report::{Bar, Report},
    rowtide::{Rowtide, Run},
};

const ROWS: usize = 500_000;
const ROWS_IN_A_TRANSACTION: usize = 500;

const TABLE: &str = "CREATE TABLE items (id INT8 PRIMARY KEY, name STRING, place STRING, \
                     amount INT8, price DECIMAL(12,4), note STRING, state INT8, at TIMESTAMPTZ)";

/// Where the rows end up.
const SINKS: [(&str, f64); 2] = [("null", 0.5), ("file", 0.35)];

/// What a round took: the bare client, and the drains into each sink.
struct Round {
    bare: Duration,
    runs: Vec<Run>,
}

pub(crate) fn measure(rowtide: &Rowtide, arguments: &Arguments, report: &mut Report) -> Result {
    if !arguments.wants(Part::Drain) {
        return Ok(());
    }
    let server = Server::start(Options::default())?;
    server.execute(TABLE)?;
    let cursor = cursor(&server)?;
    let folder = tempfile::tempdir()?;
    let pipelines = SINKS.map(|(sink, _)| Pipeline::make(rowtide, folder.path(), &server, sink));
    let pipelines = pipelines.into_iter().collect::<Result<Vec<_>>>()?;
    fill(&server)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rounds = Vec::new();
    for number in 1..=ROUNDS {
        let bare = count(&runtime, &server, &cursor)?;
        let runs = pipelines.iter().map(|pipeline| pipeline.drain(rowtide));
        let round = Round { bare, runs: runs.collect::<Result<_>>()? };
        eprintln!(
            "cockroachdb, round {number}: {:.2} s, {:.2} s, bare {:.2} s",
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
    report.add(format!("changefeed of {ROWS} rows, counted"), ROWS as f64 / bare, "rows/s");
    for (index, (sink, bar)) in SINKS.into_iter().enumerate() {
        let time = middle(&|round| round.runs[index].time.as_secs_f64());
        report.add(format!("  into {sink}"), ROWS as f64 / time, "rows/s");
        let ratio = |round: &Round| round.bare.as_secs_f64() / round.runs[index].time.as_secs_f64();
        report.add("    ratio, of each round", middle(&ratio), "");
        report.bar(Bar::AtLeast(bar));
        let processor = |round: &Round| round.runs[index].processor.as_secs_f64();
        let million = middle(&processor) / ROWS as f64 * 1e6;
        report.add("    processor time for a million", million, "s");
        report.add("    peak memory", middle(&|round| round.runs[index].memory), "MB");
    }
}

/// The time of the server.
fn cursor(server: &Server) -> Result<String> {
    let answer = server.execute("SELECT cluster_logical_timestamp()")?;
    Ok(answer.rows[0][0].clone().ok_or("the server does not tell the time")?)
}

fn fill(server: &Server) -> Result {
    for first in (0..ROWS).step_by(ROWS_IN_A_TRANSACTION) {
        let row = |number: usize| {
            let place = ["Lisbon", "Oslo", "Graz", "Turku"][number % 4];
            format!(
                "({number}, 'item {number}', '{place}', {}, {}.2500, 'delivered by hand, run \
                 {number}', {}, '2026-01-01T00:00:00Z')",
                number * 3,
                number / 7,
                number % 5
            )
        };
        let rows: Vec<_> = (first..first + ROWS_IN_A_TRANSACTION).map(row).collect();
        server.execute(&format!("INSERT INTO items VALUES {}", rows.join(", ")))?;
    }
    Ok(())
}

/// The time that a client takes who does nothing but count what the pipelines are sent.
fn count(runtime: &Runtime, server: &Server, cursor: &str) -> Result<Duration> {
    let sql = format!(
        "CREATE CHANGEFEED FOR TABLE items WITH cursor = '{cursor}', diff, envelope = 'wrapped', \
         full_table_name, initial_scan = 'no', min_checkpoint_frequency = '1s', mvcc_timestamp, \
         resolved = '1s', updated"
    );
    runtime.block_on(async {
        let start = Instant::now();
        let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await?;
        let connection = tokio::spawn(connection);
        let none: [&(dyn tokio_postgres::types::ToSql + Sync); 0] = [];
        let rows = client.query_raw(&sql, none).await?;
        pin_mut!(rows);
        let mut counted = 0;
        while counted < ROWS {
            let row: Row = rows.next().await.ok_or("the changefeed ended")??;
            counted += usize::from(row.try_get::<_, Option<&str>>(0)?.is_some());
        }
        let time = start.elapsed();
        connection.abort();
        Ok(time)
    })
}

/// A pipeline that stands before all rows.
struct Pipeline {
    file: PathBuf,
    checkpoint: PathBuf,
    output: PathBuf,
    has_output: bool,
}

impl Pipeline {
    fn make(rowtide: &Rowtide, folder: &Path, server: &Server, sink: &str) -> Result<Self> {
        let path = |ending: &str| folder.join(format!("{sink}.{ending}"));
        let output = path("jsonl");
        // What the stdout sink writes goes nowhere here, and a null sink would write nothing: it is
        // told the shortest form there is.
        let settings = match sink {
            "null" => "type = \"stdout\"\nformat = \"changefeed-publisher\"".to_owned(),
            _ => format!("type = \"file\"\npath = {output:?}"),
        };
        let text = format!(
            "name = \"{sink}\"\n\
             [source]\ntype = \"cockroachdb\"\ndatabase = \"{}\"\ntables = [\"items\"]\n\
             snapshot = \"never\"\n[sink]\n{settings}\n\
             [checkpoint]\ntype = \"sqlite\"\npath = {:?}\n",
            server.url(),
            path("db"),
        );
        fs::write(path("toml"), text)?;
        // The first run takes the position that the rows will be behind.
        rowtide.check(&["run", "--drain"], &path("toml"))?;
        fs::copy(path("db"), path("before"))?;
        Ok(Self { file: path("toml"), checkpoint: path("db"), output, has_output: sink == "file" })
    }

    fn drain(&self, rowtide: &Rowtide) -> Result<Run> {
        fs::copy(self.checkpoint.with_extension("before"), &self.checkpoint)?;
        if self.has_output {
            fs::write(&self.output, [])?;
        }
        let run = rowtide.drain(&self.file, |_| ())?;
        if self.has_output {
            let bytes = fs::read(&self.output)?;
            let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
            if lines != ROWS {
                return Err(format!("the drain wrote {lines} changes, not {ROWS}").into());
            }
        }
        Ok(run)
    }
}
