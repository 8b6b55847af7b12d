//! How a change is written down.
//!
//! A sink embeds [`Format`] as its setting `format` and makes an [`Encoder`] of it. A sink of lines
//! appends [`lines`](Encoder::lines) to its own buffer; a sink of messages fills [`Messages`], each
//! of which has a key and a value, and in some formats headers, a topic, a partition and a time.
//! Buffers are used again and again; most changes allocate nothing.
//!
//! A mark or a truncate that a format has no form for is left out. A change that it ought to have a
//! form for, and has not, is [refused](Encoder::refused).

pub mod changefeed_publisher;
pub mod cloudevents;
pub mod debezium;
mod encoder;
pub mod json;
mod messages;
pub mod outbox;
mod plans;
mod refusals;
mod settings;
pub mod spream;
pub mod sqlite_cdc;
mod template;
mod text;

pub use encoder::Encoder;
pub use json::decoder;
pub use messages::{Header, Message, Messages};
pub use refusals::{Refusals, Refused};
pub use settings::{
    CloudEvents, CloudEventsMode, Debezium, Expansion, ExtensionCase, Format, Integers, Json,
    LineKind, OnMissingColumn, OnUpdate, Outbox, SqliteCdc, Strings,
};
pub use template::Template;
