use std::{
    fmt,
    path::{Path, PathBuf},
};

use rowtide_core::{
    Error, Result,
    settings::{Secret, Tls, closest},
};
use url::Url;

use crate::Dialect;

/// The `database` setting: `postgres://user:password@host:port/database`, `mysql://…`, `sqlite:…`.
///
/// Neither `Debug` nor `Display` shows the user or the password; errors do not either.
#[derive(Clone)]
pub struct DatabaseUrl {
    dialect: Dialect,
    address: Address,
}

#[derive(Clone)]
enum Address {
    Server(Box<Url>),
    File(PathBuf),
}

const HELP: &str = "write `postgres://user:password@host:port/database`, `mysql://…` or \
                    `sqlite:path`; in a name or password, `@ : / ? # %` and blanks are \
                    percent-encoded (`@` is `%40`)";

const POSTGRES: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

const MYSQL: &[&str] = &[
    "charset",
    "collation",
    "socket",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "statement-cache-capacity",
    "timezone",
];

impl DatabaseUrl {
    /// Parses the setting, and reads the file that it may be in.
    ///
    /// # Errors
    /// `Config`, about the key `database`.
    pub fn parse(database: &Secret) -> Result<Self> {
        let text = database.reveal().map_err(|error| error.key("database"))?;
        parse(text.trim()).map_err(|error| error.key("database"))
    }

    /// Checks the setting and the `tls` beside it without any I/O, for `validate`. What is in a
    /// file is not looked at.
    ///
    /// # Errors
    /// `Config`, about the key `database` or one in `tls`.
    pub fn check(database: &Secret, tls: Option<&Tls>, dialects: &[Dialect]) -> Result<()> {
        if let Some(tls) = tls {
            tls.validate().map_err(|error| error.under("tls"))?;
        }
        let Some(text) = database.inline() else { return Ok(()) };
        let url = parse(text.trim()).map_err(|error| error.key("database"))?;
        url.require(dialects)?;
        url.one_tls(tls)
    }

    /// Refuses a database that a plugin is not for.
    ///
    /// # Errors
    /// `Config`, about the key `database`.
    pub fn require(&self, dialects: &[Dialect]) -> Result<()> {
        if dialects.contains(&self.dialect) {
            return Ok(());
        }
        let names: Vec<_> = dialects.iter().map(Dialect::to_string).collect();
        let message = format!("this is for {}, not for {}", names.join(" or "), self.dialect);
        Err(Error::config(message).key("database"))
    }

    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The file, of a SQLite database.
    pub fn path(&self) -> Option<&Path> {
        match &self.address {
            Address::File(path) => Some(path),
            Address::Server(_) => None,
        }
    }

    pub(crate) fn server(&self, dialect: Dialect) -> Result<&Url> {
        self.require(&[dialect])?;
        match &self.address {
            Address::Server(url) => Ok(url),
            Address::File(_) => Err(Error::config("not a server").key("database")),
        }
    }

    /// Refuses `tls` beside what the URL says of the same: one of them would be ignored.
    pub(crate) fn one_tls(&self, tls: Option<&Tls>) -> Result<()> {
        let (Some(_), Address::Server(url)) = (tls, &self.address) else { return Ok(()) };
        match url.query_pairs().find(|(key, _)| key.starts_with("ssl")) {
            Some((key, _)) => {
                let message = format!("the URL of the database has `{key}` already");
                Err(Error::config(message).key("tls").help("say it in one of the two places"))
            }
            None => Ok(()),
        }
    }
}

fn parse(text: &str) -> Result<DatabaseUrl> {
    let malformed = || Error::config("not the URL of a database").help(HELP);
    let (scheme, rest) = text.split_once(':').ok_or_else(malformed)?;
    let dialect = Dialect::of_scheme(scheme).ok_or_else(malformed)?;
    let address = match dialect {
        Dialect::Sqlite => Address::File(file(rest).ok_or_else(malformed)?),
        Dialect::Postgres => Address::Server(Box::new(server(text, POSTGRES)?)),
        Dialect::MySql => Address::Server(Box::new(server(text, MYSQL)?)),
    };
    Ok(DatabaseUrl { dialect, address })
}

/// What is beyond the path could only be a parameter that means nothing here.
fn file(rest: &str) -> Option<PathBuf> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    (!path.is_empty() && !path.contains('?')).then(|| PathBuf::from(path))
}

