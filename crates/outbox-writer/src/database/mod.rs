#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "mysql", feature = "sqlite"))]
mod values;

use crate::Value;

/// A database that can hold an outbox: `sqlx::Postgres`, `sqlx::MySql` and `sqlx::Sqlite`, each
/// with the feature of its name.
pub trait Database: sqlx::Database + sealed::Sealed {
    /// How many values one statement takes.
    #[doc(hidden)]
    const VALUES_MAX: usize;

    /// Inserts `rows` by one statement and returns how many were written.
    #[doc(hidden)]
    fn insert(
        connection: &mut Self::Connection,
        table: &str,
        columns: &[String],
        rows: &[Vec<Value>],
    ) -> impl Future<Output = sqlx::Result<u64>> + Send;
}

mod sealed {
    pub trait Sealed {}

    #[cfg(feature = "mysql")]
    impl Sealed for sqlx::MySql {}
    #[cfg(feature = "postgres")]
    impl Sealed for sqlx::Postgres {}
    #[cfg(feature = "sqlite")]
    impl Sealed for sqlx::Sqlite {}
}

/// A name of up to two parts with a dot between, quoted.
fn quote_table(table: &str, quote: char) -> String {
    let parts: Vec<_> = table.splitn(2, '.').map(|part| quote_name(part, quote)).collect();
    parts.join(".")
}

fn quote_columns(columns: &[String], quote: char) -> String {
    let columns: Vec<_> = columns.iter().map(|column| quote_name(column, quote)).collect();
    columns.join(", ")
}

fn quote_name(name: &str, quote: char) -> String {
    let doubled = [quote, quote].iter().collect::<String>();
    format!("{quote}{}{quote}", name.replace(quote, &doubled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_can_leave_its_quotes() {
        assert_eq!(quote_table("shop.out\"box", '"'), "\"shop\".\"out\"\"box\"");
        assert_eq!(quote_table("outbox", '`'), "`outbox`");
        assert_eq!(quote_columns(&["a`b".to_owned(), "c".to_owned()], '`'), "`a``b`, `c`");
    }
}
