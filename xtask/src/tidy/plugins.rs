//! A plugin is complete: a folder of one shape, a feature, a place in the list and in the
//! documents, and an example.

use std::collections::BTreeSet;

use super::code::names;
use crate::{
    Result, registrations,
    registrations::Registration,
    workspace::{Package, Workspace},
};

const SHAPE: [&str; 3] = ["README.md", "src/lib.rs", "tests/conformance.rs"];

pub(crate) fn problems(workspace: &Workspace) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let examples = examples(workspace)?;
    for plugin in workspace.plugins() {
        let registered = registrations::of(workspace, plugin)?;
        problems.extend(shape(workspace, plugin, &registered));
        problems.extend(listed(workspace, plugin)?);
        problems.extend(described(workspace, plugin, &registered)?);
        let is_used = |found: &Registration| examples.contains(&(found.role, found.name.clone()));
        if !registered.iter().any(is_used) {
            problems.push(format!("{}: no file in config-examples/ uses it", plugin.folder));
        }
        problems.extend(keys(workspace, &registered)?);
    }
    Ok(problems)
}

fn shape(workspace: &Workspace, plugin: &Package, registered: &[Registration]) -> Vec<String> {
    let path = |file: &&str| format!("{}/{file}", plugin.folder);
    let absent = SHAPE.iter().map(path).filter(|path| !workspace.root.join(path).is_file());
    let mut problems: Vec<_> = absent.map(|path| format!("{path}: missing")).collect();
    if registered.is_empty() {
        problems.push(format!("{}: registers nothing", plugin.folder));
    }
    if plugin.description.is_none() {
        problems.push(format!("{}/Cargo.toml: no description", plugin.folder));
    }
    problems
}

/// The plugin is a feature of the runner, and in its list.
fn listed(workspace: &Workspace, plugin: &Package) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let name = plugin.folder_name();
    let runner = workspace.package("rowtide").ok_or("there is no package `rowtide`")?;
    if !runner.features.contains_key(name) {
        problems.push(format!("crates/rowtide/Cargo.toml: no feature `{name}`"));
    }
    if !runner.features.get("full").is_some_and(|full| full.iter().any(|own| own == name)) {
        problems.push(format!("crates/rowtide/Cargo.toml: feature `full` lacks `{name}`"));
    }
    let list = workspace.text("crates/rowtide/src/plugins.rs")?.unwrap_or_default();
    let entry = format!("\"{name}\" {}:", plugin.name.replace('-', "_"));
    if !list.contains(&entry) {
        problems.push(format!("crates/rowtide/src/plugins.rs: no entry `{entry} …`"));
    }
    Ok(problems)
}

/// The plugin is in the README's table, and its settings are in the reference.
fn described(
    workspace: &Workspace,
    plugin: &Package,
    registered: &[Registration],
) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let readme = workspace.text("README.md")?.unwrap_or_default();
    let names: BTreeSet<_> = registered.iter().map(|found| &found.name).collect();
    for name in names {
        if !workspace.root.join(format!("docs/reference/{name}.md")).is_file() {
            problems.push(format!("docs/reference/{name}.md: missing; run `cargo xtask docs`"));
        }
    }
    if !readme.contains(&format!("]({}/README.md)", plugin.folder)) {
        problems.push(format!(
            "README.md: `{}` is not in the table; run `cargo xtask docs`",
            plugin.folder_name()
        ));
    }
    Ok(problems)
}

/// Settings that use another system's word.
fn keys(workspace: &Workspace, registered: &[Registration]) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let names: BTreeSet<_> = registered.iter().map(|found| &found.name).collect();
    for name in names {
        let path = format!("docs/reference/{name}.md");
        let text = workspace.text(&path)?.unwrap_or_default();
        for key in reference_keys(&text) {
            if let Some(word) = names::foreign(key) {
                problems.push(format!("{path}: setting `{key}`: our word is `{word}`"));
            }
        }
    }
    Ok(problems)
}

/// The first cell of each row of a reference's tables.
fn reference_keys(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next())
}

