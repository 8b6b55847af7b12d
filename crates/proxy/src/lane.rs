use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{ReadHalf, WriteHalf},
    select,
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
    try_join,
};

use crate::{
    controls::{Controls, LaneControls, Shared},
    random::Random,
    statistics::Traffic,
};

const CHUNK_BYTES: usize = 16 * 1024;
/// What is under way in one direction: a megabyte at most.
const CHUNKS: usize = 64;

/// A limited rate is that of this much time.
const SLICES_PER_SECOND: u64 = 20;

/// One direction of one connection.
pub(crate) struct Lane {
    shared: Arc<Shared>,
    index: usize,
    /// Those of the time before this connection do not concern it.
    half_closes: u64,
    random: Random,
}

/// Bytes under way, and when they arrive.
struct Chunk {
    due: Instant,
    bytes: Vec<u8>,
}

impl Lane {
    pub(crate) fn new(shared: &Arc<Shared>, index: usize, connection: u64) -> Self {
        let half_closes = shared.controls.borrow().lanes[index].half_closes;
        let salt = connection.wrapping_mul(2).wrapping_add(index as u64);
        let random = Random::new(Random::new(shared.seed ^ salt).next());
        Self { shared: shared.clone(), index, half_closes, random }
    }

    /// Carries bytes until their end has been handed on.
    pub(crate) async fn carry(self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> io::Result<()> {
        let (queue, chunks) = mpsc::channel(CHUNKS);
        let Self { shared, index, half_closes, random } = self;
        let controls = shared.controls.subscribe();
        let receiver = Receiver { controls: controls.clone(), index, half_closes, random };
        let sender = Sender { shared: &shared, controls, index, half_closes };
        try_join!(receiver.run(from, queue), sender.run(chunks, to)).map(drop)
    }
}

/// Takes bytes in.
struct Receiver {
    controls: watch::Receiver<Controls>,
    index: usize,
    half_closes: u64,
    random: Random,
}

impl Receiver {
    async fn run(mut self, mut from: ReadHalf<'_>, queue: mpsc::Sender<Chunk>) -> io::Result<()> {
        let mut due = Instant::now();
        let mut bytes = vec![0; CHUNK_BYTES];
        loop {
            released(&mut self.controls, self.index, self.half_closes).await;
            let length = from.read(&mut bytes).await?;
            // What is sent later does not arrive earlier.
            due = due.max(Instant::now() + self.delay());
            let chunk = Chunk { due, bytes: bytes[..length].to_vec() };
            if queue.send(chunk).await.is_err() || length == 0 {
                return Ok(());
            }
        }
    }

    fn delay(&mut self) -> Duration {
        match self.controls.borrow().lanes[self.index].latency {
            None => Duration::ZERO,
            Some((least, most)) => least + (most - least).mul_f64(self.random.fraction()),
        }
    }
}

/// Hands bytes on, as far as the faults let it.
struct Sender<'a> {
    shared: &'a Shared,
    controls: watch::Receiver<Controls>,
    index: usize,
    half_closes: u64,
}

