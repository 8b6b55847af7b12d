//! The kinds of servers, and how each is brought up.

mod kafka;
mod mariadb;
mod postgres;
mod rabbitmq;
mod spanner;

use std::{path::PathBuf, process::Command};

use crate::{Result, machine::place::Place};

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Postgres,
    MariaDb,
    RabbitMq,
    Kafka,
    /// The emulator of Cloud Spanner.
    Spanner,
}

impl Kind {
    pub const ALL: [Kind; 5] =
        [Kind::Postgres, Kind::MariaDb, Kind::RabbitMq, Kind::Kafka, Kind::Spanner];

    /// The kind of this name, as it is typed.
    ///
    /// # Errors
    /// There is none; the message names those there are.
    pub fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        let names = Self::ALL.map(Kind::name).join(", ");
        found.ok_or_else(|| format!("there is no server `{name}`; there are: {names}").into())
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        self.service().name()
    }

    pub(crate) fn service(self) -> &'static dyn Service {
        match self {
            Kind::Postgres => &postgres::Postgres,
            Kind::MariaDb => &mariadb::MariaDb,
            Kind::RabbitMq => &rabbitmq::RabbitMq,
            Kind::Kafka => &kafka::Kafka,
            Kind::Spanner => &spanner::Spanner,
        }
    }
}

/// A server, and how to bring it up on this machine.
pub(crate) trait Service: Sync {
    fn name(&self) -> &'static str;
    /// What must be found here.
    fn programs(&self) -> &'static [&'static str];
    /// The Debian packages that bring these.
    fn packages(&self) -> &'static [&'static str];
    /// How many ports it takes. The first is the one that clients use.
    fn ports(&self) -> usize;
    /// What the tests read to find it. The first names it also where it is not ours.
    fn variables(&self, ports: &[u16]) -> Vec<(&'static str, String)>;

    /// The same for what it offers by TLS, which only a server of this machine does.
    fn secured(&self, _place: &Place) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Where its data can be, `folder` if that will do.
    fn home(&self, folder: PathBuf) -> Result<PathBuf> {
        Ok(folder)
    }
    /// Whether what no package brings has been got.
    fn is_fetched(&self) -> Result<bool> {
        Ok(true)
    }
    /// Gets what no package brings.
    fn fetch(&self) -> Result {
        Ok(())
    }
    /// Fills the empty folder, before the first start of all.
    fn prepare(&self, place: &Place) -> Result;
    /// Writes its settings, before each start: the ports may be others.
    fn configure(&self, _place: &Place) -> Result {
        Ok(())
    }
    /// What has to run beside it, and the port by which it is known to run.
    fn companion(&self, _place: &Place) -> Result<Option<(Command, u16)>> {
        Ok(None)
    }
    fn server(&self, place: &Place) -> Result<Command>;
    /// The process that serves, where the one that was started is only its parent.
    fn serving(&self, _place: &Place) -> Result<Option<u32>> {
        Ok(None)
    }
    /// Whether a client gets an answer.
    fn answers(&self, place: &Place) -> Result<bool>;
    /// What asks it to stop in good order.
    fn stop_signal(&self) -> &'static str {
        "TERM"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_server_is_refused() {
        assert_eq!(Kind::named("kafka").unwrap(), Kind::Kafka);
        let error = Kind::named("kafak").unwrap_err().to_string();
        assert!(error.contains("`kafak`") && error.contains("rabbitmq"), "{error}");
    }
}
