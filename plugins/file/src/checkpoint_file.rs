//! The file of one pipeline: `rowtide-checkpoint 1 SHA256`, a line break, and JSON.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use rowtide_core::{Claim, Error, PartitionState, Result};
use rowtide_failpoint::reach;
use rowtide_lockfile::{LockFile, this_process};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{disk, names::with_suffix};

const HEADER: &str = "rowtide-checkpoint 1 ";

/// File systems allow 255 bytes in a name, and suffixes come on top.
const NAME_BYTES_MAX: usize = 200;

/// What a file holds: the last claim, and what was saved under it and its predecessors.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contents {
    pub(crate) claim: Claim,
    pub(crate) states: Vec<PartitionState>,
}

/// The file of `pipeline`. Names that differ have paths that differ, whatever is in them, also
/// where the file system takes capitals for small letters.
pub(crate) fn path(directory: &Path, pipeline: &str) -> PathBuf {
    let mut name = String::new();
    for byte in pipeline.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            _ => drop(write!(name, "%{byte:02x}")),
        }
    }
    if name.len() > NAME_BYTES_MAX {
        name.truncate(NAME_BYTES_MAX / 2);
        name.push('%');
        name.push_str(&hex_digest(pipeline.as_bytes()));
    }
    directory.join(format!("{name}.checkpoint"))
}

/// Locks the file, which need not be there.
pub(crate) fn lock(path: &Path, owner: &rowtide_core::Owner) -> Result<LockFile> {
    LockFile::acquire(&with_suffix(path, ".lock"), owner)
}

/// What the file holds; `None` if there is none.
pub(crate) fn read(path: &Path, pipeline: &str) -> Result<Option<Contents>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(disk::failure("read", path, error)),
    };
    let contents = decode(&bytes).map_err(|why| damaged(path, why))?;
    if contents.claim.pipeline != pipeline {
        return Err(damaged(path, "it is of another pipeline"));
    }
    Ok(Some(contents))
}

/// Puts `contents` in the place of what the file holds, durably, or leaves it as it is.
pub(crate) fn write(path: &Path, contents: &Contents) -> Result<()> {
    let bytes = encode(contents)?;
    let temporary = with_suffix(path, ".tmp");
    let replace = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        reach!("file checkpoint: written, not synced");
        file.sync_all()?;
        drop(file);
        reach!("file checkpoint: synced, not renamed");
        fs::rename(&temporary, path)?;
        reach!("file checkpoint: renamed, directory not synced");
        disk::sync_directory(disk::directory_of(path))
    };
    replace().map_err(|error| disk::failure("save", path, error))
}

/// Removes the file, unless a running process holds it.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let _lock = lock(path, &this_process())?;
    let removed =
        fs::remove_file(path).and_then(|()| disk::sync_directory(disk::directory_of(path)));
    removed.map_err(|error| disk::failure("remove", path, error))
}

fn encode(contents: &Contents) -> Result<Vec<u8>> {
    let body = serde_json::to_vec(contents)
        .map_err(|error| Error::fatal("failed to encode a checkpoint").because(error))?;
    Ok(sealed(&body))
}

/// Puts the first line before a body.
pub(crate) fn sealed(body: &[u8]) -> Vec<u8> {
    let mut bytes = HEADER.as_bytes().to_vec();
    bytes.extend_from_slice(hex_digest(body).as_bytes());
    bytes.push(b'\n');
    bytes.extend_from_slice(body);
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Contents, &'static str> {
    let rest = bytes.strip_prefix(HEADER.as_bytes()).ok_or("it does not begin as one")?;
    let line = rest.iter().position(|&byte| byte == b'\n').ok_or("its first line is torn")?;
    let (digest, body) = (&rest[..line], &rest[line + 1..]);
    if digest != hex_digest(body).as_bytes() {
        return Err("its checksum does not match");
    }
    serde_json::from_slice(body).map_err(|_| "a newer version wrote it")
}

fn hex_digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn damaged(path: &Path, why: &str) -> Error {
    let path = path.display();
    Error::fatal(format!("`{path}` is not a sound checkpoint: {why}")).help(format!(
        "restore it from a backup, or remove `{path}` to begin anew as the source's settings say"
    ))
}

#[cfg(test)]
mod tests {
    use rowtide_core::{ErrorKind, Partition, Position, Progress};

    use super::*;

    fn contents() -> Contents {
        let claim = Claim { pipeline: "p".to_owned(), epoch: 3, owner: this_process() };
        let position = Position::encode(&(7, "x")).unwrap();
        let state = PartitionState {
            partition: Partition::whole(),
            progress: Progress::Delivered(position),
        };
        Contents { claim, states: vec![state] }
    }

    #[test]
    fn what_was_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = path(directory.path(), "p");
        assert_eq!(read(&path, "p").unwrap(), None);
        fs::write(with_suffix(&path, ".tmp"), "left by a crash").unwrap();
        assert_eq!(read(&path, "p").unwrap(), None);
        write(&path, &contents()).unwrap();
        assert_eq!(read(&path, "p").unwrap(), Some(contents_of(&path)));
        assert_eq!(read(&path, "q").unwrap_err().kind(), &ErrorKind::Fatal);
    }

    fn contents_of(path: &Path) -> Contents {
        let bytes = fs::read(path).unwrap();
        let contents = decode(&bytes).unwrap();
        assert_eq!(contents.states, self::contents().states);
        contents
    }

    #[test]
    fn damage_of_any_byte_is_noticed() {
        let bytes = encode(&contents()).unwrap();
        for index in 0..bytes.len() {
            for flip in 1..=255 {
                let mut damaged = bytes.clone();
                damaged[index] ^= flip;
                assert!(decode(&damaged).is_err(), "byte {index} xor {flip}");
            }
        }
    }

    #[test]
    fn truncation_at_any_length_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = path(directory.path(), "p");
        let bytes = encode(&contents()).unwrap();
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            let error = read(&path, "p").unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::Fatal, "{length} bytes");
            assert!(error.message().contains("p.checkpoint"), "{error}");
        }
        fs::write(&path, [&bytes[..], b"\n"].concat()).unwrap();
        assert!(read(&path, "p").is_err());
    }

    #[test]
    fn every_pipeline_has_a_path_of_its_own() {
        let long = "x".repeat(300);
        let names = ["a", "A", "%41", "a/b", "a%2fb", "..", "", "ä", &long, &long[1..]];
        let paths: std::collections::HashSet<_> =
            names.iter().map(|name| path(Path::new("d"), name)).collect();
        assert_eq!(paths.len(), names.len());
        for path in paths {
            assert_eq!(path.parent(), Some(Path::new("d")));
            assert!(path.file_name().unwrap().len() < 250);
        }
    }
}
