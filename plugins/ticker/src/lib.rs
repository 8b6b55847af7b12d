#![doc = include_str!("../README.md")]

use std::sync::Arc;

use futures_util::{StreamExt, TryFutureExt, stream};
use rowtide_core::{
    Change, ChangeId, Column, ColumnType, Context, Event, EventStream, Operation, Partition,
    Position, Result, Row, Source, Table, Value, async_trait, plugin::Config, register_source,
    settings::Period,
};

/// Makes up one insert after another, numbered from 1.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct TickerConfig {
    /// The time between two changes.
    #[serde(default = "every_second")]
    every: Period,
}

fn every_second() -> Period {
    Period::from_secs(1)
}

struct Ticker {
    every: Period,
    table: Arc<Table>,
}

register_source!("ticker", TickerConfig);

#[async_trait]
impl Config for TickerConfig {
    type Opens = dyn Source;

    async fn open(self, _context: &Context) -> Result<Box<dyn Source>> {
        let number = Column::new("number", ColumnType::Int).in_key(0);
        let table = Arc::new(Table::new("ticks", vec![number]));
        Ok(Box::new(Ticker { every: self.every, table }))
    }
}

impl Source for Ticker {
    fn read(&self, _partition: &Partition, from: Option<Position>) -> EventStream<'_> {
        let ticks = async move {
            let last = from.map_or(Ok(0), |position| position.decode::<i64>())?;
            let idle = Event::Idle { position: Position::encode(&last)? };
            let rest = stream::iter(last + 1..).then(async |number| self.tick(number).await);
            Ok(stream::once(async { Ok(idle) }).chain(rest))
        };
        Box::pin(ticks.try_flatten_stream())
    }
}

impl Ticker {
    async fn tick(&self, number: i64) -> Result<Event> {
        tokio::time::sleep(self.every.duration()).await;
        let id = ChangeId::new("tick").major(number.unsigned_abs());
        let mut change = Change::new(id, Arc::clone(&self.table), Operation::Insert);
        change.after = Some(Row::new([Value::from(number)]));
        Ok(Event::Changes { changes: vec![change], position: Some(Position::encode(&number)?) })
    }
}
