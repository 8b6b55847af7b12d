//! What need not be got twice, outside the clone.

use std::{env, path::PathBuf};

use crate::Result;

/// Where that is kept.
///
/// # Errors
/// The environment names neither a cache nor a home.
pub fn folder() -> Result<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    Ok(cache.ok_or("neither XDG_CACHE_HOME nor HOME is set")?.join("rowtide"))
}
