//! Tests that need servers, for a `[[test]]` with `harness = false`.
//!
//! ```no_run
//! use std::process::ExitCode;
//! use rowtide_servers::{Kind, Server, trials};
//!
//! fn main() -> ExitCode {
//!     trials::main(&[Kind::Postgres], trials![survives_a_restart])
//! }
//!
//! fn survives_a_restart() -> Result<(), rowtide_servers::Error> {
//!     let server = Server::start(Kind::Postgres)?;
//!     server.restart()
//! }
//! ```

use std::{any::Any, fmt::Display, process::ExitCode};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::{Error, Kind, absence, is_strict};

/// A test: its name and what it does.
pub type Test = (&'static str, fn() -> Result<Completion, Failed>);

/// Runs the tests as a test binary does. Each is ignored, with the reason, where a server of
/// `kinds` cannot be had; see [`absence`].
pub fn main(kinds: &[Kind], tests: Vec<Test>) -> ExitCode {
    let reason = absence(kinds);
    let trial = |(name, test): Test| {
        let reason = reason.clone();
        Trial::ignorable_test(name, move || match reason {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => test(),
        })
    };
    let trials = tests.into_iter().map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// What a test returns: nothing, or a result. A panic is a failure, too.
pub trait Outcome {
    /// # Errors
    /// The test failed.
    fn judge(self) -> Result<Completion, Failed>;
}

impl Outcome for () {
    fn judge(self) -> Result<Completion, Failed> {
        Ok(Completion::Completed)
    }
}

/// [`Error::Missing`] itself, of a server that is not the test's own say, is no failure where
/// there is an excuse for it.
impl<E: Display + 'static> Outcome for Result<(), E> {
    fn judge(self) -> Result<Completion, Failed> {
        let Err(error) = self else { return Ok(Completion::Completed) };
        match (&error as &dyn Any).downcast_ref() {
            Some(Error::Missing(reason)) if !is_strict() => Ok(Completion::ignored_with(reason)),
            _ => Err(error.to_string().into()),
        }
    }
}

/// Functions, each with its name, as [`trials::main`](main) takes them.
#[macro_export]
macro_rules! trials {
    ($($test:path),* $(,)?) => {
        vec![$((stringify!($test), (|| $crate::trials::Outcome::judge($test())) as _)),*]
    };
}
