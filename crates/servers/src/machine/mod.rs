//! This machine: the programs, processes, ports and folders of the servers.

pub mod cache;
pub mod command;
pub(crate) mod place;
pub(crate) mod process;
