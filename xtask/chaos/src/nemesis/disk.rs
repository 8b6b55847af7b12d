//! A disk of a known size, which becomes full.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
};

use super::{Fault, pause};
use crate::Outcome;

const SIZE: &str = "size=256m";

/// A file system of its own, until it is dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
    is_mounted: bool,
}

impl Disk {
    /// Where nothing may be mounted it is a folder as any other, and is never full.
    pub(crate) fn mount(folder: &Path) -> Outcome<Self> {
        fs::create_dir_all(folder)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(folder);
        let is_mounted = mount.output().is_ok_and(|output| output.status.success());
        Ok(Self { folder: folder.to_owned(), is_mounted })
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        if !self.is_mounted {
            return Vec::new();
        }
        let folder = self.folder.clone();
        vec![Fault::new("disk full", 10, move |chance| {
            let filler = folder.join("filler");
            fill(&filler)?;
            pause(chance, 500, 6_000);
            Ok(fs::remove_file(filler)?)
        })]
    }
}

/// Takes all that is left, to the last byte.
fn fill(path: &Path) -> Outcome {
    let mut file = File::create(path)?;
    for length in [1 << 20, 4096, 1] {
        let block = vec![0; length];
        loop {
            match file.write(&block) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            // It goes with the processes that use it otherwise.
            let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
        }
    }
}
