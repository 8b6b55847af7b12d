//! The CockroachDB of the tests, which misbehaves by itself, and who writes to it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::Duration,
};

use fastrand::Rng;
use rowtide_fake_cockroachdb::{Faults, Options, Server};
use serde_json::{Value, json};

use crate::{
    Outcome,
    format::{self, Format},
    history::{Message, MessageKind, Scope, What},
    nemesis::{Fault, SCHEMA_CHANGED},
    pipeline::{Upstream, Writer},
    scene::Draw,
    site::Link,
    writer::Application,
};

/// Few, so that each has many versions.
const KEYS: i64 = 6;

pub(crate) struct Cockroach {
    server: Arc<Server>,
    link: Arc<Link>,
    settings: String,
    format: Format,
    /// Whether nothing is told before its time is resolved.
    is_exact: bool,
    /// Over how many feeds the tables are spread.
    feeds: AtomicU8,
    /// What was committed.
    steps: Arc<Mutex<Vec<(String, u64)>>>,
}

impl Cockroach {
    pub(crate) fn start(draw: &mut Draw<'_>) -> Outcome<Self> {
        // A broken connection costs a pause.
        let seeded = Faults::seeded(draw.seed);
        let lag = if draw.chance.bool() { seeded.lag } else { 0 };
        let faults = Faults { cut: 2, drain: 1, lag, ..seeded };
        let server = Server::start(Options { faults, ..Options::default() })?;
        server.execute(
            "CREATE TABLE accounts (id INT8 PRIMARY KEY, version INT8, note STRING);
             UPSERT INTO accounts VALUES (100, 0, 'old'), (101, 0, 'older'), (102, 0, 'oldest')",
        )?;
        let address: SocketAddr = crate::site::address(&server.url())?;
        let link = Link::start("cockroachdb", address, draw.sites.runtime())?;
        let settings = format!(
            "type = \"cockroachdb\"\ndatabase = \"{}\"\ntables = [\"accounts\"]\n\
             heartbeat_every = \"{}ms\"",
            link.proxied(&server.url())?,
            draw.chance.u32(20..500)
        );
        let format = Format::draw(draw.chance);
        let (server, feeds) = (Arc::new(server), AtomicU8::new(1));
        let is_exact = lag == 0;
        Ok(Self { server, link, settings, format, is_exact, feeds, steps: Arc::default() })
    }
}

/// The whole of the time in nanoseconds; a message with more than that is counted as later, so that
/// nothing is taken for covered that may not be.
fn nanoseconds(time: &str) -> Option<(u64, bool)> {
    let (wall, logical) = time.split_once('.').unwrap_or((time, ""));
    Some((wall.parse().ok()?, logical.bytes().any(|digit| digit != b'0')))
}

fn position(state: &Value) -> Option<Value> {
    serde_json::from_str(state["progress"]["delivered"]["data"].as_str()?).ok()
}

impl Upstream for Cockroach {
    fn settings(&self) -> String {
        self.settings.clone()
    }

