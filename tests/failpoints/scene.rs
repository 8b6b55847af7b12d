use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rusqlite::{Connection, params};

use crate::Outcome;

pub(crate) const VARIABLE: &str = "ROWTIDE_FAILPOINT";

/// What is run, and at what stage of its life it is killed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) source: Source,
    checkpoint: &'static str,
    /// The points of these parts of the program are killed at here.
    areas: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Tables, killed in the first run of all: rows are read, and the log behind them.
    Tables,
    /// Tables, killed when it goes on after a clean stop.
    Log,
    /// The rows alone, after which the partition ends.
    Snapshot,
    /// An outbox, killed in the first run.
    Outbox,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Killed,
    Drained,
}

/// A folder with the database, what was delivered, and the checkpoint; kept if the test fails.
pub(crate) struct Scene {
    folder: PathBuf,
    pub(crate) source: Source,
    /// What was written last; each write has a number.
    pub(crate) version: i64,
    /// From here on every write must arrive as a change of its own.
    pub(crate) captured_from: i64,
}

impl Setting {
    pub(crate) const ALL: [Self; 6] = [
        Self {
            source: Source::Tables,
            checkpoint: "sqlite",
            areas: &["engine", "file", "sqlite", "sqlite checkpoint"],
        },
        Self { source: Source::Tables, checkpoint: "file", areas: &["file checkpoint"] },
        Self {
            source: Source::Log,
            checkpoint: "file",
            areas: &["engine", "file", "file checkpoint", "sqlite"],
        },
        Self { source: Source::Log, checkpoint: "sqlite", areas: &["sqlite checkpoint"] },
        Self { source: Source::Snapshot, checkpoint: "file", areas: &["engine", "sqlite"] },
        Self { source: Source::Outbox, checkpoint: "sqlite", areas: &["engine", "outbox"] },
    ];

    pub(crate) fn is_for(&self, point: &str) -> bool {
        point.split_once(':').is_some_and(|(area, _)| self.areas.contains(&area))
    }
}

/// The points of the program. Calls that can be made to fail are told apart behind a tab.
pub(crate) fn names() -> Outcome<BTreeSet<String>> {
    let output = Command::new(env!("CARGO_BIN_EXE_rowtide")).arg("failpoints").output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().filter(|line| !line.contains('\t')).map(str::to_owned).collect())
}

const TABLES: &str = "
CREATE TABLE orders (id INTEGER PRIMARY KEY, version INTEGER, note TEXT);
CREATE TABLE outbox (
    id TEXT NOT NULL, aggregatetype TEXT NOT NULL, aggregateid TEXT NOT NULL, payload TEXT,
    seq INTEGER PRIMARY KEY AUTOINCREMENT);
";

impl Scene {
    pub(crate) fn new(setting: Setting) -> Outcome<Self> {
        let folder = tempfile::tempdir()?.keep();
        fs::write(folder.join("p.toml"), pipeline(setting))?;
        let scene = Self { folder, source: setting.source, version: 0, captured_from: i64::MAX };
        scene.connect()?.execute_batch(TABLES)?;
        Ok(scene)
    }

    /// Brings the pipeline to where it is to be killed.
    pub(crate) fn prepare(&mut self) -> Outcome<()> {
        self.write()?;
        match self.source {
            Source::Log => {
                self.drain(None)?;
                self.captured_from = self.version + 1;
                self.write()
            }
            // Every message is a change of its own.
            Source::Outbox => {
                self.captured_from = 1;
                Ok(())
            }
            Source::Tables | Source::Snapshot => Ok(()),
        }
    }

    /// Writes to few keys, a transaction at a time.
    pub(crate) fn write(&mut self) -> Outcome<()> {
        if self.source == Source::Snapshot && self.version > 0 {
            return Ok(());
        }
        let mut connection = self.connect()?;
        // The application's own durability is not what is tested, and takes its time.
        connection.pragma_update(None, "synchronous", "off")?;
        for _ in 0..6 {
            let transaction = connection.transaction()?;
            for _ in 0..4 {
                self.version += 1;
                self.statement(&transaction)?;
            }
            transaction.commit()?;
        }
        Ok(())
    }

