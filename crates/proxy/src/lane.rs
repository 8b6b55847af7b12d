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
    view: View,
    /// Of the other direction, which tells the sender what became of the receiver.
    back: View,
    random: Random,
}

/// Bytes under way, and when they arrive.
struct Chunk {
    due: Instant,
    bytes: Vec<u8>,
}

impl Lane {
    pub(crate) fn new(shared: &Arc<Shared>, index: usize, connection: u64) -> Self {
        let [view, back] = [index, 1 - index].map(|index| View::new(shared, index));
        let salt = connection.wrapping_mul(2).wrapping_add(index as u64);
        let random = Random::new(Random::new(shared.seed ^ salt).next());
        Self { shared: shared.clone(), view, back, random }
    }

    /// Carries bytes until their end has been handed on.
    pub(crate) async fn carry(self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> io::Result<()> {
        let (queue, chunks) = mpsc::channel(CHUNKS);
        let Self { shared, view, back, random } = self;
        let receiver = Receiver { view: view.clone(), random };
        let sender = Sender { shared: &shared, view, back };
        try_join!(receiver.run(from, queue), sender.run(chunks, to)).map(drop)
    }

    /// Returns once whoever receives would hear of an end.
    pub(crate) async fn audible(&mut self) {
        self.view.audible().await;
    }
}

/// Takes bytes in.
struct Receiver {
    view: View,
    random: Random,
}

impl Receiver {
    async fn run(mut self, mut from: ReadHalf<'_>, queue: mpsc::Sender<Chunk>) -> io::Result<()> {
        let mut due = Instant::now();
        let mut bytes = vec![0; CHUNK_BYTES];
        loop {
            self.view.released().await;
            let length = match from.read(&mut bytes).await {
                Ok(length) => length,
                Err(error) => {
                    self.view.audible().await;
                    return Err(error);
                }
            };
            // What is sent later does not arrive earlier.
            due = due.max(Instant::now() + self.delay());
            let chunk = Chunk { due, bytes: bytes[..length].to_vec() };
            if queue.send(chunk).await.is_err() || length == 0 {
                return Ok(());
            }
        }
    }

    fn delay(&mut self) -> Duration {
        match self.view.controls.borrow().lanes[self.view.index].latency {
            None => Duration::ZERO,
            Some((least, most)) => least + (most - least).mul_f64(self.random.fraction()),
        }
    }
}

/// Hands bytes on, as far as the faults let it.
struct Sender<'a> {
    shared: &'a Shared,
    view: View,
    back: View,
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
                () = self.view.half_closed() => None,
                chunk = chunks.recv() => chunk,
            };
            let Some(chunk) = chunk else { break };
            self.pause(chunk.due, |lane| lane.latency.is_some()).await;
            if chunk.bytes.is_empty() {
                // The end is late and stalled as everything else, and not lost for good.
                self.view.audible().await;
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
            self.view.released().await;
            let (is_discarded, rate) = {
                let lane = &self.view.controls.borrow().lanes[self.view.index];
                let is_closed = lane.half_closes > self.view.half_closes;
                (is_closed || lane.is_discarding, lane.bytes_per_second)
            };
            if is_discarded {
                self.count(|traffic| traffic.discarded += rest.len() as u64);
                return Ok(());
            }
            let slice = rate.map_or(u64::MAX, |rate| rate.div_ceil(SLICES_PER_SECOND));
            let allowed = self.allowed(slice.min(rest.len() as u64));
            let (now, later) = rest.split_at(allowed.bytes);
            if let Err(error) = to.write_all(now).await {
                self.back.audible().await;
                return Err(error);
            }
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
            let left = &mut controls.lanes[self.view.index].bytes_left;
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
        select! {
            () = sleep_until(due) => {}
            () = self.view.wait_until_not(is_on) => {}
        }
    }

    fn count(&self, add: impl FnOnce(&mut Traffic)) {
        self.shared.statistics.send_modify(|statistics| match self.view.index {
            0 => add(&mut statistics.to_server),
            _ => add(&mut statistics.to_client),
        });
    }
}

struct Allowed {
    bytes: usize,
    is_cut: bool,
}

/// The faults of one direction, as one connection sees them.
#[derive(Clone)]
struct View {
    controls: watch::Receiver<Controls>,
    index: usize,
    /// Those of the time before this connection do not concern it.
    half_closes: u64,
}

impl View {
    fn new(shared: &Shared, index: usize) -> Self {
        let controls = shared.controls.subscribe();
        let half_closes = controls.borrow().lanes[index].half_closes;
        Self { controls, index, half_closes }
    }

    /// Returns once nothing holds the bytes back.
    async fn released(&mut self) {
        self.wait_until_not(|lane| lane.is_stalled).await;
    }

    /// Returns once whoever receives would hear of an end.
    async fn audible(&mut self) {
        self.wait_until_not(|lane| lane.is_stalled || lane.is_discarding).await;
    }

    /// Returns once this direction has been closed on purpose.
    async fn half_closed(&mut self) {
        self.wait_until_not(|_| true).await;
    }

    /// Returns once that fault has ended, or the direction has been closed on purpose.
    async fn wait_until_not(&mut self, is_on: impl Fn(&LaneControls) -> bool) {
        let (index, half_closes) = (self.index, self.half_closes);
        let is_over = |controls: &Controls| {
            let lane = &controls.lanes[index];
            !is_on(lane) || lane.half_closes > half_closes
        };
        // The sender lives as long as the connection.
        let _ = self.controls.wait_for(is_over).await;
    }
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
        let Lane { view, random, .. } = Lane::new(&shared, 0, connection);
        let mut receiver = Receiver { view, random };
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
