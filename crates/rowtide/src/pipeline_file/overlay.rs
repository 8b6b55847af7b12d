use std::collections::BTreeMap;

use figment::{
    Metadata, Profile, Provider,
    providers::Env,
    util::nest,
    value::{Dict, Map, Value},
};
use rowtide_core::{Error, Result};

use super::Place;

const PREFIX: &str = "ROWTIDE__";
const NAME: &str = "environment";

/// The settings of the environment: `ROWTIDE__SOURCE__PATH` is `source.path`.
///
/// Their values stay texts, unlike figment's own reading of the environment, which would make a
/// number of the password `12345`.
#[derive(Clone, Debug, Default)]
pub(super) struct Overlay {
    /// By key path.
    values: BTreeMap<String, String>,
}

impl Overlay {
    /// Reads the environment of this process.
    pub(super) fn from_environment() -> Self {
        let variables = Env::prefixed(PREFIX).split("__");
        let values = variables.iter().map(|(key, value)| (key.into_string(), value)).collect();
        Self { values }
    }

    /// Refuses an overlay, where it could not be known which file it is meant for.
    ///
    /// # Errors
    /// `Config`, naming a variable.
    pub(super) fn check_empty(&self) -> Result<()> {
        let Some(key) = self.values.keys().next() else { return Ok(()) };
        let message = format!("{} cannot apply to several pipeline files", variable(key));
        Err(Error::config(message)
            .key(key)
            .help("unset it, or run each pipeline in a process of its own"))
    }

    /// Refuses what is set inside of a list: a table would take the place of the list, and what is
    /// not said in it would be as if the list had never been there.
    ///
    /// # Errors
    /// `Config`, naming the list.
    pub(super) fn check_lists(&self, file: &Value) -> Result<()> {
        for key in self.values.keys() {
            let outer = key.match_indices('.').map(|(end, _)| &key[..end]);
            let is_list = |outer: &&str| matches!(file.find_ref(outer), Some(Value::Array(..)));
            if let Some(list) = outer.into_iter().find(is_list) {
                let message = format!("{} is inside of a list of the file", variable(key));
                let help = format!("write `{list}` in the file as a table, or set all of it");
                return Err(Error::config(message).key(list).help(help));
            }
        }
        Ok(())
    }

    /// The variable that sets exactly this key.
    pub(super) fn find(&self, key: &str) -> Option<Place> {
        self.values.contains_key(key).then(|| Place::Variable(variable(key)))
    }

    /// A variable that sets something below this key.
    pub(super) fn find_below(&self, key: &str) -> Option<Place> {
        let is_below =
            |other: &&String| other.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
        self.values.keys().find(is_below).map(|key| Place::Variable(variable(key)))
    }

    /// Whether figment has a value of this origin from here.
    pub(super) fn is_origin(metadata: &Metadata) -> bool {
        metadata.name == NAME
    }
}

impl Provider for Overlay {
    fn metadata(&self) -> Metadata {
        Metadata::named(NAME)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut values = Dict::new();
        for (key, text) in &self.values {
            insert(&mut values, nest(key, Value::from(text.as_str())));
        }
        Ok(Profile::Default.collect(values))
    }
}

/// Puts a nested value among the others. A key that is also the beginning of another one stands
/// before it and gives way, as there is no table that is a text as well.
fn insert(values: &mut Dict, nested: Value) {
    let Value::Dict(_, entries) = nested else { return };
    for (key, value) in entries {
        match (values.get_mut(&key), value) {
            (Some(Value::Dict(_, inner)), value @ Value::Dict(..)) => insert(inner, value),
            (_, value) => {
                values.insert(key, value);
            }
        }
    }
}

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

#[cfg(test)]
pub(super) fn overlay(values: &[(&str, &str)]) -> Overlay {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Overlay { values: values.iter().map(own).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_share_their_tables() {
        let overlay = overlay(&[("a.b", "1"), ("a.c.d", "2"), ("e", "3")]);
        let data = overlay.data().unwrap();
        let values = Value::from(data[&Profile::Default].clone());
        for (path, expected) in [("a.b", "1"), ("a.c.d", "2"), ("e", "3")] {
            assert_eq!(values.find_ref(path).and_then(Value::as_str), Some(expected));
        }
    }

    #[test]
    fn what_is_inside_of_a_list_of_the_file_is_refused() {
        let tables = Value::from(vec!["orders", "customers"]);
        let file = nest("source.tables", tables);
        for (key, is_refused) in [
            ("source.tables.exclude", true),
            ("source.tables", false),
            ("source.tables_more.exclude", false),
            ("source.path", false),
        ] {
            let checked = overlay(&[(key, "customers")]).check_lists(&file);
            assert_eq!(checked.is_err(), is_refused, "{key}");
        }
    }

    #[test]
    fn the_variable_is_known_by_its_key() {
        let overlay = overlay(&[("source.busy_timeout", "1")]);
        let place = Place::Variable("ROWTIDE__SOURCE__BUSY_TIMEOUT".to_owned());
        assert_eq!(overlay.find("source.busy_timeout"), Some(place));
        assert_eq!(overlay.find("source.path"), None);
    }
}
