//! The search in `fuzz`, built with what the tests were built with.

use std::process::Command;

use crate::{Result, process, workspace::Workspace};

/// How long the search is when everything is tested, all targets together.
const SECONDS: &str = "60";

/// Searches as `arguments` say, or for a minute.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result {
    let mut build = process::cargo(workspace);
    build.args(["build", "--quiet", "--workspace", "--features", "rowtide/full"]);
    process::check(build.args(["--bin", "rowtide-fuzz"]))?;
    let mut search = Command::new(workspace.target.join("debug/rowtide-fuzz"));
    search.arg("--corpus").arg(workspace.root.join("fuzz/corpus"));
    process::check(search.args(arguments)).map_err(|error| {
        // A process that is out of its stack can say nothing itself.
        format!("{error}; the last input of a target is in `fuzz/crashes`, `TARGET.current`").into()
    })
}

pub(crate) fn briefly(workspace: &Workspace) -> Result {
    run(workspace, &["--seconds".to_owned(), SECONDS.to_owned()])
}
