#![doc = include_str!("../README.md")]

mod capture;
mod checkpoint;
mod config;
mod connection;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod source;
