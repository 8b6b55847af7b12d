//! Sources whose settings do one thing wrong each.

use std::fmt;

use rowtide_conformance::{Result, async_trait};
use rowtide_core::{Context, Error, Source, plugin::Config, register_source, settings::Secret};

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
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
struct Lenient {
    /// The number of the world.
    world: u64,
    /// What it does wrong.
    defect: String,
}
flawed!("unknown keys are ignored", Lenient, |_| Ok(()));

/// Says that a key is required, and does without.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
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
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Silent {
    world: u64,
    /// What it does wrong.
    defect: String,
}
flawed!("a key is not documented", Silent, |_| Ok(()));

/// Takes a password for a text.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
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
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
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

/// Has a secret that its `Debug` shows.
#[derive(Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Talkative {
    /// The number of the world.
    world: u64,
    /// What it does wrong.
    defect: String,
    /// Whatever opens the world.
    password: Option<Secret>,
}
flawed!("debug shows a secret", Talkative, |_| Ok(()));

impl fmt::Debug for Talkative {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = self.password.as_ref().map(Secret::reveal);
        write!(formatter, "Talkative {{ password: {password:?} }}")
    }
}

/// Has a key without a word about it, in one of the shapes of the items of a list.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Deep {
    /// The number of the world.
    world: u64,
    /// What it does wrong.
    defect: String,
    /// More worlds.
    #[serde(default)]
    others: Vec<Option<Other>>,
}
flawed!("a key of a shape of an item is not documented", Deep, |config| {
    config.others.iter().flatten().for_each(|other| {
        let _ = other.number;
    });
    Ok(())
});

#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Other {
    number: u64,
}
