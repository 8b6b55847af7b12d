use std::{
    env,
    io::{self, BufRead, BufReader},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{Result, workspace::Workspace};

/// The cargo that runs this program, in the root of the repository.
pub(crate) fn cargo(workspace: &Workspace) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&workspace.root);
    command
}

/// Runs `command` to its end, which must be a good one.
pub(crate) fn check(command: &mut Command) -> Result {
    let status = command.status().map_err(|error| format!("{}: {error}", shown(command)))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("`{}` failed: {status}", shown(command)).into()),
    }
}

/// Runs `command` to its end, and shows what it printed only if that is not a good one.
pub(crate) fn check_quietly(command: &mut Command) -> Result {
    let output = command.output().map_err(|error| format!("{}: {error}", shown(command)))?;
    if output.status.success() {
        return Ok(());
    }
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    Err(format!("`{}` failed: {}\n{}", shown(command), output.status, printed.trim_end()).into())
}

/// What `command` prints to stdout.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("`{}` failed: {}", shown(command), output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs `command` and hands on each line of its stdout and stderr, in the order they were written.
pub(crate) fn watch(command: &mut Command, mut line: impl FnMut(&str)) -> Result {
    let (reader, writer) = io::pipe()?;
    let mut child = command.stdout(writer.try_clone()?).stderr(writer).spawn()?;
    let name = shown(command);
    // The command holds the writing end; the pipe ends only once that is closed here too.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for text in BufReader::new(reader).lines() {
        line(&text?);
    }
    let status = child.wait()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("`{name}` failed: {status}").into()),
    }
}

/// Whether `command` ends well within `limit`; it is stopped when that is over.
pub(crate) fn succeeds_within(command: &mut Command, limit: Duration) -> Result<bool> {
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

fn shown(command: &Command) -> String {
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
    fn both_streams_are_watched_in_order() {
        let mut lines = Vec::new();
        let mut command = shell("echo one; echo two >&2; echo three");
        watch(&mut command, |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["one", "two", "three"]);
    }

    #[test]
    fn a_command_that_fails_is_an_error() {
        assert!(check(&mut shell("exit 1")).is_err());
        assert!(watch(&mut shell("exit 1"), |_| ()).is_err());
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
