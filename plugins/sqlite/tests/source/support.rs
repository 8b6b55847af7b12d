//! A database, a source on it, and a replica that applies what the source yields.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use futures_util::StreamExt;
use rowtide_core::{
    Change, Context, Error, ErrorKind, Event, EventStream, Operation, Partition, Position, Result,
    Shutdown, Source, Value, plugin::SourceFactory, registry, settings::Settings,
};
use rowtide_sqlite as _;
use rusqlite::Connection;
use serde_json::{Value as Json, json};

pub(crate) struct Upstream {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
    pub(crate) settings: Json,
    pub(crate) pipeline: &'static str,
}

impl Upstream {
    pub(crate) fn new(schema: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        connection.execute_batch(schema).unwrap();
        let settings = json!({"path": path, "prune_every": "never", "poll_every": "20ms"});
        Self { folder, path, settings, pipeline: "p" }
    }

    #[must_use]
    pub(crate) fn with(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.set(key, value);
        self
    }

    pub(crate) fn set(&mut self, key: &str, value: impl Into<Json>) {
        self.settings[key] = value.into();
    }

    pub(crate) fn connect(&self) -> Connection {
        let connection = Connection::open(&self.path).unwrap();
        connection.busy_timeout(Duration::from_secs(20)).unwrap();
        connection.pragma_update(None, "synchronous", "off").unwrap();
        connection
    }

    pub(crate) fn execute(&self, sql: &str) {
        self.connect().execute_batch(sql).unwrap();
    }

    pub(crate) fn context(&self) -> Context {
        Context::new(self.pipeline, Shutdown::never())
    }

    pub(crate) fn factory(&self) -> SourceFactory {
        registry::source("sqlite", &Settings::from(self.settings.clone())).unwrap()
    }

    pub(crate) async fn open(&self) -> Box<dyn Source> {
        self.factory().open(&self.context()).await.unwrap()
    }

    /// The partition of a pipeline's first start.
    pub(crate) async fn first(&self) -> Partition {
        let mut partitions = self.open().await.partitions().await.unwrap();
        partitions.pop().unwrap()
    }

    /// All that is yielded from `from` until the source has caught up.
    pub(crate) async fn read(
        &self,
        partition: &Partition,
        from: Option<Position>,
    ) -> Result<Vec<Event>> {
        let source = self.open().await;
        let mut stream = source.read(partition, from);
        until_idle(&mut stream).await
    }

    /// What ends the reading from `from`, once all before it is saved.
    pub(crate) async fn end(&self, partition: &Partition, from: &Position) -> ErrorKind {
        let source = self.open().await;
        let mut stream = source.read(partition, Some(from.clone()));
        loop {
            let event = match next(&mut stream).await {
                Ok(event) => event,
                Err(error) => return error.kind().clone(),
            };
            assert!(!matches!(event, Event::Idle { .. } | Event::Finished), "there is no error");
            if let Some(position) = position(&event) {
                source.acknowledge(&[(partition.id.clone(), position.clone())]).await.unwrap();
            }
        }
    }

    pub(crate) fn table(&self, name: &str) -> Vec<String> {
        let connection = self.connect();
        let mut statement = connection.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        let mut found = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let values = (0..columns).map(|index| match row.get_ref(index).unwrap() {
                rusqlite::types::ValueRef::Null => Value::Null,
                rusqlite::types::ValueRef::Integer(number) => Value::Int(number),
                rusqlite::types::ValueRef::Real(number) => Value::Float(number),
                rusqlite::types::ValueRef::Text(text) => match std::str::from_utf8(text) {
                    Ok(text) => Value::from(text),
                    Err(_) => Value::RawText(text.into()),
                },
                rusqlite::types::ValueRef::Blob(bytes) => Value::Bytes(bytes.into()),
            });
            found.push(format!("{:?}", values.collect::<Vec<_>>()));
        }
        found.sort();
        found
    }
}

pub(crate) async fn next(stream: &mut EventStream<'_>) -> Result<Event> {
    let event = tokio::time::timeout(Duration::from_secs(30), stream.next()).await;
    event.expect("the source yields nothing").expect("the stream ended")
}

pub(crate) async fn until_idle(stream: &mut EventStream<'_>) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    loop {
        let event = next(stream).await?;
        let is_last = matches!(event, Event::Idle { .. } | Event::Finished);
        events.push(event);
        if is_last {
            return Ok(events);
        }
    }
}

