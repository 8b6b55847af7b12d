use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How a connection is encrypted, as in `tls = { ca = "ca.pem" }`. An empty table means the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// What of the server's certificate is checked.
    pub verify: Verify,
    /// File with the certificates (PEM) of the authorities to trust. Unset, those that are trusted
    /// everywhere.
    pub ca: Option<PathBuf>,
    /// File with the client's own certificate (PEM), followed by those in between.
    pub certificate: Option<PathBuf>,
    /// File with the private key (PEM) of `certificate`.
    pub key: Option<PathBuf>,
}

/// What of a server's certificate is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Verify {
    /// That a trusted authority signed it, and that it is this host's.
    #[default]
    Full,
    /// That a trusted authority signed it.
    Ca,
    /// Nothing: whoever is in between can read and change everything.
    None,
}

impl Tls {
    /// Checks that the settings fit together; reads no file.
    ///
    /// # Errors
    /// `Config`, if one of `certificate` and `key` is without the other, or if `ca` is given and
    /// nothing is checked against it.
    pub fn validate(&self) -> Result<()> {
        match (&self.certificate, &self.key) {
            (Some(_), None) => {
                return Err(Error::config("a certificate is of no use without its key").key("key"));
            }
            (None, Some(_)) => {
                let message = "a key is of no use without its certificate";
                return Err(Error::config(message).key("certificate"));
            }
            _ => {}
        }
        if self.ca.is_some() && self.verify == Verify::None {
            let message = "nothing is checked against these authorities: `verify` is `none`";
            return Err(Error::config(message).key("ca"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tls: Tls) -> Option<String> {
        tls.validate().err().map(|error| error.message().to_owned())
    }

    #[test]
    fn a_certificate_and_its_key_come_together() {
        let certificate = Some(PathBuf::from("own.pem"));
        let key = Some(PathBuf::from("own.key"));
        assert!(check(Tls { certificate: certificate.clone(), ..Tls::default() }).is_some());
        assert!(check(Tls { key: key.clone(), ..Tls::default() }).is_some());
        assert_eq!(check(Tls { certificate, key, ..Tls::default() }), None);
    }

    #[test]
    fn authorities_that_nothing_is_checked_against_are_refused() {
        let ca = Some(PathBuf::from("ca.pem"));
        assert!(check(Tls { ca: ca.clone(), verify: Verify::None, ..Tls::default() }).is_some());
        assert_eq!(check(Tls { ca, verify: Verify::Ca, ..Tls::default() }), None);
        assert_eq!(check(Tls::default()), None);
    }
}
