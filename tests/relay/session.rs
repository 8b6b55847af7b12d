//! A connection of the service to its database: plain statements, by a driver of its own.

use std::{collections::HashMap, error::Error};

use sqlx::{Connection, MySqlConnection, PgConnection, Row, mysql::MySqlRow, postgres::PgRow};

use super::writer::AGGREGATES;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// The nonces of all committed messages, by aggregate and version.
pub(crate) type Truth = HashMap<(i64, i64), String>;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Database {
    Postgres,
    MariaDb,
}

#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) database: Database,
    pub(crate) url: String,
}

pub(crate) enum Session {
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
}

impl Session {
    pub(crate) async fn connect(address: &Address) -> Result<Self, Failure> {
        Ok(match address.database {
            Database::Postgres => Self::Postgres(PgConnection::connect(&address.url).await?),
            Database::MariaDb => Self::MariaDb(MySqlConnection::connect(&address.url).await?),
        })
    }

    /// Runs statements that return nothing.
    pub(crate) async fn run(&mut self, statements: &str) -> Result<(), Failure> {
        let statements = sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned()));
        match self {
            Self::Postgres(connection) => statements.execute(connection).await.map(drop)?,
            Self::MariaDb(connection) => statements.execute(connection).await.map(drop)?,
        }
        Ok(())
    }

    /// The whole number that a query returns.
    pub(crate) async fn number(&mut self, query: &str) -> Result<i64, Failure> {
        let query = sqlx::AssertSqlSafe(query.to_owned());
        Ok(match self {
            Self::Postgres(connection) => sqlx::query_scalar(query).fetch_one(connection).await?,
            Self::MariaDb(connection) => sqlx::query_scalar(query).fetch_one(connection).await?,
        })
    }

    /// Makes the tables of the service, beside its outbox.
    pub(crate) async fn prepare(&mut self) -> Result<(), Failure> {
        self.run(
            "CREATE TABLE aggregate (id BIGINT PRIMARY KEY, version BIGINT NOT NULL);
             CREATE TABLE noise (n INT);
             CREATE TABLE truth (aggregate BIGINT, version BIGINT, nonce VARCHAR(16),
                                 PRIMARY KEY (aggregate, version))",
        )
        .await?;
        for aggregate in 0..AGGREGATES {
            self.run(&format!("INSERT INTO aggregate VALUES ({aggregate}, 0)")).await?;
        }
        Ok(())
    }

    /// Every message that was committed.
    pub(crate) async fn truth(&mut self) -> Result<Truth, Failure> {
        let query = "SELECT aggregate, version, nonce FROM truth";
        Ok(match self {
            Self::Postgres(connection) => {
                let rows = sqlx::query(query).fetch_all(connection).await?;
                let take = |row: &PgRow| ((row.get(0), row.get(1)), row.get(2));
                rows.iter().map(take).collect()
            }
            Self::MariaDb(connection) => {
                let rows = sqlx::query(query).fetch_all(connection).await?;
                let take = |row: &MySqlRow| ((row.get(0), row.get(1)), row.get(2));
                rows.iter().map(take).collect()
            }
        })
    }
}
