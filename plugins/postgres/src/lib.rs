#![doc = include_str!("../README.md")]

mod config;
mod table;
