//! Whose file stands at a path: ours, or one that must be left alone.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    path::Path,
};

use rowtide_core::{Error, Result};
use rowtide_format::LineKind;

use crate::disk;

/// Refuses to append to what this sink cannot have written, such as a database or a device: the
/// torn last line that is cut off at the opening would be a part of it.
///
/// # Errors
/// `Config` if it is something else than lines of ours.
pub(crate) fn check_ours(path: &Path, lines: LineKind) -> Result<()> {
    let refuse = |what: &str| {
        let help = "name a file that only this sink writes; what is there is left as it is";
        Err(Error::config(format!("`{}` {what}", path.display())).help(help))
    };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(disk::failure("open", path, error)),
    };
    if metadata.is_dir() {
        return refuse("is a directory");
    }
    if !metadata.is_file() {
        return refuse("is no regular file, so nothing in it can be made durable");
    }
    let beginning = beginning(path).map_err(|error| disk::failure("open", path, error))?;
    match *beginning {
        // A crash of the system can leave zeros instead.
        [] | [0 | b'{', ..] => Ok(()),
        // No line has control characters, and a database has.
        _ if lines == LineKind::Text && !beginning.iter().any(is_foreign) => Ok(()),
        _ => refuse("has something else in it than changes"),
    }
}

/// Whether no line can have this byte.
fn is_foreign(byte: &u8) -> bool {
    *byte < 0x20 && *byte != b'\t' && *byte != b'\n'
}

/// The first bytes, without the zeros at their end unless they are all there is.
fn beginning(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(64).read_to_end(&mut bytes)?;
    let length = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    bytes.truncate(length);
    Ok(bytes)
}

/// Makes sure that `file` is what readers find at `path`, with all of its `length`.
///
/// # Errors
/// `Transient` if somebody moved, removed or shortened it: what was not flushed before is written
/// again, to the file that is there then.
pub(crate) fn check_unmoved(path: &Path, file: &File, length: u64) -> Result<()> {
    let found = disk::unless_gone(is_at(path, file));
    match found.map_err(|error| disk::failure("find", path, error))? {
        Some(true) => {}
        Some(false) | None => return Err(interference(path, "moved or removed")),
    }
    match file.metadata() {
        Ok(metadata) if metadata.len() < length => Err(interference(path, "shortened")),
        Ok(_) => Ok(()),
        Err(error) => Err(disk::failure("find", path, error)),
    }
}

/// Closes the file at `active`.
///
/// # Errors
/// `Transient` if it is not there any more, as [`check_unmoved`] has it.
pub(crate) fn rename(active: &Path, closed: &Path) -> Result<()> {
    let renamed = disk::unless_gone(fs::rename(active, closed));
    let renamed = renamed.map_err(|error| disk::failure("rename", active, error))?;
    renamed.ok_or_else(|| interference(active, "moved or removed"))
}

fn interference(path: &Path, how: &str) -> Error {
    Error::transient(format!("`{}` was {how} by somebody else", path.display()))
        .help("set `rotate_bytes` or `rotate_every` to have files closed and renamed")
}

/// Whether `file` is the one at `path`.
pub(crate) fn is_at(path: &Path, file: &File) -> io::Result<bool> {
    Ok(is_same(&fs::metadata(path)?, &file.metadata()?))
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Elsewhere an open file can be neither moved nor removed.
#[cfg(not(unix))]
fn is_same(_one: &Metadata, _other: &Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use rowtide_core::ErrorKind;

    use super::*;

    #[test]
    fn only_lines_of_changes_are_appended_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        check_ours(&path, LineKind::Object).unwrap();
        for ours in ["", "{\"id\":1}\n", "{\"torn", "\0\0\0"] {
            fs::write(&path, ours).unwrap();
            check_ours(&path, LineKind::Object).unwrap();
        }
        for other in ["SQLite format 3\0", "name = \"orders\"\n", "\n", "[]"] {
            fs::write(&path, other).unwrap();
            let error = check_ours(&path, LineKind::Object).unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::Config, "{other}");
            assert_eq!(fs::read_to_string(&path).unwrap(), other);
        }
        for other in [directory.path(), Path::new("/dev/null")] {
            assert_eq!(check_ours(other, LineKind::Object).unwrap_err().kind(), &ErrorKind::Config);
        }
    }

    #[test]
    fn lines_of_an_outbox_may_be_any_text() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        for ours in ["", "{}", "\n\n", "größe\n7\n", "\"\\n\"", "a\tb", "torn\0\0"] {
            fs::write(&path, ours).unwrap();
            check_ours(&path, LineKind::Text).unwrap();
        }
        fs::write(&path, "SQLite format 3\0\u{10}\0\u{1}\u{1}").unwrap();
        assert!(check_ours(&path, LineKind::Text).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_is_moved_removed_or_shortened_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        fs::write(&path, "{}\n").unwrap();
        let file = File::open(&path).unwrap();
        check_unmoved(&path, &file, 3).unwrap();
        check_unmoved(&path, &file, 2).unwrap();
        assert!(check_unmoved(&path, &file, 4).unwrap_err().message().contains("shortened"));
        fs::rename(&path, directory.path().join("y")).unwrap();
        assert!(check_unmoved(&path, &file, 3).unwrap_err().is_transient());
        fs::write(&path, "{}\n").unwrap();
        assert!(check_unmoved(&path, &file, 3).unwrap_err().is_transient());
    }

    #[test]
    fn a_file_that_is_gone_by_the_time_it_is_renamed_is_no_reason_to_stop() {
        let directory = tempfile::tempdir().unwrap();
        let (path, closed) = (directory.path().join("x"), directory.path().join("y"));
        let error = rename(&path, &closed).unwrap_err();
        assert!(error.is_transient(), "{error}");
        fs::write(&path, "{}\n").unwrap();
        rename(&path, &closed).unwrap();
        assert!(closed.exists() && !path.exists());
    }
}
