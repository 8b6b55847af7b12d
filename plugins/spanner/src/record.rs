//! What a change stream says, in either dialect.

mod google_sql;
mod postgres;

use std::sync::Arc;

use jiff::Timestamp;
use rowtide_core::{Error, Operation, Result};

use crate::client::{Raw, Type};
#[cfg(feature = "fuzzing")]
pub(crate) use google_sql::column_type;

/// One thing that a partition tells.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    /// Rows were changed.
    Data(Box<DataRecord>),
    /// Everything up to this time has been told.
    Heartbeat(Timestamp),
    /// The partition ends here and goes on in others.
    Children(ChildrenRecord),
}

/// Rows of a table that one transaction changed in the same way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DataRecord {
    pub(crate) committed_at: Timestamp,
    pub(crate) sequence: String,
    pub(crate) transaction: String,
    pub(crate) is_last_in_partition: bool,
    pub(crate) shape: Arc<Shape>,
    pub(crate) mods: Vec<Mod>,
    pub(crate) operation: Operation,
    pub(crate) capture_type: String,
    pub(crate) records_in_transaction: i64,
    pub(crate) partitions_in_transaction: i64,
    pub(crate) transaction_tag: String,
    pub(crate) is_system_transaction: bool,
}

/// A table, and what a record tells of; one record after another has the same.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    pub(crate) table: String,
    pub(crate) columns: Vec<RecordColumn>,
}

/// A column that a record tells of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RecordColumn {
    pub(crate) name: String,
    /// The type as JSON, such as `{"code":"INT64"}`.
    pub(crate) type_json: String,
    pub(crate) is_key: bool,
    pub(crate) ordinal: i64,
}

/// One changed row, as JSON objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Mod {
    pub(crate) keys: String,
    pub(crate) new_values: String,
    pub(crate) old_values: String,
}

/// The partitions in which one goes on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChildrenRecord {
    pub(crate) start: Timestamp,
    pub(crate) children: Vec<Child>,
}

/// A partition that another goes on in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Child {
    pub(crate) token: String,
    pub(crate) parents: Vec<String>,
}

/// Knows how the rows of one query are made up.
#[derive(Debug)]
pub(crate) enum Decoder {
    GoogleSql(Box<google_sql::Layout>),
    Postgres(postgres::Latest),
}

impl Decoder {
    /// Looks at the columns of a query.
    ///
    /// # Errors
    /// `Config` for a stream that cannot be read yet.
    pub(crate) fn new(columns: &[(String, Type)]) -> Result<Self> {
        match columns {
            [(_, Type::Array(element))] => {
                google_sql::Layout::new(element).map(|layout| Decoder::GoogleSql(Box::new(layout)))
            }
            [(_, Type::Json)] => Ok(Decoder::Postgres(postgres::Latest::default())),
            [(_, Type::Proto(_) | Type::Bytes)] => Err(mutable_key_range()),
            _ => Err(Error::fatal("the change stream returns columns that are not known")),
        }
    }

    /// Adds the records of a row.
    ///
    /// # Errors
    /// `Fatal` for what is no record.
    pub(crate) fn decode(&mut self, row: Vec<Raw>, records: &mut Vec<Record>) -> Result<()> {
        let Some(value) = row.into_iter().next() else { return Ok(()) };
        match self {
            Decoder::GoogleSql(layout) => layout.decode(value, records),
            Decoder::Postgres(latest) => {
                let text = value.look().text().ok_or_else(|| invalid("a row that is not JSON"))?;
                records.push(postgres::decode(text, latest)?);
                Ok(())
            }
        }
    }
}

impl Record {
    /// Whether everything up to a time has been told before this, or by this.
    pub(crate) fn is_behind(&self, at: Timestamp) -> bool {
        match self {
            Record::Data(record) => record.committed_at > at,
            Record::Heartbeat(told) => *told >= at,
            Record::Children(record) => record.start > at,
        }
    }

    /// What the records of a table share.
    pub(crate) fn shape(&self) -> Option<&Arc<Shape>> {
        match self {
            Record::Data(data) => Some(&data.shape),
            _ => None,
        }
    }

    /// The memory that this holds beside its shape, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let Record::Data(data) = self else { return 256 };
        let mods = data.mods.iter().map(|row| {
            size_of::<Mod>() + row.keys.len() + row.new_values.len() + row.old_values.len()
        });
        512 + mods.sum::<usize>()
    }
}

impl Shape {
    /// The memory that this holds, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let columns = self
            .columns
            .iter()
            .map(|column| size_of::<RecordColumn>() + column.name.len() + column.type_json.len());
        size_of::<Self>() + self.table.len() + columns.sum::<usize>()
    }
}

/// A stream whose partitions live on while their key ranges move.
pub(crate) fn mutable_key_range() -> Error {
    Error::config(
        "the change stream has the partition mode MUTABLE_KEY_RANGE, which cannot be read yet",
    )
    .key("change_stream")
    .help("read a change stream with partition_mode = 'IMMUTABLE_KEY_RANGE', the default")
}

fn invalid(what: &str) -> Error {
    Error::fatal(format!("the change stream has {what}"))
        .help("this may be a newer server; report it")
}

fn timestamp(text: &str) -> Result<Timestamp> {
    text.parse().map_err(|_| invalid("a time that cannot be read"))
}

fn operation(name: &str) -> Result<Operation> {
    match name {
        "INSERT" => Ok(Operation::Insert),
        "UPDATE" => Ok(Operation::Update),
        "DELETE" => Ok(Operation::Delete),
        _ => Err(invalid("a change that is neither insert, update nor delete")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What both dialects tell of one change.
    pub(crate) fn record() -> Record {
        let column = |name: &str, code: &str, is_key, ordinal| RecordColumn {
            name: name.to_owned(),
            type_json: format!(r#"{{"code":"{code}"}}"#),
            is_key,
            ordinal,
        };
        Record::Data(Box::new(DataRecord {
            committed_at: "2026-11-21T10:00:00.123456Z".parse().unwrap(),
            sequence: "00000001".to_owned(),
            transaction: "tx".to_owned(),
            is_last_in_partition: true,
            shape: Arc::new(Shape {
                table: "orders".to_owned(),
                columns: vec![column("id", "INT64", true, 1), column("name", "STRING", false, 2)],
            }),
            mods: vec![Mod {
                keys: r#"{"id":"7"}"#.to_owned(),
                new_values: r#"{"name":"b"}"#.to_owned(),
                old_values: r#"{"name":"a"}"#.to_owned(),
            }],
            operation: Operation::Update,
            capture_type: "OLD_AND_NEW_VALUES".to_owned(),
            records_in_transaction: 3,
            partitions_in_transaction: 2,
            transaction_tag: "tag".to_owned(),
            is_system_transaction: false,
        }))
    }

    #[test]
    fn a_stream_that_cannot_be_read_yet_is_refused() {
        let proto = Type::Proto("google.spanner.v1.ChangeStreamRecord".to_owned());
        for of in [proto, Type::Bytes] {
            let error = Decoder::new(&[("ChangeRecord".to_owned(), of)]).unwrap_err();
            assert_eq!(error.kind(), &rowtide_core::ErrorKind::Config);
            assert!(error.message().contains("MUTABLE_KEY_RANGE"), "{error}");
        }
        assert!(Decoder::new(&[]).is_err());
    }
}
