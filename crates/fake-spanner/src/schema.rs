use crate::messages::{Field, StructType, TypeMessage};

/// The SQL that a database speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    #[default]
    GoogleSql,
    Postgres,
}

/// What a change stream tells of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Capture {
    #[default]
    OldAndNewValues,
    NewValues,
    NewRow,
    NewRowAndOldValues,
}

/// A table, with the columns of its key among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    /// Whether the change stream watches it.
    pub is_watched: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
    pub is_key: bool,
}

/// The type of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Int64,
    Float32,
    Float64,
    Timestamp,
    Date,
    String,
    Bytes,
    Numeric,
    Json,
    /// A message of that full name.
    Proto(String),
    /// An enumeration of that full name.
    Enum(String),
    Interval,
    Uuid,
    Array(Box<Kind>),
}

impl Table {
    /// A table that is watched.
    pub fn new(name: &str, columns: Vec<Column>) -> Self {
        Self { name: name.to_owned(), columns, is_watched: true }
    }

    #[must_use]
    pub fn unwatched(mut self) -> Self {
        self.is_watched = false;
        self
    }

    /// The tables that a pipeline keeps its positions in, which nothing watches: that of Apache Beam,
    /// and the one beside it.
    pub fn of_metadata(name: &str) -> Vec<Self> {
        let texts = || Kind::Array(Box::new(Kind::String));
        let metadata = [
            Column::key("PartitionToken", Kind::String),
            Column::new("ParentTokens", texts()),
            Column::new("StartTimestamp", Kind::Timestamp),
            Column::new("EndTimestamp", Kind::Timestamp),
            Column::new("HeartbeatMillis", Kind::Int64),
            Column::new("State", Kind::String),
            Column::new("Watermark", Kind::Timestamp),
            Column::new("CreatedAt", Kind::Timestamp),
            Column::new("ScheduledAt", Kind::Timestamp),
            Column::new("RunningAt", Kind::Timestamp),
            Column::new("FinishedAt", Kind::Timestamp),
        ];
        let control = [
            Column::key("Pipeline", Kind::String),
            Column::new("Epoch", Kind::Int64),
            Column::new("Owner", Kind::String),
            Column::new("ClaimedAt", Kind::Timestamp),
            Column::new("StartTimestamp", Kind::Timestamp),
            Column::new("Finished", Kind::Bool),
            Column::new("FinishedTokens", texts()),
        ];
        vec![
            Self::new(name, metadata.to_vec()).unwatched(),
            Self::new(&format!("{name}_rowtide"), control.to_vec()).unwatched(),
        ]
    }

    pub(crate) fn place(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|own| own.name == column)
    }
}

impl Column {
    pub fn new(name: &str, kind: Kind) -> Self {
        Self { name: name.to_owned(), kind, is_key: false }
    }

    pub fn key(name: &str, kind: Kind) -> Self {
        Self { is_key: true, ..Self::new(name, kind) }
    }
}

impl Capture {
    pub fn name(self) -> &'static str {
        match self {
            Capture::OldAndNewValues => "OLD_AND_NEW_VALUES",
            Capture::NewValues => "NEW_VALUES",
            Capture::NewRow => "NEW_ROW",
            Capture::NewRowAndOldValues => "NEW_ROW_AND_OLD_VALUES",
        }
    }

    pub(crate) fn has_old(self) -> bool {
        matches!(self, Capture::OldAndNewValues | Capture::NewRowAndOldValues)
    }

    pub(crate) fn has_whole_row(self) -> bool {
        matches!(self, Capture::NewRow | Capture::NewRowAndOldValues)
    }
}

impl Kind {
    /// The number and the name of its type code.
    fn code(&self) -> (i32, &'static str) {
        match self {
            Kind::Bool => (1, "BOOL"),
            Kind::Int64 => (2, "INT64"),
            Kind::Float64 => (3, "FLOAT64"),
            Kind::Timestamp => (4, "TIMESTAMP"),
            Kind::Date => (5, "DATE"),
            Kind::String => (6, "STRING"),
            Kind::Bytes => (7, "BYTES"),
            Kind::Array(_) => (8, "ARRAY"),
            Kind::Numeric => (10, "NUMERIC"),
            Kind::Json => (11, "JSON"),
            Kind::Proto(_) => (13, "PROTO"),
            Kind::Enum(_) => (14, "ENUM"),
            Kind::Float32 => (15, "FLOAT32"),
            Kind::Interval => (16, "INTERVAL"),
            Kind::Uuid => (17, "UUID"),
        }
    }

