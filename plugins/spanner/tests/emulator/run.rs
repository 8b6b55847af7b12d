//! Reads a source until all its partitions have ended.

use futures_util::StreamExt;
use rowtide_core::{
    Change, Context, Event, Partition, PartitionId, Position, Result, Shutdown, Source, registry,
    settings::Settings,
};

/// What a run has read.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) changes: Vec<Change>,
    pub(crate) finished: Vec<PartitionId>,
    /// After how many changes each position came, and of which partition.
    pub(crate) positions: Vec<(usize, Partition, Position)>,
}

/// Opens a source with these settings.
pub(crate) async fn open(settings: &str) -> Result<Box<dyn Source>> {
    let settings: toml::Table = settings.parse().expect("settings");
    let settings: serde_json::Value = settings.try_into().expect("settings");
    let factory = registry::source("spanner", &Settings::from(settings))?;
    factory.open(&Context::new("test", Shutdown::never())).await
}

/// Reads everything of a pipeline that ends by itself, a partition at a time.
pub(crate) async fn run(settings: &str) -> Result<Run> {
    let source = open(settings).await?;
    let partitions = source.partitions().await?;
    let mut run = Run::default();
    run.read(&*source, partitions).await?;
    Ok(run)
}

impl Run {
    pub(crate) async fn read(
        &mut self,
        source: &dyn Source,
        mut waiting: Vec<Partition>,
    ) -> Result<()> {
        let mut known: Vec<_> = waiting.iter().map(|partition| partition.id.clone()).collect();
        while !waiting.is_empty() {
            let ready = |partition: &Partition| {
                partition.parents.iter().all(|parent| self.finished.contains(parent))
            };
            let next = waiting.iter().position(ready).expect("a partition whose parents ended");
            let partition = waiting.remove(next);
            for child in self.partition(source, &partition, None).await? {
                assert!(child.parents.contains(&partition.id), "a child names its parent");
                if !known.contains(&child.id) {
                    known.push(child.id.clone());
                    waiting.push(child);
                }
            }
        }
        Ok(())
    }

    /// Reads one partition to its end, and returns its children.
    pub(crate) async fn partition(
        &mut self,
        source: &dyn Source,
        partition: &Partition,
        from: Option<Position>,
    ) -> Result<Vec<Partition>> {
        let mut events = source.read(partition, from);
        let mut children = Vec::new();
        while let Some(event) = events.next().await {
            match event? {
                Event::Changes { changes, position } => {
                    self.changes.extend(changes);
                    if let Some(position) = position {
                        self.positions.push((self.changes.len(), partition.clone(), position));
                    }
                }
                Event::Idle { position } => {
                    self.positions.push((self.changes.len(), partition.clone(), position));
                }
                Event::Children { partitions } => children.extend(partitions),
                Event::Finished => self.finished.push(partition.id.clone()),
            }
        }
        assert_eq!(self.finished.last(), Some(&partition.id), "a partition ends with `Finished`");
        Ok(children)
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        let mut ids: Vec<_> = self.changes.iter().map(|change| change.id.to_string()).collect();
        ids.sort();
        ids
    }
}
