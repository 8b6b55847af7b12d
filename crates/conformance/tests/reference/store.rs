use std::{
    collections::{BTreeMap, HashSet},
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rowtide_conformance::{CheckpointHarness, Result, Storage, async_trait};
use rowtide_core::{
    CheckpointStore, CheckpointUpdate, Claim, Context, Error, Owner, PartitionState,
    plugin::Config, register_checkpoint,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

static CLAIMED: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

/// A store in one file.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReferenceConfig {
    /// The file.
    path: PathBuf,
    /// What it does wrong.
    defect: String,
}

struct Reference {
    path: PathBuf,
    defect: String,
    claimed: Mutex<Option<String>>,
    saved: AtomicBool,
}

type Contents = BTreeMap<String, Kept>;

#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    claim: Option<Claim>,
    states: Vec<PartitionState>,
}

register_checkpoint!("reference", ReferenceConfig);

#[async_trait]
impl Config for ReferenceConfig {
    type Opens = dyn CheckpointStore;

    async fn open(self, _: &Context) -> Result<Box<dyn CheckpointStore>> {
        let claimed = Mutex::default();
        let saved = AtomicBool::default();
        let store = Reference { path: self.path, defect: self.defect, claimed, saved };
        if store.is("a damaged store is waited for at opening") && store.read().is_err() {
            return Err(Error::transient("it is damaged, perhaps not for ever"));
        }
        Ok(Box::new(store))
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        if let Some(name) = self.claimed.lock().unwrap().take() {
            CLAIMED.lock().unwrap().remove(&name);
        }
    }
}

impl Reference {
    fn is(&self, defect: &str) -> bool {
        self.defect == defect
    }

    fn name(&self, pipeline: &str) -> String {
        if self.is("names ignore case") { pipeline.to_lowercase() } else { pipeline.to_owned() }
    }

    fn read(&self) -> Result<Contents> {
        let Ok(text) = fs::read_to_string(&self.path) else {
            // Text that is no longer UTF-8 is damage, too.
            return if self.path.exists() { Err(damaged()) } else { Ok(Contents::new()) };
        };
        let (sum, json) = text.split_once('\n').ok_or_else(damaged)?;
        if sum != checksum(json) && !self.is("no checksum is checked") {
            return Err(damaged());
        }
        serde_json::from_str(json).map_err(|error| damaged().because(error))
    }

    fn write(&self, contents: &Contents) -> Result<()> {
        let json = serde_json::to_string(contents).unwrap();
        let new = self.path.with_extension("new");
        let text = format!("{}\n{json}", checksum(&json));
        let written = fs::write(&new, text).and_then(|()| fs::rename(new, &self.path));
        written.map_err(|error| Error::transient("failed to write").because(error))
    }

    fn stored(&self, mut state: PartitionState) -> PartitionState {
        if self.is("the start of a partition is lost") {
            state.partition.start = None;
        }
        state
    }
}

fn damaged() -> Error {
    Error::fatal("the checkpoint is damaged")
}

fn checksum(json: &str) -> String {
    let mut hasher = DefaultHasher::new();
    json.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[async_trait]
impl CheckpointStore for Reference {
    async fn load(&self, pipeline: &str) -> Result<Vec<PartitionState>> {
        match self.read()?.remove(&self.name(pipeline)) {
            Some(kept) => Ok(kept.states),
            None if self.is("an unknown pipeline is an error") => Err(Error::fatal("unknown")),
            None => Ok(Vec::new()),
        }
    }

    async fn claim(&self, pipeline: &str, owner: &Owner) -> Result<Claim> {
        let name = self.name(pipeline);
        if self.is("a second owner is refused without a name") {
            let name = format!("{} {name}", self.path.display());
            if !CLAIMED.lock().unwrap().insert(name.clone()) {
                return Err(Error::fatal("it is in use"));
            }
            *self.claimed.lock().unwrap() = Some(name);
        }
        let mut contents = match self.read() {
            Err(_) if self.is("a claim mends damage by forgetting") => Contents::new(),
            Err(error) if self.is("a damaged store is waited for at a claim") => {
                return Err(Error::transient("perhaps not for ever").because(error));
            }
            read => read?,
        };
        let kept = contents.entry(name).or_insert(Kept { claim: None, states: Vec::new() });
        let epoch = kept.claim.as_ref().map_or(1, |claim| claim.epoch + 1);
        let claim = Claim { pipeline: pipeline.to_owned(), epoch, owner: owner.clone() };
        kept.claim = Some(claim.clone());
        self.write(&contents)?;
        Ok(claim)
    }

    async fn save(&self, claim: &Claim, update: &CheckpointUpdate) -> Result<()> {
        let is_empty = update.states.is_empty() && update.forgotten.is_empty();
        if is_empty && self.is("an empty save is skipped") {
            return Ok(());
        }
        let mut contents = self.read()?;
        let kept = contents.get_mut(&self.name(&claim.pipeline)).ok_or_else(damaged)?;
        let newest = kept.claim.clone().ok_or_else(damaged)?;
        let again = self.saved.load(Ordering::SeqCst) && self.is("an older claim may save later");
        let checked = is_empty || !(again || self.is("an older claim may save"));
        if newest.epoch != claim.epoch && checked {
            return Err(match self.is("a lost claim is an ordinary error") {
                true => Error::fatal("taken over by second"),
                false => Error::claim_lost(&claim.pipeline, &newest.owner),
            });
        }
        if self.is("a save replaces everything") && !is_empty {
            kept.states.clear();
        }
        for state in &update.states {
            let kept = contents.get_mut(&self.name(&claim.pipeline)).ok_or_else(damaged)?;
            kept.states.retain(|known| known.partition.id != state.partition.id);
            kept.states.push(self.stored(state.clone()));
            if self.is("partitions are saved one after another") {
                self.write(&contents)?;
                // As a slow disk would take, so that a kill meets a half save for certain.
                thread::sleep(Duration::from_millis(1));
            }
        }
        let kept = contents.get_mut(&self.name(&claim.pipeline)).ok_or_else(damaged)?;
        if !self.is("nothing is forgotten") {
            kept.states.retain(|known| !update.forgotten.contains(&known.partition.id));
        }
        self.saved.fetch_or(!is_empty, Ordering::SeqCst);
        self.write(&contents)
    }
}

pub(crate) struct Harness(pub(crate) &'static str);

#[async_trait]
impl CheckpointHarness for Harness {
    fn plugin(&self) -> &str {
        "reference"
    }

    async fn storage(&self) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(Folder(TempDir::new().unwrap(), self.0)))
    }
}

struct Folder(TempDir, &'static str);

impl Folder {
    fn path(&self) -> PathBuf {
        self.0.path().join("checkpoint")
    }
}

#[async_trait]
impl Storage for Folder {
    fn settings(&self) -> String {
        format!("path = '{}'\ndefect = '{}'", self.path().display(), self.1)
    }

    async fn stored(&self) -> Result<Vec<Vec<u8>>> {
        Ok(vec![fs::read(self.path()).unwrap()])
    }

    async fn overwrite(&self, _: usize, bytes: &[u8]) -> Result<()> {
        fs::write(self.path(), bytes).unwrap();
        Ok(())
    }
}
