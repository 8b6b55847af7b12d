#![doc = include_str!("../README.md")]

mod catalog;
mod checkpoint;
mod client;
mod config;
mod record;
mod source;
mod value;
