use std::time::{Duration, Instant};

use fastrand::Rng;
use rowtide_core::{Error, Result};
use rowtide_fake_cockroachdb::{Faults, Hlc, Options, Server};
use serde_json::json;

use crate::{
    pipeline::{Glance, Pipeline},
    validators::{BeforeAfter, Count, Fingerprint, Order, Runs, Validator},
    writer::{TABLES, Writer, broken},
};

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
    let settings = json!({
        "database": server.url(),
        "tables": TABLES,
        "heartbeat_every": "10ms",
        "duplicates": if chance.bool() { "drop" } else { "pass" },
    });
    let validators: Vec<Box<dyn Validator>> = vec![
        Box::new(Order::default()),
        Box::new(Runs::default()),
        Box::new(Count::at_least(1)),
        Box::new(BeforeAfter::new(&server)),
        Box::new(Fingerprint::new(&server, &TABLES)),
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
    finish(&server, &mut pipeline).await?;
    pipeline.conclude()
}

/// Reads on, without faults, until all is saved.
pub(crate) async fn finish(server: &Server, pipeline: &mut Pipeline<'_>) -> Result<()> {
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
    Ok(())
}
