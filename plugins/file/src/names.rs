use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use jiff::{Timestamp, ToSpan, civil::DateTime, tz::TimeZone};

use crate::disk;

/// When a file was closed, in its name: all of one length, so that the names sort.
const TIME_FORMAT: &str = "%Y%m%dT%H%M%S%.6fZ";
const TIME_LENGTH: usize = "20261121T101500.123456Z".len();

/// The names of a sink's files: `stem.extension` is written, `stem.TIME.extension` are closed.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) active: PathBuf,
    stem: String,
    /// With its point; empty if there is none.
    extension: String,
}

/// A file of a sink that is not written any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    /// Its path while it is not compressed.
    pub(crate) plain: PathBuf,
    /// What its name has after that: nothing, `.gz`, `.gz.tmp` and so on.
    pub(crate) suffix: String,
    pub(crate) closed_at: DateTime,
}

impl Names {
    pub(crate) fn new(active: PathBuf) -> Self {
        let part = |part: Option<&std::ffi::OsStr>| {
            part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let stem = part(active.file_stem());
        let extension = part(active.extension());
        let extension = if extension.is_empty() { extension } else { format!(".{extension}") };
        Self { active, stem, extension }
    }

    pub(crate) fn directory(&self) -> &Path {
        disk::directory_of(&self.active)
    }

    /// The path of the lock that keeps other processes from these files.
    pub(crate) fn lock(&self) -> PathBuf {
        with_suffix(&self.active, ".lock")
    }

    /// The file that is closed `now`: by its name it is later than all that are there, and than what
    /// was closed at `last` and may be somewhere else by now.
    pub(crate) fn next(&self, now: Timestamp, last: DateTime) -> io::Result<Closed> {
        let there = self.closed()?.into_iter().map(|closed| closed.closed_at);
        let latest = there.fold(last, DateTime::max);
        let closed_at = TimeZone::UTC.to_datetime(now).max(latest.saturating_add(1.microsecond()));
        let time = closed_at.strftime(TIME_FORMAT);
        let plain = self.directory().join(format!("{}.{time}{}", self.stem, self.extension));
        Ok(Closed { plain, suffix: String::new(), closed_at })
    }

    /// The closed files, oldest first, and what a crash left of their compression.
    pub(crate) fn closed(&self) -> io::Result<Vec<Closed>> {
        let mut closed = Vec::new();
        for entry in fs::read_dir(self.directory())? {
            closed.extend(entry?.file_name().to_str().and_then(|name| self.parse(name)));
        }
        closed.sort_by_key(|closed: &Closed| closed.closed_at);
        Ok(closed)
    }

    fn parse(&self, name: &str) -> Option<Closed> {
        let rest = name.strip_prefix(&self.stem)?.strip_prefix('.')?;
        let (time, rest) = rest.split_at_checked(TIME_LENGTH)?;
        let closed_at = DateTime::strptime(TIME_FORMAT, time).ok()?;
        let suffix = rest.strip_prefix(&self.extension)?;
        if !matches!(suffix, "" | ".gz" | ".zst" | ".gz.tmp" | ".zst.tmp") {
            return None;
        }
        let plain = self.directory().join(name.strip_suffix(suffix)?);
        Some(Closed { plain, suffix: suffix.to_owned(), closed_at })
    }
}

impl Closed {
    pub(crate) fn path(&self) -> PathBuf {
        with_suffix(&self.plain, &self.suffix)
    }
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(path);
    path.push(suffix);
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(second: i64) -> Timestamp {
        Timestamp::new(1_700_000_000 + second, 0).unwrap()
    }

    #[test]
    fn names_sort_even_if_the_clock_goes_back() {
        let directory = tempfile::tempdir().unwrap();
        for active in ["orders.jsonl", "orders"] {
            let names = Names::new(directory.path().join(active));
            let mut made = Vec::new();
            for second in [5, 3, 3, 9] {
                let path = names.next(time(second), DateTime::MIN).unwrap().plain;
                fs::write(&path, "").unwrap();
                made.push(path);
            }
            assert!(made.is_sorted(), "{made:?}");
            let closed = names.closed().unwrap().into_iter().map(|closed| closed.plain);
            assert_eq!(closed.collect::<Vec<_>>(), made);
        }
    }

    #[test]
    fn names_sort_even_if_the_files_before_are_gone() {
        let directory = tempfile::tempdir().unwrap();
        let names = Names::new(directory.path().join("orders.jsonl"));
        let (mut last, mut made) = (DateTime::MIN, Vec::new());
        for second in [5, 3, 3, 9] {
            let closed = names.next(time(second), last).unwrap();
            last = closed.closed_at;
            made.push(closed.plain);
        }
        assert!(made.is_sorted_by(|one, next| one < next), "{made:?}");
    }

    #[test]
    fn only_names_of_ours_are_taken() {
        let names = Names::new("out/orders.jsonl".into());
        let check = |name: &str| names.parse(name).map(|closed| closed.suffix);
        assert_eq!(check("orders.20261121T101500.123456Z.jsonl").as_deref(), Some(""));
        assert_eq!(check("orders.20261121T101500.123456Z.jsonl.gz").as_deref(), Some(".gz"));
        for name in [
            "orders.jsonl",
            "orders.jsonl.lock",
            "orders.20261121T101500.123456Z.jsonl.bak",
            "orders.20261121T101500.123456Z.json",
            "orders.20261321T101500.123456Z.jsonl",
            "others.20261121T101500.123456Z.jsonl",
        ] {
            assert_eq!(check(name), None, "{name}");
        }
    }
}
