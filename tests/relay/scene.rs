//! A database, a broker, and the pipeline between them, in a folder that is kept if a test fails.

use std::{error::Error, fmt, path::PathBuf, thread, time::Duration};

use rowtide_servers::{Kind, Server};
use tokio::runtime::{Builder, Runtime};

use crate::{
    consumer,
    relay::Relay,
    session::{Address, Database, Session},
    verdict::Message,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const DELIVERY_LIMIT: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Broker {
    Kafka,
    RabbitMq,
}

/// Where everything the service says about orders goes: a topic, or a queue and its routing key.
const TOPIC: &str = "outbox.event.order";
const EXCHANGE: &str = "outbox";

impl Broker {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Kafka => Kind::Kafka,
            Self::RabbitMq => Kind::RabbitMq,
        }
    }
}

impl Database {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Postgres => Kind::Postgres,
            Self::MariaDb => Kind::MariaDb,
        }
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kafka => "kafka",
            Self::RabbitMq => "rabbitmq",
        })
    }
}

impl fmt::Display for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadb",
        })
    }
}

pub(crate) struct Scene {
    pub(crate) database: Server,
    pub(crate) broker: Server,
    pub(crate) address: Address,
    pub(crate) runtime: Runtime,
    kind: Broker,
    folder: PathBuf,
}

impl Scene {
    pub(crate) fn start(database: Database, kind: Broker) -> Outcome<Self> {
        let (server, broker) = thread::scope(|scope| {
            let server = scope.spawn(|| Server::start(database.kind()));
            (server.join(), Server::start(kind.kind()))
        });
        let server = server.map_err(|_| "a panic while the database was started")??;
        let variable = match database {
            Database::Postgres => "ROWTIDE_POSTGRES_URL",
            Database::MariaDb => "ROWTIDE_MYSQL_URL",
        };
        let address = Address { database, url: server.variable(variable)?.to_owned() };
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(prepare(&address)).map_err(|error| error.to_string())?;
        let folder = tempfile::tempdir()?.keep();
        let scene = Self { database: server, broker: broker?, address, runtime, kind, folder };
        if kind == Broker::RabbitMq {
            let bind = consumer::bind_queue(scene.broker_address()?, EXCHANGE, TOPIC);
            scene.runtime.block_on(bind)?;
        }
        Ok(scene)
    }

    /// What makes a message one that the broker does not take: where it goes, and how long it is.
    pub(crate) fn untaken(&self) -> (&'static str, usize) {
        match self.kind {
            // No queue is bound for it.
            Broker::RabbitMq => ("nowhere", 1),
            // More than a topic takes.
            Broker::Kafka => ("order", 2 << 20),
        }
    }

    /// The pipeline, set up and not yet started.
    pub(crate) fn relay(&self, delivery: &str) -> Outcome<Relay> {
        let database = &self.address.url;
        let sink = match self.kind {
            Broker::Kafka => {
                format!("type = \"kafka\"\nbrokers = [\"{}\"]", self.broker_address()?)
            }
            Broker::RabbitMq => format!(
                "type = \"rabbitmq\"\nurl = \"{}\"\nexchange = \"{EXCHANGE}\"\n\
                 exchange_type = \"topic\"\nrouting_key = \"{{topic}}\"",
                self.broker_address()?
            ),
        };
        Relay::new(
            &self.folder,
            &format!(
                "name = \"relay\"\n[source]\ntype = \"outbox\"\ndatabase = \"{database}\"\n\
                 [sink]\n{sink}\nformat = \"outbox\"\n\
                 [checkpoint]\ntype = \"sqlite\"\npath = \"checkpoint.db\"\n{delivery}"
            ),
        )
    }

    fn broker_address(&self) -> Outcome<&str> {
        Ok(self.broker.variable(match self.kind {
            Broker::Kafka => "ROWTIDE_KAFKA_BROKERS",
            Broker::RabbitMq => "ROWTIDE_AMQP_URL",
        })?)
    }

    /// Runs one statement in the database.
    pub(crate) fn run(&self, statement: &str) -> Outcome<()> {
        let run = async { Session::connect(&self.address).await?.run(statement).await };
        Ok(self.runtime.block_on(run).map_err(|error| error.to_string())?)
    }

    /// Returns once the outbox holds `left` messages.
    pub(crate) fn await_outbox(&self, left: i64) -> Outcome<()> {
        let wait = async {
            let mut session = Session::connect(&self.address).await?;
            while session.number("SELECT count(*) FROM outbox").await? != left {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok::<_, crate::session::Failure>(())
        };
        let limited = async { tokio::time::timeout(DELIVERY_LIMIT, wait).await };
        match self.runtime.block_on(limited) {
            Ok(waited) => Ok(waited.map_err(|error| error.to_string())?),
            Err(_) => Err(format!("the outbox is not relayed within {DELIVERY_LIMIT:?}").into()),
        }
    }

    /// What arrived at the broker, by partition.
    pub(crate) fn consumed(&self) -> Outcome<Vec<Vec<Message>>> {
        match self.kind {
            Broker::Kafka => consumer::kafka(self.broker_address()?, TOPIC),
            Broker::RabbitMq => {
                self.runtime.block_on(consumer::rabbitmq(self.broker_address()?, TOPIC))
            }
        }
    }

    /// Removes the folder, once there is nothing to look at in it.
    pub(crate) fn close(self) -> Outcome<()> {
        Ok(std::fs::remove_dir_all(&self.folder)?)
    }
}

async fn prepare(address: &Address) -> Result<(), crate::session::Failure> {
    Session::connect(address).await?.prepare().await
}
