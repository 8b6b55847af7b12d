use std::time::Duration;

/// Which bytes of a connection are meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// From the client to the server: requests.
    ToServer,
    /// From the server to the client: answers.
    ToClient,
    Both,
}

/// What the network does to the bytes of one direction until it is healed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Everything arrives later, by a time between these two that the seed decides. Order and
    /// throughput stay as they are, and the end of a connection is late as well.
    Latency { least: Duration, most: Duration },
    /// Each connection carries at most so much. 0 counts as 1.
    Rate { bytes_per_second: u64 },
    /// Nothing moves, and nobody is told: connections stay open, new ones are accepted, and what is
    /// sent waits in buffers until they are full. An end that resets its connection, or is not
    /// there, is heard of by the other one when the stall is over.
    Stall,
    /// What is sent is taken and thrown away. In one direction alone this is the fault that makes
    /// duplicates: the request arrives and its answer does not. The end of a connection is told
    /// once this is over: nobody is to take what is missing for all that there was.
    Discard,
    /// After so many bytes more, of all connections together, the connection that carries the next
    /// one is reset at both ends, and the fault is over. The bytes before are delivered, unless the
    /// receiver's buffers are full. 0 cuts before the first one.
    CutAfter { bytes: u64 },
}