impl Sender<'_> {
    async fn run(
        mut self,
        mut chunks: mpsc::Receiver<Chunk>,
        mut to: WriteHalf<'_>,
    ) -> io::Result<()> {
        loop {
            let chunk = select! {
                biased;
                () = half_closed(self.shared, self.index, self.half_closes) => None,
                chunk = chunks.recv() => chunk,
            };
            let Some(chunk) = chunk else { break };
            self.pause(chunk.due, |lane| lane.latency.is_some()).await;
            if chunk.bytes.is_empty() {
                // The end is late and stalled as everything else.
                released(&mut self.controls, self.index, self.half_closes).await;
                break;
            }
            self.deliver(chunk.bytes, &mut to).await?;
        }
        // An end that has gone needs not be told.
        let _ = to.shutdown().await;
        while let Some(chunk) = chunks.recv().await {
            if chunk.bytes.is_empty() {
                break;
            }
            self.count(|traffic| traffic.discarded += chunk.bytes.len() as u64);
        }
        Ok(())
    }

    async fn deliver(&mut self, bytes: Vec<u8>, to: &mut WriteHalf<'_>) -> io::Result<()> {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            released(&mut self.controls, self.index, self.half_closes).await;
            let (is_discarded, rate) = {
                let lane = &self.controls.borrow().lanes[self.index];
                let is_closed = lane.half_closes > self.half_closes;
                (is_closed || lane.is_discarding, lane.bytes_per_second)
            };
            if is_discarded {
                self.count(|traffic| traffic.discarded += rest.len() as u64);
                return Ok(());
            }
            let slice = rate.map_or(u64::MAX, |rate| rate.div_ceil(SLICES_PER_SECOND));
            let allowed = self.allowed(slice.min(rest.len() as u64));
            let (now, later) = rest.split_at(allowed.bytes);
            to.write_all(now).await?;
            self.count(|traffic| traffic.delivered += now.len() as u64);
            if allowed.is_cut {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if let Some(rate) = rate {
                let due = Instant::now() + Duration::from_secs_f64(now.len() as f64 / rate as f64);
                self.pause(due, |lane| lane.bytes_per_second == Some(rate)).await;
            }
            rest = later;
        }
        Ok(())
    }

    /// How many of these bytes may pass, and whether the connection is cut then.
    fn allowed(&self, bytes: u64) -> Allowed {
        let mut allowed = bytes;
        let mut is_cut = false;
        self.shared.controls.send_if_modified(|controls| {
            let left = &mut controls.lanes[self.index].bytes_left;
            if let Some(number) = *left {
                is_cut = bytes > number;
                allowed = bytes.min(number);
                *left = if is_cut { None } else { Some(number - allowed) };
            }
            // Nobody waits for this.
            false
        });
        Allowed { bytes: usize::try_from(allowed).unwrap_or(usize::MAX), is_cut }
    }

    /// Waits until `due`, or until the fault that makes it wait has ended.
    async fn pause(&mut self, due: Instant, is_on: impl Fn(&LaneControls) -> bool) {
        if due <= Instant::now() {
            return;
        }
        let (index, half_closes) = (self.index, self.half_closes);
        let is_over = |controls: &Controls| {
            let lane = &controls.lanes[index];
            !is_on(lane) || lane.half_closes > half_closes
        };
        select! {
            () = sleep_until(due) => {}
            _ = self.controls.wait_for(is_over) => {}
        }
    }

    fn count(&self, add: impl FnOnce(&mut Traffic)) {
        self.shared.statistics.send_modify(|statistics| match self.index {
            0 => add(&mut statistics.to_server),
            _ => add(&mut statistics.to_client),
        });
    }
}

struct Allowed {
    bytes: usize,
    is_cut: bool,
}

/// Returns once nothing holds the bytes of this direction back.
async fn released(controls: &mut watch::Receiver<Controls>, index: usize, half_closes: u64) {
    let is_released = |controls: &Controls| {
        let lane = &controls.lanes[index];
        !lane.is_stalled || lane.half_closes > half_closes
    };
    // The sender lives as long as the connection.
    let _ = controls.wait_for(is_released).await;
}

/// Returns once this direction has been closed on purpose.
async fn half_closed(shared: &Shared, index: usize, half_closes: u64) {
    let mut controls = shared.controls.subscribe();
    let _ = controls.wait_for(|controls| controls.lanes[index].half_closes > half_closes).await;
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn delays(seed: u64, connection: u64) -> Vec<Duration> {
        let shared = Arc::new(Shared::new((Ipv4Addr::LOCALHOST, 1).into(), seed));
        shared.controls.send_modify(|controls| {
            let (least, most) = (Duration::from_millis(10), Duration::from_millis(20));
            controls.lanes[0].latency = Some((least, most));
        });
        let controls = shared.controls.subscribe();
        let Lane { index, half_closes, random, .. } = Lane::new(&shared, 0, connection);
        let mut receiver = Receiver { controls, index, half_closes, random };
        (0..50).map(|_| receiver.delay()).collect()
    }

    #[test]
    fn the_seed_decides_how_late_each_connection_is() {
        assert_eq!(delays(1, 1), delays(1, 1));
        assert_ne!(delays(1, 1), delays(2, 1));
        assert_ne!(delays(1, 1), delays(1, 2));
        let within = Duration::from_millis(10)..Duration::from_millis(20);
        assert!(delays(1, 1).iter().all(|delay| within.contains(delay)));
    }
}
