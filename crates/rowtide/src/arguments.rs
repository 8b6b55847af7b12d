use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Reads row changes out of databases and delivers them somewhere else, without losing any.
#[derive(Debug, Parser)]
#[command(name = "rowtide", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How log lines are written to stderr. RUST_LOG says which.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs pipelines until they are stopped
    ///
    /// SIGINT and SIGTERM stop them: what is written is flushed and saved, and the exit code is 0. A
    /// second signal exits at once. When one of several pipelines fails, the others are stopped too,
    /// and its exit code is that of the process; run pipelines that should fail alone in processes
    /// of their own.
    Run {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Stop once everything that is there has been delivered
        #[arg(long)]
        drain: bool,
    },
    /// Checks pipeline files without connecting to anything
    Check {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Installs what a pipeline needs in the systems it uses
    Setup(SetupArguments),
    /// Removes what `setup` installed
    Teardown(TeardownArguments),
    /// Lists the plugins of this build, or the settings of one
    Plugins {
        /// A plugin, or `delivery`
        #[arg(value_name = "TYPE")]
        name: Option<String>,
        /// Print the reference page
        #[arg(long, requires = "name")]
        markdown: bool,
    },
    /// Prints the JSON Schema of pipeline files, for editors
    Schema,
    /// Shows or changes how far a pipeline is
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
    /// Runs a pipeline on a database made up on the spot, for some seconds
    Demo,
    /// Lists the points at which ROWTIDE_FAILPOINT can have the process killed
    #[cfg(feature = "failpoints")]
    Failpoints,
}

#[derive(Debug, Args)]
pub(crate) struct SetupArguments {
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Print the statements only
    #[arg(long)]
    pub(crate) print: bool,
    /// Agree to what cannot be undone
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TeardownArguments {
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Print the statements only
    #[arg(long)]
    pub(crate) print: bool,
    /// Only what stands in the way of a migration; the next start makes it again
    #[arg(long, conflicts_with = "all")]
    pub(crate) triggers: bool,
    /// What other pipelines need as well
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CheckpointCommand {
    /// Shows the saved positions
    Show {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Print one JSON object a partition
        #[arg(long)]
        json: bool,
    },
    /// Moves a partition to another position
    Set {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// A partition, as `show` names it
        partition: String,
        /// A position, as `show` prints it
        position: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Forgets all positions, so that the pipeline begins anew
    Reset {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

impl Command {
    /// What is logged unless RUST_LOG says otherwise.
    pub(crate) fn default_filter(&self) -> &'static str {
        match self {
            // The demo tells its own story.
            Command::Demo => "warn",
            _ => "warn,rowtide=info",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Arguments::command().debug_assert();
    }
}
