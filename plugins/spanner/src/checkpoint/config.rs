use std::sync::Arc;

use rowtide_core::{
    CheckpointStore, Context, Error, Result, async_trait,
    plugin::{Config, Execution, InstallOptions, UninstallOptions, UninstallScope},
    register_checkpoint,
    settings::{Period, Secret},
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    SpannerCheckpoint,
    tables::{SUFFIX, Tables},
};
use crate::{
    catalog,
    client::{self, Address, Client},
    config::{Priority, is_identifier, validate_database},
};

/// Keeps the positions of a Spanner source in a metadata table as Apache Beam's, so that a pipeline
/// can move from Dataflow, spream or screamer, and back. One table takes one pipeline. `rowtide
/// setup` makes the table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SpannerCheckpointConfig {
    /// The database of the table, as `projects/P/instances/I/databases/D`. It may be another one
    /// than that of the source.
    database: String,
    /// The metadata table, one that another program left or a new one. A second table beside it,
    /// with `_rowtide` behind the name, keeps the claim.
    table: String,
    /// Whether a run makes the tables if they are not there, as `rowtide setup` does.
    #[serde(default)]
    create: bool,
    /// The priority of all requests. Unset, what Spanner takes by default, which is high.
    priority: Option<Priority>,
    /// The tag of all requests, as Spanner's statistics show it.
    request_tag: Option<String>,
    /// The database role to act as (fine-grained access control).
    role: Option<String>,
    /// Where Spanner is, as `https://host` or, unencrypted, `http://host:port`. Unset, the emulator
    /// that `SPANNER_EMULATOR_HOST` names, or else Google Cloud.
    endpoint: Option<String>,
    /// The JSON of a service account key, an authorized user, an external or an impersonated
    /// account: `{ file = "…" }`, or `"${VARIABLE}"`. Unset, the application default credentials.
    credentials: Option<Secret>,
    /// How long to wait for an answer before trying anew.
    #[serde(default = "thirty_seconds")]
    timeout: Period,
}

fn thirty_seconds() -> Period {
    Period::from_secs(30)
}

register_checkpoint!("spanner", SpannerCheckpointConfig);

/// How long the name of a table may be.
const NAME_MAX: usize = 128;

impl SpannerCheckpointConfig {
    fn tables(&self) -> Tables {
        Tables::new(&self.database, &self.table)
    }

    async fn connect(&self) -> Result<Arc<dyn Client>> {
        client::connect(&Address {
            database: self.database.clone(),
            endpoint: self.endpoint.clone(),
            credentials: self.credentials.clone(),
            role: self.role.clone(),
            priority: self.priority,
            request_tag: self.request_tag.clone(),
        })
        .await
    }

    /// Makes the tables that are not there.
    async fn create(&self, client: &dyn Client) -> Result<Vec<String>> {
        let statements = self.creation(client).await?;
        self.define(client, &statements).await?;
        Ok(statements)
    }

    /// The statements that make the tables; none if they are there.
    async fn creation(&self, client: &dyn Client) -> Result<Vec<String>> {
        let (tables, dialect) = (self.tables(), catalog::dialect(client).await?);
        match tables.exist(client, dialect).await? {
            true => Ok(Vec::new()),
            false => Ok(tables.creation(dialect)),
        }
    }

    async fn define(&self, client: &dyn Client, statements: &[String]) -> Result<()> {
        if statements.is_empty() {
            return Ok(());
        }
        let defined = client.define(statements.to_vec()).await;
        defined.map_err(|failure| {
            let help = "the account needs the role `roles/spanner.databaseAdmin` for this; \
                        `rowtide setup FILE --print` shows the statements for whoever has it";
            failure.error(format!("failed to define {}", self.tables())).help(help)
        })
    }

    /// Refuses to remove the positions of another pipeline.
    async fn check_owner(&self, client: &dyn Client, pipeline: &str) -> Result<()> {
        let tables = self.tables();
        let at = tables.now(client).await?;
        let controls = tables.controls_at(client, at).await?;
        match controls.iter().find(|control| control.pipeline != pipeline) {
            None => Ok(()),
            Some(other) => {
                let message = format!("{tables} is of pipeline `{}`", other.pipeline);
                Err(Error::config(message).key("table"))
            }
        }
    }
}

#[async_trait]
impl Config for SpannerCheckpointConfig {
    type Opens = dyn CheckpointStore;

    fn validate(&self) -> Result<()> {
        validate_database(&self.database)?;
        if !is_identifier(&self.table) || self.table.len() + SUFFIX.len() > NAME_MAX {
            let message = format!("`{}` is not a name for a metadata table", self.table);
            let help = "a name has letters, digits and `_`, begins with a letter, and is at most \
                        120 characters long";
            return Err(Error::config(message).key("table").help(help));
        }
        if self.endpoint.as_ref().is_some_and(|endpoint| !endpoint.contains("://")) {
            let message = "an endpoint begins with http:// or https://";
            return Err(Error::config(message).key("endpoint"));
        }
        Ok(())
    }

    async fn open(self, _context: &Context) -> Result<Box<dyn CheckpointStore>> {
        let client = self.connect().await?;
        if self.create {
            self.create(&*client).await?;
        }
        let store = SpannerCheckpoint::new(client, self.tables(), self.timeout.duration());
        Ok(Box::new(store))
    }

    async fn install(&self, _context: &Context, options: InstallOptions) -> Result<Vec<String>> {
        let client = self.connect().await?;
        match options.execution {
            Execution::Apply => self.create(&*client).await,
            Execution::DryRun => self.creation(&*client).await,
        }
    }

    async fn uninstall(&self, context: &Context, options: UninstallOptions) -> Result<Vec<String>> {
        if options.scope == UninstallScope::Triggers {
            return Ok(Vec::new());
        }
        let client = self.connect().await?;
        if options.scope == UninstallScope::Pipeline {
            self.check_owner(&*client, context.pipeline()).await?;
        }
        let removal = self.tables().removal(&*client).await?;
        if options.execution == Execution::Apply {
            self.define(&*client, &removal).await?;
        }
        Ok(removal)
    }
}
