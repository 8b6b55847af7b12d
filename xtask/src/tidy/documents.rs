//! Decisions have their four parts; examples are mentioned; links lead somewhere.

use crate::{Result, workspace::Workspace};

const DECISION_PARTS: [&str; 4] = ["Context", "Decision", "Rationale", "Trade-off"];
const DOCUMENTS: [&str; 6] = [
    "docs/architecture.md",
    "docs/guarantees.md",
    "docs/write-a-plugin.md",
    "docs/style.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
];

/// What begins like this in a document is a path of the repository.
const FOLDERS: [&str; 5] = ["config-examples/", "crates/", "docs/", "tests/", "xtask/"];

pub(crate) fn problems(workspace: &Workspace) -> Result<Vec<String>> {
    let mut problems = missing(workspace);
    let mut prose = String::new();
    for path in documents(workspace)? {
        let text = workspace.text(&path)?.unwrap_or_default();
        if path.starts_with("docs/decisions/") {
            problems.extend(decision(&path, &text));
        }
        problems.extend(broken_links(workspace, &path, &text));
        problems.extend(absent_files(workspace, &path, &text));
        prose.push_str(&text);
    }
    for example in workspace.files("config-examples", "toml")? {
        if !prose.contains(&example) {
            problems.push(format!("{example}: mentioned neither in README.md nor in docs/"));
        }
    }
    Ok(problems)
}

fn missing(workspace: &Workspace) -> Vec<String> {
    let is_missing = |path: &&&str| !workspace.root.join(path).is_file();
    DOCUMENTS.iter().filter(is_missing).map(|path| format!("{path}: missing")).collect()
}

fn documents(workspace: &Workspace) -> Result<Vec<String>> {
    let mut documents = workspace.files("docs", "md")?;
    documents.extend(workspace.files("plugins", "md")?);
    documents.extend(["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(str::to_owned));
    Ok(documents)
}

fn decision(path: &str, text: &str) -> Vec<String> {
    let has = |part: &str| text.lines().any(|line| line == format!("## {part}"));
    let absent = DECISION_PARTS.iter().filter(|part| !has(part));
    absent.map(|part| format!("{path}: no heading `## {part}`")).collect()
}

/// Relative links whose file is not there.
fn broken_links(workspace: &Workspace, path: &str, text: &str) -> Vec<String> {
    let folder = workspace.root.join(path);
    let leads_nowhere = |target: &&str| {
        let file = target.split('#').next().unwrap_or_default();
        let is_local = !file.is_empty() && !file.contains("://") && !file.starts_with("mailto:");
        is_local && !folder.parent().is_some_and(|folder| folder.join(file).exists())
    };
    links(text).filter(leads_nowhere).map(|link| format!("{path}: no file at `{link}`")).collect()
}

/// Files of the repository that the text names and that are not there.
fn absent_files(workspace: &Workspace, path: &str, text: &str) -> Vec<String> {
    let is_of_a_path = |letter: char| letter.is_ascii_alphanumeric() || "/_-.".contains(letter);
    let names = text.split(|letter| !is_of_a_path(letter)).map(|name| name.trim_end_matches('.'));
    let is_absent = |name: &&str| {
        FOLDERS.iter().any(|folder| name.starts_with(folder)) && !workspace.root.join(name).exists()
    };
    names.filter(is_absent).map(|name| format!("{path}: there is no `{name}`")).collect()
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    let outside_code = text.split("```").step_by(2);
    let after_bracket = outside_code.flat_map(|prose| prose.split("](").skip(1));
    after_bracket.filter_map(|rest| rest.split(')').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_without_its_trade_off_is_a_problem() {
        let good = "# X\n\n## Context\n\n## Decision\n\n## Rationale\n\n## Trade-off\n";
        assert!(decision("d.md", good).is_empty());
        let bad = good.replace("## Trade-off", "## Costs");
        assert_eq!(decision("d.md", &bad), ["d.md: no heading `## Trade-off`"]);
    }

    #[test]
    fn a_named_file_that_is_not_there_is_a_problem() {
        let workspace = Workspace::here().unwrap();
        let check = |text: &str| absent_files(&workspace, "docs/x.md", text);
        assert!(check("See `docs/style.md`, and other/tests/x.rs.").is_empty());
        assert_eq!(check("`crates/none/a.rs`"), ["docs/x.md: there is no `crates/none/a.rs`"]);
    }

    #[test]
    fn a_link_to_nowhere_is_a_problem() {
        let workspace = Workspace::here().unwrap();
        let check = |text: &str| broken_links(&workspace, "docs/x.md", text);
        assert!(check("[a](../Cargo.toml) [b](#here) [c](https://example.org/x)").is_empty());
        assert_eq!(check("[a](nowhere.md#part)"), ["docs/x.md: no file at `nowhere.md#part`"]);
        assert!(check("```\n[a](nowhere.md)\n```").is_empty());
    }
}
