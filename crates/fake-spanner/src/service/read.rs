//! Rows of a table as they were at a time.

use std::ops::Bound;

use jiff::Timestamp;
use prost::{Message, bytes::Bytes};
use prost_types::ListValue;
use tonic::Status;

use crate::{
    datum::{Datum, Key},
    messages::{
        KeyRange, KeySet, Mode, RangeEnd, RangeStart, ReadRequest, Selector, TimestampBound,
    },
    query::{Frame, row_of},
    server::Shared,
    store::{Row, Store},
};

/// How many rows a message has.
const ROWS: usize = 50;

/// The messages that answer a read.
pub(crate) fn rows(shared: &Shared, request: &ReadRequest) -> Result<Vec<Bytes>, Status> {
    let mut store = shared.store();
    let at = timestamp(&mut store, request)?;
    if at < store.oldest_version {
        return Err(Status::failed_precondition(format!(
            "Read-only transaction timestamp {at} has exceeded the maximum timestamp staleness"
        )));
    }
    let rows = store.table(&request.table)?;
    let place = |name: &String| {
        let place = rows.table.place(name);
        place.ok_or_else(|| Status::not_found(format!("Column not found: {name}")))
    };
    let places = request.columns.iter().map(place).collect::<Result<Vec<_>, _>>()?;
    let keys = request.key_set.clone().unwrap_or_default();
    let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
    let wanted = rows.at(at).filter(|(key, _)| is_among(key, &keys));
    let values = wanted.take(limit.unwrap_or(usize::MAX)).map(|(_, row)| values(row, &places));
    let values: Vec<_> = values.collect();
    let metadata = row_of(rows.fields(&places, store.dialect));
    Ok(frames(&values, &metadata))
}

/// Messages of whole rows, the first with the metadata.
pub(crate) fn frames(
    rows: &[Vec<Bytes>],
    metadata: &crate::messages::ResultSetMetadata,
) -> Vec<Bytes> {
    let mut metadata = Some(metadata);
    let mut frame = |rows: &[Vec<Bytes>], is_last| {
        let frame = Frame { values: rows.concat(), is_last, ..Frame::default() };
        frame.encode(metadata.take())
    };
    let mut frames: Vec<_> = rows.chunks(ROWS).map(|rows| frame(rows, false)).collect();
    frames.push(frame(&[], true));
    frames
}

pub(crate) fn values(row: &Row, places: &[usize]) -> Vec<Bytes> {
    places.iter().map(|&place| row[place].value().encode_to_vec().into()).collect()
}

fn timestamp(store: &mut Store, request: &ReadRequest) -> Result<Timestamp, Status> {
    let selector = request.transaction.as_ref().and_then(|selector| selector.selector.as_ref());
    let options = match selector {
        None => return Ok(store.tick()),
        Some(Selector::SingleUse(options) | Selector::Begin(options)) => options,
        Some(Selector::Id(id)) => {
            let text = std::str::from_utf8(id).unwrap_or_default();
            let unknown = |_| Status::not_found("Transaction not found");
            return text.parse().map_err(unknown);
        }
    };
    let Some(Mode::ReadOnly(read_only)) = &options.mode else { return Ok(store.tick()) };
    match &read_only.bound {
        Some(TimestampBound::ReadTimestamp(at)) => Timestamp::new(at.seconds, at.nanos)
            .map_err(|_| Status::invalid_argument("Invalid read timestamp")),
        _ => Ok(store.tick()),
    }
}

fn is_among(key: &Key, set: &KeySet) -> bool {
    set.all
        || set.keys.iter().any(|own| Key(Datum::all(own.clone())) == *key)
        || set.ranges.iter().any(|range| is_inside(key, range))
}

/// A bound may name the first columns of a key alone, and stands for all that begin so.
fn is_inside(key: &Key, range: &KeyRange) -> bool {
    let (start, end) = bounds(range);
    let after = match &start {
        Bound::Included(bound) => prefix(key, bound) >= *bound,
        Bound::Excluded(bound) => prefix(key, bound) > *bound,
        Bound::Unbounded => true,
    };
    let before = match &end {
        Bound::Included(bound) => prefix(key, bound) <= *bound,
        Bound::Excluded(bound) => prefix(key, bound) < *bound,
        Bound::Unbounded => true,
    };
    after && before
}

fn prefix(key: &Key, bound: &Key) -> Key {
    Key(key.0.iter().take(bound.0.len()).cloned().collect())
}

fn bounds(range: &KeyRange) -> (Bound<Key>, Bound<Key>) {
    let key = |list: &ListValue| Key(Datum::all(list.clone()));
    let start = match &range.start {
        Some(RangeStart::Closed(list)) => Bound::Included(key(list)),
        Some(RangeStart::Open(list)) => Bound::Excluded(key(list)),
        None => Bound::Unbounded,
    };
    let end = match &range.end {
        Some(RangeEnd::Closed(list)) => Bound::Included(key(list)),
        Some(RangeEnd::Open(list)) => Bound::Excluded(key(list)),
        None => Bound::Unbounded,
    };
    (start, end)
}
