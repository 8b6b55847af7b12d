/// The tables that an application writes to.
pub(crate) const TABLES: &str = "
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, version INTEGER, amount REAL, note TEXT, data BLOB, anything);
CREATE TABLE customers (
    name TEXT, region TEXT, version INTEGER, credit NUMERIC, PRIMARY KEY (region, name)
) WITHOUT ROWID;
";
