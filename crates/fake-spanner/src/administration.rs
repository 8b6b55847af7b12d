//! The few calls of Spanner's administration that tests need of an emulator, which the client has over
//! REST alone.

use std::time::Duration;

use prost::Message;
use tonic::{
    Code, Request, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel,
};
use tonic_prost::ProstCodec;

use crate::schema::Dialect;

/// Makes instances and databases in an emulator.
pub struct Administration(Grpc<Channel>);

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
const OPERATION: &str = "/google.longrunning.Operations/GetOperation";

const POLL: Duration = Duration::from_millis(10);

impl Administration {
    /// # Errors
    /// There is no emulator at this address, such as `http://127.0.0.1:9010`.
    pub async fn connect(endpoint: &str) -> Result<Self, Status> {
        let wrong = |error: tonic::transport::Error| Status::unavailable(error.to_string());
        let channel = Channel::from_shared(endpoint.to_owned());
        let channel = channel.map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Self(Grpc::new(channel.connect().await.map_err(wrong)?)))
    }

    /// Makes an instance of a project, such as `projects/test`, unless there is one. Returns its name.
    ///
    /// # Errors
    /// The emulator refuses.
    pub async fn instance(&mut self, project: &str, id: &str) -> Result<String, Status> {
        let instance = Instance {
            name: format!("{project}/instances/{id}"),
            config: format!("{project}/instanceConfigs/emulator-config"),
            display_name: id.to_owned(),
            node_count: 1,
        };
        let name = instance.name.clone();
        let request = CreateInstance {
            parent: project.to_owned(),
            instance_id: id.to_owned(),
            instance: Some(instance),
        };
        match self.run(&format!("{INSTANCES}/CreateInstance"), request).await {
            Err(status) if status.code() != Code::AlreadyExists => Err(status),
            _ => Ok(name),
        }
    }

    /// Makes a database with these definitions, and returns its name.
    ///
    /// # Errors
    /// The emulator refuses, or there is one.
    pub async fn database(
        &mut self,
        instance: &str,
        id: &str,
        dialect: Dialect,
        definitions: &[String],
    ) -> Result<String, Status> {
        let (quote, number) = match dialect {
            Dialect::GoogleSql => ('`', 1),
            Dialect::Postgres => ('"', 2),
        };
        let request = CreateDatabase {
            parent: instance.to_owned(),
            create_statement: format!("CREATE DATABASE {quote}{id}{quote}"),
            dialect: number,
        };
        self.run(&format!("{DATABASES}/CreateDatabase"), request).await?;
        let name = format!("{instance}/databases/{id}");
        self.define(&name, definitions).await?;
        Ok(name)
    }

    /// Adds definitions to a database.
    ///
    /// # Errors
    /// The emulator refuses.
    pub async fn define(&mut self, database: &str, definitions: &[String]) -> Result<(), Status> {
        if definitions.is_empty() {
            return Ok(());
        }
        let request =
            UpdateDefinitions { database: database.to_owned(), statements: definitions.to_vec() };
        self.run(&format!("{DATABASES}/UpdateDatabaseDdl"), request).await
    }

    /// # Errors
    /// The emulator refuses.
    pub async fn drop_database(&mut self, database: &str) -> Result<(), Status> {
        // The one call whose answer is empty, which is an operation without a name.
        let request = Named { name: database.to_owned() };
        self.call(&format!("{DATABASES}/DropDatabase"), request).await.map(drop)
    }

    async fn call<M: Message + 'static>(
        &mut self,
        path: &str,
        request: M,
    ) -> Result<Operation, Status> {
        self.0.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::try_from(path);
        let path = path.map_err(|error| Status::internal(error.to_string()))?;
        Ok(self.0.unary(Request::new(request), path, ProstCodec::default()).await?.into_inner())
    }

    /// Waits until what a call has begun is done.
    async fn run<M: Message + 'static>(&mut self, path: &str, request: M) -> Result<(), Status> {
        let mut operation = self.call(path, request).await?;
        while !operation.done {
            tokio::time::sleep(POLL).await;
            let request = Named { name: operation.name };
            operation = self.call(OPERATION, request).await?;
        }
        match operation.error {
            Some(error) => Err(Status::new(error.code.into(), error.message)),
            None => Ok(()),
        }
    }
}
