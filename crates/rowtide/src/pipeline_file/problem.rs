use std::{fmt, process::ExitCode};

use rowtide_core::{Error, ErrorKind};

/// An error, and where the user can mend it.
#[derive(Debug)]
pub(crate) struct Problem {
    place: Option<Place>,
    error: Error,
    snippet: Option<String>,
}

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    File(String),
    Line {
        file: String,
        line: usize,
        column: usize,
    },
    Variable(String),
    /// A pipeline by its name, when the error is about no setting.
    Pipeline(String),
}

/// One problem or more; a command ends with the exit code of the first.
#[derive(Debug)]
pub(crate) struct Problems(pub(super) Vec<Problem>);

impl Problem {
    pub(crate) fn new(place: Place, error: Error) -> Self {
        Self { place: Some(place), error, snippet: None }
    }

    /// Adds the text it is about.
    pub(super) fn snippet(mut self, snippet: String) -> Self {
        self.snippet = Some(snippet);
        self
    }

    fn exit_code(&self) -> u8 {
        match self.error.kind() {
            ErrorKind::Config => 2,
            ErrorKind::PositionLost => 3,
            ErrorKind::Fatal if self.error.is_claim_lost() => 4,
            ErrorKind::Fatal | ErrorKind::Rejected { .. } | ErrorKind::Transient => 1,
        }
    }
}

impl Problems {
    /// What `problems` add up to: nothing if there are none.
    ///
    /// # Errors
    /// The problems.
    pub(crate) fn check(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        self.0.first().map_or(ExitCode::FAILURE, |problem| problem.exit_code().into())
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self { place: None, error, snippet: None }
    }
}

impl From<Error> for Problems {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| problem.fmt(formatter))
    }
}

/// `error: PLACE: MESSAGE`, then a line each for the text, the key and the help.
impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => writeln!(formatter, "error: {place}: {}", self.error)?,
            None => writeln!(formatter, "error: {}", self.error)?,
        }
        if let Some(snippet) = &self.snippet {
            writeln!(formatter, "{snippet}")?;
        }
        if let Some(key) = self.error.setting().filter(|key| !key.is_empty()) {
            writeln!(formatter, "  key: {key}")?;
        }
        if let Some(help) = self.error.remedy() {
            writeln!(formatter, "  help: {help}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(file) => formatter.write_str(file),
            Place::Line { file, line, column } => write!(formatter, "{file}:{line}:{column}"),
            Place::Variable(name) => write!(formatter, "environment variable {name}"),
            Place::Pipeline(name) => write!(formatter, "pipeline `{name}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rowtide_core::Owner;

    use super::*;

    #[test]
    fn every_kind_has_its_exit_code() {
        let owner = Owner { host: "h".to_owned(), process: 1, since: jiff::Timestamp::UNIX_EPOCH };
        for (error, code) in [
            (Error::config("x"), 2),
            (Error::position_lost("x"), 3),
            (Error::claim_lost("orders", &owner), 4),
            (Error::fatal("x"), 1),
            (Error::rejected(vec![0], "x"), 1),
            (Error::transient("x"), 1),
        ] {
            assert_eq!(Problem::from(error).exit_code(), code);
        }
    }

    #[test]
    fn place_key_and_help_stand_on_lines_of_their_own() {
        let place = Place::Line { file: "shop.toml".to_owned(), line: 3, column: 1 };
        let error = Error::config("unknown key").key("source.paht").help("did you mean `path`?");
        let text = Problem::new(place, error).to_string();
        assert_eq!(
            text,
            "error: shop.toml:3:1: unknown key\n  key: source.paht\n  help: did you mean `path`?\n"
        );
    }
}
