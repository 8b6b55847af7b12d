//! Where changes go, and readers of it that know nothing of the program.

pub(crate) mod file;
pub(crate) mod kafka;
pub(crate) mod rabbitmq;
