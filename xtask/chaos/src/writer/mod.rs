//! Who writes to the databases: few keys, many changes of each, and what an application does
//! besides.

mod application;
#[path = "../../../../tests/survives_kill/schema.rs"]
mod schema;
pub(crate) mod sqlite;
#[path = "../../../../tests/survives_kill/values.rs"]
mod values;

pub(crate) use application::Application;
