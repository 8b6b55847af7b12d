use std::{
    collections::HashMap,
    fs,
    io::{
        self,
        ErrorKind::{InvalidInput, PermissionDenied, Unsupported},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rowtide_core::{
    CheckpointStore, CheckpointUpdate, Claim, Error, Owner, PartitionState, Result, async_trait,
};
use rowtide_failpoint::reach;
use rowtide_lockfile::LockFile;

use crate::{
    checkpoint_file::{self, Contents},
    disk,
};

pub(crate) struct FileStore {
    directory: PathBuf,
    /// The locks of the pipelines that were claimed here. Saves take turns on it too.
    locks: Arc<Mutex<HashMap<String, LockFile>>>,
}

impl FileStore {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, locks: Arc::default() }
    }

    fn path(&self, pipeline: &str) -> PathBuf {
        checkpoint_file::path(&self.directory, pipeline)
    }
}

#[async_trait]
impl CheckpointStore for FileStore {
    async fn load(&self, pipeline: &str) -> Result<Vec<PartitionState>> {
        let (path, pipeline) = (self.path(pipeline), pipeline.to_owned());
        let contents = disk::blocking(move || checkpoint_file::read(&path, &pipeline)).await?;
        Ok(contents.map(|contents| contents.states).unwrap_or_default())
    }

    async fn claim(&self, pipeline: &str, owner: &Owner) -> Result<Claim> {
        let (path, locks) = (self.path(pipeline), Arc::clone(&self.locks));
        let claim = Claim { pipeline: pipeline.to_owned(), epoch: 1, owner: owner.clone() };
        disk::blocking(move || {
            let mut locks = turn(&locks);
            if !locks.contains_key(&claim.pipeline) {
                let directory = disk::directory_of(&path);
                make_directory(directory, &mut disk::sync_directory)
                    .map_err(|error| disk::failure("make the directory", directory, error))?;
                let lock = checkpoint_file::lock(&path, &claim.owner)?;
                reach!("file checkpoint: locked, not claimed");
                // Held from here on: nobody else may claim between the reading and the writing.
                let claim = claim_file(&path, claim)?;
                locks.insert(claim.pipeline.clone(), lock);
                return Ok(claim);
            }
            claim_file(&path, claim)
        })
        .await
    }

    async fn save(&self, claim: &Claim, update: &CheckpointUpdate) -> Result<()> {
        let (path, locks) = (self.path(&claim.pipeline), Arc::clone(&self.locks));
        let (claim, update) = (claim.clone(), update.clone());
        disk::blocking(move || {
            let _turn = turn(&locks);
            save(&path, &claim, update)
        })
        .await
    }
}

/// A thread that panicked left the file as it was or as it should be.
fn turn(locks: &Mutex<HashMap<String, LockFile>>) -> MutexGuard<'_, HashMap<String, LockFile>> {
    locks.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes `directory` and those above it that are missing, from the top, each durable before the
/// next. So only the last that is there can be one that a predecessor made and did not make durable.
fn make_directory(
    directory: &Path,
    sync: &mut dyn FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let parent = disk::directory_of(directory);
    if directory.is_dir() {
        return match sync(parent) {
            // Another user's, or of a file system that cannot do it, so not of our making.
            Err(error) if matches!(error.kind(), PermissionDenied | InvalidInput | Unsupported) => {
                Ok(())
            }
            synced => synced,
        };
    }
    if parent != directory {
        make_directory(parent, sync)?;
    }
    match fs::create_dir(directory) {
        // Another pipeline was faster.
        Err(_) if directory.is_dir() => {}
        made => made?,
    }
    sync(parent)
}

fn claim_file(path: &Path, mut claim: Claim) -> Result<Claim> {
    let contents = checkpoint_file::read(path, &claim.pipeline)?;
    let states = contents.map_or_else(Vec::new, |contents| {
        claim.epoch = contents.claim.epoch + 1;
        contents.states
    });
    checkpoint_file::write(path, &Contents { claim: claim.clone(), states })?;
    Ok(claim)
}

