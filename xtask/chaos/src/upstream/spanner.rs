//! The emulator of Cloud Spanner, whose partitions live for a second or two, and the official
//! client, which writes to it and says what a change stream had.

#[path = "../../../../tests/spanner/dialect.rs"]
mod dialect;
#[expect(dead_code, reason = "another test starts a mock server with it")]
#[path = "../../../../tests/spanner/python.rs"]
mod python;
#[expect(dead_code, reason = "other tests ask for more")]
#[path = "../../../../tests/spanner/verdict.rs"]
mod verdict;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use jiff::{Timestamp, ToSpan};
use rowtide_servers::Kind;
use serde_json::Value;

use super::digest;
use crate::{
    Outcome,
    history::{Message, MessageKind, Scope, What},
    nemesis::{Fault, SCHEMA_CHANGED, server},
    pipeline::{self, Store, Upstream},
    scene::Draw,
    site::{Link, Site},
};

use dialect::Dialect;
use verdict::Partition;

/// Partitions live for one to two seconds.
const CHURN: &str = "--override_change_stream_partition_token_alive_seconds=1";

pub(crate) struct Spanner {
    site: Arc<Site>,
    dialect: Dialect,
    settings: String,
    start: Timestamp,
    truth: OnceLock<Truth>,
}

/// What is read first. The rows of a snapshot have no form in `spream`: each is refused and named in
/// the log, and the way to the changes must be gone all the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Begin {
    Now,
    Snapshot,
}

/// What the stream had.
struct Truth {
    partitions: Vec<Partition>,
    /// The partition of each record, and its place there.
    steps: HashMap<verdict::Identity, (String, u64)>,
}

/// With what the keys of records begin: each is known by its place in a partition.
const PARTITION: &str = "partition ";

fn place(state: &Value) -> Option<(String, u64)> {
    let token = state["partition"]["id"].as_str()?;
    let progress = &state["progress"];
    let position = progress["delivered"]["data"].as_str().or(progress["finished"]["data"].as_str());
    let position: Value = serde_json::from_str(position?).ok()?;
    let at = nanoseconds(position["at"].as_str()?.parse().ok()?)?;
    // What is of that very time may be told in part.
    let told = if position["through"].as_bool() == Some(true) { at } else { at - 1 };
    Some((token.to_owned(), told))
}

fn nanoseconds(time: Timestamp) -> Option<u64> {
    u64::try_from(time.as_nanosecond()).ok()
}

/// Why the official client cannot be had here; `None` where that is no excuse.
pub(crate) fn absence() -> Option<String> {
    if rowtide_servers::is_strict() {
        return None;
    }
    python::install().err().map(|error| format!("no client of Spanner: {error}"))
}

impl Spanner {
    /// An emulator of its own: it keeps everything in memory.
    pub(crate) fn start(draw: &mut Draw<'_>, begin: Begin) -> Outcome<Self> {
        python::install()?;
        let site = draw.sites.start(Kind::Spanner, &[CHURN])?;
        let dialect = [Dialect::GoogleSql, Dialect::Postgres][draw.chance.usize(..2)];
        python::run(site.url()?, "world.py", &["create", &dialect.to_string()])?;
        if begin == Begin::Snapshot {
            python::run(site.url()?, "world.py", &["fill", &dialect.to_string()])?;
        }
        let start = Timestamp::now();
        let begin = match begin {
            Begin::Now => format!("start = \"{start}\""),
            Begin::Snapshot => "snapshot = \"initial\"".to_owned(),
        };
        let settings = format!(
            "type = \"spanner\"\nchange_stream = \"changes\"\n{begin}\n\
             database = \"projects/test/instances/test/databases/{dialect}\"\n\
             endpoint = \"http://{}\"\nheartbeat_every = \"{}ms\"",
            site.link.proxy.address(),
            draw.chance.u32(100..1_000)
        );
        Ok(Self { site, dialect, settings, start, truth: OnceLock::new() })
    }

    /// A table of positions beside the database that is read.
    pub(crate) fn store(&self) -> Metadata {
        let (address, dialect) = (self.site.link.proxy.address(), self.dialect);
        Metadata(format!(
            "type = \"spanner\"\ntable = \"PartitionMetadata\"\nendpoint = \"http://{address}\"\n\
             database = \"projects/test/instances/test/databases/{dialect}-metadata\"\n\
             timeout = \"5s\""
        ))
    }

