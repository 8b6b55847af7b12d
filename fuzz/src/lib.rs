//! Feeds what decodes foreign bytes with bytes that nobody meant.
//!
//! ```sh
//! cargo xtask fuzz                                  # all targets, a minute in all
//! cargo xtask fuzz --target envelopes --seconds 600
//! ```
//!
//! A target takes any bytes and must come back, with a value or an error: no panic, no overflow, no
//! endless loop. It says what came of them in a few words, and the search keeps an input that leads
//! to something new. `fuzz/corpus` has what it begins with: what the systems really send, and what
//! has once been too much.

mod mutation;
mod search;
mod target;

pub use search::{Budget, Failure, Report, search};
pub use target::{TARGETS, Target};
