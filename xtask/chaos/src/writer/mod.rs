//! Who writes to the databases: few keys, many changes of each, and what an application does
//! besides.

pub(crate) mod sqlite;
#[path = "../../../../tests/survives_kill/values.rs"]
mod values;
