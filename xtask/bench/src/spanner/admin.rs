//! The few calls of Spanner's administration that make a database, which the client has over REST
//! alone.

use std::time::Duration;

use prost::Message;
use tonic::{
    Code, Request, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel,
};
use tonic_prost::ProstCodec;

use crate::Result;

pub(super) struct Admin(Grpc<Channel>);

#[derive(Clone, PartialEq, Message)]
struct CreateInstance {
    #[prost(string, tag = "1")]
    parent: String,
    #[prost(string, tag = "2")]
    instance_id: String,
    #[prost(message, optional, tag = "3")]
    instance: Option<Instance>,
}

#[derive(Clone, PartialEq, Message)]
struct Instance {
    #[prost(string, tag = "2")]
    config: String,
    #[prost(string, tag = "3")]
    display_name: String,
    #[prost(int32, tag = "5")]
    node_count: i32,
}

#[derive(Clone, PartialEq, Message)]
struct CreateDatabase {
    #[prost(string, tag = "1")]
    parent: String,
    #[prost(string, tag = "2")]
    create_statement: String,
    #[prost(string, repeated, tag = "3")]
    extra_statements: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Operation {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bool, tag = "3")]
    done: bool,
}

#[derive(Clone, PartialEq, Message)]
struct GetOperation {
    #[prost(string, tag = "1")]
    name: String,
}

const PROJECT: &str = "projects/bench";

impl Admin {
    pub(super) async fn connect(endpoint: &str) -> Result<Self> {
        Ok(Self(Grpc::new(Channel::from_shared(endpoint.to_owned())?.connect().await?)))
    }

    /// Makes a database with these definitions, and returns its name.
    pub(super) async fn make(&mut self, id: &str, definitions: &[&str]) -> Result<String> {
        let instance = Instance {
            config: format!("{PROJECT}/instanceConfigs/emulator-config"),
            display_name: "bench".to_owned(),
            node_count: 1,
        };
        let request = CreateInstance {
            parent: PROJECT.to_owned(),
            instance_id: "bench".to_owned(),
            instance: Some(instance),
        };
        self.run("google.spanner.admin.instance.v1.InstanceAdmin/CreateInstance", request).await?;
        let request = CreateDatabase {
            parent: format!("{PROJECT}/instances/bench"),
            create_statement: format!("CREATE DATABASE `{id}`"),
            extra_statements: definitions.iter().map(|text| (*text).to_owned()).collect(),
        };
        self.run("google.spanner.admin.database.v1.DatabaseAdmin/CreateDatabase", request).await?;
        Ok(format!("{PROJECT}/instances/bench/databases/{id}"))
    }

    /// Waits until it is done; what is there already is as good.
    async fn run<M: Message + 'static>(&mut self, method: &str, request: M) -> Result {
        let mut operation: Operation = match self.call(method, request).await {
            Err(status) if status.code() == Code::AlreadyExists => return Ok(()),
            answer => answer?,
        };
        while !operation.done {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let request = GetOperation { name: operation.name.clone() };
            operation = self.call("google.longrunning.Operations/GetOperation", request).await?;
        }
        Ok(())
    }

    async fn call<M: Message + 'static>(
        &mut self,
        method: &str,
        request: M,
    ) -> Result<Operation, Status> {
        self.0.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::try_from(format!("/{method}"));
        let path = path.map_err(|error| Status::internal(error.to_string()))?;
        Ok(self.0.unary(Request::new(request), path, ProstCodec::default()).await?.into_inner())
    }
}
