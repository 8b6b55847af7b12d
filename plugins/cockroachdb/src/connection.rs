//! Connections to the cluster, and what its errors mean.

mod encryption;
mod failure;
mod link;
mod patience;
mod url;

use rowtide_core::{
    Error, Result,
    settings::{Secret, Tls},
};
use tokio::task::JoinSet;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};
use tokio_postgres_rustls::MakeRustlsConnect;

pub(crate) use failure::{failure, is_lost};
pub(crate) use link::{Link, Rows};
pub(crate) use patience::Patience;

use crate::connection::{encryption::Encryption, url::DatabaseUrl};

/// What the name of a connection is in `SHOW SESSIONS`.
const APPLICATION: &str = "rowtide";

/// How to connect.
#[derive(Clone)]
pub(crate) struct Database {
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    /// Where, without who.
    pub(crate) place: String,
}

/// A connection for short questions.
pub(crate) struct Session {
    client: Client,
    _connection: JoinSet<()>,
    place: String,
}

impl Database {
    /// Checks the settings, without any I/O.
    pub(crate) fn check(database: &Secret, tls: Option<&Tls>) -> Result<()> {
        match database.inline() {
            Some(text) => DatabaseUrl::parse(text)
                .map_err(|error| error.key("database"))
                .and_then(|url| url.encryption(tls).map(drop)),
            None => Ok(()),
        }
    }

    pub(crate) fn new(database: &Secret, tls: Option<&Tls>) -> Result<Self> {
        let text = database.reveal().map_err(|error| error.key("database"))?;
        let url = DatabaseUrl::parse(&text).map_err(|error| error.key("database"))?;
        let Encryption { mode, tls } = url.encryption(tls)?;
        let mut config = url.config;
        config.ssl_mode(mode).application_name(APPLICATION);
        config.keepalives_idle(std::time::Duration::from_secs(30));
        let tls = MakeRustlsConnect::new(encryption::client(&tls)?);
        Ok(Self { config, tls, place: url.place })
    }

    /// Connects. Dropping the link, or the future before there is one, closes the connection.
    pub(crate) async fn connect(&self) -> Result<(Client, Link)> {
        let connected = self.config.connect(self.tls.clone()).await;
        let (client, connection) = connected
            .map_err(|error| failure(format!("failed to connect to {}", self.place), error))?;
        let mut link = Link::new(connection, client.cancel_token(), self.tls.clone());
        // A feed runs for as long as it may, and its position needs the clock of the cluster.
        let settings = "SET statement_timeout = 0; SET idle_in_session_timeout = 0; \
                        SET default_transaction_isolation = 'serializable'";
        link.run(client.batch_execute(settings)).await.map_err(|error| {
            failure(format!("failed to set up a session of {}", self.place), error)
        })?;
        Ok((client, link))
    }

    pub(crate) async fn session(&self) -> Result<Session> {
        let (client, link) = self.connect().await?;
        Ok(Session { client, _connection: link.spawn(), place: self.place.clone() })
    }
}

impl Session {
    /// The rows of a statement, all values as text.
    pub(crate) async fn query(&self, sql: &str) -> Result<Vec<SimpleQueryRow>> {
        let messages =
            self.client.simple_query(sql).await.map_err(|error| {
                failure(format!("{} failed to answer `{sql}`", self.place), error)
            })?;
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    /// The first value of the first row.
    pub(crate) async fn value(&self, sql: &str) -> Result<String> {
        let rows = self.query(sql).await?;
        let value = rows.first().and_then(|row| row.get(0)).map(str::to_owned);
        value.ok_or_else(|| Error::fatal(format!("{} had no answer to `{sql}`", self.place)))
    }
}

/// A name in quotes.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in quotes.
pub(crate) fn literal(text: &str) -> String {
    let escaped = text.replace('\'', "''");
    // A backslash means itself, unless somebody has changed how plain literals are read.
    format!("'{escaped}'")
}
