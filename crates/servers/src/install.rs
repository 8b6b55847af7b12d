//! Gets the programs of the servers from the packages of Debian, where that is possible.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Error, Kind, Result,
    kind::Service,
    machine::{command::check_quietly, place::Place},
};

/// Where packages put programs that are in nobody's `PATH`.
const FOLDERS: [&str; 5] = [
    "/usr/sbin",
    "/sbin",
    "/usr/local/sbin",
    "/usr/lib/rabbitmq/bin",
    "/usr/lib/google-cloud-sdk/bin/cloud_spanner_emulator",
];

/// With this a package does not start its own server, which would run beside ours.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Gets what the servers need and this machine lacks, as root with apt-get, and jars by Maven.
///
/// # Errors
/// [`Error::Missing`] of those that cannot be had here, after the others were installed. It says
/// what to do instead.
pub fn install(kinds: &[Kind]) -> Result {
    let lacks_program = |kind: &Kind| !missing(kind.service()).is_empty();
    let mut lacking: Vec<_> = kinds.iter().copied().filter(lacks_program).collect();
    let packages = lacking.iter().flat_map(|kind| kind.service().packages()).copied();
    let packages: Vec<_> = packages.collect();
    if !packages.is_empty() && is_root() && find("apt-get").is_some() {
        install_packages(&packages)?;
        lacking.retain(lacks_program);
    }
    for kind in kinds.iter().filter(|kind| !lacking.contains(kind)) {
        if !kind.service().is_fetched()? {
            kind.service().fetch()?;
        }
    }
    if lacking.is_empty() { Ok(()) } else { Err(Error::Missing(advice(&lacking))) }
}

/// Why tests that need servers of these kinds are to be ignored; `None` if they must run: because
/// the servers can be had, or because [a missing one is a failure](is_strict).
pub fn absence(kinds: &[Kind]) -> Option<String> {
    if is_strict() { None } else { kinds.iter().find_map(|kind| lack(*kind)) }
}

/// Whether there is no excuse for a missing server, because `CI` is in the environment.
pub fn is_strict() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty())
}

/// Why there can be no server of this kind here; `None` if there can be.
pub fn lack(kind: Kind) -> Option<String> {
    let (name, service) = (kind.name(), kind.service());
    let programs = missing(service);
    let what = match service.is_fetched() {
        _ if existing(kind).is_some() => return None,
        _ if !programs.is_empty() => format!("there is no `{}`", programs.join("`, `")),
        Ok(true) => return None,
        Ok(false) => "its files are not in the cache".to_owned(),
        Err(error) => error.to_string(),
    };
    let variable = variables(service).first().map_or("", |(name, _)| *name);
    Some(format!(
        "no {name}: {what}; `cargo xtask services install {name}` may help, or set {variable}"
    ))
}

/// The variables of a server that the environment names.
pub(crate) fn existing(kind: Kind) -> Option<Vec<(&'static str, String)>> {
    let names = variables(kind.service()).into_iter().map(|(name, _)| name);
    let mut found = names.map(|name| (name, env::var(name).ok().filter(|value| !value.is_empty())));
    let first = found.next().and_then(|(name, value)| Some((name, value?)))?;
    let others = found.filter_map(|(name, value)| Some((name, value?)));
    Some(std::iter::once(first).chain(others).collect())
}

/// The variables by name, with values that mean nothing.
fn variables(service: &dyn Service) -> Vec<(&'static str, String)> {
    Place::nowhere(service).variables(service)
}

/// Where `program` is, in the `PATH` or where Debian puts it.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(FOLDERS.map(PathBuf::from)).chain(postgres());
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

