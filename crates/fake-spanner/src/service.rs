//! The calls of `google.spanner.v1.Spanner`.

mod information_schema;
mod mutation;
mod read;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt, future::BoxFuture, stream};
use jiff::Timestamp;
use prost::{
    Message,
    bytes::{Buf, BufMut, Bytes},
};
use prost_types::ListValue;
use tonic::{
    Request, Response, Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http,
    server::{Grpc, NamedService, ServerStreamingService, UnaryService},
};

use crate::{
    datum::Datum,
    faults::happens,
    messages::{
        BatchCreateSessionsRequest, BatchCreateSessionsResponse, BeginTransactionRequest,
        CommitRequest, CommitResponse, CreateSessionRequest, ExecuteSqlRequest, Field,
        NamedRequest, ReadRequest, ResultSet, Session, Transaction,
    },
    query,
    query::Telling,
    schema::{Dialect, Kind},
    server::{self, Shared},
    status, transactions,
};

/// Answers requests.
#[derive(Clone)]
pub(crate) struct Service {
    shared: Arc<Shared>,
}

/// One call, by its name.
struct Call {
    shared: Arc<Shared>,
    method: String,
}

type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

impl Service {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl NamedService for Service {
    const NAME: &'static str = "google.spanner.v1.Spanner";
}

impl tonic::codegen::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let method = path.strip_prefix("/google.spanner.v1.Spanner/").unwrap_or_default();
        let call = Call { shared: Arc::clone(&self.shared), method: method.to_owned() };
        Box::pin(async move {
            let mut grpc = Grpc::new(Raw);
            Ok(match call.method.as_str() {
                "ExecuteStreamingSql" | "StreamingRead" => {
                    grpc.server_streaming(call, request).await
                }
                _ => grpc.unary(call, request).await,
            })
        })
    }
}

impl UnaryService<Bytes> for Call {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let answer = self.answer(request.into_inner()).map(Response::new);
        Box::pin(async { answer })
    }
}

impl ServerStreamingService<Bytes> for Call {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = BoxFuture<'static, Result<Response<Messages>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let answer = self.stream(request.into_inner()).map(Response::new);
        Box::pin(async { answer })
    }
}

impl Call {
    fn answer(&self, request: Bytes) -> Result<Bytes, Status> {
        match self.method.as_str() {
            "CreateSession" => {
                let request: CreateSessionRequest = decode(request)?;
                Ok(encode(&self.session(&request.database, request.session)?))
            }
            "BatchCreateSessions" => {
                let request: BatchCreateSessionsRequest = decode(request)?;
                let session = (0..request.session_count.max(1))
                    .map(|_| self.session(&request.database, request.session_template.clone()));
                let session = session.collect::<Result<_, _>>()?;
                Ok(encode(&BatchCreateSessionsResponse { session }))
            }
            "GetSession" => {
                let request: NamedRequest = decode(request)?;
                self.known(&request.name)?;
                Ok(encode(&Session { name: request.name, ..Session::default() }))
            }
            "DeleteSession" => {
                let request: NamedRequest = decode(request)?;
                self.shared.forget_session(&request.name);
                Ok(Bytes::new())
            }
            "BeginTransaction" => {
                let request: BeginTransactionRequest = decode(request)?;
                self.known(&request.session)?;
                let at = self.shared.store().tick();
                let id = transactions::id(at);
                let read_timestamp = Some(proto(at));
                Ok(encode(&Transaction { id, read_timestamp, precommit_token: None }))
            }
            "Commit" => {
                let request: CommitRequest = decode(request)?;
                self.known(&request.session)?;
                let id = request.transaction_id.clone();
                let transaction = mutation::transaction(request)?;
                let mut store = self.shared.store();
                self.shared.transactions().end(&id, &store)?;
                let at = store.commit(&[transaction])?;
                Ok(encode(&CommitResponse { commit_timestamp: Some(proto(at)) }))
            }
            "Rollback" => Ok(Bytes::new()),
            "ExecuteSql" => {
                let request: ExecuteSqlRequest = decode(request)?;
                self.known(&request.session)?;
                Ok(encode(&execute_sql(&request)?))
            }
            other => Err(Status::unimplemented(format!("{other} is not spoken here"))),
        }
    }

    fn stream(&self, request: Bytes) -> Result<Messages, Status> {
        if self.method == "StreamingRead" {
            let request: ReadRequest = decode(request)?;
            self.known(&request.session)?;
            let frames = read::rows(&self.shared, &request)?;
            return Ok(stream::iter(frames.into_iter().map(Ok)).boxed());
        }
        let request: ExecuteSqlRequest = decode(request)?;
        self.known(&request.session)?;
        if !query::reads_stream(&request.sql) {
            let frames = information_schema::rows(&self.shared.store(), &request)?;
            return Ok(stream::iter(frames.into_iter().map(Ok)).boxed());
        }
        let options = request.request_options.clone().unwrap_or_default();
        self.shared.note(server::Request {
            sql: request.sql.clone(),
            priority: options.priority,
            tag: options.request_tag,
            is_resumed: !request.resume_token.is_empty(),
        });
        let telling = Telling::begin(&self.shared, &request)?;
        let messages = stream::unfold(Some(telling), |telling| async {
            let mut telling = telling?;
            match telling.next().await? {
                Ok(message) => Some((Ok(message), Some(telling))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(messages.boxed())
    }

    fn session(&self, database: &str, template: Option<Session>) -> Result<Session, Status> {
        if database != self.shared.options.database {
            return Err(Status::not_found(format!("Database not found: {database}")));
        }
        let template = template.unwrap_or_default();
        let name = self.shared.make_session();
        Ok(Session { name, create_time: Some(proto(crate::store::now())), ..template })
    }

    fn known(&self, session: &str) -> Result<(), Status> {
        let faults = self.shared.faults();
        if faults.forget_sessions > 0 {
            let mut chance = faults.chance(session, self.shared.count_request());
            if happens(&mut chance, faults.forget_sessions) {
                self.shared.forget_sessions();
            }
        }
        match self.shared.knows_session(session) {
            true => Ok(()),
            false => Err(status::session_not_found(session)),
        }
    }
}

/// The one call that never reads a change stream; clients look with it whether a connection works.
fn execute_sql(request: &ExecuteSqlRequest) -> Result<ResultSet, Status> {
    if query::reads_stream(&request.sql) {
        return Err(Status::invalid_argument(
            "Change stream queries are not supported for the ExecuteSql API. Change stream \
             queries must be strong reads executed via single use transactions using the \
             ExecuteStreamingSql API.",
        ));
    }
    if request.sql != "SELECT 1" {
        return Err(Status::unimplemented(format!("This is not understood: {}", request.sql)));
    }
    let kind = Kind::Int64.message(Dialect::GoogleSql);
    let field = Field { name: String::new(), r#type: Some(kind) };
    let row = ListValue { values: vec![Datum::int(1).value()] };
    Ok(ResultSet { metadata: Some(query::row_of(vec![field])), rows: vec![row] })
}

fn decode<M: Message + Default>(bytes: Bytes) -> Result<M, Status> {
    M::decode(bytes).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn proto(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// Messages as they are on the wire; many are encoded once and sent often.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
