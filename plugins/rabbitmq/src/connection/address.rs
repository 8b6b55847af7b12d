use lapin::uri::{AMQPScheme, AMQPUri};
use rowtide_core::{Error, Result, settings::Secret};

/// A short string of the protocol has one byte for its length.
const VIRTUAL_HOST_BYTES_MAX: usize = 255;

const HELP: &str = "write `amqp://user:password@host:port/vhost` (`amqps://…` for TLS); in a name \
                    or password, `@ : / ? # %` and blanks are percent-encoded (`@` is `%40`)";

/// The setting `url`, read.
///
/// There is no `Debug`, since the password is in it.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) uri: AMQPUri,
}

impl Address {
    /// Reads the setting, and the file that it may be in.
    ///
    /// # Errors
    /// `Config`, about the key `url`, without showing the text.
    pub(crate) fn reveal(url: &Secret) -> Result<Self> {
        let text = url.reveal().map_err(|error| error.key("url"))?;
        Self::parse(text.trim()).map_err(|error| error.key("url"))
    }

    /// As [`reveal`](Self::reveal), if the setting is not in a file, which is not looked at.
    pub(crate) fn check(url: &Secret) -> Result<Option<Self>> {
        let parse = |text: &str| Self::parse(text.trim()).map_err(|error| error.key("url"));
        url.inline().map(parse).transpose()
    }

    fn parse(text: &str) -> Result<Self> {
        let invalid = |message: &str| Error::config(message).help(HELP);
        if text.contains(['?', '#']) {
            let error = "the URL has parameters, which are keys of their own here";
            return Err(invalid(error).help("set `heartbeat`, `connect_timeout`, `tls` and so on"));
        }
        // What the parser complains of would be shown with the password in it.
        let mut uri: AMQPUri = text.parse().map_err(|_: String| invalid("not an AMQP URL"))?;
        uri.authority.host = host(text).ok_or_else(|| invalid("the URL names no host"))?.to_owned();
        if uri.vhost.is_empty() {
            uri.vhost = "/".to_owned();
        }
        if uri.vhost.len() > VIRTUAL_HOST_BYTES_MAX {
            return Err(invalid("the name of the virtual host is longer than 255 bytes"));
        }
        Ok(Self { uri })
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS
    }

    /// What may be shown.
    pub(crate) fn server(&self) -> String {
        let AMQPUri { authority, .. } = &self.uri;
        match authority.host.contains(':') {
            true => format!("[{}]:{}", authority.host, authority.port),
            false => format!("{}:{}", authority.host, authority.port),
        }
    }
}

/// The host as it stands in `url`; the parser takes an IPv6 address for no host, and that for
/// `localhost`.
fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    let place = authority.rsplit('@').next()?;
    let host = match place.strip_prefix('[') {
        Some(address) => address.split(']').next()?,
        None => place.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, server: &str, vhost: &str) {
        let address = Address::reveal(&Secret::new(url)).unwrap();
        assert_eq!(address.server(), server);
        assert_eq!(address.uri.vhost, vhost);
    }

    #[test]
    fn a_url_names_a_server_and_a_virtual_host() {
        check("amqp://broker", "broker:5672", "/");
        check("amqp://broker/", "broker:5672", "/");
        check("amqps://broker/%2f", "broker:5671", "/");
        check("amqp://u:p@10.0.0.1:5673/shop", "10.0.0.1:5673", "shop");
        check("amqp://u:p@[::1]:5673/a%20b", "[::1]:5673", "a b");
        check("amqp://[::1]", "[::1]:5672", "/");
    }

    #[test]
    fn a_url_that_cannot_be_read_is_not_shown() {
        for url in ["http://u:hush@h", "amqp:hush", "amqp://u:hush@h:x", "amqp://u:hush@h?x=1"] {
            let Err(error) = Address::reveal(&Secret::new(url)) else { panic!("{url}") };
            assert_eq!(error.setting(), Some("url"), "{url}");
            assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
        }
    }
}