fn save(path: &Path, claim: &Claim, update: CheckpointUpdate) -> Result<()> {
    let Some(mut contents) = checkpoint_file::read(path, &claim.pipeline)? else {
        return Err(Error::fatal(format!("the checkpoint `{}` is gone", path.display()))
            .help("somebody removed it during the run; the next start begins anew"));
    };
    if contents.claim != *claim {
        return Err(Error::claim_lost(&claim.pipeline, &contents.claim.owner));
    }
    if update.states.is_empty() && update.forgotten.is_empty() {
        return Ok(());
    }
    for state in update.states {
        let same = contents.states.iter_mut().find(|old| old.partition.id == state.partition.id);
        match same {
            Some(old) => *old = state,
            None => contents.states.push(state),
        }
    }
    contents.states.retain(|state| !update.forgotten.contains(&state.partition.id));
    checkpoint_file::write(path, &contents)
}

#[cfg(test)]
mod tests {
    use rowtide_core::{ErrorKind, Partition, PartitionId};
    use rowtide_lockfile::this_process;

    use super::*;

    fn waiting(id: &str) -> PartitionState {
        PartitionState::waiting(Partition::new(id))
    }

    fn update(states: &[&str], forgotten: &[&str]) -> CheckpointUpdate {
        CheckpointUpdate {
            states: states.iter().map(|id| waiting(id)).collect(),
            forgotten: forgotten.iter().map(|id| PartitionId::new(*id)).collect(),
        }
    }

    #[tokio::test]
    async fn a_save_replaces_what_is_given_and_forgets_what_it_is_told_to() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::new(directory.path().join("new/directory"));
        assert_eq!(store.load("p").await.unwrap(), []);
        let claim = store.claim("p", &this_process()).await.unwrap();
        store.save(&claim, &update(&["a", "b"], &[])).await.unwrap();
        store.save(&claim, &update(&["c"], &["a"])).await.unwrap();
        // Beside the run, by another process.
        let other = FileStore::new(directory.path().join("new/directory"));
        assert_eq!(other.load("p").await.unwrap(), [waiting("b"), waiting("c")]);
        assert_eq!(other.load("q").await.unwrap(), []);
    }

    #[test]
    fn every_directory_that_is_made_is_durable_before_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let (top, below) = (directory.path(), |path| directory.path().join(path));
        let made = |path: &Path| {
            let mut synced = Vec::new();
            let mut sync = |path: &Path| {
                synced.push((path.to_owned(), fs::read_dir(path)?.count()));
                Ok(())
            };
            make_directory(path, &mut sync).unwrap();
            synced
        };
        let above = top.parent().unwrap();
        let synced = made(&below("a/b/c"));
        assert_eq!(synced[0].0, above);
        assert_eq!(synced[1..], [(top.into(), 1), (below("a"), 1), (below("a/b"), 1)]);
        assert!(below("a/b/c").is_dir());
        // It may have been made by one that died before it made it durable.
        assert_eq!(made(&below("a/b/c")), [(below("a/b"), 1)]);
        fs::write(below("file"), "").unwrap();
        assert!(make_directory(&below("file/x"), &mut |_| Ok(())).is_err());
    }

    #[tokio::test]
    async fn a_running_pipeline_shuts_out_a_second_store_until_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let first = FileStore::new(directory.path().into());
        let owner = this_process();
        let claim = first.claim("p", &owner).await.unwrap();
        let second = FileStore::new(directory.path().into());
        let error = second.claim("p", &this_process()).await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Fatal);
        assert!(error.message().contains(&owner.to_string()), "{error}");
        second.claim("q", &this_process()).await.unwrap();
        first.save(&claim, &update(&["a"], &[])).await.unwrap();
        drop(first);

        // A recovery proves its old claim with a new store.
        second.save(&claim, &update(&[], &[])).await.unwrap();
        let later = second.claim("p", &this_process()).await.unwrap();
        assert!(later.epoch > claim.epoch);
        let error = second.save(&claim, &update(&[], &[])).await.unwrap_err();
        assert!(error.is_claim_lost());
        assert_eq!(second.load("p").await.unwrap(), [waiting("a")]);
    }

    #[tokio::test]
    async fn a_checkpoint_that_was_removed_during_the_run_is_fatal() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::new(directory.path().into());
        let claim = store.claim("p", &this_process()).await.unwrap();
        fs::remove_file(store.path("p")).unwrap();
        let error = store.save(&claim, &update(&["a"], &[])).await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Fatal);
    }
}
