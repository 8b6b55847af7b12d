//! A new plugin begins as the ticker under another name, and is complete from the first build.

use std::fs;

use crate::{Result, docs, tidy, workspace::Workspace};

const MODEL: &str = "ticker";

/// Copies the model and lists the copy wherever a plugin is listed.
pub(crate) fn run(workspace: &Workspace, name: &str) -> Result {
    check(workspace, name)?;
    copy(workspace, name)?;
    list(workspace, name)?;
    docs::write(&Workspace::at(&workspace.root)?)?;
    tidy::run(&Workspace::at(&workspace.root)?)?;
    println!("plugins/{name} is a copy of the ticker. Now write, in this order:");
    println!(
        "  plugins/{name}/README.md             what it reads or writes, and what it promises"
    );
    println!("  plugins/{name}/src/lib.rs            settings, then the source or the sink");
    println!("  plugins/{name}/tests/conformance.rs  the harness");
    println!("  config-examples/                     a pipeline that uses it");
    println!("docs/write-a-plugin.md says how.");
    Ok(())
}

fn check(workspace: &Workspace, name: &str) -> Result {
    let is_word = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !is_word {
        return Err(format!("`{name}`: use lower-case letters, digits and hyphens").into());
    }
    if workspace.root.join("plugins").join(name).exists() {
        return Err(format!("plugins/{name} is there already").into());
    }
    Ok(())
}

/// Copies the files of the model: its crate, and its example.
fn copy(workspace: &Workspace, name: &str) -> Result {
    let model = format!("plugins/{MODEL}");
    let mut files = Vec::new();
    for extension in ["md", "rs", "toml"] {
        files.extend(workspace.files(&model, extension)?);
    }
    let mut examples = workspace.files("config-examples", "toml")?;
    examples.retain(|path| path.contains(MODEL));
    for path in files.iter().chain(&examples) {
        let text = workspace.text(path)?.ok_or_else(|| format!("{path}: missing"))?;
        let copy = workspace.root.join(path.replacen(MODEL, name, 1));
        fs::create_dir_all(copy.parent().unwrap_or(&workspace.root))?;
        fs::write(copy, renamed(&text, name))?;
    }
    Ok(())
}

/// Adds the plugin to the manifests, `full` included, and to the runner's list. `default` is for
/// plugins that need nothing outside, which is for the author to say.
fn list(workspace: &Workspace, name: &str) -> Result {
    for (path, marks) in [
        ("Cargo.toml", &["rowtide-ticker = "] as &[&str]),
        ("crates/rowtide/Cargo.toml", &["ticker = [", "\"ticker\",", "rowtide-ticker = "]),
        ("crates/rowtide/src/plugins.rs", &["\"ticker\" rowtide_ticker:", "(\"ticker\", cfg!"]),
    ] {
        let text = workspace.text(path)?.ok_or_else(|| format!("{path}: missing"))?;
        let text = marks.iter().try_fold(text, |text, mark| doubled(path, &text, mark, name))?;
        fs::write(workspace.root.join(path), text)?;
    }
    Ok(())
}

/// `text` with the line that holds `mark` once more, under the new name.
fn doubled(path: &str, text: &str, mark: &str, name: &str) -> Result<String> {
    let is_it = |line: &&str| line.trim_start().starts_with(mark);
    let line = text.lines().find(is_it);
    let line = line.ok_or_else(|| format!("{path}: no line begins with `{mark}`"))?;
    Ok(text.replacen(line, &format!("{line}\n{}", renamed(line, name)), 1))
}

fn renamed(text: &str, name: &str) -> String {
    let type_name: String = name.split('-').map(capitalized).collect();
    let identifier = name.replace('-', "_");
    text.replace("rowtide_ticker", &format!("rowtide_{identifier}"))
        .replace("Ticker", &type_name)
        .replace(MODEL, name)
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_copy_is_renamed_in_every_form() {
        let text = "rowtide_ticker rowtide-ticker \"ticker\" TickerConfig";
        let expected = "rowtide_my_db rowtide-my-db \"my-db\" MyDbConfig";
        assert_eq!(renamed(text, "my-db"), expected);
    }

    #[test]
    fn a_name_must_be_a_word_and_new() {
        let workspace = Workspace::here().unwrap();
        assert!(check(&workspace, "nats").is_ok());
        for name in ["Nats", "na ts", "", "../x", "1x", MODEL] {
            assert!(check(&workspace, name).is_err(), "{name}");
        }
    }

    /// All but the documents, which need the program.
    #[test]
    fn a_new_plugin_is_listed_wherever_a_plugin_is() {
        let here = Workspace::here().unwrap();
        let folder = tempfile::tempdir().unwrap();
        for extension in ["toml", "rs", "md"] {
            for path in here.files("", extension).unwrap() {
                let to = folder.path().join(&path);
                fs::create_dir_all(to.parent().unwrap_or(Path::new("."))).unwrap();
                fs::copy(here.root.join(&path), to).unwrap();
            }
        }
        let workspace = Workspace::at(folder.path()).unwrap();
        copy(&workspace, "my-db").unwrap();
        list(&workspace, "my-db").unwrap();
        let workspace = Workspace::at(folder.path()).unwrap();
        let problems = tidy::problems(&workspace).unwrap();
        let of_the_copy: Vec<_> =
            problems.into_iter().filter(|problem| problem.contains("my-db")).collect();
        let is_for_docs = |problem: &&String| {
            problem.ends_with("run `cargo xtask docs`") || problem.contains("mentioned neither")
        };
        assert!(of_the_copy.len() >= 2, "the documents must miss it");
        assert_eq!(of_the_copy.iter().find(|problem| !is_for_docs(problem)), None);
    }
}
