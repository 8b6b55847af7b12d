#![doc = include_str!("../README.md")]

mod administration;
mod datum;
mod faults;
mod messages;
mod query;
mod schema;
mod server;
mod service;
mod socket;
mod status;
mod store;
mod transactions;

pub use administration::Administration;
pub use datum::Datum;
pub use faults::{Faults, Tokens};
pub use schema::{Capture, Column, Dialect, Kind, Table};
pub use server::{Options, Request, Server};
pub use status::LostWording;
pub use store::{Lineage, Told, Transaction, Write, WriteOperation};

#[cfg(test)]
mod tests;
