//! Servers that run for as long as somebody works with them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Kind, Result,
    instance::Instance,
    machine::{
        place::{self, Place},
        process::Condition,
    },
};

/// At most one server of each kind, all with their data in one folder.
#[derive(Clone, Debug)]
pub struct Set {
    root: PathBuf,
}

/// What became of a server.
#[derive(Clone, Debug)]
pub struct State {
    /// `answers`, `silent`, `frozen`, `ended` or `stopped`.
    pub condition: &'static str,
    pub pid: Option<u32>,
    /// The one that clients use.
    pub port: Option<u16>,
    pub folder: PathBuf,
    /// By which tests find it.
    pub variables: Vec<(&'static str, String)>,
}

impl Set {
    /// The servers in `root`, which is made if there is none.
    ///
    /// # Errors
    /// `root` cannot be made.
    pub fn at(root: &Path) -> Result<Self> {
        fs::create_dir_all(root)?;
        Ok(Self { root: root.canonicalize()? })
    }

    /// Starts the server unless it runs, and returns once it answers. Says whether it was started.
    ///
    /// # Errors
    /// It does not come up; the message has the end of its log.
    pub fn up(&self, kind: Kind) -> Result<bool> {
        Instance::open(kind, &self.root)?.start()
    }

    /// Stops the server; its data stays. Says which processes ran.
    ///
    /// # Errors
    /// A process cannot be signalled.
    pub fn down(&self, kind: Kind) -> Result<Vec<u32>> {
        let mut instance = Instance::open(kind, &self.root)?;
        let processes = instance.place.processes.clone();
        instance.stop()?;
        Ok(processes.iter().map(|process| process.pid).collect())
    }

    /// Removes the data of a server that does not run.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn erase(&self, kind: Kind) -> Result {
        let _lock = place::lock(kind.service(), &self.root)?;
        Place::of(kind.service(), &self.root)?.erase()
    }

    /// # Errors
    /// What is written down about the server cannot be read.
    pub fn state(&self, kind: Kind) -> Result<State> {
        let service = kind.service();
        let place = Place::of(service, &self.root)?;
        let condition = match place.server().map(|server| server.condition()) {
            None => "stopped",
            Some(Condition::Ended) => "ended",
            Some(Condition::Frozen) => "frozen",
            Some(Condition::Running) if service.answers(&place)? => "answers",
            Some(Condition::Running) => "silent",
        };
        let is_placed = place.ports.len() == service.ports();
        Ok(State {
            condition,
            pid: place.server().map(|server| server.pid),
            port: place.ports.first().copied(),
            variables: if is_placed { place.variables(service) } else { Vec::new() },
            folder: place.folder,
        })
    }
}
