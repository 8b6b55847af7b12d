//! Connections with TLS and a password.

#![expect(clippy::unwrap_used, reason = "what is missing fails the test")]

mod broker;

use std::process::ExitCode;

use broker::run;
use rowtide_core::{ErrorKind, Result};
use rowtide_kafka as _;
use rowtide_servers::{Kind, trials};
use serde_json::json;

fn main() -> ExitCode {
    #[cfg(feature = "tls")]
    let tests = trials![a_user_is_known_by_each_mechanism_and_nobody_else_is];
    #[cfg(not(feature = "tls"))]
    let tests = trials![a_build_without_tls_says_so];
    trials::main(&[Kind::Kafka], tests)
}

#[cfg(not(feature = "tls"))]
fn a_build_without_tls_says_so() -> Result<()> {
    let sasl = json!({ "mechanism": "PLAIN", "username": "u", "password": "p" });
    run(async {
        for (key, value) in [("tls", json!({})), ("sasl", sasl)] {
            let settings = json!({ "brokers": ["127.0.0.1:1"], key: value });
            let error = broker::open(settings).await.err().unwrap();
            assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some(key)));
            assert!(error.remedy().unwrap().contains("kafka-tls"), "{error}");
        }
        Ok(())
    })
}

#[cfg(feature = "tls")]
fn a_user_is_known_by_each_mechanism_and_nobody_else_is() -> Result<()> {
    run(async {
        let broker = broker::Broker::start()?;
        let topic = broker.topic(1, &[]).await?;
        let [address, ca, user, password] = ["", "_CA", "_USER", "_PASSWORD"]
            .map(|end| broker.variable(&format!("ROWTIDE_KAFKA_TLS{end}")).unwrap().to_owned());
        let settings = |mechanism: &str, password: &str| {
            json!({
                "brokers": [address], "topic": topic, "tls": { "ca": ca },
                "sasl": { "mechanism": mechanism, "username": user, "password": password },
            })
        };
        let mut numbers = 0..;
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let number = numbers.next().unwrap();
            let mut sink = broker::open(settings(mechanism, &password)).await?;
            sink.write(&broker::inserts(number..number + 1)).await?;
            sink.flush().await?;
            let error = broker::open(settings(mechanism, "wrong")).await.err().unwrap();
            assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("sasl")));
            assert!(!error.to_string().contains("wrong"), "{error}");
        }
        assert_eq!(broker::numbers(&broker.messages(&topic).await?), [0, 1, 2]);
        let mut stranger = settings("PLAIN", &password);
        stranger["tls"] = json!({});
        let error = broker::open(stranger).await.err().unwrap();
        assert_eq!((error.kind(), error.setting()), (&ErrorKind::Config, Some("tls")), "{error}");
        Ok(())
    })
}
