//! Within a process, whoever opens a path comes after the work on it that nobody waits for any more.
//!
//! What a thread does with a file cannot be stopped: it runs on when its sink is dropped, and has the
//! lock until it ends. A path that is in use otherwise is refused by that lock.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
};

use crate::disk;

static TENURES: Mutex<Vec<Entry>> = Mutex::new(Vec::new());
static ENDED: Condvar = Condvar::new();

struct Entry {
    path: PathBuf,
    user: Weak<Token>,
}

impl Entry {
    fn is_given_up(&self) -> bool {
        self.user.strong_count() == 0
    }
}

/// Its address tells one use of a path from another.
struct Token;

/// Kept by whoever is to be refused no longer than it lives.
pub(crate) struct User(#[expect(dead_code, reason = "it is counted")] Arc<Token>);

/// A use of a path, which goes with the lock and is dropped after it.
pub(crate) struct Tenure(Weak<Token>);

impl Tenure {
    /// Waits for the end of what is given up at `path`.
    pub(crate) fn begin(path: &Path) -> (Tenure, User) {
        let path = absolute(path);
        let is_busy = |entries: &mut Vec<Entry>| {
            entries.iter().any(|entry| entry.is_given_up() && entry.path == path)
        };
        let waited = ENDED.wait_while(tenures(), is_busy);
        let mut tenures = waited.unwrap_or_else(PoisonError::into_inner);
        let token = Arc::new(Token);
        let user = Arc::downgrade(&token);
        tenures.push(Entry { path, user: Weak::clone(&user) });
        (Tenure(user), User(token))
    }
}

impl Drop for Tenure {
    fn drop(&mut self) {
        tenures().retain(|entry| !entry.user.ptr_eq(&self.0));
        ENDED.notify_all();
    }
}

fn tenures() -> MutexGuard<'static, Vec<Entry>> {
    TENURES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One path for the many ways to write it; the file need not be there.
fn absolute(path: &Path) -> PathBuf {
    let directory = disk::directory_of(path).canonicalize();
    match (directory, path.file_name()) {
        (Ok(directory), Some(name)) => directory.join(name),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        future::Future as _,
        io,
        pin::pin,
        sync::mpsc::{self, RecvTimeoutError},
        task::{Context, Waker},
        thread,
        time::Duration,
    };

    use rowtide_core::{ErrorKind, Sink as _};
    use rowtide_format::{Encoder, Format};

    use super::*;
    use crate::{
        journal::{Journal, Rotation},
        sink::FileSink,
    };

    /// What a test does with a flush that does not return.
    #[derive(PartialEq)]
    enum Stage {
        Begun,
        Syncing,
        Released,
    }

    static STAGE: Mutex<Stage> = Mutex::new(Stage::Begun);
    static CHANGED: Condvar = Condvar::new();

    fn enter(stage: Stage) {
        *STAGE.lock().unwrap() = stage;
        CHANGED.notify_all();
    }

    fn wait_for(stage: Stage) {
        drop(CHANGED.wait_while(STAGE.lock().unwrap(), |now| *now != stage).unwrap());
    }

    fn slow_sync(_file: &File) -> io::Result<()> {
        enter(Stage::Syncing);
        wait_for(Stage::Released);
        Ok(())
    }

    /// Lets the flush return also when the test fails.
    struct Release;

    impl Drop for Release {
        fn drop(&mut self) {
            enter(Stage::Released);
        }
    }

    #[test]
    fn a_path_is_refused_while_it_is_used_and_waited_for_once_it_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.jsonl");
        let mut journal = Journal::open(&path, Rotation::default()).unwrap();
        journal.append(b"first\n").unwrap();
        journal.sync = slow_sync;
        let mut sink = FileSink::new(Encoder::new(&Format::default(), "p"), journal);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let release = Release;
        {
            let mut flush = pin!(sink.flush());
            assert!(flush.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            wait_for(Stage::Syncing);
            let error = Journal::open(&path, Rotation::default()).err().unwrap();
            assert_eq!(error.kind(), &ErrorKind::Fatal);
        }
        drop(sink);

        let (sender, opened) = mpsc::channel();
        // By another way to write it.
        let name = directory.path().file_name().unwrap();
        let again = directory.path().join("..").join(name).join("out.jsonl");
        let opening = thread::spawn(move || {
            sender.send(Journal::open(&again, Rotation::default())).unwrap();
        });
        let early = opened.recv_timeout(Duration::from_millis(100));
        assert_eq!(early.err(), Some(RecvTimeoutError::Timeout));
        drop(release);
        let mut journal = opened.recv().unwrap().unwrap();
        opening.join().unwrap();
        journal.append(b"second\n").unwrap();
        journal.flush().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first\nsecond\n");
    }
}
