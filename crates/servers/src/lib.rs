//! Real servers on loopback, for tests: installed, started, frozen, killed and stopped.
//!
//! A test starts a [`Server`] of its own, or is led to one that runs already by the environment:
//!
//! ```no_run
//! use rowtide_servers::{Kind, Server};
//!
//! # fn main() -> Result<(), rowtide_servers::Error> {
//! let postgres = Server::start(Kind::Postgres)?;
//! let url = postgres.variable("ROWTIDE_POSTGRES_URL")?;
//! postgres.kill()?;
//! // The same data, at the same address.
//! postgres.restart()?;
//! # Ok(())
//! # }
//! ```
//!
//! It is gone, with its data and all its processes, when it is dropped, and also when the test's
//! process is killed. Where a server cannot be had, [`absence`] says why: [`trials::main`] and a
//! conformance suite then show their tests as ignored. With `CI` in the environment there is no
//! excuse, and such a test fails.
//!
//! `cargo xtask services` keeps a [`Set`] of servers for as long as somebody works with them.

mod certificates;
mod error;
mod install;
mod instance;
mod kind;
mod lease;
pub mod machine;
mod server;
mod set;
pub mod trials;
mod watchdog;

pub use certificates::Certificates;
pub use error::{Error, Result};
pub use install::{absence, clock, install, is_strict, lack};
pub use kind::Kind;
pub use lease::Lease;
pub use server::Server;
pub use set::{Set, State};
