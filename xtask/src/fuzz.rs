//! The search in `fuzz`, which is a test that takes arguments.

use crate::{Result, process, workspace::Workspace};

pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result {
    let mut search = process::cargo(workspace);
    search.args(["test", "--quiet", "--workspace", "--features", "rowtide/full"]);
    search.args(["--test", "search", "--"]);
    process::check(search.args(arguments)).map_err(|error| {
        // A process that is out of its stack can say nothing itself.
        format!("{error}; the last input of a target is in `fuzz/crashes`, `TARGET.current`").into()
    })
}
