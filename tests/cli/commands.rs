//! What the commands print that run no pipeline.

use crate::support::{Running, Sandbox, number, stderr, ticker};

#[test]
fn plugins_lists_what_is_linked() {
    let printed = Sandbox::new().printed(&["plugins"]);
    let lines: Vec<Vec<_>> =
        printed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines.contains(&vec!["source", "ticker", "rowtide-ticker"]), "{printed}");
    assert!(lines.contains(&vec!["checkpoint", "sqlite", "rowtide-sqlite"]), "{printed}");
}

#[cfg(not(feature = "failpoints"))]
#[test]
fn the_shipped_program_has_no_point_to_be_killed_at() {
    let output = Sandbox::new().output(&["failpoints"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("unrecognized subcommand 'failpoints'"), "{output:?}");
}

#[test]
fn plugins_describes_the_settings_of_a_type() {
    let sandbox = Sandbox::new();
    let printed = sandbox.printed(&["plugins", "ticker"]);
    assert!(printed.contains("every: duration, default \"1s\""), "{printed}");
    assert!(printed.contains("The time between two changes."), "{printed}");
    let printed = sandbox.printed(&["plugins", "--markdown", "sqlite"]);
    assert!(printed.contains("## The source") && printed.contains("## The checkpoint"));
    assert!(printed.contains("| `path` | text | required |"), "{printed}");
    let printed = sandbox.printed(&["plugins", "--markdown", "delivery"]);
    assert!(printed.contains("| `flush_after` | integer | `10000` |"), "{printed}");
    let output = sandbox.output(&["plugins", "zzz"]);
    assert!(stderr(&output).contains("called `zzz`"));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut command = Sandbox::new().rowtide(&["schema"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).current_dir("/").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), "");
}

#[test]
fn checkpoint_set_moves_and_reset_forgets() {
    let sandbox = Sandbox::with(&ticker("t"));
    let show = || sandbox.printed(&["checkpoint", "show", "p.toml"]);
    let first = || {
        let mut running = Running::start(sandbox.rowtide(&["run", "p.toml"]));
        number(&running.line().unwrap())
    };
    assert_eq!(show(), "pipeline `t`: nothing is saved\n");
    sandbox.printed(&["run", "--drain", "p.toml"]);
    sandbox.printed(&["checkpoint", "set", "p.toml", "whole", "41", "--yes"]);
    assert!(show().contains("whole  delivered  41"), "{}", show());
    let json = sandbox.printed(&["checkpoint", "show", "--json", "p.toml"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["partition"]["id"], "whole");
    assert_eq!(first(), 42);
    sandbox.printed(&["checkpoint", "reset", "p.toml", "--yes"]);
    assert_eq!(show(), "pipeline `t`: nothing is saved\n");
    assert_eq!(first(), 1);
}

#[test]
fn checkpoint_asks_before_it_changes_anything() {
    let sandbox = Sandbox::with(&ticker("t"));
    sandbox.printed(&["run", "--drain", "p.toml"]);
    sandbox.printed(&["checkpoint", "set", "p.toml", "whole", "41", "--yes"]);
    for arguments in
        [&["checkpoint", "reset", "p.toml"][..], &["checkpoint", "set", "p.toml", "whole", "1"][..]]
    {
        let output = sandbox.output(arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("help: add `--yes`"));
    }
    assert!(sandbox.printed(&["checkpoint", "show", "p.toml"]).contains("delivered  41"));
}

#[test]
fn checkpoint_set_refuses_what_cannot_be_a_position() {
    let sandbox = Sandbox::with(&ticker("t"));
    sandbox.printed(&["run", "--drain", "p.toml"]);
    let set = |partition, position| {
        let output = sandbox.output(&["checkpoint", "set", "p.toml", partition, position, "--yes"]);
        assert_eq!(output.status.code(), Some(2));
        stderr(&output)
    };
    assert!(set("whole", "{").contains("`{` is not a position"));
    assert!(set("hole", "1").contains("help: the checkpoint has `whole`"));
}

#[test]
fn checkpoint_cannot_be_changed_under_a_running_pipeline() {
    let sandbox = Sandbox::with(&ticker("t"));
    let mut running = Running::start(sandbox.rowtide(&["run", "p.toml"]));
    running.line().unwrap();
    let output = sandbox.output(&["checkpoint", "reset", "p.toml", "--yes"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&format!("process {}", running.child.id())));
    sandbox.printed(&["checkpoint", "show", "p.toml"]);
}

const SHOP: &str = "name = \"s\"\n[source]\ntype = \"sqlite\"\npath = \"shop.db\"\n\
    [sink]\ntype = \"stdout\"\n[checkpoint]\ntype = \"sqlite\"\npath = \"c.db\"\n";

#[test]
fn setup_warns_of_what_is_not_covered() {
    let sandbox = Sandbox::with(SHOP);
    let shop = rusqlite::Connection::open(sandbox.path().join("shop.db")).unwrap();
    let schema = "CREATE TABLE orders (id INTEGER PRIMARY KEY, name TEXT);
        CREATE UNIQUE INDEX by_name ON orders (lower(name))";
    shop.execute_batch(schema).unwrap();
    let told = stderr(&sandbox.output(&["setup", "p.toml"]));
    assert!(told.contains("`by_name` is not covered"), "{told}");
}

#[test]
fn setup_and_teardown_print_what_they_run() {
    let sandbox = Sandbox::with(SHOP);
    let shop = rusqlite::Connection::open(sandbox.path().join("shop.db")).unwrap();
    shop.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY, state TEXT)").unwrap();
    let triggers = || -> i64 {
        let count = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger'";
        shop.query_row(count, [], |row| row.get(0)).unwrap()
    };
    let printed = sandbox.printed(&["setup", "--print", "p.toml"]);
    assert!(printed.contains("CREATE TRIGGER"), "{printed}");
    assert_eq!(triggers(), 0);
    sandbox.printed(&["setup", "p.toml"]);
    assert!(triggers() > 0);
    let printed = sandbox.printed(&["teardown", "--print", "--all", "p.toml"]);
    assert!(printed.contains("DROP"), "{printed}");
    assert!(triggers() > 0);
    sandbox.printed(&["teardown", "--all", "p.toml"]);
    assert_eq!(triggers(), 0);
}
