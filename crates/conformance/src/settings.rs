//! What the settings of every plugin must do.

use std::{sync::Arc, thread};

use rowtide_core::{
    Error, ErrorKind,
    plugin::Factory,
    registry::{self, Role},
    settings::Settings,
};
use schemars::SchemaGenerator;
use serde_json::{Map, Value as Json};

use crate::{
    CheckpointHarness, Failure, SinkHarness, SourceHarness, Verdict, opening,
    scenario::{Scenario, ensure, scenario},
};

/// What a scenario of settings works on: a plugin, and settings that a user would write.
pub(crate) struct SettingsCase {
    role: Role,
    harness: Harness,
}

enum Harness {
    Source(Arc<dyn SourceHarness>),
    Sink(Arc<dyn SinkHarness>),
    Checkpoint(Arc<dyn CheckpointHarness>),
}

impl SettingsCase {
    pub(crate) fn source(harness: Arc<dyn SourceHarness>) -> Self {
        Self { role: Role::Source, harness: Harness::Source(harness) }
    }

    pub(crate) fn sink(harness: Arc<dyn SinkHarness>) -> Self {
        Self { role: Role::Sink, harness: Harness::Sink(harness) }
    }

    pub(crate) fn checkpoint(harness: Arc<dyn CheckpointHarness>) -> Self {
        Self { role: Role::Checkpoint, harness: Harness::Checkpoint(harness) }
    }

    fn plugin(&self) -> &str {
        match &self.harness {
            Harness::Source(harness) => harness.plugin(),
            Harness::Sink(harness) => harness.plugin(),
            Harness::Checkpoint(harness) => harness.plugin(),
        }
    }

    /// Settings for a world that is gone again.
    async fn settings(&self) -> Verdict<Settings> {
        let text = match &self.harness {
            Harness::Source(harness) => harness.upstream().await?.settings(),
            Harness::Sink(harness) => harness.downstream().await?.settings(),
            Harness::Checkpoint(harness) => harness.storage().await?.settings(),
        };
        opening::settings(&text)
    }

    /// Reads settings and validates them, in a thread without an async runtime.
    fn parse(&self, settings: Settings) -> rowtide_core::Result<()> {
        self.parse_and_show(settings).map(drop)
    }

    /// What `Debug` shows of the settings once they are read.
    fn parse_and_show(&self, settings: Settings) -> rowtide_core::Result<String> {
        let (role, plugin) = (self.role, self.plugin().to_owned());
        let parse = move || match role {
            Role::Source => shown(&*registry::source(&plugin, &settings)?),
            Role::Sink => shown(&*registry::sink(&plugin, &settings)?),
            Role::Checkpoint => shown(&*registry::checkpoint(&plugin, &settings)?),
        };
        let panicked = |_| Err(Error::fatal("reading the settings panicked"));
        thread::spawn(parse).join().unwrap_or_else(panicked)
    }

    fn schema(&self) -> Verdict<Json> {
        let mut plugins = registry::plugins().into_iter();
        let found =
            plugins.find(|plugin| plugin.role() == self.role && plugin.name == self.plugin());
        let Some(plugin) = found else {
            return Err(Failure::broken(format!("`{}` is not registered", self.plugin())));
        };
        let mut generator = SchemaGenerator::default();
        let schema = plugin.schema(&mut generator);
        let mut schema = Json::from(schema);
        schema["$defs"] = Json::Object(generator.take_definitions(true));
        Ok(schema)
    }
}

pub(crate) fn scenarios() -> Vec<Scenario<SettingsCase>> {
    vec![
        scenario!(
            settings_reject_unknown_keys,
            None,
            "a key that the plugin does not know, at any depth, is an error that names it"
        ),
        scenario!(
            settings_name_missing_keys,
            None,
            "each required key that is missing is an error that names it"
        ),
        scenario!(settings_document_every_key, None, "every key says what it is for"),
        scenario!(
            settings_hide_secrets,
            None,
            "what must not be shown is a `Secret`, and neither an error nor `Debug` shows it"
        ),
        scenario!(
            settings_are_validated_without_input_or_output,
            None,
            "checking settings needs nothing outside, so that `rowtide check` runs anywhere"
        ),
    ]
}

async fn settings_reject_unknown_keys(case: SettingsCase) -> Verdict {
    let settings = case.settings().await?;
    for path in tables(&settings, &[]) {
        let mut wrong = settings.clone();
        insert(&mut wrong, &path, "no_such_key", Settings::Int(1));
        let key = [path.as_slice(), &["no_such_key".to_owned()]].concat().join(".");
        must_name(case.parse(wrong), &key)?;
    }
    Ok(())
}

async fn settings_name_missing_keys(case: SettingsCase) -> Verdict {
    let settings = case.settings().await?;
    let schema = case.schema()?;
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    if required.is_empty() {
        return Err(Failure::NotApplicable("no key is required".to_owned()));
    }
    for key in required.iter().filter_map(Json::as_str) {
        let mut wrong = settings.clone();
        wrong.remove(key);
        must_name(case.parse(wrong), key)?;
    }
    Ok(())
}

