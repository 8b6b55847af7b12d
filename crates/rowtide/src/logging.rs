use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::arguments::LogFormat;

/// Sends log lines to stderr: stdout belongs to the stdout sink.
pub(crate) fn start(format: LogFormat, default_filter: &str) {
    let own = || EnvFilter::new(default_filter);
    let (filter, mistake) = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => match EnvFilter::try_new(&text) {
            Ok(filter) => (filter, None),
            Err(error) => (own(), Some(error)),
        },
        _ => (own(), None),
    };
    let has_colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // It would complain on stderr, and panic where that is what has failed.
        .log_internal_errors(false)
        .with_ansi(has_colours);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).init(),
    }
    if let Some(mistake) = mistake {
        tracing::warn!("RUST_LOG cannot be read and is left out: {mistake}");
    }
}
