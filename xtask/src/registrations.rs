use crate::{Result, workspace::Package, workspace::Workspace};

/// A plugin that a crate registers: `type = "name"` in the section of its role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Registration {
    pub(crate) name: String,
    pub(crate) role: &'static str,
}

const MACROS: [(&str, &str); 3] = [
    ("register_source!", "source"),
    ("register_sink!", "sink"),
    ("register_checkpoint!", "checkpoint"),
];

/// What `package` registers, by its source text.
pub(crate) fn of(workspace: &Workspace, package: &Package) -> Result<Vec<Registration>> {
    let mut registrations = Vec::new();
    for path in workspace.files(&format!("{}/src", package.folder), "rs")? {
        registrations.extend(in_text(&workspace.text(&path)?.unwrap_or_default()));
    }
    registrations.sort();
    Ok(registrations)
}

fn in_text(text: &str) -> impl Iterator<Item = Registration> + '_ {
    MACROS.iter().flat_map(move |(name, role)| {
        text.split(name).skip(1).filter_map(|rest| {
            let name = rest.trim_start_matches(['(', '{', ' ', '\n']).strip_prefix('"')?;
            let name = name.split('"').next()?.to_owned();
            Some(Registration { name, role })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registrations_are_found_in_the_text() {
        let text = "use core::register_sink;\nregister_source!(\"a\", A);\n\
                    register_sink! {\n    \"b\",\n    B\n}\n";
        let found: Vec<_> = in_text(text).map(|found| (found.role, found.name)).collect();
        assert_eq!(found, [("source", "a".to_owned()), ("sink", "b".to_owned())]);
    }
}
