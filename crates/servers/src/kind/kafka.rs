//! Kafka, one node that is broker and controller, run from its jars.

use std::{
    collections::hash_map::RandomState,
    fs,
    hash::BuildHasher,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::Service;
use crate::{
    Result,
    install::require,
    machine::{
        cache,
        command::check_quietly,
        place::{Place, detached},
    },
};

const VERSION: &str = "4.1.1";
const PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

const CLIENTS: usize = 0;
const CONTROLLER: usize = 1;
const BEHIND_PROXY: usize = 2;
/// Kafka tells its clients where to go on, so it has to know where a proxy listens.
const PROXY: usize = 3;
/// TLS, and who has said the password.
const SECURED: usize = 4;

const USER: &str = "rowtide";
const PASSWORD: &str = "only-for-tests";

const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Metadata, version 1, correlation 1, no client, no topics.
const REQUEST: [u8; 18] = [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0];

pub(crate) struct Kafka;

impl Service for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["java", "mvn", "openssl"]
    }

    fn packages(&self) -> &'static [&'static str] {
        &["default-jre-headless", "maven", "openssl"]
    }

    fn ports(&self) -> usize {
        5
    }

    fn variables(&self, ports: &[u16]) -> Vec<(&'static str, String)> {
        let address = |number: usize| format!("127.0.0.1:{}", ports[number]);
        vec![
            ("ROWTIDE_KAFKA_BROKERS", address(CLIENTS)),
            ("ROWTIDE_KAFKA_BEHIND_PROXY", address(BEHIND_PROXY)),
            ("ROWTIDE_KAFKA_PROXY", address(PROXY)),
        ]
    }

    fn secured(&self, place: &Place) -> Vec<(&'static str, String)> {
        let authority = place.certificates().authority();
        vec![
            ("ROWTIDE_KAFKA_TLS", format!("127.0.0.1:{}", place.ports[SECURED])),
            ("ROWTIDE_KAFKA_TLS_CA", authority.display().to_string()),
            ("ROWTIDE_KAFKA_TLS_USER", USER.to_owned()),
            ("ROWTIDE_KAFKA_TLS_PASSWORD", PASSWORD.to_owned()),
        ]
    }

    fn is_fetched(&self) -> Result<bool> {
        Ok(folder()?.exists())
    }

    fn fetch(&self) -> Result {
        let folder = folder()?;
        eprintln!("kafka: fetching the jars of {VERSION} into {}", folder.display());
        let making = folder.with_extension(std::process::id().to_string());
        fs::create_dir_all(&making)?;
        fs::write(making.join("pom.xml"), project())?;
        let mut fetch = Command::new(require("mvn")?);
        fetch.current_dir(&making).args(["--batch-mode", "--quiet", PLUGIN]);
        fetch.args(["-DincludeScope=runtime", "-DoutputDirectory=lib"]);
        check_quietly(&mut fetch)?;
        // In one step: another run finds all of them, or none.
        match fs::rename(&making, &folder) {
            Err(_) if folder.exists() => Ok(fs::remove_dir_all(making)?),
            renamed => Ok(renamed?),
        }
    }

    fn prepare(&self, place: &Place) -> Result {
        place.make_certificates()?;
        self.configure(place)?;
        let mut format = java(place)?;
        format.args(["kafka.tools.StorageTool", "format", "-t", &cluster_id()]);
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let user = format!("{mechanism}=[name={USER},password={PASSWORD}]");
            format.args(["--add-scram", &user]);
        }
        check_quietly(format.args(["-c", "server.properties"]))
    }

    fn configure(&self, place: &Place) -> Result {
        let certificates = place.certificates();
        let store = [certificates.server_key(), certificates.server()].map(fs::read_to_string);
        let [key, certificate] = store;
        place.write("keystore.pem", &format!("{}{}", key?, certificate?))?;
        place.write("server.properties", &settings(place))?;
        place.write("log4j2.properties", LOGGING)
    }

    fn server(&self, place: &Place) -> Result<Command> {
        let java = java(place)?;
        let mut server = detached(java.get_program());
        server.args(["-Xms256m", "-Xmx512m"]).args(java.get_args());
        server.args(["kafka.Kafka", "server.properties"]);
        Ok(server)
    }

    /// It tells where its brokers are once it is one.
    fn answers(&self, place: &Place) -> Result<bool> {
        let mut answer = [0; 12];
        let mut asked = || {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, place.ports[CLIENTS]));
            let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
            stream.set_read_timeout(Some(ANSWER_LIMIT))?;
            stream.write_all(&REQUEST)?;
            stream.read_exact(&mut answer)
        };
        // Length, correlation, number of brokers.
        Ok(asked().is_ok() && answer[4..] == [0, 0, 0, 1, 0, 0, 0, 1])
    }
}

