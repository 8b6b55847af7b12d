//! Programs that are run to their end.

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::Result;

/// Runs `command` to its end, which must be a good one.
///
/// # Errors
/// It cannot be run, or fails.
pub fn check(command: &mut Command) -> Result {
    let status = command.status().map_err(|error| format!("{}: {error}", shown(command)))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("`{}` failed: {status}", shown(command)).into()),
    }
}

/// Runs `command` to its end, and shows what it printed only if that is not a good one.
///
/// # Errors
/// It cannot be run, or fails.
pub fn check_quietly(command: &mut Command) -> Result {
    let output = command.output().map_err(|error| format!("{}: {error}", shown(command)))?;
    if output.status.success() {
        return Ok(());
    }
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    Err(format!("`{}` failed: {}\n{}", shown(command), output.status, printed.trim_end()).into())
}

/// What `command` prints to stdout.
///
/// # Errors
/// It cannot be run, fails, or prints no text.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("`{}` failed: {}", shown(command), output.status).into());
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string().into())
}

/// Whether `command` ends well within `limit`; it is stopped when that is over.
///
/// # Errors
/// It cannot be run.
pub fn succeeds_within(command: &mut Command, limit: Duration) -> Result<bool> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        thread::sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}

/// `command` as it is typed.
pub fn shown(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_command_that_fails_is_an_error() {
        assert!(check(&mut shell("exit 1")).is_err());
        assert!(output(&mut shell("exit 1")).is_err());
        let error = check_quietly(&mut shell("echo why; exit 1")).unwrap_err().to_string();
        assert!(error.ends_with("\nwhy"), "{error}");
        assert_eq!(output(&mut shell("echo a")).unwrap(), "a\n");
    }

    #[test]
    fn a_command_that_takes_too_long_is_stopped() {
        let limit = Duration::from_millis(100);
        assert!(!succeeds_within(&mut shell("exec sleep 600"), limit).unwrap());
        assert!(succeeds_within(&mut shell("true"), Duration::from_secs(60)).unwrap());
    }
}
