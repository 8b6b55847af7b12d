/// Modules and crates that gather what has no place.
const BANNED_MODULES: [&str; 7] =
    ["common", "helper", "helpers", "manager", "misc", "util", "utils"];

/// Abbreviations as whole parts of a name, and the words they stand for.
const ABBREVIATIONS: [(&str, &str); 14] = [
    ("cfg", "config"),
    ("cnt", "count"),
    ("conf", "config"),
    ("conn", "connection"),
    ("ctx", "context"),
    ("evt", "event"),
    ("idx", "index"),
    ("mgr", "a noun of the domain"),
    ("msg", "message"),
    ("opts", "options"),
    ("pos", "position"),
    ("stmt", "statement"),
    ("tbl", "table"),
    ("tmp", "temporary"),
];

/// What other systems say for our words; a setting must not.
const FOREIGN: [(&str, &str); 9] = [
    ("ack", "acknowledge"),
    ("component", "plugin"),
    ("connector", "source or sink"),
    ("cursor", "position"),
    ("job", "pipeline"),
    ("lsn", "position"),
    ("offset", "position"),
    ("record", "change"),
    ("shard", "partition"),
];

pub(crate) fn is_banned_module(name: &str) -> bool {
    BANNED_MODULES.contains(&name)
}

/// The part of a file's path that says nothing. A test's support module is called by a noun too.
pub(crate) fn banned_in_path(path: &str) -> Option<&str> {
    path.split('/').map(|part| part.trim_end_matches(".rs")).find(|part| is_banned_module(part))
}

/// The word that an abbreviation in `name` stands for.
pub(crate) fn abbreviation(name: &str) -> Option<&'static str> {
    replacement(name, &ABBREVIATIONS)
}

/// The word of ours that a key of the settings should use.
pub(crate) fn foreign(key: &str) -> Option<&'static str> {
    replacement(key, &FOREIGN)
}

fn replacement(name: &str, list: &[(&str, &'static str)]) -> Option<&'static str> {
    let find = |part: &str| list.iter().find(|(word, _)| *word == part);
    name.split('_').find_map(find).map(|(_, instead)| *instead)
}
