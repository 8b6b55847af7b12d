//! What every sink must do, for standard output.

use std::{fs, path::PathBuf, process::ExitCode, sync::Arc};

use rowtide_conformance::{
    Capability, Delivered, Downstream, Result, SinkHarness, Suite, async_trait, stdout_file,
};
use rowtide_core::Error;
use rowtide_stdout as _;

struct Stdout;

#[async_trait]
impl SinkHarness for Stdout {
    fn plugin(&self) -> &str {
        "stdout"
    }

    fn lacks(&self) -> Vec<(Capability, &'static str)> {
        vec![
            (Capability::Poison, "a pipe refuses no change"),
            (Capability::Restart, "a pipe that is closed stays closed"),
            (Capability::LostResponse, "a pipe does not answer"),
            (Capability::LostRequest, "a pipe loses nothing"),
            (Capability::Stall, "stdout is a file here; a full pipe has a test of its own"),
        ]
    }

    fn writes_to_stdout(&self) -> bool {
        true
    }

    async fn downstream(&self) -> Result<Arc<dyn Downstream>> {
        // The settings are also asked for where nothing is written.
        Ok(Arc::new(File(stdout_file().unwrap_or_default())))
    }
}

struct File(PathBuf);

#[async_trait]
impl Downstream for File {
    fn settings(&self) -> String {
        String::new()
    }

    async fn delivered(&self) -> Result<Vec<Delivered>> {
        let read = fs::read_to_string(&self.0);
        let text = read.map_err(|error| Error::fatal("failed to read stdout").because(error))?;
        text.lines().map(Delivered::from_line).collect()
    }
}

fn main() -> ExitCode {
    rowtide_conformance::main(vec![Suite::sink(Stdout)])
}
