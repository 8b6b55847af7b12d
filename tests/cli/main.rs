//! What a user of the binary sees: errors, exit codes, signals, and what the commands print.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commands;
mod demo;
mod errors;
mod examples;
mod mishaps;
mod old_checkpoints;
mod running;
mod support;