    /// What PostgreSQL's own types are marked with.
    fn annotation(&self, dialect: Dialect) -> Option<(i32, &'static str)> {
        match self {
            Kind::Numeric if dialect == Dialect::Postgres => Some((2, "PG_NUMERIC")),
            Kind::Json if dialect == Dialect::Postgres => Some((3, "PG_JSONB")),
            _ => None,
        }
    }

    fn full_name(&self) -> &str {
        match self {
            Kind::Proto(name) | Kind::Enum(name) => name,
            _ => "",
        }
    }

    pub(crate) fn message(&self, dialect: Dialect) -> TypeMessage {
        let element = match self {
            Kind::Array(element) => Some(Box::new(element.message(dialect))),
            _ => None,
        };
        TypeMessage {
            code: self.code().0,
            array_element_type: element,
            struct_type: None,
            type_annotation: self.annotation(dialect).map_or(0, |(number, _)| number),
            proto_type_fqn: self.full_name().to_owned(),
        }
    }

    /// As a record tells it, such as `{"code":"INT64"}`.
    pub(crate) fn json(&self, dialect: Dialect) -> String {
        let mut members = vec![format!(r#""code":"{}""#, self.code().1)];
        if let Kind::Array(element) = self {
            members.push(format!(r#""array_element_type":{}"#, element.json(dialect)));
        }
        if let Some((_, annotation)) = self.annotation(dialect) {
            members.push(format!(r#""type_annotation":"{annotation}""#));
        }
        if !self.full_name().is_empty() {
            members.push(format!(r#""proto_type_fqn":"{}""#, self.full_name()));
        }
        format!("{{{}}}", members.join(","))
    }

    /// As the information schema names it.
    pub(crate) fn declared(&self, dialect: Dialect) -> String {
        match (self, dialect) {
            (Kind::Array(element), Dialect::GoogleSql) => {
                format!("ARRAY<{}>", element.declared(dialect))
            }
            (Kind::Array(element), Dialect::Postgres) => {
                format!("{}[]", element.declared(dialect))
            }
            (Kind::String | Kind::Bytes, Dialect::GoogleSql) => format!("{}(MAX)", self.code().1),
            (Kind::Proto(name), _) => format!("PROTO<{name}>"),
            (Kind::Enum(name), _) => format!("ENUM<{name}>"),
            (_, Dialect::GoogleSql) => self.code().1.to_owned(),
            (_, Dialect::Postgres) => self.postgres_name().to_owned(),
        }
    }

    fn postgres_name(&self) -> &'static str {
        match self {
            Kind::Bool => "boolean",
            Kind::Int64 => "bigint",
            Kind::Float32 => "real",
            Kind::Float64 => "double precision",
            Kind::Timestamp => "timestamp with time zone",
            Kind::Date => "date",
            Kind::String => "character varying",
            Kind::Bytes => "bytea",
            Kind::Numeric => "numeric",
            Kind::Json => "jsonb",
            Kind::Interval => "interval",
            Kind::Uuid => "uuid",
            Kind::Proto(_) | Kind::Enum(_) | Kind::Array(_) => "",
        }
    }
}

/// The type of an array of structs with these fields.
pub(crate) fn structs(fields: &[(&str, TypeMessage)]) -> TypeMessage {
    let field = |(name, of): &(&str, TypeMessage)| Field {
        name: (*name).to_owned(),
        r#type: Some(of.clone()),
    };
    let fields = fields.iter().map(field).collect();
    let element =
        TypeMessage { code: 9, struct_type: Some(StructType { fields }), ..TypeMessage::default() };
    array(element)
}

pub(crate) fn array(element: TypeMessage) -> TypeMessage {
    TypeMessage { code: 8, array_element_type: Some(Box::new(element)), ..TypeMessage::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_named_as_each_dialect_does() {
        let kind = Kind::Array(Box::new(Kind::Numeric));
        assert_eq!(kind.declared(Dialect::GoogleSql), "ARRAY<NUMERIC>");
        assert_eq!(kind.declared(Dialect::Postgres), "numeric[]");
        let element = r#"{"code":"NUMERIC","type_annotation":"PG_NUMERIC"}"#;
        let expected = format!(r#"{{"code":"ARRAY","array_element_type":{element}}}"#);
        assert_eq!(kind.json(Dialect::Postgres), expected);
        let proto = Kind::Proto("a.B".to_owned());
        let expected = r#"{"code":"PROTO","proto_type_fqn":"a.B"}"#;
        assert_eq!(proto.json(Dialect::GoogleSql), expected);
    }
}
