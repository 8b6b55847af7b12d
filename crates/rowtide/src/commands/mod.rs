//! The commands, one module each.

mod check;
mod checkpoint;
mod demo;
#[cfg(feature = "failpoints")]
pub(crate) mod failpoints;
mod plugins;
mod run;
mod setup;

use rowtide_engine::Until;

use crate::{
    arguments::{CheckpointCommand, Command},
    output,
    pipeline_file::Problems,
    reference,
};

/// Does what `command` says.
///
/// # Errors
/// What went wrong, with the exit code it means.
pub(crate) async fn execute(command: Command) -> Result<(), Problems> {
    match command {
        Command::Run { files, drain: false } => run::run_files(&files, Until::Stopped).await,
        Command::Run { files, drain: true } => run::run_files(&files, Until::CaughtUp).await,
        Command::Check { files } => check::check(&files),
        Command::Setup(arguments) => setup::setup(&arguments).await,
        Command::Teardown(arguments) => setup::teardown(&arguments).await,
        Command::Plugins { name: None, .. } => plugins::list(),
        Command::Plugins { name: Some(name), markdown: false } => plugins::describe(&name),
        Command::Plugins { name: Some(name), markdown: true } => plugins::page(&name),
        Command::Schema => Ok(output::print(&format!("{:#}\n", reference::schema()))?),
        Command::Checkpoint(CheckpointCommand::Show { file, json: false }) => {
            checkpoint::show(&file).await
        }
        Command::Checkpoint(CheckpointCommand::Show { file, json: true }) => {
            checkpoint::show_json(&file).await
        }
        Command::Checkpoint(CheckpointCommand::Set { file, partition, position, yes }) => {
            checkpoint::set(&file, checkpoint::Move { partition, position }, yes.into()).await
        }
        Command::Checkpoint(CheckpointCommand::Reset { file, yes }) => {
            checkpoint::reset(&file, yes.into()).await
        }
        Command::Demo => demo::demo().await,
        #[cfg(feature = "failpoints")]
        Command::Failpoints => failpoints::list(),
    }
}
