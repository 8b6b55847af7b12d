//! The service: transactions that change aggregates and write messages about it, some of them
//! late, rolled back, long, or lost with their connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinHandle, time::sleep};

use super::session::{Address, Failure, Session};

/// Few, so that transactions meet.
pub(crate) const AGGREGATES: i64 = 24;

const WRITERS: u64 = 8;

/// Writers at work, until they are stopped.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    pub(crate) fn start(address: &Address, seed: u64) -> Self {
        let (stop, committed) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let start = |number| {
            let writer = Writer {
                address: address.clone(),
                random: fastrand::Rng::with_seed(seed.wrapping_mul(31).wrapping_add(number)),
                stop: stop.clone(),
                committed: committed.clone(),
            };
            tokio::spawn(writer.run())
        };
        Self { tasks: (0..WRITERS).map(start).collect(), stop, committed }
    }

    /// How many transactions are known to be committed.
    pub(crate) fn committed(&self) -> usize {
        self.committed.load(Ordering::Relaxed)
    }

    pub(crate) async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a writer panicked");
        }
        self.committed.load(Ordering::Relaxed)
    }
}

struct Writer {
    address: Address,
    random: fastrand::Rng,
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicUsize>,
}

impl Writer {
    async fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            // The server is killed now and then.
            match Session::connect(&self.address).await {
                Ok(mut session) => while self.transact(&mut session).await.is_ok() {},
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// One transaction; an error ends the connection, whatever it was.
    async fn transact(&mut self, session: &mut Session) -> Result<(), Failure> {
        if self.stop.load(Ordering::Relaxed) {
            return Err("stopped".into());
        }
        session.run("BEGIN").await?;
        if self.random.u8(..) < 60 {
            // It has its transaction id long before it has its first message.
            session.run("INSERT INTO noise (n) VALUES (1)").await?;
            self.pause(8).await;
        }
        let mut aggregates: Vec<i64> =
            (0..self.random.usize(1..=3)).map(|_| self.random.i64(0..AGGREGATES)).collect();
        aggregates.sort_unstable();
        for aggregate in aggregates {
            self.touch(session, aggregate).await?;
            self.pause(4).await;
        }
        // Some stay open for long.
        let longest = if self.random.u8(..) < 4 { 800 } else { 6 };
        self.pause(longest).await;
        if self.random.u8(..) < 40 {
            return session.run("ROLLBACK").await;
        }
        session.run("COMMIT").await?;
        self.committed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// One or two changes of an aggregate, each with a message.
    async fn touch(&mut self, session: &mut Session, aggregate: i64) -> Result<(), Failure> {
        let savepoint = self.random.u8(..) < 50;
        if savepoint {
            session.run("SAVEPOINT before").await?;
        }
        let lock = format!("SELECT version FROM aggregate WHERE id = {aggregate} FOR UPDATE");
        let version = session.number(&lock).await?;
        let last = version + self.random.i64(1..=2);
        for version in version + 1..=last {
            let nonce = format!("{:016x}", self.random.u64(..));
            let id = uuid(&mut self.random);
            session
                .run(&format!(
                    "INSERT INTO truth VALUES ({aggregate}, {version}, '{nonce}');
                     INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload)
                     VALUES ('{id}', 'order', '{aggregate}', 'Changed', \
                     '{{\"aggregate\": {aggregate}, \"version\": {version}, \
                     \"nonce\": \"{nonce}\"}}')"
                ))
                .await?;
        }
        session
            .run(&format!("UPDATE aggregate SET version = {last} WHERE id = {aggregate}"))
            .await?;
        if savepoint && self.random.bool() {
            session.run("ROLLBACK TO SAVEPOINT before").await?;
        }
        Ok(())
    }

    async fn pause(&mut self, longest: u64) {
        sleep(Duration::from_micros(self.random.u64(0..longest * 1_000))).await;
    }
}

/// A random one.
pub(crate) fn uuid(random: &mut fastrand::Rng) -> String {
    let digits = format!("{:032x}", random.u128(..));
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}
