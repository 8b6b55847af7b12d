//! A client without any care, which sees the messages as they are.

use prost::bytes::Bytes;
use prost_types::{Struct, Value};
use tonic::{
    Request, Status, Streaming, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel,
};
use tonic_prost::ProstCodec;

use crate::{
    Datum, Server,
    messages::{
        CreateSessionRequest, ExecuteSqlRequest, PartialResultSet, Session, TransactionSelector,
    },
};

pub(super) struct Client {
    grpc: Grpc<Channel>,
    pub(super) session: String,
}

/// A query and its parameters, `p1` and so on.
#[derive(Clone, Default)]
pub(super) struct Query {
    pub(super) sql: String,
    pub(super) parameters: Vec<Datum>,
    pub(super) transaction: Option<TransactionSelector>,
    pub(super) resume_token: Bytes,
}

pub(super) const READ: &str = "SELECT ChangeRecord FROM READ_changes (start_timestamp => @p1, \
                               end_timestamp => @p2, partition_token => @p3, \
                               heartbeat_milliseconds => @p4)";

impl Query {
    /// A query of a partition.
    pub(super) fn of(token: Option<&str>, from: impl ToString, to: Option<String>) -> Self {
        let text = |text: Option<String>| text.map_or(Datum::Null, Datum::Text);
        let parameters = vec![
            Datum::text(from.to_string()),
            text(to),
            text(token.map(str::to_owned)),
            Datum::int(10_000),
        ];
        Self { sql: READ.to_owned(), parameters, ..Self::default() }
    }
}

impl Client {
    pub(super) async fn connect(server: &Server) -> Self {
        let channel = Channel::from_shared(server.endpoint()).unwrap().connect().await.unwrap();
        let mut client = Self { grpc: Grpc::new(channel), session: String::new() };
        let request = CreateSessionRequest {
            database: server.database().to_owned(),
            session: Some(Session { multiplexed: true, ..Session::default() }),
        };
        let session: Session = client.call("CreateSession", request).await.unwrap();
        client.session = session.name;
        client
    }

    pub(super) async fn call<M, A>(&mut self, method: &str, request: M) -> Result<A, Status>
    where
        M: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.grpc.ready().await.unwrap();
        let answer = self.grpc.unary(Request::new(request), path(method), ProstCodec::default());
        Ok(answer.await?.into_inner())
    }

    pub(super) async fn stream<M>(
        &mut self,
        method: &str,
        request: M,
    ) -> Result<Streaming<PartialResultSet>, Status>
    where
        M: prost::Message + 'static,
    {
        self.grpc.ready().await.unwrap();
        let codec = ProstCodec::default();
        let answer = self.grpc.server_streaming(Request::new(request), path(method), codec).await?;
        Ok(answer.into_inner())
    }

    pub(super) async fn query(
        &mut self,
        query: Query,
    ) -> Result<Streaming<PartialResultSet>, Status> {
        let request = self.request(query);
        self.stream("ExecuteStreamingSql", request).await
    }

    pub(super) fn request(&self, query: Query) -> ExecuteSqlRequest {
        let numbered = query.parameters.iter().enumerate();
        let field = |(index, value): (usize, &Datum)| (format!("p{}", index + 1), value.value());
        ExecuteSqlRequest {
            session: self.session.clone(),
            transaction: query.transaction,
            sql: query.sql,
            params: Some(Struct { fields: numbered.map(field).collect() }),
            resume_token: query.resume_token,
            ..ExecuteSqlRequest::default()
        }
    }

    /// All messages of a query that ends.
    pub(super) async fn messages(&mut self, query: Query) -> Result<Vec<PartialResultSet>, Status> {
        let mut stream = self.query(query).await?;
        let mut messages = Vec::new();
        while let Some(message) = stream.message().await? {
            messages.push(message);
        }
        Ok(messages)
    }

    /// The rows of a query that ends and whose values are not cut.
    pub(super) async fn rows(&mut self, query: Query) -> Result<Vec<Datum>, Status> {
        Ok(values(&self.messages(query).await?))
    }
}

pub(super) fn values(messages: &[PartialResultSet]) -> Vec<Datum> {
    let values = messages.iter().flat_map(|message| message.values.clone());
    values.map(|value: Value| Datum::of_value(value)).collect()
}

fn path(method: &str) -> PathAndQuery {
    format!("/google.spanner.v1.Spanner/{method}").parse().unwrap()
}
