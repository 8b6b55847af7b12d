//! How settings become a plugin: the configuration is the factory.

use std::fmt;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{CheckpointStore, Context, Result, Sink, Source};

/// The settings of a plugin, which make the plugin.
///
/// The struct derives `Clone`, `Debug` (which must not show a secret: keep those in a
/// [`Secret`](crate::settings::Secret)), `Deserialize` with `deny_unknown_fields`, and `JsonSchema`; the doc
/// comments of its fields are the user's reference. [`Opens`](Self::Opens) says what it makes:
/// `dyn Source`, `dyn Sink` or `dyn CheckpointStore`. No `flatten` and no `untagged`: they ruin the
/// messages.
#[async_trait]
pub trait Config:
    Clone + fmt::Debug + DeserializeOwned + JsonSchema + Send + Sync + 'static
{
    /// The role of the plugin, as a trait object.
    type Opens: ?Sized;

    /// Checks what the types alone cannot. Must not do any I/O: `rowtide check` runs it anywhere.
    ///
    /// # Errors
    /// `Config`, with the key it is about.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Opens the plugin. A source may wait here for its lock, as a standby; then it must give up
    /// on the context's shutdown signal and note the wait in the context.
    async fn open(self, context: &Context) -> Result<Box<Self::Opens>>;

    /// Makes what the plugin needs upstream or downstream (`rowtide setup`), and returns the
    /// statements that do. Installing twice must be harmless.
    async fn install(&self, context: &Context, options: InstallOptions) -> Result<Vec<String>> {
        let _ = (context, options);
        Ok(Vec::new())
    }

    /// Removes what [`install`](Self::install) made (`rowtide teardown`), and returns the
    /// statements that do. Must never drop a table of the user's own rows, such as an outbox.
    async fn uninstall(&self, context: &Context, options: UninstallOptions) -> Result<Vec<String>> {
        let _ = (context, options);
        Ok(Vec::new())
    }

    /// Forgets that this pipeline ever ran (`rowtide checkpoint reset`), so that it can start anew.
    async fn forget(&self, context: &Context) -> Result<()> {
        let _ = context;
        Ok(())
    }
}

/// How [`Config::install`] works.
#[derive(Clone, Copy, Debug)]
pub struct InstallOptions {
    /// Whether the statements are run.
    pub execution: Execution,
    /// Whether the user has agreed to what cannot be undone (`--yes`).
    pub confirmed: bool,
}

/// How [`Config::uninstall`] works.
#[derive(Clone, Copy, Debug)]
pub struct UninstallOptions {
    /// Whether the statements are run.
    pub execution: Execution,
    /// How much is removed.
    pub scope: UninstallScope,
}

/// Whether statements are run, or only returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Execution {
    /// Runs them, and returns them.
    Apply,
    /// Returns them, and changes nothing.
    DryRun,
}

/// How much [`Config::uninstall`] removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UninstallScope {
    /// This pipeline, and what no other pipeline needs once it is gone.
    Pipeline,
    /// What stands in the way of a migration of the user's tables; the next start makes it again.
    Triggers,
    /// Everything, other pipelines included.
    All,
}

/// A [`Config`] without its type: what the engine opens again and again, since recovery drops both
/// ends and makes them anew. `O` is `dyn Source`, `dyn Sink` or `dyn CheckpointStore`.
#[async_trait]
pub trait Factory<O: ?Sized>: fmt::Debug + Send + Sync {
    /// See [`Config::validate`].
    fn validate(&self) -> Result<()>;
    /// See [`Config::open`].
    async fn open(&self, context: &Context) -> Result<Box<O>>;
    /// See [`Config::install`].
    async fn install(&self, context: &Context, options: InstallOptions) -> Result<Vec<String>>;
    /// See [`Config::uninstall`].
    async fn uninstall(&self, context: &Context, options: UninstallOptions) -> Result<Vec<String>>;
    /// See [`Config::forget`].
    async fn forget(&self, context: &Context) -> Result<()>;
}

/// Makes [`Source`]s.
pub type SourceFactory = Box<dyn Factory<dyn Source>>;
/// Makes [`Sink`]s.
pub type SinkFactory = Box<dyn Factory<dyn Sink>>;
/// Makes [`CheckpointStore`]s.
pub type CheckpointFactory = Box<dyn Factory<dyn CheckpointStore>>;

#[async_trait]
impl<C: Config> Factory<C::Opens> for C {
    fn validate(&self) -> Result<()> {
        Config::validate(self)
    }

    async fn open(&self, context: &Context) -> Result<Box<C::Opens>> {
        Config::open(self.clone(), context).await
    }

    async fn install(&self, context: &Context, options: InstallOptions) -> Result<Vec<String>> {
        Config::install(self, context, options).await
    }

    async fn uninstall(&self, context: &Context, options: UninstallOptions) -> Result<Vec<String>> {
        Config::uninstall(self, context, options).await
    }

    async fn forget(&self, context: &Context) -> Result<()> {
        Config::forget(self, context).await
    }
}
