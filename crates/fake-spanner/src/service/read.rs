//! Rows of a table as they were at a time.

use std::{collections::BTreeSet, ops::Bound};

use jiff::Timestamp;
use prost::{Message, bytes::Bytes};
use prost_types::ListValue;
use tonic::Status;

use crate::{
    datum::{Datum, Key},
    messages::{
        KeyRange, KeySet, Mode, RangeEnd, RangeStart, ReadRequest, Selector, TimestampBound,
        Transaction, TransactionOptions,
    },
    query::{Frame, row_of},
    server::Shared,
    store::{Row, Store},
    transactions,
};

/// How many rows a message has.
const ROWS: usize = 50;

/// The messages that answer a read.
pub(crate) fn rows(shared: &Shared, request: &ReadRequest) -> Result<Vec<Bytes>, Status> {
    let mut store = shared.store();
    let at = timestamp(&mut store, request)?;
    let transaction = writing(request, at);
    if let Some(id) = &transaction {
        shared.transactions().note(id, &request.table);
    }
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
    let wanted: Vec<_> = match keys.all || !keys.ranges.is_empty() {
        true => {
            let wanted = rows.at(at).filter(|(key, _)| is_among(key, &keys));
            wanted.map(|(_, row)| row).take(limit.unwrap_or(usize::MAX)).collect()
        }
        false => {
            let keys: BTreeSet<_> = keys.keys.into_iter().map(|key| Key(Datum::all(key))).collect();
            let wanted = keys.iter().filter_map(|key| rows.row_at(key, at));
            wanted.take(limit.unwrap_or(usize::MAX)).collect()
        }
    };
    let values: Vec<_> = wanted.into_iter().map(|row| values(row, &places)).collect();
    let mut metadata = row_of(rows.fields(&places, store.dialect));
    // A client that begins one with its first read is told here which it is.
    let is_new = matches!(selector(request), Some(Selector::Begin(_)));
    metadata.transaction =
        transaction.filter(|_| is_new).map(|id| Transaction { id, ..Transaction::default() });
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

fn selector(request: &ReadRequest) -> Option<&Selector> {
    request.transaction.as_ref()?.selector.as_ref()
}

/// The transaction of a read that may be followed by writes.
fn writing(request: &ReadRequest, at: Timestamp) -> Option<Bytes> {
    match selector(request)? {
        Selector::Begin(TransactionOptions { mode: Some(Mode::ReadWrite(_)) }) => {
            Some(transactions::id(at))
        }
        Selector::Id(id) => Some(id.clone()),
        _ => None,
    }
}

fn timestamp(store: &mut Store, request: &ReadRequest) -> Result<Timestamp, Status> {
    let options = match selector(request) {
        None => return Ok(store.tick()),
        Some(Selector::SingleUse(options) | Selector::Begin(options)) => options,
        Some(Selector::Id(id)) => return transactions::time(id),
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
