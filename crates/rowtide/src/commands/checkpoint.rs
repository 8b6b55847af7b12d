use std::{fmt::Write, path::Path};

use jiff::Timestamp;
use rowtide_core::{
    CheckpointStore, CheckpointUpdate, Claim, Context, Error, Owner, PartitionState, Position,
    Progress, Result, Shutdown, registry::Role,
};

use crate::{
    output,
    pipeline_file::{self, PipelineFile, Problems},
};

/// Whether the user is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    Asked,
    Given,
}

/// What `checkpoint set` is to change.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) partition: String,
    pub(crate) position: String,
}

impl From<bool> for Consent {
    fn from(yes: bool) -> Self {
        if yes { Consent::Given } else { Consent::Asked }
    }
}

/// `rowtide checkpoint show`: the saved positions, for people.
pub(crate) async fn show(path: &Path) -> Result<(), Problems> {
    let file = pipeline_file::load(path)?;
    let states = load(&file).await.map_err(|error| locate(&file, error))?;
    Ok(output::print(&table(&file.pipeline.name, &states))?)
}

/// `rowtide checkpoint show --json`: one object a partition.
pub(crate) async fn show_json(path: &Path) -> Result<(), Problems> {
    let file = pipeline_file::load(path)?;
    let states = load(&file).await.map_err(|error| locate(&file, error))?;
    let mut text = String::new();
    for state in &states {
        let line = serde_json::to_string(state)
            .map_err(|error| Error::fatal("failed to write a position as JSON").because(error))?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(output::print(&text)?)
}

/// `rowtide checkpoint set`: moves one partition.
pub(crate) async fn set(path: &Path, to: Move, consent: Consent) -> Result<(), Problems> {
    let file = pipeline_file::load(path)?;
    let moved = move_partition(&file, &to, consent).await;
    moved.map_err(|error| locate(&file, error))?;
    let Move { partition, position } = to;
    Ok(output::print(&format!("partition `{partition}` goes on after {position}\n"))?)
}

/// `rowtide checkpoint reset`: forgets all positions.
pub(crate) async fn reset(path: &Path, consent: Consent) -> Result<(), Problems> {
    let file = pipeline_file::load(path)?;
    forget(&file, consent).await.map_err(|error| locate(&file, error))?;
    Ok(output::print(&format!(
        "pipeline `{}` begins anew at its next start\n",
        file.pipeline.name
    ))?)
}

async fn load(file: &PipelineFile) -> Result<Vec<PartitionState>> {
    open(file).await?.load(&file.pipeline.name).await.map_err(placed)
}

/// An open store knows its own settings only.
pub(super) fn placed(error: Error) -> Error {
    error.under(Role::Checkpoint.name())
}

async fn move_partition(file: &PipelineFile, to: &Move, consent: Consent) -> Result<()> {
    serde_json::from_str::<serde_json::Value>(&to.position).map_err(|error| {
        Error::config(format!("`{}` is not a position", to.position))
            .help("write it as `rowtide checkpoint show` prints it, quoted for the shell")
            .because(error)
    })?;
    let name = &file.pipeline.name;
    let store = open(file).await?;
    find(&store.load(name).await.map_err(placed)?, &to.partition)?;
    if consent == Consent::Asked {
        output::confirm(&format!(
            "pipeline `{name}` will go on after {} in partition `{}`; changes before it that were \
             not delivered are never delivered",
            to.position, to.partition
        ))?;
    }
    // What was loaded before the claim may have moved since.
    let claim = claim(store.as_ref(), name).await?;
    let mut state = find(&store.load(name).await.map_err(placed)?, &to.partition)?;
    state.progress = Progress::Delivered(Position::from_text(&to.position));
    let update = CheckpointUpdate { states: vec![state], forgotten: Vec::new() };
    store.save(&claim, &update).await.map_err(placed)
}

fn find(states: &[PartitionState], partition: &str) -> Result<PartitionState> {
    let found = states.iter().find(|state| state.partition.id.as_str() == partition);
    found.cloned().ok_or_else(|| {
        let names: Vec<_> =
            states.iter().map(|state| format!("`{}`", state.partition.id)).collect();
        let help = match names.is_empty() {
            true => "nothing is saved yet; run the pipeline once".to_owned(),
            false => format!("the checkpoint has {}", names.join(", ")),
        };
        Error::config(format!("the checkpoint has no partition `{partition}`")).help(help)
    })
}

async fn forget(file: &PipelineFile, consent: Consent) -> Result<()> {
    let name = &file.pipeline.name;
    if consent == Consent::Asked {
        output::confirm(&format!(
            "pipeline `{name}` will forget how far it is, and begin anew as its source's settings \
             say; changes may be delivered again, or skipped"
        ))?;
    }
    let store = open(file).await?;
    let claim = claim(store.as_ref(), name).await?;
    let states = store.load(name).await.map_err(placed)?;
    let forgotten = states.into_iter().map(|state| state.partition.id).collect();
    let update = CheckpointUpdate { states: Vec::new(), forgotten };
    store.save(&claim, &update).await.map_err(placed)?;
    // Last: a source that has forgotten the pipeline may let go of what a checkpoint still needs,
    // while a source that remembers it refuses to start until this command has run again.
    file.pipeline.source.forget(&context(file)).await
}

async fn open(file: &PipelineFile) -> Result<Box<dyn CheckpointStore>> {
    file.pipeline.checkpoint.open(&context(file)).await
}

/// Takes `pipeline` over in the name of this process.
pub(super) async fn claim(store: &dyn CheckpointStore, pipeline: &str) -> Result<Claim> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let owner = Owner {
        host: host.map_or_else(|| "this host".to_owned(), |host| host.trim().to_owned()),
        process: std::process::id(),
        since: Timestamp::now(),
    };
    store.claim(pipeline, &owner).await.map_err(placed)
}