fn settings(place: &Place) -> String {
    let port = |number: usize| place.ports[number];
    let (data, folder) = (place.folder.join("data"), place.folder.display());
    let [clients, controller, secured] = [CLIENTS, CONTROLLER, SECURED].map(port);
    let [behind, proxy] = [BEHIND_PROXY, PROXY].map(port);
    format!(
        "process.roles=broker,controller\nnode.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{clients},PROXIED://127.0.0.1:{behind},\
         SECURED://127.0.0.1:{secured},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{clients},PROXIED://127.0.0.1:{proxy},\
         SECURED://127.0.0.1:{secured}\n\
         controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,\
         PROXIED:PLAINTEXT,SECURED:SASL_SSL\n\
         log.dirs={}\nnum.partitions=1\noffsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=1\ntransaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\ntransaction.state.log.num.partitions=1\n\
         group.initial.rebalance.delay.ms=0\n{SESSION}\
         listener.name.secured.ssl.keystore.type=PEM\n\
         listener.name.secured.ssl.keystore.location={folder}/keystore.pem\n{}",
        data.display(),
        passwords(),
    )
}

/// How the users of the secured listener are known: one by its settings, one by what was formatted.
fn passwords() -> String {
    let package = "org.apache.kafka.common.security";
    let scram = |size: u16| {
        format!(
            "listener.name.secured.scram-sha-{size}.sasl.jaas.config=\
             {package}.scram.ScramLoginModule required;\n"
        )
    };
    format!(
        "listener.name.secured.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
         listener.name.secured.plain.sasl.jaas.config=\
         {package}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";\n{}{}",
        scram(256),
        scram(512),
    )
}

/// After a kill the node waits until its own former session is over; by default that is 9 s.
const SESSION: &str = "broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\n";

const LOGGING: &str = "rootLogger.level = warn
rootLogger.appenderRef.o.ref = o
appender.o.type = Console
appender.o.name = o
appender.o.layout.type = PatternLayout
appender.o.layout.pattern = %d %p %c %m%n
";

/// Sixteen random bytes in base64, whose last letter has two bits of them.
fn cluster_id() -> String {
    let random = RandomState::new().hash_one(0);
    format!("{random:016x}{:05x}A", random >> 44)
}

/// The jars of all its parts.
fn folder() -> Result<PathBuf> {
    Ok(cache::folder()?.join(format!("kafka-{VERSION}")))
}

/// Java with the jars, in the folder of the server.
fn java(place: &Place) -> Result<Command> {
    let mut java = Command::new(require("java")?);
    java.current_dir(&place.folder).arg("-Dlog4j2.configurationFile=log4j2.properties");
    java.arg("-cp").arg(Path::new(&folder()?).join("lib/*"));
    Ok(java)
}

fn project() -> String {
    let dependency = |(group, artifact, version): (&str, &str, &str)| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></dependency>\n"
        )
    };
    let dependencies = [
        ("org.apache.kafka", "kafka_2.13", VERSION),
        ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.3"),
        ("org.apache.logging.log4j", "log4j-core", "2.25.3"),
    ];
    format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>local</groupId>\
         <artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>\n\
         <dependencies>\n{}</dependencies></project>\n",
        dependencies.map(dependency).concat()
    )
}
