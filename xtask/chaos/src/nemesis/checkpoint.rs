//! Damages what a store keeps.

use std::{
    fs,
    path::{Path, PathBuf},
};

use fastrand::Rng;

use crate::Outcome;

/// Files as they were.
pub(crate) struct Copy(Vec<(PathBuf, Vec<u8>)>);

impl Copy {
    pub(crate) fn take(files: &[PathBuf]) -> Outcome<Self> {
        let copy = |path: &PathBuf| Ok::<_, std::io::Error>((path.clone(), fs::read(path)?));
        Ok(Self(files.iter().filter(|path| path.is_file()).map(copy).collect::<Result<_, _>>()?))
    }

    pub(crate) fn put_back(self) -> Outcome {
        self.0.into_iter().try_for_each(|(path, bytes)| Ok(fs::write(path, bytes)?))
    }
}

/// Turns a bit in one of the files, or cuts it off; says what it did.
pub(crate) fn damage(files: &[PathBuf], chance: &mut Rng) -> Outcome<String> {
    let files: Vec<&PathBuf> = files.iter().filter(|path| path.is_file()).collect();
    let Some(path) = chance.choice(files) else { return Ok("nothing".to_owned()) };
    let mut bytes = fs::read(path)?;
    if bytes.is_empty() {
        return Ok("nothing".to_owned());
    }
    let at = chance.usize(..bytes.len());
    let what = match chance.u8(..4) {
        0 => {
            bytes.truncate(at);
            "cut at"
        }
        _ => {
            bytes[at] ^= 1 << chance.u8(..8);
            "bit turned at"
        }
    };
    fs::write(path, bytes)?;
    Ok(format!("{}: {what} {at}", name(path)))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
