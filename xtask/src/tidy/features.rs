//! What a feature of the runner brings is not there without it.

use std::collections::{BTreeMap, BTreeSet};

use crate::workspace::{Dependency, Package};

type Names<'a> = BTreeSet<&'a str>;

pub(crate) fn problems(packages: &[Package]) -> Vec<String> {
    let Some(runner) = packages.iter().find(|package| package.folder == "crates/rowtide") else {
        return vec!["there is no crates/rowtide".to_owned()];
    };
    let members = packages.iter().map(|package| (&*package.name, package)).collect();
    let build = Build { runner, members };
    let plugins = packages.iter().filter(|package| package.folder.starts_with("plugins/"));
    let mut problems: Vec<_> = plugins.flat_map(|plugin| build.without(plugin)).collect();
    problems.dedup();
    problems
}

/// The runner, and the packages of this repository by name.
struct Build<'a> {
    runner: &'a Package,
    members: BTreeMap<&'a str, &'a Package>,
}

impl<'a> Build<'a> {
    /// What is wrong with the builds that lack the feature of `plugin`: with all others, and with
    /// none at all.
    fn without(&self, plugin: &'a Package) -> Vec<String> {
        let feature = plugin.folder_name();
        let includes = |own: &str| own == feature || self.lists(own, feature);
        let all = self.runner.features.keys().map(String::as_str);
        let others: Names<'_> = all.filter(|own| !includes(own)).collect();
        let problem = |name: &str| {
            format!(
                "crates/rowtide/Cargo.toml: `{name}` is there without the feature `{feature}`, \
                 though only {} needs it",
                plugin.folder
            )
        };
        let found = [self.leftovers(plugin, &others), self.leftovers(plugin, &Names::new())];
        found.concat().into_iter().map(problem).collect()
    }

    /// Whether `feature` brings `other` because it says so.
    fn lists(&self, feature: &str, other: &str) -> bool {
        let listed = self.runner.features.get(feature).into_iter().flatten();
        listed.clone().any(|own| own == other) || feature == "default"
    }

    /// What is in a build with `features`, and is there for nobody but `plugin`.
    fn leftovers(&self, plugin: &'a Package, features: &Names<'a>) -> Vec<&'a str> {
        let direct = self.direct(features);
        let members = self.reached(&direct);
        if members.contains(&*plugin.name) {
            return vec![&plugin.name];
        }
        let of_others: Names<'_> =
            members.iter().flat_map(|own| normal(self.members[own])).collect();
        let of_plugin: Names<'_> = normal(plugin).collect();
        let is_left = |name: &&&str| of_plugin.contains(**name) && !of_others.contains(**name);
        direct.iter().filter(is_left).copied().collect()
    }

    /// What the runner itself depends on.
    fn direct(&self, features: &Names<'a>) -> Names<'a> {
        let mut direct: Names<'_> = self
            .runner
            .dependencies
            .iter()
            .filter(|it| it.is_normal() && !it.optional)
            .map(|it| &*it.name)
            .collect();
        let mut seen = Names::new();
        let mut open: Vec<_> = features.iter().copied().collect();
        while let Some(item) = open.pop() {
            if let Some(name) = item.strip_prefix("dep:") {
                direct.insert(name);
            } else if let Some((name, _)) = item.split_once('/') {
                // With a question mark it is for where the package is there anyway.
                direct.extend((!name.ends_with('?')).then_some(name));
            } else if seen.insert(item) {
                let listed = self.runner.features.get(item).into_iter().flatten();
                open.extend(listed.map(String::as_str));
            }
        }
        direct
    }

    /// The packages of this repository below those in `direct`.
    fn reached(&self, direct: &Names<'a>) -> Names<'a> {
        let mut reached = Names::new();
        let mut open: Vec<_> = direct.iter().copied().collect();
        while let Some(name) = open.pop() {
            let Some(member) = self.members.get(name) else { continue };
            if reached.insert(name) {
                open.extend(normal(member));
            }
        }
        reached
    }
}

fn normal(package: &Package) -> impl Iterator<Item = &str> {
    package.dependencies.iter().filter(|it| it.is_normal()).map(|it| &*it.name)
}

impl Dependency {
    fn is_normal(&self) -> bool {
        self.kind.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependency(name: &str, kind: Option<&str>) -> Dependency {
        let optional = name.starts_with('?');
        let name = name.trim_start_matches('?').to_owned();
        Dependency { name, kind: kind.map(str::to_owned), optional }
    }

    fn package(folder: &str, dependencies: &[&str]) -> Package {
        let name = match folder.rsplit('/').next().unwrap() {
            "rowtide" => "rowtide".to_owned(),
            noun => format!("rowtide-{noun}"),
        };
        let dependencies = dependencies.iter().map(|name| dependency(name, None)).collect();
        Package { name, folder: folder.to_owned(), dependencies, ..Package::default() }
    }

    /// How many problems there are with one more dependency and one more feature of the runner.
    #[track_caller]
    fn check(more: &str, feature: (&str, &[&str]), expected: usize) {
        let a = package("plugins/a", &["rowtide-core", "client", "rowtide-sql"]);
        let b = package("plugins/b", &["rowtide-core", "rowtide-sql"]);
        let machine = [
            package("crates/core", &["serde"]),
            package("crates/engine", &["rowtide-core"]),
            package("crates/sql", &["sqlx"]),
        ];
        let mut runner =
            package("crates/rowtide", &["rowtide-engine", "?rowtide-a", "?rowtide-b", "serde"]);
        runner.dependencies.extend((!more.is_empty()).then(|| dependency(more, None)));
        let features: [(&str, &[&str]); 6] = [
            ("a", &["dep:rowtide-a"]),
            ("a-more", &["a", "rowtide-a/more"]),
            ("b", &["dep:rowtide-b"]),
            ("default", &["a"]),
            ("full", &["a", "a-more", "b", "rowtide-b?/fast"]),
            feature,
        ];
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        runner.features =
            features.iter().map(|(name, items)| ((*name).to_owned(), owned(items))).collect();
        let packages: Vec<_> = machine.into_iter().chain([a, b, runner]).collect();
        let problems = problems(&packages);
        assert_eq!(problems.len(), expected, "{problems:?}");
    }

    #[test]
    fn a_feature_brings_its_plugin_and_nothing_else() {
        check("", ("c", &[]), 0);
        check("", ("c", &["dep:rowtide-b"]), 1);
        check("", ("b", &["dep:rowtide-b", "rowtide-a/more"]), 1);
        check("", ("b", &["dep:rowtide-b", "rowtide-a?/more"]), 0);
        check("rowtide-a", ("c", &[]), 1);
    }

    #[test]
    fn the_runner_has_no_client_of_a_plugin_without_its_feature() {
        check("client", ("c", &[]), 1);
        check("?client", ("c", &[]), 0);
        check("?client", ("b", &["dep:rowtide-b", "dep:client"]), 1);
        check("rowtide-sql", ("c", &[]), 2);
        check("unrelated", ("c", &[]), 0);
    }
}
