//! Scenarios in a process of their own: those that write to stdout, and those that are killed.

use std::{
    env,
    fs::File,
    path::PathBuf,
    process::{Command, ExitCode, Stdio, id},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{Failure, Suite, Verdict, checkpoint};

/// Names the trial that this process is for.
const TRIAL: &str = "ROWTIDE_CONFORMANCE_TRIAL";
/// Names the file that this process's stdout goes to.
const STDOUT: &str = "ROWTIDE_CONFORMANCE_STDOUT";
/// Tells the store that this process saves to until it is killed.
const SAVE: &str = "ROWTIDE_CONFORMANCE_SAVE";

/// How a trial's process says that the promise is broken, or does not apply.
const BROKEN: u8 = 101;
const NOT_APPLICABLE: u8 = 102;

/// The file that the stdout of this process goes to, for a sink that writes there; see
/// [`SinkHarness::writes_to_stdout`](crate::SinkHarness::writes_to_stdout).
pub fn stdout_file() -> Option<PathBuf> {
    env::var_os(STDOUT).map(PathBuf::from)
}

/// Does what this process was started for by the suite, if it was.
pub(crate) fn inner(suites: &[Suite]) -> Option<ExitCode> {
    if let Ok(task) = env::var(SAVE) {
        let harnesses: Vec<_> = suites.iter().filter_map(Suite::checkpoint_harness).collect();
        return Some(checkpoint::save_until_killed(&task, &harnesses));
    }
    let name = env::var(TRIAL).ok()?;
    let verdict = suites.iter().find_map(|suite| suite.check_isolated(&name));
    let verdict = verdict.unwrap_or_else(|| Err(Failure::broken(format!("no trial `{name}`"))));
    let Err(failure) = verdict else { return Some(ExitCode::SUCCESS) };
    eprint!("{failure}");
    Some(ExitCode::from(match failure {
        Failure::Broken(_) => BROKEN,
        Failure::NotApplicable(_) => NOT_APPLICABLE,
    }))
}

/// Runs the trial of that name in a process whose stdout is a file.
pub(crate) fn isolated(name: &str) -> Verdict {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = env::temp_dir().join(format!("rowtide-conformance-{}-{number}", id()));
    let verdict = isolated_to(name, &path);
    // A file left in the temporary directory harms nobody.
    let _ = std::fs::remove_file(&path);
    verdict
}

fn isolated_to(name: &str, path: &PathBuf) -> Verdict {
    let failed = |error: std::io::Error| Failure::broken(format!("no trial process: {error}"));
    let stdout = File::create(path).map_err(failed)?;
    let mut command = Command::new(env::current_exe().map_err(failed)?);
    command.env(TRIAL, name).env(STDOUT, path).stdin(Stdio::null()).stdout(stdout);
    let output = command.stderr(Stdio::piped()).output().map_err(failed)?;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(0) => Ok(()),
        Some(code) if code == i32::from(NOT_APPLICABLE) => Err(Failure::NotApplicable(message)),
        _ => Err(Failure::broken(format!("{message} ({})", output.status))),
    }
}

/// A process that saves to a store until it is killed; see [`checkpoint::save_until_killed`].
pub(crate) fn saver(task: &str) -> std::io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.env(SAVE, task).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    Ok(command)
}
