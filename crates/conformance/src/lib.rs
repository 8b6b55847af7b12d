//! What every Rowtide plugin must do, as tests.
//!
//! A plugin brings a *harness*: how to make a system to read from or write to, and what settings a
//! user would write for it. The suite brings the scenarios. `tests/conformance.rs` of a plugin, a
//! `[[test]]` with `harness = false`, is all of this:
//!
//! ```no_run
//! use std::{process::ExitCode, sync::Arc};
//! use rowtide_conformance::{Capability, Result, SourceHarness, Suite, Upstream, async_trait};
//! // use my_plugin as _;   // naming the crate is what registers the plugin
//!
//! struct Mine;
//!
//! #[async_trait]
//! impl SourceHarness for Mine {
//!     fn plugin(&self) -> &str {
//!         "mine"
//!     }
//!     fn lacks(&self) -> Vec<(Capability, &'static str)> {
//!         vec![(Capability::Writes, "it makes its changes up")]
//!     }
//!     async fn upstream(&self) -> Result<Arc<dyn Upstream>> {
//!         Ok(Arc::new(World))
//!     }
//! }
//!
//! struct World;
//!
//! #[async_trait]
//! impl Upstream for World {
//!     fn settings(&self) -> String {
//!         "every = '1ms'".to_owned()
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     rowtide_conformance::main(vec![Suite::source(Mine)])
//! }
//! ```
//!
//! A scenario that needs a [`Capability`] the harness says it lacks is *ignored*, with the reason,
//! and never passed. A scenario that fails and cannot be mended yet is [waived](Waiver), with a
//! reason; a waiver that is no longer needed is a failure. The plugin is always opened through the
//! registry.

#![warn(missing_docs)]

mod checkpoint;
mod opening;
mod process;
mod scenario;
mod settings;
mod sink;
mod source;
mod suite;

pub use async_trait::async_trait;
pub use rowtide_core::Result;

pub use checkpoint::{CheckpointHarness, Storage};
pub use process::stdout_file;
pub use scenario::{Capability, Failure, Verdict, Waiver};
pub use sink::{Delivered, Downstream, SinkHarness};
pub use source::{SourceHarness, Upstream, Write};
pub use suite::{Suite, main};