    fn format(&self) -> &'static str {
        self.format.setting
    }

    fn scope(&self) -> Scope {
        Scope::Key
    }

    fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// The feeds are regrouped.
    fn overlay(&self, point: Option<&str>, chance: &mut Rng) -> Option<(&'static str, String)> {
        let is_meant = point.is_some_and(|point| point.starts_with("cockroachdb: feeds regrouped"));
        if is_meant || chance.u8(..4) == 0 {
            self.feeds.store(self.feeds.load(Ordering::Relaxed) % 3 + 1, Ordering::Relaxed);
        }
        Some(("ROWTIDE__SOURCE__FEEDS", self.feeds.load(Ordering::Relaxed).to_string()))
    }

    /// Once the rows that were there are delivered: what changes before is part of them.
    fn is_ready(&self, states: &[Value]) -> bool {
        let tables = |state| position(state).map(|position| position["tables"].clone());
        states
            .iter()
            .filter_map(tables)
            .any(|tables| tables.as_array().is_some_and(|all| !all.is_empty()))
    }

    fn write(&self, seed: u64) -> Outcome<Box<dyn Writer>> {
        let (server, steps) = (self.server.clone(), self.steps.clone());
        let application = Application::start(move |stop| {
            let mut chance = Rng::with_seed(seed);
            let mut version = 0;
            while !stop.load(Ordering::Relaxed) {
                let written = write(&server, &mut version, &mut chance)?;
                steps.lock().unwrap_or_else(PoisonError::into_inner).extend(written);
                thread::sleep(Duration::from_micros(chance.u64(..20_000)));
            }
            Ok(())
        });
        Ok(Box::new(application))
    }

    fn truth(&self) -> Outcome<Vec<What>> {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let steps = steps.into_iter().map(|(key, step)| What::Committed { key, step });
        let rows = self.server.execute("SELECT id, version, note FROM accounts")?.rows;
        let row = |row: &Vec<Option<String>>| {
            let number = |at: usize| row[at].as_ref().and_then(|text| text.parse::<i64>().ok());
            let id = number(0)?;
            let image = json!({ "id": id, "version": number(1), "note": row[2] });
            let (table, digest) = ("accounts".to_owned(), self.format.row(&image)?);
            Some(What::Row { table, key: account(id), digest })
        };
        Ok(steps.chain(rows.iter().filter_map(row)).collect())
    }

    /// The time up to which all was told. A feed without the table says nothing of it.
    fn places(&self, states: &[Value]) -> Outcome<Vec<(String, u64)>> {
        let place = |state: &Value| {
            let position = position(state)?;
            position["tables"].as_array().filter(|tables| !tables.is_empty())?;
            let (wall, _) = nanoseconds(position["at"].as_str()?)?;
            Some((state["partition"]["id"].as_str()?.to_owned(), wall))
        };
        Ok(states.iter().filter_map(place).collect())
    }

    fn parse(&self, text: &[u8]) -> Outcome<Message> {
        let key = |_: &str| &["id"][..];
        match self.format.read(text, key)? {
            None => Ok(format::tombstone()),
            Some(value) => {
                parse(text, &value, self.format).ok_or_else(|| format!("no change: {value}").into())
            }
        }
    }

    fn link(&self) -> Option<&Arc<Link>> {
        Some(&self.link)
    }

    fn faults(&self) -> Vec<Fault> {
        let server = self.server.clone();
        vec![Fault::new(SCHEMA_CHANGED, 8, move |chance| {
            let column = chance.u32(..);
            let added = format!("ALTER TABLE accounts ADD COLUMN extra{column} INT8 DEFAULT 7");
            Ok(server.execute(&added).map(drop)?)
        })]
    }

    fn calm(&self) {
        self.server.set_faults(Faults::none());
    }
}

/// Large ones are texts in some formats.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn account(id: i64) -> String {
    format!("account {id}")
}

fn parse(text: &[u8], value: &Value, format: Format) -> Option<Message> {
    let operation = value["op"].as_str()?;
    let kind = match operation {
        "insert" | "update" | "delete" => MessageKind::Change,
        "read" => MessageKind::Read,
        _ => MessageKind::Mark,
    };
    let is_row = kind != MessageKind::Mark;
    let is_delete = operation == "delete";
    let image = if is_delete { &value["before"] } else { &value["after"] };
    // The rows that were there before the first start have the version 0, and may come again.
    let version = image["version"].as_u64().filter(|version| *version > 0);
    let place = value["metadata"]["updated"].as_str().and_then(nanoseconds);
    Some(Message {
        id: value["id"].as_str()?.to_owned(),
        kind,
        table: value["table"].as_str()?.to_owned(),
        key: number(&value["key"]["id"]).filter(|_| is_row).map(account),
        step: version.map(|version| version * 2 + u64::from(is_delete)),
        place: place.map(|(wall, has_more)| wall + u64::from(has_more)),
        partition: None,
        digest: format.digest(text, value),
        row: format.row(&value["after"]).filter(|_| !is_delete),
    })
}

/// One transaction, each key once: a changefeed tells its end only. Returns the steps.
fn write(server: &Server, version: &mut i64, chance: &mut Rng) -> Outcome<Vec<(String, u64)>> {
    let most = if chance.u32(..200) == 0 { 3_000 } else { 4 };
    let count = chance.i64(1..=most);
    // Large ones are about keys of their own.
    let first = if count > KEYS { 1_000 } else { chance.i64(0..KEYS) };
    let (mut statements, mut steps) = (Vec::new(), Vec::new());
    for id in first..first + count {
        let known = server.execute(&format!("SELECT version FROM accounts WHERE id = {id}"))?.rows;
        let known = known.first().and_then(|row| row[0].as_ref()?.parse::<u64>().ok());
        match known.filter(|_| chance.u8(..6) == 0) {
            Some(known) => {
                statements.push(format!("DELETE FROM accounts WHERE id = {id}"));
                steps.push((account(id), known * 2 + 1));
            }
            None => {
                *version += 1;
                let note = "x".repeat(chance.usize(..60));
                statements.push(format!(
                    "UPSERT INTO accounts (id, version, note) VALUES ({id}, {version}, '{note}')"
                ));
                steps.push((account(id), version.unsigned_abs() * 2));
            }
        }
    }
    let is_kept = chance.u8(..10) > 0;
    let end = if is_kept { "COMMIT" } else { "ROLLBACK" };
    server.execute(&format!("BEGIN; {}; {end}", statements.join("; ")))?;
    Ok(if is_kept { steps } else { Vec::new() })
}
