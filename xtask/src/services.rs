//! The servers that tests talk to: installed, started and stopped here, on loopback, with their
//! data below the folder of build results.

mod install;
mod kafka;
mod mariadb;
mod place;
mod postgres;
mod process;
mod rabbitmq;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};

use crate::{Result, workspace::Workspace};
use place::Place;
use process::{Condition, Process};

const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// What a killed server left, a busy child say, may keep the next one from its data for so long.
const LEFTOVER_LIMIT: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);

const SERVICES: [&dyn Service; 4] =
    [&postgres::Postgres, &mariadb::MariaDb, &rabbitmq::RabbitMq, &kafka::Kafka];

/// A server, and how to bring it up on this machine.
trait Service: Sync {
    fn name(&self) -> &'static str;
    /// What must be found here.
    fn programs(&self) -> &'static [&'static str];
    /// The Debian packages that bring these.
    fn packages(&self) -> &'static [&'static str];
    /// How many ports it takes. The first is the one that clients use.
    fn ports(&self) -> usize;
    /// What the tests read to find it.
    fn variables(&self, ports: &[u16]) -> Vec<(&'static str, String)>;

    /// Where its data can be, `folder` if that will do.
    fn home(&self, folder: PathBuf) -> Result<PathBuf> {
        Ok(folder)
    }
    /// Gets what no package brings.
    fn fetch(&self) -> Result {
        Ok(())
    }
    /// Fills the empty folder, before the first start of all.
    fn prepare(&self, place: &Place) -> Result;
    /// Writes its settings, before each start: the ports may be others.
    fn configure(&self, _place: &Place) -> Result {
        Ok(())
    }
    /// What has to run beside it, and the port by which it is known to run.
    fn companion(&self, _place: &Place) -> Result<Option<(Command, u16)>> {
        Ok(None)
    }
    fn server(&self, place: &Place) -> Result<Command>;
    /// The process that serves, where the one that was started is only its parent.
    fn serving(&self, _place: &Place) -> Result<Option<u32>> {
        Ok(None)
    }
    /// Whether a client gets an answer.
    fn answers(&self, place: &Place) -> Result<bool>;
    /// What asks it to stop in good order.
    fn stop_signal(&self) -> &'static str {
        "TERM"
    }
}

#[derive(Subcommand)]
pub(crate) enum Action {
    /// Installs what is missing, starts the servers, waits until they answer, and prints the
    /// environment that tests read. Servers that run are left alone.
    Up(Selection),
    /// Stops the servers that `up` started. Their data stays.
    Down {
        #[command(flatten)]
        selection: Selection,
        /// Removes their data as well.
        #[arg(long)]
        erase: bool,
    },
    /// Says what runs, as which process, on which port, and where its data is.
    Status(Selection),
}

#[derive(Args)]
pub(crate) struct Selection {
    /// `postgres`, `mariadb`, `rabbitmq`, `kafka`; all of them if none is named.
    names: Vec<String>,
    /// Where the data is: another folder is another set of servers. By default `services` in the
    /// folder of build results.
    #[arg(long)]
    folder: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, action: Action) -> Result {
    match action {
        Action::Up(selection) => up(&selection.root(workspace)?, &selection.services()?),
        Action::Down { selection, erase } => {
            let root = selection.root(workspace)?;
            selection.services()?.iter().try_for_each(|service| {
                down(*service, &root)?;
                if erase { Place::erase(*service, &root) } else { Ok(()) }
            })
        }
        Action::Status(selection) => status(&selection.root(workspace)?, &selection.services()?),
    }
}

impl Selection {
    fn services(&self) -> Result<Vec<&'static dyn Service>> {
        let named = |name: &String| {
            let found = SERVICES.into_iter().find(|service| service.name() == name);
            let names = SERVICES.map(|service| service.name()).join(", ");
            found.ok_or_else(|| format!("there is no service `{name}`; there are: {names}").into())
        };
        match self.names.is_empty() {
            true => Ok(SERVICES.to_vec()),
            false => self.names.iter().map(named).collect(),
        }
    }

    fn root(&self, workspace: &Workspace) -> Result<PathBuf> {
        let default = || workspace.target.join("services");
        let root = self.folder.clone().unwrap_or_else(default);
        fs::create_dir_all(&root)?;
        Ok(root.canonicalize()?)
    }
}

