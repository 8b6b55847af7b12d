use std::fmt;

/// What a database speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    GoogleSql,
    Postgres,
}

impl fmt::Display for Dialect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Dialect::GoogleSql => "googlesql",
            Dialect::Postgres => "postgresql",
        })
    }
}
