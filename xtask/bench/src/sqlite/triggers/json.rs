/// A function took at most 127 arguments before it was 1,000; wider rows are nested.
const ARGUMENTS: usize = 63;

/// Triggers that log what the shipped ones log, as other systems do it: one row a change, both
/// images as JSON, in a form that loses nothing.
pub(super) fn triggers(columns: usize) -> String {
    let (old, new) = (image("old", columns), image("new", columns));
    format!(
        "CREATE TABLE json_log (id INTEGER PRIMARY KEY, at REAL, name TEXT, operation TEXT, \
         before TEXT, after TEXT);
         CREATE TRIGGER json_insert AFTER INSERT ON items BEGIN \
         INSERT INTO json_log (at, name, operation, before, after) \
         VALUES (julianday('now'), 'items', 'INSERT', NULL, {new}); END;
         CREATE TRIGGER json_update AFTER UPDATE ON items BEGIN \
         INSERT INTO json_log (at, name, operation, before, after) \
         VALUES (julianday('now'), 'items', 'UPDATE', {old}, {new}); END;
         CREATE TRIGGER json_delete AFTER DELETE ON items BEGIN \
         INSERT INTO json_log (at, name, operation, before, after) \
         VALUES (julianday('now'), 'items', 'DELETE', {old}, NULL); END;"
    )
}

/// The row as an array; each value with its type, since JSON alone loses digits and bytes.
fn image(row: &str, columns: usize) -> String {
    let names = std::iter::once("id".to_owned()).chain((1..columns).map(|n| format!("c{n}")));
    let values: Vec<_> = names.map(|name| value(&format!("{row}.{name}"))).collect();
    if values.len() <= ARGUMENTS {
        return format!("json_array({})", values.join(", "));
    }
    let parts = values.chunks(ARGUMENTS).map(|part| format!("json_array({})", part.join(", ")));
    format!("json_array({})", parts.collect::<Vec<_>>().join(", "))
}

fn value(name: &str) -> String {
    format!(
        "json_array(typeof({name}), CASE typeof({name}) WHEN 'blob' THEN hex({name}) \
         WHEN 'real' THEN printf('%!.17g', {name}) ELSE {name} END)"
    )
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    fn logged(columns: usize) -> String {
        let connection = Connection::open_in_memory().unwrap();
        let names: Vec<_> = (1..columns).map(|number| format!("c{number}")).collect();
        let table = format!("CREATE TABLE items (id INTEGER PRIMARY KEY, {})", names.join(", "));
        connection.execute_batch(&table).unwrap();
        connection.execute_batch(&triggers(columns)).unwrap();
        connection.execute_batch("INSERT INTO items (id, c1) VALUES (1, x'00ff')").unwrap();
        connection.query_row("SELECT after FROM json_log", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn an_image_has_every_column_with_its_type() {
        assert_eq!(logged(2), r#"[["integer",1],["blob","00FF"]]"#);
        assert!(logged(64).starts_with(r#"[[["integer",1],["#));
        assert_eq!(logged(1_000).matches(r#"["null",null]"#).count(), 998);
    }
}
