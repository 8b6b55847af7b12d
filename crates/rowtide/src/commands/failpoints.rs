use rowtide_core::Error;

use crate::{output, pipeline_file::Problems};

/// What stands behind the name of a call that can be made to fail.
const FAILS: &str = "\tfails";

/// `rowtide failpoints`: the names, one a line.
pub(crate) fn list() -> Result<(), Problems> {
    let calls = rowtide_failpoint::failing_calls().into_iter().map(|name| format!("{name}{FAILS}"));
    let names = rowtide_failpoint::names().into_iter().map(str::to_owned);
    let lines: Vec<_> = names.chain(calls).collect();
    Ok(output::print(&format!("{}\n", lines.join("\n")))?)
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
