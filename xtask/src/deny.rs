//! Licences, bans and sources of the dependencies, and known advisories where they can be had.

use std::{path::PathBuf, process::Command, time::Duration};

use rowtide_servers::machine::cache;

use crate::{Result, process, workspace::Workspace};

const VERSION: &str = "0.20.2";
const FETCH_LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn run(workspace: &Workspace) -> Result {
    let program = installed(workspace)?;
    let deny = || {
        let mut command = Command::new(&program);
        command.current_dir(&workspace.root).args(["--log-level", "error"]);
        command
    };
    process::check(deny().args([
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]))?;
    if process::succeeds_within(deny().args(["fetch", "db"]), FETCH_LIMIT)? {
        Ok(process::check(deny().args(["check", "--disable-fetch", "advisories"]))?)
    } else {
        println!("advisories SKIPPED: their database cannot be reached from here");
        Ok(())
    }
}

/// The program of the pinned version, built on its first use, outside the clone.
fn installed(workspace: &Workspace) -> Result<PathBuf> {
    let folder = cache::folder()?.join(format!("cargo-deny-{VERSION}"));
    let program = folder.join("bin/cargo-deny");
    if !program.exists() {
        println!("cargo-deny {VERSION} is not in {}; building it once", folder.display());
        let mut install = process::cargo(workspace);
        install.args(["install", "--quiet", "--locked", "--debug", "--version", VERSION]);
        install.arg("--root").arg(&folder).arg("cargo-deny");
        // Not built among the targets of the repository, and not to be debugged.
        install.env("CARGO_TARGET_DIR", folder.join("target")).env("CARGO_PROFILE_DEV_DEBUG", "0");
        process::check(&mut install)?;
        std::fs::remove_dir_all(folder.join("target"))?;
    }
    Ok(program)
}
