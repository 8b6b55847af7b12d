//! An outbox in PostgreSQL or MariaDB, and the service that writes to it.

#[path = "../../../../tests/relay/session.rs"]
mod session;
#[path = "../../../../tests/relay/writer.rs"]
mod writer;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use fastrand::Rng;
use rowtide_servers::Kind;
use serde_json::Value;
use tokio::{runtime::Runtime, time::timeout};

use super::digest;
use crate::{
    Outcome,
    history::{Message, MessageKind, Scope, What},
    nemesis::{Fault, SCHEMA_CHANGED, server},
    pipeline::{self, Fate, Upstream},
    scene::Draw,
    site::{Link, Site},
};

use session::{Address, Database, Session};
use writer::Writers;

/// For a look that may fail, and how often one is taken: it reads all that was ever written.
const LOOK_LIMIT: Duration = Duration::from_secs(4);
const SCHEMA_LIMIT: Duration = Duration::from_secs(8);
/// The aggregate of large messages; those beside it have the small ones.
const LARGE: i64 = 1_001;
const NONCE: &str = "0123456789abcdef";

const LOOK_EVERY: Duration = Duration::from_secs(3);

pub(crate) struct Outbox {
    site: Arc<Site>,
    address: Address,
    settings: String,
    done: Done,
    /// The version of the next large message.
    large: AtomicI64,
    forgotten: Mutex<Forgotten>,
}

/// What becomes of a message that is delivered.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Done {
    Deleted,
    Marked,
    /// Nothing: the position alone says what was read.
    Kept,
}

/// What was forgotten when somebody looked last.
#[derive(Default)]
struct Forgotten {
    steps: HashSet<(String, u64)>,
    looked: Option<Instant>,
}

impl Outbox {
    /// A database of its own.
    pub(crate) fn create(kind: Kind, draw: &mut Draw<'_>) -> Outcome<Self> {
        let site = draw.sites.site(kind, &[])?;
        let name = format!("chaos_{}", draw.seed);
        let database = match kind {
            Kind::Postgres => Database::Postgres,
            _ => Database::MariaDb,
        };
        let url = site.url()?.to_owned();
        let server = Address { database, url: url.clone() };
        let address = Address { database, url: url.replace("/rowtide", &format!("/{name}")) };
        site.runtime.block_on(async {
            Session::connect(&server).await?.run(&format!("CREATE DATABASE {name}")).await?;
            Session::connect(&address).await?.prepare().await
        })?;
        let chance = &mut *draw.chance;
        let done = Done::draw(kind, chance);
        let mut settings = format!(
            "type = \"outbox\"\ndatabase = \"{}\"\npage_rows = {}\npage_bytes = {}\n\
             delete_rows = {}\npoll_every = \"{}ms\"",
            site.proxied(&address.url)?,
            chance.u32(1..2_000),
            chance.u32(1_000..1_000_000),
            chance.u32(1..2_000),
            chance.u32(5..500),
        );
        settings += done.setting();
        if kind == Kind::Postgres && chance.bool() {
            settings += "\nnotify = \"chaos\"";
        }
        Ok(Self {
            site,
            address,
            settings,
            done,
            large: AtomicI64::new(1),
            forgotten: Mutex::default(),
        })
    }

    /// What is committed, and is not in the table to be delivered any more.
    async fn look(&self) -> Outcome<HashSet<(String, u64)>> {
        let mut session = Session::connect(&self.address).await?;
        // Both tables at one moment.
        session
            .run(match self.address.database {
                Database::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ",
                Database::MariaDb => "START TRANSACTION WITH CONSISTENT SNAPSHOT",
            })
            .await?;
        let text = match self.address.database {
            Database::Postgres => "CAST(payload AS TEXT)",
            Database::MariaDb => "CONVERT(payload USING utf8mb4)",
        };
        let open = if self.done == Done::Marked { " WHERE done_at IS NULL" } else { "" };
        let waiting = texts(&mut session, &format!("SELECT {text} FROM outbox{open}")).await?;
        let mut steps = steps(&session.truth().await?);
        for payload in waiting {
            steps.remove(&step(&serde_json::from_str(&payload)?)?);
        }
        Ok(steps)
    }
}

impl Done {
    fn draw(kind: Kind, chance: &mut Rng) -> Self {
        match chance.u8(..4) {
            0 => Self::Marked,
            1 if kind == Kind::Postgres => Self::Kept,
            _ => Self::Deleted,
        }
    }

    fn setting(self) -> &'static str {
        match self {
            Self::Deleted => "",
            Self::Marked => "\ndone = \"mark\"",
            Self::Kept => "\ndone = \"keep\"",
        }
    }
}

async fn texts(session: &mut Session, query: &str) -> Outcome<Vec<String>> {
    let query = sqlx::AssertSqlSafe(query.to_owned());
    Ok(match session {
        Session::Postgres(connection) => sqlx::query_scalar(query).fetch_all(connection).await?,
        Session::MariaDb(connection) => sqlx::query_scalar(query).fetch_all(connection).await?,
    })
}

/// A message that was rolled back has another nonce, and so is another step.
fn steps(truth: &session::Truth) -> HashSet<(String, u64)> {
    truth.iter().map(|((aggregate, version), nonce)| told(*aggregate, *version, nonce)).collect()
}

fn told(aggregate: i64, version: i64, nonce: &str) -> (String, u64) {
    (format!("aggregate {aggregate}"), version.cast_unsigned() << 32 | digest(nonce) >> 32)
}

