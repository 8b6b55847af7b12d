//! What every source must do, against the server that misbehaves.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rowtide_conformance::{Capability, Result, SourceHarness, Suite, Upstream, Write, async_trait};
use rowtide_core::{Error, Value};
use rowtide_fake_spanner::{
    Capture, Column, Datum, Dialect, Faults, Kind, LostWording, Options, Server, Table,
    Write as Row, WriteOperation,
};
use rowtide_spanner as _;

fn main() -> ExitCode {
    let suite = |dialect, snapshot, system: &str| {
        Suite::source(Scripted { dialect, snapshot }).against(system)
    };
    rowtide_conformance::main(vec![
        suite(Dialect::GoogleSql, "initial", "googlesql"),
        suite(Dialect::Postgres, "initial", "postgresql"),
        suite(Dialect::GoogleSql, "never", "stream"),
    ])
}

struct Scripted {
    dialect: Dialect,
    snapshot: &'static str,
}

#[async_trait]
impl SourceHarness for Scripted {
    fn plugin(&self) -> &str {
        "spanner"
    }

    fn lacks(&self) -> Vec<(Capability, &'static str)> {
        match self.snapshot {
            "never" => vec![(Capability::Snapshot, "the settings want none")],
            _ => Vec::new(),
        }
    }

    async fn upstream(&self) -> Result<Arc<dyn Upstream>> {
        // All that passes unnoticed: what ends a query has its own test.
        let faults = Faults {
            seed: 5,
            chunk: 300,
            shuffle: 500,
            heartbeat: 200,
            empty: 100,
            repeat_children: 500,
            unknown_fields: 500,
            rows_per_message: 3,
            records_per_row: 3,
            ..Faults::none()
        };
        let mut columns = vec![Column::key("id", Kind::Int64)];
        columns.extend(COLUMNS.iter().map(|(name, kind)| Column::new(name, kind())));
        let others = Table::new("others", vec![Column::key("id", Kind::Int64)]).unwatched();
        let options = Options {
            dialect: self.dialect,
            faults,
            capture: Capture::OldAndNewValues,
            tables: vec![Table::new("items", columns), others],
            heartbeat_min: Duration::from_millis(100),
            // Between several, neither a transaction nor the order of all keys would be kept.
            partitions: 1,
            ..Options::default()
        };
        let server = Server::start(options).map_err(failed)?;
        Ok(Arc::new(World { server, snapshot: self.snapshot, elsewhere: AtomicI64::new(0) }))
    }
}

/// A column, by its name and its type.
type Defined = (&'static str, fn() -> Kind);

/// The columns, each for the values of one type.
const COLUMNS: [Defined; 18] = [
    ("c_bool", || Kind::Bool),
    ("c_int", || Kind::Int64),
    ("c_float", || Kind::Float64),
    ("c_float32", || Kind::Float32),
    ("c_numeric", || Kind::Numeric),
    ("c_text", || Kind::String),
    ("c_bytes", || Kind::Bytes),
    ("c_json", || Kind::Json),
    ("c_date", || Kind::Date),
    ("c_timestamp", || Kind::Timestamp),
    ("c_uuid", || Kind::Uuid),
    ("a_bool", || Kind::Array(Box::new(Kind::Bool))),
    ("a_int", || Kind::Array(Box::new(Kind::Int64))),
    ("a_float", || Kind::Array(Box::new(Kind::Float64))),
    ("a_text", || Kind::Array(Box::new(Kind::String))),
    ("a_bytes", || Kind::Array(Box::new(Kind::Bytes))),
    ("a_uuid", || Kind::Array(Box::new(Kind::Uuid))),
    ("a_timestamp", || Kind::Array(Box::new(Kind::Timestamp))),
];

struct World {
    server: Server,
    snapshot: &'static str,
    elsewhere: AtomicI64,
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::fatal("the server failed").because(error)
}

/// The column of a value, and the value as it is on the wire.
fn sent(value: &Value) -> Option<(&'static str, Datum)> {
    let number = |number: f64| match number {
        _ if number.is_nan() => Datum::text("NaN"),
        f64::INFINITY => Datum::text("Infinity"),
        f64::NEG_INFINITY => Datum::text("-Infinity"),
        _ => Datum::Number(number),
    };
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => ("c_bool", Datum::Bool(*value)),
        Value::Int(value) => ("c_int", Datum::int(*value)),
        Value::Float(value) => ("c_float", number(*value)),
        Value::Float32(value) => ("c_float32", number(f64::from(*value))),
        Value::Decimal(text) => ("c_numeric", Datum::text(&**text)),
        Value::Text(text) => ("c_text", Datum::text(&**text)),
        Value::Bytes(bytes) => ("c_bytes", Datum::text(STANDARD.encode(bytes))),
        Value::Json(text) => ("c_json", Datum::text(&**text)),
        Value::Date(date) => ("c_date", Datum::text(date.to_string())),
        Value::Timestamp(at) => ("c_timestamp", Datum::text(at.to_string())),
        Value::Uuid(bytes) => ("c_uuid", Datum::text(uuid(bytes))),
        Value::Array(values) => {
            let column = values.iter().find_map(sent).map_or("c_int", |(column, _)| column);
            let is_array = |name: &str| name.starts_with('a') && name[2..] == column[2..];
            let column = COLUMNS.iter().map(|(name, _)| *name).find(|name| is_array(name))?;
            let element = |value| sent(value).map_or(Datum::Null, |(_, value)| value);
            (column, Datum::List(values.iter().map(element).collect()))
        }
        _ => return None,
    })
}

