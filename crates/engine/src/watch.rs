use rowtide_core::{Error, Result, Shutdown};
use tokio::{task::JoinSet, time::sleep};
use tracing::Instrument;

use crate::{
    Outcome, Pipeline, Until,
    environment::Environment,
    mutant::{self, Mutant},
    recovery::Recovery,
    status::{State, Status},
};

/// Watches over a run: its stop timeout, and its regular line in the log.
///
/// # Errors
/// As [`run`](crate::run).
pub async fn run_in(
    environment: Environment,
    pipeline: Pipeline,
    until: Until,
    shutdown: Shutdown,
) -> Result<Outcome> {
    pipeline.delivery.validate().map_err(|error| error.under("delivery"))?;
    let span = tracing::info_span!("run", pipeline = pipeline.name);
    run_within_timeout(environment, pipeline, until, shutdown).instrument(span).await
}

// Invariant 9: a stop ends within `stop_timeout` of the signal, whatever is going on. The delivery
// has a task of its own, so that not even a plugin that blocks its thread can prevent it.
async fn run_within_timeout(
    environment: Environment,
    pipeline: Pipeline,
    until: Until,
    shutdown: Shutdown,
) -> Result<Outcome> {
    let (name, status) = (pipeline.name.clone(), Status::new());
    let stop_timeout = pipeline.delivery.stop_timeout.duration();
    let recovery = Recovery::new(pipeline, until, shutdown.clone(), environment, status.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(recovery.run().in_current_span());
    let deadline = async {
        shutdown.requested().await;
        sleep(stop_timeout).await;
        if mutant::active(Mutant::WaitsForeverOnStop) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        result = tasks.join_next() => finish(&name, &status, result.and_then(Result::ok)),
        () = deadline => {
            tracing::warn!(
                ?stop_timeout,
                "the stop took too long, and {} written changes are delivered again by the next start",
                status.unsaved_changes()
            );
            status.enter(State::Stopped);
            Ok(Outcome::Stopped)
        }
        () = status.log_regularly() => Err(Error::fatal("the log ended")),
    }
}

fn finish(name: &str, status: &Status, result: Option<Result<Outcome>>) -> Result<Outcome> {
    status.enter(State::Stopped);
    match result {
        Some(Ok(Outcome::Finished)) => {
            tracing::info!(
                "every partition of pipeline `{name}` has ended for good; to read all of it again, run `rowtide checkpoint reset` first"
            );
            Ok(Outcome::Finished)
        }
        Some(Ok(Outcome::CaughtUp)) => {
            tracing::info!("every partition of pipeline `{name}` has caught up");
            Ok(Outcome::CaughtUp)
        }
        Some(result) => result,
        None => Err(Error::fatal(format!("the delivery of pipeline `{name}` panicked"))
            .help("this is a defect; report it with what the panic said")),
    }
}