fn context(file: &PipelineFile) -> Context {
    Context::new(file.pipeline.name.as_str(), Shutdown::never())
}

fn locate(file: &PipelineFile, error: Error) -> Problems {
    file.origin.runtime_problem(&file.pipeline.name, error).into()
}

fn table(pipeline: &str, states: &[PartitionState]) -> String {
    if states.is_empty() {
        return format!("pipeline `{pipeline}`: nothing is saved\n");
    }
    let width = states.iter().map(|state| state.partition.id.as_str().len()).max().unwrap_or(0);
    let mut text = format!("pipeline `{pipeline}`: {} partitions\n", states.len());
    for PartitionState { partition, progress } in states {
        let word = match progress {
            Progress::Waiting => "waiting",
            Progress::Delivered(_) => "delivered",
            Progress::Finished(_) => "finished",
        };
        let id = partition.id.as_str();
        let _ = write!(text, "{id:width$}  {word:9}");
        if let Some(position) = progress.position() {
            let _ = write!(text, "  {position}");
        }
        if let Some(as_of) = progress.position().and_then(Position::attested) {
            let _ = write!(text, "  as of {as_of}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use rowtide_core::Partition;

    use super::*;

    #[test]
    fn positions_are_readable() {
        let position = Position::encode(&7).unwrap().as_of(Timestamp::UNIX_EPOCH);
        let states = [
            PartitionState::waiting(Partition::new("a")),
            PartitionState {
                partition: Partition::new("longer"),
                progress: Progress::Delivered(position),
            },
        ];
        let expected = "pipeline `p`: 2 partitions\n\
                        a       waiting  \n\
                        longer  delivered  7  as of 1970-01-01T00:00:00Z\n";
        assert_eq!(table("p", &states), expected);
    }

    #[test]
    fn a_partition_that_is_not_there_names_those_that_are() {
        let states = [PartitionState::waiting(Partition::new("whole"))];
        assert!(find(&states, "whole").is_ok());
        let error = find(&states, "hole").unwrap_err();
        assert_eq!(error.remedy(), Some("the checkpoint has `whole`"));
    }
}
