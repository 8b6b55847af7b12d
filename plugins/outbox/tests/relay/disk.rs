//! The disk of a server as it was earlier: a volume that is put back to a snapshot of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::relay::Outcome;

/// A copy of all that a server keeps.
pub(crate) struct Copy {
    folder: PathBuf,
    copies: TempDir,
}

impl Copy {
    /// Of a server that does not run.
    pub(crate) fn take(folder: impl Into<PathBuf>) -> Outcome<Self> {
        let (folder, copies) = (folder.into(), tempfile::tempdir()?);
        copy(&folder, &copies.path().join("data"))?;
        Ok(Self { folder, copies })
    }

    /// While the server does not run.
    pub(crate) fn put_back(self) -> Outcome {
        fs::remove_dir_all(&self.folder)?;
        copy(&self.copies.path().join("data"), &self.folder)
    }
}

/// With owners and rights, which servers insist on.
fn copy(from: &Path, to: &Path) -> Outcome {
    let status = Command::new("cp").arg("-a").args([from, to]).status()?;
    if status.success() { Ok(()) } else { Err(format!("cp ended with {status}").into()) }
}
