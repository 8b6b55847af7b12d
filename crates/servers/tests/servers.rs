//! Each kind of server is started, frozen, killed and erased.

#![expect(clippy::unwrap_used, reason = "all of this is tests")]

use std::{
    fs::{self, Permissions},
    io::{BufRead, BufReader, Read},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use rowtide_servers::{Error, Kind, Server, trials};

fn main() -> ExitCode {
    // What a test of this file starts when it runs this program anew.
    match std::env::var("ROWTIDE_SERVERS_INNER").as_deref() {
        Ok("existing") => return use_existing(),
        Ok("hold") => return hold(),
        Ok("end") => return end(),
        Ok(start) => return start_and_again(start == "again"),
        Err(_) => {}
    }
    trials::main(
        &Kind::ALL,
        trials![
            kafka_comes_back_at_its_address,
            mariadb_comes_back_at_its_address,
            postgres_comes_back_at_its_address,
            rabbitmq_comes_back_at_its_address,
            rabbitmq_writes_into_its_folder_alone,
            spanner_comes_back_at_its_address,
            spanner_takes_options_of_its_program,
            what_a_killed_test_started_ends,
            what_is_elsewhere_since_nobody_may_enter_is_erased_too,
            what_a_test_was_starting_ends_with_it,
            what_a_test_was_starting_again_ends_with_it,
            what_one_test_leaves_the_next_one_has,
            an_existing_server_is_not_ours_to_kill,
            what_cannot_be_had_is_ignored_and_in_ci_fails,
        ],
    )
}

fn postgres_comes_back_at_its_address() {
    check(Kind::Postgres);
}

fn mariadb_comes_back_at_its_address() {
    check(Kind::MariaDb);
}

fn rabbitmq_comes_back_at_its_address() {
    check(Kind::RabbitMq);
}

/// What it has to say stands where the end of it is looked for when a broker does not come up.
fn rabbitmq_writes_into_its_folder_alone() {
    let server = Server::start_with(Kind::RabbitMq, &[]).unwrap();
    let pid = server.pid().unwrap();
    let folder = folder_of(pid).join("rabbitmq");
    let printed = fs::read_to_string(folder.join("log.txt")).unwrap();
    let port = listening_port(&server, Kind::RabbitMq);
    assert!(printed.contains(&format!("started TCP listener on 127.0.0.1:{port}")), "{printed}");
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    for file in files.filter_map(|entry| fs::read_link(entry.path()).ok()) {
        let is_log = file.extension().is_some_and(|extension| extension == "log");
        assert!(!is_log || file.starts_with(&folder), "{}", file.display());
    }
    // It ends with a dump of what it was doing.
    assert!(
        Command::new("kill").args(["-s", "USR1", &pid.to_string()]).status().unwrap().success()
    );
    await_state(pid, |state| state.is_none_or(|state| state == 'Z'));
    assert!(folder.join("erl_crash.dump").exists());
}

fn kafka_comes_back_at_its_address() {
    check(Kind::Kafka);
}

fn spanner_comes_back_at_its_address() {
    check(Kind::Spanner);
}

fn spanner_takes_options_of_its_program() {
    let churn = "--override_change_stream_partition_token_alive_seconds=1";
    let server = Server::start_with(Kind::Spanner, &[churn]).unwrap();
    server.restart().unwrap();
    let command = fs::read_to_string(format!("/proc/{}/cmdline", server.pid().unwrap())).unwrap();
    assert!(command.split('\0').any(|argument| argument == churn), "{command}");
    let error = Server::start_with(Kind::Spanner, &["--no_such_option"]).unwrap_err();
    assert!(matches!(error, Error::Failed(_)), "{error}");
}

/// Does all that can be done to a server.
fn check(kind: Kind) {
    let server = Server::start_with(kind, &[]).unwrap();
    let pid = server.pid().unwrap();
    let port = listening_port(&server, kind);
    speaks_tls(&server, kind);
    server.freeze().unwrap();
    await_state(pid, |state| state == Some('T'));
    server.thaw().unwrap();
    assert_eq!(server.pid().unwrap(), pid);
    // Nothing of it is left behind frozen.
    server.freeze().unwrap();
    server.kill().unwrap();
    assert!(server.pid().is_err());
    assert!(!answers(port));
    server.restart().unwrap();
    assert_ne!(server.pid().unwrap(), pid);
    assert!(answers(port));
    let folder = folder_of(server.pid().unwrap());
    let pid = server.pid().unwrap();
    drop(server);
    await_state(pid, |state| state.is_none_or(|state| state == 'Z'));
    assert!(!folder.exists(), "{}", folder.display());
}

fn what_a_killed_test_started_ends() {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.env("ROWTIDE_SERVERS_INNER", "hold").stdout(Stdio::piped());
    let mut test = command.spawn().unwrap();
    let mut output = test.stdout.take().unwrap();
    let mut text = String::new();
    while !text.ends_with('\n') {
        let mut byte = [0];
        output.read_exact(&mut byte).unwrap();
        text.push(char::from(byte[0]));
    }
    let pid: u32 = text.trim().parse().unwrap();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let folder = folder_of(pid);
    assert!(folder.exists());
    test.kill().unwrap();
    test.wait().unwrap();
    assert!(!children.is_empty());
    for process in children.split_whitespace().map(|child| child.parse().unwrap()).chain([pid]) {
        await_state(process, |state| state.is_none());
    }
    let begin = Instant::now();
    while folder.exists() {
        assert!(begin.elapsed() < PATIENCE, "{} is still there", folder.display());
        thread::sleep(Duration::from_millis(10));
    }
}

/// Starts a server, says which process serves, and waits to be killed.
fn hold() -> ExitCode {
    let server = Server::start_with(Kind::Postgres, &[]).unwrap();
    server.freeze().unwrap();
    println!("{}", server.pid().unwrap());
    thread::sleep(PATIENCE);
    ExitCode::FAILURE
}

/// Root's PostgreSQL runs as somebody who may not enter a private folder.
fn what_is_elsewhere_since_nobody_may_enter_is_erased_too() {
    // A test ends in good order, or is killed, and maybe what watches over it as well.
    let data: Vec<_> = ["end", "kill", "kill all"].into_iter().map(leave_data).collect();
    let begin = Instant::now();
    while let Some(left) = data.iter().find(|folder| folder.exists()) {
        assert!(begin.elapsed() < PATIENCE, "{} is still there", left.display());
        thread::sleep(Duration::from_millis(10));
    }
}

/// Where the data of a server was whose test ended this way.
fn leave_data(end: &str) -> PathBuf {
    let temporary = tempfile::tempdir().unwrap();
    fs::set_permissions(temporary.path(), Permissions::from_mode(0o700)).unwrap();
    let begin = |inner: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env("ROWTIDE_SERVERS_INNER", inner).env("TMPDIR", temporary.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut test = begin("end");
    let mut output = BufReader::new(test.stdout.take().unwrap());
    let mut pid = String::new();
    output.read_line(&mut pid).unwrap();
    let data = fs::read_link(format!("/proc/{}/cwd", pid.trim())).unwrap();
    if end == "kill all" {
        for child in children_of(test.id()) {
            Command::new("kill").args(["-s", "KILL", &child.to_string()]).status().unwrap();
        }
    }
    if end == "end" {
        drop(test.stdin.take());
    } else {
        test.kill().unwrap();
    }
    test.wait().unwrap();
    if end == "kill all" {
        // The next test of this folder does it.
        let mut next = begin("end");
        drop(next.stdin.take());
        next.wait().unwrap();
    }
    data
}

fn children_of(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

/// Starts a server, says which process serves, and ends it once it is told to.
fn end() -> ExitCode {
    let server = Server::start_with(Kind::Postgres, &[]).unwrap();
    println!("{}", server.pid().unwrap());
    std::io::stdin().read_line(&mut String::new()).unwrap();
    ExitCode::SUCCESS
}

fn what_a_test_was_starting_ends_with_it() {
    kill_while_it_starts("start");
}

fn what_a_test_was_starting_again_ends_with_it() {
    kill_while_it_starts("again");
}

/// The first process of a broker is there long before the broker answers.
fn kill_while_it_starts(inner: &str) {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("ROWTIDE_SERVERS_INNER", inner).env("TMPDIR", temporary.path());
    let mut test = command.stdout(Stdio::piped()).spawn().unwrap();
    // It says when it begins with the start that is meant.
    test.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    let begin = Instant::now();
    let pids = loop {
        assert!(begin.elapsed() < PATIENCE, "nothing is started");
        match written_down(temporary.path()) {
            pids if pids.is_empty() => thread::sleep(Duration::from_millis(1)),
            pids => break pids,
        }
    };
    test.kill().unwrap();
    test.wait().unwrap();
    for pid in pids {
        await_state(pid, |state| state.is_none());
    }
}

/// The processes of the servers whose folders are in that of all tests, which is in this one.
fn written_down(temporary: &Path) -> Vec<u32> {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let roots = entries(temporary).flat_map(|all| entries(&all.path()));
    let texts = roots.filter_map(|root| fs::read(root.path().join("rabbitmq.json")).ok());
    let known = texts.map(|text| serde_json::from_slice::<serde_json::Value>(&text).unwrap());
    let pids = |known: serde_json::Value| {
        let processes = known["processes"].as_array().unwrap().clone();
        processes.into_iter().map(|process| process["pid"].as_u64().unwrap() as u32)
    };
    known.flat_map(pids).collect()
}

fn start_and_again(is_again: bool) -> ExitCode {
    if !is_again {
        println!();
    }
    let server = Server::start_with(Kind::RabbitMq, &[]).unwrap();
    server.kill().unwrap();
    println!();
    server.restart().unwrap();
    ExitCode::FAILURE
}

fn what_one_test_leaves_the_next_one_has() {
    let first = Server::lease(Kind::Postgres).unwrap();
    let beside = Server::lease(Kind::Postgres).unwrap();
    let (pid, beside_it) = (first.pid().unwrap(), beside.pid().unwrap());
    assert_ne!(pid, beside_it);
    drop(first);
    let next = Server::lease(Kind::Postgres).unwrap();
    assert_eq!(next.pid().unwrap(), pid);
    next.kill().unwrap();
    drop((next, beside));
    // One that was left dead is not had again.
    assert_eq!(Server::lease(Kind::Postgres).unwrap().pid().unwrap(), beside_it);
}

fn an_existing_server_is_not_ours_to_kill() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("ROWTIDE_KAFKA_BROKERS", "elsewhere:9092").env_remove("ROWTIDE_KAFKA_PROXY");
    assert!(command.env("ROWTIDE_SERVERS_INNER", "existing").status().unwrap().success());
}

/// Runs where the environment names a Kafka, but no proxy of it.
fn use_existing() -> ExitCode {
    let server = Server::start(Kind::Kafka).unwrap();
    assert_eq!(server.variable("ROWTIDE_KAFKA_BROKERS").unwrap(), "elsewhere:9092");
    assert!(!server.is_own());
    for error in [server.kill(), server.restart(), server.variable("ROWTIDE_KAFKA_PROXY").map(drop)]
    {
        assert!(matches!(error, Err(Error::Missing(_))), "{error:?}");
    }
    ExitCode::SUCCESS
}

/// A machine without the jars of Kafka is as good as one without the server.
fn what_cannot_be_had_is_ignored_and_in_ci_fails() {
    let run = |ci: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "kafka_comes_back_at_its_address"]).env("CI", ci);
        command.env("XDG_CACHE_HOME", "/nowhere").env_remove("ROWTIDE_KAFKA_BROKERS");
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let (succeeded, text) = run("");
    assert!(succeeded && text.contains("0 passed; 0 failed; 1 ignored"), "{text}");
    assert!(text.contains("`cargo xtask services install kafka`"), "{text}");
    let (succeeded, text) = run("true");
    assert!(!succeeded && text.contains("0 passed; 1 failed"), "{text}");
}

