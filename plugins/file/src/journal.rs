use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    time::Duration,
};

use jiff::Timestamp;
use rowtide_core::{Error, Result, settings::ByteSize};
use rowtide_failpoint::reach;
use rowtide_lockfile::{LockFile, this_process};

use crate::{
    compression::{self, Compression},
    disk,
    names::Names,
    place,
};

/// A file of whole lines that only this process appends to, and its predecessors.
///
/// After an error it must be dropped and opened again.
pub(crate) struct Journal {
    names: Names,
    rotation: Rotation,
    file: File,
    /// When the first line of the file was written.
    begun: Timestamp,
    length: u64,
    /// How much of the file is on the disk for certain.
    durable: u64,
    /// Whether a name was made or changed that is not durable yet.
    has_new_name: bool,
    sync: fn(&File) -> io::Result<()>,
    _lock: LockFile,
}

/// When a file is closed and the next one begun, and what becomes of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rotation {
    pub(crate) bytes: Option<ByteSize>,
    pub(crate) every: Option<Duration>,
    pub(crate) compression: Option<Compression>,
}

impl Journal {
    pub(crate) fn open(path: &std::path::Path, rotation: Rotation) -> Result<Self> {
        let names = Names::new(path.to_owned());
        let lock = LockFile::acquire(&names.lock(), &this_process())?;
        compression::tidy(&names, rotation.compression)?;
        let has_new_name = !path.exists();
        let failed = |error| disk::failure("open", path, error);
        let mut file = open(&names).map_err(failed)?;
        let length = repair(&mut file).map_err(failed)?;
        reach!("file: torn line cut off");
        let begun = begun(&file).map_err(failed)?;
        Ok(Self {
            names,
            rotation,
            file,
            begun,
            length,
            durable: length,
            has_new_name,
            sync: File::sync_data,
            _lock: lock,
        })
    }

    /// Appends whole lines, to as many files as it takes.
    pub(crate) fn append(&mut self, lines: &[u8]) -> Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            if self.is_due() {
                self.rotate()?;
            }
            if self.length == 0 {
                self.begun = Timestamp::now();
            }
            let (part, next) = rest.split_at(self.room_for(rest));
            if let Err(error) = self.file.write_all(part) {
                return Err(self.give_up("write to", error));
            }
            reach!("file: written, not synced");
            self.length += part.len() as u64;
            rest = next;
        }
        Ok(())
    }

    /// Returns once all that was appended is on the disk.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if self.length > self.durable {
            place::check_unmoved(&self.names.active, &self.file, self.length)?;
        }
        self.sync_file()?;
        if self.has_new_name {
            let directory = self.names.directory();
            let synced = disk::sync_directory(directory);
            synced.map_err(|error| disk::failure("flush", directory, error))?;
            reach!("file: directory synced");
            self.has_new_name = false;
        }
        Ok(())
    }

    fn sync_file(&mut self) -> Result<()> {
        if self.length > self.durable {
            if let Err(error) = (self.sync)(&self.file) {
                return Err(self.give_up("flush", error));
            }
            reach!("file: synced");
            self.durable = self.length;
        }
        Ok(())
    }

    fn is_due(&self) -> bool {
        let is_full = self.rotation.bytes.is_some_and(|limit| self.length >= limit.0);
        let age = || Duration::try_from(Timestamp::now().duration_since(self.begun));
        let is_old = || {
            let every = self.rotation.every;
            every.is_some_and(|limit| age().is_ok_and(|age| age >= limit))
        };
        self.length > 0 && (is_full || is_old())
    }

    /// How many bytes of `lines` go into this file: at least one line, and none in part.
    fn room_for(&self, lines: &[u8]) -> usize {
        let Some(limit) = self.rotation.bytes else { return lines.len() };
        let room = ByteSize(limit.0.saturating_sub(self.length).max(1)).as_usize();
        let Some(beyond) = lines.get(room - 1..) else { return lines.len() };
        let end = beyond.iter().position(|&byte| byte == b'\n');
        end.map_or(lines.len(), |end| room + end)
    }

    /// Closes the file, which is durable before it gets its other name, and begins the next.
    fn rotate(&mut self) -> Result<()> {
        let active = self.names.active.clone();
        place::check_unmoved(&active, &self.file, self.length)?;
        self.sync_file()?;
        let failed = |error| disk::failure("rename", &active, error);
        let closed = self.names.next(Timestamp::now()).map_err(failed)?;
        reach!("file: synced, not renamed");
        fs::rename(&active, &closed).map_err(failed)?;
        reach!("file: renamed, no file begun");
        self.file = open(&self.names).map_err(|error| disk::failure("open", &active, error))?;
        (self.length, self.durable, self.has_new_name) = (0, 0, true);
        reach!("file: next file begun");
        match self.rotation.compression {
            Some(compression) => compression.compress(&closed),
            None => Ok(()),
        }
    }

    /// What a failed write or flush left is cut off, since it may be torn or forgotten by the
    /// system, and it is delivered again. By another handle: this one is not trusted any more.
    fn give_up(&self, what: &str, error: io::Error) -> Error {
        let path = &self.names.active;
        // If this fails too, the next open repairs the torn line, and lines may come twice.
        let _ = self.cut();
        disk::failure(what, path, error)
    }

    fn cut(&self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&self.names.active)?;
        // Never another file, and never to a larger size.
        let is_ours = place::is_at(&self.names.active, &self.file)?;
        if is_ours && file.metadata()?.len() > self.durable {
            file.set_len(self.durable)
        } else {
            Ok(())
        }
    }
}

fn open(names: &Names) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(&names.active)
}

/// Cuts off a torn last line, makes the rest durable, and returns its length. The process before
/// may have been killed before its last flush, and nobody flushes for it but us.
fn repair(file: &mut File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let whole = end_of_last_line(file, length)?;
    if whole < length {
        file.set_len(whole)?;
    }
    if length > 0 {
        file.sync_all()?;
    }
    Ok(whole)
}

fn end_of_last_line(file: &mut File, length: u64) -> io::Result<u64> {
    let mut block = [0; 16 << 10];
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let block = &mut block[..ByteSize(end - start).as_usize()];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(block)?;
        if let Some(index) = block.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + index as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// When the file was made, as far as the file system knows.
fn begun(file: &File) -> io::Result<Timestamp> {
    let metadata = file.metadata()?;
    let time = metadata.created().or_else(|_| metadata.modified())?;
    Ok(Timestamp::try_from(time).unwrap_or_else(|_| Timestamp::now()))
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
