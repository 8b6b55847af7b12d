use std::fmt;

/// What a statement is refused with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    /// `ERROR`, or `FATAL` if the connection ends too.
    pub severity: &'static str,
    /// The SQLSTATE.
    pub code: &'static str,
    /// What went wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl SqlError {
    /// An error that leaves the connection as it is.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: "ERROR", code, message: message.into(), hint: None }
    }

    /// An error after which the connection is closed.
    pub fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: "FATAL", ..Self::new(code, message) }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} ({})", self.severity, self.message, self.code)
    }
}

impl std::error::Error for SqlError {}

pub(crate) fn syntax_error(what: &str) -> SqlError {
    SqlError::new("42601", format!("at or near \"{what}\": syntax error"))
}
