//! A lock of the operating system on a file that names its holder.
//!
//! The lock ends with the process, however it ends, so nothing is ever left locked. The file stays:
//! removing it would let two processes lock two files of one name. Two locks of one path exclude
//! each other within a process too, until the first is dropped.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::Path,
    process,
};

use jiff::Timestamp;
use rowtide_core::{Error, Owner, Result};

/// A lock that is held until it is dropped.
#[derive(Debug)]
#[must_use = "the lock ends when this is dropped"]
pub struct LockFile {
    file: File,
}

impl LockFile {
    /// Locks `path`, which is made if it is not there, in the name of `owner`. Does not wait.
    ///
    /// # Errors
    /// `Fatal` if somebody holds it, naming them; `Transient` if there is no room for the file;
    /// `Fatal` for whatever else makes it impossible.
    pub fn acquire(path: &Path, owner: &Owner) -> Result<LockFile> {
        attempt(path, owner)?.map_err(|mut file| held(path, &mut file))
    }

    /// As [`acquire`](Self::acquire), for who tries again later: `None` if somebody holds it.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), but for a lock that is held.
    pub fn try_acquire(path: &Path, owner: &Owner) -> Result<Option<LockFile>> {
        Ok(attempt(path, owner)?.ok())
    }
}

/// The lock, or the file that somebody else has locked.
fn attempt(path: &Path, owner: &Owner) -> Result<Result<LockFile, File>> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| failure(path, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Err(file)),
        Err(TryLockError::Error(error)) => return Err(failure(path, error)),
    }
    // The lock holds whether or not there is room for the name.
    let _ = name_holder(&mut file, owner);
    Ok(Ok(LockFile { file }))
}

impl Drop for LockFile {
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
        // Closing is not enough: a child process being started may hold a copy for a moment.
        let _ = self.file.unlock();
    }
}

/// This process, since now, as the owner of what it locks.
pub fn this_process() -> Owner {
    Owner { host: host_name(), process: process::id(), since: Timestamp::now() }
}

fn host_name() -> String {
    let from_kernel = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = from_kernel
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok());
    let name = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    name.unwrap_or_else(|| "localhost".to_owned())
}

fn name_holder(file: &mut File, owner: &Owner) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(&serde_json::to_vec(owner)?)
}

fn held(path: &Path, file: &mut File) -> Error {
    let mut text = String::new();
    let holder = file.read_to_string(&mut text).ok().and_then(|_| serde_json::from_str(&text).ok());
    let holder = match holder {
        Some(holder) => Owner::to_string(&holder),
        // It has the lock and has not written its name yet, or could not.
        None => "another process".to_owned(),
    };
    Error::fatal(format!("`{}` is held by {holder}", path.display()))
        .help("stop that process first, or use another path")
}

fn failure(path: &Path, error: io::Error) -> Error {
    let message = format!("failed to lock `{}`", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::transient(message).help("make room on the disk")
        }
        io::ErrorKind::NotFound => Error::fatal(message).help("make the directory first"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::fatal(message).help("let this user write there, or use another path")
        }
        io::ErrorKind::Unsupported => {
            Error::fatal(message).help("use a file system that has locks, such as a local disk")
        }
        _ => Error::fatal(message).help("use another path"),
    }
    .because(error)
}

#[cfg(test)]
mod tests {
    use std::{
        io::BufRead,
        process::{Command, Stdio},
    };

    use rowtide_core::ErrorKind;

    use super::*;

    #[test]
    fn a_lock_excludes_until_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.lock");
        let owner = this_process();
        let lock = LockFile::acquire(&path, &owner).unwrap();
        let error = LockFile::acquire(&path, &owner).unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Fatal);
        assert!(error.message().contains(&owner.to_string()), "{error}");
        assert!(LockFile::try_acquire(&path, &owner).unwrap().is_none());
        drop(lock);
        assert!(LockFile::try_acquire(&path, &owner).unwrap().is_some());
        drop(LockFile::acquire(&path, &owner).unwrap());
    }

    #[test]
    fn an_error_names_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let error = LockFile::acquire(&directory.path().join("no/x"), &this_process()).unwrap_err();
        assert!(error.message().contains("no/x"), "{error}");
    }

    #[test]
    fn a_second_process_is_refused_until_the_first_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.lock");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::hold", "--ignored", "--nocapture"])
            .env("LOCKFILE_TEST_PATH", &path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = io::BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.contains("the lock is held")));

        let error = LockFile::acquire(&path, &this_process()).unwrap_err();
        let name = format!("is held by process {} on {}", child.id(), host_name());
        assert!(error.message().contains(&name), "{error}");

        child.kill().unwrap();
        child.wait().unwrap();
        drop(LockFile::acquire(&path, &this_process()).unwrap());
    }

    #[test]
    #[ignore = "it is the second process of another test"]
    fn hold() {
        let Some(path) = std::env::var_os("LOCKFILE_TEST_PATH") else { return };
        let _lock = LockFile::acquire(Path::new(&path), &this_process()).unwrap();
        println!("the lock is held");
        // Until it is killed, or the other test is gone.
        let _ = io::stdin().read_line(&mut String::new());
    }
}
