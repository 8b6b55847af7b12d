#![doc = include_str!("../README.md")]

mod config;
mod connection;
mod hlc;
mod source;
mod table;
