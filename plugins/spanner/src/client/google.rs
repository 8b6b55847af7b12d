//! The one place that knows the library.

mod channels;
mod definitions;
mod raw;
mod transaction;

use std::sync::Arc;

use google_cloud_auth::credentials::{
    Credentials, external_account, impersonated, service_account, user_account,
};
use google_cloud_spanner::{
    key::{Key, KeyRange as Range, KeySet},
    model::request_options::Priority as GooglePriority,
    read,
    result::ResultSet,
    statement::Statement as GoogleStatement,
    transaction::{BeginTransactionOption, TimestampBound},
    types::{self, TypeCode},
    value::Value,
};
use jiff::Timestamp;
use rowtide_core::{Error, Result, async_trait, settings::Secret};

use super::{
    Address, Bound, Cell, Client, Code, Failure, KeyRange, Parameter, ReadRequest, Rows, Statement,
    Type, Work,
};
use crate::config::Priority;
use channels::{Channels, Lease, SESSION_LOST};
pub(crate) use raw::{Look, Raw};

struct Google {
    channels: Channels,
    address: Arc<Address>,
}

struct GoogleRows {
    rows: ResultSet,
    lease: Lease,
    columns: Vec<(String, Type)>,
}

pub(super) async fn connect(address: &Address) -> Result<Arc<dyn Client>> {
    let address = Arc::new(address.clone());
    let channels = Channels::new(Arc::clone(&address)).await?;
    Ok(Arc::new(Google { channels, address }))
}

fn credentials(secret: &Secret) -> Result<Credentials> {
    let invalid = |message: &str| Error::config(message.to_owned()).key("credentials");
    let json: serde_json::Value = serde_json::from_str(&secret.reveal()?)
        .map_err(|_| invalid("the credentials are not JSON"))?;
    let kind = json.get("type").and_then(|kind| kind.as_str()).unwrap_or_default().to_owned();
    let credentials = match kind.as_str() {
        "service_account" => service_account::Builder::new(json).build(),
        "authorized_user" => user_account::Builder::new(json).build(),
        "external_account" => external_account::Builder::new(json).build(),
        "impersonated_service_account" => impersonated::Builder::new(json).build(),
        _ => {
            let help = "they are a service account key, an authorized user, an external or an \
                        impersonated account";
            return Err(invalid("the credentials are of no known type").help(help));
        }
    };
    credentials.map_err(|_| invalid("the credentials cannot be used"))
}

impl Google {
    fn statement(&self, statement: Statement) -> GoogleStatement {
        let mut builder = GoogleStatement::builder(statement.sql);
        for (name, parameter) in statement.parameters {
            let (value, kind) = match parameter {
                Parameter::Timestamp(at) => (text(at.map(|at| at.to_string())), types::timestamp()),
                Parameter::Text(value) => (text(value), types::string()),
                Parameter::Int(value) => (Value::from(value), types::int64()),
            };
            builder = builder.add_typed_param(name, value, kind);
        }
        if let Some(priority) = self.address.priority {
            builder = builder.set_priority(google_priority(priority));
        }
        if let Some(tag) = &self.address.request_tag {
            builder = builder.set_request_tag(tag);
        }
        builder.build()
    }
}

#[async_trait]
impl Client for Google {
    async fn query(&self, statement: Statement) -> Result<Box<dyn Rows>, Failure> {
        let mut lease = self.channels.lease().await?;
        let transaction = lease.database.single_use().build();
        let rows = transaction.execute_query(self.statement(statement)).await;
        lease.hears();
        let rows = rows.map_err(|error| lease.noted(failure(error)))?;
        Ok(Box::new(GoogleRows::new(rows, lease)))
    }

    async fn read(&self, request: ReadRequest) -> Result<Box<dyn Rows>, Failure> {
        let invalid = |_| Failure {
            code: Code::InvalidArgument,
            message: format!("{} is not a time that Spanner knows", request.at),
        };
        let at = request.at.to_string();
        let bound = TimestampBound::try_read_timestamp(at.as_str()).map_err(invalid)?;
        let mut read = read::ReadRequest::builder(request.table, request.columns)
            .with_keys(keys(request.range))
            .set_limit(request.rows_max);
        if let Some(priority) = self.address.priority {
            read = read.set_priority(google_priority(priority));
        }
        if let Some(tag) = &self.address.request_tag {
            read = read.set_request_tag(tag);
        }
        let mut lease = self.channels.lease().await?;
        let transaction = lease.database.single_use().set_timestamp_bound(bound).build();
        let rows = transaction.execute_read(read.build()).await;
        lease.hears();
        let rows = rows.map_err(|error| lease.noted(failure(error)))?;
        Ok(Box::new(GoogleRows::new(rows, lease)))
    }

    async fn now(&self) -> Result<Timestamp, Failure> {
        let mut lease = self.channels.lease().await?;
        let transaction = lease
            .database
            .read_only_transaction()
            .set_begin_transaction_option(BeginTransactionOption::ExplicitBegin)
            .build()
            .await;
        lease.hears();
        let transaction = transaction.map_err(|error| lease.noted(failure(error)))?;
        let at = transaction.read_timestamp();
        at.and_then(|at| Timestamp::new(at.seconds(), at.nanos()).ok()).ok_or_else(|| Failure {
            code: Code::Unavailable,
            message: "a transaction began without a time".to_owned(),
        })
    }

