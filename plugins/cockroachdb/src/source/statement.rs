use std::collections::BTreeMap;

use crate::{config::CockroachConfig, connection::literal, hlc::Hlc, table::Target};

/// Whether a changefeed begins with the rows that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    Yes,
    No,
}

/// The statement that starts a changefeed right behind `at`.
pub(super) fn changefeed(
    config: &CockroachConfig,
    targets: &[&Target],
    at: Hlc,
    scan: Scan,
) -> String {
    let every = literal(&format!("{}ms", config.heartbeat_every.duration().as_millis()));
    let mut options = BTreeMap::from([
        ("updated", None),
        ("mvcc_timestamp", None),
        ("envelope", Some(literal("wrapped"))),
        ("resolved", Some(every.clone())),
        // Without this one the other is as slow as its default, half a minute.
        ("min_checkpoint_frequency", Some(every)),
        ("cursor", Some(literal(&at.to_string()))),
        ("initial_scan", Some(literal(if scan == Scan::Yes { "yes" } else { "no" }))),
    ]);
    if config.diff {
        options.insert("diff", None);
    }
    if config.query.is_none() {
        options.insert("full_table_name", None);
    }
    if targets.iter().any(|target| !target.families.is_empty()) {
        options.insert("split_column_families", None);
    }
    // A scan is ended by us.
    if let Some(end) = config.end_time.as_ref().filter(|_| scan == Scan::No) {
        options.insert("end_time", Some(literal(end)));
    }
    for (name, value) in &config.options {
        options.insert(name, (!value.is_empty()).then(|| literal(value)));
    }
    let option = |(name, value): (&&str, &Option<String>)| match value {
        Some(value) => format!("{name} = {value}"),
        None => (*name).to_owned(),
    };
    let options: Vec<_> = options.iter().map(option).collect();
    let options = options.join(", ");
    match &config.query {
        Some(query) => format!("CREATE CHANGEFEED WITH {options} AS {}", query.trim()),
        None => {
            let tables: Vec<_> =
                targets.iter().map(|target| format!("TABLE {}", target.sql())).collect();
            format!("CREATE CHANGEFEED FOR {} WITH {options}", tables.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(settings: serde_json::Value, scan: Scan, expected: &str) {
        let mut json = json!({"database": "postgresql://root@localhost/shop"});
        let own = settings.as_object().unwrap().clone();
        json.as_object_mut().unwrap().extend(own);
        let config: CockroachConfig = serde_json::from_value(json).unwrap();
        let families = if config.diff { vec![] } else { vec!["a".to_owned(), "b".to_owned()] };
        let target = Target { schema: "public".to_owned(), name: "o\"k".to_owned(), families };
        let at = "5.0000000001".parse().unwrap();
        assert_eq!(changefeed(&config, &[&target], at, scan), expected);
    }

    #[test]
    fn the_statement_is_what_the_documentation_has() {
        check(
            json!({"tables": ["x"], "options": {"lagging_ranges_threshold": "1m"}}),
            Scan::No,
            "CREATE CHANGEFEED FOR TABLE \"public\".\"o\"\"k\" WITH cursor = '5.0000000001', diff, \
             envelope = 'wrapped', full_table_name, initial_scan = 'no', lagging_ranges_threshold \
             = '1m', min_checkpoint_frequency = '1000ms', mvcc_timestamp, resolved = '1000ms', \
             updated",
        );
        check(
            json!({"tables": ["x"], "diff": false, "heartbeat_every": "200ms"}),
            Scan::Yes,
            "CREATE CHANGEFEED FOR TABLE \"public\".\"o\"\"k\" WITH cursor = '5.0000000001', \
             envelope = 'wrapped', full_table_name, initial_scan = 'yes', min_checkpoint_frequency \
             = '200ms', mvcc_timestamp, resolved = '200ms', split_column_families, updated",
        );
        check(
            json!({"query": "SELECT a FROM b", "end_time": "9.0000000000"}),
            Scan::No,
            "CREATE CHANGEFEED WITH cursor = '5.0000000001', diff, end_time = '9.0000000000', \
             envelope = 'wrapped', initial_scan = 'no', min_checkpoint_frequency = '1000ms', \
             mvcc_timestamp, resolved = '1000ms', updated AS SELECT a FROM b",
        );
    }
}
