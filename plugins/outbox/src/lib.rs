#![doc = include_str!("../README.md")]

mod config;
mod database;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod keys;
mod layout;
mod source;
