#![doc = include_str!("../README.md")]

mod aside;
mod producer;
mod settings;
mod sink;
mod topics;
mod wire;
