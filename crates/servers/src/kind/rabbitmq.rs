//! RabbitMQ, with streams and the management interface.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

use super::Service;
use crate::{
    Result,
    install::require,
    machine::place::{Place, detached},
};

const CLIENTS: usize = 0;
const MANAGEMENT: usize = 1;
const STREAMS: usize = 2;
const DISTRIBUTION: usize = 3;
const NAMES: usize = 4;
const SECURED: usize = 5;

const ANSWER_LIMIT: Duration = Duration::from_secs(5);

pub(crate) struct RabbitMq;

impl Service for RabbitMq {
    fn name(&self) -> &'static str {
        "rabbitmq"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["rabbitmq-server", "epmd", "openssl"]
    }

    fn packages(&self) -> &'static [&'static str] {
        &["rabbitmq-server", "openssl"]
    }

    fn ports(&self) -> usize {
        6
    }

    fn variables(&self, ports: &[u16]) -> Vec<(&'static str, String)> {
        let (clients, management) = (ports[CLIENTS], ports[MANAGEMENT]);
        vec![
            ("ROWTIDE_AMQP_URL", format!("amqp://guest:guest@127.0.0.1:{clients}/%2f")),
            ("ROWTIDE_AMQP_MANAGEMENT_URL", format!("http://guest:guest@127.0.0.1:{management}")),
        ]
    }

    fn secured(&self, place: &Place) -> Vec<(&'static str, String)> {
        let (port, authority) = (place.ports[SECURED], place.certificates().authority());
        vec![
            ("ROWTIDE_AMQP_TLS_URL", format!("amqps://guest:guest@127.0.0.1:{port}/%2f")),
            ("ROWTIDE_AMQP_TLS_CA", authority.display().to_string()),
        ]
    }

    fn prepare(&self, place: &Place) -> Result {
        place.make_certificates()
    }

    fn configure(&self, place: &Place) -> Result {
        let [clients, management, streams, secured] =
            [CLIENTS, MANAGEMENT, STREAMS, SECURED].map(|number| place.ports[number]);
        let certificates = place.certificates();
        place.write(
            "rabbitmq.conf",
            &format!(
                "listeners.tcp.1 = 127.0.0.1:{clients}\nmanagement.tcp.ip = 127.0.0.1\n\
                 management.tcp.port = {management}\nstream.listeners.tcp.1 = 127.0.0.1:{streams}\n\
                 listeners.ssl.1 = 127.0.0.1:{secured}\nssl_options.verify = verify_none\n\
                 ssl_options.cacertfile = {}\nssl_options.certfile = {}\n\
                 ssl_options.keyfile = {}\n\
                 disk_free_limit.absolute = 50MB\nvm_memory_high_watermark.absolute = 1GB\n",
                certificates.authority().display(),
                certificates.server().display(),
                certificates.server_key().display(),
            ),
        )?;
        place.write("rabbitmq-env.conf", "")?;
        place.write("enabled_plugins", "[rabbitmq_management,rabbitmq_stream].\n")?;
        // For `rabbitmqctl`, and whoever else wants to speak to this node.
        let export = |(name, value)| format!("export {name}='{value}'\n");
        place.write("environment.sh", &environment(place).map(export).concat())?;
        // A new one is to be waited for.
        match fs::remove_file(place.folder.join("pid")) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The node would start one by itself, which then stays behind.
    fn companion(&self, place: &Place) -> Result<Option<(Command, u16)>> {
        let port = place.ports[NAMES];
        let mut names = detached(require("epmd")?);
        names.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
        Ok(Some((names, port)))
    }

    fn server(&self, place: &Place) -> Result<Command> {
        // The real program: the one in the path changes its user and drops the environment.
        let mut server = detached("/usr/lib/rabbitmq/bin/rabbitmq-server");
        server.envs(environment(place));
        Ok(server)
    }

    fn serving(&self, place: &Place) -> Result<Option<u32>> {
        let text = fs::read_to_string(place.folder.join("pid"))?;
        Ok(Some(text.trim().parse()?))
    }

    fn answers(&self, place: &Place) -> Result<bool> {
        let greeting = ask(place.ports[CLIENTS], b"AMQP\0\0\x09\x01");
        // A method frame on channel 0: the server begins a connection.
        if !greeting.starts_with(&[1, 0, 0]) {
            return Ok(false);
        }
        let request = "GET /api/health/checks/local-alarms HTTP/1.0\r\nHost: localhost\r\n\
                       Authorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n\r\n";
        let health = ask(place.ports[MANAGEMENT], request.as_bytes());
        Ok(String::from_utf8_lossy(&health).lines().next().is_some_and(|it| it.contains(" 200 ")))
    }
}

fn environment(place: &Place) -> [(&'static str, String); 16] {
    let file = |name: &str| place.folder.join(name).display().to_string();
    let port = |number: usize| place.ports[number].to_string();
    let loopback = || "127.0.0.1".to_owned();
    [
        ("HOME", place.folder.display().to_string()),
        ("RABBITMQ_NODENAME", "rowtide@localhost".to_owned()),
        ("RABBITMQ_NODE_IP_ADDRESS", loopback()),
        ("RABBITMQ_NODE_PORT", port(CLIENTS)),
        ("RABBITMQ_DIST_PORT", port(DISTRIBUTION)),
        ("ERL_EPMD_ADDRESS", loopback()),
        ("ERL_EPMD_PORT", port(NAMES)),
        (
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1}".to_owned(),
        ),
        ("RABBITMQ_CONF_ENV_FILE", file("rabbitmq-env.conf")),
        ("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", file("enabled_plugins")),
        ("RABBITMQ_MNESIA_BASE", file("data")),
        ("RABBITMQ_PID_FILE", file("pid")),
        // To where everything is printed, so that the end of it tells why a broker does not come up.
        ("RABBITMQ_LOGS", "-".to_owned()),
        ("RABBITMQ_LOG_BASE", file("logs")),
        ("ERL_CRASH_DUMP", file("erl_crash.dump")),
    ]
}

/// What the server at `port` says to `question`, or its beginning; empty if nothing.
fn ask(port: u16, question: &[u8]) -> Vec<u8> {
    let mut answer = vec![0; 512];
    let mut asked = || {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.write_all(question)?;
        stream.read(&mut answer)
    };
    let length = asked().unwrap_or_default();
    answer.truncate(length);
    answer
}
