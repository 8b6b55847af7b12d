//! The `sqlite` checkpoint store: positions in a database file, alone or beside other tables.
//!
//! Each row carries a digest of all its fields, and the claim of a pipeline one of all its rows,
//! since SQLite itself notices neither a flipped digit nor a missing row.

mod checksum;
pub(crate) mod file;

use std::{path::PathBuf, sync::Arc};

use rowtide_core::{
    CheckpointStore, CheckpointUpdate, Claim, Context, Error, Owner, PartitionState, Result,
    async_trait,
    plugin::{Config, Execution, InstallOptions, UninstallOptions, UninstallScope},
    register_checkpoint,
    settings::Period,
};

use crate::{checkpoint::file::CheckpointFile, connection::blocking};

/// Keeps the positions in a SQLite database, which is made if it is not there. Several pipelines
/// can share one.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqliteCheckpointConfig {
    /// The database file. Its folder must exist.
    path: PathBuf,
    /// How long to wait for another program's lock on the file before trying anew.
    #[serde(default = "five_seconds")]
    busy_timeout: Period,
}

fn five_seconds() -> Period {
    Period::from_secs(5)
}

register_checkpoint!("sqlite", SqliteCheckpointConfig);

struct SqliteCheckpoint {
    file: Arc<CheckpointFile>,
}

impl SqliteCheckpointConfig {
    fn file(&self) -> CheckpointFile {
        CheckpointFile::new(self.path.clone(), self.busy_timeout.duration())
    }
}

#[async_trait]
impl Config for SqliteCheckpointConfig {
    type Opens = dyn CheckpointStore;

    fn validate(&self) -> Result<()> {
        if self.path.file_name().is_none() {
            return Err(Error::config("not the name of a file").key("path"));
        }
        Ok(())
    }

    async fn open(self, _context: &Context) -> Result<Box<dyn CheckpointStore>> {
        Ok(Box::new(SqliteCheckpoint { file: Arc::new(self.file()) }))
    }

    async fn install(&self, _context: &Context, options: InstallOptions) -> Result<Vec<String>> {
        if options.execution == Execution::Apply {
            let file = self.file();
            blocking(move || file.install()).await?;
        }
        Ok(file::STATEMENTS.iter().map(|&statement| statement.to_owned()).collect())
    }

    async fn uninstall(&self, context: &Context, options: UninstallOptions) -> Result<Vec<String>> {
        if options.scope == UninstallScope::Triggers {
            return Ok(Vec::new());
        }
        let (file, pipeline) = (self.file(), context.pipeline().to_owned());
        blocking(move || file.remove(&pipeline, options)).await
    }
}

#[async_trait]
impl CheckpointStore for SqliteCheckpoint {
    async fn load(&self, pipeline: &str) -> Result<Vec<PartitionState>> {
        let (file, pipeline) = (Arc::clone(&self.file), pipeline.to_owned());
        blocking(move || file.load(&pipeline)).await
    }

    async fn claim(&self, pipeline: &str, owner: &Owner) -> Result<Claim> {
        let (file, pipeline) = (Arc::clone(&self.file), pipeline.to_owned());
        let owner = owner.clone();
        blocking(move || file.claim(&pipeline, &owner)).await
    }

    async fn save(&self, claim: &Claim, update: &CheckpointUpdate) -> Result<()> {
        let file = Arc::clone(&self.file);
        let (claim, update) = (claim.clone(), update.clone());
        blocking(move || file.save(&claim, &update)).await
    }
}

