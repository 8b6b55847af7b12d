//! A relay in a process of its own, which can be frozen and killed.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Outcome, Relay, context, factory, run};

/// Names the database that a process is started to hold.
const VARIABLE: &str = "ROWTIDE_OUTBOX_HOLDS";

/// Relays what the environment names, if this process was started for that.
pub(crate) fn hold() -> Option<ExitCode> {
    let database = env::var(VARIABLE).ok()?;
    // It ends with whoever started it.
    thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let ended = run(async {
        let source = factory(&database, &serde_json::json!({}))?.open(&context()).await?;
        println!("held");
        let mut relay = Relay::new(&*source, None);
        loop {
            relay.next().await?;
        }
    });
    eprintln!("{ended:?}");
    Some(ExitCode::FAILURE)
}

pub(crate) struct Holder(Child);

impl Holder {
    /// Returns once it holds the lock.
    pub(crate) fn start(database: &str) -> Outcome<Self> {
        let mut child = Command::new(env::current_exe()?)
            .env(VARIABLE, database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no output")?;
        let holder = Self(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line == "held\n" { Ok(holder) } else { Err(format!("it said {line:?}").into()) }
    }

    pub(crate) fn freeze(&self) -> Outcome {
        let pid = self.0.id();
        let sent = Command::new("kill").args(["-s", "STOP", &pid.to_string()]).status()?;
        let begun = Instant::now();
        while !fs::read_to_string(format!("/proc/{pid}/stat"))?.contains(") T ") {
            if !sent.success() || begun.elapsed() > Duration::from_secs(60) {
                return Err("it cannot be frozen".into());
            }
            thread::yield_now();
        }
        Ok(())
    }

    /// Ends it, and so its connections.
    pub(crate) fn kill(mut self) -> Outcome {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
