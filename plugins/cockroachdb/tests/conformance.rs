//! What every source must do, against the fake, and again under everything that passes unnoticed.

use std::{env, process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Failed, Trial};
use rowtide_cockroachdb as _;
use rowtide_conformance::{Capability, Result, SourceHarness, Suite, Upstream, Write, async_trait};
use rowtide_core::{Error, Operation, Value};
use rowtide_fake_cockroachdb::{Faults, Options, Server};

/// How many seeds run where the suite runs for every commit, and how many elsewhere.
const SEEDS_IN_CI: u64 = 200;
const SEEDS: u64 = 40;

/// What takes the order between keys for the same each time, which no changefeed promises.
const COMPARES_KEYS: [&str; 2] =
    ["resumes_after_every_position", "acknowledging_prunes_nothing_unacknowledged"];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They mostly wait.
    arguments.test_threads.get_or_insert(8);
    let seeds = if env::var_os("CI").is_some() { SEEDS_IN_CI } else { SEEDS };
    // `ROWTIDE_SEED=17` runs one alone.
    let one: Option<u64> = env::var("ROWTIDE_SEED").ok().and_then(|seed| seed.parse().ok());
    let range = one.map_or(0..seeds, |seed| seed..seed + 1);
    let mut trials = Suite::source(Cockroach { faults: Faults::none() }).into_trials();
    trials.extend(range.map(|seed| {
        let name = format!("every_scenario_holds_with_seed_{seed:03}");
        Trial::test(name, move || run(seed).map_err(Failed::from))
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs all scenarios on servers that misbehave, one after the other.
fn run(seed: u64) -> Result<(), String> {
    let faults = Faults { cut: 0, drain: 0, stall: 0, ..Faults::seeded(seed) };
    // A range that lags changes the order as well.
    let ordered = Faults { shuffle: 0, lag: 0, ..faults.clone() };
    let [suite, ordered] = [faults, ordered].map(|faults| Suite::source(Cockroach { faults }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let lacking = ["keeps_transactions_together", "children_follow_parents"];
    for name in suite.scenarios().into_iter().filter(|name| !lacking.contains(name)) {
        let suite = if COMPARES_KEYS.contains(&name) { &ordered } else { &suite };
        let checked = runtime.block_on(suite.check(name));
        checked.map_err(|failure| format!("seed {seed}, {name}: {failure}"))?;
    }
    Ok(())
}

struct Cockroach {
    /// What passes unnoticed: what ends a connection has a test of its own.
    faults: Faults,
}

#[async_trait]
impl SourceHarness for Cockroach {
    fn plugin(&self) -> &str {
        "cockroachdb"
    }

    fn lacks(&self) -> Vec<(Capability, &'static str)> {
        vec![
            (Capability::Transactions, "a changefeed does not tell what was committed together"),
            (Capability::Children, "a table belongs to one feed until `feeds` is changed"),
        ]
    }

    async fn upstream(&self) -> Result<Arc<dyn Upstream>> {
        let options = Options { faults: self.faults.clone(), ..Options::default() };
        let cluster = Cluster { server: Server::start(options).map_err(failed)? };
        cluster.run(CREATE)?;
        Ok(Arc::new(cluster))
    }
}

const CREATE: &str = "
    CREATE TABLE t (
        id INT8 PRIMARY KEY, i INT8, f FLOAT8, f4 FLOAT4, d DECIMAL(40,5), s STRING, b BYTES,
        flag BOOL, u UUID, day DATE, hour TIME, moment TIMESTAMP, point TIMESTAMPTZ, j JSONB,
        numbers INT8[]
    );
    CREATE TABLE elsewhere (id INT8 PRIMARY KEY)";

struct Cluster {
    server: Server,
}

impl Cluster {
    fn run(&self, sql: &str) -> Result<()> {
        self.server.execute(sql).map_err(failed).map(drop)
    }
}

#[async_trait]
impl Upstream for Cluster {
    fn settings(&self) -> String {
        format!("database = '{}'\ntables = ['t']\nheartbeat_every = '20ms'", self.server.url())
    }

    fn values(&self) -> Vec<Value> {
        let moment = "2026-01-02T03:04:05.678901".parse().map(Value::DateTime);
        let point = "2026-01-02T03:04:05.678901Z".parse().map(Value::Timestamp);
        let mut values = vec![
            Value::Null,
            Value::Int(i64::MIN),
            Value::Int(i64::MAX),
            Value::Int((1 << 53) + 1),
            Value::Float(0.1 + 0.2),
            Value::Float(5e-324),
            Value::Float(f64::MAX),
            Value::Float(f64::NAN),
            Value::Float(f64::NEG_INFINITY),
            Value::Float32(0.1),
            Value::Decimal("26.30000".into()),
            Value::Decimal("-12345678901234567890123456789012345.00000".into()),
            Value::Text("".into()),
            Value::Text("größer\n'\"\\<&>".into()),
            Value::Bytes([].into()),
            Value::Bytes([0, 0xff].into()),
            Value::Bool(true),
            Value::Uuid(*b"cafef00ddeadbeeb"),
            Value::Json("{\"a\": [1, 2.50, null]}".into()),
            Value::Array([Value::Int(1), Value::Null, Value::Int(-3)].into()),
        ];
        values.extend("2026-01-02".parse().map(Value::Date));
        values.extend("03:04:05.6".parse().map(Value::Time));
        values.extend(moment);
        values.extend(point);
        values
    }

    async fn commit(&self, writes: &[Write]) -> Result<()> {
        let statements: Vec<_> = writes.iter().map(statement).collect();
        self.run(&format!("BEGIN; {}; COMMIT", statements.join("; ")))
    }

    fn operations(&self) -> Vec<Operation> {
        vec![Operation::Insert, Operation::Update, Operation::Delete]
    }

    async fn commit_elsewhere(&self) -> Result<()> {
        self.run("UPSERT INTO elsewhere VALUES (1)")
    }

    async fn restart(&self) -> Result<()> {
        self.server.drain();
        self.server.stop();
        self.server.resume().map_err(failed)
    }

    fn losses(&self) -> Vec<&'static str> {
        vec!["batch", "targets", "cursor"]
    }

    async fn lose(&self, loss: &str) -> Result<()> {
        self.run(&format!("SET CLUSTER SETTING fake.gc_wording = '{loss}'"))?;
        self.server.collect_garbage();
        Ok(())
    }

    async fn held(&self) -> Result<usize> {
        Ok(self.server.connections() + self.server.feeds())
    }
}

fn statement(write: &Write) -> String {
    match write {
        Write::Insert { key, value: Value::Null } => format!("INSERT INTO t (id) VALUES ({key})"),
        Write::Insert { key, value } => {
            let (column, literal) = literal(value);
            format!("INSERT INTO t (id, {column}) VALUES ({key}, {literal})")
        }
        Write::Update { key, value: Value::Null } => {
            format!("UPDATE t SET s = NULL WHERE id = {key}")
        }
        Write::Update { key, value } => {
            let (column, literal) = literal(value);
            format!("UPDATE t SET {column} = {literal} WHERE id = {key}")
        }
        Write::Delete { key } => format!("DELETE FROM t WHERE id = {key}"),
        Write::Truncate => String::new(),
    }
}

/// The column for a value, and how SQL writes it.
fn literal(value: &Value) -> (&'static str, String) {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    match value {
        Value::Int(number) => ("i", number.to_string()),
        Value::Float(number) => ("f", quoted(&number.to_string())),
        Value::Float32(number) => ("f4", quoted(&number.to_string())),
        Value::Decimal(text) => ("d", quoted(text)),
        Value::Text(text) => ("s", quoted(text)),
        Value::Bytes(bytes) => ("b", quoted(&hex(bytes))),
        Value::Bool(value) => ("flag", value.to_string()),
        Value::Uuid(bytes) => ("u", quoted(&uuid(bytes))),
        Value::Date(date) => ("day", quoted(&date.to_string())),
        Value::Time(time) => ("hour", quoted(&time.to_string())),
        Value::DateTime(moment) => ("moment", quoted(&moment.to_string())),
        Value::Timestamp(point) => ("point", quoted(&point.to_string())),
        Value::Json(text) => ("j", quoted(text)),
        Value::Array(items) => {
            let items = items.iter().map(|item| match item {
                Value::Int(number) => number.to_string(),
                _ => "NULL".to_owned(),
            });
            ("numbers", format!("ARRAY[{}]", items.collect::<Vec<_>>().join(",")))
        }
        other => panic!("no column for {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\\x{}", digits.concat())
}

fn uuid(bytes: &[u8; 16]) -> String {
    let digits = hex(bytes).split_off(2);
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::fatal("the fake failed").because(error)
}
