//! Where a server is: its folder, its ports, its processes, as written down in a file.

use std::{
    collections::hash_map::RandomState,
    fs::{self, File, OpenOptions},
    hash::BuildHasher,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde::{Deserialize, Serialize};

use super::process::Process;
use crate::{Certificates, Result, kind::Service, watchdog::Watchdog};

/// Ports above belong to outgoing connections: a client that dials a server which is down would
/// now and then be given that very port, and keep the server from coming back.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

const LOG_LINES: usize = 20;

const CERTIFICATES: &str = "certificates";

/// Marks a folder that is complete. Its number grows when what is prepared changes.
const PREPARED: &str = "prepared-2";

#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) ports: Vec<u16>,
    /// In the order they were started; the last one serves.
    pub(crate) processes: Vec<Process>,
    /// What its program is told beside the usual.
    #[serde(default)]
    pub(crate) arguments: Vec<String>,
    #[serde(skip)]
    file: PathBuf,
    /// Who has to know of the processes, where they are not to outlive ours.
    #[serde(skip)]
    pub(crate) watchdog: Option<Watchdog>,
    /// Those of the processes that are ours to reap.
    #[serde(skip)]
    children: Vec<Child>,
}

/// Held while a service is started or stopped: two runs of this program do not meet.
pub(crate) fn lock(service: &dyn Service, root: &Path) -> Result<File> {
    let file = File::create(root.join(format!("{}.lock", service.name())))?;
    file.lock()?;
    Ok(file)
}

impl Place {
    /// What is known of `service` below `root`.
    pub(crate) fn of(service: &dyn Service, root: &Path) -> Result<Self> {
        let file = root.join(format!("{}.json", service.name()));
        match fs::read(&file) {
            Ok(text) => Ok(Self { file, ..serde_json::from_slice(&text)? }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self { folder: root.join(service.name()), file, ..Self::default() })
            }
            Err(error) => Err(format!("{}: {error}", file.display()).into()),
        }
    }

    /// A place that is none, for what is the same everywhere.
    pub(crate) fn nowhere(service: &dyn Service) -> Self {
        Self { ports: vec![0; service.ports()], ..Self::default() }
    }

    /// Removes the data, and what is known.
    pub(crate) fn erase(&self) -> Result {
        for folder in [&self.folder, &self.file.with_extension("")] {
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
        }
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Writes down what is known, for the watchdog first: this process may be killed at any time.
    pub(crate) fn save(&self) -> Result {
        let told = self.watchdog.iter().try_for_each(|it| it.tell(&self.processes));
        let new = self.file.with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        fs::rename(new, &self.file)?;
        told
    }

    /// The process that serves.
    pub(crate) fn server(&self) -> Option<Process> {
        self.processes.last().copied()
    }

    /// Keeps the ports of the last time, for clients that come back, unless one is taken.
    pub(crate) fn choose_ports(&mut self, service: &dyn Service) -> Result {
        let is_kept =
            self.ports.len() == service.ports() && self.ports.iter().all(|port| is_free(*port));
        if !is_kept {
            self.ports = free_ports(service.ports())?;
        }
        self.save()
    }

    /// Makes the data, all of it: what an interrupted run left is made again.
    pub(crate) fn prepare_once(&mut self, service: &dyn Service) -> Result {
        let is_prepared = |folder: &Path| folder.join(PREPARED).exists();
        if is_prepared(&self.folder) {
            return Ok(());
        }
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        self.folder = service.home(self.file.with_extension(""))?;
        fs::create_dir_all(&self.folder)?;
        self.save()?;
        service.prepare(self)?;
        Ok(fs::write(self.folder.join(PREPARED), "")?)
    }

    /// Starts `command`, which lives on after this program, and writes its process down.
    pub(crate) fn launch(&mut self, command: &mut Command) -> Result {
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.current_dir(&self.folder).spawn()?;
        self.processes.extend(Process::of(child.id()));
        self.children.push(child);
        self.save()
    }

    /// Notes that no process is left.
    pub(crate) fn forget_processes(&mut self) -> Result {
        for mut child in self.children.drain(..) {
            child.wait()?;
        }
        self.processes.clear();
        self.save()
    }

    /// What clients read to find the server, by the names of the variables.
    pub(crate) fn variables(&self, service: &dyn Service) -> Vec<(&'static str, String)> {
        [service.variables(&self.ports), service.secured(self)].concat()
    }

    /// Where a server that speaks TLS has its certificates.
    pub(crate) fn certificates(&self) -> Certificates {
        Certificates::at(&self.folder.join(CERTIFICATES))
    }

    pub(crate) fn make_certificates(&self) -> Result {
        Certificates::make(&self.folder.join(CERTIFICATES)).map(drop)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("log.txt")
    }

    pub(crate) fn end_of_log(&self) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result {
        Ok(fs::write(self.folder.join(name), text)?)
    }
}

/// `program` in a session of its own: a signal from the terminal does not reach it.
pub(crate) fn detached(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setsid");
    command.arg(program);
    command
}

/// Whether something listens at `port`.
pub(crate) fn is_taken(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn is_free(port: u16) -> bool {
    // Nobody outside gets to it. Whoever listens on all addresses has it here, too.
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn free_ports(number: usize) -> Result<Vec<u16>> {
    // Another set of servers begins its search elsewhere.
    let begin = RandomState::new().hash_one(0) % u64::from(PORTS.end - PORTS.start);
    let begin = usize::try_from(begin).unwrap_or_default();
    let ports = PORTS.cycle().skip(begin).take(PORTS.len());
    let found: Vec<_> = ports.filter(|port| is_free(*port)).take(number).collect();
    match found.len() == number {
        true => Ok(found),
        false => Err(format!("{number} free ports are not to be had in {PORTS:?}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn ports_are_free_and_different() {
        let ports = free_ports(4).unwrap();
        let listen = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).unwrap();
        let listeners: Vec<_> = ports.iter().map(listen).collect();
        assert_eq!(listeners.len(), 4);
        assert!(ports.iter().all(|port| !is_free(*port) && is_taken(*port)));
    }

    #[test]
    fn a_port_is_tried_where_a_server_will_listen_and_nowhere_else() {
        let port = free_ports(1).unwrap()[0];
        let elsewhere = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port)).unwrap();
        assert!(is_free(port));
        drop(elsewhere);
        let _everywhere = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
        assert!(!is_free(port));
    }

    #[test]
    fn a_place_is_found_again() {
        let root = tempfile::tempdir().unwrap();
        let service = Kind::Kafka.service();
        let mut place = Place::of(service, root.path()).unwrap();
        place.choose_ports(service).unwrap();
        place.processes.extend(Process::of(std::process::id()));
        place.save().unwrap();
        let again = Place::of(service, root.path()).unwrap();
        assert_eq!(again.ports, place.ports);
        assert_eq!(again.server(), place.server());
    }

    #[test]
    fn ports_are_kept_until_one_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let service = Kind::Kafka.service();
        let mut place = Place::of(service, root.path()).unwrap();
        place.choose_ports(service).unwrap();
        let first = place.ports.clone();
        place.choose_ports(service).unwrap();
        assert_eq!(place.ports, first);
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, first[1])).unwrap();
        place.choose_ports(service).unwrap();
        assert!(!place.ports.contains(&first[1]));
    }
}
