use std::io;

use rowtide_core::{Error, ErrorKind, Result};
use sqlx::{error::DatabaseError, mysql::MySqlDatabaseError, postgres::PgDatabaseError};
use tokio::time::error::Elapsed;

mod mysql;
mod postgres;
mod sqlite;

/// What a database refused, by what can be done about it.
pub(crate) struct Refusal {
    pub(crate) kind: ErrorKind,
    pub(crate) help: Option<&'static str>,
    /// Without the value of any row.
    pub(crate) cause: String,
}

/// Tells what the engine is to do about what the driver says; `doing` is what failed, as a
/// lower-case fragment that names the table or the server.
///
/// Connections that are refused or cut, servers that shut down, too many connections, deadlocks and
/// the like are `Transient`; what a user must put right is `Config`; the rest is `Fatal`. Messages
/// of servers that can carry a row's values are replaced by their code.
pub fn failure(doing: impl Into<String>, error: sqlx::Error) -> Error {
    let doing = doing.into();
    match error {
        sqlx::Error::Database(error) => {
            let refusal = refusal(error.as_ref());
            let told = of_kind(refusal.kind, doing).because(refusal.cause);
            match refusal.help {
                Some(help) => told.help(help),
                None => told,
            }
        }
        // The driver wraps a certificate that is not trusted into an error of this kind.
        sqlx::Error::Io(error) if is_disagreement(&error) => {
            Error::config(doing).key("tls").help(TLS_HELP).because(error)
        }
        sqlx::Error::Tls(error) => Error::config(doing).key("tls").help(TLS_HELP).because(error),
        sqlx::Error::Configuration(error) => Error::config(doing).key("database").because(error),
        sqlx::Error::Io(error) => Error::transient(doing).because(error),
        // A connection that ends in the midst of a message is told as a protocol error. The
        // driver's messages end with those of their causes already.
        error @ (sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed) => Error::transient(doing).because(error.to_string()),
        other => Error::fatal(doing).because(other.to_string()),
    }
}

/// Whether the two ends cannot agree on encryption. What one says of a handshake that was cut in
/// the midst is none: the next one may come to its end.
fn is_disagreement(error: &io::Error) -> bool {
    use rustls::{AlertDescription as Alert, Error as Tls};
    let told = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>());
    let is_cut = matches!(
        told,
        Some(
            Tls::InvalidMessage(_)
                | Tls::PeerMisbehaved(_)
                | Tls::DecryptError
                | Tls::AlertReceived(
                    Alert::DecodeError
                        | Alert::UnexpectedMessage
                        | Alert::BadRecordMac
                        | Alert::InternalError
                        | Alert::UserCanceled
                        | Alert::CloseNotify
                )
        )
    );
    error.kind() == io::ErrorKind::InvalidData && !is_cut
}

/// Whether the database says that a table is not there, or the schema that it would be in.
pub fn is_missing_table(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
        return error.code() == "42P01";
    }
    if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        return error.number() == 1146;
    }
    error.message().starts_with("no such table")
}

const TLS_HELP: &str = "`tls.ca` names the authority that signed the server's certificate, and the \
                        host must be as the certificate has it; without `tls` nothing is checked";

/// The outcome of connecting, with the server in the message.
pub(crate) fn refused<C>(
    system: &str,
    place: &str,
    connected: Result<sqlx::Result<C>, Elapsed>,
) -> Result<C> {
    let doing = format!("failed to connect to {system} at {place}");
    match connected {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(failure(doing, error)),
        Err(_) => Err(Error::transient(format!("{doing}: it does not answer"))),
    }
}

fn refusal(error: &dyn DatabaseError) -> Refusal {
    if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
        return postgres::refusal(error.code(), error.message());
    }
    if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        return mysql::refusal(error.number(), error.code().unwrap_or_default(), error.message());
    }
    let code = error.code().and_then(|code| code.parse().ok()).unwrap_or_default();
    sqlite::refusal(code, error.message())
}

fn of_kind(kind: ErrorKind, message: String) -> Error {
    match kind {
        ErrorKind::Config => Error::config(message),
        ErrorKind::Transient => Error::transient(message),
        _ => Error::fatal(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let refused = sqlx::Error::Io(io::Error::other("refused"));
        assert_eq!(failure("failed", refused).to_string(), "failed: refused");
        let undecoded = failure("failed", sqlx::Error::Decode("cut".into())).to_string();
        assert_eq!(undecoded.matches("cut").count(), 1, "{undecoded}");
    }

    #[test]
    fn what_the_driver_says_is_told_apart() {
        let tls = |error: rustls::Error| {
            sqlx::Error::Io(io::Error::new(io::ErrorKind::InvalidData, error))
        };
        let alert = rustls::Error::AlertReceived;
        for (error, kind) in [
            (tls(rustls::CertificateError::UnknownIssuer.into()), ErrorKind::Config),
            (tls(alert(rustls::AlertDescription::UnknownCA)), ErrorKind::Config),
            (tls(alert(rustls::AlertDescription::DecodeError)), ErrorKind::Transient),
            (tls(rustls::Error::DecryptError), ErrorKind::Transient),
            (sqlx::Error::Io(io::ErrorKind::ConnectionRefused.into()), ErrorKind::Transient),
            (sqlx::Error::Io(io::ErrorKind::UnexpectedEof.into()), ErrorKind::Transient),
            (sqlx::Error::Io(io::ErrorKind::InvalidData.into()), ErrorKind::Config),
            (sqlx::Error::Tls("server does not support TLS".into()), ErrorKind::Config),
            (sqlx::Error::Configuration("x".into()), ErrorKind::Config),
            (sqlx::Error::PoolTimedOut, ErrorKind::Transient),
            (sqlx::Error::Protocol("unexpected message".into()), ErrorKind::Transient),
            (sqlx::Error::RowNotFound, ErrorKind::Fatal),
        ] {
            assert_eq!(failure("failed to read `t`", error).kind(), &kind);
        }
    }
}
