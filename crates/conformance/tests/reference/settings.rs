//! Sources whose settings do one thing wrong each.

use rowtide_conformance::{Result, async_trait};
use rowtide_core::{Context, Error, Source, plugin::Config, register_source};

use super::{find, source::open, upstream::World};

macro_rules! flawed {
    ($plugin:literal, $config:ident, $validate:expr) => {
        register_source!($plugin, $config);

        #[async_trait]
        impl Config for $config {
            type Opens = dyn Source;

            fn validate(&self) -> Result<()> {
                let validate: fn(&Self) -> Result<()> = $validate;
                validate(self)
            }

            async fn open(self, _: &Context) -> Result<Box<dyn Source>> {
                open(self.world, &self.defect)
            }
        }
    };
}

/// Takes any key.
#[derive(Clone, serde::Deserialize, schemars::JsonSchema)]
struct Lenient {
    /// The number of the world.
    world: u64,
    /// What it does wrong.
    defect: String,
}
flawed!("unknown keys are ignored", Lenient, |_| Ok(()));

/// Says that a key is required, and does without.
#[derive(Clone, serde::Deserialize, schemars::JsonSchema)]
#[schemars(extend("required" = ["world", "defect"]))]
#[serde(deny_unknown_fields)]
struct Forgiving {
    /// The number of the world.
    #[serde(default)]
    world: u64,
    /// What it does wrong.
    defect: String,
}
flawed!("a missing key is made up", Forgiving, |_| Ok(()));

/// Has a key without a word about it.
#[derive(Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Silent {
    world: u64,
    /// What it does wrong.
    defect: String,
}
flawed!("a key is not documented", Silent, |_| Ok(()));

/// Takes a password for a text.
#[derive(Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Open {
    /// The number of the world.
    world: u64,
    /// What it does wrong.
    defect: String,
    /// Whatever opens the world.
    password: Option<String>,
}
flawed!("a password is a text", Open, |config| {
    let _ = &config.password;
    Ok(())
});

/// Looks before it is opened.
#[derive(Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Curious {
    /// The number of the world.
    world: u64,
    /// What it does wrong.
    defect: String,
}
flawed!("validation looks at the world", Curious, |config| {
    match find::<World>(config.world) {
        Some(_) => Ok(()),
        None => Err(Error::config("no such world").key("world")),
    }
});
