use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Result, install::require, machine::command::check_quietly};

const KEY: [&str; 5] = ["-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const DAYS: &str = "3650";

/// An authority that nobody knows, and the certificate that it gave to a server on loopback.
#[derive(Clone, Debug)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes them anew in `folder`, as PEM files.
    ///
    /// # Errors
    /// There is no program `openssl`, or it fails.
    pub fn make(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("settings"), SETTINGS)?;
        let run = |arguments: &[&str]| {
            let mut openssl = Command::new(require("openssl")?);
            check_quietly(openssl.current_dir(folder).args(arguments))
        };
        let request = ["req", "-config", "settings"];
        let authority = ["-x509", "-days", DAYS, "-keyout", "authority.key", "-out", AUTHORITY];
        run(&[&request[..], &KEY, &authority].concat())?;
        let server = ["-subj", "/CN=127.0.0.1", "-keyout", SERVER_KEY, "-out", "server.request"];
        run(&[&request[..], &KEY, &server].concat())?;
        let sign = ["x509", "-req", "-in", "server.request", "-out", SERVER, "-days", DAYS];
        let by = ["-CA", AUTHORITY, "-CAkey", "authority.key", "-CAcreateserial"];
        run(&[&sign[..], &by, &["-extfile", "settings", "-extensions", "server"]].concat())?;
        Ok(Self::at(folder))
    }

    /// Those that were made there.
    pub(crate) fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// What a client has to trust.
    pub fn authority(&self) -> PathBuf {
        self.folder.join(AUTHORITY)
    }

    /// What the server shows, for `127.0.0.1` and `localhost`.
    pub fn server(&self) -> PathBuf {
        self.folder.join(SERVER)
    }

    /// What the server keeps to itself.
    pub fn server_key(&self) -> PathBuf {
        self.folder.join(SERVER_KEY)
    }
}

const AUTHORITY: &str = "authority.pem";
const SERVER: &str = "server.pem";
const SERVER_KEY: &str = "server.key";

const SETTINGS: &str = "[req]
prompt = no
distinguished_name = name
x509_extensions = authority
[name]
CN = an authority for tests
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
[server]
basicConstraints = CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1, DNS:localhost
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_trusted_by_its_own_authority_only() {
        let folder = tempfile::tempdir().unwrap();
        let ours = Certificates::make(&folder.path().join("ours")).unwrap();
        let other = Certificates::make(&folder.path().join("other")).unwrap();
        let verify = |authority: &Certificates| {
            let mut openssl = Command::new("openssl");
            openssl.args(["verify", "-verify_ip", "127.0.0.1", "-CAfile"]);
            check_quietly(openssl.arg(authority.authority()).arg(ours.server()))
        };
        verify(&ours).unwrap();
        assert!(verify(&other).is_err());
    }
}
