//! What the source does with a cluster that behaves.

mod cluster;
mod feeds;
mod preflight;
mod scans;
mod tables;
