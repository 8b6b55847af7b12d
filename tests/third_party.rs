//! A runner of one's own: a crate outside this workspace with its own plugin and a short `main`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const MAIN: &str = "use my_plugin as _;\n
fn main() -> std::process::ExitCode {
    rowtide::main()
}
";

const PIPELINE: &str = "name = \"mine\"
[source]
type = \"metronome\"
every = \"1ms\"
[sink]
type = \"stdout\"
[checkpoint]
type = \"file\"
path = \"checkpoints\"
";

#[test]
fn a_crate_outside_the_workspace_brings_its_own_plugin() {
    let directory = tempfile::tempdir().unwrap();
    let runner = build(directory.path());
    let rowtide = |arguments: &[&str]| {
        let mut command = Command::new(&runner);
        command.args(arguments).current_dir(directory.path());
        command
    };
    let plugins = rowtide(&["plugins"]).output().unwrap();
    let plugins = String::from_utf8(plugins.stdout).unwrap();
    assert!(plugins.contains("metronome"), "{plugins}");

    fs::write(directory.path().join("p.toml"), PIPELINE).unwrap();
    let mut child = rowtide(&["run", "p.toml"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let change: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(change["after"]["number"], 1);

    // This build has neither the ticker nor SQLite.
    for (name, feature) in [("ticker", "ticker"), ("sqlite", "sqlite")] {
        fs::write(directory.path().join("q.toml"), PIPELINE.replace("metronome", name)).unwrap();
        let output = rowtide(&["check", "q.toml"]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let expected = format!(
            "error: q.toml:3:1: `{name}` is not in this build\n  key: source.type\n  \
             help: build with `--features {feature}` (or `full`)\n"
        );
        assert_eq!(stderr, expected);
        assert_eq!(output.status.code(), Some(2));
    }
}

/// Writes the crate and builds it; the target directory is this build's, so that what both need is
/// compiled once.
fn build(directory: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let workspace = read("Cargo.toml");
    let profiles = &workspace[workspace.find("[profile.dev]").unwrap()..];
    // The very versions that are here.
    let is_needed =
        |line: &&str| ["futures-util", "schemars", "serde", "tokio"].contains(&name(line));
    let dependencies = workspace.lines().filter(is_needed).collect::<Vec<_>>().join("\n");
    let root_path = root.display();
    let manifest = format!(
        "[package]\nname = \"my_plugin\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\nrowtide = {{ path = \"{root_path}/crates/rowtide\", \
         default-features = false, features = [\"file\", \"stdout\"] }}\n\
         rowtide-core = {{ path = \"{root_path}/crates/core\" }}\n{dependencies}\n\n{profiles}"
    );
    let plugin = read("plugins/ticker/src/lib.rs").replace("\"ticker\"", "\"metronome\"");
    fs::create_dir(directory.join("src")).unwrap();
    fs::write(directory.join("Cargo.toml"), manifest).unwrap();
    fs::write(directory.join("Cargo.lock"), read("Cargo.lock")).unwrap();
    fs::write(directory.join("README.md"), "A plugin of one's own.\n").unwrap();
    fs::write(directory.join("src/lib.rs"), plugin).unwrap();
    fs::write(directory.join("src/main.rs"), MAIN).unwrap();

    let target = Path::new(env!("CARGO_BIN_EXE_rowtide")).ancestors().nth(2).unwrap();
    let status = Command::new(env!("CARGO"))
        .args(["build", "--offline"])
        .current_dir(directory)
        .env("CARGO_TARGET_DIR", target)
        .status()
        .unwrap();
    assert!(status.success());
    // Beside the others in the target directory, where a later build would replace it.
    let runner = directory.join("runner");
    fs::copy(target.join("debug/my_plugin"), &runner).unwrap();
    runner
}

/// The name of the dependency that a line of a manifest has.
fn name(line: &str) -> &str {
    line.split(" = ").next().unwrap_or_default()
}