async fn settings_document_every_key(case: SettingsCase) -> Verdict {
    let schema = case.schema()?;
    for (path, property) in properties(&schema) {
        let description = property["description"].as_str().unwrap_or_default();
        ensure!(!description.trim().is_empty(), "`{path}` has no doc comment");
    }
    Ok(())
}

/// What the name of a key contains if its value must not be shown.
const SECRETIVE: [&str; 5] = ["password", "secret", "token", "credential", "api_key"];
const CANARY: i64 = 8_642_097_531;

async fn settings_hide_secrets(case: SettingsCase) -> Verdict {
    let settings = case.settings().await?;
    let schema = case.schema()?;
    for (path, property) in properties(&schema) {
        let secretive = SECRETIVE.iter().any(|word| path.contains(word));
        let kept = is_secret(&property);
        ensure!(kept || !secretive, "`{path}` is not a `Secret`, which its name says it is");
        if !kept || path.contains('.') {
            continue;
        }
        for value in [Settings::Text(CANARY.to_string()), Settings::Int(CANARY)] {
            let mut right = settings.clone();
            insert(&mut right, &[], &path, value);
            if let Ok(shown) = case.parse_and_show(right.clone()) {
                let hidden = !shown.contains(&CANARY.to_string());
                ensure!(hidden, "`Debug` of the settings shows the value of `{path}`: {shown}");
            }
            let mut wrong = right;
            insert(&mut wrong, &[], "no_such_key", Settings::Int(1));
            let Err(error) = case.parse(wrong) else { continue };
            let shown = format!("{error} {error:?}").contains(&CANARY.to_string());
            ensure!(!shown, "an error shows the value of `{path}`: {error}");
        }
    }
    Ok(())
}

async fn settings_are_validated_without_input_or_output(case: SettingsCase) -> Verdict {
    let settings = case.settings().await?;
    case.parse(settings).map_err(|error| {
        Failure::broken(format!("settings of a system that is not there are refused: {error}"))
    })
}

fn shown<O: ?Sized>(factory: &dyn Factory<O>) -> rowtide_core::Result<String> {
    factory.validate()?;
    Ok(format!("{factory:?}"))
}

fn must_name(parsed: rowtide_core::Result<()>, key: &str) -> Verdict {
    let Err(error) = parsed else {
        return Err(Failure::broken(format!("`{key}` was not missed or not refused")));
    };
    let kind = error.kind();
    ensure!(*kind == ErrorKind::Config, "`{key}` is {kind:?}, not `Config`: {error}");
    let named = error.setting();
    ensure!(named == Some(key), "the error is about {named:?} instead of `{key}`: {error}");
    Ok(())
}

/// The paths of all tables in `settings`, the outermost included.
fn tables(settings: &Settings, path: &[String]) -> Vec<Vec<String>> {
    let Settings::Table(entries) = settings else { return Vec::new() };
    let inner = entries.iter().flat_map(|(key, value)| {
        let path = [path, std::slice::from_ref(key)].concat();
        tables(value, &path)
    });
    std::iter::once(path.to_vec()).chain(inner).collect()
}

fn insert(settings: &mut Settings, path: &[String], key: &str, value: Settings) {
    let Settings::Table(entries) = settings else { return };
    match path.split_first() {
        Some((first, rest)) => {
            let inner = entries.iter_mut().find(|(name, _)| name == first);
            if let Some((_, inner)) = inner {
                insert(inner, rest, key, value);
            }
        }
        None => {
            entries.retain(|(name, _)| name != key);
            entries.push((key.to_owned(), value));
        }
    }
}

/// All properties of a schema with their paths, those of inner tables included.
fn properties(schema: &Json) -> Vec<(String, Json)> {
    let mut found = Vec::new();
    collect(schema, schema, "", &mut found);
    found
}

fn collect(root: &Json, schema: &Json, path: &str, found: &mut Vec<(String, Json)>) {
    let nothing = Map::new();
    for (name, property) in schema["properties"].as_object().unwrap_or(&nothing) {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        found.push((path.clone(), property.clone()));
        collect_inner(root, property, &path, found);
    }
}

/// The keys in whatever a value can be: a table, one of several shapes, or a list of them.
fn collect_inner(root: &Json, schema: &Json, path: &str, found: &mut Vec<(String, Json)>) {
    // What the shapes of a word mean that all plugins share is documented once, in core.
    if is_secret(schema) {
        return;
    }
    let target = schema["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
    if let Some(target) = target.and_then(|pointer| root.pointer(pointer)) {
        return collect_inner(root, target, path, found);
    }
    collect(root, schema, path, found);
    for shapes in ["anyOf", "oneOf", "allOf"] {
        for shape in schema[shapes].as_array().into_iter().flatten() {
            collect_inner(root, shape, path, found);
        }
    }
    for items in ["items", "additionalProperties"] {
        if schema[items].is_object() {
            collect_inner(root, &schema[items], &format!("{path}[]"), found);
        }
    }
}

/// Whether a value is kept as a `Secret`, which may be left out.
fn is_secret(schema: &Json) -> bool {
    schema["format"] == "secret"
        || schema["anyOf"].as_array().is_some_and(|shapes| shapes.iter().any(is_secret))
}
