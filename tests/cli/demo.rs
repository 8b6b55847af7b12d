use std::{collections::HashSet, time::Instant};

use crate::support::Sandbox;

#[test]
fn the_demo_shows_every_kind_of_change_and_ends() {
    let started = Instant::now();
    let sandbox = Sandbox::new();
    let output = sandbox.rowtide(&["demo"]).env("TMPDIR", sandbox.path()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(started.elapsed().as_secs() < 20);
    assert!(told.contains("What to do next"), "{told}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let changes: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: HashSet<_> = changes.iter().map(|change| change["op"].as_str().unwrap()).collect();
    for kind in ["snapshot_begin", "read", "snapshot_end", "insert", "update", "delete"] {
        assert!(kinds.contains(kind), "{kind}");
    }
    // The one that was written while no pipeline ran.
    assert_eq!(changes.last().unwrap()["after"]["customer"], "Donald");
    assert_eq!(std::fs::read_dir(sandbox.path()).unwrap().count(), 0, "nothing is left behind");
}
