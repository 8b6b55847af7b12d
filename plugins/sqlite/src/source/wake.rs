use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};

/// Wakes a thread that waits for somebody to write to a database file.
///
/// The notification is only a hint: it may come before the write can be seen, or not at all. So
/// whoever waits looks again soon after one, and without one after a while.
pub(crate) struct Wake {
    signals: Receiver<()>,
    stopped: Arc<AtomicBool>,
    _watcher: Option<RecommendedWatcher>,
}

/// Stops the waiting thread when it is dropped.
pub(crate) struct Stop {
    stopped: Arc<AtomicBool>,
    signal: SyncSender<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    Write,
    Timer,
    Stop,
}

impl Wake {
    /// Watches the folder, since the write-ahead log comes and goes.
    pub(crate) fn new(path: &Path) -> (Self, Stop) {
        // One signal is enough: more say the same.
        let (signal, signals) = sync_channel(1);
        let stopped = Arc::new(AtomicBool::new(false));
        let watcher = watch(path, signal.clone())
            .inspect_err(|error| {
                tracing::warn!("no notification of writes to `{}`: {error}", path.display());
            })
            .ok();
        let wake = Self { signals, stopped: Arc::clone(&stopped), _watcher: watcher };
        (wake, Stop { stopped, signal })
    }

    pub(crate) fn wait(&self, at_most: Duration) -> Woken {
        let received = self.signals.recv_timeout(at_most);
        match received {
            _ if self.is_stopped() => Woken::Stop,
            Ok(()) => Woken::Write,
            Err(RecvTimeoutError::Timeout) => Woken::Timer,
            Err(RecvTimeoutError::Disconnected) => Woken::Stop,
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        let _ = self.signal.try_send(());
    }
}

fn watch(path: &Path, signal: SyncSender<()>) -> notify::Result<RecommendedWatcher> {
    let path = path.canonicalize()?;
    let files = files(&path);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let is_write = match event {
            Ok(event) => is_write(event.kind) && concerns(&event, &files),
            Err(_) => true,
        };
        if is_write {
            let _ = signal.try_send(());
        }
    })?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// The names that SQLite writes a commit to, whatever the journal mode.
fn files(path: &Path) -> [OsString; 3] {
    let name = path.file_name().unwrap_or_default();
    ["", "-wal", "-journal"].map(|suffix| {
        let mut name = name.to_owned();
        name.push(suffix);
        name
    })
}

fn concerns(event: &Event, files: &[OsString]) -> bool {
    let is_ours = |path: &PathBuf| {
        path.file_name().is_some_and(|name| files.iter().any(|file| file.as_os_str() == name))
    };
    event.need_rescan() || event.paths.iter().any(is_ours)
}

/// Our own reads open and close the file, too: to wake for those would never end.
fn is_write(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn database(mode: &str) -> (tempfile::TempDir, PathBuf, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", mode).unwrap();
        connection.execute_batch("CREATE TABLE t (x)").unwrap();
        (folder, path, connection)
    }

    #[test]
    fn a_commit_wakes_in_each_journal_mode() {
        for mode in ["wal", "delete", "truncate", "persist"] {
            let (_folder, path, connection) = database(mode);
            let (wake, _stop) = Wake::new(&path);
            while wake.wait(Duration::from_millis(50)) == Woken::Write {}
            connection.execute_batch("INSERT INTO t VALUES (1)").unwrap();
            assert_eq!(wake.wait(LONG), Woken::Write, "{mode}");
        }
    }

    #[test]
    fn reading_and_other_files_do_not_wake() {
        let (folder, path, connection) = database("wal");
        let (wake, _stop) = Wake::new(&path);
        while wake.wait(Duration::from_millis(50)) == Woken::Write {}
        connection.query_row("SELECT count(*) FROM t", [], |_| Ok(())).unwrap();
        std::fs::write(folder.path().join("other"), "x").unwrap();
        assert_eq!(wake.wait(Duration::from_millis(100)), Woken::Timer);
    }

    #[test]
    fn dropping_the_stop_ends_the_wait() {
        let (_folder, path, _connection) = database("wal");
        let (wake, stop) = Wake::new(&path);
        let waiting = std::thread::spawn(move || while wake.wait(LONG) != Woken::Stop {});
        drop(stop);
        waiting.join().unwrap();
    }
}
