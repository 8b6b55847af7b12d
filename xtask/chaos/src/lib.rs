//! Chaos: real servers, the shipped program, faults that a seed draws, and rules that hold whatever
//! happens.
//!
//! `cargo xtask chaos --minutes 60 --seed 7`

mod downstream;
mod format;
pub mod history;
mod instance;
mod nemesis;
mod pipeline;
pub mod report;
mod round;
mod run;
mod scene;
mod site;
mod store;
mod upstream;
pub mod validator;
mod writer;

pub use run::{Arguments, run};

pub type Outcome<T = (), E = Box<dyn std::error::Error + Send + Sync>> = Result<T, E>;
