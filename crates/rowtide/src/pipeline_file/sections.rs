//! Turns the settings of a file into a pipeline, one section after the other, so that the errors of
//! all of them are told together.

use rowtide_core::{
    Error, Result,
    plugin::Factory,
    registry::{self, Role},
    settings::{Settings, closest},
};
use rowtide_engine::{Delivery, Pipeline};

use super::placed::Placed;
use crate::plugins;

const KEYS: [&str; 5] = ["name", "source", "sink", "checkpoint", "delivery"];

/// Makes the pipeline.
///
/// # Errors
/// Each `Config`, with the full path of the key it is about.
pub(super) fn pipeline(mut settings: Settings) -> Result<Pipeline, Vec<Error>> {
    let mut errors = Vec::new();
    let mut settings = Sections { settings: &mut settings, errors: &mut errors };
    let name = settings.take(name);
    let source = settings.take(|all| plugin(all, Role::Source, registry::source));
    let sink = settings.take(|all| plugin(all, Role::Sink, registry::sink));
    let checkpoint = settings.take(|all| plugin(all, Role::Checkpoint, registry::checkpoint));
    let delivery = settings.take(delivery);
    settings.refuse_the_rest();
    match (name, source, sink, checkpoint, delivery) {
        (Some(name), Some(source), Some(sink), Some(checkpoint), Some(delivery))
            if errors.is_empty() =>
        {
            Ok(Pipeline { name, source, sink, checkpoint, delivery })
        }
        _ => Err(errors),
    }
}

struct Sections<'a> {
    settings: &'a mut Settings,
    errors: &'a mut Vec<Error>,
}

impl Sections<'_> {
    fn take<T>(&mut self, parse: impl FnOnce(&mut Settings) -> Result<T>) -> Option<T> {
        parse(self.settings).map_err(|error| self.errors.push(error)).ok()
    }

    fn refuse_the_rest(&mut self) {
        let Settings::Table(rest) = &*self.settings else { return };
        for (key, _) in rest {
            let help = match closest(key, &KEYS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("a pipeline has {}", KEYS.join(", ")),
            };
            self.errors.push(Error::config("unknown key").key(key).help(help));
        }
    }
}

fn name(settings: &mut Settings) -> Result<String> {
    let Some(name) = settings.remove("name") else {
        let help = "add `name = \"orders\"` at the top; positions are saved under it";
        return Err(Error::config("missing key").key("name").help(help));
    };
    let name: String = name.parse().map_err(|error| error.under("name"))?;
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    if starts_well && name.len() <= 100 && name.chars().all(is_plain) {
        return Ok(name);
    }
    let shown: String = name.chars().take(100).collect();
    Err(Error::config(format!("`{shown}` cannot be the name of a pipeline"))
        .key("name")
        .help("use up to 100 of a-z, A-Z, 0-9, `-`, `_` and `.`, beginning with a letter or digit"))
}

type Parse<O> = fn(&str, &Settings) -> Result<Box<dyn Factory<O>>>;

fn plugin<O: ?Sized + 'static>(
    settings: &mut Settings,
    role: Role,
    parse: Parse<O>,
) -> Result<Box<dyn Factory<O>>> {
    let section = role.name();
    let Some(mut settings) = settings.remove(section) else {
        return Err(missing_section(role));
    };
    let factory = type_of(&mut settings, role).and_then(|name| {
        plugins::require(role, &name)?;
        parse(&name, &settings)
    });
    let factory = factory.map_err(|error| {
        // What a plugin says without a key is about all of its settings.
        let error = if error.setting().is_none() { error.key("") } else { error };
        error.under(section)
    })?;
    Ok(Box::new(Placed::new(factory, section)))
}

fn type_of(settings: &mut Settings, role: Role) -> Result<String> {
    if !matches!(settings, Settings::Table(_)) {
        return Err(Error::config("expected a table")
            .key("")
            .help(format!("write `[{0}]` on a line of its own, its keys below it", role.name())));
    }
    match settings.remove("type") {
        Some(name) => name.parse().map_err(|error| error.under("type")),
        None => Err(Error::config("missing key").key("type").help(add_type(role))),
    }
}

fn missing_section(role: Role) -> Error {
    let section = role.name();
    let more = match role {
        Role::Checkpoint => "; it keeps how far the pipeline is, across restarts",
        Role::Source | Role::Sink => "",
    };
    Error::config(format!("missing table `[{section}]`"))
        .key(section)
        .help(format!("add `[{section}]`, and below it {}{more}", add_type(role)))
}

fn add_type(role: Role) -> String {
    let plugins = registry::plugins();
    let names: Vec<_> = plugins
        .iter()
        .filter(|plugin| plugin.role() == role)
        .map(|plugin| format!("\"{}\"", plugin.name))
        .collect();
    format!("`type = …`, one of {}", names.join(", "))
}

fn delivery(settings: &mut Settings) -> Result<Delivery> {
    let Some(settings) = settings.remove("delivery") else { return Ok(Delivery::default()) };
    let delivery: Result<Delivery> = settings.parse();
    delivery
        .and_then(|delivery| delivery.validate().map(|()| delivery))
        .map_err(|error| error.under("delivery"))
}
