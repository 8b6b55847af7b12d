use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use rowtide_conformance::{Delivered, Downstream, Result, SinkHarness, async_trait};
use rowtide_core::{
    Change, Context, Error, Operation, Row, Sink, Value, plugin::Config, register_sink,
};
use serde_json::{Map, Value as Json, json};
use tokio::sync::Notify;

use super::{Registered, find, toml};

/// What gets lost next.
#[derive(Clone, Copy)]
enum Loss {
    Request,
    Response,
}

/// What a sink takes before it waits.
const BYTES_MAX: usize = 20_000;

#[derive(Default)]
struct World {
    delivered: Mutex<Vec<Delivered>>,
    restarts: AtomicUsize,
    loses: Mutex<Option<Loss>>,
    has_lost: AtomicBool,
    left_behind: Mutex<Vec<Change>>,
    stalls: AtomicBool,
    stalled: Notify,
    held: AtomicUsize,
}

/// A sink into memory.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReferenceConfig {
    /// The number of the world.
    world: u64,
    /// What it does wrong.
    defect: String,
}

struct Reference {
    world: Arc<World>,
    defect: String,
    opened_at: usize,
    span: Vec<Change>,
    flushes: usize,
    written: usize,
}

register_sink!("reference", ReferenceConfig);

#[async_trait]
impl Config for ReferenceConfig {
    type Opens = dyn Sink;

