//! The plugins that are linked into this program.
//!
//! Registration happens at link time: a crate that calls [`register_source!`](crate::register_source)
//! is found here as soon as some other crate *names* it (`use my_plugin as _;`). A crate that is
//! only listed in `Cargo.toml` is silently absent.

use schemars::{Schema, SchemaGenerator};

use crate::{
    CheckpointStore, Error, Result, Sink, Source,
    plugin::{CheckpointFactory, Config, Factory, SinkFactory, SourceFactory},
    settings::{Settings, closest},
};

/// A registered plugin: a name, a role, and what its settings look like.
#[derive(Debug)]
pub struct Plugin {
    /// What a pipeline file says as `type`.
    pub name: &'static str,
    /// The crate it comes from.
    pub package: &'static str,
    schema: fn(&mut SchemaGenerator) -> Schema,
    parse: Parse,
}

/// What a plugin is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Where changes come from.
    Source,
    /// Where changes go to.
    Sink,
    /// Where positions are kept.
    Checkpoint,
}

#[derive(Debug)]
enum Parse {
    Source(fn(&Settings) -> Result<SourceFactory>),
    Sink(fn(&Settings) -> Result<SinkFactory>),
    Checkpoint(fn(&Settings) -> Result<CheckpointFactory>),
}

inventory::collect!(Plugin);

/// All linked plugins, by role and name.
pub fn plugins() -> Vec<&'static Plugin> {
    let mut plugins: Vec<_> = inventory::iter::<Plugin>().collect();
    plugins.sort_by_key(|plugin| (plugin.role(), plugin.name));
    plugins
}

/// Reads `settings` (without their `type`) as those of the source `name`.
///
/// # Errors
/// `Config`: no such source is linked, or the settings are wrong; with the key it is about.
pub fn source(name: &str, settings: &Settings) -> Result<SourceFactory> {
    let parse = find(Role::Source, name, |plugin| match plugin.parse {
        Parse::Source(parse) => Some(parse),
        _ => None,
    })?;
    parse(settings)
}

/// Reads `settings` (without their `type`) as those of the sink `name`.
///
/// # Errors
/// As [`source`].
pub fn sink(name: &str, settings: &Settings) -> Result<SinkFactory> {
    let parse = find(Role::Sink, name, |plugin| match plugin.parse {
        Parse::Sink(parse) => Some(parse),
        _ => None,
    })?;
    parse(settings)
}

/// Reads `settings` (without their `type`) as those of the checkpoint store `name`.
///
/// # Errors
/// As [`source`].
pub fn checkpoint(name: &str, settings: &Settings) -> Result<CheckpointFactory> {
    let parse = find(Role::Checkpoint, name, |plugin| match plugin.parse {
        Parse::Checkpoint(parse) => Some(parse),
        _ => None,
    })?;
    parse(settings)
}

fn find<P>(role: Role, name: &str, parse: impl Fn(&Plugin) -> Option<P>) -> Result<P> {
    let found = inventory::iter::<Plugin>().filter(|plugin| plugin.name == name).find_map(parse);
    found.ok_or_else(|| unknown(role, name))
}

fn unknown(role: Role, name: &str) -> Error {
    let names: Vec<_> =
        plugins().iter().filter(|plugin| plugin.role() == role).map(|plugin| plugin.name).collect();
    let help = match closest(name, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("this build has {}", names.join(", ")),
    };
    Error::config(format!("unknown {} type `{name}`", role.name())).key("type").help(help)
}

impl Plugin {
    /// Describes a source. Used by [`register_source!`](crate::register_source).
    pub const fn source<C: Config<Opens = dyn Source>>(
        name: &'static str,
        package: &'static str,
    ) -> Self {
        Self { name, package, schema: schema::<C>, parse: Parse::Source(parse::<C>) }
    }

    /// Describes a sink. Used by [`register_sink!`](crate::register_sink).
    pub const fn sink<C: Config<Opens = dyn Sink>>(
        name: &'static str,
        package: &'static str,
    ) -> Self {
        Self { name, package, schema: schema::<C>, parse: Parse::Sink(parse::<C>) }
    }

    /// Describes a checkpoint store. Used by
    /// [`register_checkpoint!`](crate::register_checkpoint).
    pub const fn checkpoint<C: Config<Opens = dyn CheckpointStore>>(
        name: &'static str,
        package: &'static str,
    ) -> Self {
        Self { name, package, schema: schema::<C>, parse: Parse::Checkpoint(parse::<C>) }
    }

    /// What it is for.
    pub fn role(&self) -> Role {
        match self.parse {
            Parse::Source(_) => Role::Source,
            Parse::Sink(_) => Role::Sink,
            Parse::Checkpoint(_) => Role::Checkpoint,
        }
    }

    /// The JSON Schema of the settings, without `type`.
    pub fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        (self.schema)(generator)
    }
}

impl Role {
    /// The word for it, in prose.
    pub fn name(self) -> &'static str {
        match self {
            Role::Source => "source",
            Role::Sink => "sink",
            Role::Checkpoint => "checkpoint",
        }
    }
}

fn schema<C: Config>(generator: &mut SchemaGenerator) -> Schema {
    C::json_schema(generator)
}

fn parse<C: Config>(settings: &Settings) -> Result<Box<dyn Factory<C::Opens>>> {
    let config: C = settings.parse()?;
    Config::validate(&config)?;
    Ok(Box::new(config))
}

/// Registers a [`Config`](crate::plugin::Config) that opens a source under a name.
#[macro_export]
macro_rules! register_source {
    ($name:literal, $config:ty) => {
        $crate::inventory::submit! {
            $crate::registry::Plugin::source::<$config>($name, env!("CARGO_PKG_NAME"))
        }
    };
}

/// Registers a [`Config`](crate::plugin::Config) that opens a sink under a name.
#[macro_export]
macro_rules! register_sink {
    ($name:literal, $config:ty) => {
        $crate::inventory::submit! {
            $crate::registry::Plugin::sink::<$config>($name, env!("CARGO_PKG_NAME"))
        }
    };
}

/// Registers a [`Config`](crate::plugin::Config) that opens a checkpoint store under a name.
#[macro_export]
macro_rules! register_checkpoint {
    ($name:literal, $config:ty) => {
        $crate::inventory::submit! {
            $crate::registry::Plugin::checkpoint::<$config>($name, env!("CARGO_PKG_NAME"))
        }
    };
}
