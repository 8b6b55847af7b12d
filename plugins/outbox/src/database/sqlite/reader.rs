//! Reading what is behind the last number.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::ErrorKind,
    mem,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use rowtide_core::{Error, Result, async_trait};
use rusqlite::Connection;

use crate::{
    database::{
        Page, Pass, Reader,
        sqlite::{
            connection::{blocking, connect, failure},
            statements::Statements,
        },
    },
    keys::{Key, Keys},
    layout::FoundRow,
    source::position::Cursor,
};

/// No read goes on while anything is awaited: it would keep the application from truncating its
/// write-ahead log.
pub(super) struct SqliteReader {
    /// With the thread that reads, while one does.
    state: Option<State>,
    poll_every: Duration,
}

struct State {
    path: PathBuf,
    file: Option<u64>,
    connection: Connection,
    statements: Arc<Statements>,
    after: Option<Key>,
    cursor: Option<Cursor>,
    /// What the last pass has found and this one so far, in a table without numbers.
    seen: Keys,
    found: Keys,
    /// Changes with each commit of another connection; read before what it tells of.
    version: i64,
}

impl SqliteReader {
    pub(super) fn open(
        path: PathBuf,
        statements: Arc<Statements>,
        poll_every: Duration,
        cursor: Option<Cursor>,
    ) -> Result<Self> {
        let file = file(&path);
        let connection = connect(&path)?;
        let after = match &cursor {
            Some(Cursor::Row { seq, digest }) => {
                let found = statements.digest(&connection, *seq);
                let found = found.map_err(|error| failure(doing(&path), error))?;
                if found.as_ref() != Some(digest) {
                    return Err(lost(*seq));
                }
                Some(Key::Seq(*seq))
            }
            Some(Cursor::Snapshots { .. }) => {
                return Err(Error::position_lost("the saved position is of another database")
                    .help("check `database`; or `rowtide checkpoint reset`"));
            }
            None => None,
        };
        let state = State {
            path,
            file,
            connection,
            statements,
            after,
            cursor,
            seen: Keys::default(),
            found: Keys::default(),
            version: -1,
        };
        Ok(Self { state: Some(state), poll_every })
    }

    /// Works beside the runtime.
    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut State) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let gone = || Error::transient("a read of the outbox was broken off");
        let mut state = self.state.take().ok_or_else(gone)?;
        let (state, done) = blocking(move || {
            let done = work(&mut state);
            Ok((state, done))
        })
        .await?;
        self.state = Some(state);
        done
    }
}

#[async_trait]
impl Reader for SqliteReader {
    async fn page(&mut self) -> Result<Page> {
        self.work(State::page).await
    }

    fn forget_settled(&mut self, pending: &Keys) {
        if let Some(state) = &mut self.state {
            state.seen = state.seen.intersection(pending);
        }
    }

    /// A page is durable before it is yielded.
    async fn log_durable(&mut self) -> Result<u64> {
        Ok(0)
    }

    /// Waits until somebody has committed something.
    async fn wait(&mut self) -> Result<()> {
        loop {
            tokio::time::sleep(self.poll_every).await;
            if self.work(State::has_news).await? {
                return Ok(());
            }
        }
    }
}

impl State {
    fn page(&mut self) -> Result<Page> {
        let time = Timestamp::now();
        let read = self.read().map_err(|error| failure(doing(&self.path), error));
        let (rows, is_end) = read?;
        if !rows.is_empty() {
            self.make_durable()?;
        }
        let pass = if is_end { Pass::Finished(time) } else { Pass::Unfinished };
        let cursor = self.cursor.clone();
        Ok(Page { rows, cursor, pass, log_end: 0, log_durable: 0 })
    }

    /// Some rows, and whether they are the last ones.
    fn read(&mut self) -> rusqlite::Result<(Vec<FoundRow>, bool)> {
        self.version = data_version(&self.connection)?;
        let (seen, found) = (&self.seen, &mut self.found);
        let is_numbered = self.statements.is_numbered;
        let is_new = |key: &Key| {
            if !is_numbered {
                found.insert(key);
            }
            is_numbered || !seen.contains(key)
        };
        let (rows, is_end) = self.statements.rows(&self.connection, self.after.as_ref(), is_new)?;
        let Some(last) = rows.last().map(|row| row.key.clone()) else {
            return Ok((rows, self.end(is_end)));
        };
        if let Key::Seq(seq) = last
            && self.statements.keeps()
            && let Some(digest) = self.statements.digest(&self.connection, seq)?
        {
            self.cursor = Some(Cursor::Row { seq, digest });
        }
        self.after = Some(last);
        Ok((rows, self.end(is_end)))
    }

    /// In a table without numbers the next pass looks at all rows again.
    fn end(&mut self, is_end: bool) -> bool {
        if is_end && !self.statements.is_numbered {
            self.seen = mem::take(&mut self.found);
            self.after = None;
        }
        is_end
    }

    /// A loss of power could take back what is in the log and not on the disk, and its numbers would
    /// be given to other messages. The file itself is not to be touched: closing it would end the
    /// locks that SQLite has on it.
    fn make_durable(&self) -> Result<()> {
        match File::open(log_of(&self.connection, &self.path)).and_then(|log| log.sync_data()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::transient(doing(&self.path)).because(error))
            }
            _ => Ok(()),
        }
    }

    fn has_news(&mut self) -> Result<bool> {
        // A file that was put in the place of ours would never be read: ours is still open.
        if file(&self.path) != self.file {
            let path = self.path.display();
            return Err(Error::transient(format!("another file was put in the place of `{path}`")));
        }
        // One of the rows that were seen may have been settled meanwhile, and be another one since.
        if !self.seen.is_empty() {
            return Ok(true);
        }
        let version = data_version(&self.connection);
        Ok(version.map_err(|error| failure(doing(&self.path), error))? != self.version)
    }
}

/// The write-ahead log, which is beside the file itself and not beside a link to it.
fn log_of(connection: &Connection, path: &Path) -> PathBuf {
    let file = connection.path().filter(|file| !file.is_empty());
    let mut log = file.map_or_else(|| path.as_os_str().to_owned(), OsString::from);
    log.push("-wal");
    log.into()
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

fn doing(path: &Path) -> String {
    format!("failed to read the outbox in `{}`", path.display())
}

fn lost(seq: i64) -> Error {
    let message = format!("the outbox has no row {seq} like the one that was read last");
    Error::position_lost(message).help(
        "it was restored, emptied or made anew; with done = \"keep\" the newest row must stay. To \
         read the whole outbox anew, `rowtide checkpoint reset`",
    )
}

/// Tells a file from another one of the same name.
#[cfg(unix)]
pub(super) fn file(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|file| file.ino())
}

#[cfg(not(unix))]
pub(super) fn file(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|_| 0)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_a_linked_file_is_beside_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("shop.db"), folder.path().join("link.db"));
        Connection::open(&file).unwrap().pragma_update(None, "journal_mode", "wal").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let connection = Connection::open(&link).unwrap();
        connection.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
        assert!(log_of(&connection, &link).exists());
        assert!(!folder.path().join("link.db-wal").exists());
    }
}
