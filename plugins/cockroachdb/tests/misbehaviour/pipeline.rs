//! Reads as the engine does: saves positions, goes on from them, and is killed.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use futures_util::StreamExt;
use rowtide_core::{
    Change, Context, Error, Event, EventStream, Partition, Position, Result, Row, Shutdown, Source,
    Value, registry, settings::Settings,
};
use rowtide_fake_cockroachdb::Hlc;
use serde_json::Value as Json;
use tokio::time::timeout;

use crate::validators::{Validator, Version};

/// How long a read waits for an event before something else is tried.
const GLANCE: Duration = Duration::from_millis(30);

/// A pipeline of one partition, and what is known of it.
pub(crate) struct Pipeline<'v> {
    settings: Json,
    partition: Option<Partition>,
    saved: Option<Position>,
    pub(crate) validators: Vec<Box<dyn Validator + 'v>>,
}

/// What became of a look at the stream.
#[derive(Debug, PartialEq)]
pub(crate) enum Glance {
    Event,
    Nothing,
    /// The stream failed for a while, and must be read anew.
    Broken,
}

impl<'v> Pipeline<'v> {
    pub(crate) fn new(settings: Json, validators: Vec<Box<dyn Validator + 'v>>) -> Self {
        Self { settings, partition: None, saved: None, validators }
    }

    /// Opens a source, as often as that takes.
    pub(crate) async fn open(&mut self) -> Result<(Box<dyn Source>, Partition)> {
        for validator in &mut self.validators {
            validator.note_restart();
        }
        loop {
            match self.try_open().await {
                Err(error) if error.is_transient() => tokio::task::yield_now().await,
                other => return other,
            }
        }
    }

    async fn try_open(&mut self) -> Result<(Box<dyn Source>, Partition)> {
        let settings = Settings::from(self.settings.clone());
        let factory = registry::source("cockroachdb", &settings)?;
        let source = factory.open(&Context::new("p", Shutdown::never())).await?;
        let partition = match &self.partition {
            Some(partition) => partition.clone(),
            None => source.partitions().await?.remove(0),
        };
        self.partition = Some(partition.clone());
        Ok((source, partition))
    }

    pub(crate) fn read<'s>(
        &self,
        source: &'s dyn Source,
        partition: &Partition,
    ) -> EventStream<'s> {
        source.read(partition, self.saved.clone())
    }

    /// Takes an event, if one is there.
    pub(crate) async fn glance(&mut self, stream: &mut EventStream<'_>) -> Result<Glance> {
        let Ok(next) = timeout(GLANCE, stream.next()).await else { return Ok(Glance::Nothing) };
        match next {
            Some(Ok(event)) => self.note(event).map(|()| Glance::Event),
            Some(Err(error)) if error.is_transient() => Ok(Glance::Broken),
            Some(Err(error)) => Err(error),
            None => Err(Error::fatal("the stream ended")),
        }
    }

    fn note(&mut self, event: Event) -> Result<()> {
        let (changes, position) = match event {
            Event::Changes { changes, position } => (changes, position),
            Event::Idle { position } => (Vec::new(), Some(position)),
            other => return Err(Error::fatal(format!("unexpected {other:?}"))),
        };
        for version in changes.iter().filter_map(version) {
            for validator in &mut self.validators {
                validator.note_change(&version).map_err(Error::fatal)?;
            }
        }
        if let Some(position) = position {
            let at = resolved(&position);
            for validator in &mut self.validators {
                validator.note_resolved(at).map_err(Error::fatal)?;
            }
            self.saved = Some(position);
        }
        Ok(())
    }

    /// Asks the validators whether what came proves anything.
    pub(crate) fn conclude(&self) -> Result<()> {
        self.validators.iter().try_for_each(|own| own.conclude()).map_err(Error::fatal)
    }

    /// Up to when all is saved.
    pub(crate) fn saved_at(&self) -> Hlc {
        self.saved.as_ref().map(resolved).unwrap_or_default()
    }
}

fn resolved(position: &Position) -> Hlc {
    let json: HashMap<String, Json> = serde_json::from_str(position.text()).expect("JSON");
    json["at"].as_str().and_then(|text| text.parse().ok()).expect("a timestamp")
}

/// A change as the validators look at it; `None` for a mark.
fn version(change: &Change) -> Option<Version> {
    let said = |name: &str| match change.metadata.as_ref()?.get(name)? {
        Value::Text(text) => Some(text.to_string()),
        _ => None,
    };
    let row = |row: &Option<Row>| row.as_ref().map(|row| columns(change, row));
    let key = change.table.key().first().map(|&index| change.image().map(|row| &row[index]));
    let Some(Some(Value::Int(key))) = key else { return None };
    Some(Version {
        table: change.table.name.to_string(),
        family: said("family").unwrap_or_default(),
        key: *key,
        updated: said("updated")?.parse().ok()?,
        operation: change.operation,
        before: row(&change.before),
        after: row(&change.after),
    })
}

fn columns(change: &Change, row: &Row) -> BTreeMap<String, String> {
    let pairs = change.table.columns.iter().zip(row.values());
    let known = pairs.filter(|(_, value)| value.is_known());
    known.map(|(column, value)| (column.name.to_string(), text(value))).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
        other => format!("{other:?}"),
    }
}
