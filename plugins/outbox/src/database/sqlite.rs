use std::sync::Arc;

use rowtide_core::{
    Context, Error, Result,
    plugin::{InstallOptions, UninstallOptions},
};
use rowtide_sql::DatabaseUrl;

use crate::{config::OutboxConfig, database::Database, layout::Messages};

pub(crate) async fn open(
    _config: &OutboxConfig,
    url: &DatabaseUrl,
    _context: &Context,
) -> Result<(Arc<dyn Database>, Messages)> {
    Err(not_built(url))
}

pub(crate) async fn install(
    _config: &OutboxConfig,
    url: &DatabaseUrl,
    _options: InstallOptions,
) -> Result<Vec<String>> {
    Err(not_built(url))
}

pub(crate) async fn uninstall(
    _config: &OutboxConfig,
    url: &DatabaseUrl,
    _options: UninstallOptions,
) -> Result<Vec<String>> {
    Err(not_built(url))
}

fn not_built(url: &DatabaseUrl) -> Error {
    Error::config(format!("outboxes in {} are not built yet", url.dialect())).key("database")
}
