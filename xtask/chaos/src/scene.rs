//! The pipelines that there are.

use std::path::Path;

use fastrand::Rng;
use rowtide_servers::Kind;

use crate::{
    Outcome,
    downstream::{
        file::Files,
        kafka::Topic,
        rabbitmq::{self, Queue},
    },
    format::Format,
    pipeline::{Downstream, Pipeline, Store, Upstream},
    site::Sites,
    store::{Local, remote::Remote},
    upstream::{
        cockroachdb::Cockroach,
        outbox::Outbox,
        spanner::{self, Begin, Spanner},
        sqlite::{Marks, Sqlite},
    },
};

/// A source and a sink; the store is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scene {
    SqliteToFile,
    SqliteToKafka,
    CockroachDbToKafka,
    SpannerToRabbitMq,
    OutboxPostgresToKafka,
    OutboxPostgresToRabbitMq,
    OutboxMariaDbToKafka,
    OutboxMariaDbToRabbitMq,
}

/// What a pipeline is drawn from.
pub(crate) struct Draw<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) seed: u64,
    pub(crate) sites: &'a Sites,
    pub(crate) chance: &'a mut Rng,
}

impl Scene {
    pub(crate) const ALL: [Self; 8] = [
        Self::SqliteToFile,
        Self::OutboxPostgresToKafka,
        Self::SqliteToKafka,
        Self::OutboxMariaDbToRabbitMq,
        Self::CockroachDbToKafka,
        Self::SpannerToRabbitMq,
        Self::OutboxPostgresToRabbitMq,
        Self::OutboxMariaDbToKafka,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SqliteToFile => "sqlite-file",
            Self::SqliteToKafka => "sqlite-kafka",
            Self::CockroachDbToKafka => "cockroachdb-kafka",
            Self::SpannerToRabbitMq => "spanner-rabbitmq",
            Self::OutboxPostgresToKafka => "outbox-postgres-kafka",
            Self::OutboxPostgresToRabbitMq => "outbox-postgres-rabbitmq",
            Self::OutboxMariaDbToKafka => "outbox-mariadb-kafka",
            Self::OutboxMariaDbToRabbitMq => "outbox-mariadb-rabbitmq",
        }
    }

    /// The servers that it takes in any case.
    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::SqliteToFile => &[],
            Self::SqliteToKafka | Self::CockroachDbToKafka => {
                &[Kind::Kafka, Kind::Postgres, Kind::MariaDb]
            }
            Self::SpannerToRabbitMq => {
                &[Kind::Spanner, Kind::RabbitMq, Kind::Postgres, Kind::MariaDb]
            }
            Self::OutboxPostgresToKafka => &[Kind::Postgres, Kind::Kafka],
            Self::OutboxPostgresToRabbitMq => &[Kind::Postgres, Kind::RabbitMq],
            Self::OutboxMariaDbToKafka => &[Kind::MariaDb, Kind::Kafka],
            Self::OutboxMariaDbToRabbitMq => &[Kind::MariaDb, Kind::RabbitMq],
        }
    }

    /// Why it cannot be had here; `None` if it can be, or must be.
    pub(crate) fn absence(self) -> Option<String> {
        let servers = rowtide_servers::absence(self.kinds());
        servers.or_else(|| match self {
            Self::SpannerToRabbitMq => spanner::absence(),
            _ => None,
        })
    }

    /// Whether its processes can be shown another time. Kafka's library waits until times of that
    /// clock, and would wait for ever, or not at all.
    pub(crate) fn takes_another_time(self) -> bool {
        !self.kinds().contains(&Kind::Kafka)
    }

    /// # Errors
    /// There is none of this name; the message names those there are.
    pub(crate) fn named(name: &str) -> Outcome<Self> {
        let found = Self::ALL.into_iter().find(|scene| scene.name() == name);
        let names = Self::ALL.map(Self::name).join(", ");
        found.ok_or_else(|| format!("there is no pipeline `{name}`; there are: {names}").into())
    }

    /// A new one, in a folder of its own.
    pub(crate) fn pipeline(self, draw: &mut Draw<'_>) -> Outcome<Pipeline> {
        let mut store = store(self, draw)?;
        let (upstream, downstream): (Box<dyn Upstream>, Box<dyn Downstream>) = match self {
            Self::SqliteToFile => {
                let files = Files::new(&draw.folder.join("disk"), draw.chance);
                (Box::new(sqlite(Marks::InOrder, Format::draw_brief, draw)?), Box::new(files))
            }
            Self::SqliteToKafka => {
                let topic = topic(draw)?;
                let marks = if topic.partitions == 1 { Marks::InOrder } else { Marks::Anywhere };
                (Box::new(sqlite(marks, Format::draw, draw)?), Box::new(topic))
            }
            Self::CockroachDbToKafka => (Box::new(Cockroach::start(draw)?), Box::new(topic(draw)?)),
            Self::SpannerToRabbitMq => {
                // Its own table of positions takes no snapshot.
                let begin = [Begin::Now, Begin::Snapshot][draw.chance.usize(..2)];
                let spanner = Spanner::start(draw, begin)?;
                if begin == Begin::Now {
                    store = Box::new(spanner.store());
                }
                (Box::new(spanner), Box::new(queue(draw)?))
            }
            Self::OutboxPostgresToKafka => {
                (Box::new(Outbox::create(Kind::Postgres, draw)?), Box::new(topic(draw)?))
            }
            Self::OutboxPostgresToRabbitMq => {
                (Box::new(Outbox::create(Kind::Postgres, draw)?), Box::new(queue(draw)?))
            }
            Self::OutboxMariaDbToKafka => {
                (Box::new(Outbox::create(Kind::MariaDb, draw)?), Box::new(topic(draw)?))
            }
            Self::OutboxMariaDbToRabbitMq => {
                (Box::new(Outbox::create(Kind::MariaDb, draw)?), Box::new(queue(draw)?))
            }
        };
        Ok(Pipeline { upstream, downstream, store, delivery: Vec::new() })
    }
}

