//! The servers that tests talk to, kept up for whoever works with them.

use std::{path::PathBuf, thread, time::Instant};

use clap::{Args, Subcommand};
use rowtide_servers::{Kind, Set};

use crate::{Result, workspace::Workspace};

#[derive(Subcommand)]
pub(crate) enum Action {
    /// Installs what is missing, starts the servers, waits until they answer, and prints the
    /// environment that tests read. Servers that run are left alone.
    Up(Selection),
    /// Installs what is missing, and starts nothing.
    Install(Selection),
    /// Stops the servers that `up` started. Their data stays.
    Down {
        #[command(flatten)]
        selection: Selection,
        /// Removes their data as well.
        #[arg(long)]
        erase: bool,
    },
    /// Says what runs, as which process, on which port, and where its data is.
    Status(Selection),
}

#[derive(Args)]
pub(crate) struct Selection {
    /// `postgres`, `mariadb`, `rabbitmq`, `kafka`, `spanner`; if none is named, all that can be had.
    names: Vec<String>,
    /// Where the data is: another folder is another set of servers. By default `services` in the
    /// folder of build results.
    #[arg(long)]
    folder: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, action: Action) -> Result {
    match action {
        Action::Up(selection) => up(&selection.set(workspace)?, &selection.installed()?),
        Action::Install(selection) => selection.installed().map(drop),
        Action::Down { selection, erase } => {
            let set = selection.set(workspace)?;
            selection.kinds()?.into_iter().try_for_each(|kind| {
                down(&set, kind)?;
                if erase { Ok(set.erase(kind)?) } else { Ok(()) }
            })
        }
        Action::Status(selection) => status(&selection.set(workspace)?, &selection.kinds()?),
    }
}

impl Selection {
    fn kinds(&self) -> Result<Vec<Kind>> {
        match self.names.is_empty() {
            true => Ok(Kind::ALL.to_vec()),
            false => {
                Ok(self.names.iter().map(|name| Kind::named(name)).collect::<Result<_, _>>()?)
            }
        }
    }

    /// Those meant that can be had. One that was named has to be among them.
    fn installed(&self) -> Result<Vec<Kind>> {
        let mut kinds = self.kinds()?;
        match rowtide_servers::install(&kinds) {
            Err(error) if self.names.is_empty() && error.is_missing() => {
                eprintln!("{error}");
                kinds.retain(|kind| rowtide_servers::lack(*kind).is_none());
            }
            installed => installed?,
        }
        Ok(kinds)
    }

    fn set(&self, workspace: &Workspace) -> Result<Set> {
        let default = || workspace.target.join("services");
        Ok(Set::at(&self.folder.clone().unwrap_or_else(default))?)
    }
}

fn up(set: &Set, kinds: &[Kind]) -> Result {
    let started: Vec<_> = thread::scope(|scope| {
        let threads = kinds.iter().map(|kind| scope.spawn(|| start(set, *kind)));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let mut failures = Vec::new();
    for (kind, started) in kinds.iter().zip(started) {
        match started {
            Ok(Ok(())) => {
                for (name, value) in set.state(*kind)?.variables {
                    println!("export {name}='{value}'");
                }
            }
            Ok(Err(error)) => failures.push(format!("{}: {error}", kind.name())),
            Err(_) => failures.push(format!("{}: a panic while it was started", kind.name())),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

fn start(set: &Set, kind: Kind) -> Result<(), rowtide_servers::Error> {
    let begin = Instant::now();
    let is_new = set.up(kind)?;
    let state = set.state(kind)?;
    let (name, port) = (kind.name(), state.port.unwrap_or_default());
    let seconds = begin.elapsed().as_secs_f64();
    match is_new {
        true => eprintln!("{name}: started on port {port} in {seconds:.1} s"),
        false => eprintln!("{name}: runs, process {}, port {port}", state.pid.unwrap_or_default()),
    }
    Ok(())
}

fn down(set: &Set, kind: Kind) -> Result {
    let begin = Instant::now();
    let pids: Vec<_> = set.down(kind)?.iter().map(u32::to_string).collect();
    let seconds = begin.elapsed().as_secs_f64();
    match pids.is_empty() {
        true => eprintln!("{}: does not run", kind.name()),
        false => eprintln!("{}: stopped {} in {seconds:.1} s", kind.name(), pids.join(", ")),
    }
    Ok(())
}

fn status(set: &Set, kinds: &[Kind]) -> Result {
    println!("{:9} {:8} {:>7} {:>6}  data", "name", "state", "process", "port");
    for kind in kinds {
        let state = set.state(*kind)?;
        let shown =
            |number: Option<u32>| number.map_or("-".to_owned(), |number| number.to_string());
        let (name, pid, port) = (kind.name(), shown(state.pid), shown(state.port.map(u32::from)));
        let (condition, folder) = (state.condition, state.folder.display());
        println!("{name:9} {condition:8} {pid:>7} {port:>6}  {folder}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_servers_are_meant_where_none_is_named() {
        let selection = |names: &[&str]| Selection {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            folder: None,
        };
        assert_eq!(selection(&[]).kinds().unwrap(), Kind::ALL);
        assert_eq!(selection(&["kafka"]).kinds().unwrap(), [Kind::Kafka]);
        assert!(selection(&["kafak"]).kinds().is_err());
    }
}
