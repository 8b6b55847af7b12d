//! What a user of the binary sees: errors, exit codes, signals, and what the commands print.

mod commands;
mod demo;
mod errors;
mod examples;
mod running;
mod support;
