//! The plugins that Rowtide ships: the only list.

use rowtide_core::{
    Error, Result,
    registry::{self, Role},
};

/// A plugin that Rowtide ships, whether it is in this build or not.
#[derive(Debug)]
pub(crate) struct Shipped {
    pub(crate) role: Role,
    pub(crate) name: &'static str,
    pub(crate) feature: &'static str,
}

/// Naming a crate is what links its plugins; each crate stands behind the feature of its folder.
macro_rules! plugins {
    ($($feature:literal $package:ident: $($role:ident $name:literal),+;)+) => {
        $(#[cfg(feature = $feature)] use $package as _;)+

        pub(crate) const SHIPPED: &[Shipped] = &[
            $($(Shipped { role: Role::$role, name: $name, feature: $feature },)+)+
        ];
    };
}

plugins! {
    "cockroachdb" rowtide_cockroachdb: Source "cockroachdb";
    "file" rowtide_file: Sink "file", Checkpoint "file";
    "kafka" rowtide_kafka: Sink "kafka";
    "mysql" rowtide_mysql: Checkpoint "mysql";
    "outbox" rowtide_outbox: Source "outbox";
    "postgres" rowtide_postgres: Checkpoint "postgres";
    "rabbitmq" rowtide_rabbitmq: Sink "rabbitmq";
    "spanner" rowtide_spanner: Source "spanner", Checkpoint "spanner";
    "sqlite" rowtide_sqlite: Source "sqlite", Checkpoint "sqlite";
    "stdout" rowtide_stdout: Sink "stdout";
    "ticker" rowtide_ticker: Source "ticker";
}

/// Refuses a plugin that Rowtide has and this build has not.
///
/// # Errors
/// `Config`, with the feature that brings it.
pub(crate) fn require(role: Role, name: &str) -> Result<()> {
    let shipped = SHIPPED.iter().find(|plugin| plugin.role == role && plugin.name == name);
    match shipped {
        Some(plugin) if !is_linked(plugin) => Err(not_in_this_build(plugin)),
        _ => Ok(()),
    }
}

fn not_in_this_build(plugin: &Shipped) -> Error {
    let Shipped { name, feature, .. } = plugin;
    Error::config(format!("`{name}` is not in this build"))
        .key("type")
        .help(format!("build with `--features {feature}` (or `full`)"))
}

/// Whether the plugin is in this build.
pub(crate) fn is_linked(plugin: &Shipped) -> bool {
    registry::plugins().iter().any(|own| own.role() == plugin.role && own.name == plugin.name)
}

/// Refuses two plugins of one role and name, which a runner of one's own can link.
///
/// # Errors
/// `Config`, naming both crates.
pub(crate) fn check_unique() -> Result<()> {
    let plugins = registry::plugins();
    let twins = plugins
        .windows(2)
        .find(|pair| pair[0].role() == pair[1].role() && pair[0].name == pair[1].name);
    let Some([one, other]) = twins else { return Ok(()) };
    let (role, name) = (one.role().name(), one.name);
    Err(Error::config(format!(
        "two plugins are registered as {role} `{name}`, by {} and by {}",
        one.package, other.package
    ))
    .help("link only one of them, or register it under another name"))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;

    /// The features of this build, by what Cargo tells the tests.
    fn enabled() -> BTreeSet<&'static str> {
        let mut features = BTreeSet::new();
        for (feature, is_enabled) in [
            ("cockroachdb", cfg!(feature = "cockroachdb")),
            ("file", cfg!(feature = "file")),
            ("kafka", cfg!(feature = "kafka")),
            ("mysql", cfg!(feature = "mysql")),
            ("outbox", cfg!(feature = "outbox")),
            ("postgres", cfg!(feature = "postgres")),
            ("rabbitmq", cfg!(feature = "rabbitmq")),
            ("spanner", cfg!(feature = "spanner")),
            ("sqlite", cfg!(feature = "sqlite")),
            ("stdout", cfg!(feature = "stdout")),
            ("ticker", cfg!(feature = "ticker")),
        ] {
            if is_enabled {
                features.insert(feature);
            }
        }
        features
    }

    #[test]
    fn registered_names_are_those_of_enabled_features() {
        let registered: BTreeSet<_> =
            registry::plugins().iter().map(|plugin| (plugin.role(), plugin.name)).collect();
        let expected: BTreeSet<_> = SHIPPED
            .iter()
            .filter(|plugin| enabled().contains(plugin.feature))
            .map(|plugin| (plugin.role, plugin.name))
            .collect();
        assert_eq!(registered, expected);
        assert_eq!(registry::plugins().len(), expected.len(), "a name is registered twice");
    }

    #[test]
    fn every_plugin_folder_is_listed() {
        let plugins = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins");
        let folders: BTreeSet<_> = fs::read_dir(plugins)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().join("Cargo.toml").exists())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        let listed: BTreeSet<_> = SHIPPED.iter().map(|plugin| plugin.feature.to_owned()).collect();
        assert_eq!(folders, listed);
    }

    #[test]
    fn full_is_every_feature() {
        let manifest = include_str!("../Cargo.toml");
        let (_, rest) = manifest.split_once("\nfull = [").unwrap();
        let (full, _) = rest.split_once(']').unwrap();
        for plugin in SHIPPED {
            assert!(full.contains(&format!("\"{}\"", plugin.feature)), "{}", plugin.feature);
        }
    }

    #[test]
    fn a_plugin_that_is_not_in_this_build_names_its_feature() {
        for plugin in SHIPPED {
            let refused = require(plugin.role, plugin.name);
            assert_eq!(refused.is_err(), !enabled().contains(plugin.feature), "{plugin:?}");
        }
        let lacking = Shipped { role: Role::Sink, name: "pulsar", feature: "pulsar" };
        assert!(!is_linked(&lacking));
        let error = not_in_this_build(&lacking);
        assert_eq!(error.message(), "`pulsar` is not in this build");
        assert_eq!(error.remedy(), Some("build with `--features pulsar` (or `full`)"));
    }
}
