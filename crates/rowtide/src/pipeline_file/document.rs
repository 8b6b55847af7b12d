use std::collections::{HashMap, HashSet};

use figment::{
    Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};
use rowtide_core::{Error, Result};
use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use super::{Place, Problem};

/// How many characters of a broken line are shown.
const SNIPPET: usize = 100;

/// A parsed TOML file, which remembers where each key stands.
#[derive(Debug)]
pub(super) struct Document {
    values: Dict,
    places: Places,
}

/// The places of the keys of a file, by key path.
#[derive(Clone, Debug)]
pub(super) struct Places {
    file: String,
    places: HashMap<String, (usize, usize)>,
    tables: HashSet<String>,
}

impl Document {
    /// Parses the `text` of the file called `file`.
    ///
    /// # Errors
    /// `Config`, at the place where the TOML is broken.
    pub(super) fn parse(file: &str, text: &str) -> Result<Self, Problem> {
        let table = DeTable::parse(text).map_err(|error| broken(file, text, &error))?;
        let mut reader =
            Reader { lines: Lines::new(text), places: HashMap::new(), tables: HashSet::new() };
        let values = reader.table("", table.get_ref());
        let places = Places { file: file.to_owned(), places: reader.places, tables: reader.tables };
        match values {
            Ok(values) => Ok(Self { values, places }),
            Err(error) => Err(Problem::new(places.nearest(error.setting()), error)),
        }
    }

    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// The whole of it.
    pub(super) fn value(&self) -> Value {
        Value::from(self.values.clone())
    }
}

impl Provider for Document {
    fn metadata(&self) -> Metadata {
        Metadata::named("pipeline file")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

impl Places {
    /// The place of exactly this key.
    pub(super) fn find(&self, key: &str) -> Option<Place> {
        let &(line, column) = self.places.get(key)?;
        Some(Place::Line { file: self.file.clone(), line, column })
    }

    /// Where the file begins: the place of what is missing at its top.
    pub(super) fn beginning(&self) -> Place {
        Place::Line { file: self.file.clone(), line: 1, column: 1 }
    }

    /// Whether the file has a table, or a list, at this key.
    pub(super) fn is_table(&self, key: &str) -> bool {
        self.tables.contains(key)
    }

    fn nearest(&self, key: Option<&str>) -> Place {
        key.and_then(|key| self.find(key)).unwrap_or_else(|| self.beginning())
    }
}

struct Reader<'a> {
    lines: Lines<'a>,
    places: HashMap<String, (usize, usize)>,
    tables: HashSet<String>,
}

impl Reader<'_> {
    fn table(&mut self, path: &str, table: &DeTable<'_>) -> Result<Dict> {
        self.tables.insert(path.to_owned());
        let mut entries = Dict::new();
        for (key, value) in table {
            let path = join(path, key.get_ref());
            self.places.insert(path.clone(), self.lines.place(key.span().start));
            entries.insert(key.get_ref().to_string(), self.value(&path, value.get_ref())?);
        }
        Ok(entries)
    }

