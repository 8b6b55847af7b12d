use std::path::PathBuf;

use rowtide_core::{
    Error, Result,
    settings::{Tls, Verify},
};
use tokio_postgres::config::{Host, SslMode};

use super::encryption::Encryption;

const HELP: &str = "write `postgresql://user:password@host:26257/database`; in a name or password, \
                    `@ : / ? # %` and blanks are percent-encoded (`@` is `%40`)";

/// The `database` setting, with what libpq knows and the driver does not taken out of it.
pub(super) struct DatabaseUrl {
    pub(super) config: tokio_postgres::Config,
    /// For messages: `host:26257/shop`.
    pub(super) place: String,
    ssl: Vec<(String, String)>,
}

impl DatabaseUrl {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if !text.starts_with("postgresql://") && !text.starts_with("postgres://") {
            return Err(Error::config("not the URL of a CockroachDB database").help(HELP));
        }
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let (ssl, rest): (Vec<_>, Vec<_>) = pairs.partition(|pair| pair.starts_with("ssl"));
        let remaining =
            if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
        // What the driver says of it may hold a part of the password.
        let malformed = |_| Error::config("not the URL of a CockroachDB database").help(HELP);
        let config: tokio_postgres::Config = remaining.parse().map_err(malformed)?;
        let split = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), decoded(value))
        };
        Ok(Self { place: place(&config), config, ssl: ssl.into_iter().map(split).collect() })
    }

    /// What the URL and the table `tls` say of encryption, of which one may.
    pub(super) fn encryption(&self, tls: Option<&Tls>) -> Result<Encryption> {
        match (tls, self.ssl.first()) {
            (Some(_), Some((name, _))) => {
                let message = format!("the URL of the database has `{name}` already");
                Err(Error::config(message).key("tls").help("say it in one of the two places"))
            }
            (Some(tls), None) => Ok(Encryption { mode: SslMode::Require, tls: tls.clone() }),
            (None, _) => self.of_parameters().map_err(|error| error.key("database")),
        }
    }

    /// What libpq makes of `sslmode`, `sslrootcert`, `sslcert` and `sslkey`.
    fn of_parameters(&self) -> Result<Encryption> {
        let mut tls = Tls { verify: Verify::None, ..Tls::default() };
        let mut mode = "prefer";
        for (name, value) in &self.ssl {
            match name.as_str() {
                "sslmode" => mode = value,
                "sslrootcert" if value == "system" => tls.verify = Verify::Full,
                "sslrootcert" => tls.ca = Some(PathBuf::from(value)),
                "sslcert" => tls.certificate = Some(PathBuf::from(value)),
                "sslkey" => tls.key = Some(PathBuf::from(value)),
                _ => {
                    return Err(Error::config(format!(
                        "the URL has an unknown parameter `{name}`"
                    )));
                }
            }
        }
        let mode = match mode {
            "disable" => SslMode::Disable,
            "allow" | "prefer" => SslMode::Prefer,
            // With an authority at hand, libpq checks that it signed.
            "require" if tls.ca.is_some() => {
                tls.verify = Verify::Ca;
                SslMode::Require
            }
            "require" => SslMode::Require,
            "verify-ca" => {
                tls.verify = Verify::Ca;
                SslMode::Require
            }
            "verify-full" => {
                tls.verify = Verify::Full;
                SslMode::Require
            }
            other => return Err(Error::config(format!("`{other}` is no `sslmode`"))),
        };
        if tls.verify == Verify::None {
            // Nothing is checked against them.
            tls.ca = None;
        }
        Ok(Encryption { mode, tls })
    }
}

fn place(config: &tokio_postgres::Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".to_owned(),
    };
    let port = config.get_ports().first().map_or(5432, |port| *port);
    format!("{host}:{port}/{}", config.get_dbname().unwrap_or_default())
}

/// `%2F` is a slash.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, mode: SslMode, verify: Verify) -> Tls {
        let url = DatabaseUrl::parse(&format!("postgresql://u:p@h:1/d?{query}")).unwrap();
        let found = url.encryption(None).unwrap();
        assert_eq!((found.mode, found.tls.verify), (mode, verify), "{query}");
        found.tls
    }

    #[test]
    fn sslmode_means_what_libpq_makes_of_it() {
        check("", SslMode::Prefer, Verify::None);
        check("sslmode=disable", SslMode::Disable, Verify::None);
        check("sslmode=require", SslMode::Require, Verify::None);
        check("sslmode=require&sslrootcert=ca.pem", SslMode::Require, Verify::Ca);
        check("sslmode=verify-ca", SslMode::Require, Verify::Ca);
        let tls = check(
            "options=--cluster%3Dx&sslmode=verify-full&sslrootcert=certs%2Fca.pem&sslcert=a&sslkey=b",
            SslMode::Require,
            Verify::Full,
        );
        assert_eq!(tls.ca, Some(PathBuf::from("certs/ca.pem")));
        assert_eq!(tls.key, Some(PathBuf::from("b")));
    }

    #[test]
    fn a_message_names_the_place_and_neither_user_nor_password() {
        let url = DatabaseUrl::parse("postgresql://u:secret@db.internal:26257/shop").unwrap();
        assert_eq!(url.place, "db.internal:26257/shop");
        let Err(error) = DatabaseUrl::parse("postgresql://u:secret@h:port/d") else { panic!() };
        assert!(!format!("{error:?}").contains("secret"));
    }
}
