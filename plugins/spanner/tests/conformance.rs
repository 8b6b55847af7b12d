//! What every source must do, for change streams of the emulator.

mod emulator;

use std::{process::ExitCode, sync::Arc, time::Duration};

use rowtide_conformance::{Capability, Result, SourceHarness, Suite, Upstream, async_trait};
use rowtide_servers::{Kind, absence};
use rowtide_spanner as _;

use emulator::{Dialect, Emulator, world::World};

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
        let mut lacks = vec![(Capability::Restart, "the emulator keeps everything in memory")];
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

fn main() -> ExitCode {
    let reason = absence(&[Kind::Spanner]);
    let suite = |emulator, dialect, snapshot, system: &str| {
        Suite::source(Spanner { emulator, dialect, snapshot })
            .against(system)
            .unavailable(reason.clone())
    };
    rowtide_conformance::main(vec![
        suite(Emulator::Churning, Dialect::GoogleSql, "initial", "googlesql"),
        suite(Emulator::Churning, Dialect::Postgres, "initial", "postgresql"),
        suite(Emulator::Calm, Dialect::GoogleSql, "never", "calm"),
    ])
}