const PATIENCE: Duration = Duration::from_secs(60);

/// A client that trusts the authority named gets through to the server, by TLS.
fn speaks_tls(server: &Server, kind: Kind) {
    let (authority, address, protocol) = match kind {
        Kind::Postgres => ("ROWTIDE_POSTGRES_TLS_CA", "ROWTIDE_POSTGRES_URL", Some("postgres")),
        Kind::MariaDb => ("ROWTIDE_MYSQL_TLS_CA", "ROWTIDE_MYSQL_URL", Some("mysql")),
        Kind::RabbitMq => ("ROWTIDE_AMQP_TLS_CA", "ROWTIDE_AMQP_TLS_URL", None),
        Kind::Kafka => ("ROWTIDE_KAFKA_TLS_CA", "ROWTIDE_KAFKA_TLS", None),
        Kind::Spanner => return,
    };
    let port = port_in(server.variable(address).unwrap()).to_string();
    let mut client = Command::new("openssl");
    client.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-verify_return_error"]);
    client.args(["-verify_ip", "127.0.0.1", "-CAfile", server.variable(authority).unwrap()]);
    client.args(protocol.iter().flat_map(|protocol| ["-starttls", protocol]));
    let output = client.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The port in the first address of the server.
fn listening_port(server: &Server, kind: Kind) -> u16 {
    let name = match kind {
        Kind::Postgres => "ROWTIDE_POSTGRES_URL",
        Kind::MariaDb => "ROWTIDE_MYSQL_URL",
        Kind::RabbitMq => "ROWTIDE_AMQP_URL",
        Kind::Kafka => "ROWTIDE_KAFKA_BROKERS",
        Kind::Spanner => "SPANNER_EMULATOR_HOST",
    };
    port_in(server.variable(name).unwrap())
}

fn port_in(address: &str) -> u16 {
    let (_, port) = address.split_once("127.0.0.1:").unwrap();
    port.split('/').next().unwrap().parse().unwrap()
}

fn answers(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Where the server of this process has its data, as everything below the folder of all tests.
fn folder_of(pid: u32) -> PathBuf {
    let folder = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    let is_root = |path: &&Path| {
        let parent = path.parent().and_then(Path::file_name).unwrap_or_default();
        parent.to_string_lossy().starts_with("rowtide-servers-")
    };
    folder.ancestors().find(is_root).unwrap().to_owned()
}

fn await_state(pid: u32, is_wanted: impl Fn(Option<char>) -> bool) {
    let begin = Instant::now();
    let state = || {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        text.rsplit_once(") ")?.1.chars().next()
    };
    while !is_wanted(state()) {
        assert!(begin.elapsed() < PATIENCE, "process {pid} is {:?}", state());
        thread::sleep(Duration::from_millis(10));
    }
}
