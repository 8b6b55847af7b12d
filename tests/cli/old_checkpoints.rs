//! Checkpoints saved by older programs, in `tests/golden`.

use std::{fs, path::Path};

use serde_json::Value;

use crate::support::Sandbox;

#[test]
fn an_old_checkpoint_is_gone_on_from_without_reading_anything_again() {
    for (store, path) in [("sqlite", "checkpoint.db"), ("file", "checkpoints")] {
        let sandbox = Sandbox::with(&format!(
            "name = \"{store}\"\n[source]\ntype = \"sqlite\"\npath = \"shop.db\"\n\
             [sink]\ntype = \"stdout\"\n[checkpoint]\ntype = \"{store}\"\npath = \"{path}\"\n"
        ));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        copy(&root.join("tests/golden/checkpoint-1"), sandbox.path());
        let shown = sandbox.printed(&["checkpoint", "show", "p.toml"]);
        assert!(shown.contains("whole  delivered"), "{shown}");

        let printed = sandbox.printed(&["run", "--drain", "p.toml"]);
        let changes: Vec<Value> =
            printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(changes.len(), 2, "{printed}");
        assert_eq!(changes[0]["op"], "insert");
        assert_eq!(changes[0]["after"]["state"], "late");
        assert_eq!(changes[1]["op"], "update");
        assert_eq!(changes[1]["before"]["state"], "paid");
        assert_eq!(changes[1]["after"]["state"], "sent");
        assert_eq!(sandbox.printed(&["run", "--drain", "p.toml"]), "");
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