/// The roles and types that the examples use.
fn examples(workspace: &Workspace) -> Result<BTreeSet<(&'static str, String)>> {
    let mut used = BTreeSet::new();
    for path in workspace.files("config-examples", "toml")? {
        let text = workspace.text(&path)?.unwrap_or_default();
        let file: toml::Table =
            toml::from_str(&text).map_err(|error| format!("{path}: {error}"))?;
        for role in ["source", "sink", "checkpoint"] {
            if let Some(name) = file.get(role).and_then(|section| section.get("type")?.as_str()) {
                used.insert((role, name.to_owned()));
            }
        }
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A repository with one plugin that is complete.
    fn complete() -> (tempfile::TempDir, Workspace) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, "plugins/x/README.md", "");
        write(root, "plugins/x/src/lib.rs", "register_sink!(\"x\", X);");
        write(root, "plugins/x/tests/conformance.rs", "");
        write(root, "crates/rowtide/src/plugins.rs", "\"x\" rowtide_x: Sink \"x\";");
        write(root, "README.md", "| `x` | sink | [X](plugins/x/README.md) |");
        write(root, "docs/reference/x.md", "| `path` | text |");
        write(root, "config-examples/x.toml", "[sink]\ntype = \"x\"\n");
        let plugin = Package {
            name: "rowtide-x".to_owned(),
            folder: "plugins/x".to_owned(),
            description: Some("X".to_owned()),
            ..Package::default()
        };
        let features = BTreeMap::from([
            ("x".to_owned(), vec!["dep:rowtide-x".to_owned()]),
            ("full".to_owned(), vec!["x".to_owned()]),
        ]);
        let runner = Package { name: "rowtide".to_owned(), features, ..Package::default() };
        let root = root.to_owned();
        let target = root.join("target");
        (folder, Workspace { root, target, packages: vec![plugin, runner] })
    }

    #[track_caller]
    fn check(break_it: impl Fn(&mut Workspace), expected: &[&str]) {
        let (_folder, mut workspace) = complete();
        break_it(&mut workspace);
        assert_eq!(problems(&workspace).unwrap(), expected);
    }

    #[test]
    fn a_complete_plugin_has_no_problems() {
        check(|_| {}, &[]);
    }

    #[test]
    fn every_file_of_the_shape_is_required() {
        for file in SHAPE {
            let path = format!("plugins/x/{file}");
            let (_folder, workspace) = complete();
            fs::remove_file(workspace.root.join(&path)).unwrap();
            let found = problems(&workspace).unwrap();
            assert!(found.contains(&format!("{path}: missing")), "{found:?}");
        }
    }

    #[test]
    fn a_plugin_is_a_feature_and_in_the_list() {
        check(
            |workspace| workspace.packages[1].features.clear(),
            &[
                "crates/rowtide/Cargo.toml: no feature `x`",
                "crates/rowtide/Cargo.toml: feature `full` lacks `x`",
            ],
        );
        check(
            |workspace| write(&workspace.root, "crates/rowtide/src/plugins.rs", ""),
            &["crates/rowtide/src/plugins.rs: no entry `\"x\" rowtide_x: …`"],
        );
    }

    #[test]
    fn a_plugin_is_described() {
        check(
            |workspace| write(&workspace.root, "README.md", ""),
            &["README.md: `x` is not in the table; run `cargo xtask docs`"],
        );
        check(
            |workspace| fs::remove_file(workspace.root.join("docs/reference/x.md")).unwrap(),
            &["docs/reference/x.md: missing; run `cargo xtask docs`"],
        );
        check(
            |workspace| workspace.packages[0].description = None,
            &["plugins/x/Cargo.toml: no description"],
        );
    }

    #[test]
    fn an_example_uses_the_plugin_in_its_role() {
        check(
            |workspace| {
                write(&workspace.root, "config-examples/x.toml", "[source]\ntype = \"x\"\n");
            },
            &["plugins/x: no file in config-examples/ uses it"],
        );
    }

    #[test]
    fn a_setting_uses_our_words() {
        check(
            |workspace| write(&workspace.root, "docs/reference/x.md", "| `start_offset` | text |"),
            &["docs/reference/x.md: setting `start_offset`: our word is `position`"],
        );
    }
}
