#![doc = include_str!("../README.md")]

mod changefeed;
mod datum;
mod faults;
mod hlc;
mod server;
mod sql;
mod store;
mod workload;

pub use datum::Datum;
pub use faults::{Faults, GcWording};
pub use hlc::Hlc;
pub use server::{Authentication, Certificate, Options, Server};
pub use sql::SqlError;
pub use store::{Answer, Column, Image, Schema};
pub use workload::Workload;
