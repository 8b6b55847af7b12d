use std::time::{Duration, Instant};

use fastrand::Rng;
use rowtide_core::{Error, Result};
use rowtide_fake_cockroachdb::{Faults, Hlc, Options, Server};
use serde_json::json;

use crate::{
    pipeline::{Glance, Pipeline},
    validators::{BeforeAfter, Fingerprint, Order, Runs, Validator},
};

/// Few, so that each has many versions.
const KEYS: i64 = 4;
const STEPS: usize = 120;
/// How long the rest may take once nothing goes wrong any more.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs one seed; what it returns says which.
pub(crate) fn run(seed: u64) -> std::result::Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(torment(seed)).map_err(|error| format!("seed {seed}: {error}"))
}

async fn torment(seed: u64) -> Result<()> {
    let mut chance = Rng::with_seed(seed);
    let options = Options { faults: Faults::seeded(seed), ..Options::default() };
    let server = Server::start(options).map_err(|error| Error::fatal(error.to_string()))?;
    let mut writer = Writer::new(&server);
    for _ in 0..10 {
        writer.write(&mut chance)?;
    }
    let tables = ["plain", "split"].map(str::to_owned);
    let settings = json!({
        "database": server.url(),
        "tables": tables,
        "heartbeat_every": "10ms",
        "duplicates": if chance.bool() { "drop" } else { "pass" },
    });
    let validators: Vec<Box<dyn Validator>> = vec![
        Box::new(Order::default()),
        Box::new(Runs::default()),
        Box::new(BeforeAfter { server: &server }),
        Box::new(Fingerprint::new(&server, &tables)),
    ];
    let mut pipeline = Pipeline::new(settings, validators);
    let mut steps = 0;
    while steps < STEPS {
        let (source, partition) = pipeline.open().await?;
        let mut stream = pipeline.read(&*source, &partition);
        loop {
            steps += 1;
            match chance.u32(..100) {
                0..50 => {
                    if pipeline.glance(&mut stream).await? == Glance::Broken {
                        break;
                    }
                }
                50..90 => writer.write(&mut chance)?,
                90..94 => writer.change_the_schema(&mut chance)?,
                94..96 => server.drain(),
                96..97 => server.cut(),
                _ => break,
            }
        }
    }
    server.set_faults(Faults::none());
    finish(&server, &mut pipeline).await
}

/// Reads on, without faults, until all is saved.
async fn finish(server: &Server, pipeline: &mut Pipeline<'_>) -> Result<()> {
    let answer = server.execute("SELECT cluster_logical_timestamp()").map_err(broken)?;
    let end: Hlc =
        answer.rows[0][0].as_deref().and_then(|text| text.parse().ok()).unwrap_or_default();
    let begun = Instant::now();
    while pipeline.saved_at() < end {
        let (source, partition) = pipeline.open().await?;
        let mut stream = pipeline.read(&*source, &partition);
        while pipeline.saved_at() < end && pipeline.glance(&mut stream).await? != Glance::Broken {
            if begun.elapsed() > PATIENCE {
                return Err(Error::fatal(format!(
                    "nothing moves: {} of {end}",
                    pipeline.saved_at()
                )));
            }
        }
    }
    if pipeline.rows < 10 {
        return Err(Error::fatal(format!("only {} rows came", pipeline.rows)));
    }
    Ok(())
}

/// Writes to two tables, one of which has two families.
struct Writer<'s> {
    server: &'s Server,
    columns: Vec<usize>,
    next_column: usize,
}

impl<'s> Writer<'s> {
    fn new(server: &'s Server) -> Self {
        let sql = "CREATE TABLE plain (id INT8 PRIMARY KEY, n INT8);
                   CREATE TABLE split (id INT8 PRIMARY KEY, n INT8, m INT8, FAMILY f1 (id, n), FAMILY f2 (m))";
        server.execute(sql).expect("the tables");
        Self { server, columns: Vec::new(), next_column: 0 }
    }

    /// A transaction of a few rows.
    fn write(&mut self, chance: &mut Rng) -> Result<()> {
        let statements: Vec<_> = (0..chance.usize(1..5)).map(|_| statement(chance)).collect();
        let sql = format!("BEGIN; {}; COMMIT", statements.join("; "));
        self.server.execute(&sql).map_err(broken).map(drop)
    }

    fn change_the_schema(&mut self, chance: &mut Rng) -> Result<()> {
        let drops = chance.bool() && !self.columns.is_empty();
        let sql = if drops {
            let column = self.columns.swap_remove(chance.usize(..self.columns.len()));
            format!("ALTER TABLE plain DROP COLUMN c{column}")
        } else {
            self.columns.push(self.next_column);
            self.next_column += 1;
            format!("ALTER TABLE plain ADD COLUMN c{} INT8 DEFAULT 7", self.next_column - 1)
        };
        self.server.execute(&sql).map_err(broken).map(drop)
    }
}

fn statement(chance: &mut Rng) -> String {
    let (key, value) = (chance.i64(..KEYS), chance.i64(..));
    match chance.u32(..20) {
        0 => format!("DELETE FROM plain WHERE id = {key}"),
        1 => format!("DELETE FROM split WHERE id = {key}"),
        2..11 => format!("UPSERT INTO plain (id, n) VALUES ({key}, {value})"),
        11..16 => format!("UPSERT INTO split VALUES ({key}, {value}, {})", chance.i64(..)),
        _ => format!("UPDATE split SET m = {value} WHERE id = {key}"),
    }
}

fn broken(error: rowtide_fake_cockroachdb::SqlError) -> Error {
    Error::fatal("the server failed").because(error)
}
