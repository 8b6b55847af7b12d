//! What `tls` checks, on servers with a certificate of an authority of our own.

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use rowtide_core::{
    ErrorKind, Result,
    settings::{Secret, Tls, Verify},
};
use rowtide_servers::{Kind, Server, trials};
use rowtide_sql::{DatabaseUrl, mysql, postgres};
use sqlx::Row;
use tempfile::TempDir;

type Outcome = Result<(), Box<dyn Error>>;

const TIMEOUT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    trials::main(
        &[Kind::Postgres, Kind::MariaDb],
        rowtide_servers::trials![postgres_is_checked_as_told, mysql_is_checked_as_told],
    )
}

fn postgres_is_checked_as_told() -> Outcome {
    let certificates = Certificates::new("postgres")?;
    let setting = |name: &str, file: &str| format!("{name}={}", certificates.path(file).display());
    let server = Server::start_with(
        Kind::Postgres,
        &[
            "-c",
            "ssl=on",
            "-c",
            &setting("ssl_cert_file", "server.pem"),
            "-c",
            &setting("ssl_key_file", "server.key"),
            "-c",
            &setting("ssl_ca_file", "ca.pem"),
        ],
    )?;
    let url = server.variable("ROWTIDE_POSTGRES_URL")?;
    judge(url, &certificates, |url, tls| Box::pin(postgres_session(url, tls)))
}

fn mysql_is_checked_as_told() -> Outcome {
    let certificates = Certificates::new("mysql")?;
    let option = |name: &str, file: &str| format!("--{name}={}", certificates.path(file).display());
    let server = Server::start_with(
        Kind::MariaDb,
        &[
            &option("ssl-cert", "server.pem"),
            &option("ssl-key", "server.key"),
            &option("ssl-ca", "ca.pem"),
        ],
    )?;
    let url = server.variable("ROWTIDE_MYSQL_URL")?;
    judge(url, &certificates, |url, tls| Box::pin(mysql_session(url, tls)))
}

type Session<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Encrypted>> + 'a>>;

/// Whether a session is encrypted, as the server sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Encrypted {
    Yes,
    No,
}

impl From<bool> for Encrypted {
    fn from(value: bool) -> Self {
        if value { Encrypted::Yes } else { Encrypted::No }
    }
}

async fn postgres_session(url: &str, tls: Option<&Tls>) -> Result<Encrypted> {
    let options = postgres::options(&DatabaseUrl::parse(&Secret::new(url))?, tls)?;
    let mut connection = postgres::connect(&options, TIMEOUT).await?;
    let select = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let row = sqlx::query(select).fetch_one(&mut connection).await;
    row.map(|row| row.get::<bool, _>(0).into())
        .map_err(|error| rowtide_sql::failure("failed to ask PostgreSQL", error))
}

async fn mysql_session(url: &str, tls: Option<&Tls>) -> Result<Encrypted> {
    let options = mysql::options(&DatabaseUrl::parse(&Secret::new(url))?, tls)?;
    let mut connection = mysql::connect(&options, TIMEOUT).await?;
    let row = sqlx::query("SHOW STATUS LIKE 'Ssl_cipher'").fetch_one(&mut connection).await;
    row.map(|row| (!row.get::<String, _>(1).is_empty()).into())
        .map_err(|error| rowtide_sql::failure("failed to ask MySQL", error))
}

fn judge(
    url: &str,
    certificates: &Certificates,
    session: impl for<'a> Fn(&'a str, Option<&'a Tls>) -> Session<'a>,
) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The certificate is of 127.0.0.1 and not of `localhost`.
    let elsewhere = url.replace("127.0.0.1", "localhost");
    let tls = |verify, ca: Option<&str>| Tls {
        verify,
        ca: ca.map(|file| certificates.path(file)),
        ..Tls::default()
    };
    let own = Tls {
        certificate: Some(certificates.path("client.pem")),
        key: Some(certificates.path("client.key")),
        ..tls(Verify::Full, Some("ca.pem"))
    };
    assert_eq!(runtime.block_on(session(url, None))?, Encrypted::Yes, "not where it can be");
    for (url, tls) in [
        (url, tls(Verify::Full, Some("ca.pem"))),
        (url, own),
        (&elsewhere, tls(Verify::Ca, Some("ca.pem"))),
        (&elsewhere, tls(Verify::None, None)),
    ] {
        let session = runtime.block_on(session(url, Some(&tls)));
        assert_eq!(session.map_err(|error| format!("{tls:?}: {error}"))?, Encrypted::Yes);
    }
    for (url, tls) in [
        (&*elsewhere, tls(Verify::Full, Some("ca.pem"))),
        (url, tls(Verify::Full, Some("other.pem"))),
        (url, tls(Verify::Ca, Some("other.pem"))),
        (url, tls(Verify::Full, None)),
    ] {
        let error = runtime.block_on(session(url, Some(&tls))).err();
        let error = error.ok_or_else(|| format!("{tls:?} let it in"))?;
        assert_eq!(error.kind(), &ErrorKind::Config, "{tls:?}: {error}");
        assert_eq!(error.setting(), Some("tls"), "{tls:?}: {error}");
    }
    Ok(())
}

/// An authority, certificates of it for the server and a client, and another authority.
struct Certificates(TempDir);

impl Certificates {
    fn new(user: &str) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::Builder::new().prefix("rowtide-tls").tempdir()?;
        let own = Self(folder);
        for name in ["ca", "other"] {
            own.openssl(&format!(
                "req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.pem -days 2 \
                 -subj /CN={name}"
            ))?;
        }
        std::fs::write(own.path("names"), "subjectAltName = IP:127.0.0.1\n")?;
        for name in ["server", "client"] {
            own.openssl(&format!(
                "req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
            ))?;
            own.openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
                 -extfile names -out {name}.pem"
            ))?;
        }
        // Where the server is a user of its own, that one must be let in, and own its key.
        let mut open = Command::new("chmod");
        open.arg("755").arg(own.0.path()).status()?;
        let mut own_key = Command::new("chown");
        own_key.arg(user).arg(own.path("server.key")).stderr(Stdio::null()).status()?;
        Ok(own)
    }

    fn path(&self, file: &str) -> PathBuf {
        Path::new(self.0.path()).join(file)
    }

    fn openssl(&self, arguments: &str) -> Outcome {
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace()).current_dir(self.0.path());
        let output = command.output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into())
    }
}