    fn statement(&self, connection: &Connection) -> rusqlite::Result<usize> {
        let version = self.version;
        let key = version * 7 % 40;
        if self.source == Source::Outbox {
            let insert = "INSERT INTO outbox (id, aggregatetype, aggregateid, payload) \
                          VALUES (?1, 'order', ?2, ?3)";
            let payload = format!(r#"{{"version":{version},"key":"{}"}}"#, key % 5);
            return connection.execute(insert, params![version, key % 5, payload]);
        }
        if version % 11 == 0 {
            connection.execute("DELETE FROM orders WHERE id = ?", [key])?;
        }
        let upsert = "INSERT INTO orders VALUES (?1, ?2, ?3) \
                      ON CONFLICT (id) DO UPDATE SET version = ?2, note = ?3";
        connection.execute(upsert, params![key, version, "x".repeat(60)])
    }

    /// Runs the pipeline until it has caught up, or dies at `place`.
    pub(crate) fn drain(&self, place: Option<&str>) -> Outcome<Ending> {
        let mut command = self.rowtide(&["run", "--drain", "p.toml"]);
        if let Some(place) = place {
            command.env(VARIABLE, place);
        }
        let output = command.stderr(Stdio::piped()).output()?;
        if output.status.success() {
            return Ok(Ending::Drained);
        }
        if place.is_some() && is_killed(&output.status) {
            return Ok(Ending::Killed);
        }
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("it ended with {} in {}:\n{log}", output.status, self.folder.display()).into())
    }

    pub(crate) fn rowtide(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowtide"));
        command.current_dir(&self.folder).args(arguments).env_remove("RUST_LOG");
        command
    }

    pub(crate) fn connect(&self) -> rusqlite::Result<Connection> {
        Connection::open(self.database())
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.join("shop.db")
    }

    /// What was delivered, in the order of the files' names.
    pub(crate) fn delivered(&self) -> Outcome<String> {
        let mut closed = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_whole = name.ends_with(".jsonl") || name.ends_with(".jsonl.gz");
            if name.starts_with("changes.") && name != "changes.jsonl" && is_whole {
                closed.push(path);
            }
        }
        closed.sort();
        let mut text = String::new();
        for path in &closed {
            text.push_str(&content(path)?);
        }
        text.push_str(&content(&self.folder.join("changes.jsonl"))?);
        Ok(text)
    }

    /// What no test would want to happen.
    pub(crate) fn lose_the_last_line(&self) -> Outcome<()> {
        let path = self.folder.join("changes.jsonl");
        let text = fs::read_to_string(&path)?;
        let end = text.trim_end().rfind('\n').map_or(0, |end| end + 1);
        Ok(fs::write(path, &text[..end])?)
    }

    pub(crate) fn remove(self) -> Outcome<()> {
        Ok(fs::remove_dir_all(self.folder)?)
    }
}

fn content(path: &Path) -> Outcome<String> {
    let bytes = fs::read(path)?;
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut text = String::new();
        flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut text)?;
        return Ok(text);
    }
    Ok(String::from_utf8(bytes)?)
}

fn is_killed(status: &std::process::ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(9)
}

/// Small batches and files, so that every point is passed often.
fn pipeline(setting: Setting) -> String {
    let source = match setting.source {
        Source::Outbox => {
            "type = 'outbox'\ndatabase = 'sqlite:shop.db'\npage_rows = 8\ndelete_rows = 3"
        }
        Source::Snapshot => {
            "type = 'sqlite'\npath = 'shop.db'\ntables = ['orders']\nsnapshot = 'only'\nbatch_rows = 8"
        }
        Source::Tables | Source::Log => {
            "type = 'sqlite'\npath = 'shop.db'\ntables = ['orders']\nprune_every = '1ms'\nbatch_rows = 8"
        }
    };
    let format = match setting.source {
        Source::Outbox => "outbox",
        _ => "json",
    };
    format!(
        "name = 'points'\n[source]\n{source}\n\
         [sink]\ntype = 'file'\npath = 'changes.jsonl'\nformat = '{format}'\n\
         rotate_bytes = 400\ncompress = 'gzip'\n\
         [checkpoint]\ntype = '{}'\npath = 'checkpoint'\n[delivery]\nflush_after = 4\n",
        setting.checkpoint
    )
}