    fn list(&mut self, path: &str, items: &[Spanned<DeValue<'_>>]) -> Result<Vec<Value>> {
        let item = |(index, item): (usize, &Spanned<DeValue<'_>>)| {
            let path = join(path, &index.to_string());
            self.places.insert(path.clone(), self.lines.place(item.span().start));
            self.value(&path, item.get_ref())
        };
        items.iter().enumerate().map(item).collect()
    }

    fn value(&mut self, path: &str, value: &DeValue<'_>) -> Result<Value> {
        Ok(match value {
            DeValue::String(text) => Value::from(text.as_ref()),
            DeValue::Integer(integer) => Value::from(parse_integer(integer, path)?),
            DeValue::Float(float) => {
                let invalid = |_| Error::config("not a number").key(path);
                Value::from(float.as_str().parse::<f64>().map_err(invalid)?)
            }
            DeValue::Boolean(value) => Value::from(*value),
            DeValue::Datetime(time) => Value::from(time.to_string()),
            DeValue::Array(items) => Value::from(self.list(path, items)?),
            DeValue::Table(table) => Value::from(self.table(path, table)?),
        })
    }
}

fn parse_integer(integer: &DeInteger<'_>, path: &str) -> Result<i64> {
    // It may be a password without quotes.
    let too_large = |_| {
        Error::config("the number does not fit 64 bits")
            .key(path)
            .help(format!("the largest number is {}", i64::MAX))
    };
    i64::from_str_radix(integer.as_str(), integer.radix()).map_err(too_large)
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn broken(file: &str, text: &str, error: &toml::de::Error) -> Problem {
    let lines = Lines::new(text);
    let (line, column) = lines.place(error.span().map_or(0, |span| span.start));
    let gutter = " ".repeat(line.to_string().len());
    // Of a very long line, what stands around the mistake.
    let skipped = if column > SNIPPET { column - SNIPPET / 2 } else { 0 };
    let part: String = lines.text(line).chars().skip(skipped).take(SNIPPET).collect();
    let margin = " ".repeat(column - 1 - skipped);
    let snippet = format!(" {gutter} |\n {line} | {part}\n {gutter} | {margin}^");
    let place = Place::Line { file: file.to_owned(), line, column };
    let error =
        Error::config(format!("this is not TOML: {}", error.message())).help(mend(error.message()));
    Problem::new(place, error).snippet(snippet)
}

fn mend(message: &str) -> &'static str {
    match message {
        "duplicate key" => "keep one of them; a table too is written once",
        _ => "a text needs quotes: `path = \"shop.db\"`; a table begins with `[source]`",
    }
}

/// Turns byte offsets into lines and columns, both counted from 1.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let breaks = text.match_indices('\n').map(|(index, _)| index + 1);
        Self { text, starts: std::iter::once(0).chain(breaks).collect() }
    }

    fn place(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        let before = self.text.get(start..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    fn text(&self, line: usize) -> &'a str {
        self.text.lines().nth(line - 1).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_place(text: &str, key: &str, expected: (usize, usize)) {
        let document = Document::parse("f.toml", text).unwrap();
        assert_eq!(document.places.places.get(key), Some(&expected));
    }

    #[test]
    fn every_key_has_its_place() {
        let text = "name = \"ö\"\n[source]\n  path = 'x'\n  tables = [ \"ö\", \"b\" ]\n";
        check_place(text, "name", (1, 1));
        check_place(text, "source", (2, 2));
        check_place(text, "source.path", (3, 3));
        check_place(text, "source.tables.1", (4, 19));
        check_place("sink = { tls = { ca = 1 } }", "sink.tls.ca", (1, 18));
        check_place("[[sink.routes]]\na = 1\n[[sink.routes]]\na = 2", "sink.routes.1.a", (4, 1));
    }

    #[track_caller]
    fn check_broken(text: &str, expected: &str) {
        let problem = Document::parse("f.toml", text).unwrap_err().to_string();
        assert!(problem.starts_with(expected), "{problem}");
    }

    #[test]
    fn broken_toml_is_shown() {
        check_broken(
            "[source]\npath = shop.db\n",
            "error: f.toml:2:8: this is not TOML: string values must be quoted",
        );
        check_broken("a = 1\na = 2\n", "error: f.toml:2:1: this is not TOML: duplicate key");
        check_broken(&format!("a = {}", "[".repeat(9_999)), "error: f.toml:1:");
        let problem = Document::parse("f.toml", &"a.".repeat(9_999)).unwrap_err().to_string();
        assert!(problem.len() < 500, "{problem}");
        check_broken("a = ", "error: f.toml:1:5: this is not TOML");
        check_broken("[x]\na = 99999999999999999999", "error: f.toml:2:1: the number does not fit");
    }
}
