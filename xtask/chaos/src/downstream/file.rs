//! The files of a folder: those that were closed, by their names, and the one that is written.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use fastrand::Rng;
use flate2::read::GzDecoder;

use crate::{Outcome, nemesis::Fault, pipeline::Downstream};

const STEM: &str = "changes";

/// How often files are looked at until none is renamed meanwhile.
const LOOKS: usize = 100;

#[derive(Debug)]
pub(crate) struct Files {
    folder: PathBuf,
    rotation: String,
    /// How many lines closed files have: they never change.
    closed: Mutex<HashMap<String, u64>>,
}

impl Files {
    pub(crate) fn new(folder: &Path, chance: &mut Rng) -> Self {
        let rotation = match chance.u8(..4) {
            0 => String::new(),
            1 => format!("rotate_every = \"{}ms\"\n", chance.u32(500..5_000)),
            _ => format!("rotate_bytes = {}\n", chance.u32(20_000..2_000_000)),
        };
        let is_compressed = !rotation.is_empty() && chance.bool();
        let rotation = rotation + if is_compressed { "compress = \"gzip\"\n" } else { "" };
        Self { folder: folder.to_owned(), rotation, closed: Mutex::default() }
    }

    /// The files in their order, the one that is written last.
    fn list(&self) -> Outcome<Vec<PathBuf>> {
        let mut closed = BTreeMap::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let middle = name.strip_prefix(STEM).and_then(|rest| rest.split_once(".jsonl"));
            let Some((time, suffix)) = middle.filter(|(time, _)| !time.is_empty()) else {
                continue;
            };
            let path = self.folder.join(&name);
            match suffix {
                // While it is being compressed both are there.
                "" => drop(closed.insert(time.to_owned(), path)),
                ".gz" => drop(closed.entry(time.to_owned()).or_insert(path)),
                _ => {}
            }
        }
        let mut files: Vec<_> = closed.into_values().collect();
        files.push(self.folder.join(format!("{STEM}.jsonl")));
        Ok(files)
    }

    /// What is seen while no file is renamed, made or compressed; `None` if one always is.
    fn steadily<T>(&self, look: impl Fn() -> Outcome<T>) -> Outcome<Option<T>> {
        for _ in 0..LOOKS {
            let before = self.list()?;
            match look() {
                Ok(seen) if before == self.list()? => return Ok(Some(seen)),
                Err(error) if !is_missing(error.as_ref()) => return Err(error),
                _ => {}
            }
        }
        Ok(None)
    }

    fn count(&self) -> Outcome<u64> {
        let mut known = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let (files, mut sum) = (self.list()?, 0);
        for (number, path) in files.iter().enumerate() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().replace(".gz", "");
            sum += match known.get(&name) {
                Some(lines) => *lines,
                None => {
                    let lines = lines(&read(path)?).count() as u64;
                    if number + 1 < files.len() {
                        known.insert(name, lines);
                    }
                    lines
                }
            };
        }
        Ok(sum)
    }
}

impl Downstream for Files {
    fn settings(&self) -> String {
        let path = self.folder.join(format!("{STEM}.jsonl"));
        format!("type = \"file\"\npath = \"{}\"\n{}", path.display(), self.rotation)
    }

    fn reached(&self) -> Outcome<Option<Vec<u64>>> {
        Ok(self.steadily(|| self.count())?.map(|sum| vec![sum]))
    }

    fn messages(&self, known: &[usize]) -> Outcome<Vec<Vec<Vec<u8>>>> {
        let read = || {
            let mut messages = Vec::new();
            for path in self.list()? {
                messages.extend(lines(&read(&path)?).map(<[u8]>::to_vec));
            }
            Ok(messages)
        };
        let mut messages = self.steadily(read)?.ok_or("there was always another file")?;
        let known = known.first().map_or(0, |known| messages.len().min(*known));
        Ok(vec![messages.split_off(known)])
    }

    fn faults(&self) -> Vec<Fault> {
        Vec::new()
    }
}

fn is_missing(error: &(dyn std::error::Error + 'static)) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    let is_active = path.file_name().is_some_and(|name| name == format!("{STEM}.jsonl").as_str());
    let file = match File::open(path) {
        // Nothing was delivered yet, or it was renamed a moment ago.
        Err(error) if error.kind() == ErrorKind::NotFound && is_active => return Ok(bytes),
        file => file?,
    };
    match path.extension().is_some_and(|extension| extension == "gz") {
        true => GzDecoder::new(file).read_to_end(&mut bytes)?,
        false => (&file).read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}

/// Those that are whole.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    #[test]
    fn lines_are_read_in_the_order_in_which_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path(), &mut Rng::with_seed(1));
        assert_eq!(files.reached().unwrap(), Some(vec![0]));
        let write = |name: &str, text: &[u8]| fs::write(folder.path().join(name), text).unwrap();
        write("changes.jsonl", b"4\n5\nhal");
        write("changes.20260102T000000.000000Z.jsonl", b"3\n");
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(b"1\n2\n").unwrap();
        write("changes.20260101T000000.000000Z.jsonl.gz", &packed.finish().unwrap());
        write("changes.20260102T000000.000000Z.jsonl.gz", b"half of it");
        write("changes.jsonl.lock", b"x\n");
        assert_eq!(files.reached().unwrap(), Some(vec![5]));
        let messages = files.messages(&[]).unwrap().concat();
        assert_eq!(files.messages(&[4]).unwrap(), [[b"5"]]);
        assert_eq!(messages, [b"1", b"2", b"3", b"4", b"5"].map(|line| line.to_vec()));
    }
}
