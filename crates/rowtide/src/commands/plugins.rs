use std::fmt::Write;

use rowtide_core::{
    Error,
    registry::{self, Role},
};

use crate::{
    output,
    pipeline_file::Problems,
    plugins::{SHIPPED, is_linked},
    reference::{self, Topic},
};

/// `rowtide plugins`: role, type and crate of each plugin, and what this build lacks.
pub(crate) fn list() -> Result<(), Problems> {
    let mut text = String::new();
    for plugin in registry::plugins() {
        let role = plugin.role().name();
        let _ = writeln!(text, "{role:10}  {:10}  {}", plugin.name, plugin.package);
    }
    for plugin in SHIPPED.iter().filter(|plugin| !is_linked(plugin)) {
        let (role, name, feature) = (plugin.role.name(), plugin.name, plugin.feature);
        let _ = writeln!(text, "{role:10}  {name:10}  not in this build; --features {feature}");
    }
    Ok(output::print(&text)?)
}

/// `rowtide plugins TYPE`: the settings, for a terminal.
pub(crate) fn describe(name: &str) -> Result<(), Problems> {
    let text: Vec<_> = topics(name)?.iter().map(Topic::text).collect();
    Ok(output::print(&text.join("\n"))?)
}

/// `rowtide plugins --markdown TYPE`: the reference page.
pub(crate) fn page(name: &str) -> Result<(), Problems> {
    Ok(output::print(&reference::page(name, &topics(name)?))?)
}

fn topics(name: &str) -> Result<Vec<Topic>, Error> {
    let topics = reference::topics(name);
    if !topics.is_empty() {
        return Ok(topics);
    }
    if let Some(plugin) = SHIPPED.iter().find(|plugin| plugin.name == name) {
        crate::plugins::require(plugin.role, name)?;
    }
    let mut names: Vec<_> = registry::plugins().iter().map(|plugin| plugin.name).collect();
    names.sort_unstable();
    names.dedup();
    let roles = [Role::Source, Role::Sink, Role::Checkpoint].map(Role::name).join(", no ");
    Err(Error::config(format!("there is no {roles} called `{name}`"))
        .help(format!("this build has {}", names.join(", "))))
}
