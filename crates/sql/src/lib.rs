//! What plugins on SQL databases share: connecting, quoting, telling errors apart.
//!
//! A plugin keeps its `database` setting as a [`Secret`](rowtide_core::settings::Secret) and checks
//! it in `validate` with [`DatabaseUrl::check`]. In `open` it parses it, asks [`postgres::options`]
//! or [`mysql::options`] for the driver's own options, and connects with the `connect` beside them.
//! What the driver answers goes through [`failure`], which also keeps the values of rows out of the
//! message. Names of tables and columns are a user's, so they are written with a [`Dialect`].

pub mod checkpoint;
mod database_url;
mod dialect;
mod failure;
pub mod mysql;
pub mod postgres;
mod table_name;
mod tls;

pub use database_url::DatabaseUrl;
pub use dialect::Dialect;
pub use failure::{failure, is_missing_table};
pub use table_name::TableName;
