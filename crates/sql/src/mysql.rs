//! Connecting to MySQL and MariaDB.

use std::time::Duration;

use rowtide_core::{
    Error, Result,
    settings::{Tls, Verify},
};
use sqlx::{
    ConnectOptions, Connection, Executor,
    mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode},
};

use crate::{DatabaseUrl, Dialect, failure::refused, tls};

/// Each statement is its own transaction unless one is begun, whatever the server's default is, and
/// none is ended by a limit that was meant for others. MySQL and MariaDB name that limit
/// differently; each takes the other's for a comment.
const SESSION: &str = "SET SESSION autocommit = 1, SESSION wait_timeout = 31536000 \
                       /*!50708 , SESSION max_execution_time = 0 */ \
                       /*M!100101 , SESSION max_statement_time = 0 */";

/// The driver's options. Without `tls` it is up to the URL, or else encrypted where the server
/// can, and not checked.
///
/// # Errors
/// `Config`, if the URL is not of MySQL, a parameter is wrong, or a file cannot be read.
pub fn options(url: &DatabaseUrl, tls: Option<&Tls>) -> Result<MySqlConnectOptions> {
    let server = url.server(Dialect::MySql)?;
    url.one_tls(tls)?;
    let options = MySqlConnectOptions::from_url(server).map_err(|error| {
        Error::config("a parameter of the URL is wrong").key("database").because(error)
    })?;
    // What is in brackets in a URL is not elsewhere.
    let host = options.get_host().trim_matches(['[', ']']).to_owned();
    let options = options.host(&host);
    match tls {
        Some(tls) => encrypted(options, tls),
        None => Ok(options),
    }
}

fn encrypted(options: MySqlConnectOptions, tls: &Tls) -> Result<MySqlConnectOptions> {
    tls::files(tls)?;
    let mut options = options.ssl_mode(match tls.verify {
        Verify::Full => MySqlSslMode::VerifyIdentity,
        Verify::Ca => MySqlSslMode::VerifyCa,
        Verify::None => MySqlSslMode::Required,
    });
    if let Some(ca) = &tls.ca {
        options = options.ssl_ca(ca);
    }
    if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
        options = options.ssl_client_cert(certificate).ssl_client_key(key);
    }
    Ok(options)
}

/// Connects, and makes the session ready as [`prepare`] does.
///
/// # Errors
/// What [`failure`](crate::failure) makes of it; `Transient` if it takes longer than `timeout`.
pub async fn connect(options: &MySqlConnectOptions, timeout: Duration) -> Result<MySqlConnection> {
    tls::choose_provider();
    let place = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let connected = tokio::time::timeout(timeout, async {
        let mut connection = MySqlConnection::connect_with(options).await?;
        prepare(&mut connection).await?;
        Ok(connection)
    });
    refused("MySQL", &place, connected.await)
}

/// Makes a session ready: no time limits, and each statement its own transaction. For connections
/// that come from a pool; [`connect`] has done it.
///
/// # Errors
/// The driver's.
pub async fn prepare(connection: &mut MySqlConnection) -> sqlx::Result<()> {
    connection.execute(SESSION).await.map(drop)
}

#[cfg(test)]
mod tests {
    use rowtide_core::settings::Secret;

    use super::*;

    fn parsed(url: &str, tls: Option<&Tls>) -> Result<MySqlConnectOptions> {
        options(&DatabaseUrl::parse(&Secret::new(url)).unwrap(), tls)
    }

    #[test]
    fn the_url_becomes_options() {
        for scheme in ["mysql", "mariadb"] {
            let options = parsed(&format!("{scheme}://u:p@[::1]:3307/shop"), None).unwrap();
            assert_eq!((options.get_host(), options.get_port()), ("::1", 3307));
            assert_eq!((options.get_username(), options.get_database()), ("u", Some("shop")));
        }
    }

    #[test]
    fn tls_is_a_mode() {
        for (verify, mode) in
            [(Verify::Full, "VerifyIdentity"), (Verify::Ca, "VerifyCa"), (Verify::None, "Required")]
        {
            let tls = Tls { verify, ..Tls::default() };
            let options = parsed("mysql://h/d", Some(&tls)).unwrap();
            assert_eq!(format!("{:?}", options.get_ssl_mode()), mode);
        }
    }

    #[test]
    fn another_database_is_refused() {
        let error = parsed("postgres://h/d", None).unwrap_err();
        assert_eq!(error.message(), "this is for MySQL, not for PostgreSQL");
    }
}