pub(crate) fn position(event: &Event) -> Option<&Position> {
    match event {
        Event::Changes { position, .. } => position.as_ref(),
        Event::Idle { position } => Some(position),
        _ => None,
    }
}

pub(crate) fn changes(events: &[Event]) -> Vec<&Change> {
    let changes = events.iter().filter_map(|event| match event {
        Event::Changes { changes, .. } => Some(changes),
        _ => None,
    });
    changes.flatten().collect()
}

pub(crate) fn operations(events: &[Event]) -> Vec<&'static str> {
    changes(events).iter().map(|change| change.operation.name()).collect()
}

pub(crate) fn kind(result: Result<Vec<Event>>) -> ErrorKind {
    let error: Error = result.expect_err("there is no error");
    error.kind().clone()
}

/// Tables as a consumer would rebuild them.
#[derive(Clone, Default)]
pub(crate) struct Replica(BTreeMap<String, BTreeMap<String, String>>);

impl Replica {
    pub(crate) fn apply(&mut self, events: &[Event]) {
        for change in changes(events) {
            self.change(change);
        }
    }

    fn change(&mut self, change: &Change) {
        let rows = self.0.entry(change.table.name.to_string()).or_default();
        if change.operation == Operation::SnapshotBegin {
            if change.metadata.as_ref().is_some_and(|it| it.get("replaces").is_some()) {
                rows.clear();
            }
            return;
        }
        let Some(image) = change.image() else { return };
        let key: Vec<_> = change.table.key().into_iter().map(|index| &image[index]).collect();
        let key = format!("{key:?}");
        let visible = change.table.columns.iter().zip(image.values());
        let row: Vec<_> =
            visible.filter(|(column, _)| !column.hidden).map(|(_, value)| value).collect();
        match change.operation {
            Operation::Delete => drop(rows.remove(&key)),
            _ => drop(rows.insert(key, format!("{row:?}"))),
        }
    }

    #[track_caller]
    pub(crate) fn check(&self, upstream: &Upstream, tables: &[&str]) {
        for &table in tables {
            let mut rows: Vec<_> =
                self.0.get(table).map(|rows| rows.values().cloned().collect()).unwrap_or_default();
            rows.sort();
            assert_eq!(rows, upstream.table(table), "table {table}");
        }
    }
}

/// Numbers that look random and are the same each time.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Tables with every kind of identity.
pub(crate) const SCHEMA: &str = "
    CREATE TABLE numbered (id INTEGER PRIMARY KEY, x, y TEXT);
    CREATE TABLE named (name TEXT PRIMARY KEY, x);
    CREATE TABLE paired (a, b, x, PRIMARY KEY (b, a)) WITHOUT ROWID;
    CREATE TABLE keyless (x, y);";
pub(crate) const TABLES: [&str; 4] = ["numbered", "named", "paired", "keyless"];

/// A random write to one of the tables of `SCHEMA`.
pub(crate) fn write(connection: &Connection, random: &mut Random) {
    let key = random.below(60);
    let value = match random.below(6) {
        0 => "NULL".to_owned(),
        1 => "9e999".to_owned(),
        2 => format!("x'{:04x}'", random.below(65536)),
        3 => format!("CAST(x'ff{:02x}' AS TEXT)", random.below(256)),
        4 => format!("{}.25", random.below(100)),
        _ => random.below(1000).to_string(),
    };
    let numbered = i64::try_from(key).unwrap() * 1_000_000_007 - 30_000_000_000;
    let sql = match random.below(13) {
        0 | 1 => format!("INSERT OR IGNORE INTO numbered VALUES ({numbered}, {value}, 'a')"),
        2 => format!("UPDATE numbered SET x = {value} WHERE id = {numbered}"),
        3 => format!("DELETE FROM numbered WHERE id = {numbered}"),
        4 | 5 => format!("INSERT OR IGNORE INTO named VALUES ('n{key}', {value})"),
        6 => format!(
            "UPDATE OR IGNORE named SET name = 'n{}' WHERE name = 'n{key}'",
            random.below(60)
        ),
        7 | 8 => {
            format!("INSERT OR IGNORE INTO paired VALUES ({}, coalesce({value}, 1), 1)", key % 7)
        }
        9 => format!("DELETE FROM paired WHERE a = {}", key % 7),
        10 | 11 => format!("INSERT INTO keyless VALUES ({value}, {key})"),
        _ => format!("DELETE FROM keyless WHERE y = {key}"),
    };
    connection.execute_batch(&sql).unwrap();
}
