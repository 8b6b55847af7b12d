use rowtide_core::{
    Error, Result,
    plugin::{CheckpointFactory, SinkFactory, SourceFactory},
    settings::{ByteSize, Period},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One source, one sink, one checkpoint store, and how changes go from one to the other.
pub struct Pipeline {
    pub name: String,
    pub source: SourceFactory,
    pub sink: SinkFactory,
    pub checkpoint: CheckpointFactory,
    pub delivery: Delivery,
}

/// When changes are flushed and saved, and what becomes of those that the downstream refuses.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Delivery {
    /// The longest time from a change being written to its flush. A pipeline that has nothing else
    /// to do flushes at once. Positions alone are saved at most this often.
    pub flush_every: Period,
    /// How many changes are flushed together at most while more are waiting.
    pub flush_after: u64,
    /// The shortest time between two saves of the checkpoint. What is flushed and not saved is
    /// delivered again after a crash. `0s` saves after each flush.
    pub save_every: Period,
    /// What happens when the downstream refuses a change for good.
    pub on_rejected: OnRejected,
    /// The longest time a stop may take. After it the process exits, and what is not saved is
    /// delivered again by the next start.
    pub stop_timeout: Period,
    /// How many bytes of changes are held in memory: read, and not yet flushed. One change larger
    /// than this is held alone.
    pub bytes_max: ByteSize,
}

/// What happens when the downstream refuses a change for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRejected {
    /// The pipeline stops with exit code 1. It saves nothing of the span, which is delivered again.
    #[default]
    Stop,
    /// The pipeline names the change in the log, counts it, and goes on.
    Skip,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            flush_every: Period::from_secs(1),
            flush_after: 10_000,
            save_every: Period::from_secs(0),
            on_rejected: OnRejected::Stop,
            stop_timeout: Period::from_secs(30),
            bytes_max: ByteSize::from_mib(16),
        }
    }
}

impl Delivery {
    /// Checks what the types alone cannot. Does no I/O.
    ///
    /// # Errors
    /// `Config`, with the key it is about.
    pub fn validate(&self) -> Result<()> {
        if self.flush_every.duration().is_zero() {
            return Err(Error::config("`flush_every` must be longer than 0s")
                .key("flush_every")
                .help(
                    "the default is \"1s\"; an idle pipeline flushes at once whatever this says",
                ));
        }
        if self.flush_after == 0 {
            return Err(Error::config("`flush_after` must be at least 1")
                .key("flush_after")
                .help("the default is 10000; 1 flushes after each batch that was read"));
        }
        if self.bytes_max.0 == 0 {
            return Err(Error::config("`bytes_max` must be more than 0")
                .key("bytes_max")
                .help("the default is \"16MiB\""));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rowtide_core::{ErrorKind, settings::Settings};

    use super::*;

    fn parse(json: serde_json::Value) -> Result<Delivery> {
        Settings::from(json).parse()
    }

    #[test]
    fn no_settings_are_the_defaults() {
        assert_eq!(parse(serde_json::json!({})).unwrap(), Delivery::default());
    }

    #[test]
    fn every_setting_is_read() {
        let delivery = parse(serde_json::json!({
            "flush_every": "2s", "flush_after": 7, "save_every": "3s", "on_rejected": "skip",
            "stop_timeout": "4s", "bytes_max": "1KiB",
        }));
        let expected = Delivery {
            flush_every: Period::from_secs(2),
            flush_after: 7,
            save_every: Period::from_secs(3),
            on_rejected: OnRejected::Skip,
            stop_timeout: Period::from_secs(4),
            bytes_max: ByteSize(1024),
        };
        assert_eq!(delivery.unwrap(), expected);
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_name() {
        let cases = [
            ("flush_every", serde_json::json!({ "flush_every": "0s" })),
            ("flush_after", serde_json::json!({ "flush_after": 0 })),
            ("bytes_max", serde_json::json!({ "bytes_max": 0 })),
        ];
        for (key, json) in cases {
            let error = parse(json).unwrap().validate().unwrap_err();
            assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some(key)));
        }
    }
}
