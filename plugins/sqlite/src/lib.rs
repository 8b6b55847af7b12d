#![doc = include_str!("../README.md")]

mod capture;
mod checkpoint;
mod config;
mod connection;
mod source;
