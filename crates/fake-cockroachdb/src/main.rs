//! The server as a program: `fake-cockroachdb --workload bank`.

use std::{
    env, fs,
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use rowtide_fake_cockroachdb::{Certificate, Faults, Options, Server, Workload};

const USAGE: &str = "\
usage: fake-cockroachdb [OPTION]…

  --listen ADDRESS          where to listen, by default 127.0.0.1:26257; port 0 takes a free one
  --database NAME           the name of the database, by default defaultdb
  --user NAME:PASSWORD      who may come in, again for each; without it everybody as root
  --certificate FILE --key FILE   lets connections be encrypted
  --client-ca FILE      who signs the certificates of clients that need no password
  --workload bank           makes tables, and changes them
  --steps-per-second N      how often the workload changes something, by default 10
  --steps N                 after how many steps the workload stops; by default never
  --execute FILE            runs the SQL in a file first
  --seed N                  misbehaves, and what the workload does is decided by N

It prints `listening on ADDRESS` once it answers, and runs until it is killed. Everything else is
asked of it with SQL, also how it misbehaves: SET CLUSTER SETTING fake.cut = 100.";

/// What the command line asks for.
struct Arguments {
    options: Options,
    workload: Option<Workload>,
    steps_per_second: u32,
    steps: u64,
    execute: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let arguments = parse(arguments)?;
    let seed = arguments.options.faults.seed;
    let server = Server::start(arguments.options).map_err(|error| error.to_string())?;
    if let Some(path) = arguments.execute {
        let sql =
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        server.execute(&sql).map_err(|error| error.to_string())?;
    }
    if let Some(workload) = arguments.workload {
        workload.prepare(&server).map_err(|error| error.to_string())?;
    }
    println!("listening on {}", server.address());
    if let Some(workload) = arguments.workload {
        let mut chance = fastrand::Rng::with_seed(seed);
        let pause = Duration::from_secs(1) / arguments.steps_per_second.max(1);
        let mut next = Instant::now();
        for _ in 0..arguments.steps {
            workload.step(&server, &mut chance).map_err(|error| error.to_string())?;
            next += pause;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
    loop {
        thread::park();
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut parsed = Arguments {
        options: Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 26257)),
            ..Options::default()
        },
        workload: None,
        steps_per_second: 10,
        steps: u64::MAX,
        execute: None,
    };
    let (mut chain, mut key, mut client_authority) = (None, None, None);
    while let Some(name) = arguments.next() {
        let mut value =
            || arguments.next().ok_or_else(|| format!("{name} needs a value\n\n{USAGE}"));
        match name.as_str() {
            "--listen" => parsed.options.listen = read(&name, &value()?)?,
            "--database" => parsed.options.database = value()?,
            "--user" => {
                let text = value()?;
                let (user, password) =
                    text.split_once(':').ok_or_else(|| format!("{name}: NAME:PASSWORD"))?;
                parsed.options.users.insert(user.to_owned(), password.to_owned());
            }
            "--certificate" => chain = Some(PathBuf::from(value()?)),
            "--key" => key = Some(PathBuf::from(value()?)),
            "--client-ca" => client_authority = Some(PathBuf::from(value()?)),
            "--workload" => parsed.workload = Some(read(&name, &value()?)?),
            "--steps-per-second" => parsed.steps_per_second = read(&name, &value()?)?,
            "--steps" => parsed.steps = read(&name, &value()?)?,
            "--execute" => parsed.execute = Some(PathBuf::from(value()?)),
            "--seed" => parsed.options.faults = Faults::seeded(read(&name, &value()?)?),
            _ => return Err(USAGE.to_owned()),
        }
    }
    parsed.options.certificate = match (chain, key) {
        (Some(chain), Some(key)) => Some(Certificate { chain, key, client_authority }),
        (None, None) => None,
        _ => return Err("--certificate and --key come together".to_owned()),
    };
    Ok(parsed)
}

fn read<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| format!("{name}: {error}"))
}
