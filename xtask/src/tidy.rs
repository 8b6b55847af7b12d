//! What the compiler does not check. Each rule is a function from what it looks at to problems.

mod code;
mod dependencies;
mod documents;
mod features;
mod plugins;

use crate::{Result, workspace::Workspace};

/// Prints what is wrong; an error if anything is.
pub(crate) fn run(workspace: &Workspace) -> Result {
    let problems = problems(workspace)?;
    for problem in &problems {
        println!("{problem}");
    }
    match problems.len() {
        0 => Ok(()),
        number => Err(format!("{number} problems; docs/style.md has the rules").into()),
    }
}

/// One line a problem, with the place it is at.
pub(crate) fn problems(workspace: &Workspace) -> Result<Vec<String>> {
    let mut problems = dependencies::problems(&workspace.packages);
    problems.extend(features::problems(&workspace.packages));
    problems.extend(code::problems(workspace)?);
    problems.extend(plugins::problems(workspace)?);
    problems.extend(documents::problems(workspace)?);
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let problems = problems(&Workspace::here().unwrap()).unwrap();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}
