use rowtide_core::{Change, Column, ColumnType, Row, Table, Value};

use super::spanner;
use crate::text;

/// A type of Kafka Connect, with the logical type that Debezium gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Boolean,
    Int64,
    Float,
    Double,
    String,
    Bytes,
    Json,
    Uuid,
    Date,
    Time,
    DateTime,
    Timestamp,
    Array(Box<Kind>),
}

/// The type of each column in one message.
pub(super) struct Shapes(Vec<Shape>);

struct Shape {
    kind: Kind,
    presence: Presence,
    /// Whether the values are strings although not all of them are texts.
    is_text: bool,
}

/// Whether a field may be null.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Required,
    Optional,
}

/// Writes the schemas of a table's messages.
pub(super) struct Schemas<'a> {
    pub(super) name: &'a str,
    pub(super) topic: &'a str,
}

impl Shapes {
    pub(super) fn of(change: &Change) -> Self {
        Self::of_rows(&change.table, &[change.before.as_ref(), change.after.as_ref()])
    }

    pub(super) fn of_key(change: &Change) -> Self {
        Self::of_rows(&change.table, &[change.image()])
    }

    fn of_rows(table: &Table, rows: &[Option<&Row>]) -> Self {
        let shape = |(index, column): (usize, &Column)| {
            let values = rows.iter().flatten().filter_map(|row| row.values().get(index));
            Shape::of(column, &values.collect::<Vec<_>>())
        };
        Self(table.columns.iter().enumerate().map(shape).collect())
    }

    /// Whether the values of the column at `index` are written as strings.
    pub(super) fn is_text(&self, index: usize) -> bool {
        self.0.get(index).is_some_and(|shape| shape.is_text)
    }
}

impl Shape {
    fn of(column: &Column, values: &[&Value]) -> Self {
        let is_optional =
            column.key.is_none() || values.iter().any(|value| matches!(value, Value::Null));
        let presence = if is_optional { Presence::Optional } else { Presence::Required };
        let is_known = |value: &&&Value| !matches!(value, Value::Null);
        let known: Vec<_> = values.iter().filter(is_known).copied().collect();
        let fits_all = |kind: &Kind| known.iter().all(|value| kind.fits(value));
        let declared = Kind::of_type(&column.column_type).filter(fits_all);
        let of_values = || known.first().and_then(|value| Kind::of_value(value)).filter(fits_all);
        let of_nothing = || known.is_empty().then_some(Kind::String);
        match declared.or_else(of_values).or_else(of_nothing) {
            Some(kind) => Self { kind, presence, is_text: false },
            None => Self { kind: Kind::String, presence, is_text: true },
        }
    }
}

impl Kind {
    /// `None` for a column that is not declared to hold anything in particular.
    fn of_type(column_type: &ColumnType) -> Option<Self> {
        Some(match column_type {
            ColumnType::Bool => Kind::Boolean,
            ColumnType::Int => Kind::Int64,
            ColumnType::Float32 => Kind::Float,
            ColumnType::Float => Kind::Double,
            ColumnType::Decimal | ColumnType::Text => Kind::String,
            ColumnType::Bytes => Kind::Bytes,
            ColumnType::Json => Kind::Json,
            ColumnType::Uuid => Kind::Uuid,
            ColumnType::Date => Kind::Date,
            ColumnType::Time => Kind::Time,
            ColumnType::DateTime => Kind::DateTime,
            ColumnType::Timestamp => Kind::Timestamp,
            ColumnType::Array(element) => Kind::Array(Box::new(Kind::of_type(element)?)),
            _ => return None,
        })
    }

    /// The type that a value has by itself.
    fn of_value(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Bool(_) => Kind::Boolean,
            Value::Int(_) => Kind::Int64,
            Value::Float32(_) => Kind::Float,
            Value::Float(_) => Kind::Double,
            Value::Text(_) | Value::Decimal(_) | Value::Unknown => Kind::String,
            Value::RawText(_) | Value::Bytes(_) => Kind::Bytes,
            Value::Json(_) => Kind::Json,
            Value::Uuid(_) => Kind::Uuid,
            Value::Date(_) => Kind::Date,
            Value::Time(_) => Kind::Time,
            Value::DateTime(_) => Kind::DateTime,
            Value::Timestamp(_) => Kind::Timestamp,
            Value::Array(values) => {
                let first = values.iter().find(|value| !matches!(value, Value::Null));
                Kind::Array(Box::new(first.map_or(Some(Kind::String), Kind::of_value)?))
            }
            _ => return None,
        })
    }

    /// Whether a value in its own form can be read as this type.
    fn fits(&self, value: &Value) -> bool {
        match (self, value) {
            (_, Value::Null) => true,
            // Its placeholder is a string, or bytes.
            (Kind::String | Kind::Bytes | Kind::Json, Value::Unknown) => true,
            (Kind::Uuid | Kind::Timestamp, Value::Unknown) => true,
            (Kind::Array(element), Value::Array(values)) => {
                values.iter().all(|value| element.fits(value))
            }
            (Kind::Double, Value::Int(value)) => value.unsigned_abs() <= 1 << 53,
            _ => Kind::of_value(value).as_ref() == Some(self),
        }
    }

    /// The physical type, and the logical one if there is one.
    fn names(&self) -> (&'static str, Option<&'static str>) {
        match self {
            Kind::Boolean => ("boolean", None),
            Kind::Int64 => ("int64", None),
            Kind::Float => ("float", None),
            Kind::Double => ("double", None),
            Kind::String => ("string", None),
            Kind::Bytes => ("bytes", None),
            Kind::Json => ("string", Some("io.debezium.data.Json")),
            Kind::Uuid => ("string", Some("io.debezium.data.Uuid")),
            Kind::Date => ("int32", Some("io.debezium.time.Date")),
            Kind::Time => ("int64", Some("io.debezium.time.MicroTime")),
            Kind::DateTime => ("int64", Some("io.debezium.time.MicroTimestamp")),
            Kind::Timestamp => ("string", Some("io.debezium.time.ZonedTimestamp")),
            Kind::Array(_) => ("array", None),
        }
    }

    /// The schema without its closing brace, so that a field name can follow.
    fn write(&self, out: &mut Vec<u8>, presence: Presence) {
        let (physical, logical) = self.names();
        out.extend_from_slice(b"{\"type\":");
        text::string(out, physical);
        if let Kind::Array(element) = self {
            out.extend_from_slice(b",\"items\":");
            element.write(out, Presence::Optional);
            out.push(b'}');
        }
        out.extend_from_slice(b",\"optional\":");
        text::boolean(out, presence == Presence::Optional);
        if let Some(logical) = logical {
            out.extend_from_slice(b",\"name\":");
            text::string(out, logical);
            out.extend_from_slice(b",\"version\":1");
        }
    }
}

