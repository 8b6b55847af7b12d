//! The few calls of Spanner's administration that tests need, which the client has over REST alone.

use std::time::Duration;

use prost::Message;
use rowtide_core::{Error, Result};
use tonic::{
    Code, Request, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel,
};
use tonic_prost::ProstCodec;

use super::Dialect;

pub(crate) struct Admin(Grpc<Channel>);

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
    #[prost(string, tag = "1")]
    name: String,
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
    #[prost(int32, tag = "5")]
    dialect: i32,
}

#[derive(Clone, PartialEq, Message)]
struct UpdateDefinitions {
    #[prost(string, tag = "1")]
    database: String,
    #[prost(string, repeated, tag = "2")]
    statements: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Named {
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
    error: Option<Failed>,
}

#[derive(Clone, PartialEq, Message)]
struct Failed {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

const DATABASES: &str = "/google.spanner.admin.database.v1.DatabaseAdmin";
const INSTANCES: &str = "/google.spanner.admin.instance.v1.InstanceAdmin";

impl Admin {
    pub(crate) async fn connect(endpoint: &str) -> Result<Self> {
        let channel = Channel::from_shared(endpoint.to_owned()).expect("an endpoint");
        let channel = channel.connect().await.map_err(|error| {
            Error::transient("failed to connect to the emulator").because(error)
        })?;
        Ok(Self(Grpc::new(channel)))
    }

    /// Makes an instance, unless there is one.
    pub(crate) async fn instance(&mut self, project: &str, id: &str) -> Result<()> {
        let instance = Instance {
            name: format!("{project}/instances/{id}"),
            config: format!("{project}/instanceConfigs/emulator-config"),
            display_name: id.to_owned(),
            node_count: 1,
        };
        let request = CreateInstance {
            parent: project.to_owned(),
            instance_id: id.to_owned(),
            instance: Some(instance),
        };
        match self.call(&format!("{INSTANCES}/CreateInstance"), request).await {
            Err(status) if status.code() == Code::AlreadyExists => Ok(()),
            answer => self.finish("making an instance", answer).await,
        }
    }

    pub(crate) async fn database(
        &mut self,
        instance: &str,
        id: &str,
        dialect: Dialect,
        definitions: &[String],
    ) -> Result<()> {
        let (quote, dialect) = match dialect {
            Dialect::GoogleSql => ('`', 1),
            Dialect::Postgres => ('"', 2),
        };
        let request = CreateDatabase {
            parent: instance.to_owned(),
            create_statement: format!("CREATE DATABASE {quote}{id}{quote}"),
            dialect,
        };
        let answer = self.call(&format!("{DATABASES}/CreateDatabase"), request).await;
        self.finish("making a database", answer).await?;
        self.define(&format!("{instance}/databases/{id}"), definitions).await
    }

    pub(crate) async fn define(&mut self, database: &str, definitions: &[String]) -> Result<()> {
        if definitions.is_empty() {
            return Ok(());
        }
        let request =
            UpdateDefinitions { database: database.to_owned(), statements: definitions.to_vec() };
        let answer = self.call(&format!("{DATABASES}/UpdateDatabaseDdl"), request).await;
        self.finish("defining", answer).await
    }

    pub(crate) async fn drop(&mut self, database: &str) -> Result<()> {
        // The one call whose answer is empty, which is an operation without a name.
        let request = Named { name: database.to_owned() };
        let answer: std::result::Result<Operation, Status> =
            self.call(&format!("{DATABASES}/DropDatabase"), request).await;
        answer.map(drop).map_err(|status| Error::fatal("dropping failed").because(status))
    }

    async fn call<M: Message + 'static>(
        &mut self,
        path: &str,
        request: M,
    ) -> std::result::Result<Operation, Status> {
        self.0.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = path.parse::<PathAndQuery>().expect("a path");
        let answer = self.0.unary(Request::new(request), path, ProstCodec::default()).await?;
        Ok(answer.into_inner())
    }

    /// Waits until an operation is done.
    async fn finish(
        &mut self,
        what: &str,
        answer: std::result::Result<Operation, Status>,
    ) -> Result<()> {
        let failed = || format!("{what} failed");
        let mut operation = answer.map_err(|status| Error::fatal(failed()).because(status))?;
        while !operation.done {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let request = Named { name: operation.name.clone() };
            let answer = self.call("/google.longrunning.Operations/GetOperation", request).await;
            operation = answer.map_err(|status| Error::fatal(failed()).because(status))?;
        }
        match operation.error {
            Some(error) => Err(Error::fatal(format!("{what} failed: {}", error.message))),
            None => Ok(()),
        }
    }
}
