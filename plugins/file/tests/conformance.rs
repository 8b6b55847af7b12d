//! What every sink and every checkpoint store must do, for files.

use std::{fs, path::PathBuf, process::ExitCode, sync::Arc};

use rowtide_conformance::{
    Capability, CheckpointHarness, Delivered, Downstream, Result, SinkHarness, Storage, Suite,
    async_trait,
};
use rowtide_core::Error;
use rowtide_file as _;
use tempfile::TempDir;

struct File;

struct Folder(TempDir);

impl Folder {
    fn new() -> Result<Arc<Self>> {
        Ok(Arc::new(Self(TempDir::new().map_err(failed)?)))
    }

    fn checkpoints(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(self.0.path()).map_err(failed)?;
        let files = entries.filter_map(|entry| entry.ok()).map(|entry| entry.path());
        // The locks beside the checkpoints hold nothing that is saved.
        let mut paths: Vec<_> =
            files.filter(|path| !path.display().to_string().ends_with("lock")).collect();
        paths.sort();
        Ok(paths)
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::fatal("the folder of the test failed").because(error)
}

#[async_trait]
impl SinkHarness for File {
    fn plugin(&self) -> &str {
        "file"
    }

    fn lacks(&self) -> Vec<(Capability, &'static str)> {
        vec![
            (Capability::Poison, "a file refuses no change"),
            (Capability::Restart, "there is no server"),
            (Capability::LostResponse, "a system call always returns"),
            (Capability::LostRequest, "a system call always arrives"),
            (Capability::Stall, "a file system does not stall at will; a full disk has its test"),
        ]
    }

    async fn downstream(&self) -> Result<Arc<dyn Downstream>> {
        Ok(Folder::new()?)
    }
}

#[async_trait]
impl Downstream for Folder {
    fn settings(&self) -> String {
        format!("path = '{}/changes.jsonl'", self.0.path().display())
    }

    async fn delivered(&self) -> Result<Vec<Delivered>> {
        let text = fs::read_to_string(self.0.path().join("changes.jsonl")).map_err(failed)?;
        text.lines().map(Delivered::from_line).collect()
    }
}

#[async_trait]
impl CheckpointHarness for File {
    fn plugin(&self) -> &str {
        "file"
    }

    async fn storage(&self) -> Result<Arc<dyn Storage>> {
        Ok(Folder::new()?)
    }
}

#[async_trait]
impl Storage for Folder {
    fn settings(&self) -> String {
        format!("path = '{}'", self.0.path().display())
    }

    async fn stored(&self) -> Result<Vec<Vec<u8>>> {
        self.checkpoints()?.iter().map(|path| fs::read(path).map_err(failed)).collect()
    }

    async fn overwrite(&self, piece: usize, bytes: &[u8]) -> Result<()> {
        fs::write(&self.checkpoints()?[piece], bytes).map_err(failed)
    }
}

fn main() -> ExitCode {
    rowtide_conformance::main(vec![Suite::sink(File), Suite::checkpoint(File)])
}
