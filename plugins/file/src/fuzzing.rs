//! What a test that feeds foreign bytes gets at.

use crate::checkpoint_file::{decode, sealed};

/// Reads a checkpoint as it is, and once more with a checksum that fits.
pub fn checkpoint(bytes: &[u8]) -> String {
    let told = |bytes: &[u8]| match decode(bytes) {
        Ok(contents) => format!("{} states", contents.states.len().min(3)),
        Err(why) => why.to_owned(),
    };
    format!("{}, {}", told(bytes), told(&sealed(bytes)))
}
