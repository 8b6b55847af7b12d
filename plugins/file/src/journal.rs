use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    time::Duration,
};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use rowtide_core::{Error, Result, settings::ByteSize};
use rowtide_failpoint::reach;
use rowtide_lockfile::{LockFile, this_process};

use crate::{
    age::Age,
    compression::{self, Compression},
    disk,
    names::Names,
    place,
    succession::{Tenure, User},
};

/// A file system takes its times from a clock that goes in steps, and is behind by up to one.
const TICK: Duration = Duration::from_millis(10);

/// A file of whole lines that only this process appends to, and its predecessors.
///
/// After an error it must be dropped and opened again.
pub(crate) struct Journal {
    names: Names,
    rotation: Rotation,
    file: File,
    /// Counted from the first line of the file.
    age: Age,
    /// When the file before was closed, or later; no name goes before it.
    last_closing: DateTime,
    length: u64,
    /// How much of the file is on the disk for certain.
    durable: u64,
    /// Whether a name was made or changed that may not be durable yet.
    has_new_name: bool,
    pub(crate) sync: fn(&File) -> io::Result<()>,
    /// Whoever else keeps it has the path refused only until it is dropped.
    pub(crate) user: Option<User>,
    // These two are dropped last, and in this order.
    _lock: LockFile,
    _tenure: Tenure,
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
        let (tenure, user) = Tenure::begin(&names.lock());
        let lock = LockFile::acquire(&names.lock(), &this_process())?;
        compression::tidy(&names, rotation.compression)?;
        let failed = |error| disk::failure("open", path, error);
        let mut file = open(&names).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let length = repair(&mut file).map_err(failed)?;
        reach!("file: torn line cut off");
        Ok(Self {
            names,
            rotation,
            file,
            age: age(&metadata),
            last_closing: last_closing(&metadata),
            length,
            durable: length,
            // A predecessor may have died before it made its last names durable.
            has_new_name: true,
            sync: File::sync_data,
            user: Some(user),
            _lock: lock,
            _tenure: tenure,
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
                self.age = Age::zero();
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
        let is_old = || self.rotation.every.is_some_and(|limit| self.age.elapsed() >= limit);
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
        let closed = self.names.next(Timestamp::now(), self.last_closing).map_err(failed)?;
        self.last_closing = closed.closed_at;
        reach!("file: synced, not renamed");
        place::rename(&active, &closed.plain)?;
        reach!("file: renamed, no file begun");
        self.file = open(&self.names).map_err(|error| disk::failure("open", &active, error))?;
        (self.length, self.durable, self.has_new_name) = (0, 0, true);
        reach!("file: next file begun");
        match self.rotation.compression {
            Some(compression) => compression.compress(&closed.plain),
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

/// The age of a file, as far as the file system knows.
fn age(metadata: &Metadata) -> Age {
    let birth = metadata.created().or_else(|_| metadata.modified());
    birth.map_or_else(|_| Age::zero(), Age::since)
}

/// A time that is not before the closing of the file before, which was closed just before this one
/// was made, as long as the clock did not go back in between.
fn last_closing(metadata: &Metadata) -> DateTime {
    let times = [metadata.created(), metadata.modified()];
    let times = times.into_iter().filter_map(|time| Timestamp::try_from(time.ok()?).ok());
    let latest = times.max().map(|time| TimeZone::UTC.to_datetime(time));
    latest.map_or(DateTime::MIN, |latest| latest.saturating_add(TICK))
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
