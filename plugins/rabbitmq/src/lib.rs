#![doc = include_str!("../README.md")]

mod config;
mod connection;
mod message;
mod publisher;
mod sink;
mod target;