fn step(payload: &Value) -> Outcome<(String, u64)> {
    let number = |name: &str| payload[name].as_i64().ok_or_else(|| format!("no {name}: {payload}"));
    let nonce = payload["nonce"].as_str().ok_or("a message without a nonce")?;
    Ok(told(number("aggregate")?, number("version")?, nonce))
}

impl Upstream for Outbox {
    fn settings(&self) -> String {
        self.settings.clone()
    }

    fn format(&self) -> &'static str {
        "\"outbox\""
    }

    fn scope(&self) -> Scope {
        Scope::Key
    }

    fn instances(&self) -> usize {
        2
    }

    fn write(&self, seed: u64) -> Outcome<Box<dyn pipeline::Writer>> {
        let writers = self.site.runtime.block_on(async { Writers::start(&self.address, seed) });
        Ok(Box::new(Service { writers: Some(writers), runtime: self.site.runtime.clone() }))
    }

    /// Its aggregate has no row of its own.
    fn write_large(&self, bytes: usize, fate: Fate) -> Outcome<bool> {
        let version = self.large.fetch_add(1, Ordering::Relaxed);
        let message = |aggregate: i64, bytes: usize| {
            let fill = "x".repeat(bytes);
            format!(
                "INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload) VALUES
                 ('{}', 'order', '{aggregate}', 'Changed', '{{\"aggregate\": {aggregate}, \
                 \"version\": {version}, \"nonce\": \"{NONCE}\", \"fill\": \"{fill}\"}}');",
                writer::uuid(&mut Rng::new())
            )
        };
        let truth = |aggregate: i64| {
            format!("INSERT INTO truth VALUES ({aggregate}, {version}, '{NONCE}');")
        };
        let [before, large, after] = [LARGE - 1, LARGE, LARGE + 1];
        let mut told = truth(before) + &truth(after);
        if fate == Fate::Fits {
            told += &truth(large);
        }
        let text = format!(
            "BEGIN; {told} {} {} {} COMMIT",
            message(before, 0),
            message(large, bytes),
            message(after, 0)
        );
        let write = async { Session::connect(&self.address).await?.run(&text).await };
        self.site.runtime.block_on(write)?;
        Ok(true)
    }

    fn truth(&self) -> Outcome<Vec<What>> {
        let truth = async { Session::connect(&self.address).await?.truth().await };
        let truth = self.site.runtime.block_on(truth)?;
        let mut steps: Vec<_> = steps(&truth).into_iter().collect();
        steps.sort_unstable();
        Ok(steps.into_iter().map(|(key, step)| What::Committed { key, step }).collect())
    }

    /// Each has what was seen, and nothing that can be compared.
    fn places(&self, _states: &[Value]) -> Outcome<Vec<(String, u64)>> {
        Ok(Vec::new())
    }

    fn forgotten(&self) -> Outcome<Option<Vec<(String, u64)>>> {
        let mut known = self.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return Ok(None);
        }
        known.looked = Some(Instant::now());
        let look = async { timeout(LOOK_LIMIT, self.look()).await };
        // Nobody can tell while it is down.
        let Ok(Ok(steps)) = self.site.runtime.block_on(look) else { return Ok(None) };
        let new = steps.difference(&known.steps).cloned().collect();
        known.steps = steps;
        Ok(Some(new))
    }

    fn parse(&self, text: &[u8]) -> Outcome<Message> {
        let (key, step) = step(&serde_json::from_slice(text)?)?;
        Ok(Message {
            id: format!("{key}:{step}"),
            kind: MessageKind::Change,
            table: "outbox".to_owned(),
            key: Some(key),
            step: Some(step),
            place: None,
            partition: None,
            digest: digest(text),
            row: None,
        })
    }

    fn link(&self) -> Option<&Arc<Link>> {
        Some(&self.site.link)
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = server::faults(&self.site);
        let (address, runtime) = (self.address.clone(), self.site.runtime.clone());
        faults.push(Fault::new(SCHEMA_CHANGED, 6, move |chance| {
            let change = change_the_schema(&address, chance.u32(..));
            runtime.block_on(async { timeout(SCHEMA_LIMIT, change).await }).unwrap_or(Ok(()))
        }));
        faults
    }
}

/// A column that nobody asked for. A lock that somebody holds is waited for by whoever writes, too.
async fn change_the_schema(address: &Address, number: u32) -> Outcome {
    let mut session = Session::connect(address).await?;
    let wait = match address.database {
        Database::Postgres => "SET lock_timeout = '2s'",
        Database::MariaDb => "SET lock_wait_timeout = 2",
    };
    session.run(wait).await?;
    let added = format!("ALTER TABLE outbox ADD COLUMN extra{number} VARCHAR(20) DEFAULT 'x'");
    match session.run(&added).await {
        Err(error) if error.to_string().to_lowercase().contains("timeout") => Ok(()),
        added => added,
    }
}

struct Service {
    writers: Option<Writers>,
    runtime: Arc<Runtime>,
}

impl pipeline::Writer for Service {
    fn stop(mut self: Box<Self>) -> Outcome {
        let writers = self.writers.take().ok_or("it was stopped before")?;
        let is_idle = writers.committed() == 0;
        self.runtime.block_on(writers.stop());
        if is_idle { Err("the service committed nothing".into()) } else { Ok(()) }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(writers) = self.writers.take() {
            self.runtime.block_on(writers.stop());
        }
    }
}
