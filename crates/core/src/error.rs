use std::{error::Error as StdError, fmt};

use crate::Owner;

/// A result whose error is an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and by its kind what the engine does about it.
///
/// Messages are lower-case fragments without a full stop; `help` is what the user can do.
#[derive(Debug)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    key: Option<String>,
    help: Option<String>,
    claim_lost: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The five kinds of error; each has one reaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The settings cannot work. The engine refuses to start; exit 2.
    Config,
    /// It passes by itself. The engine resumes from the checkpoint after a growing, jittered pause.
    Transient,
    /// Going on would skip changes. The engine stops; exit 3.
    PositionLost,
    /// The downstream refuses these changes for good. The engine applies the pipeline's reject
    /// policy. Indexes are ascending and unique, counted from the start of the span that the flush
    /// covers.
    Rejected {
        /// Which changes of the span.
        indexes: Vec<usize>,
    },
    /// It does not pass by itself. The engine stops; exit 1, and 4 for a lost claim.
    Fatal,
}

impl Error {
    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        let inner = Inner { kind, message, key: None, help: None, claim_lost: false, source: None };
        Self { inner: Box::new(inner) }
    }

    /// The settings cannot work.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// It passes by itself.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Transient, message)
    }

    /// Going on would skip changes.
    pub fn position_lost(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::PositionLost, message)
    }

    /// The downstream refuses the changes at these indexes of the span, for good.
    pub fn rejected(indexes: Vec<usize>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Rejected { indexes }, message)
    }

    /// It does not pass by itself.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Fatal, message)
    }

    /// The pipeline was taken over by `owner`. A kind of `Fatal` with an exit code of its own (4),
    /// so that a supervisor can be told not to restart.
    pub fn claim_lost(pipeline: &str, owner: &Owner) -> Self {
        let mut error = Self::fatal(format!("pipeline `{pipeline}` was taken over by {owner}"));
        error.inner.claim_lost = true;
        error
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.inner.help = Some(help.into());
        self
    }

    /// Adds the key of the setting this is about, with dots between the parts of its path.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.inner.key = Some(key.into());
        self
    }

    /// Adds the error that led to this one.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// Puts `outer` before the path of the setting, if this is about one.
    #[must_use]
    pub fn under(mut self, outer: &str) -> Self {
        if let Some(key) = &mut self.inner.key {
            *key = if key.is_empty() { outer.to_owned() } else { format!("{outer}.{key}") };
        }
        self
    }

    /// What the engine does about it.
    pub fn kind(&self) -> &ErrorKind {
        &self.inner.kind
    }

    /// What went wrong, without its causes and without what can be done.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// The path of the setting this is about.
    pub fn setting(&self) -> Option<&str> {
        self.inner.key.as_deref()
    }

    /// What the user can do.
    pub fn remedy(&self) -> Option<&str> {
        self.inner.help.as_deref()
    }

    /// Whether it passes by itself.
    pub fn is_transient(&self) -> bool {
        self.inner.kind == ErrorKind::Transient
    }

    /// Whether this is a [`claim_lost`](Self::claim_lost).
    pub fn is_claim_lost(&self) -> bool {
        self.inner.claim_lost
    }
}

/// One line: the message, then each cause after a colon.
impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.inner.message)?;
        let mut source = self.source();
        while let Some(cause) = source {
            write!(formatter, ": {cause}")?;
            // One of ours has written its own causes already.
            source = if cause.is::<Error>() { None } else { cause.source() };
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_tells_all_causes() {
        let inner = Error::fatal("inner").because("cause");
        let error = Error::transient("outer").because(inner);
        assert_eq!(error.to_string(), "outer: inner: cause");
    }

    #[test]
    fn a_key_grows_outwards() {
        assert_eq!(Error::config("x").key("a").under("b").setting(), Some("b.a"));
        assert_eq!(Error::config("x").key("").under("b").setting(), Some("b"));
        assert_eq!(Error::config("x").under("b").setting(), None);
    }
}
