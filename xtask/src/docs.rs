//! The documents that are made from the code: the reference of the settings, the plugins in the
//! README, and the example plugin.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use crate::{Result, process, registrations, registrations::Registration, workspace::Workspace};

/// A document and what it must say.
struct Document {
    path: String,
    text: String,
}

const PIPELINE: &str = include_str!("pipeline.md");

/// Writes what is not as it must be.
pub(crate) fn write(workspace: &Workspace) -> Result {
    build(workspace)?;
    for document in documents(workspace)? {
        let path = workspace.root.join(&document.path);
        if fs::read_to_string(&path).ok().as_deref() != Some(&document.text) {
            fs::create_dir_all(path.parent().unwrap_or(&workspace.root))?;
            fs::write(&path, &document.text)?;
            println!("wrote {}", document.path);
        }
    }
    for path in left_over(workspace)? {
        fs::remove_file(workspace.root.join(&path))?;
        println!("removed {path}");
    }
    Ok(())
}

/// Fails if [`write()`] would change anything.
pub(crate) fn check(workspace: &Workspace) -> Result {
    build(workspace)?;
    check_built(workspace)
}

/// The same, by the program that is there.
pub(crate) fn check_built(workspace: &Workspace) -> Result {
    let mut stale = Vec::new();
    for document in documents(workspace)? {
        let found = workspace.text(&document.path)?.unwrap_or_default();
        if let Some(hint) = difference(&found, &document.text) {
            stale.push(format!("{}: {hint}", document.path));
        }
    }
    stale.extend(left_over(workspace)?.iter().map(|path| format!("{path}: of no plugin")));
    match stale.is_empty() {
        true => Ok(()),
        false => Err(format!("run `cargo xtask docs`:\n{}", stale.join("\n")).into()),
    }
}

/// The first line that differs.
fn difference(found: &str, expected: &str) -> Option<String> {
    if found == expected {
        return None;
    }
    let (mut found, mut expected) = (found.lines(), expected.lines());
    for number in 1.. {
        let (is, must) = (found.next(), expected.next());
        if is.is_none() && must.is_none() {
            break;
        }
        if is != must {
            let shown = |line: Option<&str>| line.unwrap_or("(the end)").to_owned();
            return Some(format!("line {number} is\n  {}\nmust be\n  {}", shown(is), shown(must)));
        }
    }
    Some("the line breaks differ".to_owned())
}

fn build(workspace: &Workspace) -> Result {
    let mut build = process::cargo(workspace);
    build.args(["build", "--quiet", "--package", "rowtide", "--features", "rowtide/full"]);
    Ok(process::check(&mut build)?)
}

fn documents(workspace: &Workspace) -> Result<Vec<Document>> {
    let mut documents = vec![readme(workspace)?, example_plugin(workspace)?];
    documents.push(pipeline(workspace)?);
    for name in types(workspace)? {
        let path = format!("docs/reference/{name}.md");
        documents.push(Document { path, text: reference(workspace, &name)? });
    }
    Ok(documents)
}

/// All values of `type`.
fn types(workspace: &Workspace) -> Result<BTreeSet<String>> {
    let mut types = BTreeSet::new();
    for plugin in workspace.plugins() {
        let registered = registrations::of(workspace, plugin)?;
        types.extend(registered.into_iter().map(|found| found.name));
    }
    Ok(types)
}

/// The reference, by the schema that the program itself has.
fn reference(workspace: &Workspace, name: &str) -> Result<String> {
    let mut rowtide = Command::new(workspace.target.join("debug/rowtide"));
    Ok(process::output(rowtide.args(["plugins", "--markdown", name]))?)
}

/// What is the same for every pipeline: the keys at the top, and how changes are delivered.
fn pipeline(workspace: &Workspace) -> Result<Document> {
    let delivery = reference(workspace, "delivery")?;
    let (_, delivery) = delivery.split_once("\n## ").ok_or("the page of `delivery` is empty")?;
    let text = format!("{PIPELINE}\n## {delivery}");
    Ok(Document { path: "docs/reference/pipeline.md".to_owned(), text })
}

/// Files of the reference that describe nothing.
fn left_over(workspace: &Workspace) -> Result<Vec<String>> {
    let types = types(workspace)?;
    let mut files = workspace.files("docs/reference", "md")?;
    files.retain(|path| {
        let name = Path::new(path).file_stem().unwrap_or_default().to_string_lossy();
        name != "pipeline" && !types.contains(&*name)
    });
    Ok(files)
}

fn readme(workspace: &Workspace) -> Result<Document> {
    let path = "README.md".to_owned();
    let mut table = String::from("| plugin | roles | what it is |\n|---|---|---|\n");
    for plugin in workspace.plugins() {
        let roles = roles(&registrations::of(workspace, plugin)?);
        let description = plugin.description.as_deref().unwrap_or_default();
        let (name, folder) = (plugin.folder_name(), &plugin.folder);
        table.push_str(&format!("| [`{name}`]({folder}/README.md) | {roles} | {description} |\n"));
    }
    let text = workspace.text(&path)?.ok_or("README.md: missing")?;
    let text = replaced(&path, &text, "plugins", &table)?;
    Ok(Document { text: replaced(&path, &text, "examples", &examples(workspace)?)?, path })
}

/// The example files, each with its first comment.
fn examples(workspace: &Workspace) -> Result<String> {
    let mut list = String::new();
    for path in workspace.files("config-examples", "toml")? {
        let text = workspace.text(&path)?.unwrap_or_default();
        let comment = text.lines().next().and_then(|line| line.strip_prefix("# "));
        let comment = comment.ok_or_else(|| format!("{path}: no comment in the first line"))?;
        list.push_str(&format!("- [{path}]({path}): {comment}\n"));
    }
    Ok(list)
}

/// `source, checkpoint`, each with a link to its settings.
fn roles(registered: &[Registration]) -> String {
    let link = |found: &Registration| format!("[{}](docs/reference/{}.md)", found.role, found.name);
    registered.iter().map(link).collect::<Vec<_>>().join(", ")
}

fn example_plugin(workspace: &Workspace) -> Result<Document> {
    let path = "docs/write-a-plugin.md".to_owned();
    let code = workspace.text("plugins/ticker/src/lib.rs")?.ok_or("there is no ticker")?;
    let text = workspace.text(&path)?.ok_or("docs/write-a-plugin.md: missing")?;
    Ok(Document { text: replaced(&path, &text, "ticker", &format!("```rust\n{code}```\n"))?, path })
}

/// `text` with `part` between the markers `<!-- name -->` and `<!-- /name -->`.
fn replaced(path: &str, text: &str, name: &str, part: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let halves = text.split_once(&begin).and_then(|(head, rest)| {
        let (_, tail) = rest.split_once(&end)?;
        Some((head, tail))
    });
    let (head, tail) = halves.ok_or_else(|| format!("{path}: no markers `<!-- {name} -->`"))?;
    Ok(format!("{head}{begin}{part}{end}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let text = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n";
        let new = replaced("f", text, "x", "new\n").unwrap();
        assert_eq!(new, "a\n<!-- x -->\nnew\n<!-- /x -->\nb\n");
        assert!(replaced("f", "a", "x", "").is_err());
    }

    #[test]
    fn a_stale_document_is_shown_by_its_first_difference() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        let hint = difference("a\nb\n", "a\nc\n").unwrap();
        assert_eq!(hint, "line 2 is\n  b\nmust be\n  c");
        assert!(difference("a\n", "a\nb\n").unwrap().contains("(the end)"));
        assert!(difference("a\n", "a").is_some());
    }
}
