//! The messages of `google.spanner.v1` that are spoken here, with the fields that matter.

use std::collections::HashMap;

use prost::{Message, Oneof, bytes::Bytes};
use prost_types::{ListValue, Struct, Timestamp, Value};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Session {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) create_time: Option<Timestamp>,
    #[prost(string, tag = "5")]
    pub(crate) creator_role: String,
    #[prost(bool, tag = "6")]
    pub(crate) multiplexed: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CreateSessionRequest {
    #[prost(string, tag = "1")]
    pub(crate) database: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) session: Option<Session>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BatchCreateSessionsRequest {
    #[prost(string, tag = "1")]
    pub(crate) database: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) session_template: Option<Session>,
    #[prost(int32, tag = "3")]
    pub(crate) session_count: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BatchCreateSessionsResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) session: Vec<Session>,
}

/// `GetSession` and `DeleteSession`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct NamedRequest {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExecuteSqlRequest {
    #[prost(string, tag = "1")]
    pub(crate) session: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) transaction: Option<TransactionSelector>,
    #[prost(string, tag = "3")]
    pub(crate) sql: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) params: Option<Struct>,
    #[prost(map = "string, message", tag = "5")]
    pub(crate) param_types: HashMap<String, TypeMessage>,
    #[prost(bytes = "bytes", tag = "6")]
    pub(crate) resume_token: Bytes,
    #[prost(message, optional, tag = "11")]
    pub(crate) request_options: Option<RequestOptions>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RequestOptions {
    #[prost(int32, tag = "1")]
    pub(crate) priority: i32,
    #[prost(string, tag = "2")]
    pub(crate) request_tag: String,
    #[prost(string, tag = "3")]
    pub(crate) transaction_tag: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReadRequest {
    #[prost(string, tag = "1")]
    pub(crate) session: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) transaction: Option<TransactionSelector>,
    #[prost(string, tag = "3")]
    pub(crate) table: String,
    #[prost(string, repeated, tag = "5")]
    pub(crate) columns: Vec<String>,
    #[prost(message, optional, tag = "6")]
    pub(crate) key_set: Option<KeySet>,
    #[prost(int64, tag = "8")]
    pub(crate) limit: i64,
    #[prost(bytes = "bytes", tag = "9")]
    pub(crate) resume_token: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeySet {
    #[prost(message, repeated, tag = "1")]
    pub(crate) keys: Vec<ListValue>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) ranges: Vec<KeyRange>,
    #[prost(bool, tag = "3")]
    pub(crate) all: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeyRange {
    #[prost(oneof = "RangeStart", tags = "1, 2")]
    pub(crate) start: Option<RangeStart>,
    #[prost(oneof = "RangeEnd", tags = "3, 4")]
    pub(crate) end: Option<RangeEnd>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum RangeStart {
    #[prost(message, tag = "1")]
    Closed(ListValue),
    #[prost(message, tag = "2")]
    Open(ListValue),
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum RangeEnd {
    #[prost(message, tag = "3")]
    Closed(ListValue),
    #[prost(message, tag = "4")]
    Open(ListValue),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TransactionSelector {
    #[prost(oneof = "Selector", tags = "1, 2, 3")]
    pub(crate) selector: Option<Selector>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Selector {
    #[prost(message, tag = "1")]
    SingleUse(TransactionOptions),
    #[prost(bytes = "bytes", tag = "2")]
    Id(Bytes),
    #[prost(message, tag = "3")]
    Begin(TransactionOptions),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TransactionOptions {
    #[prost(oneof = "Mode", tags = "1, 3, 2")]
    pub(crate) mode: Option<Mode>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Mode {
    #[prost(message, tag = "1")]
    ReadWrite(Unread),
    #[prost(message, tag = "3")]
    PartitionedDml(Unread),
    #[prost(message, tag = "2")]
    ReadOnly(ReadOnly),
}

/// A message whose fields do not matter here.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Unread {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReadOnly {
    #[prost(bool, tag = "6")]
    pub(crate) return_read_timestamp: bool,
    #[prost(oneof = "TimestampBound", tags = "1, 2, 3, 4, 5")]
    pub(crate) bound: Option<TimestampBound>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum TimestampBound {
    #[prost(bool, tag = "1")]
    Strong(bool),
    #[prost(message, tag = "2")]
    MinReadTimestamp(Timestamp),
    #[prost(message, tag = "3")]
    MaxStaleness(prost_types::Duration),
    #[prost(message, tag = "4")]
    ReadTimestamp(Timestamp),
    #[prost(message, tag = "5")]
    ExactStaleness(prost_types::Duration),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BeginTransactionRequest {
    #[prost(string, tag = "1")]
    pub(crate) session: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) options: Option<TransactionOptions>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Transaction {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) id: Bytes,
    #[prost(message, optional, tag = "2")]
    pub(crate) read_timestamp: Option<Timestamp>,
    #[prost(message, optional, tag = "3")]
    pub(crate) precommit_token: Option<PrecommitToken>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PrecommitToken {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) precommit_token: Bytes,
    #[prost(int32, tag = "2")]
    pub(crate) seq_num: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CommitRequest {
    #[prost(string, tag = "1")]
    pub(crate) session: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) transaction_id: Bytes,
    #[prost(message, repeated, tag = "4")]
    pub(crate) mutations: Vec<Mutation>,
    #[prost(message, optional, tag = "6")]
    pub(crate) request_options: Option<RequestOptions>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CommitResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) commit_timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Mutation {
    #[prost(oneof = "MutationKind", tags = "1, 2, 3, 4, 5")]
    pub(crate) kind: Option<MutationKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum MutationKind {
    #[prost(message, tag = "1")]
    Insert(WriteMessage),
    #[prost(message, tag = "2")]
    Update(WriteMessage),
    #[prost(message, tag = "3")]
    InsertOrUpdate(WriteMessage),
    #[prost(message, tag = "4")]
    Replace(WriteMessage),
    #[prost(message, tag = "5")]
    Delete(DeleteMessage),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WriteMessage {
    #[prost(string, tag = "1")]
    pub(crate) table: String,
    #[prost(string, repeated, tag = "2")]
    pub(crate) columns: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) values: Vec<ListValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeleteMessage {
    #[prost(string, tag = "1")]
    pub(crate) table: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) key_set: Option<KeySet>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PartialResultSet {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<ResultSetMetadata>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) values: Vec<Value>,
    #[prost(bool, tag = "3")]
    pub(crate) chunked_value: bool,
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) resume_token: Bytes,
    #[prost(bool, tag = "9")]
    pub(crate) last: bool,
}

/// The answer of `ExecuteSql`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResultSet {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<ResultSetMetadata>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) rows: Vec<ListValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResultSetMetadata {
    #[prost(message, optional, tag = "1")]
    pub(crate) row_type: Option<StructType>,
    #[prost(message, optional, tag = "2")]
    pub(crate) transaction: Option<Transaction>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StructType {
    #[prost(message, repeated, tag = "1")]
    pub(crate) fields: Vec<Field>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Field {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) r#type: Option<TypeMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TypeMessage {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(message, optional, boxed, tag = "2")]
    pub(crate) array_element_type: Option<Box<TypeMessage>>,
    #[prost(message, optional, tag = "3")]
    pub(crate) struct_type: Option<StructType>,
    #[prost(int32, tag = "4")]
    pub(crate) type_annotation: i32,
    #[prost(string, tag = "5")]
    pub(crate) proto_type_fqn: String,
}

/// `google.rpc.Status`, as the details of an error.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<prost_types::Any>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(crate) retry_delay: Option<prost_types::Duration>,
}
