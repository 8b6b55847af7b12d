//! What every source must do, for the ticker.

use std::{process::ExitCode, sync::Arc};

use rowtide_conformance::{Capability, Result, SourceHarness, Suite, Upstream, async_trait};
use rowtide_ticker as _;

struct Ticker;

#[async_trait]
impl SourceHarness for Ticker {
    fn plugin(&self) -> &str {
        "ticker"
    }

    fn lacks(&self) -> Vec<(Capability, &'static str)> {
        vec![
            (Capability::Writes, "it makes its changes up"),
            (Capability::Transactions, "nothing is written, so nothing is written together"),
            (Capability::Snapshot, "there is no table"),
            (Capability::Children, "its one partition never ends"),
            (Capability::Elsewhere, "nothing happens but what it makes up"),
            (Capability::Loss, "every number can be made up again"),
            (Capability::Restart, "there is no upstream"),
            (Capability::Held, "there is nothing to hold"),
        ]
    }

    async fn upstream(&self) -> Result<Arc<dyn Upstream>> {
        Ok(Arc::new(Nothing))
    }
}

struct Nothing;

impl Upstream for Nothing {
    fn settings(&self) -> String {
        "every = '1ms'".to_owned()
    }
}

fn main() -> ExitCode {
    rowtide_conformance::main(vec![Suite::source(Ticker)])
}
