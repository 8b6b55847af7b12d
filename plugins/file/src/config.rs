use std::path::PathBuf;

use rowtide_core::{
    CheckpointStore, Context, Error, Result, Sink, async_trait,
    plugin::{Config, Execution, UninstallOptions, UninstallScope},
    register_checkpoint, register_sink,
    settings::{ByteSize, Period},
};
use rowtide_format::{Encoder, Format};

use crate::{
    checkpoint::FileStore,
    checkpoint_file,
    compression::Compression,
    disk,
    journal::{Journal, Rotation},
    place,
    sink::FileSink,
};

/// Writes one line a change to a file.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileSinkConfig {
    /// The file; its directory must exist.
    path: PathBuf,
    /// How a change is written down.
    #[serde(default)]
    format: Format,
    /// The size beyond which the file is closed, renamed, and a new one begun. Unset: never.
    rotate_bytes: Option<ByteSize>,
    /// The age beyond which the same is done when changes arrive. Unset: never.
    rotate_every: Option<Period>,
    /// How closed files are compressed. Unset: not at all.
    compress: Option<Compression>,
}

/// Keeps checkpoints in files, one a pipeline.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileCheckpointConfig {
    /// The directory of the files; it is made if it is not there.
    path: PathBuf,
}

register_sink!("file", FileSinkConfig);
register_checkpoint!("file", FileCheckpointConfig);

#[async_trait]
impl Config for FileSinkConfig {
    type Opens = dyn Sink;

    fn validate(&self) -> Result<()> {
        if self.path.file_name().and_then(|name| name.to_str()).is_none() {
            return Err(Error::config("expected the path of a file").key("path"));
        }
        if self.rotate_bytes.is_some_and(|size| size.0 == 0) {
            return Err(Error::config("a file cannot be closed at size 0").key("rotate_bytes"));
        }
        if self.rotate_every.is_some_and(|period| period.duration().is_zero()) {
            return Err(Error::config("a file cannot be closed at age 0").key("rotate_every"));
        }
        let Some(compression) = self.compress else { return Ok(()) };
        if self.rotate_bytes.is_none() && self.rotate_every.is_none() {
            let error = Error::config("only closed files are compressed, and none is ever closed");
            return Err(error.key("compress").help("set `rotate_bytes` or `rotate_every`"));
        }
        compression.validate()
    }

    async fn open(self, context: &Context) -> Result<Box<dyn Sink>> {
        let encoder = Encoder::new(&self.format, context.pipeline());
        let rotation = Rotation {
            bytes: self.rotate_bytes,
            every: self.rotate_every.map(Period::duration),
            compression: self.compress,
        };
        let lines = self.format.line_kind();
        let open = move || {
            place::check_ours(&self.path, lines)?;
            Journal::open(&self.path, rotation)
        };
        let journal = disk::blocking(open).await.map_err(|error| error.key("path"))?;
        Ok(Box::new(FileSink::new(encoder, journal)))
    }
}

#[async_trait]
impl Config for FileCheckpointConfig {
    type Opens = dyn CheckpointStore;

    fn validate(&self) -> Result<()> {
        if self.path.as_os_str().is_empty() {
            return Err(Error::config("expected the path of a directory").key("path"));
        }
        Ok(())
    }

    async fn open(self, _context: &Context) -> Result<Box<dyn CheckpointStore>> {
        Ok(Box::new(FileStore::new(self.path)))
    }

    /// Removes the pipeline's checkpoint.
    async fn uninstall(&self, context: &Context, options: UninstallOptions) -> Result<Vec<String>> {
        let path = checkpoint_file::path(&self.path, context.pipeline());
        if !path.exists() || options.scope == UninstallScope::Triggers {
            return Ok(Vec::new());
        }
        let statement = format!("remove {}", path.display());
        if options.execution == Execution::Apply {
            disk::blocking(move || checkpoint_file::remove(&path)).await?;
        }
        Ok(vec![statement])
    }
}

#[cfg(test)]
mod tests {
    use rowtide_core::{ErrorKind, registry, settings::Settings};
    use serde_json::json;

    #[track_caller]
    fn check_error(settings: serde_json::Value, key: &str) {
        let error = registry::sink("file", &Settings::from(settings)).err().unwrap();
        assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some(key)), "{error}");
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_their_key() {
        check_error(json!({}), "path");
        check_error(json!({"path": "out/.."}), "path");
        check_error(json!({"path": "a", "rotate_bytes": 0}), "rotate_bytes");
        check_error(json!({"path": "a", "rotate_every": "0s"}), "rotate_every");
        check_error(json!({"path": "a", "compress": "gzip"}), "compress");
        check_error(json!({"path": "a", "rotate_bytes": "1KiB", "compress": "gzp"}), "compress");
        check_error(json!({"path": "a", "format": {"type": "json", "x": 1}}), "format.x");
        #[cfg(not(feature = "zstd"))]
        check_error(json!({"path": "a", "rotate_bytes": "1KiB", "compress": "zstd"}), "compress");
        let settings = json!({"path": "a", "rotate_every": "1h", "compress": "gzip"});
        assert!(registry::sink("file", &Settings::from(settings)).is_ok());
        let error = registry::checkpoint("file", &Settings::from(json!({"path": ""})));
        assert_eq!(error.err().unwrap().setting(), Some("path"));
    }
}
