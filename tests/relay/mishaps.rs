//! What happens to a relay, and what must be true afterwards.

use std::{error::Error, thread, time::Duration};

use rowtide_servers::Server;

use crate::{
    relay::Relay,
    scene::Scene,
    session::Session,
    verdict::{self, Found},
    writer::{Writers, uuid},
};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How often each of these is killed with -9.
const RELAY_KILLS: u32 = 10;
const BROKER_KILLS: u32 = 2;
const DATABASE_KILLS: u32 = 1;

/// Longer than any time-out of a client.
const AWAY: Duration = Duration::from_secs(61);

/// Kills the relay, the broker and the database, while eight writers are at work.
pub(crate) fn kill_everything(scene: Scene, seed: u64, duration: Duration) -> Outcome<()> {
    let mut relay = scene.relay("")?;
    let writers = scene.runtime.block_on(async { Writers::start(&scene.address, seed) });
    relay.start()?;
    thread::scope(|scope| {
        let killer = |server, kills, seed| move || kill_server(server, kills, duration, seed);
        let broker = scope.spawn(killer(&scene.broker, BROKER_KILLS, seed));
        let database = scope.spawn(killer(&scene.database, DATABASE_KILLS, seed + 1));
        let mut random = fastrand::Rng::with_seed(seed + 2);
        for _ in 0..RELAY_KILLS {
            thread::sleep(random_pause(duration / RELAY_KILLS, &mut random));
            relay.kill_and_start()?;
        }
        for killer in [broker, database] {
            killer.join().map_err(|_| "a panic while a server was killed")??;
        }
        Ok::<_, Box<dyn Error>>(())
    })?;
    let committed = scene.runtime.block_on(writers.stop());
    let found = conclude(&scene, &mut relay)?;
    println!("{committed} transactions, {found}");
    scene.close()
}

fn kill_server(server: &Server, kills: u32, duration: Duration, seed: u64) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..kills {
        thread::sleep(random_pause(duration / kills, &mut random));
        server.kill().map_err(|error| error.to_string())?;
        server.restart().map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn random_pause(mean: Duration, random: &mut fastrand::Rng) -> Duration {
    mean.mul_f64(0.5 + random.f64())
}

/// How a broker is away.
#[derive(Clone, Copy)]
pub(crate) enum Absence {
    Stopped,
    /// It keeps its connections, and says nothing.
    Frozen,
}

/// Takes the broker away for longer than any retry, and brings it back.
pub(crate) fn keep_the_broker_away(scene: Scene, absence: Absence, seed: u64) -> Outcome<()> {
    let mut relay = scene.relay("")?;
    let writers = scene.runtime.block_on(async { Writers::start(&scene.address, seed) });
    relay.start()?;
    await_commits(&writers, 50);
    match absence {
        Absence::Stopped => scene.broker.stop()?,
        Absence::Frozen => scene.broker.freeze()?,
    }
    await_commits(&writers, writers.committed() + 50);
    // What waits is to be a backlog, not all that writers can make in a minute.
    let committed = scene.runtime.block_on(writers.stop());
    thread::sleep(AWAY);
    relay.check()?;
    match absence {
        Absence::Stopped => scene.broker.restart()?,
        Absence::Frozen => scene.broker.thaw()?,
    }
    let found = conclude(&scene, &mut relay)?;
    println!("{committed} transactions, {found}");
    scene.close()
}

fn await_commits(writers: &Writers, count: usize) {
    while writers.committed() < count {
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until everything is relayed, stops the relay, and judges what arrived.
fn conclude(scene: &Scene, relay: &mut Relay) -> Outcome<Found> {
    scene.await_outbox(0).map_err(|error| {
        let log = relay.log().unwrap_or_default();
        format!("{error}; the log of the relay:\n{log}")
    })?;
    relay.stop()?;
    let truth = async { Session::connect(&scene.address).await?.truth().await };
    let truth = scene.runtime.block_on(truth).map_err(|error| error.to_string())?;
    if truth.len() < 100 {
        return Err(format!("{} messages prove nothing", truth.len()).into());
    }
    verdict::judge(&scene.consumed()?, &truth, relay.resumptions()?)
}

/// Sends messages that the broker does not take among others, under both policies.
pub(crate) fn send_what_nobody_takes(scene: Scene) -> Outcome<()> {
    let mut relay = scene.relay("[delivery]\non_rejected = \"skip\"")?;
    send(&scene, &[Said::Version(1), Said::Version(2), Said::Untaken, Said::Version(3)])?;
    relay.start()?;
    scene.await_outbox(0)?;
    relay.stop()?;
    let first = versions(&scene)?;
    if first != [1, 2, 3] {
        return Err(format!("{first:?} arrived beside what was skipped").into());
    }
    let log = relay.log()?;
    if log.matches("the sink rejected a change").count() != 1 || !log.contains("change=") {
        return Err(format!("the log does not name what was skipped:\n{log}").into());
    }
    // Nothing else has gone wrong. A broker that has just started may ask to wait, and a busy
    // machine is slow.
    let is_loud = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
    let known = ["the sink rejected a change", "librdkafka: GETPID", "slow statement"];
    let is_known = |line: &&str| known.iter().any(|words| line.contains(words));
    if let Some(line) = log.lines().filter(is_loud).find(|line| !is_known(line)) {
        return Err(format!("the log complains where all is well: {line}").into());
    }
    let mut relay = scene.relay("[delivery]\non_rejected = \"stop\"")?;
    send(&scene, &[Said::Version(4), Said::Untaken, Said::Version(5)])?;
    relay.start()?;
    let code = relay.ends_by_itself()?;
    if code != Some(1) {
        return Err(format!("it ended with {code:?}:\n{}", relay.log()?).into());
    }
    scene.await_outbox(3)?;
    let mut all = versions(&scene)?;
    all.retain(|version| !first.contains(version));
    // What came with it is delivered, and again after the next start.
    if all != [4, 5] {
        return Err(format!("{all:?} arrived beside what stopped the relay").into());
    }
    scene.close()
}

/// A message of an aggregate, or one that the broker does not take.
enum Said {
    Version(i64),
    Untaken,
}

/// Writes messages in one transaction.
fn send(scene: &Scene, messages: &[Said]) -> Outcome<()> {
    let mut statements = "BEGIN;".to_owned();
    for said in messages {
        let (aggregate_type, version, length) = match said {
            Said::Version(version) => ("order", *version, 1),
            Said::Untaken => {
                let (aggregate_type, length) = scene.untaken();
                (aggregate_type, 0, length)
            }
        };
        let (id, nonce) = (uuid(&mut fastrand::Rng::new()), "x".repeat(length));
        statements += &format!(
            "INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload)
             VALUES ('{id}', '{aggregate_type}', '1', 'Changed',
             '{{\"aggregate\": 1, \"version\": {version}, \"nonce\": \"{nonce}\"}}');"
        );
    }
    scene.run(&(statements + "COMMIT"))
}

fn versions(scene: &Scene) -> Outcome<Vec<i64>> {
    Ok(scene.consumed()?.into_iter().flatten().map(|message| message.version).collect())
}
