#![doc = include_str!("../README.md")]

mod config;
mod database;
mod keys;
mod layout;
mod source;
