use std::{sync::Arc, time::Duration};

use google_cloud_spanner::{
    client::DatabaseClient,
    key::{Key, KeySet},
    mutation::{Mutation, WriteBuilder},
    read,
    transaction::ReadWriteTransaction,
    value::Value,
};
use rowtide_core::{Result, async_trait};
use tokio::{runtime::Handle, sync::oneshot, task::spawn_blocking};

use super::{Raw, failure, google_priority};
use crate::client::{Address, Cell, Code, Failure, Keys, Lookup, Reads, Work, Write};

/// How long a transaction is tried that others are in the way of.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `work` until it is committed or fails. The library does it again if it is aborted.
///
/// On a thread that may wait: the library's future cannot be proved to be `Send`, whatever it runs.
pub(super) async fn run(
    database: DatabaseClient,
    address: Arc<Address>,
    work: Arc<dyn Work>,
) -> Result<Result<()>, Failure> {
    let (_still_wanted, unwanted) = oneshot::channel::<()>();
    let runtime = Handle::current();
    let waiting = spawn_blocking(move || {
        runtime.block_on(async {
            tokio::select! {
                ran = transaction(&database, address, work) => ran,
                _ = unwanted => Err(broken_off("nobody waits for the transaction any more")),
            }
        })
    });
    waiting.await.unwrap_or_else(|error| Err(broken_off(&error.to_string())))
}

fn broken_off(message: &str) -> Failure {
    Failure { code: Code::Unavailable, message: message.to_owned() }
}

async fn transaction(
    database: &DatabaseClient,
    address: Arc<Address>,
    work: Arc<dyn Work>,
) -> Result<Result<()>, Failure> {
    let mut builder = database.read_write_transaction().with_transaction_timeout(PATIENCE);
    if let Some(priority) = address.priority {
        builder = builder.set_commit_priority(google_priority(priority));
    }
    if let Some(tag) = &address.request_tag {
        builder = builder.set_transaction_tag(tag);
    }
    let attempt =
        async |transaction| attempt(transaction, Arc::clone(&address), Arc::clone(&work)).await;
    let ran = builder.build().run(attempt).await;
    ran.map(|committed| committed.result).map_err(failure)
}

/// What the work refuses is not the library's business: it commits then that nothing was written,
/// and by that, what was read.
async fn attempt(
    transaction: ReadWriteTransaction,
    address: Arc<Address>,
    work: Arc<dyn Work>,
) -> google_cloud_spanner::Result<Result<()>> {
    let mut reads = GoogleReads { transaction, address, failed: None };
    match work.run(&mut reads).await {
        Ok(writes) => {
            reads.transaction.buffer(writes.into_iter().map(mutation))?;
            Ok(Ok(()))
        }
        Err(error) => match reads.failed {
            Some(failed) => Err(failed),
            None => Ok(Err(error)),
        },
    }
}

struct GoogleReads {
    transaction: ReadWriteTransaction,
    address: Arc<Address>,
    /// Why a read failed, as the library has to know it.
    failed: Option<google_cloud_spanner::Error>,
}

#[async_trait]
impl Reads for GoogleReads {
    async fn rows(&mut self, lookup: Lookup<'_>) -> Result<Vec<Vec<Cell>>, Failure> {
        let columns: Vec<_> = lookup.columns.iter().map(|column| (*column).to_owned()).collect();
        let mut read = read::ReadRequest::builder(lookup.table.to_owned(), columns)
            .with_keys(keys(lookup.keys));
        if let Some(priority) = self.address.priority {
            read = read.set_priority(google_priority(priority));
        }
        if let Some(tag) = &self.address.request_tag {
            read = read.set_request_tag(tag);
        }
        let mut rows = match self.transaction.execute_read(read.build()).await {
            Ok(rows) => rows,
            Err(error) => return Err(self.failed(error)),
        };
        let mut all = Vec::new();
        loop {
            match rows.next().await.transpose() {
                Ok(Some(row)) => {
                    all.push(row.into_values().into_iter().map(Raw).map(Cell::from).collect())
                }
                Ok(None) => return Ok(all),
                Err(error) => return Err(self.failed(error)),
            }
        }
    }
}

impl GoogleReads {
    fn failed(&mut self, error: google_cloud_spanner::Error) -> Failure {
        let message = error.to_string();
        self.failed = Some(error);
        Failure { code: Code::Unavailable, message }
    }
}

fn keys(keys: Keys) -> KeySet {
    match keys {
        Keys::All => KeySet::all(),
        Keys::These(keys) => these(keys),
    }
}

fn these(keys: Vec<String>) -> KeySet {
    let key = |text: String| Key::new(vec![Value::from(text)]);
    keys.into_iter().fold(KeySet::builder(), |set, text| set.add_key(key(text))).build()
}

fn mutation(write: Write) -> Mutation {
    let set = |builder: WriteBuilder, (column, cell): (&'static str, Cell)| {
        builder.set(column).to(Raw::from(cell).0)
    };
    match write {
        Write::Insert { table, values } => {
            values.into_iter().fold(Mutation::new_insert_builder(table), set).build()
        }
        Write::Update { table, values } => {
            values.into_iter().fold(Mutation::new_update_builder(table), set).build()
        }
        Write::Delete { table, keys } => Mutation::delete(table, these(keys)),
    }
}
