//! What both plugins ask of a disk.

use std::{
    fs::File,
    io::{self, ErrorKind},
    path::Path,
};

use rowtide_core::{Error, Result};
use tokio::task;

/// Makes renamed, new and removed names in `directory` durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

/// The directory that `path` is in.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What was done with a file that somebody else may take; `None` if they have.
pub(crate) fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// An error about `path`: a disk without room gets some, a missing directory does not appear.
pub(crate) fn failure(what: &str, path: &Path, error: io::Error) -> Error {
    let message = format!("failed to {what} `{}`", path.display());
    let classified =
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::transient(message)
                .help("make room on the disk; the pipeline goes on by itself"),
            ErrorKind::NotFound => Error::fatal(message).help("make the directory first"),
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Error::fatal(message).help("let this user write there, or use another path")
            }
            ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::AlreadyExists
            | ErrorKind::InvalidFilename => Error::fatal(message).help("use another path"),
            ErrorKind::FileTooLarge => Error::fatal(message)
                .help("set `rotate_bytes`, or lift the limit on the size of files"),
            _ => Error::transient(message),
        };
    classified.because(error)
}

/// Runs what waits for a disk where it does not hold up anything else.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = task::spawn_blocking(work).await;
    done.map_err(|error| Error::transient("the work on a file was interrupted").because(error))?
}
