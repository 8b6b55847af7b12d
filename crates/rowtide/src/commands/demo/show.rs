use std::{env, fs, path::Path, process, sync::mpsc, thread};

use rowtide_core::{Error, Result};
use rowtide_engine::Until;

use super::writer::{self, Ending};
use crate::{
    commands::run,
    output,
    pipeline_file::{self, Problems},
    stop::Stop,
};

const PIPELINE: &str = r#"name = "demo"

[source]
type = "sqlite"
path = "shop.db"

[sink]
type = "stdout"

[checkpoint]
type = "sqlite"
path = "demo.checkpoint.db"
"#;

/// Shows a snapshot, inserts, updates and deletes on stdout, and ends by itself.
pub(crate) async fn demo() -> Result<(), Problems> {
    let directory = env::temp_dir().join(format!("rowtide-demo-{}", process::id()));
    let failed = |error| Error::fatal("failed to make a directory for the demo").because(error);
    fs::create_dir_all(&directory).map_err(failed)?;
    // So that the pipeline file, which is shown, reads as one that a person would write.
    env::set_current_dir(&directory).map_err(failed)?;
    let shown = show(&directory).await;
    let _ = env::set_current_dir(env::temp_dir());
    let removed = fs::remove_dir_all(&directory);
    shown?;
    removed.map_err(|error| Error::fatal("failed to remove what the demo made").because(error))?;
    Ok(())
}

async fn show(directory: &Path) -> Result<(), Problems> {
    let database = directory.join("shop.db");
    writer::make(&database)?;
    output::complain(&format_args!(
        "A shop's database with three orders, another program that writes to it, and this pipeline \
         file:\n\n{PIPELINE}\nThe lines on stdout are the changes.\n\n"
    ));
    let stop = Stop::new();
    stop.on_signals()?;
    let (demo_runs, runs) = mpsc::channel();
    let write = {
        let (stop, database) = (stop.clone(), database.clone());
        move || {
            let ending = writer::write(&database, &runs);
            stop.request();
            ending
        }
    };
    let failed = |error| Error::fatal("failed to start the demo's writer").because(error);
    let thread = thread::Builder::new().name("writer".to_owned()).spawn(write).map_err(failed)?;
    let ran = run::run(vec![pipeline_file::parse("demo", PIPELINE)?], Until::Stopped, &stop).await;
    drop(demo_runs);
    let ending = thread.join().map_err(|_| Error::fatal("the demo's writer panicked"))?;
    ran?;
    if ending? == Ending::Interrupted {
        return Ok(());
    }
    output::complain(&"\n# The pipeline is stopped; the shop goes on.\n");
    writer::write_last(&database)?;
    output::complain(&"# The pipeline starts again, and goes on where it was.\n");
    let file = pipeline_file::parse("demo", PIPELINE)?;
    run::run(vec![file], Until::CaughtUp, &Stop::new()).await?;
    output::complain(&next_steps());
    Ok(())
}

/// With the program's name as it was called: after `cargo run` it is not on the path.
fn next_steps() -> String {
    let program = env::args().next().unwrap_or_else(|| "rowtide".to_owned());
    let example = "config-examples/sqlite-to-file.toml";
    let steps = [
        (format!("check {example}"), "says whether the file is right"),
        (format!("run {example}"), "runs it until you stop it"),
        ("plugins".to_owned(), "lists what else there is"),
    ];
    let lines = steps.map(|(step, what)| format!("  {program} {step:44}# {what}\n"));
    format!(
        "\nThat was all. What to do next: put the path of your own database into {example}, then\n\n{}",
        lines.concat()
    )
}
