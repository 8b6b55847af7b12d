//! The settings of the sink, and what librdkafka is told of them.

mod choices;
mod config;
mod properties;
mod security;
