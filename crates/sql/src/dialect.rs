use std::fmt;

/// One of the databases, by the SQL that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
    /// SQLite.
    Sqlite,
}

impl Dialect {
    /// The dialect that a URL with this scheme means.
    pub(crate) fn of_scheme(scheme: &str) -> Option<Self> {
        match scheme {
            "postgres" | "postgresql" => Some(Dialect::Postgres),
            "mysql" | "mariadb" => Some(Dialect::MySql),
            "sqlite" => Some(Dialect::Sqlite),
            _ => None,
        }
    }

    /// A name of a table, a column or anything else, quoted, so that it means exactly itself.
    pub fn quote(self, name: &str) -> String {
        let mark = match self {
            Dialect::Postgres | Dialect::Sqlite => '"',
            Dialect::MySql => '`',
        };
        let doubled = name.replace(mark, &format!("{mark}{mark}"));
        format!("{mark}{doubled}{mark}")
    }

    /// A text as a literal, for statements that take no parameters.
    pub fn literal(self, text: &str) -> String {
        let doubled = text.replace('\'', "''");
        match self {
            Dialect::Sqlite => format!("'{doubled}'"),
            // A backslash means itself only here, whatever the server's settings are.
            Dialect::Postgres if text.contains('\\') => {
                format!("E'{}'", doubled.replace('\\', "\\\\"))
            }
            Dialect::Postgres => format!("'{doubled}'"),
            Dialect::MySql if text.contains('\\') => format!("X'{}'", hex(text)),
            Dialect::MySql => format!("'{doubled}'"),
        }
    }

    /// The parameter of a statement with this number, counted from 1.
    pub fn parameter(self, number: usize) -> String {
        match self {
            Dialect::Postgres => format!("${number}"),
            Dialect::MySql | Dialect::Sqlite => "?".to_owned(),
        }
    }
}

/// As messages name it.
impl fmt::Display for Dialect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Dialect::Postgres => "PostgreSQL",
            Dialect::MySql => "MySQL",
            Dialect::Sqlite => "SQLite",
        })
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_quoted_so_that_it_means_itself() {
        for (dialect, name, quoted) in [
            (Dialect::Postgres, "orders", r#""orders""#),
            (Dialect::Postgres, r#"od"d"#, r#""od""d""#),
            (Dialect::Postgres, "a.b", r#""a.b""#),
            (Dialect::MySql, "orders", "`orders`"),
            (Dialect::MySql, "od`d", "`od``d`"),
            (Dialect::Sqlite, r#"od"d"#, r#""od""d""#),
        ] {
            assert_eq!(dialect.quote(name), quoted);
        }
    }

    #[test]
    fn a_literal_ends_where_the_text_ends() {
        for (dialect, text, literal) in [
            (Dialect::Postgres, "it's", "'it''s'"),
            (Dialect::Postgres, r"\'", r"E'\\'''"),
            (Dialect::MySql, "it's", "'it''s'"),
            (Dialect::MySql, r"\'", "X'5C27'"),
            (Dialect::Sqlite, r"\'", r"'\'''"),
        ] {
            assert_eq!(dialect.literal(text), literal);
        }
    }
}
