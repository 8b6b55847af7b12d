//! What a test that feeds foreign bytes gets at.

use crate::checkpoint_file::{Contents, decode, sealed};

/// Reads a checkpoint as it is, and once more with a checksum that fits.
pub fn checkpoint(bytes: &[u8]) -> String {
    let told = |bytes: &[u8]| match decode(bytes) {
        Ok(contents) => format!("{} states", contents.states.len().min(3)),
        Err(why) => why.to_owned(),
    };
    // Why a newer version must have written it is not told to the user, and guides the search.
    let why = serde_json::from_slice::<Contents>(bytes).err().map(|error| error.to_string());
    format!("{}\n{}\n{}", told(bytes), told(&sealed(bytes)), why.unwrap_or_default())
}