fn store(scene: Scene, draw: &mut Draw<'_>) -> Outcome<Box<dyn Store>> {
    let kind = match scene {
        Scene::OutboxPostgresToKafka | Scene::OutboxPostgresToRabbitMq => Kind::Postgres,
        Scene::OutboxMariaDbToKafka | Scene::OutboxMariaDbToRabbitMq => Kind::MariaDb,
        _ => [Kind::Postgres, Kind::MariaDb][draw.chance.usize(..2)],
    };
    match scene {
        Scene::SqliteToFile => local(draw),
        _ if draw.chance.bool() => {
            let site = draw.sites.site(kind, &[])?;
            Ok(Box::new(Remote::new(site, draw.seed)?))
        }
        _ => local(draw),
    }
}

fn local(draw: &mut Draw<'_>) -> Outcome<Box<dyn Store>> {
    Ok(Box::new(Local::new(&draw.folder.join("disk"), draw.chance)?))
}

fn sqlite(marks: Marks, format: fn(&mut Rng) -> Format, draw: &mut Draw<'_>) -> Outcome<Sqlite> {
    Sqlite::create(draw.folder.join("shop.db"), marks, format, draw.chance)
}

fn topic(draw: &mut Draw<'_>) -> Outcome<Topic> {
    let name = format!("chaos-{}", draw.seed);
    let site = draw.sites.site(Kind::Kafka, &[])?;
    Topic::create(site, name, draw.chance)
}

fn queue(draw: &mut Draw<'_>) -> Outcome<Queue> {
    let site = draw.sites.site(Kind::RabbitMq, &rabbitmq::ARGUMENTS)?;
    Queue::new(site, format!("chaos-{}", draw.seed), draw.chance)
}
