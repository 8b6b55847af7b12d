//! What commands print. A reader that has left, as `head` does, is no error.

use std::{
    fmt::Display,
    io::{self, ErrorKind, IsTerminal, Write},
};

use rowtide_core::{Error, Result};

/// Prints `text` to stdout.
///
/// # Errors
/// `Fatal` if it cannot be written though somebody reads it.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::fatal("failed to write to stdout").because(error))
        }
        _ => Ok(()),
    }
}

/// Writes `message` to stderr. Nobody is left to tell if that fails.
pub(crate) fn complain(message: &impl Display) {
    let _ = write!(io::stderr().lock(), "{message}");
}

/// Asks on the terminal whether to go on.
///
/// # Errors
/// `Config` if there is no terminal to ask on; `Fatal` if the answer is no.
pub(crate) fn confirm(question: &str) -> Result<()> {
    if !io::stdin().is_terminal() {
        return Err(Error::config(question).help("add `--yes` to go on without being asked"));
    }
    complain(&format_args!("{question}\nGo on? [y/N] "));
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    read.map_err(|error| Error::fatal("failed to read the answer").because(error))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Error::fatal("nothing was changed")),
    }
}
