//! The program, started as a user does, and other programs beside it.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// The program, which ends with this.
pub(crate) struct Fake {
    child: Child,
    /// Where it listens, without the password.
    pub(crate) url: String,
}

impl Fake {
    pub(crate) fn start(sql: &str) -> Result<Self, String> {
        let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
        std::fs::write(file.path(), sql).map_err(|error| error.to_string())?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_fake-cockroachdb"))
            .args(["--listen", "127.0.0.1:0", "--user", "root:secret", "--execute"])
            .arg(file.path())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let stdout = child.stdout.take().ok_or("no output")?;
        let mut line = String::new();
        let _ = BufReader::new(stdout).read_line(&mut line);
        let address = line.trim().strip_prefix("listening on ").unwrap_or_default();
        let url = format!("postgresql://root@{address}/defaultdb?sslmode=disable");
        let fake = Self { url, child };
        if address.is_empty() { Err("it does not listen".to_owned()) } else { Ok(fake) }
    }

    pub(crate) fn url_with_password(&self) -> String {
        self.url.replace("root@", "root:secret@")
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sees to it that there is a program. In CI it is installed from the packages of Debian, if need be.
pub(crate) fn provide(program: &str, packages: &[&str]) -> Result<(), String> {
    let is_there = || run(program, &["--version"], &[]).map(drop);
    if is_there().is_err() && env::var_os("CI").is_some() {
        let quietly = [("DEBIAN_FRONTEND", "noninteractive")];
        run("apt-get", &["update", "--quiet"], &quietly)?;
        let install = ["install", "--yes", "--no-install-recommends"];
        run("apt-get", &[&install, packages].concat(), &quietly)?;
    }
    is_there()
}

/// Runs a program to its end, and returns what it printed.
pub(crate) fn run(
    program: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
