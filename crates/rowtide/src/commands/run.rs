use std::path::PathBuf;

use rowtide_core::{Error, Result};
use rowtide_engine::Until;
use tokio::task::JoinSet;

use crate::{
    pipeline_file::{self, PipelineFile, Problem, Problems},
    stop::Stop,
};

/// `rowtide run`: runs the pipelines of these files side by side.
pub(crate) async fn run_files(paths: &[PathBuf], until: Until) -> Result<(), Problems> {
    let files = pipeline_file::load_all(paths)?;
    let stop = Stop::new();
    stop.on_signals()?;
    run(files, until, &stop).await
}

/// Runs pipelines until each of them has ended. One that fails stops the others: a process that
/// lives on with some of its pipelines would look healthy to the supervisor that should restart it.
pub(crate) async fn run(
    files: Vec<PipelineFile>,
    until: Until,
    stop: &Stop,
) -> Result<(), Problems> {
    let mut running = JoinSet::new();
    for PipelineFile { pipeline, origin } in files {
        let shutdown = stop.shutdown();
        running.spawn(async move {
            let name = pipeline.name.clone();
            let outcome = rowtide_engine::run(pipeline, until, shutdown).await;
            outcome.map_err(|error| origin.runtime_problem(&name, error))
        });
    }
    let mut problems = Vec::new();
    while let Some(ended) = running.join_next().await {
        let problem = match ended {
            Ok(Ok(_)) => continue,
            Ok(Err(problem)) => problem,
            Err(panic) => Problem::from(Error::fatal("a pipeline panicked").because(panic)),
        };
        if problems.is_empty() && !running.is_empty() {
            tracing::error!("stopping the other pipelines, as one has failed");
        }
        problems.push(problem);
        stop.request();
    }
    Problems::check(problems)
}
