//! The emulator: instances and databases made by its administration, rows by the client.

#![expect(dead_code, reason = "each test uses a part of it")]

pub(crate) mod metadata;
pub(crate) mod run;
pub(crate) mod world;

use std::sync::{LazyLock, atomic::AtomicU64, atomic::Ordering};

use rowtide_core::{Error, Result};
use rowtide_fake_spanner::Administration;
pub(crate) use rowtide_fake_spanner::Dialect;
use rowtide_servers::{Kind, Server};
use tonic::Status;

/// Which emulator of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emulator {
    /// Partitions live for one to two seconds.
    Churning,
    /// Partitions live for the emulator's twenty to forty.
    Calm,
}

/// A database of its own, made for one test.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) name: String,
    pub(crate) endpoint: String,
    pub(crate) dialect: Dialect,
}

type Started = Result<Server, rowtide_servers::Error>;

static CHURNING: LazyLock<Started> = LazyLock::new(|| {
    let churn = "--override_change_stream_partition_token_alive_seconds=1";
    Server::start_with(Kind::Spanner, &[churn])
});
static CALM: LazyLock<Started> = LazyLock::new(|| Server::start_with(Kind::Spanner, &[]));

pub(crate) fn failed(what: &str) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> Error {
    move |error| Error::fatal(format!("{what} failed")).because(error)
}

impl Emulator {
    fn endpoint(self) -> Result<String> {
        let server = match self {
            Emulator::Churning => &*CHURNING,
            Emulator::Calm => &*CALM,
        };
        let doing = |error: String| Error::fatal(format!("no emulator: {error}"));
        let server = server.as_ref().map_err(|error| doing(error.to_string()))?;
        let host = server.variable("SPANNER_EMULATOR_HOST");
        Ok(format!("http://{}", host.map_err(|error| doing(error.to_string()))?))
    }

    /// Makes a database with these definitions.
    pub(crate) async fn database(
        self,
        dialect: Dialect,
        definitions: &[String],
    ) -> Result<Database> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("db-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let endpoint = self.endpoint()?;
        let make = async {
            let mut administration = Administration::connect(&endpoint).await?;
            let instance = administration.instance("projects/test", "test").await?;
            administration.database(&instance, &name, dialect, definitions).await
        };
        let name = make.await.map_err(|status| failed("making a database")(status.into()))?;
        Ok(Database { name, endpoint, dialect })
    }
}

impl Database {
    pub(crate) async fn define(&self, definitions: &[String]) -> Result<()> {
        let defined =
            async { self.administration().await?.define(&self.name, definitions).await }.await;
        defined.map_err(|status| failed("defining")(status.into()))
    }

    pub(crate) async fn drop(&self) -> Result<()> {
        let dropped = async { self.administration().await?.drop_database(&self.name).await }.await;
        dropped.map_err(|status| failed("dropping")(status.into()))
    }

    async fn administration(&self) -> Result<Administration, Status> {
        Administration::connect(&self.endpoint).await
    }
}