fn server(text: &str, parameters: &[&str]) -> Result<Url> {
    let url = Url::parse(text)
        .map_err(|error| Error::config("not the URL of a database").help(HELP).because(error))?;
    let host = url.host_str().unwrap_or_default();
    if url.cannot_be_a_base() || url.fragment().is_some() {
        return Err(Error::config("not the URL of a database server").help(HELP));
    }
    if host.contains(',') {
        return Err(Error::config("the URL names several hosts").help("name one of them"));
    }
    for (key, _) in url.query_pairs() {
        check_parameter(&key, parameters)?;
    }
    Ok(url)
}

/// The driver ignores what it does not know, and logs it with its value.
fn check_parameter(key: &str, parameters: &[&str]) -> Result<()> {
    if parameters.contains(&key) || key.starts_with("options[") {
        return Ok(());
    }
    // What stands behind a `?` in a password that was not encoded is no name of a parameter.
    let is_plain = |one: char| one.is_ascii_alphanumeric() || matches!(one, '_' | '-');
    if !key.chars().all(is_plain) {
        return Err(Error::config("the URL has an unknown parameter").help(HELP));
    }
    let help = match closest(key, parameters) {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("known are {}", parameters.join(", ")),
    };
    Err(Error::config(format!("the URL has an unknown parameter `{key}`")).help(help))
}

/// Where the database is, for messages: `db.internal:5432/shop`.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::File(path) => write!(formatter, "{}", path.display()),
            Address::Server(url) => {
                formatter.write_str(url.host_str().unwrap_or("localhost"))?;
                if let Some(port) = url.port() {
                    write!(formatter, ":{port}")?;
                }
                formatter.write_str(url.path())
            }
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DatabaseUrl({} at {self})", self.dialect)
    }
}

#[cfg(test)]
mod tests {
    use rowtide_core::settings::Settings;

    use super::*;

    fn error(text: &str) -> Error {
        let error = DatabaseUrl::parse(&Secret::new(text)).unwrap_err();
        assert_eq!(error.setting(), Some("database"), "{text}");
        error
    }

    #[test]
    fn a_url_tells_its_dialect_and_place() {
        for (text, dialect, place) in [
            ("postgres://u:hush@db:5433/shop", Dialect::Postgres, "db:5433/shop"),
            ("postgresql://u@[::1]/shop?sslmode=disable", Dialect::Postgres, "[::1]/shop"),
            ("mysql://u:hush@db/shop", Dialect::MySql, "db/shop"),
            ("mariadb://u:hush@db/shop", Dialect::MySql, "db/shop"),
            ("sqlite:shop.db", Dialect::Sqlite, "shop.db"),
            ("sqlite:///var/shop.db", Dialect::Sqlite, "/var/shop.db"),
        ] {
            let url = DatabaseUrl::parse(&Secret::new(text)).unwrap();
            assert_eq!((url.dialect(), url.to_string().as_str()), (dialect, place));
            assert!(!format!("{url:?}").contains("hush"));
        }
    }

    #[test]
    fn no_error_shows_a_password() {
        for text in [
            "hush",
            "oracle://u:hush@db/shop",
            "postgres:hush",
            "postgres://u:hush@db:port/shop",
            "postgres://u:1?hush@db/shop",
            "postgres://u:1#hush@db/shop",
            "postgres://u:hush@a,b/shop",
            "mysql://u@db/shop?passwort=hush",
            "mysql://u@db/shop?hush%20=1",
            "sqlite:?hush",
        ] {
            let error = error(text);
            let told = format!("{error} {error:?}");
            assert!(!told.contains("hush"), "{text}: {told}");
            assert!(error.remedy().is_some(), "{text}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_refused() {
        let error = error("postgres://db/shop?ssl_mode=require");
        assert_eq!(error.remedy(), Some("did you mean `sslmode`?"));
    }

    #[test]
    fn a_secret_file_is_read_when_parsed_and_not_when_checked() {
        let path = Settings::Text("/no/such/file".to_owned());
        let absent = Settings::Table(vec![("file".to_owned(), path)]).parse().unwrap();
        assert!(DatabaseUrl::check(&absent, None, &[Dialect::MySql]).is_ok());
        let error = DatabaseUrl::parse(&absent).unwrap_err();
        assert_eq!(error.setting(), Some("database"));
    }

    #[test]
    fn what_is_said_twice_or_to_the_wrong_database_is_refused() {
        let url = Secret::new("postgres://db/shop?sslmode=require");
        let check = |tls: Option<&Tls>, dialect| {
            let error = DatabaseUrl::check(&url, tls, &[dialect]).err()?;
            error.setting().map(str::to_owned)
        };
        assert_eq!(check(None, Dialect::Postgres), None);
        assert_eq!(check(Some(&Tls::default()), Dialect::Postgres), Some("tls".to_owned()));
        assert_eq!(check(None, Dialect::MySql), Some("database".to_owned()));
    }
}
