use rowtide_core::{
    CheckpointStore, Context, Result, async_trait,
    plugin::{Config, Execution, InstallOptions, UninstallOptions, UninstallScope},
    register_checkpoint,
    settings::{Period, Secret, Tls},
};
use rowtide_sql::{
    DatabaseUrl, Dialect, TableName,
    checkpoint::{Store, Table},
    postgres,
};

use crate::table::PostgresTable;

/// Keeps the positions in a table of a PostgreSQL database. Several pipelines can share one.
/// `rowtide setup` makes the table.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct PostgresCheckpointConfig {
    /// The URL of the database: `postgres://user:password@host:port/database`.
    database: Secret,
    /// How the connection is encrypted. Unset, it is if the server can, and nothing is checked.
    tls: Option<Tls>,
    /// The table: `name` or `schema.name`.
    #[serde(default = "rowtide_checkpoint")]
    table: String,
    /// How long to wait for an answer of the server before connecting anew.
    #[serde(default = "thirty_seconds")]
    timeout: Period,
}

fn rowtide_checkpoint() -> String {
    "rowtide_checkpoint".to_owned()
}

fn thirty_seconds() -> Period {
    Period::from_secs(30)
}

register_checkpoint!("postgres", PostgresCheckpointConfig);

impl PostgresCheckpointConfig {
    fn name(&self) -> Result<TableName> {
        TableName::parse(&self.table).map_err(|error| error.key("table"))
    }

    fn table(&self) -> Result<PostgresTable> {
        let url = DatabaseUrl::parse(&self.database)?;
        let options = postgres::options(&url, self.tls.as_ref())?;
        Ok(PostgresTable::new(options, &self.name()?, self.timeout.duration()))
    }
}

#[async_trait]
impl Config for PostgresCheckpointConfig {
    type Opens = dyn CheckpointStore;

    fn validate(&self) -> Result<()> {
        self.name()?;
        DatabaseUrl::check(&self.database, self.tls.as_ref(), &[Dialect::Postgres])
    }

    async fn open(self, _context: &Context) -> Result<Box<dyn CheckpointStore>> {
        Ok(Box::new(Store::new(self.table()?, self.timeout.duration())))
    }

    async fn install(&self, _context: &Context, options: InstallOptions) -> Result<Vec<String>> {
        let table = self.table()?;
        let statement = table.creation();
        if options.execution == Execution::Apply {
            let mut connection = table.connect().await?;
            table.run(&mut connection, &statement).await?;
        }
        Ok(vec![statement])
    }

    async fn uninstall(&self, context: &Context, options: UninstallOptions) -> Result<Vec<String>> {
        if options.scope == UninstallScope::Triggers {
            return Ok(Vec::new());
        }
        let table = self.table()?;
        let mut connection = table.connect().await?;
        let removal = table.removal(&mut connection, context.pipeline(), options.scope).await?;
        if options.execution == Execution::Apply {
            for statement in &removal {
                table.run(&mut connection, statement).await?;
            }
        }
        Ok(removal)
    }
}
