//! Each error names the file, the line, the key and what to do, and the exit code is 2.

use crate::support::{Sandbox, stderr, ticker};

const GOOD: &str = "name = \"orders\"

[source]
type = \"ticker\"
every = \"1s\"

[sink]
type = \"stdout\"

[checkpoint]
type = \"file\"
path = \"checkpoints\"
";

#[track_caller]
fn check_text(text: &str, expected: &[&str]) {
    let output = Sandbox::with(text).output(&["check", "p.toml"]);
    let stderr = stderr(&output);
    for part in expected {
        assert!(stderr.contains(part), "no {part:?} in:\n{stderr}");
    }
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(output.stdout.is_empty());
}

/// Changes the good file, and expects these parts in the error.
#[track_caller]
fn check(good: &str, bad: &str, expected: &[&str]) {
    assert!(GOOD.contains(good));
    check_text(&GOOD.replacen(good, bad, 1), expected);
}

/// Sets a variable over the good file, and expects it in the error instead of a line.
#[track_caller]
fn check_variable(variable: &str, value: &str, expected: &[&str]) {
    let sandbox = Sandbox::with(GOOD);
    let output = sandbox.rowtide(&["check", "p.toml"]).env(variable, value).output().unwrap();
    let stderr = stderr(&output);
    assert!(stderr.starts_with(&format!("error: environment variable {variable}: ")), "{stderr}");
    for part in expected {
        assert!(stderr.contains(part), "no {part:?} in:\n{stderr}");
    }
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_good_file_is_fine() {
    let printed = Sandbox::with(GOOD).printed(&["check", "p.toml"]);
    assert_eq!(printed, "p.toml: pipeline `orders` is fine\n");
}

#[test]
fn an_unknown_key_is_named() {
    check("every", "evry", &["p.toml:5:1: unknown key", "key: source.evry", "mean `every`?"]);
    check("[sink]", "[snik]", &["p.toml:7:2: unknown key", "key: snik", "mean `sink`?"]);
}

#[test]
fn a_missing_key_is_named() {
    check("path = \"checkpoints\"", "", &["p.toml:10:2: missing key", "key: checkpoint.path"]);
    check("type = \"ticker\"", "", &["p.toml:3:2: missing key", "key: source.type", "\"ticker\""]);
    check("name = \"orders\"", "", &["p.toml:1:1: missing key", "key: name", "add `name = "]);
    let without = GOOD.split("[checkpoint]").next().unwrap();
    check_text(without, &["p.toml:1:1: missing table `[checkpoint]`", "help: add `[checkpoint]`"]);
}

#[test]
fn a_wrong_type_is_named() {
    check(
        "path = \"checkpoints\"",
        "path = 7",
        &["p.toml:12:1: expected ", "found integer `7`", "key: checkpoint.path"],
    );
    check("[source]", "[sorce]", &["missing table `[source]`", "p.toml:3:2: unknown key"]);
    check("name = \"orders\"", "name = 1", &["p.toml:1:1: expected a text", "key: name"]);
}

#[test]
fn an_unknown_plugin_is_named() {
    check(
        "\"ticker\"",
        "\"tikcer\"",
        &["p.toml:4:1: unknown source type `tikcer`", "key: source.type", "mean `ticker`?"],
    );
}

#[test]
fn a_bad_duration_is_named() {
    check("\"1s\"", "\"10\"", &["p.toml:5:1: `10` is not a duration", "key: source.every"]);
    let delivery = format!("{GOOD}[delivery]\nflush_every = \"soon\"\n");
    check_text(&delivery, &["p.toml:14:1: `soon` is not a duration", "key: delivery.flush_every"]);
}

#[test]
fn broken_toml_is_shown() {
    check("\"1s\"", "1s", &["p.toml:5:", "this is not TOML", " 5 | every = 1s\n", "^", "help: "]);
}

#[test]
fn two_pipelines_of_one_name_are_refused() {
    let sandbox = Sandbox::with(GOOD);
    sandbox.write("q.toml", &format!("\n{GOOD}"));
    for command in ["check", "run"] {
        let output = sandbox.output(&[command, "p.toml", "q.toml"]);
        let stderr = stderr(&output);
        assert!(stderr.contains("q.toml:2:1: two pipelines are called `orders`"), "{stderr}");
        assert!(stderr.contains("the other one is at p.toml:1:1"), "{stderr}");
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn errors_of_all_sections_are_told_together() {
    let text = GOOD.replace("every", "evry").replace("path", "paht").replace("stdout", "stdotu");
    let keys = ["source.evry", "checkpoint.paht", "sink.type"];
    check_text(&text, &keys.map(|key| format!("key: {key}")).each_ref().map(String::as_str));
}

#[test]
fn an_environment_override_is_named() {
    check_variable("ROWTIDE__SOURCE__EVRY", "1s", &["unknown key", "key: source.evry", "`every`?"]);
    check_variable("ROWTIDE__SOURCE__EVERY", "10", &["`10` is not a duration", "source.every"]);
    check_variable("ROWTIDE__SOURCE__TYPE", "tikcer", &["unknown source type `tikcer`"]);
    check_variable("ROWTIDE__DELIVERY__FLUSH_AFTER", "many", &["a whole number, found `many`"]);
    check_variable("ROWTIDE__SINK", "x", &["expected a table", "key: sink"]);
    check_variable("ROWTIDE__NAME", "a b", &["`a b` cannot be the name of a pipeline"]);
}

#[test]
fn an_environment_override_takes_the_type_of_its_target() {
    let output = Sandbox::with(GOOD)
        .rowtide(&["check", "p.toml"])
        .env("ROWTIDE__NAME", "12345")
        .env("ROWTIDE__DELIVERY__FLUSH_AFTER", "12345")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "p.toml: pipeline `12345` is fine\n");
}

#[test]
fn an_override_of_several_files_is_refused() {
    let sandbox = Sandbox::with(GOOD);
    sandbox.write("q.toml", &ticker("other"));
    let mut command = sandbox.rowtide(&["check", "p.toml", "q.toml"]);
    let output = command.env("ROWTIDE__SOURCE__EVERY", "2s").output().unwrap();
    assert!(stderr(&output).contains("ROWTIDE__SOURCE__EVERY cannot apply to several"));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn variables_are_put_into_texts_only() {
    check("\"1s\"", "\"${NO_SUCH}\"", &["p.toml:5:1: the environment variable `NO_SUCH` is not"]);
    let text = GOOD.replace("orders", "${TABLE}").replace("path", "# ${NO_SUCH}\npath");
    let sandbox = Sandbox::with(&text);
    let output = sandbox.rowtide(&["check", "p.toml"]).env("TABLE", "x\"\ny = 1").output().unwrap();
    assert!(stderr(&output).contains("p.toml:1:1: `x\"\ny = 1` cannot be the name"));
    let output = sandbox.rowtide(&["check", "p.toml"]).env("TABLE", "x").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let output = Sandbox::new().output(&["run", "nowhere.toml"]);
    assert!(stderr(&output).starts_with("error: nowhere.toml: failed to read"));
    assert_eq!(output.status.code(), Some(2));
}
