//! What a change stream is asked for, and what of it the real server refuses.

use std::{collections::HashMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tonic::Status;

use crate::{
    datum::Datum,
    messages::{ExecuteSqlRequest, Mode, Selector, TimestampBound},
    schema::Dialect,
    status::{LostWording, foreign_token, too_old},
    store::{Store, now},
};

/// The arguments of the read function, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Arguments {
    pub(crate) start: Timestamp,
    pub(crate) end: Option<Timestamp>,
    pub(crate) token: Option<String>,
    pub(crate) heartbeat: Duration,
}

/// What the server takes for a heartbeat at most.
const HEARTBEAT_MAX: Duration = Duration::from_secs(300);

/// How far ahead a start may be.
const AHEAD_MAX: SignedDuration = SignedDuration::from_mins(10);

/// The call of a read function in a statement.
struct Call<'a> {
    stream: &'a str,
    arguments: &'a str,
}

const NAMES: [&str; 5] = [
    "start_timestamp",
    "end_timestamp",
    "partition_token",
    "heartbeat_milliseconds",
    "read_options",
];

/// Whether a statement reads a change stream.
pub(crate) fn reads_stream(sql: &str) -> bool {
    sql.contains("READ_") || sql.contains("read_json_")
}

impl Arguments {
    /// Reads a statement such as `SELECT ChangeRecord FROM READ_s (…)`.
    pub(crate) fn parse(
        request: &ExecuteSqlRequest,
        store: &Store,
        heartbeat_min: Duration,
    ) -> Result<Self, Status> {
        strong_single_use(request)?;
        let call = Call::find(&request.sql, store.dialect)?;
        let named = store.stream.as_ref().filter(|stream| stream.name == call.stream);
        if named.is_none() {
            let message = format!("Change stream not found: {}", call.stream);
            return Err(Status::not_found(message));
        }
        let parameters = parameters(request);
        let mut values: [Datum; 5] = Default::default();
        for (position, argument) in call.arguments.split(',').enumerate() {
            let (name, value) = match argument.split_once("=>") {
                Some((name, value)) => (Some(name.trim()), value.trim()),
                None => (None, argument.trim()),
            };
            let place = match name {
                Some(name) => NAMES.iter().position(|own| *own == name),
                None => Some(position),
            };
            let place = place.filter(|place| *place < values.len()).ok_or_else(no_signature)?;
            values[place] = value_of(value, &parameters)?;
        }
        Self::checked(values, heartbeat_min)
    }

    fn checked(values: [Datum; 5], heartbeat_min: Duration) -> Result<Self, Status> {
        let [start, end, token, heartbeat, options] = values;
        if options != Datum::Null {
            return Err(Status::unimplemented("read_options must be null."));
        }
        let start = timestamp(start)?
            .ok_or_else(|| Status::invalid_argument("start_timestamp must not be null."))?;
        let end = timestamp(end)?;
        if end.is_some_and(|end| start > end) {
            return Err(Status::invalid_argument(format!(
                "If end_timestamp is specified, start_timestamp must be <= end_timestamp. \
                 Received start_timestamp: {start}, end_timestamp: {}.",
                end.unwrap_or_default()
            )));
        }
        let token = match token {
            Datum::Null => None,
            Datum::Text(token) => Some(token),
            _ => return Err(no_signature()),
        };
        let milliseconds = match heartbeat {
            Datum::Text(number) => number.parse::<u64>().map_err(|_| no_signature())?,
            _ => return Err(Status::invalid_argument("heartbeat_milliseconds must not be null.")),
        };
        let heartbeat = Duration::from_millis(milliseconds);
        if heartbeat < heartbeat_min || heartbeat > HEARTBEAT_MAX {
            return Err(Status::out_of_range(format!(
                "heartbeat_milliseconds must be within min {} and max {}. Received \
                 heartbeat_milliseconds: {milliseconds}.",
                heartbeat_min.as_millis(),
                HEARTBEAT_MAX.as_millis()
            )));
        }
        Ok(Self { start, end, token, heartbeat })
    }

