//! The statements that are understood, and how they are read.

mod definition;
mod error;
mod lexer;
mod manipulation;
mod parser;

pub use error::SqlError;
pub(crate) use error::syntax_error;
pub(crate) use parser::parse;

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Statement {
    Empty,
    Begin,
    Commit,
    Rollback,
    /// One that changes rows; a transaction collects them.
    Write(Write),
    /// One that changes the schema, at once.
    Define(Definition),
    Select(Select),
    /// `SELECT f('a', …)`.
    Call {
        function: String,
        arguments: Vec<Literal>,
    },
    ShowColumns(String),
    ShowCreate(String),
    ShowTables,
    ShowZone(String),
    ShowClusterSetting(String),
    SetClusterSetting(String, Literal),
    Show(String),
    Set,
    Changefeed(Changefeed),
}

/// A value as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    Array(Vec<Literal>),
}

/// Rows to change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Write {
    Insert { table: String, columns: Vec<String>, rows: Vec<Vec<Literal>>, clash: Clash },
    Update { table: String, assignments: Vec<Equality>, filter: Vec<Equality> },
    Delete { table: String, filter: Vec<Equality> },
}

/// What an insert does about a row that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clash {
    Refuse,
    Replace,
}

/// A column and a value: in `SET` an assignment, in `WHERE` a condition.
pub(crate) type Equality = (String, Literal);

/// A change of the schema.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Definition {
    CreateTable(CreateTable),
    CreateView { name: String },
    DropTable { name: String },
    Truncate { name: String },
    AddColumn { table: String, column: ColumnDefinition },
    DropColumn { table: String, column: String },
    RenameColumn { table: String, from: String, to: String },
    ConfigureZone { table: String, gc_ttl_seconds: u64 },
    Grant { table: String },
    Revoke { table: String },
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CreateTable {
    pub(crate) name: String,
    pub(crate) if_not_exists: bool,
    pub(crate) columns: Vec<ColumnDefinition>,
    pub(crate) key: Vec<String>,
    pub(crate) families: Vec<(String, Vec<String>)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ColumnDefinition {
    pub(crate) name: String,
    pub(crate) sql_type: String,
    pub(crate) nullable: bool,
    pub(crate) default: Literal,
}

/// Rows to look at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Select {
    /// `*` is none at all.
    pub(crate) columns: Vec<String>,
    pub(crate) counts: bool,
    pub(crate) table: String,
    pub(crate) as_of: Option<String>,
    pub(crate) filter: Vec<Equality>,
}

/// A changefeed of tables, or of a query.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Changefeed {
    pub(crate) tables: Vec<String>,
    pub(crate) query: Option<Select>,
    pub(crate) options: Vec<(String, Option<String>)>,
}

impl Select {
    /// Reads a query that the catalog may answer.
    pub(crate) fn value(&self, column: &str) -> Option<&str> {
        self.filter.iter().find_map(|(name, literal)| match literal {
            Literal::Text(text) if name == column => Some(text.as_str()),
            _ => None,
        })
    }
}
