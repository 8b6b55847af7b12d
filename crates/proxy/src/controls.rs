use std::{net::SocketAddr, time::Duration};

use tokio::sync::watch;

use crate::{Direction, Fault, Statistics};

/// What the proxy, its listener and its connections have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) controls: watch::Sender<Controls>,
    pub(crate) statistics: watch::Sender<Statistics>,
    pub(crate) seed: u64,
}

impl Shared {
    pub(crate) fn new(server: SocketAddr, seed: u64) -> Self {
        let controls = Controls { server, resets: 0, lanes: Default::default() };
        let (controls, statistics) = (watch::Sender::new(controls), watch::Sender::default());
        Self { controls, statistics, seed }
    }
}

#[derive(Debug)]
pub(crate) struct Controls {
    pub(crate) server: SocketAddr,
    /// How often all connections were reset. One that began at a lower number is meant.
    pub(crate) resets: u64,
    /// To the server, to the client.
    pub(crate) lanes: [LaneControls; 2],
}

impl Controls {
    pub(crate) fn lanes_mut(&mut self, direction: Direction) -> &mut [LaneControls] {
        match direction {
            Direction::ToServer => &mut self.lanes[..1],
            Direction::ToClient => &mut self.lanes[1..],
            Direction::Both => &mut self.lanes,
        }
    }
}

/// The faults of one direction.
#[derive(Debug, Default)]
pub(crate) struct LaneControls {
    pub(crate) latency: Option<(Duration, Duration)>,
    pub(crate) bytes_per_second: Option<u64>,
    pub(crate) is_stalled: bool,
    pub(crate) is_discarding: bool,
    /// What may still pass before a connection is cut.
    pub(crate) bytes_left: Option<u64>,
    /// As with resets.
    pub(crate) half_closes: u64,
}

impl LaneControls {
    pub(crate) fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::Latency { least, most } => self.latency = Some((least, most.max(least))),
            Fault::Rate { bytes_per_second } => {
                self.bytes_per_second = Some(bytes_per_second.max(1))
            }
            Fault::Stall => self.is_stalled = true,
            Fault::Discard => self.is_discarding = true,
            Fault::CutAfter { bytes } => self.bytes_left = Some(bytes),
        }
    }

    /// Ends all faults. What was done once stays counted.
    pub(crate) fn heal(&mut self) {
        *self = Self { half_closes: self.half_closes, ..Self::default() };
    }
}
