use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::Path,
};

use rowtide_core::{Error, Result};
use rowtide_failpoint::reach;

use crate::{
    disk,
    names::{Names, with_suffix},
};

/// How closed files are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Compression {
    /// Read by everything.
    Gzip,
    /// Smaller and faster; not in every build: `full` has it.
    Zstd,
}

impl Compression {
    pub(crate) fn validate(self) -> Result<()> {
        if self == Compression::Zstd && !cfg!(feature = "zstd") {
            let error = Error::config("`zstd` is not in this build").key("compress");
            return Err(error.help("build with `--features full`, or use `gzip`"));
        }
        Ok(())
    }

    fn suffix(self) -> &'static str {
        match self {
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
        }
    }

    /// Puts the compressed file in the place of the plain one; a crash leaves at least one of them
    /// whole.
    pub(crate) fn compress(self, plain: &Path) -> Result<()> {
        let temporary = with_suffix(plain, &format!("{}.tmp", self.suffix()));
        let compressed = with_suffix(plain, self.suffix());
        let replace = || -> io::Result<()> {
            self.copy(plain, &temporary)?;
            reach!("file: compressed, not renamed");
            fs::rename(&temporary, &compressed)?;
            disk::sync_directory(disk::directory_of(plain))?;
            reach!("file: compressed, plain file not removed");
            fs::remove_file(plain)
        };
        replace().map_err(|error| disk::failure("compress", plain, error))
    }

    fn copy(self, from: &Path, to: &Path) -> io::Result<()> {
        let mut plain = File::open(from)?;
        let file = File::create(to)?;
        let file = match self {
            Compression::Gzip => {
                let level = flate2::Compression::default();
                let mut encoder = flate2::write::GzEncoder::new(file, level);
                io::copy(&mut plain, &mut encoder)?;
                encoder.finish()?
            }
            Compression::Zstd => zstd(&mut plain, file)?,
        };
        reach!("file: compressed, not synced");
        file.sync_all()
    }
}

#[cfg(feature = "zstd")]
fn zstd(plain: &mut File, file: File) -> io::Result<File> {
    let mut encoder = zstd::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?;
    io::copy(plain, &mut encoder)?;
    encoder.finish()
}

#[cfg(not(feature = "zstd"))]
fn zstd(_plain: &mut File, _file: File) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Clears up what a crash left, and compresses what was closed and is not compressed yet.
pub(crate) fn tidy(names: &Names, compression: Option<Compression>) -> Result<()> {
    let failed = |error| disk::failure("clear up beside", &names.active, error);
    let closed = names.closed().map_err(failed)?;
    let (plain, rest): (Vec<_>, Vec<_>) =
        closed.into_iter().partition(|closed| closed.suffix.is_empty());
    let (unfinished, finished): (Vec<_>, Vec<_>) =
        rest.into_iter().partition(|closed| closed.suffix.ends_with(".tmp"));
    for closed in unfinished {
        fs::remove_file(closed.path()).map_err(failed)?;
    }
    // A compressed file has its name only once it is whole, so the plain one is not needed.
    let finished: HashSet<_> = finished.into_iter().map(|closed| closed.plain).collect();
    for closed in plain {
        if finished.contains(&closed.plain) {
            fs::remove_file(&closed.plain).map_err(failed)?;
        } else if let Some(compression) = compression {
            compression.compress(&closed.plain)?;
        }
    }
    Ok(())
}
