//! Tables as the cluster describes them, and rows as its changefeeds write them.

pub(crate) mod catalog;
pub(crate) mod layout;
pub(crate) mod message;
mod query;
mod value;

pub(crate) use catalog::{Catalog, Target};