    /// Whether what is asked for is still there.
    pub(crate) fn check(&self, store: &Store, wording: LostWording) -> Result<(), Status> {
        let Some(earliest) = store.earliest() else {
            return Err(Status::not_found("Change stream not found"));
        };
        let start = self.start;
        let latest = now().checked_add(AHEAD_MAX).unwrap_or(Timestamp::MAX);
        if start > latest {
            return Err(Status::out_of_range(format!(
                "Specified start_timestamp is too far in the future. Please specify a \
                 start_timestamp within the earliest read timestamp: {earliest}, and the current \
                 maximum start timestamp: {latest}. Received start_timestamp: {start}."
            )));
        }
        let Some(token) = &self.token else {
            return if start < earliest { Err(too_old(earliest, start)) } else { Ok(()) };
        };
        if start < earliest {
            return Err(wording.status(earliest, start, token));
        }
        let partition = store.partitions.get(token).ok_or_else(|| foreign_token(token))?;
        if start < partition.start || partition.end.is_some_and(|end| start >= end) {
            let end = partition.end.unwrap_or(Timestamp::MAX);
            return Err(Status::out_of_range(format!(
                "Specified start_timestamp is invalid for the partition. Please specify a \
                 start_timestamp within {} and {end}. Received start_timestamp: {start}.",
                partition.start
            )));
        }
        Ok(())
    }
}

impl<'a> Call<'a> {
    /// A statement must be nothing but the call.
    fn find(sql: &'a str, dialect: Dialect) -> Result<Self, Status> {
        let (before, function) = match dialect {
            Dialect::GoogleSql => (["SELECT ChangeRecord FROM READ_", "SELECT * FROM READ_"], ""),
            Dialect::Postgres => (
                ["SELECT * FROM \"spanner\".\"read_json_", "SELECT * FROM spanner.read_json_"],
                "\"",
            ),
        };
        let rest = before.iter().find_map(|before| sql.trim().strip_prefix(before));
        let combined = || {
            Status::unimplemented(
                "Change stream TVF must not be combined with any other SQL statements.",
            )
        };
        let (name, arguments) = rest.and_then(|rest| rest.split_once('(')).ok_or_else(combined)?;
        let arguments = arguments.trim_end().strip_suffix(')').ok_or_else(combined)?;
        if arguments.contains([')', '(']) {
            return Err(combined());
        }
        Ok(Self { stream: name.trim().trim_end_matches(function), arguments })
    }
}

fn no_signature() -> Status {
    Status::invalid_argument("No matching signature for table-valued function of a change stream")
}

/// Anything but a single use, strong and read-only, is refused.
fn strong_single_use(request: &ExecuteSqlRequest) -> Result<(), Status> {
    let refused = || {
        Status::invalid_argument(
            "Change stream queries are not supported for multi use transactions. Change stream \
             queries must be strong reads executed via single use transactions using the \
             ExecuteStreamingSql API.",
        )
    };
    let selector = request.transaction.as_ref().and_then(|selector| selector.selector.as_ref());
    let options = match selector {
        None => return Ok(()),
        Some(Selector::SingleUse(options)) => options,
        Some(Selector::Id(_) | Selector::Begin(_)) => return Err(refused()),
    };
    match &options.mode {
        None => Ok(()),
        Some(Mode::ReadOnly(read_only)) => match read_only.bound {
            None | Some(TimestampBound::Strong(true)) => Ok(()),
            Some(_) => Err(refused()),
        },
        Some(Mode::ReadWrite(_) | Mode::PartitionedDml(_)) => Err(refused()),
    }
}

fn parameters(request: &ExecuteSqlRequest) -> HashMap<String, Datum> {
    let fields = request.params.iter().flat_map(|params| params.fields.clone());
    fields.map(|(name, value)| (name, Datum::of_value(value))).collect()
}

/// A literal, or a parameter in the way of either dialect.
fn value_of(text: &str, parameters: &HashMap<String, Datum>) -> Result<Datum, Status> {
    let parameter = match (text.strip_prefix('@'), text.strip_prefix('$')) {
        (Some(name), _) => Some(name.to_owned()),
        (_, Some(number)) => Some(format!("p{number}")),
        _ => None,
    };
    if let Some(name) = parameter {
        return parameters.get(&name).cloned().ok_or_else(|| {
            Status::invalid_argument(format!("No parameter found for binding: {name}"))
        });
    }
    let literal = text.split("::").next().unwrap_or(text);
    Ok(match literal {
        "NULL" | "null" => Datum::Null,
        _ => Datum::text(literal.trim_matches(['\'', '"'])),
    })
}

fn timestamp(value: Datum) -> Result<Option<Timestamp>, Status> {
    match value {
        Datum::Null => Ok(None),
        Datum::Text(text) => match text.parse() {
            Ok(at) => Ok(Some(at)),
            Err(_) => Err(Status::invalid_argument(format!("Invalid timestamp: {text}"))),
        },
        _ => Err(no_signature()),
    }
}
