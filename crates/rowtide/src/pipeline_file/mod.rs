//! Reads pipeline files: TOML, the environment over it, and the plugins it names.

mod document;
mod interpolation;
mod origin;
mod overlay;
mod placed;
mod problem;
mod sections;

use std::{
    collections::HashMap,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    value::{Num, Value},
};
use rowtide_core::{Error, Result, settings::Settings};
use rowtide_engine::Pipeline;

use document::Document;
use overlay::Overlay;

pub(crate) use origin::Origin;
pub(crate) use problem::{Place, Problem, Problems};

/// A pipeline, and the file it comes from.
pub(crate) struct PipelineFile {
    pub(crate) pipeline: Pipeline,
    pub(crate) origin: Origin,
}

/// Reads one pipeline file.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn load(path: &Path) -> Result<PipelineFile, Problems> {
    read(path, &Overlay::from_environment())
}

/// Reads several pipeline files.
///
/// # Errors
/// All that is wrong with them; two pipelines of one name; settings in the environment, which could
/// be meant for any of several files.
pub(crate) fn load_all(paths: &[PathBuf]) -> Result<Vec<PipelineFile>, Problems> {
    let overlay = Overlay::from_environment();
    if paths.len() > 1 {
        overlay.check_empty()?;
    }
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        match read(path, &overlay) {
            Ok(file) => files.push(file),
            Err(Problems(more)) => problems.extend(more),
        }
    }
    problems.extend(twins(&files));
    Problems::check(problems)?;
    Ok(files)
}

/// Reads a pipeline that is not in a file, such as that of the demo.
#[cfg(any(feature = "fuzzing", all(feature = "sqlite", feature = "stdout")))]
pub(crate) fn parse(title: &str, text: &str) -> Result<PipelineFile, Problems> {
    assemble(title, text, &Overlay::default())
}

fn read(path: &Path, overlay: &Overlay) -> Result<PipelineFile, Problems> {
    let file = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => assemble(&file, &text, overlay),
        Err(error) => {
            let error =
                Error::config("failed to read the pipeline file").help(mend(&error)).because(error);
            Err(Problem::new(Place::File(file), error).into())
        }
    }
}

fn mend(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => {
            "name a file that is there; paths are relative to the directory this was started in"
        }
        ErrorKind::IsADirectory => "name a file in it; each file has one pipeline",
        ErrorKind::InvalidData => "save it as TOML, which is a text in UTF-8",
        ErrorKind::PermissionDenied => "let this user read it",
        _ => "name a file that can be read",
    }
}

fn assemble(file: &str, text: &str, overlay: &Overlay) -> Result<PipelineFile, Problems> {
    let document = Document::parse(file, text)?;
    let origin = Origin::new(document.places().clone(), overlay.clone());
    let locate = |errors: Vec<Error>| {
        Problems(errors.into_iter().map(|error| origin.problem(error)).collect())
    };
    let settings = merge(document, overlay).map_err(locate)?;
    let pipeline = sections::pipeline(settings).map_err(locate)?;
    Ok(PipelineFile { pipeline, origin })
}

fn merge(document: Document, overlay: &Overlay) -> Result<Settings, Vec<Error>> {
    overlay.check_lists(&document.value()).map_err(|error| vec![error])?;
    let figment = Figment::from(document).merge(overlay);
    let merged = figment.find_value("").map_err(|error| {
        vec![Error::config("failed to merge the file and the environment").because(error)]
    })?;
    let mut converter = Converter { figment: &figment, errors: Vec::new() };
    let settings = converter.settings("", merged);
    if converter.errors.is_empty() { Ok(settings) } else { Err(converter.errors) }
}

/// Turns figment's values into settings, and puts variables into the texts of the file.
struct Converter<'a> {
    figment: &'a Figment,
    errors: Vec<Error>,
}

impl Converter<'_> {
    fn settings(&mut self, path: &str, value: Value) -> Settings {
        let inside = |key: &str| if path.is_empty() { key.into() } else { format!("{path}.{key}") };
        match value {
            Value::Dict(_, entries) => Settings::Table(
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        let value = self.settings(&inside(&key), value);
                        (key, value)
                    })
                    .collect(),
            ),
            Value::Array(_, items) => Settings::List(
                items
                    .into_iter()
                    .enumerate()
                    .map(|(index, item)| self.settings(&inside(&index.to_string()), item))
                    .collect(),
            ),
            Value::Bool(_, value) => Settings::Bool(value),
            Value::Num(_, Num::I64(value)) => Settings::Int(value),
            Value::Num(_, number) => Settings::Float(number.to_f64().unwrap_or(f64::NAN)),
            Value::Char(_, character) => Settings::Text(character.to_string()),
            Value::Empty(..) => Settings::empty(),
            Value::String(tag, text) => match self.figment.get_metadata(tag) {
                Some(metadata) if Overlay::is_origin(metadata) => Settings::Override(text),
                _ => self.interpolated(path, text),
            },
        }
    }

    fn interpolated(&mut self, path: &str, text: String) -> Settings {
        match interpolation::interpolate(&text, |name| std::env::var(name).ok()) {
            Ok(None) => Settings::Text(text),
            Ok(Some(whole)) => Settings::Override(whole),
            Err(error) => {
                self.errors.push(error.key(path));
                Settings::Text(text)
            }
        }
    }
}

fn twins(files: &[PipelineFile]) -> Vec<Problem> {
    let mut seen: HashMap<&str, &Origin> = HashMap::new();
    let mut problems = Vec::new();
    for PipelineFile { pipeline, origin } in files {
        if let Some(first) = seen.get(pipeline.name.as_str()) {
            let message = format!("two pipelines are called `{}`", pipeline.name);
            let help = format!(
                "the other one is at {}; give each its own name, as positions are saved under it",
                first.place("name")
            );
            problems.push(origin.problem(Error::config(message).key("name").help(help)));
        } else {
            seen.insert(&pipeline.name, origin);
        }
    }
    problems
}
