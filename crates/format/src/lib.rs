//! How a change is written down.
//!
//! A sink embeds [`Format`] as its setting `format` and makes an [`Encoder`] of it. A sink of lines
//! appends [`lines`](Encoder::lines) to its own buffer; a sink of messages fills [`Messages`], each
//! of which has a key and a value. Nothing is allocated for a single change.
//!
//! A mark or a truncate that a format has no form for is left out.

pub mod debezium;
mod encoder;
pub mod json;
mod plans;
mod settings;
pub mod sqlite_cdc;
mod text;

pub use encoder::{Encoder, Message, Messages};
pub use json::decoder;
pub use settings::{Debezium, Format, Integers, Json, SqliteCdc};