    /// Read once nothing is written any more.
    fn truth(&self) -> Outcome<&Truth> {
        if self.truth.get().is_none() {
            // The emulator's clock may run a little ahead.
            let end = (Timestamp::now() + 1.second()).to_string();
            let (dialect, start) = (self.dialect.to_string(), self.start.to_string());
            let arguments = [dialect.as_str(), &start, &end];
            let lines = python::run(self.site.url()?, "reader.py", &arguments)?;
            let partitions = Partition::read_all(&lines)?;
            let mut steps = HashMap::new();
            for partition in &partitions {
                for (place, record) in (1..).zip(&partition.records) {
                    let step = (format!("{PARTITION}{}", partition.token), place);
                    steps.insert(verdict::identity(record)?, step);
                }
            }
            // Whoever was first has the same.
            let _ = self.truth.set(Truth { partitions, steps });
        }
        Ok(self.truth.get().ok_or("the truth is gone")?)
    }
}

impl Upstream for Spanner {
    fn settings(&self) -> String {
        self.settings.clone()
    }

    fn format(&self) -> &'static str {
        "\"spream\""
    }

    fn scope(&self) -> Scope {
        Scope::Key
    }

    fn write(&self, seed: u64) -> Outcome<Box<dyn pipeline::Writer>> {
        let writer = python::Writer::start(self.site.url()?, self.dialect, seed)?;
        Ok(Box::new(Application(writer)))
    }

    fn truth(&self) -> Outcome<Vec<What>> {
        let mut steps: Vec<_> = Spanner::truth(self)?.steps.values().cloned().collect();
        steps.sort_unstable();
        Ok(steps.into_iter().map(|(key, step)| What::Committed { key, step }).collect())
    }

    /// The time up to which all of a partition was told.
    fn places(&self, states: &[Value]) -> Outcome<Vec<(String, u64)>> {
        Ok(states.iter().filter_map(place).collect())
    }

    fn parse(&self, text: &[u8]) -> Outcome<Message> {
        let record: Value = serde_json::from_slice(text)?;
        let identity = verdict::identity(&record)?;
        let step = Spanner::truth(self)?.steps.get(&identity);
        let (key, step) = step.cloned().ok_or_else(|| format!("made up: {record}"))?;
        Ok(Message {
            id: format!("{key}:{step}"),
            kind: MessageKind::Change,
            table: "changes".to_owned(),
            partition: key.strip_prefix(PARTITION).map(str::to_owned),
            key: Some(key),
            step: Some(step),
            place: nanoseconds(identity.0),
            digest: digest(text),
            row: None,
        })
    }

    /// From ancestor to descendant, and to the byte what the official client reads.
    fn judge(&self, messages: &[Vec<Vec<u8>>]) -> Outcome {
        let lines = messages.iter().flatten().map(|text| String::from_utf8(text.clone()));
        let lines: Vec<_> = lines.collect::<Result<_, _>>()?;
        verdict::judge(&lines, &Spanner::truth(self)?.partitions).map(drop)
    }

    fn link(&self) -> Option<&Arc<Link>> {
        Some(&self.site.link)
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = vec![server::frozen(&self.site)];
        let (site, dialect) = (self.site.clone(), self.dialect.to_string());
        faults.push(Fault::new(SCHEMA_CHANGED, 8, move |_| {
            python::run(site.url()?, "world.py", &["widen", &dialect]).map(drop)
        }));
        faults
    }
}

/// Positions as Apache Beam keeps them. What happens to the server is the source's as well.
pub(crate) struct Metadata(String);

impl Store for Metadata {
    fn settings(&self) -> String {
        self.0.clone()
    }

    fn is_remote(&self) -> bool {
        true
    }

    /// What was committed at the time of a position may come again.
    fn is_exact(&self) -> bool {
        false
    }

    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    fn faults(&self) -> Vec<Fault> {
        Vec::new()
    }
}

struct Application(python::Writer);

impl pipeline::Writer for Application {
    fn stop(self: Box<Self>) -> Outcome {
        let committed = self.0.stop()?;
        if committed == 0 { Err("nothing was committed".into()) } else { Ok(()) }
    }
}