/// The source block up to what single upstreams add.
const SOURCE: &str = concat!(
    r#"{"type":"struct","fields":["#,
    r#"{"type":"string","optional":false,"field":"version"},"#,
    r#"{"type":"string","optional":false,"field":"connector"},"#,
    r#"{"type":"string","optional":false,"field":"name"},"#,
    r#"{"type":"int64","optional":false,"field":"ts_ms"},"#,
    r#"{"type":"string","optional":true,"name":"io.debezium.data.Enum","version":1,"parameters":"#,
    r#"{"allowed":"true,first,first_in_data_collection,last_in_data_collection,last,false,"#,
    r#"incremental"},"default":"false","field":"snapshot"},"#,
    r#"{"type":"string","optional":false,"field":"db"},"#,
    r#"{"type":"string","optional":true,"field":"sequence"},"#,
    r#"{"type":"int64","optional":true,"field":"ts_us"},"#,
    r#"{"type":"int64","optional":true,"field":"ts_ns"},"#,
    r#"{"type":"string","optional":true,"field":"schema"},"#,
    r#"{"type":"string","optional":false,"field":"table"},"#,
    r#"{"type":"string","optional":true,"field":"txId"}"#,
);

/// From there up to the name of the envelope.
const ENVELOPE_REST: &str = concat!(
    r#"],"optional":false,"name":"io.rowtide.Source","version":1,"field":"source"},"#,
    r#"{"type":"struct","fields":["#,
    r#"{"type":"string","optional":false,"field":"id"},"#,
    r#"{"type":"int64","optional":false,"field":"total_order"},"#,
    r#"{"type":"int64","optional":false,"field":"data_collection_order"}"#,
    r#"],"optional":true,"name":"event.block","version":1,"field":"transaction"},"#,
    r#"{"type":"string","optional":false,"field":"op"},"#,
    r#"{"type":"int64","optional":true,"field":"ts_ms"},"#,
    r#"{"type":"int64","optional":true,"field":"ts_us"},"#,
    r#"{"type":"int64","optional":true,"field":"ts_ns"}"#,
    r#"],"optional":false,"name":"#,
);

impl Schemas<'_> {
    pub(super) fn write_key(&self, out: &mut Vec<u8>, table: &Table, shapes: &Shapes) {
        let columns = table.key();
        write_fields(out, table, shapes, &columns);
        out.extend_from_slice(b",\"optional\":false,\"name\":");
        self.write_name(out, ".Key");
        out.push(b'}');
    }

    pub(super) fn write_envelope(&self, out: &mut Vec<u8>, change: &Change, shapes: &Shapes) {
        let table = &change.table;
        let columns: Vec<_> =
            (0..table.columns.len()).filter(|&index| !table.columns[index].hidden).collect();
        out.extend_from_slice(b"{\"type\":\"struct\",\"fields\":[");
        for field in ["before", "after"] {
            write_fields(out, table, shapes, &columns);
            out.extend_from_slice(b",\"optional\":true,\"name\":");
            self.write_name(out, ".Value");
            write_field_name(out, field);
            out.push(b',');
        }
        out.extend_from_slice(SOURCE.as_bytes());
        if spanner::said(change).is_some() {
            spanner::write_schema(out);
        }
        out.extend_from_slice(ENVELOPE_REST.as_bytes());
        self.write_name(out, ".Envelope");
        out.extend_from_slice(b",\"version\":2}");
    }

    fn write_name(&self, out: &mut Vec<u8>, suffix: &str) {
        out.push(b'"');
        for part in [self.name, self.topic, suffix] {
            text::escaped(out, part);
        }
        out.push(b'"');
    }
}

/// A struct with these columns, without its closing brace.
fn write_fields(out: &mut Vec<u8>, table: &Table, shapes: &Shapes, columns: &[usize]) {
    out.extend_from_slice(b"{\"type\":\"struct\",\"fields\":[");
    for (count, &index) in columns.iter().enumerate() {
        if count > 0 {
            out.push(b',');
        }
        let Shape { kind, presence, .. } = &shapes.0[index];
        kind.write(out, *presence);
        write_field_name(out, &table.columns[index].name);
    }
    out.push(b']');
}

/// The name of a field, and the brace that closes it.
fn write_field_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"field\":");
    text::string(out, name);
    out.push(b'}');
}
