//! Records as nested arrays of structs, whose fields are found by their names.

use std::sync::Arc;

use rowtide_core::Result;

use super::{
    Child, ChildrenRecord, DataRecord, Mod, Record, RecordColumn, Shape, invalid, operation,
    timestamp,
};
use crate::client::{Look, Raw, Type};

/// Where the fields of a record are.
#[derive(Debug)]
pub(crate) struct Layout {
    kinds: [usize; 3],
    data: [usize; 13],
    column: [usize; 4],
    row: [usize; 3],
    heartbeat: [usize; 1],
    children: [usize; 2],
    child: [usize; 2],
    /// The shape of the last record.
    latest: Option<Arc<Shape>>,
}

const KINDS: [&str; 3] = ["data_change_record", "heartbeat_record", "child_partitions_record"];
const DATA: [&str; 13] = [
    "commit_timestamp",
    "record_sequence",
    "server_transaction_id",
    "is_last_record_in_transaction_in_partition",
    "table_name",
    "column_types",
    "mods",
    "mod_type",
    "value_capture_type",
    "number_of_records_in_transaction",
    "number_of_partitions_in_transaction",
    "transaction_tag",
    "is_system_transaction",
];
const COLUMN: [&str; 4] = ["name", "type", "is_primary_key", "ordinal_position"];
const ROW: [&str; 3] = ["keys", "new_values", "old_values"];
const HEARTBEAT: [&str; 1] = ["timestamp"];
const CHILDREN: [&str; 2] = ["start_timestamp", "child_partitions"];
const CHILD: [&str; 2] = ["token", "parent_partition_tokens"];

impl Layout {
    pub(super) fn new(record: &Type) -> Result<Self> {
        let inside = |of: &Type, name: &str| -> Result<Type> {
            let fields = fields(of)?;
            let found = fields.iter().find(|(field, _)| field == name);
            found.map(|(_, of)| of.clone()).ok_or_else(|| missing(name))
        };
        let kinds = places(record, KINDS)?;
        let data = inside(record, KINDS[0])?;
        let heartbeat = inside(record, KINDS[1])?;
        let children = inside(record, KINDS[2])?;
        Ok(Self {
            kinds,
            column: places(&inside(&data, "column_types")?, COLUMN)?,
            row: places(&inside(&data, "mods")?, ROW)?,
            data: places(&data, DATA)?,
            heartbeat: places(&heartbeat, HEARTBEAT)?,
            child: places(&inside(&children, "child_partitions")?, CHILD)?,
            children: places(&children, CHILDREN)?,
            latest: None,
        })
    }

    pub(super) fn decode(&mut self, value: Raw, records: &mut Vec<Record>) -> Result<()> {
        for record in value.into_items() {
            let [data, heartbeats, children] = record.into_fields(self.kinds);
            for record in data.into_items() {
                if let Some(record) = self.data(record)? {
                    records.push(Record::Data(Box::new(record)));
                }
            }
            for record in heartbeats.into_items() {
                let [at] = record.into_fields(self.heartbeat);
                if let Some(at) = at.look().text() {
                    records.push(Record::Heartbeat(timestamp(at)?));
                }
            }
            for record in children.into_items() {
                let [start, children] = record.into_fields(self.children);
                let Some(start) = start.look().text() else { continue };
                let children = children.into_items().map(|child| self.child(child));
                let record = ChildrenRecord {
                    start: timestamp(start)?,
                    children: children.collect::<Result<_>>()?,
                };
                records.push(Record::Children(record));
            }
        }
        Ok(())
    }

    /// One without a time stands for none.
    fn data(&mut self, record: Raw) -> Result<Option<DataRecord>> {
        let [
            committed_at,
            sequence,
            transaction,
            is_last,
            table,
            columns,
            mods,
            mod_type,
            capture_type,
            records,
            partitions,
            tag,
            is_system,
        ] = record.into_fields(self.data);
        let Some(committed_at) = committed_at.look().text() else { return Ok(None) };
        let shape = self.shape(table, columns)?;
        let mods = mods.into_items().map(|row| {
            let [keys, new_values, old_values] = row.into_fields(self.row).map(object);
            Mod { keys, new_values, old_values }
        });
        Ok(Some(DataRecord {
            committed_at: timestamp(committed_at)?,
            sequence: required(sequence)?,
            transaction: required(transaction)?,
            is_last_in_partition: is_last.look().is_true(),
            shape,
            mods: mods.collect(),
            operation: operation(mod_type.look().text().unwrap_or_default())?,
            capture_type: capture_type.into_text().unwrap_or_default(),
            records_in_transaction: records.look().integer().unwrap_or_default(),
            partitions_in_transaction: partitions.look().integer().unwrap_or_default(),
            transaction_tag: tag.into_text().unwrap_or_default(),
            is_system_transaction: is_system.look().is_true(),
        }))
    }

    /// The last shape, if it is the same again: nearly always, and then nothing is copied.
    fn shape(&mut self, table: Raw, columns: Raw) -> Result<Arc<Shape>> {
        if let Some(latest) = &self.latest
            && table.look().text() == Some(&latest.table)
            && self.are(columns.look(), &latest.columns)
        {
            return Ok(Arc::clone(latest));
        }
        let columns = columns.into_items().map(|column| self.column(column));
        let columns = columns.collect::<Result<_>>()?;
        let shape = Arc::new(Shape { table: required(table)?, columns });
        self.latest = Some(Arc::clone(&shape));
        Ok(shape)
    }