fn up(root: &Path, services: &[&'static dyn Service]) -> Result {
    install::ensure(services)?;
    let started: Vec<Result<Place, String>> = thread::scope(|scope| {
        let start = |service: &&'static dyn Service| {
            let service = *service;
            let starting = move || start(service, root).map_err(|error| error.to_string());
            scope.spawn(starting)
        };
        let threads: Vec<_> = services.iter().map(start).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Place, String>>| {
            thread.join().unwrap_or_else(|_| Err("a panic while it was started".to_owned()))
        };
        threads.into_iter().map(join).collect()
    });
    let mut failures = Vec::new();
    for (service, started) in services.iter().zip(started) {
        match started {
            Ok(place) => {
                for (name, value) in service.variables(&place.ports) {
                    println!("export {name}='{value}'");
                }
            }
            Err(error) => failures.push(format!("{}: {error}", service.name())),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

/// Starts `service` unless it runs, and returns once it answers.
fn start(service: &dyn Service, root: &Path) -> Result<Place> {
    let name = service.name();
    let begin = Instant::now();
    let _lock = place::lock(service, root)?;
    let mut place = Place::of(service, root)?;
    if let Some(server) = place.server().filter(|server| server.condition() != Condition::Ended) {
        server.signal("CONT")?;
        await_answer(service, &place)?;
        let pid = note_serving(service, &mut place)?;
        eprintln!("{name}: runs, process {pid}, port {}", place.ports[0]);
        return Ok(place);
    }
    let was_killed = place.server().is_some();
    // What ran beside a server that was killed.
    stop(service, &mut place)?;
    service.fetch()?;
    place.choose_ports(service)?;
    place.prepare_once(service)?;
    service.configure(&place)?;
    while let Err(error) = launch(service, &mut place) {
        let log = place.end_of_log();
        stop(service, &mut place)?;
        if !was_killed || begin.elapsed() > LEFTOVER_LIMIT {
            return Err(format!("{error}; the end of {}:\n{log}", place.log().display()).into());
        }
        thread::sleep(PAUSE);
    }
    note_serving(service, &mut place)?;
    let seconds = begin.elapsed().as_secs_f64();
    eprintln!("{name}: started on port {} in {seconds:.1} s", place.ports[0]);
    Ok(place)
}

/// Starts the processes, and returns once the server answers. Each is written down at once, so
/// that none is left behind unknown.
fn launch(service: &dyn Service, place: &mut Place) -> Result {
    if let Some((mut companion, port)) = service.companion(place)? {
        place.launch(&mut companion)?;
        await_condition(place, || Ok(place::is_taken(port)))?;
    }
    place.launch(&mut service.server(place)?)?;
    await_answer(service, place)
}

/// Writes down which process serves, once it does, and says which.
fn note_serving(service: &dyn Service, place: &mut Place) -> Result<u32> {
    let started = place.server().map(|server| server.pid);
    let serving = service.serving(place)?.or(started).ok_or("no process was started")?;
    if started != Some(serving) {
        place.processes.extend(Process::of(serving));
        place.save()?;
    }
    Ok(serving)
}

fn await_answer(service: &dyn Service, place: &Place) -> Result {
    await_condition(place, || service.answers(place))
}

/// Returns once `condition` holds; an error if a process ends before, or time does.
fn await_condition(place: &Place, condition: impl Fn() -> Result<bool>) -> Result {
    let begin = Instant::now();
    while !condition()? {
        if place.processes.iter().any(|process| process.condition() == Condition::Ended) {
            return Err("it ended before it answered".into());
        }
        if begin.elapsed() > START_LIMIT {
            return Err(format!("no answer within {} s", START_LIMIT.as_secs()).into());
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn down(service: &dyn Service, root: &Path) -> Result {
    let begin = Instant::now();
    let _lock = place::lock(service, root)?;
    let mut place = Place::of(service, root)?;
    let pids: Vec<_> = place.processes.iter().map(|process| process.pid.to_string()).collect();
    match stop(service, &mut place)? {
        0 => eprintln!("{}: does not run", service.name()),
        _ => {
            let seconds = begin.elapsed().as_secs_f64();
            eprintln!("{}: stopped {} in {seconds:.1} s", service.name(), pids.join(", "));
        }
    }
    Ok(())
}

/// Ends the processes that were written down, the server first, and says how many there were.
fn stop(service: &dyn Service, place: &mut Place) -> Result<usize> {
    let mut stopped = 0;
    for process in place.processes.iter().rev() {
        if process.condition() == Condition::Ended {
            continue;
        }
        stopped += 1;
        process.signal(service.stop_signal())?;
        // One that is frozen hears nothing else.
        process.signal("CONT")?;
        if !process.ends_within(STOP_LIMIT) {
            eprintln!("{}: process {} does not stop; killed", service.name(), process.pid);
            process.signal("KILL")?;
            process.ends_within(STOP_LIMIT);
        }
    }
    place.processes.clear();
    place.save()?;
    Ok(stopped)
}

fn status(root: &Path, services: &[&'static dyn Service]) -> Result {
    println!("{:9} {:8} {:>7} {:>6}  data", "name", "state", "process", "port");
    for service in services {
        let place = Place::of(*service, root)?;
        let server = place.server();
        let state = match server.map(|server| server.condition()) {
            None => "stopped",
            Some(Condition::Ended) => "ended",
            Some(Condition::Frozen) => "frozen",
            Some(Condition::Running) if service.answers(&place)? => "answers",
            Some(Condition::Running) => "silent",
        };
        let shown =
            |number: Option<u32>| number.map_or("-".to_owned(), |number| number.to_string());
        let pid = shown(server.map(|server| server.pid));
        let port = shown(place.ports.first().map(|port| u32::from(*port)));
        let (name, folder) = (service.name(), place.folder.display());
        println!("{name:9} {state:8} {pid:>7} {port:>6}  {folder}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_service_is_refused() {
        let selection = |names: &[&str]| Selection {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            folder: None,
        };
        assert_eq!(selection(&[]).services().unwrap().len(), SERVICES.len());
        assert_eq!(selection(&["kafka"]).services().unwrap()[0].name(), "kafka");
        let error = selection(&["kafak"]).services().err().unwrap().to_string();
        assert!(error.contains("`kafak`") && error.contains("rabbitmq"), "{error}");
    }
}
