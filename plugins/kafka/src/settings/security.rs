use rdkafka::ClientConfig;
use rowtide_core::{
    Error, Result,
    settings::{Secret, Tls, Verify},
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Who the pipeline is to the brokers.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct Sasl {
    /// How the password is proved.
    mechanism: Mechanism,
    /// The name of the user.
    username: String,
    /// The password of the user.
    password: Secret,
}

/// How a password is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(inline)]
enum Mechanism {
    /// It is sent as it is: only for connections with TLS.
    #[serde(rename = "PLAIN")]
    Plain,
    /// It is not sent; by SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// It is not sent; by SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// How connections are made safe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Security<'a> {
    pub(crate) tls: Option<&'a Tls>,
    pub(crate) sasl: Option<&'a Sasl>,
}

impl Security<'_> {
    /// Checks that this build can do what is asked for, and that it fits together.
    ///
    /// # Errors
    /// `Config`, with the key.
    pub(crate) fn validate(self) -> Result<()> {
        if !cfg!(feature = "tls") {
            let asked = [("tls", self.tls.is_some()), ("sasl", self.sasl.is_some())];
            if let Some((key, _)) = asked.iter().find(|(_, is_there)| *is_there) {
                let error =
                    Error::config("this build has neither TLS nor SASL for Kafka").key(*key);
                return Err(error.help("build with `--features kafka-tls` (or `full`)"));
            }
        }
        if self.sasl.is_some_and(|sasl| sasl.username.is_empty()) {
            return Err(Error::config("expected the name of a user").key("sasl.username"));
        }
        let with_key = |error: Error| match error.setting() {
            Some(_) => error.under("tls"),
            None => error.key("tls"),
        };
        self.tls.map_or(Ok(()), Tls::validate).map_err(with_key)
    }

    /// Tells librdkafka.
    ///
    /// # Errors
    /// `Config`, if the password cannot be read.
    pub(crate) fn configure(self, client: &mut ClientConfig) -> Result<()> {
        let protocol = match (self.tls, self.sasl) {
            (None, None) => return Ok(()),
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        client.set("security.protocol", protocol);
        if let Some(tls) = self.tls {
            configure_tls(tls, client);
        }
        if let Some(Sasl { mechanism, username, password }) = self.sasl {
            let password = password.reveal().map_err(|error| error.key("sasl.password"))?;
            client.set("sasl.mechanism", mechanism.name());
            client.set("sasl.username", username).set("sasl.password", password);
        }
        Ok(())
    }
}

fn configure_tls(tls: &Tls, client: &mut ClientConfig) {
    // A vendored OpenSSL does not know where this system keeps the authorities it trusts.
    let ca = tls.ca.as_ref().map_or("probe".into(), |path| path.display().to_string());
    client.set("ssl.ca.location", ca);
    if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
        client.set("ssl.certificate.location", certificate.display().to_string());
        client.set("ssl.key.location", key.display().to_string());
    }
    let (signature, host) = match tls.verify {
        Verify::Full => ("true", "https"),
        Verify::Ca => ("true", "none"),
        Verify::None => ("false", "none"),
    };
    client.set("enable.ssl.certificate.verification", signature);
    client.set("ssl.endpoint.identification.algorithm", host);
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}