    async fn transact(&self, work: Arc<dyn Work>) -> Result<Result<()>, Failure> {
        let mut lease = self.channels.lease().await?;
        let ran = transaction::run(lease.database.clone(), Arc::clone(&self.address), work).await;
        lease.hears();
        ran.map_err(|failure| lease.noted(failure))
    }

    async fn define(&self, statements: Vec<String>) -> Result<(), Failure> {
        definitions::define(&self.address, statements).await
    }
}

impl GoogleRows {
    fn new(rows: ResultSet, lease: Lease) -> Self {
        let metadata = rows.metadata();
        let types = metadata.column_types().iter().map(kind);
        let columns = metadata.column_names().iter().cloned().zip(types).collect();
        Self { rows, lease, columns }
    }
}

#[async_trait]
impl Rows for GoogleRows {
    fn columns(&self) -> &[(String, Type)] {
        &self.columns
    }

    async fn next(&mut self) -> Result<Option<Vec<Raw>>, Failure> {
        self.lease.waits();
        let row = self.rows.next().await.transpose().map_err(failure);
        self.lease.hears();
        let row = row?;
        Ok(row.map(|row| row.into_values().into_iter().map(Raw).collect()))
    }
}

fn google_priority(priority: Priority) -> GooglePriority {
    match priority {
        Priority::Low => GooglePriority::Low,
        Priority::Medium => GooglePriority::Medium,
        Priority::High => GooglePriority::High,
    }
}

fn text(text: Option<String>) -> Value {
    text.map_or_else(Value::null, Value::from)
}

/// A closed end without values stands for all keys.
fn keys(range: KeyRange) -> KeySet {
    let key =
        |cells: Vec<Cell>| Key::new(cells.into_iter().map(|cell| Raw::from(cell).0).collect());
    let closed = |bound: &Bound| !matches!(bound, Bound::Excluded(_));
    let (from_closed, to_closed) = (closed(&range.from), closed(&range.to));
    let end = |bound| match bound {
        Bound::Unbounded => key(Vec::new()),
        Bound::Included(cells) | Bound::Excluded(cells) => key(cells),
    };
    let (from, to) = (end(range.from), end(range.to));
    KeySet::from(match (from_closed, to_closed) {
        (true, true) => Range::closed_closed(from, to),
        (true, false) => Range::closed_open(from, to),
        (false, true) => Range::open_closed(from, to),
        (false, false) => Range::open_open(from, to),
    })
}

fn kind(of: &types::Type) -> Type {
    match of.code() {
        TypeCode::Bool => Type::Bool,
        TypeCode::Int64 => Type::Int64,
        TypeCode::Float32 => Type::Float32,
        TypeCode::Float64 => Type::Float64,
        TypeCode::Timestamp => Type::Timestamp,
        TypeCode::Date => Type::Date,
        TypeCode::String => Type::String,
        TypeCode::Bytes => Type::Bytes,
        TypeCode::Numeric => Type::Numeric,
        TypeCode::Json => Type::Json,
        TypeCode::Proto => Type::Proto(of.proto_type_fqn().to_owned()),
        TypeCode::Enum => Type::Enum(of.proto_type_fqn().to_owned()),
        TypeCode::Uuid => Type::Uuid,
        TypeCode::Array => Type::Array(Box::new(of.array_element_type().map_or(Type::Other, kind))),
        TypeCode::Struct => {
            let fields = of.struct_type().map(|fields| fields.fields.as_slice());
            let field = |field: &google_cloud_spanner::model::struct_type::Field| {
                let of = field.r#type.as_deref().cloned().map(types::Type::from);
                (field.name.clone(), of.as_ref().map_or(Type::Other, kind))
            };
            Type::Struct(fields.unwrap_or_default().iter().map(field).collect())
        }
        _ => Type::Other,
    }
}

fn failure(error: google_cloud_spanner::Error) -> Failure {
    let Some(status) = error.status() else {
        // The account's token could not be had, which a broken network causes too.
        let code = match error.is_authentication() && !error.is_transient_and_before_rpc() {
            true => Code::Denied,
            false => Code::Unavailable,
        };
        return Failure { code, message: error.to_string() };
    };
    let code = match status.code.name() {
        "OUT_OF_RANGE" => Code::OutOfRange,
        "INVALID_ARGUMENT" => Code::InvalidArgument,
        "FAILED_PRECONDITION" => Code::FailedPrecondition,
        "NOT_FOUND" if status.message.contains(SESSION_LOST) => Code::Unavailable,
        "NOT_FOUND" => Code::NotFound,
        "PERMISSION_DENIED" | "UNAUTHENTICATED" => Code::Denied,
        "UNIMPLEMENTED" => Code::Unimplemented,
        _ => Code::Unavailable,
    };
    Failure { code, message: format!("{}: {}", status.code.name(), status.message) }
}