pub(crate) fn require(program: &str) -> Result<PathBuf> {
    Ok(find(program).ok_or_else(|| format!("there is no program `{program}`"))?)
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// The programs of the newest PostgreSQL.
fn postgres() -> Option<PathBuf> {
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let newest = versions.flatten().map(|entry| entry.path()).max_by_key(version)?;
    Some(newest.join("bin"))
}

/// The library that shows a process another time, of the package `faketime`, which is installed
/// where that is possible; `None` if it cannot be had here.
pub fn clock() -> Option<PathBuf> {
    let library = || {
        let folders = fs::read_dir("/usr/lib").ok()?.flatten();
        let mut paths = folders.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
        paths.find(|path| path.is_file())
    };
    if library().is_none() && is_root() && find("apt-get").is_some() {
        // What is missing then is missing.
        let _ = install_packages(&["faketime"]);
    }
    library()
}

fn missing(service: &dyn Service) -> Vec<&'static str> {
    let programs = service.programs().iter().copied();
    programs.filter(|program| find(program).is_none()).collect()
}

fn install_packages(packages: &[&str]) -> Result {
    eprintln!("installing {}", packages.join(", "));
    let quiet = Quiet::begin()?;
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-qq", "-o", "DPkg::Lock::Timeout=120"]).args(arguments);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    check_quietly(&mut apt(&["update"]))?;
    check_quietly(apt(&["install", "-y", "--no-install-recommends"]).args(packages))?;
    drop(quiet);
    Ok(())
}

/// No package starts a server while this lives.
struct Quiet {
    /// The policy was made for this, not found.
    is_ours: bool,
}

impl Quiet {
    fn begin() -> Result<Self> {
        let is_ours = !Path::new(POLICY).exists();
        if is_ours {
            fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
            fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { is_ours })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if self.is_ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("{POLICY} could not be removed: {error}");
        }
    }
}

/// What to do where nothing can be installed.
fn advice(kinds: &[Kind]) -> String {
    let mut text = String::new();
    for kind in kinds {
        let programs = missing(kind.service()).join("`, `");
        text.push_str(&format!("{}: there is no `{programs}`\n", kind.name()));
    }
    text.push_str(
        "only root can install, with apt-get, and nothing that a vendor keeps to itself. Tests find \
         servers that are there by these variables;\n`docker compose -f crates/servers/compose.yaml up --wait` starts them so:",
    );
    for kind in kinds {
        for (name, value) in kind.service().variables(&compose_ports(*kind)) {
            text.push_str(&format!("\n  export {name}='{value}'"));
        }
    }
    text
}

/// The ports in `compose.yaml`, in the order of the service's own.
fn compose_ports(kind: Kind) -> Vec<u16> {
    match kind {
        Kind::Postgres => vec![25432],
        Kind::MariaDb => vec![23306],
        Kind::RabbitMq => vec![25672, 25673],
        Kind::Kafka => vec![29092, 29093, 29094, 29095],
        Kind::Spanner => vec![29010],
    }
}

/// Whether everybody may enter `folder`, and so everything on the way to it.
pub(crate) fn is_open_to(user: &str, folder: &Path) -> bool {
    let mut test = as_user(user, OsStr::new("test"));
    test.arg("-x").arg(folder).status().is_ok_and(|status| status.success())
}

/// `program`, run by `user` in place of root.
pub(crate) fn as_user(user: &str, program: &OsStr) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--init-groups"]).arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPOSE: &str = include_str!("../compose.yaml");

    #[test]
    fn the_advice_names_every_variable_and_compose_has_every_server() {
        let advice = advice(&Kind::ALL);
        for kind in Kind::ALL {
            let ports = compose_ports(kind);
            for (name, value) in kind.service().variables(&ports) {
                assert!(advice.contains(&format!("export {name}='{value}'")), "{advice}");
                assert!(COMPOSE.contains(&format!("export {name}='{value}'")), "{name}");
            }
            assert!(COMPOSE.contains(&format!("\n  {}:\n", kind.name())));
            assert!(COMPOSE.contains(&format!("\"127.0.0.1:{}:", ports[0])), "{ports:?}");
        }
    }

    #[test]
    fn a_program_is_found_by_its_name() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program").is_none());
        assert!(require("no-such-program").is_err());
    }
}