    async fn open(self, _: &Context) -> Result<Box<dyn Sink>> {
        let world = find::<World>(self.world).ok_or_else(|| Error::fatal("no world"))?;
        world.held.fetch_add(1, Ordering::SeqCst);
        let opened_at = world.restarts.load(Ordering::SeqCst);
        let (span, flushes, written) = (Vec::new(), 0, 0);
        Ok(Box::new(Reference { world, defect: self.defect, opened_at, span, flushes, written }))
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        if self.defect == "what a dropped sink held arrives later" {
            self.world.left_behind.lock().unwrap().append(&mut self.span);
        }
        if self.defect != "a dropped sink keeps its connection" {
            self.world.held.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl Sink for Reference {
    async fn write(&mut self, changes: &[Change]) -> Result<()> {
        for change in changes {
            let known = self.span.iter().any(|known| known.id == change.id);
            if known && self.defect == "a duplicate in a span is fatal" {
                return Err(Error::fatal("duplicate"));
            }
            self.span.push(change.clone());
        }
        let is_full = bytes(&self.span) > BYTES_MAX && self.world.stalls.load(Ordering::SeqCst);
        if is_full && self.defect != "nothing bounds what is taken" {
            self.world.stalled.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        self.flushes += 1;
        if self.flushes == 5 && self.defect == "the fifth flush does nothing" {
            return Ok(());
        }
        if self.span.is_empty() && self.defect == "an empty flush is fatal" {
            return Err(Error::fatal("nothing to flush"));
        }
        if self.world.restarts.load(Ordering::SeqCst) != self.opened_at {
            return Err(match self.defect.as_str() {
                "a restart is fatal" => Error::fatal("restarted"),
                _ => Error::transient("restarted"),
            });
        }
        if self.world.stalls.load(Ordering::SeqCst) {
            if self.defect == "a flush does not wait" {
                return Ok(());
            }
            self.world.stalled.notify_one();
            std::future::pending::<()>().await;
        }
        self.apply()
    }
}

impl Reference {
    fn apply(&mut self) -> Result<()> {
        let loss = self.world.loses.lock().unwrap().take();
        self.world.has_lost.fetch_or(loss.is_some(), Ordering::SeqCst);
        if let Some(Loss::Request) = loss {
            return match self.defect.as_str() {
                "a lost request is taken for delivered" => Ok(()),
                "a lost request is fatal" => Err(Error::fatal("no answer")),
                _ => Err(Error::transient("no answer")),
            };
        }
        let first = self.written;
        let mut span = std::mem::take(&mut self.span);
        self.written += span.len();
        if self.defect == "changes of a key are turned round" {
            span.reverse();
            span.sort_by_key(key);
        }
        let mut rejected = Vec::new();
        let mut delivered = self.world.delivered.lock().unwrap();
        let fails_at_once =
            self.defect == "neighbours of a poison change are lost" && span.iter().any(is_poison);
        for (index, change) in span.iter().enumerate() {
            if is_poison(change) {
                rejected.push(index);
            } else if !fails_at_once {
                let change = self.arriving(change);
                let known = delivered.iter().any(|known| known.id == change.id);
                if known && self.defect == "a duplicate is fatal" {
                    return Err(Error::fatal("duplicate"));
                }
                delivered.push(change);
            }
        }
        if self.defect == "indexes are counted from the opening" {
            rejected.iter_mut().for_each(|index| *index += first);
        }
        if !rejected.is_empty() {
            return Err(Error::rejected(rejected, "poison"));
        }
        let left_behind = std::mem::take(&mut *self.world.left_behind.lock().unwrap());
        delivered.extend(left_behind.iter().map(|change| self.arriving(change)));
        match loss {
            Some(_) if self.defect == "a lost answer is fatal" => Err(Error::fatal("no answer")),
            Some(_) => Err(Error::transient("no answer")),
            None => Ok(()),
        }
    }

    fn arriving(&self, change: &Change) -> Delivered {
        let nothing = Row::default();
        let values = change.image().unwrap_or(&nothing).values();
        let columns = change.table.columns.iter().map(|column| column.name.to_string());
        let known = columns.zip(values).filter(|(_, value)| value.is_known());
        let row = known.map(|(name, value)| (name, self.json(value))).collect::<Map<_, _>>();
        let operation = match change.operation {
            Operation::Read if self.defect == "a row of a snapshot is an insert" => {
                Operation::Insert
            }
            operation => operation,
        };
        Delivered { id: change.id().to_string(), operation, row }
    }

    fn json(&self, value: &Value) -> Json {
        use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
        match value {
            Value::Null | Value::Unknown => Json::Null,
            Value::Bool(value) => json!(value),
            Value::Int(value) => json!(value),
            Value::Float(value) => json!(value.to_string()),
            Value::Float32(value) => json!(value.to_string()),
            Value::Decimal(text) if self.defect == "a decimal is made a float" => {
                json!(text.parse::<f64>().unwrap())
            }
            Value::Decimal(text) | Value::Text(text) | Value::Json(text) => json!(text),
            Value::RawText(bytes) | Value::Bytes(bytes) => json!(BASE64.encode(bytes)),
            Value::Uuid(bytes) => json!(format!("{:032x}", u128::from_be_bytes(*bytes))),
            Value::Date(date) => json!(date.to_string()),
            Value::Time(time) => json!(time.to_string()),
            Value::DateTime(time) => json!(time.to_string()),
            Value::Timestamp(time) => json!(time.to_string()),
            Value::Array(values) => values.iter().map(|value| self.json(value)).collect(),
            _ => Json::Null,
        }
    }
}

/// Of the texts alone.
fn bytes(changes: &[Change]) -> usize {
    let text = |change: &Change| match change.after.as_ref().map(|row| row[1].clone()) {
        Some(Value::Text(text)) => text.len(),
        _ => 0,
    };
    changes.iter().map(text).sum()
}

fn key(change: &Change) -> i64 {
    match change.image().map(|row| row[0].clone()) {
        Some(Value::Int(key)) => key,
        _ => 0,
    }
}

fn is_poison(change: &Change) -> bool {
    change.after.as_ref().is_some_and(|row| row[1] == Value::from("poison"))
}

pub(crate) struct Harness(pub(crate) &'static str);

#[async_trait]
impl SinkHarness for Harness {
    fn plugin(&self) -> &str {
        "reference"
    }

    async fn downstream(&self) -> Result<Arc<dyn Downstream>> {
        Ok(Arc::new(Memory(Registered::new(World::default()), self.0)))
    }
}

struct Memory(Registered<World>, &'static str);

#[async_trait]
impl Downstream for Memory {
    fn settings(&self) -> String {
        toml(self.0.number, self.1)
    }

    async fn delivered(&self) -> Result<Vec<Delivered>> {
        Ok(self.0.world.delivered.lock().unwrap().clone())
    }

    fn poison(&self, mut change: Change) -> Change {
        change.after = Some(Row::new([Value::Int(key(&change)), Value::from("poison")]));
        change
    }

    async fn restart(&self) -> Result<()> {
        self.0.world.restarts.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn lose_response(&self) -> Result<()> {
        *self.0.world.loses.lock().unwrap() = Some(Loss::Response);
        Ok(())
    }

    async fn lose_request(&self) -> Result<()> {
        *self.0.world.loses.lock().unwrap() = Some(Loss::Request);
        Ok(())
    }

    async fn has_lost(&self) -> Result<bool> {
        Ok(self.0.world.has_lost.load(Ordering::SeqCst))
    }

    fn bytes_max(&self) -> Result<usize> {
        Ok(BYTES_MAX)
    }

    async fn stall(&self) -> Result<()> {
        self.0.world.stalls.store(true, Ordering::SeqCst);
        Ok(())
    }

    async fn stalled(&self) -> Result<()> {
        self.0.world.stalled.notified().await;
        Ok(())
    }

    async fn resume(&self) -> Result<()> {
        self.0.world.stalls.store(false, Ordering::SeqCst);
        Ok(())
    }

    async fn held(&self) -> Result<usize> {
        Ok(self.0.world.held.load(Ordering::SeqCst))
    }
}
