//! Gets the programs of the servers from the packages of Debian, where that is possible.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use super::Service;
use crate::{Result, process::check_quietly};

/// Where Debian puts programs that are in nobody's `PATH`.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/lib/rabbitmq/bin", "/usr/local/sbin"];

/// With this a package does not start its own server, which would run beside ours.
const POLICY: &str = "/usr/sbin/policy-rc.d";

pub(super) fn ensure(services: &[&'static dyn Service]) -> Result {
    let mut lacking = services.to_vec();
    lacking.retain(|service| !missing(*service).is_empty());
    if lacking.is_empty() {
        return Ok(());
    }
    if is_root() && find("apt-get").is_some() {
        let packages: Vec<_> = lacking.iter().flat_map(|service| service.packages()).collect();
        install(&packages)?;
        lacking.retain(|service| !missing(*service).is_empty());
    }
    match lacking.is_empty() {
        true => Ok(()),
        false => Err(advice(&lacking).into()),
    }
}

/// Where `program` is, in the `PATH` or where Debian puts it.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(FOLDERS.map(PathBuf::from)).chain(postgres());
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

pub(super) fn require(program: &str) -> Result<PathBuf> {
    Ok(find(program).ok_or_else(|| format!("there is no program `{program}`"))?)
}

pub(super) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// The programs of the newest PostgreSQL.
fn postgres() -> Option<PathBuf> {
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let newest = versions.flatten().map(|entry| entry.path()).max_by_key(version)?;
    Some(newest.join("bin"))
}

fn missing(service: &dyn Service) -> Vec<&'static str> {
    let programs = service.programs().iter().copied();
    programs.filter(|program| find(program).is_none()).collect()
}

fn install(packages: &[&&str]) -> Result {
    eprintln!("installing {}", packages.iter().map(|name| **name).collect::<Vec<_>>().join(", "));
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
fn advice(services: &[&'static dyn Service]) -> String {
    let mut text = String::new();
    for service in services {
        let programs = missing(*service).join("`, `");
        text.push_str(&format!("{}: there is no `{programs}`\n", service.name()));
    }
    text.push_str(
        "only root can install, and only with apt-get. Tests find servers that are there by these \
         variables;\n`docker compose -f xtask/src/services/compose.yaml up --wait` starts them so:",
    );
    for service in services {
        for (name, value) in service.variables(&compose_ports(service.name())) {
            text.push_str(&format!("\n  export {name}='{value}'"));
        }
    }
    text
}

/// The ports in `compose.yaml`, in the order of the service's own.
fn compose_ports(name: &str) -> Vec<u16> {
    match name {
        "postgres" => vec![25432],
        "mariadb" => vec![23306],
        "rabbitmq" => vec![25672, 25673],
        _ => vec![29092, 29093, 29094, 29095],
    }
}

/// Whether everybody may enter `folder`, and so everything on the way to it.
pub(super) fn is_open_to(user: &str, folder: &Path) -> bool {
    let mut test = as_user(user, OsStr::new("test"));
    test.arg("-x").arg(folder).status().is_ok_and(|status| status.success())
}

/// `program`, run by `user` in place of root.
pub(super) fn as_user(user: &str, program: &OsStr) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--init-groups"]).arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::{super::SERVICES, *};

    const COMPOSE: &str = include_str!("compose.yaml");

    #[test]
    fn the_advice_names_every_variable_and_compose_has_every_service() {
        let advice = advice(&SERVICES);
        for service in SERVICES {
            let ports = compose_ports(service.name());
            for (name, value) in service.variables(&ports) {
                assert!(advice.contains(&format!("export {name}='{value}'")), "{advice}");
            }
            assert!(COMPOSE.contains(&format!("\n  {}:\n", service.name())));
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
