use rowtide_core::Error;

use crate::{output, pipeline_file::Problems};

/// `rowtide failpoints`: the names, one a line.
pub(crate) fn list() -> Result<(), Problems> {
    let names = rowtide_failpoint::names();
    Ok(output::print(&format!("{}\n", names.join("\n")))?)
}

/// Refuses a variable that names no point.
///
/// # Errors
/// `Config`, with what is wrong.
pub(crate) fn check() -> Result<(), Error> {
    rowtide_failpoint::check().map_err(|problem| {
        Error::config(problem).help("`rowtide failpoints` lists those of this build")
    })
}
