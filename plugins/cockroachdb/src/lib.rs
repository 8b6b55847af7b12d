#![doc = include_str!("../README.md")]

mod config;
mod connection;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hlc;
mod source;
mod table;