    fn are(&self, found: Look<'_>, columns: &[RecordColumn]) -> bool {
        let is = |(index, column): (usize, &RecordColumn)| {
            let field = |place| found.item(index)?.item(place);
            let [name, of, is_key, ordinal] = self.column.map(field);
            name.and_then(Look::text) == Some(&column.name)
                && of.and_then(Look::text) == Some(&column.type_json)
                && is_key.is_some_and(Look::is_true) == column.is_key
                && ordinal.and_then(Look::integer).unwrap_or_default() == column.ordinal
        };
        found.items() == columns.len() && columns.iter().enumerate().all(is)
    }

    fn column(&self, column: Raw) -> Result<RecordColumn> {
        let [name, type_json, is_key, ordinal] = column.into_fields(self.column);
        Ok(RecordColumn {
            name: required(name)?,
            type_json: required(type_json)?,
            is_key: is_key.look().is_true(),
            ordinal: ordinal.look().integer().unwrap_or_default(),
        })
    }

    fn child(&self, child: Raw) -> Result<Child> {
        let [token, parents] = child.into_fields(self.child);
        let parents = parents.into_items().map(required);
        Ok(Child { token: required(token)?, parents: parents.collect::<Result<_>>()? })
    }
}

fn fields(of: &Type) -> Result<&[(String, Type)]> {
    match of {
        Type::Struct(fields) => Ok(fields),
        Type::Array(element) => fields(element),
        _ => Err(invalid("a record that is no struct")),
    }
}

fn places<const N: usize>(of: &Type, names: [&str; N]) -> Result<[usize; N]> {
    let fields = fields(of)?;
    let mut places = [0; N];
    for (place, name) in places.iter_mut().zip(names) {
        *place = fields.iter().position(|(field, _)| field == name).ok_or_else(|| missing(name))?;
    }
    Ok(places)
}

fn missing(name: &str) -> rowtide_core::Error {
    invalid(&format!("records without `{name}`"))
}

fn required(value: Raw) -> Result<String> {
    value.into_text().ok_or_else(|| invalid("a record without what it is about"))
}

fn object(value: Raw) -> String {
    value.into_text().unwrap_or_else(|| "{}".to_owned())
}

/// The type of the one column that rows of a change stream have.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn column_type() -> Type {
    let list = |fields| Type::Array(Box::new(Type::Struct(fields)));
    let fields = |names: &[&str]| -> Vec<_> {
        names.iter().map(|name| ((*name).to_owned(), Type::String)).collect()
    };
    let mut data = fields(&DATA);
    data[5].1 = list(fields(&COLUMN));
    data[6].1 = list(fields(&ROW));
    let mut children = fields(&[CHILDREN[0], "record_sequence", CHILDREN[1]]);
    children[2].1 = list(fields(&CHILD));
    let kinds = [list(data), list(fields(&HEARTBEAT)), list(children)];
    list(KINDS.map(str::to_owned).into_iter().zip(kinds).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        client::Cell,
        record::{Decoder, tests::record},
    };

    fn fields_of(of: &mut Type) -> &mut Vec<(String, Type)> {
        match of {
            Type::Array(element) => fields_of(element),
            Type::Struct(fields) => fields,
            _ => panic!("no struct"),
        }
    }

    /// The type of the column, with a field more than is known and others moved.
    fn column() -> (String, Type) {
        let mut record = column_type();
        let data = fields_of(&mut fields_of(&mut record)[0].1);
        data.insert(0, ("from_the_future".to_owned(), Type::Int64));
        ("ChangeRecord".to_owned(), record)
    }

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    fn list<const N: usize>(cells: [Cell; N]) -> Cell {
        Cell::List(cells.to_vec())
    }

    fn decoded(record: Cell) -> Vec<Record> {
        let mut decoder = Decoder::new(&[column()]).unwrap();
        let mut records = Vec::new();
        decoder.decode(vec![list([record]).into()], &mut records).unwrap();
        records
    }

    #[test]
    fn a_change_is_read_by_the_names_of_its_fields() {
        let column = |name: &str, code: &str, is_key, ordinal: &str| {
            let of = text(&format!(r#"{{"code":"{code}"}}"#));
            list([text(name), of, Cell::Bool(is_key), text(ordinal)])
        };
        let data = list([
            text("1"),
            text("2026-11-21T10:00:00.123456Z"),
            text("00000001"),
            text("tx"),
            Cell::Bool(true),
            text("orders"),
            list([column("id", "INT64", true, "1"), column("name", "STRING", false, "2")]),
            list([list([text(r#"{"id":"7"}"#), text(r#"{"name":"b"}"#), text(r#"{"name":"a"}"#)])]),
            text("UPDATE"),
            text("OLD_AND_NEW_VALUES"),
            text("3"),
            text("2"),
            text("tag"),
            Cell::Bool(false),
        ]);
        assert_eq!(decoded(list([list([data]), list([]), list([])])), [record()]);
    }

    #[test]
    fn heartbeats_and_children_are_read() {
        let heartbeat = list([text("2026-11-21T10:00:00Z")]);
        let at = "2026-11-21T10:00:00Z".parse().unwrap();
        let found = decoded(list([list([]), list([heartbeat]), list([])]));
        assert_eq!(found, [Record::Heartbeat(at)]);

        let child = list([text("c"), list([text("a"), text("b")])]);
        let children = list([text("2026-11-21T10:00:00Z"), text("00000001"), list([child])]);
        let child = Child { token: "c".to_owned(), parents: vec!["a".to_owned(), "b".to_owned()] };
        let expected = ChildrenRecord { start: at, children: vec![child] };
        let found = decoded(list([list([]), list([]), list([children])]));
        assert_eq!(found, [Record::Children(expected)]);
    }

    #[test]
    fn a_change_without_a_time_is_none() {
        let nothing = Cell::List(vec![Cell::Null; 14]);
        assert_eq!(decoded(list([list([nothing]), list([]), list([])])), []);
    }
}
