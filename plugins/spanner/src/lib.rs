#![doc = include_str!("../README.md")]

mod catalog;
mod checkpoint;
mod client;
mod config;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod record;
mod source;
mod value;
