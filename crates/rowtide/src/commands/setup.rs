use rowtide_core::{
    CheckpointStore, Context, Result, Shutdown,
    plugin::{Execution, InstallOptions, UninstallOptions, UninstallScope},
};

use rowtide_engine::Pipeline;

use super::checkpoint::{claim, placed};
use crate::{
    arguments::{SetupArguments, TeardownArguments},
    output,
    pipeline_file::{self, PipelineFile, Problems},
};

/// `rowtide setup`: installs what the plugins of a pipeline need.
pub(crate) async fn setup(arguments: &SetupArguments) -> Result<(), Problems> {
    let file = pipeline_file::load(&arguments.file)?;
    let execution = execution(arguments.print);
    let options = InstallOptions { execution, confirmed: arguments.yes };
    let context = context(&file);
    let PipelineFile { pipeline, origin } = file;
    let install = async || -> Result<Vec<String>> {
        let mut statements = pipeline.checkpoint.install(&context, options).await?;
        statements.extend(pipeline.source.install(&context, options).await?);
        statements.extend(pipeline.sink.install(&context, options).await?);
        Ok(statements)
    };
    let statements =
        install().await.map_err(|error| origin.runtime_problem(&pipeline.name, error))?;
    report(&pipeline.name, execution, &statements)
}

/// `rowtide teardown`: removes what `setup` installed.
pub(crate) async fn teardown(arguments: &TeardownArguments) -> Result<(), Problems> {
    let file = pipeline_file::load(&arguments.file)?;
    let execution = execution(arguments.print);
    let scope = match arguments {
        TeardownArguments { triggers: true, .. } => UninstallScope::Triggers,
        TeardownArguments { all: true, .. } => UninstallScope::All,
        _ => UninstallScope::Pipeline,
    };
    let options = UninstallOptions { execution, scope };
    let context = context(&file);
    let PipelineFile { pipeline, origin } = file;
    let uninstall = async || -> Result<Vec<String>> {
        let held = match (scope, execution) {
            (UninstallScope::Triggers, _) | (_, Execution::DryRun) => None,
            _ => hold(&pipeline, &context).await?,
        };
        let mut statements = pipeline.source.uninstall(&context, options).await?;
        if scope != UninstallScope::Triggers {
            statements.extend(pipeline.sink.uninstall(&context, options).await?);
            // The store itself may want the lock that goes with the claim.
            drop(held);
            statements.extend(pipeline.checkpoint.uninstall(&context, options).await?);
        }
        Ok(statements)
    };
    let statements =
        uninstall().await.map_err(|error| origin.runtime_problem(&pipeline.name, error))?;
    report(&pipeline.name, execution, &statements)
}

/// Takes the pipeline over, so that nothing is removed under a process that runs it. A pipeline
/// without a checkpoint has never run.
async fn hold(pipeline: &Pipeline, context: &Context) -> Result<Option<Box<dyn CheckpointStore>>> {
    let store = pipeline.checkpoint.open(context).await?;
    if store.load(&pipeline.name).await.map_err(placed)?.is_empty() {
        return Ok(None);
    }
    claim(store.as_ref(), &pipeline.name).await?;
    Ok(Some(store))
}

fn execution(is_dry: bool) -> Execution {
    if is_dry { Execution::DryRun } else { Execution::Apply }
}

fn context(file: &PipelineFile) -> Context {
    Context::new(file.pipeline.name.as_str(), Shutdown::never())
}

fn report(pipeline: &str, execution: Execution, statements: &[String]) -> Result<(), Problems> {
    if execution == Execution::Apply {
        let count = statements.len();
        return Ok(output::print(&format!("pipeline `{pipeline}`: {count} statements run\n"))?);
    }
    if statements.is_empty() {
        output::complain(&format_args!("pipeline `{pipeline}`: nothing to do\n"));
    }
    let text: String = statements
        .iter()
        .map(|statement| format!("{};\n", statement.trim_end().trim_end_matches(';')))
        .collect();
    Ok(output::print(&text)?)
}
