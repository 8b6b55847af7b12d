#![doc = include_str!("../README.md")]

mod age;
mod checkpoint;
mod checkpoint_file;
mod compression;
mod config;
mod disk;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod journal;
mod names;
mod place;
mod sink;
mod succession;
