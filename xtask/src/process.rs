use std::{
    env,
    io::{self, BufRead, BufReader},
    process::{Command, Stdio},
};

use crate::{Result, workspace::Workspace};

use rowtide_servers::machine::command::shown;
pub(crate) use rowtide_servers::machine::command::{check, output, succeeds_within};

/// The cargo that runs this program, in the root of the repository.
pub(crate) fn cargo(workspace: &Workspace) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&workspace.root);
    command
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
    fn a_watched_command_that_fails_is_an_error() {
        assert!(watch(&mut shell("exit 1"), |_| ()).is_err());
    }
}
