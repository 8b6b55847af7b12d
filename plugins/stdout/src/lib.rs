#![doc = include_str!("../README.md")]

use std::{
    io::{self, Write},
    mem, process,
};

use rowtide_core::{
    Change, Context, Error, Result, Sink, async_trait, plugin::Config, register_sink,
};
use rowtide_format::{Encoder, Format, Refusals};
use tokio::task;

/// Writes one line a change to standard output.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct StdoutConfig {
    /// How a change is written down.
    #[serde(default)]
    format: Format,
}

/// Lines are kept until a flush, or until they are this many bytes.
const BUFFER_BYTES: usize = 64 << 10;

struct Stdout {
    encoder: Encoder,
    refusals: Refusals,
    buffer: Vec<u8>,
}

register_sink!("stdout", StdoutConfig);

#[async_trait]
impl Config for StdoutConfig {
    type Opens = dyn Sink;

    async fn open(self, context: &Context) -> Result<Box<dyn Sink>> {
        let encoder = Encoder::new(&self.format, context.pipeline());
        Ok(Box::new(Stdout { encoder, refusals: Refusals::default(), buffer: Vec::new() }))
    }
}

#[async_trait]
impl Sink for Stdout {
    async fn write(&mut self, changes: &[Change]) -> Result<()> {
        self.encoder.lines(changes, &mut self.buffer);
        self.refusals.encoded(&self.encoder, changes.len());
        if self.buffer.len() < BUFFER_BYTES { Ok(()) } else { self.print().await }
    }

    async fn flush(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            self.print().await?;
        }
        self.refusals.flushed()
    }
}

impl Stdout {
    /// Waits on a thread of its own, for as long as the reader of the pipe likes.
    async fn print(&mut self) -> Result<()> {
        let lines = mem::take(&mut self.buffer);
        let printed = task::spawn_blocking(move || print(&lines).map(|()| lines)).await;
        let mut lines = printed
            .map_err(|error| Error::transient("printing was interrupted").because(error))?
            .map_err(failure)?;
        lines.clear();
        self.buffer = lines;
        Ok(())
    }
}

fn print(lines: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(lines)?;
    stdout.flush()
}

fn failure(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        // Nobody reads any more, and nobody will: neither a pause nor an error message would help.
        // A filter ends quietly then, which no kind of error says; what was not accepted is not
        // saved either, since saving comes after the flush that does not return.
        process::exit(0);
    }
    // Part of a line may be out, so that a new attempt would print a torn one.
    Error::fatal("failed to write to standard output")
        .help("to write to a disk, use the `file` sink, which repairs what a full one leaves")
        .because(error)
}
