//! The source as the registry opens it: what is lost, what is resumed, and how soon it wakes.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod faults;
mod holes;
mod renames;
mod resumption;
mod support;
mod waking;
