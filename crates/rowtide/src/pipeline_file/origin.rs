use rowtide_core::Error;

use super::{Place, Problem, document::Places, overlay::Overlay};

/// Knows where each setting of a pipeline comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    places: Places,
    overlay: Overlay,
}

impl Origin {
    pub(super) fn new(places: Places, overlay: Overlay) -> Self {
        Self { places, overlay }
    }

    /// Where `key` is set; for one that is missing, where the table begins that should have it.
    pub(crate) fn place(&self, key: &str) -> Place {
        self.set(key).unwrap_or_else(|| self.places.beginning())
    }

    /// Adds where the user can mend it to an error about a setting.
    pub(crate) fn problem(&self, error: Error) -> Problem {
        let place = self.place(error.setting().unwrap_or_default());
        Problem::new(place, error)
    }

    /// The problem of a running pipeline, which may be about one of its settings or about none.
    pub(crate) fn runtime_problem(&self, pipeline: &str, error: Error) -> Problem {
        let place = error.setting().and_then(|key| self.set(key));
        Problem::new(place.unwrap_or_else(|| Place::Pipeline(pipeline.to_owned())), error)
    }

    fn set(&self, mut key: &str) -> Option<Place> {
        // A table that the file does not have can only be that of a variable.
        if !self.places.is_table(key)
            && let Some(place) = self.overlay.find_below(key)
        {
            return Some(place);
        }
        loop {
            if let Some(place) = self.overlay.find(key).or_else(|| self.places.find(key)) {
                return Some(place);
            }
            key = key.rsplit_once('.')?.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{document::Document, overlay::overlay};
    use super::*;

    #[track_caller]
    fn check(key: &str, expected: &str) {
        let text = "name = \"n\"\n[source]\npath = \"p\"\ntables = [\"t\"]\n[sink]\na = 1";
        let document = Document::parse("f.toml", text).unwrap();
        let overlay = overlay(&[
            ("source.path", "q"),
            ("sink.every", "x"),
            ("sink.a.b", "x"),
            ("new.deep.er", "x"),
        ]);
        let origin = Origin::new(document.places().clone(), overlay);
        assert_eq!(origin.place(key).to_string(), expected);
    }

    #[test]
    fn a_key_is_found_where_it_is_set() {
        check("name", "f.toml:1:1");
        check("source.tables.0", "f.toml:4:11");
        check("source.path", "environment variable ROWTIDE__SOURCE__PATH");
        check("sink.every", "environment variable ROWTIDE__SINK__EVERY");
        check("sink.a", "environment variable ROWTIDE__SINK__A__B");
        check("new", "environment variable ROWTIDE__NEW__DEEP__ER");
        check("sink", "f.toml:5:2");
        check("sink.every.0", "environment variable ROWTIDE__SINK__EVERY");
    }

    #[test]
    fn what_is_missing_belongs_to_its_table() {
        check("source.type", "f.toml:2:2");
        check("checkpoint", "f.toml:1:1");
    }
}
