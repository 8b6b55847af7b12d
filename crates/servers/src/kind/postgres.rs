//! PostgreSQL, with logical replication, and as durable as it is by default.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::Service;
use crate::{
    Result,
    install::{as_user, is_open_to, is_root, require},
    machine::{
        command::{check_quietly, succeeds_within},
        place::{Place, detached},
    },
};

/// PostgreSQL does not run as root.
const USER: &str = "postgres";

const SETTINGS: [&str; 8] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "wal_level=logical",
    "max_wal_senders=20",
    "max_replication_slots=20",
    "max_connections=200",
    "max_prepared_transactions=10",
    "ssl=on",
];

pub(crate) struct Postgres;

impl Service for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["initdb", "postgres", "psql", "openssl"]
    }

    fn packages(&self) -> &'static [&'static str] {
        &["postgresql", "openssl"]
    }

    fn ports(&self) -> usize {
        1
    }

    fn variables(&self, ports: &[u16]) -> Vec<(&'static str, String)> {
        vec![(
            "ROWTIDE_POSTGRES_URL",
            format!("postgres://postgres@127.0.0.1:{}/rowtide", ports[0]),
        )]
    }

    fn secured(&self, place: &Place) -> Vec<(&'static str, String)> {
        vec![("ROWTIDE_POSTGRES_TLS_CA", shown(&place.certificates().authority()))]
    }

    fn home(&self, folder: PathBuf) -> Result<PathBuf> {
        let parent = folder.parent().unwrap_or(&folder);
        if !is_root() || is_open_to(USER, parent) {
            return Ok(folder);
        }
        // Below the home of root, say, which nobody else may enter.
        let mut hasher = DefaultHasher::new();
        folder.hash(&mut hasher);
        Ok(PathBuf::from(format!("/var/tmp/rowtide-postgres-{:016x}", hasher.finish())))
    }

    fn prepare(&self, place: &Place) -> Result {
        place.make_certificates()?;
        if is_root() {
            let mut chown = Command::new("chown");
            chown.arg("--recursive").arg(format!("{USER}:{USER}"));
            check_quietly(chown.arg(&place.folder))?;
        }
        let mut initdb = match is_root() {
            true => as_user(USER, require("initdb")?.as_os_str()),
            false => Command::new(require("initdb")?),
        };
        // What is made here can be made again, so it need not survive a power cut.
        initdb.args(["--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8"]);
        initdb.args(["--locale=C.UTF-8", "-D"]).arg(place.folder.join("data"));
        check_quietly(initdb.current_dir(&place.folder))
    }

    fn server(&self, place: &Place) -> Result<Command> {
        let program = require("postgres")?;
        let mut server = match is_root() {
            true => {
                let switch = as_user(USER, program.as_os_str());
                let mut server = detached(switch.get_program());
                server.args(switch.get_args());
                server
            }
            false => detached(&program),
        };
        server.arg("-D").arg(place.folder.join("data")).args(["-p", &place.ports[0].to_string()]);
        let certificates = place.certificates();
        let certificate = format!("ssl_cert_file={}", shown(&certificates.server()));
        let key = format!("ssl_key_file={}", shown(&certificates.server_key()));
        for setting in SETTINGS.into_iter().chain([&*certificate, &*key]) {
            server.args(["-c", setting]);
        }
        Ok(server)
    }

    fn answers(&self, place: &Place) -> Result<bool> {
        if !succeeds_within(&mut psql(place, "select 1")?, Duration::from_secs(5))? {
            return Ok(false);
        }
        let has_database = "select 1 / count(*) from pg_database where datname = 'rowtide'";
        if succeeds_within(&mut psql(place, has_database)?, Duration::from_secs(5))? {
            return Ok(true);
        }
        succeeds_within(&mut psql(place, "create database rowtide")?, Duration::from_secs(30))
    }

    /// Does not wait for clients to leave.
    fn stop_signal(&self) -> &'static str {
        "INT"
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn psql(place: &Place, statement: &str) -> Result<Command> {
    let mut psql = Command::new(require("psql")?);
    psql.args(["--no-psqlrc", "--quiet", "--host=127.0.0.1", "--username=postgres"]);
    psql.args(["--port", &place.ports[0].to_string(), "--command", statement, "postgres"]);
    Ok(psql)
}
