//! A Rowtide source that reads Cloud Spanner change streams.

mod catalog;
mod client;
mod config;
mod record;
mod source;
mod value;
