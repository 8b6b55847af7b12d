#![doc = include_str!("../README.md")]

mod capture;
mod checkpoint;
mod checkpoint_file;
mod config;
mod connection;
mod introspection;
mod layout;
mod log;
mod names;
mod plan;
mod position;
mod pruning;
mod reader;
mod registration;
mod schema;
mod snapshot;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod triggers;
mod wake;
