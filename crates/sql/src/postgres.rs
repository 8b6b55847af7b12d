//! Connecting to PostgreSQL.

use std::time::Duration;

use rowtide_core::{
    Error, Result,
    settings::{Tls, Verify},
};
use sqlx::{
    ConnectOptions, Connection, Executor,
    postgres::{PgConnectOptions, PgConnection, PgSslMode},
};

use crate::{DatabaseUrl, Dialect, failure::refused, tls};

/// No statement of ours is to be ended by a limit that was meant for others, and a session whose
/// host is lost is ended, with the locks that it holds, some ten seconds later. Not in the start-up
/// message, which poolers refuse.
const SESSION: &str = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
                       SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; \
                       SET tcp_keepalives_count = 3";

/// The driver's options. Without `tls` it is up to the URL, or else encrypted where the server
/// can, and not checked.
///
/// # Errors
/// `Config`, if the URL is not of PostgreSQL, a parameter is wrong, or a file cannot be read.
pub fn options(url: &DatabaseUrl, tls: Option<&Tls>) -> Result<PgConnectOptions> {
    tls::choose_provider();
    let server = url.server(Dialect::Postgres)?;
    url.one_tls(tls)?;
    let options = PgConnectOptions::from_url(server).map_err(|error| {
        Error::config("a parameter of the URL is wrong").key("database").because(error)
    })?;
    // What is in brackets in a URL is not elsewhere.
    let host = options.get_host().trim_matches(['[', ']']).to_owned();
    let options = match options.get_application_name() {
        Some(_) => options.host(&host),
        None => options.host(&host).application_name("rowtide"),
    };
    // The driver would ask for a parameter that poolers refuse, and servers since 12 ignore.
    let options = options.extra_float_digits(None);
    match tls {
        Some(tls) => encrypted(options, tls),
        None => Ok(options),
    }
}

fn encrypted(options: PgConnectOptions, tls: &Tls) -> Result<PgConnectOptions> {
    tls::files(tls)?;
    let mut options = options.ssl_mode(match tls.verify {
        Verify::Full => PgSslMode::VerifyFull,
        Verify::Ca => PgSslMode::VerifyCa,
        Verify::None => PgSslMode::Require,
    });
    if let Some(ca) = &tls.ca {
        options = options.ssl_root_cert(ca);
    }
    if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
        options = options.ssl_client_cert(certificate).ssl_client_key(key);
    }
    Ok(options)
}

/// Connects, and makes the session ready for [`SESSION`](prepare).
///
/// # Errors
/// What [`failure`](crate::failure) makes of it; `Transient` if it takes longer than `timeout`.
pub async fn connect(options: &PgConnectOptions, timeout: Duration) -> Result<PgConnection> {
    let place = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let connected = tokio::time::timeout(timeout, async {
        let mut connection = PgConnection::connect_with(options).await?;
        prepare(&mut connection).await?;
        Ok(connection)
    });
    refused("PostgreSQL", &place, connected.await)
}

/// Makes a session ready: no time limits of statements, and keepalives by which the server notices
/// a lost client. For connections that come from a pool; [`connect`] has done it.
///
/// # Errors
/// The driver's.
pub async fn prepare(connection: &mut PgConnection) -> sqlx::Result<()> {
    connection.execute(SESSION).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rowtide_core::settings::Secret;

    use super::*;

    fn parsed(url: &str, tls: Option<&Tls>) -> Result<PgConnectOptions> {
        options(&DatabaseUrl::parse(&Secret::new(url)).unwrap(), tls)
    }

    #[test]
    fn the_url_becomes_options() {
        let options = parsed("postgres://u%40x:p@[::1]:5433/shop", None).unwrap();
        assert_eq!((options.get_host(), options.get_port()), ("::1", 5433));
        assert_eq!((options.get_username(), options.get_database()), ("u@x", Some("shop")));
        assert_eq!(options.get_application_name(), Some("rowtide"));
        let named = parsed("postgres://h/d?application_name=mine", None).unwrap();
        assert_eq!(named.get_application_name(), Some("mine"));
    }

    #[test]
    fn tls_is_a_mode() {
        for (verify, mode) in
            [(Verify::Full, "VerifyFull"), (Verify::Ca, "VerifyCa"), (Verify::None, "Require")]
        {
            let tls = Tls { verify, ..Tls::default() };
            let options = parsed("postgres://h/d", Some(&tls)).unwrap();
            assert_eq!(format!("{:?}", options.get_ssl_mode()), mode);
        }
        let options = parsed("postgres://h/d?sslmode=disable", None).unwrap();
        assert_eq!(format!("{:?}", options.get_ssl_mode()), "Disable");
    }

    #[test]
    fn a_file_that_is_not_there_is_named_with_its_key() {
        let tls = Tls { ca: Some(PathBuf::from("/no/ca.pem")), ..Tls::default() };
        let error = parsed("postgres://h/d", Some(&tls)).unwrap_err();
        assert_eq!(error.setting(), Some("tls.ca"));
        assert!(error.message().contains("/no/ca.pem"));
    }

    #[test]
    fn a_wrong_parameter_is_config() {
        let error = parsed("postgres://h/d?sslmode=maybe", None).unwrap_err();
        assert_eq!(error.setting(), Some("database"));
        assert!(error.to_string().contains("maybe"), "{error}");
    }
}
