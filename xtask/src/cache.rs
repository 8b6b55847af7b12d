use std::{env, path::PathBuf};

use crate::Result;

/// Where this program keeps what it need not get twice, outside the clone.
pub(crate) fn folder() -> Result<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    Ok(cache.ok_or("neither XDG_CACHE_HOME nor HOME is set")?.join("rowtide"))
}
