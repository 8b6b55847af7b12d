#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod database;
mod error;
mod insert;
mod layout;
mod outbox;
mod value;

pub use crate::{
    database::Database,
    error::{Error, Result},
    layout::{
        Layout,
        router::{Ids, Message, Router},
        streams_egress::{StreamMessage, StreamsEgress},
    },
    outbox::Outbox,
    value::Value,
};
