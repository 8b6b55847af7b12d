use rowtide_core::{Context, Source};
use rusqlite::Connection;
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::relay::{self, Outcome, factory};

/// A file with whatever table is made in it.
pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) application: Connection,
}

pub(crate) const NUMBERED: &str = "CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT, aggregatetype TEXT, aggregateid TEXT, type TEXT, payload TEXT)";

impl World {
    pub(crate) fn new(table: &str) -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let application = Connection::open(directory.path().join("shop.db"))?;
        application.pragma_update(None, "journal_mode", "wal")?;
        application.pragma_update(None, "wal_autocheckpoint", 0)?;
        application.execute_batch(table)?;
        Ok(Self { directory, application })
    }

    pub(crate) fn url(&self) -> String {
        format!("sqlite:{}", self.directory.path().join("shop.db").display())
    }

    pub(crate) async fn open(
        &self,
        more: Json,
        context: &Context,
    ) -> rowtide_core::Result<Box<dyn Source>> {
        factory(&self.url(), &more)?.open(context).await
    }

    pub(crate) async fn setup(&self, more: Json) -> rowtide_core::Result<Vec<String>> {
        relay::setup(&self.url(), &more).await
    }

    pub(crate) fn insert(&self, label: &str) -> Outcome {
        let insert =
            "INSERT INTO outbox (id, aggregatetype, aggregateid, type) VALUES (?1, 'a', '1', ?1)";
        self.application.execute(insert, [label])?;
        Ok(())
    }

    pub(crate) fn count(&self, query: &str) -> Outcome<i64> {
        Ok(self.application.query_row(query, [], |row| row.get(0))?)
    }
}
