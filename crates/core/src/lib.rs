//! The contract between Rowtide's engine and its plugins.
//!
//! A plugin crate needs this crate alone: the three traits [`Source`], [`Sink`] and
//! [`CheckpointStore`], the [`Change`] that travels between them, one [`Error`] with five kinds, and
//! the registry that turns a `type = "…"` of a pipeline file into a plugin.
//!
//! Three sentences everything follows from:
//!
//! 1. `write` means accepted, `flush` means durable. Nothing is saved before the sink has flushed
//!    it, nothing is acknowledged upstream before it is saved.
//! 2. A partition is a stream; a position is opaque. Only the source can read a position, only the
//!    engine may advance a checkpoint.
//! 3. There is one recovery path: drop everything, open both ends again, resume from the checkpoint.
//!
//! This crate knows no system and no async runtime.

#![warn(missing_docs)]

mod change;
mod checkpoint;
mod context;
mod error;
mod partition;
pub mod plugin;
mod position;
pub mod registry;
pub mod settings;
mod sink;
mod source;
mod table;
mod value;

pub use async_trait::async_trait;
#[doc(hidden)]
pub use inventory;

pub use change::{Change, ChangeId, Metadata, Operation, Row, Transaction};
pub use checkpoint::{CheckpointStore, CheckpointUpdate, Claim, Owner};
pub use context::{Context, Shutdown};
pub use error::{Error, ErrorKind, Result};
pub use partition::{Partition, PartitionId, PartitionState, Progress};
pub use position::Position;
pub use sink::Sink;
pub use source::{Event, EventStream, Source};
pub use table::{Column, ColumnType, Table};
pub use value::Value;
