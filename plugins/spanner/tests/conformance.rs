//! What every source and every checkpoint store must do, on the emulator.

mod emulator;

use std::{process::ExitCode, sync::Arc, time::Duration};

use rowtide_conformance::{
    Capability, CheckpointHarness, Result, SourceHarness, Storage, Suite, Upstream, async_trait,
};
use rowtide_core::{Partition, Position};
use rowtide_servers::{Kind, absence};
use rowtide_spanner as _;

use emulator::{
    Dialect, Emulator,
    metadata::{Metadata, partition, position},
    world::World,
};

struct Spanner {
    emulator: Emulator,
    dialect: Dialect,
    snapshot: &'static str,
}

#[async_trait]
impl SourceHarness for Spanner {
    fn plugin(&self) -> &str {
        "spanner"
    }

    fn lacks(&self) -> Vec<(Capability, &'static str)> {
        let mut lacks = vec![
            (Capability::Restart, "the emulator keeps everything in memory"),
            (Capability::Held, "the emulator does not tell what it holds"),
        ];
        match self.emulator {
            Emulator::Churning => {
                lacks.push((Capability::Elsewhere, "no partition lives long enough to be quiet"));
            }
            Emulator::Calm => lacks.push((Capability::Children, "its partitions live too long")),
        }
        if self.snapshot == "never" {
            lacks.push((Capability::Snapshot, "the settings want none"));
        }
        lacks
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    async fn upstream(&self) -> Result<Arc<dyn Upstream>> {
        Ok(Arc::new(World::make(self.emulator, self.dialect, self.snapshot).await?))
    }
}

struct Table(Dialect);

#[async_trait]
impl CheckpointHarness for Table {
    fn plugin(&self) -> &str {
        "spanner"
    }

    fn lacks(&self) -> Vec<(Capability, &'static str)> {
        vec![
            (Capability::Pipelines, "the metadata table is one pipeline's"),
            (Capability::Damage, "the columns are those of other programs, and have no digest"),
        ]
    }

    fn partition(&self, id: &str) -> Partition {
        partition(id, 0)
    }

    fn position(&self, number: u64) -> Position {
        position(i64::try_from(number).expect("a small number"), 0)
    }

    fn hard_position(&self) -> Position {
        position(1_700_000_000, 123_456_789)
    }

    async fn storage(&self) -> Result<Arc<dyn Storage>> {
        let metadata = Metadata::make(self.0).await?;
        metadata.install().await?;
        Ok(Arc::new(metadata))
    }
}

fn main() -> ExitCode {
    let reason = absence(&[Kind::Spanner]);
    let suite = |emulator, dialect, snapshot, system: &str| {
        Suite::source(Spanner { emulator, dialect, snapshot })
            .against(system)
            .unavailable(reason.clone())
    };
    let store = |dialect, system: &str| {
        Suite::checkpoint(Table(dialect)).against(system).unavailable(reason.clone())
    };
    rowtide_conformance::main(vec![
        suite(Emulator::Churning, Dialect::GoogleSql, "initial", "googlesql"),
        suite(Emulator::Churning, Dialect::Postgres, "initial", "postgresql"),
        suite(Emulator::Calm, Dialect::GoogleSql, "never", "calm"),
        store(Dialect::GoogleSql, "googlesql"),
        store(Dialect::Postgres, "postgresql"),
    ])
}