fn uuid(bytes: &[u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(*bytes));
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}

fn row(operation: WriteOperation, key: i64, value: &Value) -> Row {
    let sent = sent(value);
    let cell = |(name, _): &Defined| match &sent {
        Some((column, value)) if column == name => (*name, value.clone()),
        _ => (*name, Datum::Null),
    };
    let mut cells = vec![("id", Datum::int(key))];
    cells.extend(COLUMNS.iter().map(cell));
    Row::new("items", operation, &cells)
}

#[async_trait]
impl Upstream for World {
    fn settings(&self) -> String {
        format!(
            "database = '{}'\nendpoint = '{}'\nchange_stream = 'changes'\n\
             heartbeat_every = '100ms'\nsnapshot = '{}'\n",
            self.server.database(),
            self.server.endpoint(),
            self.snapshot
        )
    }

    fn values(&self) -> Vec<Value> {
        let array = |values: &[Value]| Value::Array(values.into());
        let id = Value::Uuid(*b"cafef00ddeadbeeb");
        let mut values = vec![
            Value::Bool(true),
            Value::Int(i64::MIN),
            Value::Int(i64::MAX),
            Value::Float(0.1 + 0.2),
            Value::Float(5e-324),
            Value::Float(f64::MAX),
            Value::Float(-0.0),
            Value::Float(f64::INFINITY),
            Value::Float(f64::NEG_INFINITY),
            Value::Float(f64::NAN),
            Value::Float32(1.1),
            Value::Float32(f32::MIN),
            Value::Float32(f32::NAN),
            Value::Decimal("-99999999999999999999999999999.999999999".into()),
            Value::Decimal("1.50".into()),
            Value::from(""),
            Value::from("\"ü\u{1f980}\\\n\t\u{1}"),
            Value::from("NULL"),
            Value::from("x".repeat(100_000)),
            Value::Bytes((0..=255).collect()),
            Value::from(Vec::new()),
            Value::Json(r#"{"a": [1, null, "ü"], "b": 1.10}"#.into()),
            Value::Json("null".into()),
            id.clone(),
            Value::Uuid([0; 16]),
            array(&[Value::Bool(true), Value::Null]),
            array(&[Value::Int(1), Value::Null, Value::Int(i64::MIN)]),
            array(&[Value::Float(f64::NAN), Value::Float(-0.5), Value::Null]),
            array(&[Value::from("NULL"), Value::from(""), Value::Null]),
            array(&[Value::from(vec![0, 255]), Value::Null]),
            array(&[id, Value::Null]),
        ];
        let dates = ["0001-01-01", "9999-12-31"].map(|date| date.parse().map(Value::Date));
        values.extend(dates.into_iter().flatten());
        let moments = ["0001-01-01T00:00:00Z", "2026-11-21T10:00:00.123456789Z"];
        for moment in moments.map(|moment| moment.parse().map(Value::Timestamp)) {
            values.extend(moment.iter().cloned());
            values.extend(moment.map(|moment| array(&[moment, Value::Null])));
        }
        values
    }

    async fn commit(&self, writes: &[Write]) -> Result<()> {
        let write = |write: &Write| match write {
            Write::Insert { key, value } => row(WriteOperation::Insert, *key, value),
            // Where a scenario could not write rows before the source began, this inserts.
            Write::Update { key, value } => row(WriteOperation::Upsert, *key, value),
            Write::Delete { key } => {
                Row::new("items", WriteOperation::Delete, &[("id", Datum::int(*key))])
            }
            Write::Truncate => unreachable!("not among the operations"),
        };
        let writes: Vec<_> = writes.iter().map(write).collect();
        if writes.is_empty() {
            return Ok(());
        }
        self.server.commit(writes).map(drop).map_err(failed)
    }

    async fn commit_elsewhere(&self) -> Result<()> {
        let id = Datum::int(self.elsewhere.fetch_add(1, Ordering::Relaxed));
        let write = Row::new("others", WriteOperation::Insert, &[("id", id)]);
        self.server.commit(vec![write]).map(drop).map_err(failed)
    }

    async fn split(&self) -> Result<()> {
        let live = self.server.live();
        // One becomes three, and three become two, so that some have two parents.
        let children = if live.len() == 1 { 3 } else { 2 };
        self.server.reshape(&live, children).map_err(failed)
    }

    async fn restart(&self) -> Result<()> {
        self.server.stop();
        self.server.resume().map_err(failed)
    }

    fn losses(&self) -> Vec<&'static str> {
        vec!["retention", "expired", "token", "recreated"]
    }

    async fn lose(&self, loss: &str) -> Result<()> {
        match loss {
            "recreated" => {
                self.server.recreate_stream();
                return Ok(());
            }
            "retention" => self.server.set_wording(LostWording::TooFarInThePast),
            "expired" => self.server.set_wording(LostWording::PartitionExpired),
            _ => self.server.set_wording(LostWording::TokenInvalid),
        }
        self.server.forget(self.server.now());
        Ok(())
    }

    async fn held(&self) -> Result<usize> {
        Ok(self.server.open_queries())
    }
}
