//! Definitions of tables. The library has them over REST alone, which the emulator does not speak
//! at the port that it is named by; this is the same call over the protocol of everything else.

use std::{fmt::Display, time::Duration};

use google_cloud_auth::credentials::{CacheableResource, Credentials};
use prost::Message;
use tonic::{
    Request, Status,
    client::Grpc,
    codegen::http::{Extensions, uri::PathAndQuery},
    metadata::MetadataMap,
    transport::{Channel, ClientTlsConfig},
};
use tonic_prost::ProstCodec;

use crate::client::{Address, Code, Failure};

const HOST: &str = "https://spanner.googleapis.com";

/// How often one asks whether the definitions are there; Spanner takes seconds to minutes.
const POLL: Duration = Duration::from_millis(250);

const OPERATIONS: &str = "/google.longrunning.Operations/GetOperation";

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, PartialEq, Message)]
struct UpdateDatabaseDdl {
    #[prost(string, tag = "1")]
    database: String,
    #[prost(string, repeated, tag = "2")]
    statements: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct GetOperation {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Operation {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bool, tag = "3")]
    done: bool,
    #[prost(message, optional, tag = "4")]
    error: Option<OperationError>,
}

#[derive(Clone, PartialEq, Message)]
struct OperationError {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// Runs the statements and returns once they hold.
pub(super) async fn define(address: &Address, statements: Vec<String>) -> Result<(), Failure> {
    let administration = Administration::connect(address)?;
    let request = UpdateDatabaseDdl { database: address.database.clone(), statements };
    let path = "/google.spanner.admin.database.v1.DatabaseAdmin/UpdateDatabaseDdl";
    let mut operation = administration.call(path, request).await?;
    while !operation.done {
        tokio::time::sleep(POLL).await;
        let request = GetOperation { name: operation.name };
        operation = administration.call(OPERATIONS, request).await?;
    }
    match operation.error {
        Some(error) => Err(failure(error.code.into(), &error.message)),
        None => Ok(()),
    }
}

struct Administration {
    channel: Channel,
    /// None where there is nobody to show them to: the emulator, or a server without encryption.
    credentials: Option<Credentials>,
    /// What the request is routed by.
    route: String,
}

impl Administration {
    fn connect(address: &Address) -> Result<Self, Failure> {
        let invalid = |error: tonic::transport::Error| {
            let message = format!("the endpoint cannot be used: {error}");
            Failure { code: Code::InvalidArgument, message }
        };
        let endpoint = endpoint(address);
        let is_plain = endpoint.starts_with("http://");
        let mut server = Channel::from_shared(endpoint.clone())
            .map_err(|_| Failure {
                code: Code::InvalidArgument,
                message: format!("`{endpoint}` is no endpoint"),
            })?
            .connect_timeout(PATIENCE)
            .timeout(PATIENCE);
        if !is_plain {
            let tls = ClientTlsConfig::new().with_enabled_roots();
            server = server.tls_config(tls).map_err(invalid)?;
        }
        let credentials = if is_plain { None } else { Some(credentials(address)?) };
        let route = format!("database={}", address.database);
        Ok(Self { channel: server.connect_lazy(), credentials, route })
    }

    async fn call<M: Message + 'static>(
        &self,
        path: &'static str,
        message: M,
    ) -> Result<Operation, Failure> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata().await?;
        let mut channel = Grpc::new(self.channel.clone());
        let unreachable = |error: tonic::transport::Error| Failure {
            code: Code::Unavailable,
            message: format!("the server cannot be reached: {error}"),
        };
        channel.ready().await.map_err(unreachable)?;
        let path = PathAndQuery::from_static(path);
        let answer = channel.unary(request, path, ProstCodec::default()).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status: Status| failure(status.code(), status.message()))
    }

    async fn metadata(&self) -> Result<MetadataMap, Failure> {
        let mut metadata = MetadataMap::new();
        if let Some(credentials) = &self.credentials {
            let headers = credentials.headers(Extensions::new()).await.map_err(denied)?;
            if let CacheableResource::New { data, .. } = headers {
                metadata = MetadataMap::from_headers(data);
            }
        }
        if let Ok(route) = self.route.parse() {
            metadata.insert("x-goog-request-params", route);
        }
        Ok(metadata)
    }
}

fn credentials(address: &Address) -> Result<Credentials, Failure> {
    match &address.credentials {
        Some(secret) => super::credentials(secret).map_err(denied),
        None => google_cloud_auth::credentials::Builder::default().build().map_err(denied),
    }
}

fn denied(error: impl Display) -> Failure {
    Failure { code: Code::Denied, message: error.to_string() }
}

fn endpoint(address: &Address) -> String {
    let emulator = || {
        let host = std::env::var("SPANNER_EMULATOR_HOST").ok().filter(|host| !host.is_empty())?;
        Some(if host.contains("://") { host } else { format!("http://{host}") })
    };
    address.endpoint.clone().or_else(emulator).unwrap_or_else(|| HOST.to_owned())
}

fn failure(code: tonic::Code, message: &str) -> Failure {
    let code = match code {
        tonic::Code::OutOfRange => Code::OutOfRange,
        tonic::Code::InvalidArgument => Code::InvalidArgument,
        tonic::Code::FailedPrecondition => Code::FailedPrecondition,
        tonic::Code::NotFound => Code::NotFound,
        tonic::Code::PermissionDenied | tonic::Code::Unauthenticated => Code::Denied,
        tonic::Code::Unimplemented => Code::Unimplemented,
        _ => Code::Unavailable,
    };
    Failure { code, message: message.to_owned() }
}
