use std::io::{self, IsTerminal};

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter,
    filter::{FilterFn, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

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
        LogFormat::Text => lines.finish().with(discretion()).init(),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_span_list(false);
            lines.finish().with(discretion()).init();
        }
    }
    if let Some(mistake) = mistake {
        tracing::warn!("RUST_LOG cannot be read and is left out: {mistake}");
    }
}

/// Keeps the values of rows out of the log whatever `RUST_LOG` says: `lapin` shows whole messages
/// that come back as warnings, and all of them below that.
fn discretion() -> FilterFn {
    filter_fn(|metadata: &Metadata<'_>| {
        let is_of = |name: &str| {
            let rest = metadata.target().strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        *metadata.level() == Level::ERROR || !["lapin", "amq_protocol"].into_iter().any(is_of)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_client_that_shows_messages_is_heard_only_when_it_fails() {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("trace,lapin=trace,lapin::returned_messages=trace"))
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(lines.finish().with(discretion()), || {
            tracing::warn!(target: "lapin::returned_messages", "hush");
            tracing::trace!(target: "lapin", "hush");
            tracing::debug!(target: "amq_protocol::frame", "hush");
            tracing::error!(target: "lapin::channel", "loud");
            tracing::trace!(target: "lapinette", "heard");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains("hush"), "{text}");
        assert!(text.contains("loud") && text.contains("heard"), "{text}");
    }
}
