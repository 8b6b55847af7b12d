//! A server of a test.

use std::{
    collections::hash_map::RandomState,
    env, fmt,
    fs::{self, File, Permissions},
    hash::BuildHasher,
    io::ErrorKind,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Error, Kind, Result, install,
    instance::Instance,
    machine::process::{PAUSE, Process},
    watchdog::Watchdog,
};

/// Children of a killed server may write for so long after it.
const ERASE_LIMIT: Duration = Duration::from_secs(15);

/// A server to test against: one's own, or one that runs already.
///
/// All methods return once what they do is done. Those that end, freeze or start the server fail
/// with [`Error::Missing`] where it is not the test's own.
pub struct Server {
    kind: Kind,
    variables: Vec<(&'static str, String)>,
    own: Option<Mutex<Own>>,
}

/// A server of this process, and nobody else's.
struct Own {
    instance: Instance,
    /// Locked by its owner for as long as that lives.
    root: PathBuf,
    _owner: File,
}

impl Server {
    /// A server of this kind: the one that the environment names, or one's own, which has been
    /// installed before (`cargo xtask services install`).
    ///
    /// # Errors
    /// [`Error::Missing`] if it cannot be had here, [`Error::Failed`] if it does not come up.
    pub fn start(kind: Kind) -> Result<Self> {
        match install::existing(kind) {
            Some(variables) => Ok(Self { kind, variables, own: None }),
            None => Self::start_with(kind, &[]),
        }
    }

    /// A server of one's own, whose program is given these arguments beside the usual ones.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(kind: Kind, arguments: &[&str]) -> Result<Self> {
        if let Some(reason) = install::lack(kind) {
            return Err(Error::Missing(reason));
        }
        let mut own = Own::new(kind)?;
        own.instance.place.arguments = arguments.iter().map(|it| (*it).to_owned()).collect();
        own.instance.start()?;
        let variables = own.instance.place.variables(kind.service());
        Ok(Self { kind, variables, own: Some(Mutex::new(own)) })
    }

    /// The one server of this kind that all tests of this process share. They have to get on with
    /// each other, and none of them may end it.
    ///
    /// # Errors
    /// As [`start`](Self::start), each time.
    pub fn shared(kind: Kind) -> Result<&'static Self> {
        static SERVERS: [OnceLock<Result<Server>>; Kind::ALL.len()] =
            [const { OnceLock::new() }; Kind::ALL.len()];
        let server = SERVERS[kind as usize].get_or_init(|| Self::start(kind));
        server.as_ref().map_err(Error::clone)
    }

    /// What this variable of the environment is, or would be, for programs that use this server.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is not known.
    pub fn variable(&self, name: &str) -> Result<&str> {
        let found = self.variables.iter().find(|(known, _)| *known == name);
        let unknown = || Error::Missing(format!("{}: no variable {name}", self.kind.name()));
        found.map(|(_, value)| value.as_str()).ok_or_else(unknown)
    }

    /// Whether it can be ended, frozen and started.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it is one's own and goes on by itself.
    pub(crate) fn is_running(&self) -> bool {
        self.own().and_then(|own| own.serving()).is_ok_and(|server| server.is_running())
    }

    /// The process that serves.
    ///
    /// # Errors
    /// There is none, or it is not one's own.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.own()?.serving()?.pid)
    }

    /// Ends it with SIGKILL.
    ///
    /// # Errors
    /// It is not one's own, or cannot be signalled.
    pub fn kill(&self) -> Result {
        self.own()?.instance.kill().map(drop)
    }

    /// Ends it in good order.
    ///
    /// # Errors
    /// It is not one's own, or cannot be signalled.
    pub fn stop(&self) -> Result {
        self.own()?.instance.stop().map(drop)
    }

    /// Stops it with SIGSTOP: its connections stay open, and nothing moves when this returns.
    ///
    /// # Errors
    /// It does not run, does not stop, or is not one's own.
    pub fn freeze(&self) -> Result {
        self.own()?.serving()?.freeze_family()
    }

    /// Lets it go on after [`freeze`](Self::freeze), and returns once it answers.
    ///
    /// # Errors
    /// It does not run, does not answer, or is not one's own.
    pub fn thaw(&self) -> Result {
        let own = self.own()?;
        own.serving()?.signal_family("CONT")?;
        own.instance.await_answer()
    }

    /// Starts it with the same data and the same address, after it was stopped in good order if it
    /// ran. Returns once it answers.
    ///
    /// # Errors
    /// It is not one's own, or does not come up.
    pub fn restart(&self) -> Result {
        self.own()?.instance.restart()
    }

    fn own(&self) -> Result<MutexGuard<'_, Own>> {
        let name = self.kind.name();
        let not_own = || Error::Missing(format!("this {name} is not the test's own"));
        let own = self.own.as_ref().ok_or_else(not_own)?;
        Ok(own.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Server").field(&self.kind).finish_non_exhaustive()
    }
}

impl Own {
    fn new(kind: Kind) -> Result<Self> {
        let base = base();
        make_open(&base)?;
        let lock = File::create(base.join("lock"))?;
        lock.lock()?;
        sweep(&base);
        let root = base.join(format!("{}-{:016x}", kind.name(), RandomState::new().hash_one(0)));
        make_open(&root)?;
        let owner = File::create(root.join(OWNER))?;
        owner.lock()?;
        let mut instance = Instance::open(kind, &root)?;
        let home = kind.service().home(instance.place.folder.clone())?;
        instance.place.watchdog = Some(Watchdog::start(&[&home, &root])?);
        Ok(Self { instance, root, _owner: owner })
    }

    fn serving(&self) -> Result<Process> {
        Ok(self.instance.running().ok_or("the server does not run")?)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let killed = self.instance.kill();
        let erased = killed.and_then(|_| erase(&self.instance.place.folder));
        let erased = erased.and_then(|()| erase(&self.root));
        if let Err(error) = erased {
            eprintln!("{}: {error}", self.root.display());
        }
    }
}

/// The file that the owner of a folder holds locked.
const OWNER: &str = "owner.lock";

/// Where the servers of all tests of this user are, each in a folder of its own.
fn base() -> PathBuf {
    let user = fs::metadata("/proc/self").map(|process| process.uid()).unwrap_or_default();
    env::temp_dir().join(format!("rowtide-servers-{user}"))
}

/// A server that changes its user must be able to enter.
fn make_open(folder: &Path) -> Result {
    fs::create_dir_all(folder)?;
    Ok(fs::set_permissions(folder, Permissions::from_mode(0o755))?)
}

/// Ends and erases what was left behind by processes that are gone, where even the watchdog was
/// killed.
fn sweep(base: &Path) {
    let folders = fs::read_dir(base).into_iter().flatten().flatten();
    for folder in folders.map(|entry| entry.path()).filter(|path| path.is_dir()) {
        let owner = File::create(folder.join(OWNER));
        if owner.is_ok_and(|owner| owner.try_lock().is_ok()) {
            for kind in Kind::ALL {
                let ended = Instance::open(kind, &folder).and_then(|mut left| {
                    left.kill()?;
                    erase(&left.place.folder)
                });
                report(&folder, ended);
            }
            report(&folder, erase(&folder));
        }
    }
}

fn report(folder: &Path, result: Result) {
    if let Err(error) = result {
        eprintln!("{}: {error}", folder.display());
    }
}

fn erase(folder: &Path) -> Result {
    let begin = Instant::now();
    loop {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(_) if begin.elapsed() < ERASE_LIMIT => thread::sleep(PAUSE),
            erased => return Ok(erased?),
        }
    }
}