#[cfg(test)]
mod tests {
    use rowtide_core::{Context, ErrorKind, Partition, PartitionId, Position, Progress, Shutdown};
    use rusqlite::{Connection, types::Value};

    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("c.db")
        }

        async fn open(&self) -> Box<dyn CheckpointStore> {
            let config = SqliteCheckpointConfig { path: self.path(), busy_timeout: five_seconds() };
            config.open(&Context::new("p", Shutdown::never())).await.unwrap()
        }

        /// Two partitions of `p`, and the pipeline `other` beside it.
        async fn filled(&self) -> Vec<PartitionState> {
            let store = self.open().await;
            for pipeline in ["other", "p"] {
                let claim = claim(&*store, pipeline).await.unwrap();
                let states = vec![state("a", "17"), state("b", "3")];
                store.save(&claim, &CheckpointUpdate { states, forgotten: vec![] }).await.unwrap();
            }
            store.load("p").await.unwrap()
        }
    }

    fn state(partition: &str, position: &str) -> PartitionState {
        let mut partition = Partition::new(partition);
        partition.start = Some(Position::from_text("1"));
        PartitionState { partition, progress: Progress::Delivered(Position::from_text(position)) }
    }

    async fn claim(store: &dyn CheckpointStore, pipeline: &str) -> Result<Claim> {
        store.claim(pipeline, &rowtide_lockfile::this_process()).await
    }

    #[tokio::test]
    async fn a_pipeline_never_seen_is_empty_and_makes_no_file() {
        let folder = Folder::new();
        assert!(folder.open().await.load("p").await.unwrap().is_empty());
        assert_eq!(std::fs::read_dir(folder.0.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_is_saved_is_loaded_elsewhere() {
        let folder = Folder::new();
        assert_eq!(folder.filled().await, [state("a", "17"), state("b", "3")]);
        let store = folder.open().await;
        assert_eq!(store.load("other").await.unwrap().len(), 2);
        let claim = claim(&*store, "p").await.unwrap();
        let forgotten = vec![PartitionId::new("a")];
        let update = CheckpointUpdate { states: vec![state("b", "4")], forgotten };
        store.save(&claim, &update).await.unwrap();
        assert_eq!(folder.open().await.load("p").await.unwrap(), [state("b", "4")]);
        assert_eq!(store.load("other").await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn an_older_claim_is_refused_by_name() {
        let folder = Folder::new();
        let store = folder.open().await;
        let old = claim(&*store, "p").await.unwrap();
        store.save(&old, &CheckpointUpdate::default()).await.unwrap();
        let new = claim(&*store, "p").await.unwrap();
        assert!(new.epoch > old.epoch);
        let error = store.save(&old, &CheckpointUpdate::default()).await.unwrap_err();
        assert!(error.is_claim_lost(), "{error}");
        store.save(&new, &CheckpointUpdate::default()).await.unwrap();
    }

    #[tokio::test]
    async fn a_pipeline_is_locked_from_claim_until_the_store_is_dropped() {
        let folder = Folder::new();
        let first = folder.open().await;
        claim(&*first, "p").await.unwrap();
        let second = folder.open().await;
        let error = claim(&*second, "p").await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Fatal);
        claim(&*second, "q").await.unwrap();
        second.load("p").await.unwrap();
        drop(first);
        claim(&*second, "p").await.unwrap();
    }

    fn flipped(value: Value, byte: usize) -> Option<Value> {
        let flip = |mut bytes: Vec<u8>| {
            *bytes.get_mut(byte)? ^= 1;
            Some(bytes)
        };
        match value {
            Value::Text(text) => {
                flip(text.into_bytes()).map(|bytes| Value::Text(String::from_utf8(bytes).unwrap()))
            }
            Value::Blob(bytes) => flip(bytes).map(Value::Blob),
            Value::Integer(number) => flip(number.to_le_bytes().to_vec())
                .map(|bytes| Value::Integer(i64::from_le_bytes(bytes.try_into().unwrap()))),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_flip_of_any_byte_of_any_value_is_noticed() {
        let folder = Folder::new();
        let saved = folder.filled().await;
        let store = folder.open().await;
        let connection = Connection::open(folder.path()).unwrap();
        let columns = [
            ("rowtide_checkpoint", &["pipeline", "partition", "state", "checksum"][..]),
            ("rowtide_claim", &["pipeline", "epoch", "owner", "checkpoint", "checksum"]),
        ];
        let mut flips = 0;
        for (table, columns) in columns {
            let count = if table == "rowtide_claim" { 1 } else { 2 };
            for (column, row) in
                columns.iter().flat_map(|column| (0..count).map(move |row| (column, row)))
            {
                for byte in 0.. {
                    let read = format!(
                        "SELECT {column} FROM {table} WHERE pipeline = 'p' LIMIT 1 OFFSET {row}"
                    );
                    let value: Value = connection.query_row(&read, [], |row| row.get(0)).unwrap();
                    let Some(damaged) = flipped(value.clone(), byte) else { break };
                    let set = format!(
                        "UPDATE {table} SET {column} = ?2 WHERE pipeline IN ('p', ?2) AND {column} = ?1"
                    );
                    assert!(connection.execute(&set, [&value, &damaged]).unwrap() > 0);
                    let loaded = store.load("p").await;
                    let error = loaded.expect_err(&format!("{table}.{column}, byte {byte}"));
                    assert_eq!(error.kind(), &ErrorKind::Fatal, "{error}");
                    let back = format!("UPDATE {table} SET {column} = ?1 WHERE {column} = ?2");
                    connection.execute(&back, [&value, &damaged]).unwrap();
                    flips += 1;
                }
            }
        }
        assert!(flips > 300, "{flips}");
        assert_eq!(store.load("p").await.unwrap(), saved);
    }

    #[tokio::test]
    async fn a_flip_anywhere_in_the_file_is_noticed_or_harmless() {
        let folder = Folder::new();
        let saved = folder.filled().await;
        let bytes = std::fs::read(folder.path()).unwrap();
        // The header is in the first 100.
        for index in (0..100).chain((100..bytes.len()).step_by(11)) {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0x41;
            std::fs::write(folder.path(), damaged).unwrap();
            match folder.open().await.load("p").await {
                Ok(states) => assert_eq!(states, saved, "byte {index}"),
                Err(error) => assert_eq!(error.kind(), &ErrorKind::Fatal, "byte {index}: {error}"),
            }
        }
    }

    #[track_caller]
    fn damage(folder: &Folder, statement: &str) {
        assert!(Connection::open(folder.path()).unwrap().execute(statement, []).is_ok());
    }

    #[tokio::test]
    async fn whatever_is_missing_is_damage() {
        for statement in [
            "DELETE FROM rowtide_checkpoint WHERE pipeline = 'p' AND partition = 'b'",
            "DELETE FROM rowtide_checkpoint WHERE pipeline = 'p'",
            "DELETE FROM rowtide_claim WHERE pipeline = 'p'",
            "DROP TABLE rowtide_claim",
            "DROP TABLE rowtide_checkpoint",
        ] {
            let folder = Folder::new();
            folder.filled().await;
            damage(&folder, statement);
            let store = folder.open().await;
            let error = store.load("p").await.expect_err(statement);
            assert_eq!(error.kind(), &ErrorKind::Fatal);
            claim(&*store, "p").await.expect_err(statement);
        }
        let folder = Folder::new();
        folder.filled().await;
        std::fs::write(folder.path(), "").unwrap();
        assert!(folder.open().await.load("p").await.is_err());
        assert!(claim(&*folder.open().await, "p").await.is_err());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_looked_for_is_not_an_empty_one() {
        let folder = Folder::new();
        // A file where its folder should be.
        std::fs::write(folder.path(), "").unwrap();
        let path = folder.path().join("c.db");
        let config = SqliteCheckpointConfig { path, busy_timeout: five_seconds() };
        let store = config.open(&Context::new("p", Shutdown::never())).await.unwrap();
        let error = store.load("p").await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Config, "{error}");
    }

    #[tokio::test]
    async fn a_file_that_is_moved_away_during_the_run_is_gone_and_not_empty() {
        for mode in ["wal", "delete"] {
            for is_replaced in [false, true] {
                let folder = Folder::new();
                folder.filled().await;
                let application = Connection::open(folder.path()).unwrap();
                application.pragma_update(None, "journal_mode", mode).unwrap();
                let store = folder.open().await;
                let claim = claim(&*store, "p").await.unwrap();
                std::fs::rename(folder.path(), folder.0.path().join("away.db")).unwrap();
                if is_replaced {
                    std::fs::copy(folder.0.path().join("away.db"), folder.path()).unwrap();
                }
                let update = CheckpointUpdate { states: vec![state("a", "18")], forgotten: vec![] };
                for error in [
                    store.load("p").await.unwrap_err(),
                    store.save(&claim, &update).await.unwrap_err(),
                ] {
                    assert_eq!(error.kind(), &ErrorKind::Fatal, "{mode}: {error}");
                    assert!(error.message().contains("gone"), "{mode}: {error}");
                }
            }
        }
    }

    #[tokio::test]
    async fn the_log_of_an_application_is_left_to_it() {
        let folder = Folder::new();
        let application = Connection::open(folder.path()).unwrap();
        application.pragma_update(None, "journal_mode", "wal").unwrap();
        application.execute_batch("CREATE TABLE theirs (x)").unwrap();
        let store = folder.open().await;
        let claim = claim(&*store, "p").await.unwrap();
        for number in 0..600 {
            let states = vec![state("a", &number.to_string())];
            store.save(&claim, &CheckpointUpdate { states, forgotten: vec![] }).await.unwrap();
        }
        drop((application, store));
        let log = folder.0.path().join("c.db-wal");
        // The application was the first to go, so that nobody but us was left.
        assert!(std::fs::metadata(log).unwrap().len() > 1000 * 4096);
    }
}
