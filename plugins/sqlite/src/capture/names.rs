//! The names of what we make in the user's database, quoted as SQL needs them.

/// The objects of one `log_prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    prefix: String,
}

/// What a trigger of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Before an insert: stages the rows that it may replace.
    StageInsert,
    /// Before an update: stages the rows that it may replace.
    StageUpdate,
    Insert,
    Update,
    Delete,
}

/// A table that we make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    Log,
    Layout,
    Pipeline,
    Meta,
    Stage,
}

pub(crate) const DEFAULT_PREFIX: &str = "_rowtide";

impl Names {
    pub(crate) fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    pub(crate) fn log(&self) -> String {
        self.object("log")
    }

    pub(crate) fn layout(&self) -> String {
        self.object("layout")
    }

    pub(crate) fn pipeline(&self) -> String {
        self.object("pipeline")
    }

    pub(crate) fn meta(&self) -> String {
        self.object("meta")
    }

    /// The table that stages the rows of one layout; only tables with further unique keys have one.
    pub(crate) fn stage(&self, layout: i64) -> String {
        self.object(&format!("stage_{layout}"))
    }

    pub(crate) fn stage_index(&self, layout: i64, number: usize) -> String {
        self.object(&format!("stage_{layout}_{number}"))
    }

    pub(crate) fn trigger(&self, kind: Kind, layout: i64) -> String {
        self.object(&format!("{}_{layout}", kind.name()))
    }

    /// An object's name without quotes, as `sqlite_master` has it.
    pub(crate) fn plain(&self, object: &str) -> String {
        format!("{}_{object}", self.prefix)
    }

    fn object(&self, object: &str) -> String {
        quoted(&self.plain(object))
    }

    /// To SQLite names that differ in case alone are the same.
    pub(crate) fn in_lower_case(&self) -> Self {
        Self::new(self.prefix.to_ascii_lowercase())
    }

    /// What a table of this name would be if it were one of ours.
    pub(crate) fn own(&self, table: &str) -> Option<Own> {
        match table.strip_prefix(&self.prefix)?.strip_prefix('_')? {
            "log" => Some(Own::Log),
            "layout" => Some(Own::Layout),
            "pipeline" => Some(Own::Pipeline),
            "meta" => Some(Own::Meta),
            _ => self.stage_layout(table).map(|_| Own::Stage),
        }
    }

    /// The layout of a trigger of ours, by its name.
    pub(crate) fn trigger_layout(&self, trigger: &str) -> Option<(Kind, i64)> {
        let rest = trigger.strip_prefix(&self.prefix)?.strip_prefix('_')?;
        let (kind, layout) = rest.rsplit_once('_')?;
        let kind = Kind::ALL.into_iter().find(|candidate| candidate.name() == kind)?;
        Some((kind, layout.parse().ok()?))
    }

    /// The layout of a staging table of ours, by its name.
    pub(crate) fn stage_layout(&self, table: &str) -> Option<i64> {
        table.strip_prefix(&self.prefix)?.strip_prefix("_stage_")?.parse().ok()
    }
}

impl Own {
    /// Whether a table has the columns of ours: one of the user's may be called the same.
    pub(crate) fn is_of(self, columns: &[String]) -> bool {
        let begins = |ours: &[&str]| columns.iter().zip(ours).all(|(one, other)| one == other);
        let has = |ours: &[&str]| columns.len() >= ours.len() && begins(ours);
        let is_place = |column: &String| {
            let number = column.strip_prefix(['i', 'v']);
            number.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|x| x.is_ascii_digit()))
        };
        match self {
            Own::Log => has(&["id", "layout", "operation", "at", "v0"]),
            Own::Layout => has(&["id", "table_name", "definition", "until"]),
            Own::Pipeline => has(&["name", "started", "acknowledged"]),
            Own::Meta => has(&["key", "value"]),
            Own::Stage => columns.iter().all(is_place),
        }
    }
}

impl Kind {
    const ALL: [Kind; 5] =
        [Kind::StageInsert, Kind::StageUpdate, Kind::Insert, Kind::Update, Kind::Delete];

    fn name(self) -> &'static str {
        match self {
            Kind::StageInsert => "stage_insert",
            Kind::StageUpdate => "stage_update",
            Kind::Insert => "insert",
            Kind::Update => "update",
            Kind::Delete => "delete",
        }
    }

    pub(crate) fn is_before(self) -> bool {
        matches!(self, Kind::StageInsert | Kind::StageUpdate)
    }
}

/// An identifier, whatever its characters.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as an SQL literal.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
    }

    #[test]
    fn a_trigger_name_tells_its_layout() {
        let names = Names::new("_r");
        for kind in Kind::ALL {
            let name = names.trigger(kind, 17);
            assert_eq!(names.trigger_layout(name.trim_matches('"')), Some((kind, 17)));
        }
        assert_eq!(names.trigger_layout("_r_x_insert_17"), None);
        assert_eq!(names.trigger_layout("_r_insert_x"), None);
        assert_eq!(names.stage_layout("_r_stage_4"), Some(4));
    }

    #[test]
    fn a_table_is_ours_by_its_name_and_its_columns() {
        let names = Names::new("_r");
        let is_ours = |table: &str, columns: &[&str]| {
            let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
            names.own(table).is_some_and(|own| own.is_of(&columns))
        };
        assert!(is_ours("_r_log", &["id", "layout", "operation", "at", "v0", "v1"]));
        assert!(is_ours("_r_stage_7", &["i0", "v0", "v11"]));
        assert!(!is_ours("_r_stage_7", &["i0", "value"]));
        assert!(!is_ours("_r_log", &["id", "layout", "operation", "at"]));
        assert!(!is_ours("_r_meta", &["value", "key"]));
        assert!(!is_ours("_r_metal", &["key", "value"]));
        assert!(!is_ours("_r_stage_x", &["i0", "v0"]));
    }
}
