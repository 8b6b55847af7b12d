//! Where positions are kept.

pub(crate) mod remote;

use std::path::{Path, PathBuf};

use fastrand::Rng;

use crate::{Outcome, nemesis::Fault, nemesis::disk::Disk, pipeline::Store};

/// A store in files, on a disk that may become full.
#[derive(Debug)]
pub(crate) struct Local {
    kind: &'static str,
    disk: Disk,
    path: PathBuf,
}

impl Local {
    /// # Errors
    /// The folder cannot be made.
    pub(crate) fn new(folder: &Path, chance: &mut Rng) -> Outcome<Self> {
        let kind = ["sqlite", "file"][chance.usize(..2)];
        let disk = Disk::mount(folder)?;
        Ok(Self { kind, disk, path: folder.join("checkpoint") })
    }
}

impl Store for Local {
    fn settings(&self) -> String {
        format!("type = \"{}\"\npath = \"{}\"", self.kind, self.path.display())
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn files(&self) -> Vec<PathBuf> {
        match self.kind {
            "sqlite" => vec![self.path.clone()],
            _ => {
                let entries = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
                let files = entries.map(|entry| entry.path());
                let is_lock = |path: &PathBuf| path.extension().is_some_and(|end| end == "lock");
                files.filter(|path| path.is_file() && !is_lock(path)).collect()
            }
        }
    }

    fn faults(&self) -> Vec<Fault> {
        self.disk.faults()
    }
}
