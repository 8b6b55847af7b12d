use rowtide_core::{Error, Result};

use crate::Dialect;

/// A table as a user names it: `orders`, or `sales.orders` for the schema (in MySQL the database)
/// that it is in. Parts with odd characters stand in double quotes or backticks, doubled inside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableName {
    schema: Option<String>,
    name: String,
}

impl TableName {
    /// Reads a name as a user writes it.
    ///
    /// # Errors
    /// `Config` if it is not one name, or two with a dot between them.
    pub fn parse(text: &str) -> Result<Self> {
        let parts = parts(text).ok_or_else(|| {
            Error::config(format!("`{text}` is not the name of a table"))
                .help("write `name` or `schema.name`; put a part with other characters into quotes")
        })?;
        match <[String; 2]>::try_from(parts) {
            Ok([schema, name]) => Ok(Self { schema: Some(schema), name }),
            Err(mut parts) => match (parts.pop(), parts.pop()) {
                (Some(name), None) => Ok(Self { schema: None, name }),
                _ => {
                    Err(Error::config(format!("`{text}` has more parts than a schema and a name")))
                }
            },
        }
    }

    /// The schema, if the user named one.
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The name without the schema.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name as it stands in a statement.
    pub fn quoted(&self, dialect: Dialect) -> String {
        let name = dialect.quote(&self.name);
        match &self.schema {
            Some(schema) => format!("{}.{name}", dialect.quote(schema)),
            None => name,
        }
    }
}

/// As a user writes it, for messages.
impl std::fmt::Display for TableName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(formatter, "{schema}.{}", self.name),
            None => formatter.write_str(&self.name),
        }
    }
}

fn parts(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = match rest.chars().next()? {
            mark @ ('"' | '`') => quoted_part(&rest[1..], mark)?,
            _ => plain_part(rest)?,
        };
        parts.push(part);
        match after.strip_prefix('.') {
            Some(more) => rest = more,
            None if after.is_empty() => return Some(parts),
            None => return None,
        }
    }
}

fn plain_part(text: &str) -> Option<(String, &str)> {
    let is_plain = |one: char| one.is_alphanumeric() || matches!(one, '_' | '$' | '-');
    let end = text.find(|one| !is_plain(one)).unwrap_or(text.len());
    (end > 0).then(|| (text[..end].to_owned(), &text[end..]))
}

fn quoted_part(text: &str, mark: char) -> Option<(String, &str)> {
    let mut part = String::new();
    let mut rest = text;
    loop {
        let end = rest.find(mark)?;
        part.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix(mark) {
            Some(more) => {
                part.push(mark);
                rest = more;
            }
            None => return (!part.is_empty() && !part.contains('\0')).then_some((part, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_a_user_writes_it() {
        for (text, schema, name) in [
            ("orders", None, "orders"),
            ("Sales.orders_2$", Some("Sales"), "orders_2$"),
            ("größe", None, "größe"),
            (r#""a.b"."c""d""#, Some("a.b"), r#"c"d"#),
            ("`a b`.c", Some("a b"), "c"),
        ] {
            let table = TableName::parse(text).unwrap();
            assert_eq!((table.schema(), table.name()), (schema, name), "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", ".", "a.", ".a", "a.b.c", "a b", "a;b", "\"a", "\"\"", "\"a\"b", "a'b"] {
            assert!(TableName::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn each_part_is_quoted() {
        let table = TableName::parse(r#"sales."od""d""#).unwrap();
        assert_eq!(table.quoted(Dialect::Postgres), r#""sales"."od""d""#);
        assert_eq!(table.quoted(Dialect::MySql), r#"`sales`.`od"d`"#);
        assert_eq!(table.to_string(), r#"sales.od"d"#);
    }
}
