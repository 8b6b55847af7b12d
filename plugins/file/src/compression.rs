use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use rowtide_core::{Error, Result};
use rowtide_failpoint::reach;

use crate::{
    disk,
    names::{Closed, Names, with_suffix},
};

const BLOCK_BYTES: usize = 16 << 10;

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
    /// whole. Nothing is left to do if somebody has taken the plain one.
    pub(crate) fn compress(self, plain: &Path) -> Result<()> {
        let temporary = with_suffix(plain, &format!("{}.tmp", self.suffix()));
        let compressed = with_suffix(plain, self.suffix());
        let replace = || -> io::Result<()> {
            let Some(file) = disk::unless_gone(File::open(plain))? else { return Ok(()) };
            self.copy(file, &temporary)?;
            reach!("file: compressed, not renamed");
            let renamed = disk::unless_gone(fs::rename(&temporary, &compressed))?;
            if renamed.is_none() {
                // The plain one is all there is, and the next start compresses it.
                return Ok(());
            }
            disk::sync_directory(disk::directory_of(plain))?;
            reach!("file: compressed, plain file not removed");
            disk::unless_gone(fs::remove_file(plain)).map(drop)
        };
        replace().map_err(|error| disk::failure("compress", plain, error))
    }

    /// Whether compressing the plain file again loses nothing of the compressed one beside it.
    ///
    /// Neither name says that its file is whole: other programs compress and unpack to the last name
    /// at once, and what a crash cut short has a part of what is in the other. One of another kind is
    /// left alone, since it would stay beside ours.
    pub(crate) fn surpasses(self, compressed: &Closed) -> io::Result<bool> {
        if compressed.suffix != self.suffix() {
            return Ok(false);
        }
        let Some(mut plain) = disk::unless_gone(File::open(&compressed.plain))? else {
            return Ok(false);
        };
        let Some(compressed) = disk::unless_gone(File::open(compressed.path()))? else {
            return Ok(true);
        };
        let mut compressed = self.reader(compressed)?;
        let (mut block, mut same) = ([0; BLOCK_BYTES], [0; BLOCK_BYTES]);
        loop {
            let length = match compressed.read(&mut block) {
                Ok(0) => return Ok(true),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The disk was read, and this is where the compressed file is torn.
                Err(error) if error.raw_os_error().is_none() => return Ok(true),
                Err(error) => return Err(error),
            };
            match plain.read_exact(&mut same[..length]) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                read => read?,
            }
            if block[..length] != same[..length] {
                return Ok(false);
            }
        }
    }

    fn reader(self, file: File) -> io::Result<Box<dyn Read>> {
        match self {
            Compression::Gzip => Ok(Box::new(flate2::read::MultiGzDecoder::new(file))),
            Compression::Zstd => zstd_reader(file),
        }
    }

    fn copy(self, mut plain: File, to: &Path) -> io::Result<()> {
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

#[cfg(feature = "zstd")]
fn zstd_reader(file: File) -> io::Result<Box<dyn Read>> {
    Ok(Box::new(zstd::Decoder::new(file)?))
}

#[cfg(not(feature = "zstd"))]
fn zstd_reader(_file: File) -> io::Result<Box<dyn Read>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Clears up what a crash left, and compresses what was closed and is not compressed yet.
pub(crate) fn tidy(names: &Names, compression: Option<Compression>) -> Result<()> {
    let failed = |error| disk::failure("clear up beside", &names.active, error);
    let closed = names.closed().map_err(failed)?;
    let (unfinished, closed): (Vec<_>, Vec<_>) =
        closed.into_iter().partition(|closed| closed.suffix.ends_with(".tmp"));
    for closed in unfinished {
        disk::unless_gone(fs::remove_file(closed.path())).map_err(failed)?;
    }
    let Some(compression) = compression else { return Ok(()) };
    for plain in closed.iter().filter(|closed| closed.suffix.is_empty()) {
        let mut compressed =
            closed.iter().filter(|other| other.plain == plain.plain && !other.suffix.is_empty());
        let is_safe = compressed.try_fold(true, |is_safe, compressed| {
            Ok(is_safe && compression.surpasses(compressed)?)
        });
        if is_safe.map_err(failed)? {
            compression.compress(&plain.plain)?;
        }
    }
    Ok(())
}
