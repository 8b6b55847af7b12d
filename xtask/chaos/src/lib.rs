//! Chaos: real servers, the shipped program, faults that a seed draws, and rules that hold whatever
//! happens.

pub mod history;
pub mod validator;

pub type Outcome<T = (), E = Box<dyn std::error::Error + Send + Sync>> = Result<T, E>;
