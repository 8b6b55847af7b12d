//! MariaDB, with a binary log of rows.

use std::{process::Command, time::Duration};

use super::Service;
use crate::{
    Result,
    install::{is_root, require},
    machine::{
        command::{check_quietly, succeeds_within},
        place::{Place, detached},
    },
};

pub(crate) struct MariaDb;

impl Service for MariaDb {
    fn name(&self) -> &'static str {
        "mariadb"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["mariadbd", "mariadb-install-db", "mariadb", "openssl"]
    }

    fn packages(&self) -> &'static [&'static str] {
        &["mariadb-server", "openssl"]
    }

    fn ports(&self) -> usize {
        1
    }

    fn variables(&self, ports: &[u16]) -> Vec<(&'static str, String)> {
        vec![("ROWTIDE_MYSQL_URL", format!("mysql://root@127.0.0.1:{}/rowtide", ports[0]))]
    }

    fn secured(&self, place: &Place) -> Vec<(&'static str, String)> {
        let authority = place.certificates().authority();
        vec![("ROWTIDE_MYSQL_TLS_CA", authority.display().to_string())]
    }

    fn prepare(&self, place: &Place) -> Result {
        place.make_certificates()?;
        self.configure(place)?;
        let mut install = Command::new(require("mariadb-install-db")?);
        install.arg(defaults(place)).arg("--auth-root-authentication-method=normal");
        check_quietly(install.arg("--skip-test-db").current_dir(&place.folder))
    }

    fn configure(&self, place: &Place) -> Result {
        let (folder, certificates) = (place.folder.display(), place.certificates());
        // A file is read as one user who may read it: no other one is needed below our folder.
        // Temporary tables are not shared: a server that starts removes those of all others.
        let user = if is_root() { "user=root\n" } else { "" };
        let settings = format!(
            "[mariadbd]\n{user}datadir={folder}/data\nsocket={folder}/socket\n\
             tmpdir={folder}\npid-file={folder}/pid\nbind-address=127.0.0.1\nport={}\n\
             skip-name-resolve\nserver-id=1\nlog-bin=mysql-bin\nbinlog-format=ROW\n\
             binlog-row-image=FULL\nbinlog-row-metadata=FULL\ngtid-strict-mode=1\n\
             max-connections=200\ninnodb-buffer-pool-size=64M\n\
             ssl-cert={}\nssl-key={}\n",
            place.ports[0],
            certificates.server().display(),
            certificates.server_key().display(),
        );
        place.write("my.cnf", &settings)
    }

    fn server(&self, place: &Place) -> Result<Command> {
        let mut server = detached(require("mariadbd")?);
        server.arg(defaults(place));
        Ok(server)
    }

    fn answers(&self, place: &Place) -> Result<bool> {
        let mut client = Command::new(require("mariadb")?);
        client.args(["--no-defaults", "--host=127.0.0.1", "--user=root", "--connect-timeout=5"]);
        client.args(["--port", &place.ports[0].to_string(), "--execute"]);
        client.arg("create database if not exists rowtide character set utf8mb4");
        succeeds_within(&mut client, Duration::from_secs(10))
    }
}

fn defaults(place: &Place) -> String {
    format!("--defaults-file={}", place.folder.join("my.cnf").display())
}
