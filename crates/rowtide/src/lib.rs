//! The runner: turns pipeline files into running pipelines.
//!
//! A runner with plugins of one's own is a crate that names them and calls [`main`]:
//!
//! ```no_run
//! // use my_plugin as _;
//!
//! fn main() -> std::process::ExitCode {
//!     rowtide::main()
//! }
//! ```
//!
//! This is the only crate that knows TOML, Cargo features, how logging is set up, and exit codes:
//! 0 when a pipeline was stopped, has caught up or has ended; 1 when it failed for good or changes
//! were rejected; 2 when the settings cannot work; 3 when a position is lost; 4 when another process
//! has taken the pipeline over, so that a supervisor can be told not to restart it.

mod arguments;
mod commands;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod logging;
mod output;
mod pipeline_file;
mod plugins;
mod reference;
mod stop;

use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;

/// Runs the command that the arguments of this process name.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::start(arguments.log_format, arguments.command.default_filter());
    #[cfg(not(feature = "failpoints"))]
    let checked = plugins::check_unique();
    #[cfg(feature = "failpoints")]
    let checked = plugins::check_unique().and_then(|()| commands::failpoints::check());
    let result = checked.map_err(Into::into).and_then(|()| {
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("rowtide")
            .enable_all()
            .build();
        let runtime = threads.map_err(|error| {
            rowtide_core::Error::fatal("failed to start the runtime").because(error)
        })?;
        let result = runtime.block_on(commands::execute(arguments.command));
        // A plugin's blocking call that never returns must not keep the process.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problems) => {
            output::complain(&problems);
            problems.exit_code()
        }
    }
}
