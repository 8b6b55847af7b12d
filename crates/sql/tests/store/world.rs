use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rowtide_core::{
    CheckpointStore, CheckpointUpdate, Claim, Context, Owner, Partition, PartitionState, Position,
    Progress, Result, Shutdown,
    plugin::{CheckpointFactory, Execution, InstallOptions},
    registry,
    settings::Settings,
};
use rowtide_servers::{Kind, Server};

pub(crate) const PIPELINE: &str = "orders";

/// A kind of server, and the plugin for it.
pub(crate) trait Database: 'static {
    /// The name of the plugin.
    const PLUGIN: &'static str;
    /// What is started.
    const KIND: Kind;
    /// The variable that has its URL.
    const VARIABLE: &'static str;

    /// What follows a URL so that its sessions begin with this isolation level; empty where a URL
    /// cannot say it.
    fn isolated(level: &str) -> String;
}

/// A table on a server, made by the plugin's own `setup`.
pub(crate) struct World<D: Database> {
    pub(crate) url: String,
    pub(crate) table: String,
    _database: std::marker::PhantomData<D>,
}

impl<D: Database> World<D> {
    pub(crate) async fn new(server: &Server) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let table = format!("faults_{}_{number}", std::process::id());
        let world = Self::at(server, table);
        let options = InstallOptions { execution: Execution::Apply, confirmed: false };
        world.factory(&world.url, 30)?.install(&context(), options).await?;
        Ok(world)
    }

    /// A world in which nobody has made the table.
    pub(crate) fn at(server: &Server, table: String) -> Self {
        let url = server.variable(D::VARIABLE).expect("the URL of the server").to_owned();
        Self { url, table, _database: std::marker::PhantomData }
    }

    pub(crate) fn factory(&self, url: &str, timeout: u64) -> Result<CheckpointFactory> {
        let text = |text: &str| Settings::Text(text.to_owned());
        let settings = Settings::Table(vec![
            ("database".to_owned(), text(url)),
            ("table".to_owned(), text(&self.table)),
            ("timeout".to_owned(), text(&format!("{timeout}s"))),
        ]);
        let factory = registry::checkpoint(D::PLUGIN, &settings)?;
        factory.validate()?;
        Ok(factory)
    }

    pub(crate) async fn open(&self) -> Result<Box<dyn CheckpointStore>> {
        self.open_at(&self.url, 30).await
    }

    /// A store that goes by another URL, and gives up after so many seconds.
    pub(crate) async fn open_at(
        &self,
        url: &str,
        timeout: u64,
    ) -> Result<Box<dyn CheckpointStore>> {
        self.factory(url, timeout)?.open(&context()).await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let after = self.url.split("127.0.0.1:").nth(1).expect("a server on loopback");
        let port = after.split('/').next().and_then(|port| port.parse().ok()).expect("a port");
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// The URL with another server in it.
    pub(crate) fn by(&self, proxy: SocketAddr) -> String {
        self.url.replace(&self.address().to_string(), &proxy.to_string())
    }
}

pub(crate) fn context() -> Context {
    Context::new(PIPELINE, Shutdown::never())
}

pub(crate) fn owner(process: u32) -> Owner {
    let since = "2026-11-21T12:00:00Z".parse().expect("a time");
    Owner { host: "a host".to_owned(), process, since }
}

/// Three partitions, each at `number`.
pub(crate) fn update(number: u64) -> CheckpointUpdate {
    CheckpointUpdate { states: states(number), forgotten: Vec::new() }
}

pub(crate) fn states(number: u64) -> Vec<PartitionState> {
    let state = |id: &str| PartitionState {
        partition: Partition::new(id),
        progress: Progress::Delivered(Position::encode(&number).expect("a position")),
    };
    vec![state("a"), state("b"), state("c")]
}

/// Saves again and again, as the engine does, until it is saved.
pub(crate) async fn save_at_last(
    store: &dyn CheckpointStore,
    claim: &Claim,
    update: &CheckpointUpdate,
) -> Result<()> {
    loop {
        match store.save(claim, update).await {
            Err(error) if error.is_transient() => {
                // The pause of the engine; what is waited for is the next answer.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            saved => return saved,
        }
    }
}

/// Runs a trial on a runtime of its own.
pub(crate) fn run(trial: impl Future<Output = crate::store::Outcome>) -> crate::store::Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let limit = Duration::from_secs(120);
    runtime.block_on(async { tokio::time::timeout(limit, trial).await? })
}
